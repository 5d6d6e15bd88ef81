"""Feature extractors for quality metrics, named and pinned by the sha256 of their weights. They fail closed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load
from torch import Tensor, nn

from .digits_cnn import DigitsCNN
from .errors import BadFile, BadValue
from .images import Bytes
from .registry import pick

_WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Extractor:
    """A network that maps uint8 pixels (N, C, H, W) to (features (N, F), logits (N, classes))."""

    name: str
    network: Callable[[], nn.Module]
    weights: Path
    sha256: str
    image_shape: tuple[int, int, int]  # the only (C, H, W) it understands

    def load(self) -> nn.Module:
        """The network with its pinned weights; another file in their place is refused."""
        try:
            content = self.weights.read_bytes()
        except OSError as error:
            fault = f"{str(self.weights)!r} can't be read ({error.strerror})"
            raise BadFile(f"Weights of {self.name!r}: {fault}. Install ditbench again.") from None
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise BadFile(
                f"Weights of {self.name!r}: {str(self.weights)!r} has sha256 {found[:12]}..., "
                f"not {self.sha256[:12]}... Install ditbench again."
            )
        network = self.network()
        network.load_state_dict(load(content))
        return network.eval().requires_grad_(False)


EXTRACTORS: Mapping[str, Extractor] = {
    "digits-cnn": Extractor(
        name="digits-cnn",
        network=DigitsCNN,
        weights=_WEIGHTS / "digits-cnn.safetensors",
        sha256="901f43288be1a993ad01c127a8618f5dd0445dee3f52095dcec0de8428099380",
        image_shape=(1, 8, 8),
    )
}


@dataclass(frozen=True, eq=False)
class Features:
    """What metrics see of a set of images: one pass of the extractor, shared by all of them."""

    pixels: Bytes  # (N, C, H, W)
    labels: npt.NDArray[np.int64]  # (N,)
    features: Tensor  # (N, F) float32
    logits: Tensor  # (N, classes) float32

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, index: npt.NDArray[np.int64]) -> Features:
        """The images at these places."""
        return Features(self.pixels[index], self.labels[index], self.features[index], self.logits[index])


def find_extractor(name: str, image_shape: tuple[int, ...]) -> Extractor:
    """The extractor of that name, if it understands images of that (C, H, W)."""
    extractor = pick("feature extractor", name, EXTRACTORS)
    if extractor.image_shape != tuple(image_shape):
        raise BadValue(f"Feature extractor {name!r} takes images of {extractor.image_shape}, not {tuple(image_shape)}.")
    return extractor


@torch.inference_mode()
def extract(network: nn.Module, pixels: Bytes, labels: npt.NDArray[np.int64], batch_size: int = 500) -> Features:
    """Run the extractor over the images on the CPU, in batches."""
    outputs: Iterable[tuple[Tensor, Tensor]] = [
        network(torch.from_numpy(pixels[start : start + batch_size])) for start in range(0, len(pixels), batch_size)
    ]
    features, logits = zip(*outputs, strict=True)
    return Features(pixels, labels, torch.cat(features), torch.cat(logits))
