"""The training of the two small networks, by which anybody can make the shipped weights anew.

In 20 s on one core, ``python -m ditbench.metrics.extractors.train_small_cnn digits-cnn OUT.safetensors``, and in
4 minutes the same of ``fashion-cnn``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from ...datasets.bundled import digits
from ...datasets.examples import Request
from ...datasets.fashion import load_fashion_mnist
from ...storage.files import write_atomically
from .small_cnn import SmallCNN, digits_cnn, fashion_cnn

SEEN = 1198  # of the 1,797 digits in their own order, which keeps a writer's digits together


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
