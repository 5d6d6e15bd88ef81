"""The training of the small networks, by which anybody can make the shipped weights anew.

In 20 s on one core, ``python -m ditbench.metrics.extractors.train_small_cnn digits-cnn OUT.safetensors``, and in
some minutes each the same of ``fashion-cnn``, ``frame-cnn`` and ``motion-cnn``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ...datasets.bundled import digits
from ...datasets.examples import Examples, Request
from ...datasets.fashion import load_fashion_mnist
from ...datasets.moving import FRAMES, SIZE, load_moving_digits
from ...storage.files import write_atomically
from .motion_cnn import MotionCNN, motion_cnn
from .small_cnn import SmallCNN, digits_cnn, fashion_cnn, frame_cnn

SEEN = 1198  # of the 1,797 digits in their own order, which keeps a writer's digits together
_BATCH = 128
Network = TypeVar("Network", bound=nn.Module)


def train_digits(steps: int = 1500) -> SmallCNN:
    """Train on the first two thirds of the digits; the last third, by other writers, stays unseen."""
    torch.manual_seed(0)
    pixels, labels = digits()
    network = digits_cnn()
    return _train(network, _naming(network, torch.from_numpy(pixels[:SEEN]), torch.from_numpy(labels[:SEEN])), steps)


def train_fashion(steps: int = 5000) -> SmallCNN:
    """Train on the 60,000; the test images stay unseen."""
    torch.manual_seed(0)
    network = fashion_cnn()
    return _train(network, _naming(network, *_tensors(load_fashion_mnist(Request(resolution=32)).examples)), steps)


def train_frames(steps: int = 3000) -> SmallCNN:
    """Train on the frames of the training clips of moving digits, each as an image of its own."""
    torch.manual_seed(0)
    clips, labels = _moving_digits()
    network = frame_cnn()
    frames = _naming(network, clips.flatten(0, 1), labels.repeat_interleave(FRAMES), move=False)
    return _train(network, frames, steps)


def train_motion(steps: int = 2000) -> MotionCNN:
    """Train on the training clips of moving digits, half of each batch with its frames shuffled.

    Two tasks, of all clips: which digit it is, and how far the centre of its light moves from each frame to the next.
    Shuffled clips make features of motions that no real clip has, so that samples which move wrongly lie apart.
    """
    torch.manual_seed(0)
    clips, labels = _moving_digits()
    network = motion_cnn()

    def loss() -> Tensor:
        index = torch.randint(len(labels), (_BATCH,))
        seen = clips[index]
        seen[: _BATCH // 2] = shuffled(seen[: _BATCH // 2])
        found = network(seen)
        named = F.cross_entropy(found["logits"], labels[index], label_smoothing=0.1)
        return named + F.mse_loss(network.motion(found["features"]), steps_of_light(seen))

    return _train(network, loss, steps)


def shuffled(clips: Tensor) -> Tensor:
    """Clips (N, F, C, H, W) with the frames of each in an order of its own."""
    order = torch.rand(clips.shape[:2]).argsort(1)
    return clips[torch.arange(len(clips))[:, None], order]


def steps_of_light(clips: Tensor) -> Tensor:
    """How far the centre of light of clips (N, F, 1, H, W) moves from each frame to the next, (N, F - 1, 2) pixels."""
    light, places = clips[:, :, 0].float(), torch.arange(clips.shape[-1]).float()
    mass = light.sum((2, 3)).clamp(min=1)
    centres = torch.stack([light.sum(3) @ places / mass, light.sum(2) @ places / mass], dim=-1)
    return centres.diff(dim=1)


def _moving_digits() -> tuple[Tensor, Tensor]:
    return _tensors(load_moving_digits(Request(resolution=SIZE, frames=FRAMES)).examples)


def _tensors(examples: Examples) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(examples.rows[np.arange(len(examples))]), torch.from_numpy(examples.labels)


def _naming(network: nn.Module, pixels: Tensor, labels: Tensor, move: bool = True) -> Callable[[], Tensor]:
    """What gives the loss of naming the classes of a batch that it draws."""

    def loss() -> Tensor:
        index = torch.randint(len(labels), (_BATCH,))
        seen = _shift(pixels[index]) if move else pixels[index]
        return F.cross_entropy(network(seen)["logits"], labels[index], label_smoothing=0.1)

    return loss


def _train(network: Network, loss_of_a_batch: Callable[[], Tensor], steps: int) -> Network:
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = loss_of_a_batch()
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


TRAININGS: dict[str, Callable[[], nn.Module]] = {
    "digits-cnn": train_digits,
    "fashion-cnn": train_fashion,
    "frame-cnn": train_frames,
    "motion-cnn": train_motion,
}


def main(name: str, path: Path) -> None:
    """Train and write the weights."""
    tensors = {name: tensor.contiguous() for name, tensor in TRAININGS[name]().state_dict().items()}
    write_atomically(path, lambda temporary: save_file(tensors, temporary))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
