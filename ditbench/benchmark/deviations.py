"""In what a run's data or reference are not its track's, so that it has no rank."""

from __future__ import annotations

from ..datasets.examples import Data
from ..tracks.ledger import data_of
from ..tracks.track import Track

_PICTURES = ("image-folder", "hf", "hf-stream")  # ways to the same images


def deviations(track: Track, data: Data, dataset: str) -> tuple[str, ...]:
    """In what the data is not the track's, so that a run on it is carried out, but not ranked."""
    asked, shape, meant = track.data, data.examples.shape, track.data.dataset.partition(":")[0]
    another = dataset != meant and not {dataset, meant} <= set(_PICTURES)
    found = [
        (data.synthetic, "synthetic noise in place of data"),
        (another and not data.synthetic, f"the data set {dataset}, not {meant}"),
        (_differ(asked.images, len(data.examples)), f"{len(data.examples)} training images, not {asked.images}"),
        (_differ(asked.classes, len(data.class_names)), f"{len(data.class_names)} classes, not {asked.classes}"),
        (_differ(asked.channels, shape[0]), f"{shape[0]} channels, not {asked.channels}"),
        (shape[1] * asked.downsampling != asked.resolution, f"examples of {shape[1]} x {shape[2]}"),
        (
            _is_another(asked.autoencoder, data.autoencoder_name),
            f"latents of {data.autoencoder_name!r}, not {asked.autoencoder!r}",
        ),
        (bool(data.skipped), f"{data.skipped} unreadable images left out"),
    ]
    return tuple(text for differs, text in found if differs)


def other_images(track: Track, data: Data, reference_sha256: str) -> tuple[str, ...]:
    """In what the images are not those that the track was published with: trained on, or compared with."""
    known, reference = data_of(track), reference_sha256[:12]
    if not known or data.synthetic:
        return ()
    found = [
        (data.sha256 != known, f"data of sha256 {data.sha256[:12]}, not the track's {known[:12]}"),
        (reference_sha256 != data.sha256, f"compared with images of sha256 {reference}, not with the training images"),
    ]
    return tuple(text for differs, text in found if differs)


def _is_another(asked: str | None, found: str) -> bool:
    """Whether it is another autoencoder; a folder called like that on the hub passes: the record has its sha256."""
    return asked is not None and found not in (asked, asked.rpartition("/")[2])


def _differ(asked: object, found: object) -> bool:
    return asked is not None and asked != found
