"""What measures samples: metrics, and the extractors whose outputs they compare."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import BadValue
from ..names import check_name, check_reference
from .references import ObjectReference

Output = Literal["features", "logits", "spatial"]  # of a feature extractor
RawKind = Literal["terms", "values", "counts", "ratios"]  # the numbers that a metric's value follows from


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A quality metric; ``measure(fake, real)`` takes `ditbench.Features` and returns a `ditbench.Score`.

    That of a metric which sees the denoiser takes one `ditbench.Denoised`, its errors on held-out images; that of one
    which sees distances takes Fréchet distances of several extractors, and the same of real images.

    ``raw`` is the kind of raw numbers that its scores have, by which `ditbench records validate` recomputes them:
    ``terms`` that add up, ``values`` to average, ``counts`` of hits and tries, ``ratios``; "": none, or any.
    """

    name: str
    measure: ObjectReference
    higher_is_better: bool
    sees: Output | Literal["pixels", "denoiser", "distances"]  # an output of the extractor, or what needs no such
    against: Literal["images", "held-out", "moments", "nothing"] = "images"  # what must be known of the real ones
    of: Literal["any", "images", "clips", "frames"] = "any"  # its samples; frames: of clips, each as an image
    raw: RawKind | Literal[""] = ""
    description: str = ""

    def __post_init__(self) -> None:
        check_name("metric", self.name)
        check_reference("metric", self.name, self.measure)
        if self.raw not in ("", *get_args(RawKind)):
            raise BadValue(f"metric {self.name!r}: raw is {self.raw!r}, not one of {', '.join(get_args(RawKind))}.")

    @property
    def output(self) -> Output | None:
        """The extractor's output that it looks at, if it looks at one."""
        return None if self.sees in ("pixels", "denoiser", "distances") else self.sees  # type: ignore[return-value]

    def check_fits(self, extractor: Extractor, frames: int = 1) -> None:
        """`BadValue` unless it can be of what the extractor puts out, of samples of so many frames."""
        needs, sees = f"Metric {self.name!r} needs", {True: "clips", False: "images"}
        if self.output is not None and self.output not in extractor.outputs:
            raise BadValue(f"{needs} {self.sees}, which extractor {extractor.name!r} does not have.")
        if self.of != "any" and (self.of == "images") != (frames == 1):
            raise BadValue(f"{needs} {sees[frames == 1]}, and these are {sees[frames > 1]}.")
        if self.output is not None and extractor.clips != (whole := frames > 1 and self.of != "frames"):
            raise BadValue(f"{needs} an extractor of {sees[whole]} here; {extractor.name!r} sees {sees[not whole]}.")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A file of weights, pinned by its content: any other is refused. `weights.py` finds it."""

    file: str  # its name
    sha256: str
    package: str = ""  # "package:folder" that carries it
    url: str = ""  # or where `ditbench fetch` gets it

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise BadValue(f"weights {self.file!r}: {self.sha256!r} is no sha256.")
        if bool(self.package) == bool(self.url):
            raise BadValue(f"weights {self.file!r} need either a package that carries them or a URL.")
        if not re.fullmatch(r"[\w.+-]+", self.file):
            raise BadValue(f"{self.file!r} can't name a file of weights.")


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A network whose outputs quality metrics compare.

    ``build(state_dict)`` returns an ``nn.Module`` that maps uint8 pixels (N, C, H, W), or clips (N, F, C, H, W), to a
    dict of its `outputs`: ``features`` (N, width), ``logits`` (N, classes), ``spatial`` (N, width').
    """

    name: str
    build: ObjectReference
    weights: Weights
    outputs: tuple[Output, ...]
    metrics: tuple[str, ...]  # what `ditbench evaluate` measures with it unless told otherwise
    resize: str = ""  # how images get the size that the network wants; empty: they don't
    image_shape: tuple[int, ...] | None = None  # the only (C, H, W) or (F, C, H, W) it takes; None: RGB of any size
    frames: int = 1  # of the shortest clip that it understands; 1: it sees images
    extra: str = ""  # the extra of ditbench that brings its library
    description: str = ""
    width: int = 0  # of its features, by which records' KID and FID are held against each other; 0: not told
    classes: int = 0  # of its logits, above which no Inception Score is; 0: not told

    def __post_init__(self) -> None:
        check_name("extractor", self.name)
        check_reference("extractor", self.name, self.build)
        if self.image_shape is not None and len(self.image_shape) != 3 + self.clips:
            raise BadValue(f"extractor {self.name!r}: {self.image_shape} is no (C, H, W), or of clips (F, C, H, W).")

    @property
    def clips(self) -> bool:
        """Whether it sees clips whole; of images, one at a time."""
        return self.frames > 1
