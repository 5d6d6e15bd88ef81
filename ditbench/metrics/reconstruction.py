"""How close to held-out images their decoded latents are: the floor of all that is made of such latents."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..components import Extractor
from ..datasets.autoencoder import Codec, load_again
from ..datasets.crop import cropped
from ..datasets.examples import AutoencoderFacts
from ..datasets.held_out import FOLDER, held_out_of
from ..datasets.image_sets import ImageSet
from ..datasets.pixels import Bytes, to_bytes
from ..datasets.prepared import images_of
from ..datasets.shards import AUTOENCODER, MANIFEST, Prepared, open_prepared, read_manifest
from ..errors import BadFile, BadValue
from ..records.facts import Reconstruction
from ..runtime.progress import CountCallback
from ..storage.files import exists
from .features import BATCH_SIZE, check_shape, extract
from .frechet import frechet_distance

_LEVELS = 255  # of a byte


@dataclass(eq=False)
class _Difference:
    """The squared error of all bytes so far."""

    squares: int = field(default=0, init=False)
    count: int = field(default=0, init=False)

    def add(self, one: Bytes, other: Bytes) -> None:
        self.squares += int(np.square(one.astype(np.int64) - other).sum())
        self.count += one.size

    @property
    def psnr(self) -> float | None:
        """In dB; None: there is no difference."""
        return 10 * math.log10(_LEVELS**2 * self.count / self.squares) if self.squares else None


def check_measurable(folder: Path) -> AutoencoderFacts:
    """What made prepared latents, of which there are held-out ones; `BadFile` or `BadValue` if these are none."""
    plan = read_manifest(folder).plan
    if plan.autoencoder is None:
        raise BadValue(f"{str(folder)!r} holds pixels, which no autoencoder has made: there is nothing to measure.")
    if plan.frames > 1:
        raise BadValue(f"{str(folder)!r} holds clips, and reconstruction is measured of images alone.")
    if not exists(folder / FOLDER / MANIFEST):
        raise BadFile(f"{str(folder)!r} has no latents of held-out images: put some into val/ beside train/.")
    return plan.autoencoder


def measure_reconstruction(
    folder: Path,
    extractor: Extractor,
    network: nn.Module,
    device: torch.device,
    offline: bool = False,
    batch_size: int = BATCH_SIZE,
    report: CountCallback = lambda done, of: None,
) -> Reconstruction:
    """rFID and PSNR of held-out images of prepared latents, decoded from their posteriors' means, in float32.

    folder: what `prepare` has made, of images that have held-out ones. network: the extractor's. report: hears of the
    images seen, each twice. Raises `BadFile` if they are gone or have changed, and what `check_measurable` does.
    """
    facts = check_measurable(folder)
    made, aside = open_prepared(folder), open_prepared(folder / FOLDER)
    images = _originals(made, aside, offline)
    check_shape(extractor, images.shape)
    codec = load_again(folder / AUTOENCODER, facts, device)
    total, difference = 2 * images.count, _Difference()
    real = extract(
        network, images.batches(batch_size), ("features",), device=device, report=lambda done: report(done, total)
    )
    fake = extract(
        network,
        _decoded(codec, aside, images, batch_size, difference),
        ("features",),
        device=device,
        report=lambda done: report(images.count + done, total),
    )
    return Reconstruction(
        features=extractor.name,
        features_sha256=extractor.weights.sha256,
        rfid=frechet_distance(fake, real).value,
        psnr=difference.psnr,
        images=images.count,
        images_sha256=images.hash(),
    )


def _originals(made: Prepared, aside: Prepared, offline: bool) -> ImageSet:
    """The held-out images that latents were made of."""
    raw, gone = images_of(made.manifest, offline)
    kept = None if raw is None else held_out_of(raw)
    if kept is None or kept.listing != aside.manifest.plan.source.listing:
        raise BadFile(f"The held-out images of {str(made.folder)!r} are gone or changed. {gone}".rstrip())
    keep = np.delete(np.arange(len(kept)), [one.index for one in aside.manifest.skipped])
    if len(keep) < 2:
        raise BadFile(f"{str(made.folder)!r} has one held-out image, and a distance is of two or more.")
    return cropped(kept, made.manifest.plan.resolution, keep)


def _decoded(
    codec: Codec, aside: Prepared, images: ImageSet, batch_size: int, difference: _Difference
) -> Iterator[Bytes]:
    """The images again, of their latents; what they differ in is added up."""
    plan, done = aside.manifest.plan, 0
    for batch in images.batches(batch_size):
        rows = aside.rows[np.arange(done, done + len(batch)) * plan.views]
        latents = torch.from_numpy(rows[:, 0] if plan.moments else rows).float()
        pixels = to_bytes(codec.decode(codec.latent_map.apply(latents))).cpu().numpy()
        difference.add(batch, pixels)
        done += len(batch)
        yield pixels
