"""Latte: latent diffusion transformer for video generation (Ma et al., 2024, arXiv:2401.03048).

Frames are cut into patches one by one, as DiT cuts images. The paper compares four ways to spare attention among all
tokens of a clip: each attends within its frame, or among those at its place in all frames. Variant 1, the published
one, has blocks of both kinds by turns; 2 to 4 are written from the paper's prose. All else is DiT's, and stands in
`ditbench.layers`.

Letters in shapes: N clips, F frames, T tokens of a frame, D width, C channels, P patch size; M sequences of L tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ditbench import BadValue, DenoiserSpec
from ditbench.layers import (
    AdaLNHead,
    AdaLNZeroBlock,
    Attention,
    LabelEmbedder,
    PatchEmbed,
    TimestepEmbedder,
    attend,
    initialize_as_dit,
    merge_heads,
    run_block,
    sincos_axis,
    sincos_positions,
    split_heads,
    tokens_per_side,
    unpatchify,
)

OfSequences = Callable[[Tensor], Tensor]  # (M, L, any) -> (M, L, any)


def in_space(layer: OfSequences, x: Tensor) -> Tensor:
    """Each frame of x (N, F, T, any) as a sequence of its own."""
    return layer(x.flatten(0, 1).contiguous()).unflatten(0, x.shape[:2])


def in_time(layer: OfSequences, x: Tensor) -> Tensor:
    """Each place of x (N, F, T, any) as a sequence of its own, frame after frame."""
    return in_space(layer, x.transpose(1, 2)).transpose(1, 2)


class SpaceThenTime(nn.Module):
    """Variant 3: attention in space, and attention in time on what that gives: (N, F*T, D) -> (N, F*T, D)."""

    def __init__(self, width: int, heads: int, *, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.space, self.time = Attention(width, heads), Attention(width, heads)

    def forward(self, x: Tensor, *_: None) -> Tensor:
        clips = x.unflatten(1, (self.frames, -1))  # (N, F, T, D)
        return in_time(self.time, in_space(self.space, clips)).flatten(1, 2)


class SpaceBesideTime(nn.Module):
    """Variant 4: half of the heads attend in space, half in time: (N, F*T, D) -> (N, F*T, D)."""

    def __init__(self, width: int, heads: int, *, frames: int) -> None:
        super().__init__()
        if heads % 2:
            raise BadValue(f"latte: {heads} heads can't be halved between space and time; choose an even number.")
        self.half, self.frames = heads // 2, frames
        self.qkv = nn.Linear(width, 3 * width)  # of the heads in space, then of those in time
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, *_: None) -> Tensor:
        space, time = self.qkv(x).unflatten(1, (self.frames, -1)).chunk(2, dim=-1)  # (N, F, T, 3*D/2) each
        both = torch.cat([in_space(self.heads, space), in_time(self.heads, time)], dim=-1)  # (N, F, T, D)
        return self.proj(both.flatten(1, 2))  # type: ignore[no-any-return]

    def heads(self, qkv: Tensor) -> Tensor:
        """(M, L, 3*D/2) -> (M, L, D/2)."""
        return merge_heads(attend(*split_heads(qkv, self.half)))


class Latte(nn.Module):
    """The denoiser, in any of the four variants."""

    def __init__(
        self,
        spec: DenoiserSpec,
        *,
        depth: int,
        width: int,
        heads: int,
        patch_size: int,
        mlp_ratio: float = 4.0,
        variant: int = 1,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.patch_size, self.out_channels, self.checkpointing = patch_size, spec.out_channels, checkpointing
        self.timely = timely_blocks(variant, depth)
        grid = tokens_per_side("latte", spec.resolution, patch_size)

        self.x_embedder = PatchEmbed(spec.channels, patch_size, width)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(spec.classes, width) if spec.classes else None
        self.pos_embed = nn.Parameter(sincos_positions(width, grid), requires_grad=False)  # (1, T, D)
        frames = sincos_axis(width, spec.frames)[None].float()
        self.temp_embed = nn.Parameter(frames, requires_grad=False)  # (1, F, D)
        both = {3: SpaceThenTime, 4: SpaceBesideTime}.get(variant)
        attention = Attention if both is None else partial(both, frames=spec.frames)
        self.blocks = nn.ModuleList(AdaLNZeroBlock(width, heads, mlp_ratio, attention=attention) for _ in range(depth))
        self.final_layer = AdaLNHead(width, patch_size, spec.out_channels)
        initialize_as_dit(self)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        tokens = self.x_embedder(x.flatten(0, 1)) + self.pos_embed  # (N*F, T, D)
        tokens = tokens.unflatten(0, x.shape[:2])
        c = self.t_embedder(t)  # (N, D)
        if self.y_embedder is not None:
            c = c + self.y_embedder(y)
        tokens = self.by_turns(tokens, c) if self.timely else self.at_once(tokens, c)
        patches = in_space(partial(self.told, self.final_layer, c), tokens).flatten(0, 1)  # (N*F, T, P*P*C)
        return unpatchify(patches, self.out_channels, self.patch_size).unflatten(0, x.shape[:2])

    def by_turns(self, x: Tensor, c: Tensor) -> Tensor:
        """Variants 1 and 2: x (N, F, T, D) through blocks in space and blocks in time."""
        for place, block in enumerate(self.blocks):
            if place == self.timely[0]:
                x = x + self.temp_embed[:, :, None]
            apply = in_time if place in self.timely else in_space
            x = apply(partial(self.told, block, c), x)
        return x

    def at_once(self, x: Tensor, c: Tensor) -> Tensor:
        """Variants 3 and 4: x (N, F, T, D) through blocks of both."""
        tokens = (x + self.temp_embed[:, :, None]).flatten(1, 2)  # (N, F*T, D)
        for block in self.blocks:
            tokens = run_block(block, tokens, c, checkpointing=self.checkpointing)
        return tokens.unflatten(1, x.shape[1:3])

    def told(self, layer: nn.Module, c: Tensor, x: Tensor) -> Tensor:
        """A block or the head on sequences (M, L, D), of which M/N are of one clip, and are told its c (N, D)."""
        each = c.repeat_interleave(x.shape[0] // c.shape[0], dim=0)  # (M, D)
        return run_block(layer, x, each, checkpointing=self.checkpointing)


def timely_blocks(variant: int, depth: int) -> range:
    """Those in time, counted from 0, of the variants whose blocks are either in space or in time: 1 and 2."""
    if variant > 2:
        return range(0)
    if depth % 2:
        raise BadValue(f"latte: half of the blocks of variant {variant} are in time, and depth {depth} is odd.")
    return range(1, depth, 2) if variant == 1 else range(depth // 2, depth)
