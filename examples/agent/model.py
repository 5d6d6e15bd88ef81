"""A denoiser of one's own: any nn.Module whose forward takes noisy images x, times t and labels y."""

import torch
from torch import Tensor, nn


class Model(nn.Module):
    """A small convolutional network: x (N, C, S, S), t (N,) in [0, 1000], y (N,) -> (N, spec.out_channels, S, S).

    `spec` is the input that a track gives: channels, resolution, classes, out_channels. The last label, `spec.classes`,
    means "no label".
    """

    def __init__(self, spec, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.embed = nn.Conv2d(spec.channels, width, 3, padding=1)
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(spec.classes + 1, width)
        self.norms = nn.ModuleList(nn.GroupNorm(4, width) for _ in range(depth))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.head = nn.Conv2d(width, spec.out_channels, 3, padding=1)
        self.register_buffer("frequencies", torch.logspace(0, -4, 32), persistent=False)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        angles = t[:, None] * self.frequencies
        condition = self.time(torch.cat([angles.cos(), angles.sin()], dim=1)) + self.label(y)
        h = self.embed(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = h + conv(nn.functional.silu(norm(h) + condition[:, :, None, None]))
        return self.head(h)
