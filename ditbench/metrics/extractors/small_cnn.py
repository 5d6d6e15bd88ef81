"""The small classifiers whose features stand in for Inception's on small grey images, and what trained them.

Inception knows nothing of 8x8 digits, so `fid1k/digits-cnn` compares these 64 features instead; `fashion-cnn`, which
names 92 % of the unseen clothes right, does the same for Fashion-MNIST. To make the shipped weights again, in 20 s and
in 4 minutes on one core: ``python -m ditbench.classifiers digits-cnn OUT.safetensors``, likewise ``fashion-cnn``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from .datasets.bundled import digits
from .datasets.examples import Request
from .datasets.fashion import load_fashion_mnist
from .images import from_bytes
from .storage import write_atomically

SEEN = 1198  # of the 1,797 digits in their own order, which keeps a writer's digits together


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


def _with(network: SmallCNN, weights: Mapping[str, Tensor] | None) -> SmallCNN:
    if weights is not None:
        network.load_state_dict(weights)
    return network


def train_digits(steps: int = 1500) -> SmallCNN:
    """Train on the first two thirds of the digits; the last third, by other writers, stays unseen."""
    torch.manual_seed(0)
    pixels, labels = digits()
    return _train(digits_cnn(), torch.from_numpy(pixels[:SEEN]), torch.from_numpy(labels[:SEEN]), steps)


def train_fashion(steps: int = 5000) -> SmallCNN:
    """Train on the 60,000; the test images stay unseen."""
    torch.manual_seed(0)
    examples = load_fashion_mnist(Request(resolution=32)).examples
    pixels = examples.rows[np.arange(len(examples))]
    return _train(fashion_cnn(), torch.from_numpy(pixels), torch.from_numpy(examples.labels), steps)


def _train(network: SmallCNN, pixels: Tensor, labels: Tensor, steps: int, batch_size: int = 128) -> SmallCNN:
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        index = torch.randint(len(labels), (batch_size,))
        loss = F.cross_entropy(network(_shift(pixels[index]))["logits"], labels[index], label_smoothing=0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network.eval()


def _shift(pixels: Tensor) -> Tensor:
    """Move the batch by up to one pixel each way: the only augmentation that 8x8 digits survive."""
    size = pixels.shape[-1]
    down, right = torch.randint(-1, 2, (2,)).tolist()
    padded = F.pad(pixels, (1, 1, 1, 1))
    return padded[:, :, 1 - down : 1 - down + size, 1 - right : 1 - right + size]


TRAININGS = {"digits-cnn": train_digits, "fashion-cnn": train_fashion}


def main(name: str, path: Path) -> None:
    """Train and write the weights."""
    tensors = {name: tensor.contiguous() for name, tensor in TRAININGS[name]().state_dict().items()}
    write_atomically(path, lambda temporary: save_file(tensors, temporary))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
