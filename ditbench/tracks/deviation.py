"""In what a run is not as its track says: data for whoever decides by it, words where it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "samples",
    "features",
    "metrics",
    "synthetic",
    "dataset",
    "images",
    "classes",
    "channels",
    "size",
    "autoencoder",
    "trained_with",
    "skipped",
    "data",
    "reference",
    "compile",
    "parametrization",
    "mps",
    "trial",
]
_TOLD: Mapping[Kind, str] = {  # records hold these words: what has been published stays
    "samples": "{found} samples, not {meant}",
    "features": "features of {found}, not {meant}",
    "metrics": "the metrics {found}, not the track's",
    "synthetic": "synthetic noise in place of data",
    "dataset": "the data set {found}, not {meant}",
    "images": "{found} training images, not {meant}",
    "classes": "{found} classes, not {meant}",
    "channels": "{found} channels, not {meant}",
    "size": "examples of {found[0]} x {found[1]}",
    "autoencoder": "latents of {found!r}, not {meant!r}",
    "trained_with": "latents that are features of {found}, not of {meant}",
    "skipped": "{found} unreadable images left out",
    "data": "data of sha256 {found:.12}, not the track's {meant:.12}",
    "reference": "compared with images of sha256 {found:.12}, not with the training images",
    "compile": "compile {found}, not {meant}, in a budget of time",
    "parametrization": "parametrization {found}, not {meant}",
    "mps": "computed by Apple's MPS, which nobody has compared with other devices",
    "trial": "a trial of a search, of which only the denoising error is measured",
}


@dataclass(frozen=True)
class Deviation:
    """One thing that is not as the track says: what it is, and what the track means where that can be told."""

    kind: Kind
    found: int | str | tuple[int, int] = ""  # size: height and width; data and reference: a whole sha256
    meant: int | str | None = None

    def __str__(self) -> str:
        """As configs, records and boards tell it."""
        return _TOLD[self.kind].format(found=self.found, meant=self.meant)
