"""In what a run's data or reference are not its track's, so that it has no rank."""

from __future__ import annotations

from ..datasets.examples import Data
from ..tracks.deviation import Deviation
from ..tracks.ledger import data_of
from ..tracks.track import Track

_PICTURES = ("image-folder", "hf", "hf-stream")  # ways to the same images


def deviations(track: Track, data: Data, dataset: str) -> tuple[Deviation, ...]:
    """In what the data is not the track's, so that a run on it is carried out, but not ranked."""
    asked, (channels, height, width) = track.data, data.examples.shape[-3:]
    images, classes, meant = len(data.examples), len(data.class_names), asked.dataset.partition(":")[0]
    autoencoder = data.autoencoder.name if data.autoencoder else ""
    features, named = (data.autoencoder.trained_with if data.autoencoder else ()), track.trained_with
    outside = Deviation("trained_with", ", ".join(features) or "none", ", ".join(named) or "none")
    another = dataset != meant and not {dataset, meant} <= set(_PICTURES)
    found = [
        (data.synthetic, Deviation("synthetic")),
        (another and not data.synthetic, Deviation("dataset", dataset, meant)),
        (_differ(asked.images, images), Deviation("images", images, asked.images)),
        (_differ(asked.classes, classes), Deviation("classes", classes, asked.classes)),
        (_differ(asked.channels, channels), Deviation("channels", channels, asked.channels)),
        (height * asked.downsampling != asked.resolution, Deviation("size", (height, width))),
        (_is_another(asked.autoencoder, autoencoder), Deviation("autoencoder", autoencoder, asked.autoencoder)),
        (set(features) != set(named) and not data.synthetic, outside),
        (bool(data.skipped), Deviation("skipped", data.skipped)),
    ]
    return tuple(deviation for differs, deviation in found if differs)


def other_images(track: Track, data: Data, reference_sha256: str) -> tuple[Deviation, ...]:
    """In what the images are not those that the track was published with: trained on, or compared with."""
    known = data_of(track)
    if not known or data.synthetic:
        return ()
    found = [
        (data.sha256 != known, Deviation("data", data.sha256, known)),
        (reference_sha256 != data.sha256, Deviation("reference", reference_sha256)),
    ]
    return tuple(deviation for differs, deviation in found if differs)


def _is_another(asked: str | None, found: str) -> bool:
    """Whether it is another autoencoder; a folder called like that on the hub passes: the record has its sha256."""
    return asked is not None and found not in (asked, asked.rpartition("/")[2])


def _differ(asked: object, found: object) -> bool:
    return asked is not None and asked != found
