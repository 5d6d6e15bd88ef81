"""Options that several commands share: how they are spelled, and how their text is read."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import typer

from ..errors import BadValue
from ..tracks.options import About, CampaignOptions, PlaceOptions, described
from . import completion

# Panels of `--help`, in this order.
WHAT, MEASURING, MACHINE, FILES = "What to run", "What to measure", "Where and how it runs", "Files and logs"


_ARCHITECTURE = typer.Argument(
    metavar="ARCHITECTURE",
    help="Architectures, as name[:size][+option=value].",
    autocompletion=completion.architectures,
    show_default=False,
)
Architectures = Annotated[list[str], _ARCHITECTURE]
SomeArchitectures = Annotated[list[str] | None, _ARCHITECTURE]
Plugins = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,NAME",
        help="The same in one word, separated by commas.",
        autocompletion=completion.architectures,
        rich_help_panel=WHAT,
    ),
]
TrackName = Annotated[
    str,
    typer.Option(
        help="Track, or a track's file; see `ditbench list tracks`.",
        autocompletion=completion.tracks,
        rich_help_panel=WHAT,
    ),
]
Seeds = Annotated[str, typer.Option(metavar="N,N", help="Training seeds: 0,1,2 or 0-9.", rich_help_panel=WHAT)]
Device = Annotated[str, typer.Option(help=described(PlaceOptions)["device"][1].text, autocompletion=completion.devices)]
Offline = Annotated[bool, typer.Option("--offline", help=described(PlaceOptions)["offline"][1].text)]
COMMITTED = Path("leaderboard/records")  # where a clone keeps records
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]

# What differs from the input that a size was made for; shared by `sizes`, `import` and `profile`.
Resolution = Annotated[int | None, typer.Option(min=1, max=16_384, help="Pixels or latent cells per side.")]
Channels = Annotated[int | None, typer.Option(min=1, max=65_536, help="Channels of the image or latent.")]
Classes = Annotated[
    int | None, typer.Option(min=0, max=10**7, help="Classes, the null label not counted; 0: unconditional.")
]
SpaceOption = Annotated[Literal["pixel", "latent"] | None, typer.Option(help="Where the denoiser works.")]
Frames = Annotated[int | None, typer.Option(min=1, max=4096, help="Frames of a clip; 1: images.")]
LearnVariance = Annotated[bool | None, typer.Option(help="Whether the output has the variance's channels, too.")]


def spec_changes(
    resolution: int | None,
    channels: int | None,
    classes: int | None,
    space: str | None,
    learn_variance: bool | None,
    frames: int | None,
) -> dict[str, int | str]:
    """What is said of a spec, without what is not."""
    return {name: value for name, value in locals().items() if value is not None}


def parse_shares(text: str) -> list[float]:
    """``25%,50%`` or ``0.25,0.5``."""
    try:
        return [_share(part.strip()) for part in text.split(",")] if text else []
    except ValueError:
        raise BadValue(f"--eval-at {text!r} is no list of shares of the budget such as 25%,50%.") from None


def _share(text: str) -> float:
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def parse_numbers(flag: str, text: str, such_as: str) -> list[float]:
    """``0.05,0.1``: `BadValue` for all else, which says what would have been right."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise BadValue(f"{flag} {text!r} is no list of {such_as}.") from None


def parse_architectures(words: Sequence[str] | None, plugins: str | None = None) -> list[str]:
    """Those that are named in plain words, which may hold commas, or by --plugins."""
    if words and plugins is not None:
        raise BadValue("Architectures are named in plain words or with --plugins, not both ways at once.")
    named = words or ([] if plugins is None else [plugins])
    for word in named:
        if not all(map(str.strip, word.split(","))):
            why = "there is no name beside a comma" if word.strip() else "it is empty"
            raise BadValue(
                f"Architectures {word!r}: {why}. Write them as dit,uvit; `ditbench list` shows what there is."
            )
    return [name for word in named for name in word.split(",")]


_WHOLE = re.compile(r" *-?[0-9]{1,20} *")
_RANGE = re.compile(r" *([0-9]{1,6})-([0-9]{1,6}) *")


def parse_seeds(text: str) -> list[int]:
    """``0,1,2`` or ``0-2``."""
    return [seed for part in text.split(",") for seed in _seeds_in(part, text)]


def _seeds_in(part: str, text: str) -> Sequence[int]:
    if found := _RANGE.fullmatch(part):
        first, last = map(int, found.groups())
        if first <= last:
            return range(first, last + 1)
    if not _WHOLE.fullmatch(part):
        raise BadValue(f"--seeds {text!r} is no list of whole numbers such as 0,1,2 or 0-2.")
    return [int(part)]


_SIZE = re.compile(r" *[1-9][0-9]{0,6} *")
_LARGEST = 1_000_000  # images of a batch


def parse_batch_sizes(text: str) -> list[int]:
    """``64,256``: each once; none if the text is empty."""
    parts = text.split(",") if text else []
    if not all(_SIZE.fullmatch(part) and int(part) <= _LARGEST for part in parts):
        raise BadValue(f"--batch-size {text!r} is no list of numbers from 1 to {_LARGEST:,} such as 64,256.")
    sizes = [int(part) for part in parts]
    if len(set(sizes)) < len(sizes):
        raise BadValue(f"--batch-size {text!r} has a number twice.")
    return sizes


class _Typed(NamedTuple):
    """An option that is typed otherwise than Python gives it."""

    kind: Any
    default: Any  # ...: Python's
    read: Callable[[Any], Any]


