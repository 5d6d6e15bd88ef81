"""Images of any size, one by one: what `prepare` turns into rows of one size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .examples import Labels

TRAINED = "train"
HELD_OUT = ("val", "valid", "validation", "dev", "test")  # names of splits; of several, the first
UNKNOWN = -1  # label of a held-out image whose class is not told


@dataclass(frozen=True, eq=False)
class RawImages:
    """A listing of encoded images. Listing reads none of them."""

    name: str
    place: str  # what opens it again: a folder, or "hf:NAME"
    split: str  # "train", or what is held out
    labels: Labels  # (N,)
    class_names: tuple[str, ...]  # empty: unconditional
    listing: str  # hash of what was listed, without reading it: names and sizes
    read: Callable[[int], bytes]  # the encoded image of this number; `BadFile` if it can't be read
    title: Callable[[int], str]  # the file, as a message names it
    stamp: str = ""  # tells all that can be told without reading: as long as it stays, so do the images; "": nothing
    left_out: tuple[str, ...] = ()  # paths of files that are no images by their names
    held_out: RawImages | None = None

    def __len__(self) -> int:
        return len(self.labels)
