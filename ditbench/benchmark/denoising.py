"""A run's denoising error: on which images it is measured, by what, and the files that hold it until it is judged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..components import Metric, load
from ..datasets.examples import Data
from ..datasets.pixels import from_bytes
from ..denoiser_spec import DenoiserSpec
from ..errors import BadFile, BadValue, one_line
from ..metrics.denoising import Denoised
from ..metrics.quality import Score
from ..records.denoising import LEVELS, ErrorCurve, protocol_features
from ..records.facts import Measurement
from ..records.metric_constants import protocol
from ..runtime.clock import RUNNING
from ..runtime.compiling import CompileWatch, compiling
from ..runtime.precision import Precision
from ..sampling.denoising import Errors, check_tells_levels, denoising_errors
from ..storage.files import write_atomically
from ..storage.reading import check_file
from ..training.objectives import DiffusionObjective

Which = Literal["held-out", "training"]
CURVES: tuple[tuple[str, Literal["ema", "raw"], Which], ...] = (  # stem of the file, and of which errors it is
    ("samples", "ema", "held-out"),
    ("samples-training", "ema", "training"),
    ("raw", "raw", "held-out"),
    ("raw-training", "raw", "training"),
)
_DRAW = 0x0D19


@dataclass(frozen=True, eq=False)
class Denoising:
    """What to show a denoiser, and what to make of its errors."""

    metrics: tuple[Metric, ...]
    data: Data
    images: int  # held-out ones, and as many training images
    spec: DenoiserSpec
    objective: DiffusionObjective
    batch_size: int
    precision: Precision  # of the denoiser
    compiled: bool  # likewise
    device: torch.device

    @property
    def labelled(self) -> bool:
        """Whether the denoiser is told the images' labels: training images', too, only if held-out ones' are known."""
        return self.data.aside_labelled or not self.data.class_names

    def errors(self, denoiser: nn.Module, which: Which = "held-out", images: int | None = None) -> Errors:
        """The squared errors of the images, or of so many of them, at every level of noise: (images, levels)."""
        x0, y = self._shown(which, self.images if images is None else min(images, self.images))
        with compiling(CompileWatch(RUNNING)) if self.compiled else nullcontext():
            return denoising_errors(denoiser, self.spec, self.objective, x0, y, self.batch_size, self.precision)

    def measure(self, errors: Errors) -> Iterator[Measurement]:
        """The metrics of a denoiser's errors on held-out images."""
        for metric in self.metrics:
            score: Score = load(metric.measure)(Denoised(errors))
            yield Measurement(
                protocol=protocol(metric.name, len(errors), protocol_features(self.labelled)),
                metric=metric.name,
                value=score.value,
                spread=score.spread,
                higher_is_better=metric.higher_is_better,
                samples=len(errors),
                reference_samples=None,
                settings={**score.settings, **({} if self.precision == "float32" else {"precision": self.precision})},
                raw={kind: list(numbers) for kind, numbers in score.raw.items()},
            )

    def _shown(self, which: Which, count: int) -> tuple[Tensor, Tensor]:
        """x0 (N, [F,] C, H, W) and y (N,), drawn once for all runs: folders are sorted by class."""
        examples = self.data.examples if which == "training" else self.data.aside
        assert examples is not None  # `check`
        chosen = np.random.default_rng(_DRAW).permutation(len(examples))[:count]
        rows = torch.from_numpy(np.ascontiguousarray(examples.rows[chosen * examples.views])).to(self.device)
        if self.data.space == "pixel":
            x0 = from_bytes(rows)
        else:
            x0 = self.data.latent_map.apply((rows[:, 0] if examples.moments else rows).float())
        labels = examples.labels[chosen] if self.labelled else np.full(len(chosen), self.spec.classes)
        return x0, torch.from_numpy(labels).to(self.device)

    def check(self, track: str) -> None:
        """`BadValue` if there are no held-out images to show, or the objective does not tell its levels."""
        if not self.images:
            raise BadValue(
                f"Track {track!r}: {self.metrics[0].name} is of held-out images, and the data {self.data.name!r} has "
                "none that a denoiser could be shown."
            )
        check_tells_levels(self.objective)


def images_for(asked: int, data: Data) -> int:
    """How many held-out images, and as many training images, there are of those that are asked for."""
    return min(asked, 0 if data.aside is None else len(data.aside), len(data.examples))


def error_curve(weights: Literal["ema", "raw"], images: Which, errors: Errors) -> ErrorCurve:
    """The errors of so many images, for the record."""
    spread = errors.std(0, ddof=1) / len(errors) ** 0.5
    return ErrorCurve(weights=weights, images=images, errors=errors.mean(0).tolist(), standard_errors=spread.tolist())


def write_errors(errors: Errors, directory: Path, stem: str) -> None:
    """Into a file of a run's directory, which goes when the run has finished."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # numpy would add a suffix to a name
            np.save(file, errors, allow_pickle=False)

    write_atomically(_file(directory, stem), write)


def read_errors(directory: Path, stem: str, images: int) -> Errors:
    """What `write_errors` has left. `BadFile` if it is missing, or no errors of so many images."""
    path = _file(directory, stem)
    check_file(path, "file of denoising errors")
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadFile(f"The errors {path.name!r} in {directory.name!r} can't be read: {one_line(error)}.") from None
    if found.shape != (images, LEVELS) or found.dtype != np.float64 or not np.isfinite(found).all():
        raise BadFile(f"The errors {path.name!r} in {directory.name!r} are not those of {images} images.")
    return found  # type: ignore[no-any-return]


def _file(directory: Path, stem: str) -> Path:
    return directory / f"{stem}-errors.partial.npy"