_SEVERAL = _Typed(list[str] | None, None, lambda typed: typed or ())
_TYPED = {
    "eval_at": _Typed(str, "", parse_shares),
    "log": _SEVERAL,
    "metrics": _Typed(str, "", lambda typed: typed.split(",") if typed else ()),
    "options": _SEVERAL,
    "out": _Typed(Path, ..., Path),
}
_SPELLED = {  # where the flag is not the option's name with dashes
    "architectures": "--plugins",
    "checkpoint_seconds": "--checkpoint-every",
    "options": "--with",
    "processes": "--nproc",
    "raw_weights": "--raw",
}
_MORE: dict[str, dict[str, Any]] = {  # what the terminal is told beside the text
    "budget": {"autocompletion": completion.budgets},
    "device": {"autocompletion": completion.devices},
    "eval_at": {"metavar": "25%,50%"},
    "executor": {"autocompletion": completion.executors},
    "features": {"autocompletion": completion.extractors},
    "log": {"metavar": "TRACKER"},
    "metrics": {"metavar": "NAME,NAME"},
    "options": {"metavar": "KEY=VALUE"},
}
_PANELS = {  # of the options of a run
    WHAT: ("data", "budget", "ruleset", "trials", "recipe", "parametrization"),
    MEASURING: (
        "reference", "eval_at", "samples", "features", "metrics", "raw_weights", "keep_samples", "ema_snapshots",
    ),
    MACHINE: (
        "device", "micro_batch", "checkpointing", "compile", "executor", "processes", "shard", "parallel", "address",
        "options", "wait", "dry_run",
    ),
    FILES: ("out", "force", "checkpoint_seconds", "log", "offline", "skip_bad", "strict"),
}  # fmt: skip
_PANEL_OF = {name: panel for panel, names in _PANELS.items() for name in names}


_HINTS = {"log": "May be given twice.", "options": "May be given several times."}  # to whom types it


def flag(option: str) -> str:
    """How the command line spells an option of a run, e.g. ``--nproc`` for ``processes``."""
    return _SPELLED.get(option, "--" + option.replace("_", "-"))


_OTHERS = (  # what messages name, too: what other commands are told, as Python names it
    "allow_jpeg", "architecture", "architectures", "autoencoder", "batch_size", "by", "channels", "citation", "classes",
    "flops", "frames", "gpus", "guidance", "interval", "learn_variance", "lengths", "like", "port", "profiles",
    "resolution", "rungs", "save", "seconds", "seed", "to", "track", "weights", "weights_url",
)  # fmt: skip
FLAGS = {name: flag(name) for name in (*described(CampaignOptions), *_OTHERS)}
# An option in backticks; what stands in quotation marks, as Python writes text, is somebody's value, and stays.
_NAMED = re.compile(r"""`([a-z_]+)`|(?<!\w)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?!\w)""")


def as_flags(message: str) -> str:
    """What the library says, for a terminal: an option of a command that it names in backticks becomes the flag.

    Others' backticks are none any more (`ditbench.errors`), and what is quoted stays as it was given.
    """
    return _NAMED.sub(lambda found: FLAGS.get(found[1], found[0]), message)


_FEW = 5  # options of a run that a command has without panels of their own


def offers(
    options: type, *names: str, hints: Mapping[str, str] = {}
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command of ``**options`` the flags of these options, of all if none is named; `hints` end their texts.

    It gets them read, by the names that Python has; see `ditbench.tracks.options`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters.values()
        chosen = {name: about for name, about in described(options).items() if not names or name in names}

        read = {name: typed.read for name, typed in _TYPED.items() if name in chosen}

        @wraps(command)
        def reading(**given: Any) -> None:
            command(**{**given, **{name: read[name](given[name]) for name in read}})

        flags = (_parameter(name, *about, hints, panels=len(chosen) > _FEW) for name, about in chosen.items())
        named = (one.replace(kind=one.KEYWORD_ONLY) for one in own if one.kind is not one.VAR_KEYWORD)
        parameters = sorted([*named, *flags], key=_panel)
        reading.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        reading.__annotations__ = {}
        return reading

    return decorate


def _panel(parameter: inspect.Parameter) -> int:
    """The number of its panel in `--help`, which has them in the order of their first options."""
    shown: str | None = get_args(parameter.annotation)[1].rich_help_panel
    return [None, *_PANELS].index(shown)


def _parameter(name: str, kind: Any, about: About, hints: Mapping[str, str], panels: bool) -> inspect.Parameter:
    """An option as typer reads it from a signature."""
    typed = _TYPED.get(name, _Typed(kind, ..., lambda value: value))
    default = about.default if typed.default is ... else typed.default
    hint = hints.get(name, _HINTS.get(name, ""))
    shown = typer.Option(
        flag(name),
        help=f"{about.text} {hint}".rstrip(),
        min=about.least,
        max=about.most,
        rich_help_panel=_PANEL_OF[name] if panels else None,
        **_MORE.get(name, {}),
    )
    annotation = Annotated[typed.kind, shown]  # type: ignore[name-defined]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def parse_address(text: str) -> str:
    """A web address without the slash at its end; empty: there is none. `BadValue` for any other."""
    if text and not re.fullmatch(r"https?://[\w.:-]+(/[\w./~%@:+=-]*)?", text, re.ASCII):
        raise BadValue(f"{text!r} is no address of the web; give one as https://example.org/ditbench.")
    return text.rstrip("/")
