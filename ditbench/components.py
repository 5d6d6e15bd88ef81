"""The frozen records that plugins return from their hooks. A record checks itself where it is built.

What is heavy is named, not imported: an `ObjectReference` is a callable, or ``"package.module:name"`` that is
imported on first use, so that listing everything costs no ``import torch``.
"""

from __future__ import annotations

import math
import pkgutil
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from .denoiser_spec import DenoiserSpec, examples_of
from .errors import BadValue, DitbenchError, PluginFault, one_line
from .ladder import Ladder, check_ladders
from .names import check_name, check_reference, check_size

ObjectReference = str | Callable[..., Any]
Value = str | int | float | bool
Output = Literal["features", "logits", "spatial"]  # of a feature extractor
RawKind = Literal["terms", "values", "counts", "ratios"]  # the numbers that a metric's value follows from

LARGEST = 2**31 - 1  # value of an option

NATIVE_FIELDS = ("optimizer", "learning_rate", "betas", "weight_decay", "warmup_steps", "decay", "clip_norm")


def load(reference: ObjectReference) -> Callable[..., Any]:
    """The callable that a reference stands for, importing its module if need be.

    `PluginFault` if that is not ours and can't be imported, whatever it raises.
    """
    if not isinstance(reference, str):
        return reference
    try:
        target = pkgutil.resolve_name(reference)
    except DitbenchError:
        raise
    except (Exception, SystemExit) as error:
        module = module_of(reference)
        if module.partition(".")[0] == __package__:  # a bug
            raise
        raise PluginFault(
            f"{reference!r} can't be loaded: {type(error).__name__}: {one_line(error)}. "
            f"python -c 'import {module}' shows the traceback; mend it, or uninstall its package."
        ) from error
    if not callable(target):
        raise BadValue(f"{reference!r} is not callable.")
    return target  # type: ignore[no-any-return]


def module_of(reference: ObjectReference) -> str:
    """The module that a reference lives in, without importing it."""
    return reference.partition(":")[0] if isinstance(reference, str) else reference.__module__


@dataclass(frozen=True, kw_only=True)
class Option:
    """One ablation axis of an architecture, set by ``+name=value`` on the command line."""

    default: Value | None  # None: the network decides from the spec
    choices: tuple[Value, ...] = ()  # empty: any value of the default's type; below 0 only if the default is not above
    doc: str = ""
    later: bool = False  # there are runs without it: at its default it is no setting, so their hashes stay

    def __post_init__(self) -> None:
        if self.choices and self.default is not None and self.default not in self.choices:
            raise BadValue(f"the default {self.default!r} is not among the choices {self.choices}.")
        if not self.choices and self.default is None:
            raise BadValue("an option without a default needs choices.")

    def parse(self, text: str) -> Value:
        """The value that `text` spells; `BadValue` says what would have been right."""
        if self.choices:
            spelled = {spell(choice): choice for choice in self.choices}
            if text not in spelled:
                raise BadValue(f"{text!r} is none of {', '.join(spelled)}.")
            return spelled[text]
        if isinstance(self.default, bool):
            if text not in ("on", "off"):
                raise BadValue(f"{text!r} is neither on nor off.")
            return text == "on"
        kind = float if isinstance(self.default, float) else int if isinstance(self.default, int) else str
        try:
            value = kind(text)
        except ValueError:
            raise BadValue(f"{reprlib.repr(text)} is no {kind.__name__}.") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise BadValue(f"{text!r} is no finite number.")
        if isinstance(value, int) and value < 0 < self.default:  # type: ignore[operator]
            raise BadValue(f"{text!r} is below 0.")
        if isinstance(value, (int, float)) and abs(value) > LARGEST:
            raise BadValue(f"{reprlib.repr(text)} is beyond all measure: at most {LARGEST}.")
        return value


