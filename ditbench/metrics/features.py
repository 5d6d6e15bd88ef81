"""From images to what metrics compare: one pass of a pinned network over a stream of batches."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import Tensor, nn

from ..components import Extractor, Output, Value, load
from ..datasets.pixels import Bytes
from ..errors import BadFile, BadValue
from ..extras import install
from ..runtime.distributed import ALONE, World
from ..runtime.precision import Precision, computing, placed
from .weights import check_weights, weights_path

BATCH_SIZE = 100
_CPU = torch.device("cpu")
_IMAGES = 4  # axes of a batch of them; of clips there is one more
_KINDS = {False: "images", True: "clips"}
CPU_PART = 4  # images or clips at a time on a CPU
_WITH_MOMENTS: tuple[Output, ...] = ("features", "spatial")  # what Fréchet distances compare
ImagesCallback = Callable[[int], None]  # hears of the images done so far


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean (F,) and unbiased covariance (F, F) of features, float64, and of how many images or clips; 0: not known."""

    count: int
    mean: Tensor
    covariance: Tensor


@dataclass(frozen=True)
class Clips:
    """What changes distances between clips as much as their frames do: FVDs without it can't be compared."""

    frames: int
    interval: int  # frames of the source from one to the next
    split: str = ""  # of real ones: which these are


@dataclass(frozen=True, eq=False)
class Features:
    """What metrics see of a set of images, or of clips."""

    count: int  # images in the set; 0: not known
    outputs: Mapping[Output, Tensor]  # (N, width) float32, of all or of `N` drawn; of clips' frames (N, F, width)
    moments: dict[Output, Moments] = field(default_factory=dict)  # over all images; what lacks comes from the outputs
    pixels: Bytes | None = None  # (N, C, H, W), of clips (N, F, C, H, W)
    labels: npt.NDArray[np.int64] | None = None  # (N,)
    held_out: Features | None = None  # of real images: others of their kind, which were not trained on
    device: torch.device = _CPU  # where metrics may compute what takes long; the outputs are on the CPU
    precision: Precision = "float32"  # of the network that gave the outputs
    clips: Clips | None = None  # None: images

    def __len__(self) -> int:
        """Images whose own outputs, or else pixels, are here; 0 if only their moments are."""
        pixels = 0 if self.pixels is None else len(self.pixels)
        return next((len(output) for output in self.outputs.values()), pixels)

    def subset(self, index: npt.NDArray[np.int64]) -> Features:
        """The images at these places."""
        return replace(
            self,
            count=len(index),
            outputs={name: output[index] for name, output in self.outputs.items()},
            moments={},
            pixels=None if self.pixels is None else self.pixels[index],
            labels=None if self.labels is None else self.labels[index],
        )

    def and_also(self, others: Features) -> Features:
        """These images and others, as one set."""
        both = self.pixels is not None and others.pixels is not None
        return replace(
            self,
            count=self.count + others.count,
            outputs={name: torch.cat([output, others.outputs[name]]) for name, output in self.outputs.items()},
            moments={},
            pixels=np.concatenate([self.pixels, others.pixels]) if both else None,
            labels=np.concatenate([self.labels, others.labels]) if both else None,
        )

    @property
    def settings(self) -> dict[str, Value]:
        """What a measurement's settings say of how they came about; nothing of the usual way."""
        of_clips = {} if self.clips is None else {"frames": self.clips.frames, "interval": self.clips.interval}
        return {**of_clips, **({} if self.precision == "float32" else {"precision": self.precision})}

    def moments_of(self, output: Output) -> Moments:
        """The moments of an output; of a subset they are computed when they are first asked for."""
        if output not in self.moments:
            self.moments[output] = moments_of([self.outputs[output]])
        return self.moments[output]


@dataclass(eq=False)
class _RunningMoments:
    """Sums over batches (n, F), or over those of clips' frames (n, frames, F), in float64."""

    count: int = field(default=0, init=False)
    rows: int = field(default=0, init=False)
    sums: Tensor | float = field(default=0.0, init=False)  # (F,)
    products: Tensor | float = field(default=0.0, init=False)  # (F, F), of the rows with themselves

    def add(self, batch: Tensor) -> None:
        rows = batch.double().flatten(0, -2)
        self.count += len(batch)
        self.rows += len(rows)
        self.sums += rows.sum(0)
        self.products += rows.T @ rows

    def moments(self) -> Moments:
        assert isinstance(self.sums, Tensor)
        mean = self.sums / self.rows
        covariance = (self.products - self.rows * mean.outer(mean)) / (self.rows - 1)
        return Moments(self.count, mean.cpu(), covariance.cpu())


def moments_of(batches: Iterable[Tensor]) -> Moments:
    """The moments of features that come in batches (n, F), or of all frames' (n, frames, F)."""
    running = _RunningMoments()
    for batch in batches:
        running.add(batch)
    return running.moments()


def builder_of(extractor: Extractor) -> Callable[..., Any]:
    """What makes the extractor's network of its weights; `BadValue` if its library is not installed."""
    try:
        return load(extractor.build)
    except ModuleNotFoundError as error:
        missing = f"ditbench[{extractor.extra}]" if extractor.extra else str(error.name)
        raise BadValue(f"Feature extractor {extractor.name!r} needs {error.name!r}: {install(missing)}.") from None


