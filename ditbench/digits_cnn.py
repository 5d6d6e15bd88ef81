"""The small classifier whose features stand in for Inception's on the digits, and the script that trained it.

Inception knows nothing of 8x8 digits, so `fid1k/digits-cnn` compares these 64 features instead. To make the
shipped weights again: ``python -m ditbench.digits_cnn OUT.safetensors`` (about 20 s on two cores).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from .datasets import load_digits
from .images import from_bytes
from .storage import write_atomically

SEEN = 1198  # of the 1,797 digits in their own order, which keeps a writer's digits together


class DigitsCNN(nn.Module):
    """Two convolutions, 64 features, 10 logits; pixels (N, 1, 8, 8) uint8 in."""

    width = 64

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.hidden = nn.Linear(64 * 2 * 2, self.width)
        self.head = nn.Linear(self.width, 10)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """``features`` (N, 64) after the last GELU, and ``logits`` (N, 10)."""
        x = from_bytes(pixels)
        x = F.max_pool2d(F.gelu(self.conv1(x)), 2)
        x = F.max_pool2d(F.gelu(self.conv2(x)), 2)
        features = F.gelu(self.hidden(x.flatten(1)))
        return {"features": features, "logits": self.head(features)}


def build(weights: Mapping[str, Tensor]) -> DigitsCNN:
    """The classifier with these weights."""
    network = DigitsCNN()
    network.load_state_dict(weights)
    return network


def train(steps: int = 1500, batch_size: int = 128, seed: int = 0) -> DigitsCNN:
    """Train on the first two thirds of the digits; the last third, by other writers, stays unseen."""
    torch.manual_seed(seed)
    digits = load_digits()
    pixels, labels = torch.from_numpy(digits.pixels[:SEEN]), torch.from_numpy(digits.labels[:SEEN])
    network = DigitsCNN().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        index = torch.randint(len(labels), (batch_size,))
        batch = _shift(pixels[index])
        loss = F.cross_entropy(network(batch)["logits"], labels[index], label_smoothing=0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network.eval()


def _shift(pixels: Tensor) -> Tensor:
    """Move the batch by up to one pixel each way: the only augmentation that 8x8 digits survive."""
    down, right = torch.randint(-1, 2, (2,)).tolist()
    padded = F.pad(pixels, (1, 1, 1, 1))
    return padded[:, :, 1 - down : 9 - down, 1 - right : 9 - right]


def main(path: Path) -> None:
    """Train and write the weights."""
    network = train()
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(path, lambda temporary: save_file(tensors, temporary))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
