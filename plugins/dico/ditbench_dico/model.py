"""DiCo: diffusion convnets (Ai et al., 2025, arXiv:2505.11196).

No attention between places: a place sees its 3x3 neighbours, and all of them through one number for each channel, the
gate of the compact channel attention. The blocks stand in a U of three resolutions and are modulated as DiT's are.

Letters in shapes: N images, D width, C channels, S pixels or cells per side, R the MLP's ratio.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ditbench import BadValue, DenoiserSpec
from ditbench.layers import LabelEmbedder, TimestepEmbedder, initialize_as_dit, run_block

WIDTHS = (1, 2, 4, 2, 2)  # times D; the last stage keeps the width of the one before


def norm(x: Tensor) -> Tensor:
    """Layer norm over the channels of every place, without weights: (N, D, S, S) -> the same."""
    return F.layer_norm(x.movedim(1, -1), x.shape[1:2], eps=1e-6).movedim(-1, 1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (N, D, S, S) scaled by 1 + scale and shifted, both (N, D, 1, 1)."""
    return x * (1 + scale) + shift


class ConvModule(nn.Module):
    """1x1, depthwise 3x3, GELU, channel attention, 1x1: what stands in place of a transformer's attention."""

    def __init__(self, width: int, channel_attention: bool) -> None:
        super().__init__()
        self.enter = nn.Conv2d(width, width, 1)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.gate = nn.Conv2d(width, width, 1) if channel_attention else None
        self.leave = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.depthwise(self.enter(x)))
        if self.gate is not None:
            x = x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()  # (N, D, 1, 1)
        return self.leave(x)  # type: ignore[no-any-return]


class PointwiseMlp(nn.Module):
    """1x1, GELU, 1x1, with R * D channels between."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        hidden = int(width * ratio)
        self.enter, self.leave = nn.Conv2d(width, hidden, 1), nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(F.gelu(self.enter(x)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """The two modules in turn, each normed, modulated and gated by c (N, D), as in DiT's adaLN-Zero."""

    def __init__(self, width: int, mlp_ratio: float, channel_attention: bool) -> None:
        super().__init__()
        self.conv = ConvModule(width, channel_attention)
        self.mlp = PointwiseMlp(width, mlp_ratio)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(c)[..., None, None].chunk(6, dim=1)
        x = x + gate1 * self.conv(modulate(norm(x), shift1, scale1))
        return x + gate2 * self.mlp(modulate(norm(x), shift2, scale2))  # type: ignore[no-any-return]


class Head(nn.Module):
    """A modulated norm and a 3x3 convolution: (N, D, S, S) -> (N, C, S, S)."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, channels, 3, padding=1)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(c)[..., None, None].chunk(2, dim=1)
        return self.conv(modulate(norm(x), shift, scale))  # type: ignore[no-any-return]


class Condition(nn.Module):
    """Time and label for the stages of one width: (N, D)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(classes, width) if classes else None

    def forward(self, t: Tensor, y: Tensor | None) -> Tensor:
        c: Tensor = self.t_embedder(t)
        return c if self.y_embedder is None else c + self.y_embedder(y)


class DiCo(nn.Module):
    """The denoiser. `depths` has the blocks of the five stages: two going down, the middle, two going up."""

    def __init__(
        self,
        spec: DenoiserSpec,
        *,
        width: int,
        depths: str,
        mlp_ratio: float = 2.0,
        channel_attention: bool = True,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        blocks = numbers(depths)
        check(spec.resolution, width, blocks)
        self.checkpointing = checkpointing

        self.x_embedder = nn.Conv2d(spec.channels, width, 3, padding=1)
        self.conditions = nn.ModuleList(Condition(times * width, spec.classes) for times in (1, 2, 4))
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(times * width, mlp_ratio, channel_attention) for _ in range(depth))
            for times, depth in zip(WIDTHS, blocks, strict=True)
        )
        # down: a quarter of the places, four times the channels; up: the reverse
        self.down = nn.ModuleList(nn.Conv2d(d, d // 2, 3, padding=1, bias=False) for d in (width, 2 * width))
        self.up = nn.ModuleList(nn.Conv2d(d, 2 * d, 3, padding=1, bias=False) for d in (4 * width, 2 * width))
        self.fuse = nn.ModuleList(nn.Conv2d(d, 2 * width, 1) for d in (4 * width, 2 * width))
        self.head = Head(2 * width, spec.out_channels)
        self.initialize()

    def initialize(self) -> None:
        """As DiT: Xavier-uniform without bias, embedders N(0, 0.02), and zero what modulates and what puts out.

        The first convolution counts its 3x3 inputs as a Linear on patches would, all others as convolutions do.
        """
        initialize_as_dit(self)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                zero(module.bias)
            elif isinstance(module, Block | Head):
                zero(*module.adaLN_modulation.parameters())
        nn.init.xavier_uniform_(self.x_embedder.weight.flatten(1))
        zero(self.head.conv.weight)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        c1, c2, c3 = (condition(t, y) for condition in self.conditions)
        fine = self.run(0, self.x_embedder(x), c1)  # (N, D, S, S)
        half = self.run(1, F.pixel_unshuffle(self.down[0](fine), 2), c2)  # (N, 2D, S/2, S/2)
        x = self.run(2, F.pixel_unshuffle(self.down[1](half), 2), c3)  # (N, 4D, S/4, S/4)
        x = self.run(3, self.fuse[0](torch.cat([F.pixel_shuffle(self.up[0](x), 2), half], dim=1)), c2)
        x = self.run(4, self.fuse[1](torch.cat([F.pixel_shuffle(self.up[1](x), 2), fine], dim=1)), c2)
        return self.head(x, c2)  # type: ignore[no-any-return]

    def run(self, stage: int, x: Tensor, c: Tensor) -> Tensor:
        """All blocks of a stage, one after another."""
        for block in self.stages[stage]:  # type: ignore[attr-defined]
            x = run_block(block, x, c, checkpointing=self.checkpointing)
        return x


def numbers(text: str) -> list[int]:
    """ "5,4,4,4,4" -> [5, 4, 4, 4, 4]."""
    return [int(number) for number in text.split(",")]


def check(resolution: int, width: int, blocks: list[int]) -> None:
    """`BadValue` unless there are five stages, and maps and widths halve twice."""
    if len(blocks) != len(WIDTHS):
        raise BadValue(f"dico: depths for {len(blocks)} stages; name five, such as 5,4,4,4,4.")
    if width % 2:
        raise BadValue(f"dico: width {width} is odd, and half of it is what a map is halved with; choose an even one.")
    if resolution % 4:
        raise BadValue(f"dico: resolution {resolution} can't be halved twice; choose a multiple of 4.")


def zero(*parameters: Tensor | None) -> None:
    """Set what there is to zero."""
    for parameter in parameters:
        if parameter is not None:
            nn.init.zeros_(parameter)
