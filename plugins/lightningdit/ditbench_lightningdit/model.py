"""LightningDiT (Yao, Yang & Wang, 2025, arXiv:2501.01423): DiT with parts that language models brought.

Each part is a switch; with all of them off this is DiT, so an ablation goes from one to the other. The parts stand in
`ditbench.layers`, because other papers have them, too.

Letters in shapes: N images, T tokens, D width, H heads, G tokens per side.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ditbench import DenoiserSpec
from ditbench.layers import (
    AdaLNHead,
    AdaLNZeroBlock,
    Attention,
    LabelEmbedder,
    Mlp,
    PatchEmbed,
    RMSNorm,
    SwiGLU,
    TimestepEmbedder,
    axial_rope,
    initialize_as_dit,
    plain_norm,
    run_block,
    sincos_positions,
    tokens_per_side,
    unpatchify,
)


class LightningDiT(nn.Module):
    """The denoiser, with any of the switches."""

    def __init__(
        self,
        spec: DenoiserSpec,
        *,
        depth: int,
        width: int,
        heads: int,
        patch_size: int,
        mlp_ratio: float = 4.0,
        swiglu: bool = True,
        rope: bool = True,
        rmsnorm: bool = True,
        qknorm: bool = False,
        shift: bool = True,
        time: str = "thousand",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.patch_size, self.out_channels, self.checkpointing = patch_size, spec.out_channels, checkpointing
        grid = tokens_per_side("lightningdit", spec.resolution, patch_size)

        self.x_embedder = PatchEmbed(spec.channels, patch_size, width)
        self.t_embedder = TimestepEmbedder(width, unit=time == "unit")
        self.y_embedder = LabelEmbedder(spec.classes, width) if spec.classes else None
        self.pos_embed = nn.Parameter(sincos_positions(width, grid), requires_grad=False)  # (1, T, D)
        turn = axial_rope("lightningdit", torch.arange(grid), width // heads) if rope else None
        self.register_buffer("rope", turn, persistent=False)  # (2, T, D/H/2)

        norm: Callable[[int], nn.Module] = RMSNorm if rmsnorm else plain_norm
        qk_norm = (RMSNorm if rmsnorm else nn.LayerNorm) if qknorm else None  # both with a scale
        block = partial(
            AdaLNZeroBlock,
            norm=norm,
            attention=partial(Attention, qk_norm=qk_norm),
            mlp=SwiGLU if swiglu else Mlp,
            shift=shift,
        )
        self.blocks = nn.ModuleList(block(width, heads, mlp_ratio) for _ in range(depth))
        self.final_layer = AdaLNHead(width, patch_size, spec.out_channels, norm=norm)
        initialize_as_dit(self)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        tokens = self.x_embedder(x) + self.pos_embed  # (N, T, D)
        c = self.t_embedder(t)  # (N, D)
        if self.y_embedder is not None:
            c = c + self.y_embedder(y)
        for block in self.blocks:
            tokens = run_block(block, tokens, c, None, self.rope, checkpointing=self.checkpointing)
        return unpatchify(self.final_layer(tokens, c), self.out_channels, self.patch_size)
