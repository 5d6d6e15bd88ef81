"""DDT and DiT^DH: an encoder makes a condition of each token, and a decoder that starts anew from the image is told it.

DDT, decoupled diffusion transformer (Wang et al., 2025, arXiv:2504.05741): most blocks find what the image means, the
last ones its fine detail. DiT^DH (Zheng et al., 2025, arXiv:2510.11690) makes the decoder shallow and very wide, for
latents whose tokens have many channels: a denoiser should be no narrower than these. Its body is LightningDiT's.

In both a block's norms and gates are told by a vector of each token, not of the image. Blocks stand in
`ditbench.layers`; they pass what they are told through SiLU first, where DDT's equations have it before.

Letters in shapes: N images, T tokens, D width (of the encoder), W width of the decoder, C channels, P patch size.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ditbench import BadValue, DenoiserSpec
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


class Decoupled(nn.Module, ABC):
    """What both have: the two embeddings of the image, and the way from one to the other. They make the parts."""

    checkpointing: bool
    encoder: int  # how many of the blocks
    t_embedder: nn.Module
    y_embedder: nn.Module | None
    s_embedder: nn.Module  # of the image, for the encoder,
    x_embedder: nn.Module  # and for the decoder
    blocks: nn.ModuleList
    final_layer: nn.Module
    rope: Tensor | None  # of the encoder's heads (2, T, d/2),
    rope_decoder: Tensor | None  # and of the decoder's

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        time = self.t_embedder(t)  # (N, D)
        c = time if self.y_embedder is None else time + self.y_embedder(y)
        s = self.condition(self.encoded(x, c) + time[:, None])  # (N, T, W)
        tokens = self.x_embedder(x)  # (N, T, W)
        for block in self.blocks[self.encoder :]:
            tokens = run_block(block, tokens, s, None, self.rope_decoder, checkpointing=self.checkpointing)
        return self.image(self.final_layer(tokens, s))

    def encoded(self, x: Tensor, c: Tensor) -> Tensor:
        """What the encoder makes of the image's tokens (N, T, D), told c (N, D)."""
        tokens = self.s_embedder(x)
        for block in self.blocks[: self.encoder]:
            tokens = run_block(block, tokens, c, None, self.rope, checkpointing=self.checkpointing)
        return tokens

    def condition(self, s: Tensor) -> Tensor:
        """What the decoder's blocks are told (N, T, W), of what the encoder made (N, T, D)."""
        return s

    @abstractmethod
    def image(self, patches: Tensor) -> Tensor:
        """(N, T, P*P*C) -> (N, C, G*P, G*P)."""


class ChannelFirstEmbed(nn.Module):
    """Patches, channel by channel, mapped linearly: (N, C, G*P, G*P) -> (N, T, D)."""

    def __init__(self, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Linear(channels * patch * patch, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2))  # type: ignore[no-any-return]


