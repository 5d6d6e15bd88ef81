"""Images of any size, or videos, one by one: what `prepare` turns into rows of one size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from ..errors import BadValue
from ..storage.schema import Frozen
from .entries import IMAGES, VIDEOS, Kind
from .examples import Labels
from .pixels import Bytes

TRAINED = "train"
HELD_OUT = ("val", "valid", "validation", "dev", "test")  # names of splits; of several, the first
UNKNOWN = -1  # label of a held-out image whose class is not told

Crop = Callable[[bytes, str, int], Bytes]  # takes an encoded file, its title, and the pixels of a side
_Number = Annotated[int, Field(gt=0, le=4096)]


class Cut(Frozen):
    """How a clip is cut out of a video, as a crop is out of an image: in its middle."""

    frames: Annotated[_Number, Field(gt=1)]
    interval: _Number  # frames of the video from one of the clip to the next
    part: Literal["middle"] = "middle"  # as many frames before it as after, or one fewer

    @property
    def span(self) -> int:
        """Frames of the video from the clip's first to its last."""
        return (self.frames - 1) * self.interval + 1

    @property
    def words(self) -> str:
        """The same for a person."""
        return f"{self.frames} frames, interval {self.interval}"


def cut_for(frames: int, interval: int) -> Cut | None:
    """How clips are cut out; None of images, which have one frame. `BadValue` if those have an interval."""
    if frames == 1 and interval > 1:
        raise BadValue(f"`interval` {interval} is of clips, and `frames` is 1.")
    return None if frames == 1 else Cut(frames=frames, interval=interval)


@dataclass(frozen=True, eq=False)
class RawImages:
    """A listing of encoded images, or of videos, each of which gives a clip. Listing reads none of them."""

    name: str
    place: str  # what opens it again: a folder, or "hf:NAME"
    split: str  # "train", or what is held out
    labels: Labels  # (N,)
    class_names: tuple[str, ...]  # empty: unconditional
    listing: str  # hash of what was listed, without reading it: names and sizes; and of `cut`
    read: Callable[[int], bytes]  # the encoded image of this number; `BadFile` if it can't be read
    title: Callable[[int], str]  # the file, as a message names it
    crop: Crop  # pixels (3, R, R) of an encoded image, (F, 3, R, R) of a video; `BadFile` if it gives none
    cut: Cut | None = None  # of videos
    stamp: str = ""  # tells all that can be told without reading: as long as it stays, so do the images; "": nothing
    left_out: tuple[str, ...] = ()  # paths of files that are of another kind by their names
    held_out: RawImages | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def kind(self) -> Kind:
        """What is listed."""
        return kind_of(self.cut)

    @property
    def frames(self) -> int:
        """Of a clip; 1: images."""
        return 1 if self.cut is None else self.cut.frames


def kind_of(cut: Cut | None) -> Kind:
    """What is listed to be cut so."""
    return IMAGES if cut is None else VIDEOS
