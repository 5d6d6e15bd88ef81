"""MDT: masked diffusion transformer, v1 and v2 (Gao et al., 2023, arXiv:2303.14389).

A DiT in two parts. In training every image passes twice: once whole, and once with random tokens hidden
from the encoder; a side block fills those in, and the decoder must denoise all tokens all the same, which
teaches the network how the parts of an image hang together. Sampling never masks and skips the side block.

Letters in shapes: N images, T tokens, K kept tokens, D width, H heads, C channels, P patch size.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ditbench import BadValue, DenoiserSpec
from ditbench.layers import (
    AdaLNHead,
    AdaLNZeroBlock,
    LabelEmbedder,
    PatchEmbed,
    TimestepEmbedder,
    initialize_as_dit,
    position_bias,
    relative_position_index,
    run_block,
    sincos_positions,
    tokens_per_side,
    unpatchify,
)


class MDTBlock(AdaLNZeroBlock):
    """DiT's block with a relative position bias; with `fuse` it first takes in a long skip.

    `rows` is the length of the bias table (0: no bias).
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, rows: int, fuse: bool = False) -> None:
        super().__init__(width, heads, mlp_ratio)
        self.fuse = nn.Linear(2 * width, width) if fuse else None
        self.bias_table = nn.Parameter(torch.empty(rows, heads)) if rows else None

    def forward(  # type: ignore[override]
        self, x: Tensor, c: Tensor, index: Tensor, skip: Tensor | None = None
    ) -> Tensor:
        """x (N, T, D), c (N, D), skip (N, T, D); index (T, T) or (N, T, T) into the bias table."""
        if self.fuse is not None:
            x = self.fuse(torch.cat([x, skip], dim=-1))
        bias = None if self.bias_table is None else position_bias(self.bias_table, index)
        return super().forward(x, c, bias)


