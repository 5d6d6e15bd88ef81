"""An architecture: how to build a denoiser, its named sizes and ablation axes; and one as a user chose it."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..denoiser_spec import DenoiserSpec, examples_of
from ..errors import BadValue
from ..ladder import Ladder, check_ladders
from ..names import check_name, check_reference, check_size
from .references import ObjectReference, load

Value = str | int | float | bool

LARGEST = 2**31 - 1  # value of an option

NATIVE_FIELDS = ("optimizer", "learning_rate", "betas", "weight_decay", "warmup_steps", "decay", "clip_norm")


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
