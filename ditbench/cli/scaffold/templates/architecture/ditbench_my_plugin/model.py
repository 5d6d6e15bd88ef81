"""The network: an example to put yours in the place of. In shapes: N images, T tokens, D width, S resolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ditbench import DenoiserSpec
from ditbench.layers import Attention, LabelEmbedder, Mlp, PatchEmbed, TimestepEmbedder, tokens_per_side, unpatchify


class Block(nn.Module):
    """A transformer block with its norms first: (N, T, D) -> (N, T, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Denoiser(nn.Module):
    """Noisy images x (N, C, S, S), times t (N,) in [0, 1000] and labels y (N,) -> (N, spec.out_channels, S, S).

    Labels run over [0, spec.classes]; the last means "no label".
    """

    def __init__(
        self, spec: DenoiserSpec, *, patch: int, width: int, depth: int, heads: int, skip: bool = True
    ) -> None:
        super().__init__()
        side = tokens_per_side("my_plugin", spec.resolution, patch)
        self.patch, self.out_channels, self.skip = patch, spec.out_channels, skip
        self.embed = PatchEmbed(spec.channels, patch, width)
        self.positions = nn.Parameter(0.02 * torch.randn(1, side * side, width))
        self.time = TimestepEmbedder(width)
        self.label = LabelEmbedder(spec.classes, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, patch * patch * spec.out_channels)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        patches = self.embed(x) + self.positions
        tokens = torch.cat([self.time(t)[:, None], self.label(y)[:, None], patches], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        last = tokens[:, 2:]  # without time and label
        if self.skip:
            last = last + patches
        return unpatchify(self.head(self.norm(last)), self.out_channels, self.patch)
