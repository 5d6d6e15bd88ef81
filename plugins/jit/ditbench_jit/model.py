"""JiT, just image transformers (Li & He, 2025, arXiv:2511.13720): a plain ViT that predicts images from large patches.

A patch of pixels has many dimensions, the images in it few: so patches are embedded through a bottleneck, and the
network is made to predict the image (objective `x-pred`), which lies on few dimensions, not the noise, which does not.
Blocks are DiT's with the parts of language models, which stand in `ditbench.layers`.

Letters in shapes: N images, T tokens, K context tokens, D width, B bottleneck, C channels, P patch size.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ditbench import BadValue, DenoiserSpec
from ditbench.layers import (
    AdaLNHead,
    AdaLNZeroBlock,
    Attention,
    LabelEmbedder,
    RMSNorm,
    SwiGLU,
    TimestepEmbedder,
    axial_rope,
    initialize_as_dit,
    run_block,
    sincos_positions,
    tokens_per_side,
    unpatchify,
)


class BottleneckEmbed(nn.Module):
    """Patches to tokens in two linear maps, through B channels: (N, C, G*P, G*P) -> (N, T, D)."""

    def __init__(self, channels: int, patch: int, bottleneck: int, width: int) -> None:
        super().__init__()
        self.proj1 = nn.Conv2d(channels, bottleneck, kernel_size=patch, stride=patch, bias=False)
        self.proj2 = nn.Conv2d(bottleneck, width, kernel_size=1)
        for proj in (self.proj1, self.proj2):
            nn.init.xavier_uniform_(proj.weight.view(proj.out_channels, -1))
        nn.init.zeros_(self.proj2.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj2(self.proj1(x)).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class JiT(nn.Module):
    """The denoiser. From block `context_start` on, `context` tokens of the label stand in front of the patches."""

    def __init__(
        self,
        spec: DenoiserSpec,
        *,
        depth: int,
        width: int,
        heads: int,
        patch_size: int,
        mlp_ratio: float = 4.0,
        bottleneck: int = 128,
        context: int = 32,
        context_start: int = 4,
        dropout: float = 0.0,
        time: str = "thousand",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if context and context_start >= depth:
            raise BadValue(f"jit: context_start {context_start} leaves no block of {depth} to the context tokens.")
        self.patch_size, self.out_channels, self.checkpointing = patch_size, spec.out_channels, checkpointing
        self.context, self.context_start = context, context_start
        grid = tokens_per_side("jit", spec.resolution, patch_size)

        self.x_embedder = BottleneckEmbed(spec.channels, patch_size, bottleneck, width)
        self.t_embedder = TimestepEmbedder(width, unit=time == "unit")
        self.y_embedder = LabelEmbedder(spec.classes, width) if spec.classes else None
        self.pos_embed = nn.Parameter(sincos_positions(width, grid), requires_grad=False)  # (1, T, D)
        if context:
            self.in_context_posemb = nn.Parameter(0.02 * torch.randn(1, context, width))
        rope = axial_rope("jit", torch.arange(grid), width // heads)  # (2, T, D/H/2)
        still = axial_rope("jit", torch.zeros(1), width // heads).expand(-1, context, -1)  # context tokens don't turn
        self.register_buffer("rope", rope, persistent=False)
        self.register_buffer("rope_in_context", torch.cat([still, rope], dim=1), persistent=False)

        def block(number: int) -> nn.Module:
            rate = dropout if depth // 4 <= number < depth // 4 * 3 else 0.0  # the middle half
            return AdaLNZeroBlock(
                width,
                heads,
                mlp_ratio,
                norm=RMSNorm,
                attention=partial(Attention, qk_norm=RMSNorm, dropout=rate),
                mlp=partial(SwiGLU, dropout=rate),
            )

        self.blocks = nn.ModuleList(block(number) for number in range(depth))
        self.final_layer = AdaLNHead(width, patch_size, spec.out_channels, norm=RMSNorm)
        initialize_as_dit(self)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        c = self.t_embedder(t)  # (N, D)
        label = None if self.y_embedder is None else self.y_embedder(y)
        if label is not None:
            c = c + label
        tokens, rope = self.x_embedder(x) + self.pos_embed, self.rope  # (N, T, D)
        for number, block in enumerate(self.blocks):
            if self.context and number == self.context_start:
                tokens, rope = self.joined(tokens, label), self.rope_in_context  # (N, K + T, D)
            tokens = run_block(block, tokens, c, None, rope, checkpointing=self.checkpointing)
        patches = self.final_layer(tokens[:, self.context :], c)
        return unpatchify(patches, self.out_channels, self.patch_size)

    def joined(self, tokens: Tensor, label: Tensor | None) -> Tensor:
        """The label (N, D), told apart by position alone, in front of the patches; without labels, positions alone."""
        context = self.in_context_posemb.expand(len(tokens), -1, -1)  # (N, K, D)
        if label is not None:
            context = context + label[:, None]
        return torch.cat([context.type_as(tokens), tokens], dim=1)