class MaskedDiT(nn.Module, ABC):
    """What v1 and v2 share: all but the blocks of encoder and decoder."""

    index: Tensor

    def __init__(
        self,
        spec: DenoiserSpec,
        *,
        depth: int,
        width: int,
        heads: int,
        patch_size: int,
        decoder: int,
        mlp_ratio: float = 4.0,
        mask: bool = True,
        side: bool = True,
        bias: bool = True,
        position: str = "learned",
        mask_ratio: float = 0.3,
        mask_ratio_max: float | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.mask, self.checkpointing = mask, checkpointing
        self.mask_ratios = (mask_ratio, mask_ratio if mask_ratio_max is None else mask_ratio_max)
        self.patch_size, self.out_channels = patch_size, spec.out_channels
        name = type(self).__name__.lower()
        grid = tokens_per_side(name, spec.resolution, patch_size)
        check_masking(name, mask, side, *self.mask_ratios, grid**2)
        rows = (2 * grid - 1) ** 2 + 3 if bias else 0  # BEiT's table: its last 3 rows are for a class token

        def block(fuse: bool = False) -> MDTBlock:
            return MDTBlock(width, heads, mlp_ratio, rows, fuse)

        self.x_embedder = PatchEmbed(spec.channels, patch_size, width)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(spec.classes, width) if spec.classes else None
        learned = position == "learned"
        self.pos_embed = nn.Parameter(sincos_positions(width, grid), requires_grad=learned)  # (1, T, D)
        self.decoder_pos_embed = nn.Parameter(sincos_positions(width, grid), requires_grad=learned)
        self.register_buffer("index", relative_position_index(grid), persistent=False)  # (T, T)
        self.add_blocks(block, depth, decoder)
        self.side_block = block() if mask and side else None
        self.mask_token = nn.Parameter(torch.empty(1, 1, width)) if mask else None
        self.final_layer = AdaLNHead(width, patch_size, spec.out_channels)
        self.train_only = tuple(name for name in ("side_block", "mask_token") if getattr(self, name) is not None)
        self.initialize()

    def initialize(self) -> None:
        """As DiT; bias tables are a truncated and the mask token a plain normal, std 0.02."""
        initialize_as_dit(self)
        for module in self.modules():
            if isinstance(module, MDTBlock) and module.bias_table is not None:
                nn.init.trunc_normal_(module.bias_table, std=0.02)
        if self.mask_token is not None:
            nn.init.normal_(self.mask_token, std=0.02)

    @abstractmethod
    def add_blocks(self, block: Callable[..., MDTBlock], depth: int, decoder: int) -> None:
        """Make the blocks of encoder and decoder."""

    @abstractmethod
    def encode(self, x: Tensor, c: Tensor, index: Tensor) -> Tensor:
        """Encoder blocks on the visible tokens (N, K, D)."""

    @abstractmethod
    def decode(self, x: Tensor, c: Tensor, tokens: Tensor) -> Tensor:
        """Decoder blocks on all tokens (N, T, D); `tokens` (N, T, D) are the embedded patches."""

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        y: Tensor | None = None,
        *,
        keep_ids: Tensor | None = None,
        keep: int | None = None,
    ) -> Tensor:
        """Denoise; masked if told which tokens of each image to keep (N, K), or how many at random."""
        tokens = self.x_embedder(x) + self.pos_embed  # (N, T, D)
        c = self.t_embedder(t)  # (N, D)
        if self.y_embedder is not None:
            c = c + self.y_embedder(y)
        if keep is not None:
            if keep_ids is not None:
                raise BadValue("mdt: keep and keep_ids both say what to keep; give one.")
            keep_ids = torch.rand(tokens.shape[:2], device=x.device).argsort(dim=1)[:, :keep]
        if keep_ids is None:
            latent = self.encode(tokens, c, self.index) + self.decoder_pos_embed
        else:
            latent = self.encode_masked(tokens, c, keep_ids)
        patches = self.final_layer(self.decode(latent, c, tokens), c)
        return unpatchify(patches, self.out_channels, self.patch_size)

    def encode_masked(self, tokens: Tensor, c: Tensor, keep_ids: Tensor) -> Tensor:
        """Encode the kept tokens and fill in the others: (N, T, D)."""
        if self.mask_token is None:
            raise BadValue("mdt: a network built with mask=off has no masked forward pass; build it with mask=on.")
        places = keep_ids[:, :, None].expand(-1, -1, tokens.shape[2])  # (N, K, D)
        index = self.index[keep_ids[:, :, None], keep_ids[:, None, :]]  # (N, K, K)
        kept = self.encode(tokens.gather(1, places), c, index)
        q = self.mask_token.to(kept.dtype).expand_as(tokens).scatter(1, places, kept) + self.decoder_pos_embed
        if self.side_block is None:
            return q
        filled = self.run(self.side_block, q, c, self.index)
        hidden = torch.ones_like(tokens[:, :, 0], dtype=torch.bool).scatter(1, keep_ids, False)  # (N, T)
        return torch.where(hidden[:, :, None], filled, q)  # masked shortcut: kept tokens bypass the side block

    def training_loss(self, loss: Callable[..., Tensor]) -> Tensor:
        """A whole and a masked pass, with the same times and fresh noise."""
        return loss() + loss(keep=self.draw_kept()) if self.mask else loss()

    def training_cost(self, cost: Callable[..., float]) -> float:
        """What `training_loss` costs of an image, on average over the ratios; `cost(**keywords)` is one pass's."""
        if not self.mask:
            return cost()
        return cost() + mean_over_lengths(lambda keep: cost(keep=keep), len(self.index), *self.mask_ratios)

    def draw_kept(self) -> int:
        """How many of T tokens the masked pass keeps: int(T (1 - r)), v2's r drawn uniformly at every step."""
        low, high = self.mask_ratios
        ratio = low if low == high else low + (high - low) * torch.rand((), device="cpu").item()
        return int(len(self.index) * (1 - ratio))

    def run(self, block: nn.Module, *inputs: Tensor) -> Tensor:
        """One block, its activations kept or recomputed."""
        return run_block(block, *inputs, checkpointing=self.checkpointing)