def spell(value: Value) -> str:
    """A value as the command line spells it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


@dataclass(frozen=True, kw_only=True)
class Native:
    """What an architecture's own paper trains with: what it changes of a track's recipe and of its objective.

    ``recipe`` may set the optimiser, learning rate, betas, weight decay, warm-up, decay and clipping, by their names in
    a track's ``[recipe]``; ``objectives`` are settings of the objectives of these names, such as a weighting.
    """

    source: str  # where that is written, e.g. "arXiv:2209.12152, Appendix"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    objectives: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = self.recipe.keys() - NATIVE_FIELDS
        if unknown:
            raise BadValue(f"a native recipe can't set {', '.join(sorted(unknown))}, only {', '.join(NATIVE_FIELDS)}.")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a plugin registers: how to build a denoiser, its named sizes and its ablation axes.

    ``build(spec, **settings)`` returns an ``nn.Module`` that keeps the contract in `ditbench.testing`;
    the settings are the options' defaults, overridden by the size, overridden by what the user chose. An option that
    came `later` is given only where one of these two says something else than its default, which is `build`'s, too.

    ``convert_reference(state_dict)`` gives the state dict of a published checkpoint our names, and raises
    `BadValue` on a key that it does not know.

    ``native(space, resolution, size)`` returns the `Native` recipe of its paper for images of that many pixels.
    """

    name: str
    build: ObjectReference
    sizes: Mapping[str, Mapping[str, Value]]
    specs: Mapping[str, DenoiserSpec] = field(default_factory=dict)  # size -> what it was made for
    options: Mapping[str, Option] = field(default_factory=dict)
    ladder: Mapping[str, Ladder] = field(default_factory=dict)  # size -> sizes around it, named after it: nano-x2
    convert_reference: ObjectReference | None = None
    native: ObjectReference | None = None
    paper: str = ""  # e.g. "arXiv:2212.09748"
    licence: str = ""
    description: str = ""
    clips: bool = False  # whether its networks take clips (N, F, C, H, W) in place of images
    trained_with: tuple[str, ...] = ()  # all networks whose features its loss uses, as dinov2-vit-l-14
    also: Mapping[str, str] = field(default_factory=dict)  # other names of papers -> a sentence: how to have that here

    def __post_init__(self) -> None:
        check_name("architecture", self.name)
        check_reference("architecture", self.name, self.build)
        for optional in (self.convert_reference, self.native):
            if optional is not None:
                check_reference("architecture", self.name, optional)
        if not self.sizes:
            raise BadValue(f"architecture {self.name!r} has no sizes.")
        for size in self.sizes:
            check_size(self.name, size)
        for size in self.specs.keys() - self.sizes.keys():
            raise BadValue(f"architecture {self.name!r} has a spec for {size!r}, which is none of its sizes.")
        check_ladders(self.name, self.ladder, self.sizes)
        for network in self.trained_with:
            check_name(f"trained_with of {self.name}", network)
        for option in self.options:
            check_name(f"option of {self.name}", option)

    def base(self, size: str) -> str:
        """The size whose ladder a name is of, as nano of nano-x2; of any other name itself."""
        base = size.rpartition("-")[0]
        return base if size not in self.sizes and base in self.ladder else size

    def family(self, size: str) -> Mapping[str, Mapping[str, Value]]:
        """What a size is named among: a ladder's sizes, or those of the architecture."""
        base = self.base(size)
        return self.sizes if base == size else self.ladder[base].sizes(base, self.sizes[base])

    def settings(self, size: str, chosen: Mapping[str, Value]) -> dict[str, Value | None]:
        """Everything `build` gets beside the spec."""
        first = {name: option.default for name, option in self.options.items() if not option.later}
        return {**first, **self.family(size)[size], **chosen}


