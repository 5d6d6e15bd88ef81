"""Bad arguments of every command, as typer knows its commands and their parameters."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from judge import Case
from typer.main import get_command

from ditbench.cli import app

_CPU = {"--device": "cpu"}
_TINY = {"--track": "tiny"}
GOOD: dict[str, tuple[list[str], dict[str, str]]] = {  # each command called well: its arguments, its options
    "run": (["toy"], {**_TINY, **_CPU, "--budget": "1-steps", "--out": "out"}),
    "plan": (["toy"], {**_TINY}),
    "scaling": (["toy"], {**_TINY, **_CPU, "--flops": "1e9", "--rungs": "nano", "--out": "out"}),
    "status": (["{base}/runs"], {}),
    "runs list": ([], {"--runs": "{base}/runs"}),
    "runs remove": (["dit-*"], {"--runs": "{base}/runs"}),
    "list": ([], {}),
    "sizes": (["toy"], {}),
    "new": (["my-arch"], {}),
    "check": (["toy"], {}),
    "plugins": ([], {}),
    "commands": ([], {}),
    "plugins doctor": ([], {}),
    "env": ([], {}),
    "track show": (["tiny"], {}),
    "track check": (["tiny"], {}),
    "data prepare": (["{base}/pictures"], {"--resolution": "8", "--out": "shards"}),
    "data stats": (["{base}/shards"], {}),
    "data verify": (["{base}/shards"], {}),
    "data floor": (["{base}/latents"], {"--features": "efficientnet-lite0", **_CPU}),
    "evaluate": (["{base}/samples.npz"], {"--reference": "digits", "--features": "digits-cnn", **_CPU}),
    "bridge": (["{base}/samples.npz", "digits", "{base}/samples.npz"], {"--features": "digits-cnn", **_CPU}),
    "ema": (["{run}"], {"--lengths": "0.05,0.15", **_CPU}),
    "profile": (["toy"], {"--track": "tiny", "--steps": "4", **_CPU}),
    "export": (
        ["{base}/dit.safetensors", "my-model"],
        {"--to": "safetensors", "--architecture": "dit:nano", "--track": "digits"},
    ),
    "fetch": (["digits-cnn"], {}),
    "import": (["dit:nano", "{base}/dit.safetensors"], {"--out": "w.safetensors"}),
    "diff": (["{one}", "{other}"], {}),
    "records schema": ([], {}),
    "records validate": (["{base}/records"], {}),
    "records submit": (["{base}/runs/tiny"], {"--by": "Ada", "--to": "{base}"}),
    "records verify": (["{one}"], {"--by": "Eve", "--run": "{run}"}),
    "records import": (
        ["{base}/evaluator.txt"],
        {
            "--from": "adm",
            "--track": "tiny",
            "--samples": "1000",
            "--paper": "Mine",
            "--url": "https://example.org",
            "--architecture": "toy",
            "--to": "reported.toml",
        },
    ),
    "leaderboard export": (["{base}/records", "tables"], {}),
    "leaderboard archive": (["{base}", "board.zip"], {}),
    "leaderboard build": (["{base}/records"], {"--out": "board"}),
    "leaderboard serve": (["{base}/records"], {"--port": "0"}),
    "leaderboard report": (["{base}/records"], {}),
    "leaderboard transfer": (["{base}/records"], {}),
}
_LONG, _ESCAPES, _LINES = "x" * 5000, "\x1b[31mred", "a\nb"
_NAMES = ("nonsense", _LONG, _ESCAPES, _LINES)
_PLUGINS = (
    *_NAMES,
    ",",
    "toy,",
    "toy,,dit",
    "toy:nonsense",
    "toy:",
    "toy+nonsense=1",
    "toy+depth",
    "toy+depth=",
    "toy+depth=x",
    "toy+depth=1.5",
    "toy+depth=1e26",
    "toy+depth=99999999999999999999999999",
    "toy+depth=1000000000",
    "toy+bias=maybe",
    "toy+fault=film",
    "toy+depth=1+depth=2",
    "TOY",
)
_BUDGETS = (*_NAMES, "", "0-steps", "-1-steps", "5", "1.5-steps", "1-parsecs", "nan-steps", "inf-steps", "1e400-flops")
_DEVICES = (*_NAMES, "", "tpu", "cuda:", "cuda:-1", "cuda:x", "cuda:99999999999999999999", "CPU ", "cpu:0")
_ADDRESSES = ("nonsense", _ESCAPES, _LINES, "javascript:alert(1)", "file:///etc/passwd", "https://", 'https://a"><b>')
TEXTS: dict[str, tuple[str, ...]] = {  # by flag or command and argument: what can't be meant there
    "--plugins": (*_PLUGINS, ""),
    "commands names": (*_NAMES, "", " ", "leader"),
    "sizes architectures": tuple(text for text in _PLUGINS if text != "toy+depth=1000000000"),  # a row says why not
    "check architectures": (*_PLUGINS, ""),
    "run architectures": (*_PLUGINS, ""),
    "plan architectures": (*_PLUGINS, ""),
    "scaling architectures": (*_PLUGINS, ""),
    "--flops": (*_NAMES, "", ",", "0", "-1e9", "nan", "inf", "1e400", "1e9,1e9", "2e9,1e9", "1e3"),
    "--rungs": (*_NAMES, ",", "x2", "nano,nano"),
    "profile architectures": (*_PLUGINS, "toy:nano+depth=0.5"),
    "import architecture": (*_PLUGINS, ""),
    "--architecture": ("nonsense",),
    "--track": (*_NAMES, "missing.toml", "/dev/null", ".", "TINY"),
    "track show name": (*_NAMES, "", "missing.toml", "."),
    "track check names": (*_NAMES, "", "missing.toml", "."),
    "profile --batch-size": (*_NAMES, ",", "0", "8,", "8,8", "-1", "1.5", "9" * 5000),
    "--lengths": (*_NAMES, "", ",", "0", "0.3", "-0.1", "0.1,", "0.1,0.1", "0.1,0.05", "nan", "1e400", "9" * 5000),
    "--seeds": (*_NAMES, "", ",", "0,", "0,0", "-1", "0.5", "1e3", "4294967296", "9" * 5000, "0 1", "true"),
    "--size": (*_NAMES, "XXL"),
    "--budget": (*_BUDGETS, "1gpu-hours"),  # on a CPU
    "plan --budget": _BUDGETS,
    "--device": _DEVICES,
    "plan --device": (_ESCAPES, _LINES),
    "--eval-at": (*_NAMES, ",", "0", "1", "100%", "-5%", "nan", "inf", "25%,25%", "25%,", "1e-400"),
    "plan --data": (*_NAMES, "synthetic:x"),  # it is not opened
    "--data": (*_NAMES, "digits:/nowhere", "synthetic:x", "image-folder:/nowhere", "image-folder"),
    "--reference": (*_NAMES, "/nowhere", "missing.npz", "nonsense:x"),
    "--ruleset": (*_NAMES, "", "Matched"),
    "--recipe": (*_NAMES, "missing.toml", "/dev/null", "."),
    "--features": (*_NAMES, "DIGITS-CNN"),
    "--guidance": (*_NAMES, "", ",", "1,", "-1", "1,1", "2,1", "1 2", "nan", "inf", "1e400", "1001", "9" * 5000),
    "--metrics": (*_NAMES, ",", "fid,", "fid,nonsense", "FID"),
    "--executor": (*_NAMES, "", "Process"),
    "--log": (*_NAMES, "", "TENSORBOARD"),
    "--with": (*_NAMES, "", "=", "=1", "gpus=1"),  # none for the process executor
    "--address": ("nonsense", _LINES),  # only with Ray
    "leaderboard build --address": _ADDRESSES,
    **dict.fromkeys(("--repository", "--samples-url", "--site-url"), _ADDRESSES),
    "--on": (*_NAMES, ",", "0", "-8", "1.5", "8,", "9" * 5000),
    "--by": ("", " ", "a/b", "a\\b", _LONG, _ESCAPES, _LINES),
    "--weights-url": (*_NAMES, "", "http://x.org/w", "ftp://x.org", "https://"),
    "records import --budget": tuple(filter(None, _BUDGETS)),
    "records import --paper": ("", _ESCAPES, _LINES, _LONG),
    "records import --table": (_ESCAPES, _LINES, _LONG),
    "records import --differs": (_ESCAPES, _LINES, _LONG),
    "records import --note": (_ESCAPES, _LINES, _LONG),
    "--arxiv": (*_NAMES, "2212", "2212.0974x"),
    "--url": ("nonsense", _LONG, _ESCAPES, _LINES, "javascript:alert(1)", "ftp://x.org", "https://"),
    "records import --architecture": ("", _ESCAPES, _LINES, _LONG),
    "bridge references": (*_NAMES, "", "/nowhere", "missing.npz", "nonsense:x"),
    "--board": (*_NAMES,),
    "--base": (*_NAMES, "", "--output=x", "HEAD~100000"),
    "fetch extractors": (*_NAMES, ""),
    "runs remove names": (*_NAMES, "", "../*"),
    "new name": (_LONG, _ESCAPES, _LINES, "", "a/b", "..", ".", "dit", "Ü", "1", "-", "a b"),
    "data prepare source": (*_NAMES, "hf:", "/nowhere"),
    "--autoencoder": ("/nowhere", _LONG, _LINES, "nonsense", "kl", "kl:", "dc:/nowhere", "identity:x"),
}
FILES = {  # what is read as a file; other paths that are read are folders
    "records verify record",
    "records verify --weights",
    "evaluate samples",
    "evaluate --weights",
    "bridge samples",
    "bridge --weights",
    "records import file",
    "leaderboard export --citation",
    "leaderboard archive --citation",
    "export source",
    "export --like",
    "fetch --weights",
    "import checkpoint",
    "diff one",
    "diff other",
    "leaderboard build --reported",
    "leaderboard serve --reported",
    "leaderboard build --page",
    "scaling --with",
}
WRITTEN_FILES = {
    "--report", "--study", "import --out", "ema --save", "records import --to", "leaderboard archive out",
}  # fmt: skip
WRITTEN_FOLDERS = {"--out", "records submit --to", "leaderboard export out", "export out"}
_GOOD_WITH: dict[str, dict[str, str]] = {  # what an option needs beside it to count
    "--architecture": {"--track": "tiny"},
    "evaluate --track": {"--architecture": "toy"},
    "records verify --weights": {"--run": ""},
    "ema --save": {"--lengths": "0.05"},
    "leaderboard export --citation": {"--to": "croissant"},
    "evaluate --data": {"--architecture": "toy", "--track": "tiny"},
    "evaluate --ruleset": {"--architecture": "toy", "--track": "tiny"},
}
_UNHEARD = {("records verify", name) for name in ("--data", "--reference")}  # without weights that are the record's
_ALSO = {  # words that name it as well
    "--seeds": ("Seed",),
    "--eval-at": ("%",),
    **dict.fromkeys(("--plugins", "--metrics", "architectures"), ("''",)),
}


class Parameter(NamedTuple):
    """A parameter of a command as a caller sees it."""

    command: str
    name: str  # as the flag, or the argument's name
    kind: Any
    of: Any  # typer's own

    @property
    def is_flag(self) -> bool:
        return self.name.startswith("--")

    def among(self, table: Any) -> str | None:
        """Its key in a table, by command and name or by name alone."""
        return next((key for key in (f"{self.command} {self.name}", self.name) if key in table), None)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by its whole name."""
    return _below(get_command(app), ())