class MDT(MaskedDiT):
    """v1: the first blocks of a DiT are the encoder, the last ones the decoder."""

    def add_blocks(self, block: Callable[..., MDTBlock], depth: int, decoder: int) -> None:
        check_decoder("mdt", depth, decoder)
        self.blocks = nn.ModuleList(block() for _ in range(depth))
        self.split = depth - decoder

    def encode(self, x: Tensor, c: Tensor, index: Tensor) -> Tensor:
        for block in self.blocks[: self.split]:
            x = self.run(block, x, c, index)
        return x

    def decode(self, x: Tensor, c: Tensor, tokens: Tensor) -> Tensor:
        for block in self.blocks[self.split :]:
            x = self.run(block, x, c, self.index)
        return x


class MDTv2(MaskedDiT):
    """v2: the encoder is a U with long skips, and every decoder block takes in the embedded patches.

    In the masked pass these are the patches of all tokens, hidden ones too, as published.
    """

    def add_blocks(self, block: Callable[..., MDTBlock], depth: int, decoder: int) -> None:
        check_decoder("mdtv2", depth, decoder)
        if (depth - decoder) % 2:
            raise BadValue(f"mdtv2: decoder {decoder} leaves an odd encoder of depth {depth}; choose an even rest.")
        half = (depth - decoder) // 2
        self.in_blocks = nn.ModuleList(block() for _ in range(half))
        self.out_blocks = nn.ModuleList(block(fuse=True) for _ in range(half))
        self.decoder_blocks = nn.ModuleList(block(fuse=True) for _ in range(decoder))

    def encode(self, x: Tensor, c: Tensor, index: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for block in self.in_blocks:
            x = self.run(block, x, c, index)
            skips.append(x)
        for block in self.out_blocks:
            x = self.run(block, x, c, index, skips.pop())
        return x

    def decode(self, x: Tensor, c: Tensor, tokens: Tensor) -> Tensor:
        for block in self.decoder_blocks:
            x = self.run(block, x, c, self.index, tokens)
        return x


def chances_of_lengths(tokens: int, low: float, high: float) -> dict[int, float]:
    """Each number of kept tokens and its probability, for a mask ratio that is uniform from `low` to `high`."""
    fewest, most = tokens * (1 - high), tokens * (1 - low)
    if low == high:
        return {int(most): 1.0}
    shares = {keep: min(most, keep + 1) - max(fewest, keep) for keep in range(int(fewest), math.ceil(most))}
    return {keep: share / (most - fewest) for keep, share in shares.items()}


def mean_over_lengths(cost: Callable[[int], float], tokens: int, low: float, high: float) -> float:
    """The mean of a pass's cost over the drawn numbers of kept tokens.

    Attention makes it a polynomial of degree two in that number, so that three of them tell it exactly.
    """
    chances = chances_of_lengths(tokens, low, high)
    lengths = list(chances)
    known = sorted({lengths[0], lengths[len(lengths) // 2], lengths[-1]})

    def weight(of: int) -> float:
        """The mean of Lagrange's polynomial that is 1 at `of` and 0 at the other known lengths."""
        others = [other for other in known if other != of]
        basis = ((p, math.prod((keep - o) / (of - o) for o in others)) for keep, p in chances.items())
        return math.fsum(p * value for p, value in basis)

    return math.fsum(weight(keep) * cost(keep) for keep in known)


def check_masking(name: str, mask: bool, side: bool, low: float, high: float, tokens: int) -> None:
    """Refuse mask ratios that make no sense or leave no token, and to leave out a side block that nothing uses."""
    if not 0 < low <= high < 1:
        raise BadValue(f"{name}: mask ratios from {low} to {high}; choose 0 < mask_ratio <= mask_ratio_max < 1.")
    if int(tokens * (1 - high)) < 1:
        raise BadValue(f"{name}: mask ratio {high} leaves none of {tokens} tokens; choose a smaller one.")
    if not (mask or side):
        raise BadValue(f"{name}: mask=off has no side block anyway; leave out side=off.")


def check_decoder(name: str, depth: int, decoder: int) -> None:
    """Refuse a decoder that is longer than the network."""
    if not 0 <= decoder <= depth:
        raise BadValue(f"{name}: decoder {decoder} does not fit into depth {depth}; choose from 0 to {depth}.")