def load_extractor(extractor: Extractor, given: Path | None = None, device: torch.device | None = None) -> nn.Module:
    """The network with its pinned weights, from `given` or from where they belong.

    Raises `BadFile` if they are missing or are others, `BadValue` if the extractor's library is not installed.
    """
    path = weights_path(extractor, given)
    check_weights(extractor, path)
    build = builder_of(extractor)
    content = path.read_bytes()
    if path.suffix.lower() == ".safetensors":
        weights = safetensors.torch.load(content)
    else:
        weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    network: nn.Module = build(weights)
    seeing = network if extractor.clips else OfFrames(network)
    return placed(seeing.eval().requires_grad_(False), device or _CPU)


class OfFrames(nn.Module):
    """A network of images, to which each frame of clips (N, F, C, H, W) is one: its outputs are (N, F, width) then."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> dict[Output, Tensor]:
        found: dict[Output, Tensor] = self.network(pixels.flatten(0, -4))
        if pixels.ndim == _IMAGES:
            return found
        return {name: output.reshape(*pixels.shape[:2], -1) for name, output in found.items()}


def check_shape(extractor: Extractor, shape: Sequence[int]) -> None:
    """`BadValue` if the extractor understands neither images (C, H, W) nor clips (F, C, H, W) of that shape."""
    told, clips = f"Feature extractor {extractor.name!r}", len(shape) == _IMAGES
    seen = tuple(shape) if extractor.clips else tuple(shape[-3:])
    if extractor.clips and not clips:
        raise BadValue(f"{told} sees clips, and these are images.")
    if extractor.image_shape is not None and extractor.image_shape != seen:
        raise BadValue(f"{told} takes {_KINDS[extractor.clips]} of {extractor.image_shape}, not {seen}.")
    if extractor.clips and shape[0] < extractor.frames:
        raise BadValue(f"{told} takes clips of {extractor.frames} frames or more, not {shape[0]}.")
    if shape[-3] not in (1, 3):
        raise BadValue(f"{told} takes grey or RGB {_KINDS[clips]}, not {shape[-3]} channels.")


def extract(
    network: nn.Module,
    batches: Iterable[Bytes],
    outputs: Sequence[Output],
    keep: npt.NDArray[np.int64] | None = None,
    device: torch.device | None = None,
    report: ImagesCallback = lambda done: None,
    world: World = ALONE,
    precision: Precision = "float32",
) -> Features:
    """Run the extractor over batches (n, [F,] C, H, W) uint8 and gather `outputs`, those of images `keep` or of all.

    Nothing else is kept of an image: 4 bytes per number of its outputs, e.g. 8,192 for Inception's features. The
    network computes in `precision`; moments are in float64, on a GPU by the GPU, whose products are far quicker. Raises
    `BadFile` if fewer than two images come.

    Several processes are all given all batches, read one in turn each, and the main one adds them up in their order:
    its features and moments are those of one process, to the bit. What the others return has the count alone.
    """
    device = device or _CPU
    wanted = outputs if world.main else ()
    kept: dict[Output, list[Tensor]] = {name: [] for name in wanted}
    running = {name: _RunningMoments() for name in wanted if name in _WITH_MOMENTS}
    adding, done = in_float64(device), 0
    see = partial(_run, network, device=device, precision=precision)
    for count, found in _in_turns(see, batches, outputs, world):
        here = slice(None) if keep is None else keep[(keep >= done) & (keep < done + count)] - done
        for name in wanted:
            kept[name].append(found[name][here])
        for name, sums in running.items():
            sums.add(found[name].to(adding))
        done += count
        report(done)
    if done < 2:
        raise BadFile("There are fewer than two images to extract features from.")
    return Features(
        done,
        {name: torch.cat(parts) for name, parts in kept.items()},
        {name: sums.moments() for name, sums in running.items()},
        device=adding,
        precision=precision,
    )


def _in_turns(
    see: Callable[[Bytes], dict[Output, Tensor]], batches: Iterable[Bytes], outputs: Sequence[Output], world: World
) -> Iterator[tuple[int, dict[Output, Tensor]]]:
    """Each batch's number of images and, on the main process, its outputs, in order. A turn is a batch per process."""
    coming = iter(batches)
    while turn := tuple(islice(coming, world.size)):
        mine = see(turn[world.rank]) if world.rank < len(turn) else {}
        counts = [len(batch) for batch in turn]
        found = {name: world.to_main(mine.get(name), counts) for name in outputs}
        for place, count in enumerate(counts):
            yield count, {name: rows[place] for name, rows in found.items() if world.main}


def in_float64(device: torch.device) -> torch.device:
    """Where metrics compute if networks do on this device: on the CPU where it has no float64, as Apple's."""
    return device if device.type == "cuda" else _CPU


@torch.inference_mode()
def _run(network: nn.Module, batch: Bytes, device: torch.device, precision: Precision) -> dict[Output, Tensor]:
    """The outputs of a batch, on the CPU. There, small parts stay in its caches: two to three times as fast.

    It is copied first: it may be part of a file that is mapped, and need not be contiguous.
    """
    pixels = torch.from_numpy(np.array(batch, order="C"))
    parts = torch.split(pixels, CPU_PART) if device.type == "cpu" else (pixels,)
    with computing(precision, device):
        found = [network(part.to(device)) for part in parts]
    return {name: torch.cat([outputs[name] for outputs in found]).float().cpu() for name in found[0]}
