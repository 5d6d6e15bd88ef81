"""What samples are compared with: features of real images, computed once and cached, or moments from a file."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..components import Extractor, Metric, Output, module_of
from ..datasets.image_sets import ImageSet, open_images
from ..datasets.npz import described, is_npz, names_in
from ..discovery import version_or_none
from ..errors import BadFile, BadValue
from ..records.metric_constants import KEPT
from ..runtime.precision import Precision
from ..storage.files import Unwritable, cache_folder, is_file, make_folder, sha256_of, write_atomically
from ..storage.schema import digest
from .features import BATCH_SIZE, Features, ImagesCallback, Moments, extract, in_float64
from .moments import moments_in
from .quality import outputs_for

_DRAW = 0x0D17
_VERSION = 1  # of the cache: what is computed or how it is written
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Reference:
    """Real images as metrics see them, and the hash of the images or of the file that holds their moments."""

    sha256: str
    features: Features


@dataclass(frozen=True, eq=False)
class ReferenceSource:
    """What a reference is made of: real images, moments from a file, or both, as ADM's files have them."""

    name: str
    hash: Callable[[], str]  # sha256 of the content; reads it all
    images: ImageSet | None = None
    moments: Mapping[Output, Moments] = field(default_factory=dict)
    split: str = "given"  # of a data set: which of its images these are

    def impossible(self, metric: Metric) -> str:
        """Why a metric can't be measured against this; empty if it can."""
        if metric.against == "nothing" or metric.output is None or self.images is not None:
            return ""
        if metric.against == "images":
            return f"{metric.name} compares images, and the reference {self.name!r} has only their moments"
        if metric.output not in self.moments:
            return f"{metric.name} needs moments of {metric.output}, which the reference {self.name!r} does not have"
        return ""

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """`BadFile` if its images are of another (C, H, W) than the samples, or clips of another (F, C, H, W)."""
        if self.images is not None and self.images.shape != shape:
            ours, theirs = (" x ".join(map(str, size)) for size in (self.images.shape, shape))
            axes = ", ".join(["frames"] * (len(shape) > 3) + ["channels", "height", "width"])
            raise BadFile(
                f"The reference {self.name!r} has images of {ours} ({axes}), the samples are of "
                f"{theirs}: bring them to one size yourself, because how that is done changes the numbers."
            )

    def check_widths(self, widths: Mapping[Output, int], extractor: str) -> None:
        """`BadValue` if the moments are not as wide as the extractor's outputs, so of another extractor."""
        for output, moments in self.moments.items():
            width = widths.get(output, len(moments.mean))
            if len(moments.mean) != width:
                raise BadValue(
                    f"The reference {self.name!r} has moments of {len(moments.mean)} {output}, but {extractor!r} puts "
                    f"out {width}: they are of another extractor."
                )

    def read(
        self,
        extractor: Extractor,
        network: nn.Module,
        metrics: Sequence[Metric],
        device: torch.device,
        batch_size: int = BATCH_SIZE,
        report: ImagesCallback = lambda done: None,
        precision: Precision = "float32",
    ) -> Reference:
        """The features of the images; the moments are the file's, where it has some."""
        content = self.hash()
        if self.images is None:
            return Reference(content, Features(0, {}, dict(self.moments)))
        key = _key(self.images, content, extractor, outputs_for(metrics), device, precision)
        path = cache_folder() / "references" / f"{key}.safetensors"
        features = _read(path, outputs_for(metrics))
        if features is None:
            features = _extract(self.images, network, outputs_for(metrics), device, batch_size, report, precision)
            _write(path, features)
        moments = {**features.moments, **self.moments}
        return Reference(content, replace(features, moments=moments, device=in_float64(device), precision=precision))


def source_of(images: ImageSet, split: str = "given") -> ReferenceSource:
    """A reference of real images alone."""
    return ReferenceSource(images.name, images.hash, images, split=split)


def open_source(path: Path) -> ReferenceSource:
    """A folder of images, or an ``.npz`` with ``arr_0``, with ``mu`` and ``sigma``, or with both.

    Raises `BadFile`, naming the file, for anything else.
    """
    if not is_npz(path) or not is_file(path):
        return source_of(open_images(path))
    moments = moments_in(path)
    if "arr_0" in names_in(path):
        return replace(source_of(open_images(path)), moments=moments)
    if not moments:
        raise BadFile(f"{str(path)!r} holds {described(path)}; give images as arr_0, or moments as mu and sigma.")
    return ReferenceSource(path.name, lambda: sha256_of(path), None, moments)


def _key(
    images: ImageSet,
    content: str,
    extractor: Extractor,
    outputs: Sequence[Output],
    device: torch.device,
    precision: Precision,
) -> str:
    """Hash of all that features depend on: the images, the network's weights and code, what runs it, what is kept."""
    code = importlib.util.find_spec(module_of(extractor.build))
    source = _text_sha256(Path(code.origin)) if code and code.origin else ""
    versions = [version_or_none(library) or "" for library in ("torch", "torch-fidelity", "timm", "pillow")]
    network = [extractor.name, extractor.weights.sha256, extractor.resize, source, versions, device.type]
    network += [] if precision == "float32" else [precision]
    return digest([_VERSION, content, images.count, KEPT, network, sorted(outputs)])


def _text_sha256(path: Path) -> str:
    """Hash of a text, one and the same for all line ends that a checkout may have."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def _extract(
    images: ImageSet,
    network: nn.Module,
    outputs: Sequence[Output],
    device: torch.device,
    batch_size: int,
    report: ImagesCallback,
    precision: Precision,
) -> Features:
    keep = None
    if images.count > KEPT:
        keep = np.sort(np.random.default_rng(_DRAW).permutation(images.count)[:KEPT])
    return extract(network, images.batches(batch_size), outputs, keep, device, report, precision=precision)


def _write(path: Path, features: Features) -> None:
    """Put features into the cache. If it can't be written, that is told, and they are computed again next time."""
    tensors: dict[str, Tensor] = {f"output.{name}": output.contiguous() for name, output in features.outputs.items()}
    for name, moments in features.moments.items():
        tensors[f"mean.{name}"] = moments.mean
        tensors[f"covariance.{name}"] = moments.covariance.contiguous()
    try:
        make_folder(path.parent)
        write_atomically(path, lambda temporary: save_file(tensors, temporary, {"count": str(features.count)}))
    except Unwritable as error:
        _logger.warning("the cache %s can't be written (%s); DITBENCH_CACHE names another", path.parent, error.reason)


def _read(path: Path, outputs: Sequence[Output]) -> Features | None:
    """What was cached; None if there is nothing, or if it is damaged, so that it is computed again."""
    try:
        with safe_open(path, "pt") as file:
            count, held = int(file.metadata()["count"]), set(file.keys())
            found = {name: file.get_tensor(f"output.{name}") for name in outputs}
            moments = {
                name: Moments(count, file.get_tensor(f"mean.{name}"), file.get_tensor(f"covariance.{name}"))
                for name in outputs
                if f"mean.{name}" in held
            }
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return Features(count, found, moments)
