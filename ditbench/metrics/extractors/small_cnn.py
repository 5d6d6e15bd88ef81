"""The small classifiers whose features stand in for Inception's on small grey images.

Inception knows nothing of 8x8 digits, so `fid1k/digits-cnn` compares these 64 features instead; `fashion-cnn`, which
names 92 % of the unseen clothes right, does the same for Fashion-MNIST, and `frame-cnn` for single frames of moving
digits. `train_small_cnn` makes the shipped weights.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from ...datasets.pixels import from_bytes


class SmallCNN(nn.Module):
    """Convolutions that each halve the image, `width` features, 10 logits; pixels (N, 1, size, size) uint8 in."""

    def __init__(self, size: int, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.names = [f"conv{place}" for place in range(1, len(channels) + 1)]
        for name, before, after in zip(self.names, (1, *channels), channels, strict=False):
            self.add_module(name, nn.Conv2d(before, after, 3, padding=1))
        self.hidden = nn.Linear(channels[-1] * (size >> len(channels)) ** 2, width)
        self.head = nn.Linear(width, 10)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """``features`` (N, width) after the last GELU, and ``logits`` (N, 10)."""
        x = from_bytes(pixels)
        for name in self.names:
            x = F.max_pool2d(F.gelu(self.get_submodule(name)(x)), 2)
        features = F.gelu(self.hidden(x.flatten(1)))
        return {"features": features, "logits": self.head(features)}


def digits_cnn(weights: Mapping[str, Tensor] | None = None) -> SmallCNN:
    """The classifier of the digits, 64 features, with these weights or as it starts."""
    return _with(SmallCNN(8, (32, 64), 64), weights)


def fashion_cnn(weights: Mapping[str, Tensor] | None = None) -> SmallCNN:
    """The classifier of Fashion-MNIST, 128 features, with these weights or as it starts."""
    return _with(SmallCNN(32, (16, 32, 64), 128), weights)


def frame_cnn(weights: Mapping[str, Tensor] | None = None) -> SmallCNN:
    """The classifier of frames in which a digit may be anywhere, 64 features, with these weights or as it starts."""
    return _with(SmallCNN(16, (16, 32, 64), 64), weights)


def _with(network: SmallCNN, weights: Mapping[str, Tensor] | None) -> SmallCNN:
    if weights is not None:
        network.load_state_dict(weights)
    return network