@dataclass(frozen=True, kw_only=True)
class Selection:
    """An architecture as a user chose it: ``name[:size][+option=value]...``."""

    architecture: Architecture
    size: str
    options: Mapping[str, Value] = field(default_factory=dict)  # only what differs from the size's settings

    @property
    def label(self) -> str:
        """As the command line spells it, e.g. ``dit:S/2+conditioning=adaln``."""
        return label(self.architecture.name, self.size, self.options)

    @property
    def settings(self) -> dict[str, Value | None]:
        """Everything `build` gets beside the spec."""
        return self.architecture.settings(self.size, self.options)

    @property
    def made_for(self) -> DenoiserSpec | None:
        """The input that the size was made for."""
        return self.architecture.specs.get(self.architecture.base(self.size))

    def spec(self, changes: Mapping[str, Any] | None = None) -> DenoiserSpec:
        """What the size was made for, with `changes` to its fields; `BadValue` if that leaves fields unknown."""
        known = {**(vars(self.made_for) if self.made_for else {}), **(changes or {})}
        missing = [name for name in ("channels", "resolution", "classes", "space") if name not in known]
        if missing:
            raise BadValue(f"{self.label} was made for no particular input; give its {', '.join(missing)}.")
        return DenoiserSpec(**known)

    def check_takes(self, frames: int) -> None:
        """`BadValue` if the architecture is of images, and these are clips of so many frames, or the other way."""
        if self.architecture.clips != (frames > 1):
            takes, given = "clips" if self.architecture.clips else "images", examples_of(frames)
            raise BadValue(f"{self.label} takes {takes}, not {given}: choose another, or a track of {takes}.")

    def build(self, spec: DenoiserSpec) -> Any:
        """The denoiser, an ``nn.Module``, initialised from torch's global generator."""
        self.check_takes(spec.frames)
        return load(self.architecture.build)(spec, **self.settings)


def label(name: str, size: str, options: Mapping[str, Value]) -> str:
    """A choice of architecture, size and options as the command line spells it."""
    return f"{name}:{size}" + "".join(f"+{key}={spell(value)}" for key, value in sorted(options.items()))


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Real images with labels. ``load(request)`` takes a `ditbench.Request`, returns `ditbench.Data`."""

    name: str
    load: ObjectReference
    place: Literal["none", "optional", "required"] = "none"  # whether a run's `data` says where it is
    description: str = ""

    def __post_init__(self) -> None:
        check_name("dataset", self.name)
        check_reference("dataset", self.name, self.load)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """How x_t is made and what is regressed. ``make(**settings)`` returns a `ditbench.DiffusionObjective`.

    A track's settings override those of the record.
    """

    name: str
    make: ObjectReference
    settings: Mapping[str, Value] = field(default_factory=dict)
    description: str = ""

    def __post_init__(self) -> None:
        check_name("objective", self.name)
        check_reference("objective", self.name, self.make)


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """A way to walk from noise to an image; ``sample(walk)`` takes a `ditbench.Walk`.

    What else it takes, as keywords with defaults, are its settings, which a track may change.

    ``times(steps)`` takes the settings that a track changes, too, and returns the times in [0, 1000] at which it asks
    the denoiser for an image, one for each evaluation, in any order. `ditbench records validate` counts the evaluations
    of a record again by it; without it, it can't. Keep it in a module that imports no torch.
    """

    name: str
    sample: ObjectReference
    objectives: tuple[str, ...]  # the objectives whose denoisers it can drive
    min_steps: int = 1
    max_steps: int | None = None
    times: ObjectReference | None = None
    description: str = ""

    def __post_init__(self) -> None:
        check_name("sampler", self.name)
        check_reference("sampler", self.name, self.sample)
        if self.times is not None:
            check_reference("sampler", self.name, self.times)


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


@dataclass(frozen=True, kw_only=True)
class Executor:
    """Where runs happen. ``make(wishes)`` takes `ditbench.Wishes` and returns a `ditbench.Engine`.

    It raises `BadValue` for a wish that it can't fulfil.
    """

    name: str
    make: ObjectReference
    description: str = ""

    def __post_init__(self) -> None:
        check_name("executor", self.name)
        check_reference("executor", self.name, self.make)