def _below(command: Any, way: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    inside = getattr(command, "commands", {})
    if not inside or getattr(command, "invoke_without_command", False):
        yield " ".join(way), command
    for name, one in inside.items():
        yield from _below(one, (*way, name))


def parameters() -> Iterator[Parameter]:
    """Every parameter of every command."""
    for command, of in commands():
        for one in of.params:
            names = [name for name in one.opts if name.startswith("--")]
            if names != ["--help"]:
                yield Parameter(command, names[0] if names else one.name, _plain(one.type_descriptor.annotation), one)


def _plain(kind: Any) -> Any:
    """Of an optional or repeated parameter, what one value is."""
    inside = [one for one in get_args(kind) if one is not type(None)]
    return _plain(inside[0]) if inside and get_origin(kind) is not Literal else kind


def cases(base: Path) -> Iterator[Case]:
    """All of them."""
    for command, of in commands():
        yield from _misused(base, command, of)
    for one in parameters():
        for value, *culprits in _bad_values(one):
            line = _line(base, one, value)
            said = repr(value)[1:20].rstrip("'") if len(value) > 2 else repr(value)
            words = (one.name, *filter(None, culprits), said, *_ALSO.get(one.name, ()))
            words = words if value.strip() else (one.name, repr(value), "empty")
            code = 1 if one.command == "records validate" and value in ("a-file", "a-pipe") else 2  # a checked file
            yield Case("arguments", f"{one.command} {one.name} {value!r:.60}", line, words, _surroundings, code)


def _surroundings(folder: Path) -> None:
    (folder / "a-file").write_text("")
    (folder / "a-folder").mkdir()
    os.mkfifo(folder / "a-pipe")
    (folder / "noise").write_bytes(bytes(range(256)) * 4)


def _misused(base: Path, command: str, of: Any) -> Iterator[Case]:
    """What is wrong whatever the command does."""
    arguments, options = GOOD[command]
    good = _spelled(base, command, arguments, options)
    case = partial(Case, "arguments")
    yield case(f"{command}: an unknown option", (*good, "--nonsense"), ("--nonsense",))
    yield case(f"{command}: an unknown letter", (*good, "-Z"), ("-Z",))
    takes_more = any(one.param_type_name == "argument" and one.nargs == -1 for one in of.params)
    if not takes_more and not getattr(of, "commands", {}):
        whole = [*arguments, *["surplus"] * (sum(one.param_type_name == "argument" for one in of.params) + 1)]
        yield case(f"{command}: too many arguments", _spelled(base, command, whole, options), ("surplus",))
    for one in of.params:
        name = next((opt for opt in one.opts if opt.startswith("--")), "")
        if name and name != "--help":
            if getattr(one, "is_flag", False):
                yield case(f"{command}: {name} with a value", (*good, f"{name}=yes"), (name,))
            else:
                yield case(f"{command}: {name} without its value", (*good, name), (name,))
        if one.required and name:
            less = {key: value for key, value in options.items() if key != name}
            yield case(f"{command}: no {name}", _spelled(base, command, arguments, less), (name,))
        elif one.required:
            names = [other.name for other in of.params if other.param_type_name == "argument"]
            less = arguments[: names.index(one.name)]
            yield case(
                f"{command}: no {one.name}",
                _spelled(base, command, less, options),
                (one.name, one.name.upper(), one.metavar or one.name),
            )


def _bad_values(one: Parameter) -> Iterator[tuple[str, ...]]:
    """Values that a parameter can't have, each with words that stand for it in an answer."""
    if getattr(one.of, "is_flag", False) or one.kind is bool:
        return
    if one.kind is int:
        yield from ((value,) for value in ("x", "1.5", "", "1e3", "0x10", "nan"))
        if one.of.min is not None:
            yield (str(one.of.min - 1),)
        if one.of.max is not None:
            yield (str(one.of.max + 1),)
        yield ("9" * 5000,)
    elif one.kind is float:
        yield from ((value,) for value in ("x", "", "nan", "inf", "-inf", "0", "-1", "1e400", "1,5"))
    elif get_origin(one.kind) is Literal or (inspect.isclass(one.kind) and issubclass(one.kind, Enum)):
        yield from ((value,) for value in ("nonsense", "", "a\nb", "\x1b[31mred"))
    elif one.kind is Path:
        yield from _bad_paths(one)
    else:
        if (one.command, one.name) in _UNHEARD:
            return
        key = one.among(TEXTS)
        assert key, f"what is bad text for {one.command} {one.name}? Say it in TEXTS"
        yield from ((value, _core(value)) for value in TEXTS[key])


def _core(value: str) -> str:
    """What must be left of a value in any answer: its longest word, as far as it goes."""
    words = sorted("".join(c if c.isalnum() else " " for c in value).split(), key=len)
    return words[-1][:12] if words and len(words[-1]) > 2 else ""


def _bad_paths(one: Parameter) -> Iterator[tuple[str, ...]]:
    yield ("",)
    if one.among(WRITTEN_FILES):
        yield from (("a-file/below", "a-file"), ("a-folder",), (_LONG, "xxx"), ("/proc/nothing/here", "/proc"))
    elif (one.command, one.name) == ("plan", "--out"):  # what is not there holds no runs
        return
    elif one.among(WRITTEN_FOLDERS):
        yield from (("a-file",), ("a-file/below", "a-file"), (_LONG, "xxx"), ("/proc/nothing/here", "/proc"))
    elif one.among(FILES):
        yield from (("missing.x",), ("a-folder",), ("a-pipe",), ("a-file",), ("noise",), (_LONG, "xxx"))
        yield from (("a-file/below", "a-file"), ("/dev/null",), (f"{_LINES}.x", "a", "b"))
    else:
        yield from (
            ("missing",),
            ("a-file",),
            ("a-pipe",),
            (_LONG, "xxx"),
            ("a-file/below", "a-file"),
            (_ESCAPES, "red"),
        )


def _line(base: Path, one: Parameter, value: str) -> tuple[str, ...]:
    """The command as it is good, but for this parameter."""
    arguments, options = GOOD[one.command]
    if one.is_flag:
        beside = _GOOD_WITH.get(one.among(_GOOD_WITH) or "", {})
        options = {key: text for key, text in {**options, **beside, one.name: value}.items() if text or key == one.name}
    else:
        place = [
            of.name
            for _, command in commands()
            if _ == one.command
            for of in command.params
            if of.param_type_name == "argument"
        ]
        arguments = [
            value if number == place.index(one.of.name) else text for number, text in enumerate(arguments)
        ] or [value]
    return _spelled(base, one.command, arguments, options)


def _spelled(base: Path, command: str, arguments: list[str], options: dict[str, str]) -> tuple[str, ...]:
    flags = [part for name, value in options.items() for part in (f"{name}={value}",)]
    quiet = {"leaderboard serve": ["--no-browser"], "ema": ["--samples"]}.get(command, [])
    odd = ["--"] if any(text.startswith("-") for text in arguments) else []
    words = [*command.split(), *flags, *quiet, *odd, *arguments]
    one, other = sorted(base.glob("records/*/*.json"))
    run = next((base / "runs" / "tiny").glob("*/record.json")).parent
    for name, path in {"{base}": base, "{one}": one, "{other}": other, "{run}": run}.items():
        words = [word.replace(name, str(path)) for word in words]
    return tuple(words)
