"""I3D (Carreira & Zisserman, 2017): Inception-v1, its convolutions inflated to space and time; written from the paper.

Modules are named as in the published state dict of DeepMind's weights (ImageNet, then Kinetics-400) in PyTorch. That
file lacks the counters of batch norms, which inference does not need; whatever else is missing or left over is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...datasets.pixels import as_rgb, from_bytes
from ...errors import BadFile

SIZE, WIDTH, CLASSES = 224, 1024, 400
SHORTEST = 9  # frames: they are pooled by 8, and the last pooling takes two
_POOLED = (2, 7, 7)
_COUNTER = "num_batches_tracked"
Triple = tuple[int, int, int]
_STEM: tuple[tuple[str, int, int, int, int], ...] = (  # name, channels before and after, kernel, stride
    ("Conv3d_1a_7x7", 3, 64, 7, 2),
    ("Conv3d_2b_1x1", 64, 64, 1, 1),
    ("Conv3d_2c_3x3", 64, 192, 3, 1),
)
_MIXED = {  # channels before, and those of the branches: 1x1; 1x1 then 3x3; 1x1 then 3x3; 1x1 after pooling
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}
_POOLS: dict[str, tuple[Triple, Triple]] = {  # kernel and stride of the pooling before this module
    "Conv3d_2b_1x1": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}


class _Unit(nn.Module):
    """A convolution, and after all but the last a batch norm and a ReLU."""

    def __init__(self, before: int, after: int, kernel: int = 1, stride: int = 1, last: bool = False) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(before, after, kernel, stride, bias=last)
        self.bn = None if last else nn.BatchNorm3d(after, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3d(_padded(x, self.kernel, self.stride))
        return x if self.bn is None else F.relu(self.bn(x))


class _Mixed(nn.Module):
    """Four branches, side by side."""

    def __init__(self, before: int, one: int, narrow: int, wide: int, narrower: int, less: int, pooled: int) -> None:
        super().__init__()
        self.b0 = _Unit(before, one)
        self.b1a, self.b1b = _Unit(before, narrow), _Unit(narrow, wide, 3)
        self.b2a, self.b2b = _Unit(before, narrower), _Unit(narrower, less, 3)
        self.b3b = _Unit(before, pooled)

    def forward(self, x: Tensor) -> Tensor:
        pooled = _pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], dim=1)


class I3D(nn.Module):
    """Clips (N, F, 1 or 3, H, W) uint8 in, of 9 frames or more.

    ``features`` and ``logits`` (N, 400) are one: the classes' scores before the softmax, averaged over time, which the
    FVD of Unterthiner et al. (2018) compares.
    """

    def __init__(self) -> None:
        super().__init__()
        for name, before, after, kernel, stride in _STEM:
            self.add_module(name, _Unit(before, after, kernel, stride))
        for name, channels in _MIXED.items():
            self.add_module(name, _Mixed(*channels))
        self.logits = _Unit(WIDTH, CLASSES, last=True)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        x = self.logits(F.avg_pool3d(self.maps(prepared(pixels)), _POOLED, stride=1))
        scores = x.mean((2, 3, 4))
        return {"features": scores, "logits": scores}

    def maps(self, x: Tensor) -> Tensor:
        """(N, 1024, F / 8, 7, 7) of clips (N, 3, F, 224, 224) in [-1, 1]."""
        for name in (*(name for name, *_ in _STEM), *_MIXED):
            if name in _POOLS:
                x = _pool(x, *_POOLS[name])
            x = self.get_submodule(name)(x)
        return x


def prepared(pixels: Tensor) -> Tensor:
    """Clips (N, F, C, H, W) uint8 as the network takes them: RGB, resized frame by frame, (N, 3, F, 224, 224)."""
    frames = F.interpolate(from_bytes(as_rgb(pixels.flatten(0, 1))), (SIZE, SIZE), mode="bilinear", align_corners=False)
    return frames.view(*pixels.shape[:2], *frames.shape[1:]).transpose(1, 2)


def _pool(x: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """The largest of each place; what is padded is 0, as no input is below that."""
    return F.max_pool3d(_padded(x, kernel, stride), kernel, stride)


def _padded(x: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """Padded as TensorFlow's SAME is: as little as needed, and of an odd number the larger half at the end."""
    around: list[int] = []
    for size, wide, step in zip(x.shape[2:], kernel, stride, strict=True):
        missing = max(wide - (size % step or step), 0)
        around = [missing // 2, missing - missing // 2, *around]  # F.pad takes the last axis first
    return F.pad(x, around) if any(around) else x


def i3d(weights: Mapping[str, Tensor]) -> I3D:
    """I3D with the published weights; `BadFile` names one that is missing or not known."""
    network = I3D()
    odd = network.load_state_dict(weights, strict=False)
    wrong = [*(name for name in odd.missing_keys if not name.endswith(_COUNTER)), *odd.unexpected_keys]
    if wrong:
        raise BadFile(f"The weights are not those of I3D with {CLASSES} classes: {wrong[0]!r} is missing or unknown.")
    return network