class DDT(Decoupled):
    """DDT: encoder and decoder equally wide, positions by rotation alone."""

    def __init__(
        self,
        spec: DenoiserSpec,
        *,
        depth: int,
        encoder: int,
        width: int,
        heads: int,
        patch_size: int,
        time: str = "thousand",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_split("ddt", encoder, depth)
        self.patch_size, self.encoder, self.checkpointing = patch_size, encoder, checkpointing
        self.grid = tokens_per_side("ddt", spec.resolution, patch_size)

        self.s_embedder = ChannelFirstEmbed(spec.channels, patch_size, width)
        self.x_embedder = ChannelFirstEmbed(spec.channels, patch_size, width)
        unit = time == "unit"
        self.t_embedder = TimestepEmbedder(width, unit=unit, max_period=10.0 if unit else 10_000.0)
        self.y_embedder = LabelEmbedder(spec.classes, width) if spec.classes else None
        rows, columns = axial_rope("ddt", torch.linspace(0, 16, self.grid), width // heads).chunk(2, dim=-1)
        turn = torch.stack([columns, rows], dim=-1).flatten(-2)  # pairs turn by column and row in turn
        self.register_buffer("rope", turn, persistent=False)
        self.register_buffer("rope_decoder", turn, persistent=False)

        block = partial(
            AdaLNZeroBlock,
            norm=RMSNorm,
            attention=partial(Attention, qkv_bias=False, qk_norm=RMSNorm),
            mlp=partial(SwiGLU, bias=False),
        )
        self.blocks = nn.ModuleList(block(width, heads) for _ in range(depth))
        self.final_layer = AdaLNHead(width, patch_size, spec.out_channels)
        self.initialize()

    def initialize(self) -> None:
        """Embeddings and head start as DiT's; the blocks, their gates too, as torch starts a Linear."""
        for part in (self.s_embedder, self.x_embedder, self.t_embedder, self.y_embedder, self.final_layer):
            if part is not None:
                initialize_as_dit(part)

    def image(self, patches: Tensor) -> Tensor:
        """(N, T, C*P*P) -> (N, C, G*P, G*P)."""
        square = patches.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        return F.pixel_shuffle(square, self.patch_size)


class FourierTime(nn.Module):
    """t (N,) -> sines and cosines of t / 1000 at random frequencies, which are fixed -> two-layer MLP -> (N, D)."""

    def __init__(self, width: int, frequencies: int = 256) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(frequencies), requires_grad=False)
        self.mlp = nn.Sequential(nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        angles = 2 * math.pi * (t.float() / 1000)[:, None] * self.W
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1)
        return self.mlp(waves.to(self.mlp[0].weight.dtype))  # type: ignore[no-any-return]


class DiTDH(Decoupled):
    """DiT^DH: LightningDiT's blocks, and a head of few and wide ones."""

    def __init__(
        self,
        spec: DenoiserSpec,
        *,
        depth: int,
        width: int,
        heads: int,
        patch_size: int,
        head_depth: int = 2,
        head_width: int = 2048,
        head_heads: int = 16,
        mlp_ratio: float = 4.0,
        swiglu: bool = True,
        rope: bool = True,
        rmsnorm: bool = True,
        qknorm: bool = False,
        shift: bool = True,
        position: bool = True,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_split("dit-dh", depth, depth + head_depth)
        self.patch_size, self.out_channels = patch_size, spec.out_channels
        self.encoder, self.checkpointing = depth, checkpointing
        grid = tokens_per_side("dit-dh", spec.resolution, patch_size)

        self.s_embedder = PatchEmbed(spec.channels, patch_size, width)
        self.x_embedder = PatchEmbed(spec.channels, patch_size, head_width)
        self.s_projector = nn.Linear(width, head_width) if width != head_width else nn.Identity()
        self.t_embedder = FourierTime(width)
        self.y_embedder = LabelEmbedder(spec.classes, width) if spec.classes else None
        table = nn.Parameter(sincos_positions(width, grid), requires_grad=False) if position else None  # (1, T, D)
        self.register_parameter("pos_embed", table)
        for name, one in (("rope", width // heads), ("rope_decoder", head_width // head_heads)):
            turn = axial_rope("dit-dh", torch.arange(grid), one) if rope else None
            self.register_buffer(name, turn, persistent=False)

        norm: Callable[[int], nn.Module] = RMSNorm if rmsnorm else plain_norm
        qk_norm = (RMSNorm if rmsnorm else nn.LayerNorm) if qknorm else None  # both with a scale
        block = partial(
            AdaLNZeroBlock,
            mlp_ratio=mlp_ratio,
            norm=norm,
            attention=partial(Attention, qk_norm=qk_norm),
            mlp=SwiGLU if swiglu else Mlp,
            shift=shift,
        )
        body = [block(width, heads) for _ in range(depth)]
        self.blocks = nn.ModuleList([*body, *(block(head_width, head_heads) for _ in range(head_depth))])
        self.final_layer = AdaLNHead(head_width, patch_size, spec.out_channels, norm=norm)
        initialize_as_dit(self)
        for part in (self.t_embedder.mlp[0], self.t_embedder.mlp[2]):
            nn.init.normal_(part.weight, std=0.02)

    def encoded(self, x: Tensor, c: Tensor) -> Tensor:
        """As of `Decoupled`, with positions, and c through SiLU once more than the blocks do."""
        tokens = self.s_embedder(x)
        if self.pos_embed is not None:
            tokens = tokens + self.pos_embed
        c = F.silu(c)
        for block in self.blocks[: self.encoder]:
            tokens = run_block(block, tokens, c, None, self.rope, checkpointing=self.checkpointing)
        return tokens

    def condition(self, s: Tensor) -> Tensor:
        """As wide as the decoder is, and through SiLU once more than its blocks do."""
        return self.s_projector(F.silu(s))  # type: ignore[no-any-return]

    def image(self, patches: Tensor) -> Tensor:
        """(N, T, P*P*C) -> (N, C, G*P, G*P)."""
        return unpatchify(patches, self.out_channels, self.patch_size)


def check_split(name: str, encoder: int, depth: int) -> None:
    """`BadValue` unless both the encoder and the decoder have a block."""
    if not 0 < encoder < depth:
        raise BadValue(f"{name}: of {depth} blocks {encoder} can't form the encoder: one at least, and not all.")
