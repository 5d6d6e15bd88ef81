"""Bad tracks: each field of the model, each setting of each component, and files that are no TOML."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import tomli_w
from judge import Case
from wrong import some, wrong

from ditbench.registry import Registry
from ditbench.tracks.track import Track, load_track

FILE = "bad.toml"
CHECK = ("track", "check", FILE)
_RUN = ("run", "--plugins", "toy", "--device", "cpu", "--budget", "1-steps", "--track", FILE)
_SETTINGS = (
    "nonsense",
    "true",
    True,
    -7,
    [],
    {},
    float("nan"),
    1e30,
)  # for settings of components, which no model types
_NOT_OF_FORM = {  # what is a string or a number, and can't be meant
    "data.dataset": ("nonsense", "", "digits/..", "a\nb", "x" * 5000),
    "objective.name": ("nonsense", "", "flow ", "FLOW", "a\nb", "x" * 5000),
    "sampler.name": ("nonsense", "", "ddpm", "edm-heun", "x" * 5000),  # of other objectives
    "evaluation.features": ("nonsense", "", "digits-cnn/fid", "x" * 5000),
    "evaluation.metrics": (
        ["nonsense"],
        [""],
        ["fid", "fid"],
        ["fid/nonsense"],
        ["fid/"],
        ["/digits-cnn"],
        ["fid", "FID"],
    ),
    "budget": (
        "nonsense",
        "",
        "0-steps",
        "-5-steps",
        "5",
        "1.5-steps",
        "nan-steps",
        "infs",
        "1e400-flops",
        "5-parsecs",
        "9" * 5000 + "-steps",
        "a\nb",
        "x" * 5000,
    ),
    "budgets": ({"short": "nonsense"}, {"short": ""}, {"short": "0s"}, {"a": "b", "b": "a"}),
    "name": ("", "a/b", "../x", "a b", ".x", "a\nb", "x" * 5000, "ü"),
    "recipe.betas": ([1.0, 0.9], [0.9, 1.0], [-0.1, 0.9], [0.9], [0.9, 0.9, 0.9]),
    "recipe.learning_rate": (1e30, 1e9),
    "recipe.weight_decay": (1e30,),
    "version": (True, "3", 1.5),
}
_MAGNITUDES = {  # what no machine can do: whoever checks or runs the track must say so, before anything is built
    "data.resolution": (10**6, 10**12),
    "recipe.batch_size": (10**9, 10**15),
    "sampler.steps": (10**12, 10**18),
    "sampler.batch_size": (10**12,),
    "evaluation.samples": (10**12, 10**18),
}
_TEXTS = {
    "nothing": b"",
    "no TOML": b"name = ",
    "JSON": b'{"name": "x"}',
    "a lone bracket": b"[",
    "a key twice": b'name = "a"\nname = "b"\n',
    "bytes": bytes(range(128, 256)),
    "a NUL": b'name = "a\0b"\n',
    "UTF-16": 'name = "a"\n'.encode("utf-16"),
    "Latin-1": 'name = "é"\n'.encode("latin-1"),
    "deep": b"a = " + b"[" * 100_000 + b"]" * 100_000,
    "deep keys": b"a" + b".a" * 50_000 + b" = 1\n",
    "a long number": b"version = " + b"9" * 10_000 + b"\n",
    "escapes": b'name = "\\u001b[31m"\n',
    "an array for a table": b"recipe = []\n",
    "a bell": b'na\x07me = "x"\n',
}


def cases(base: Path) -> Iterator[Case]:
    """All of them."""
    good = {**content_of("tiny"), "name": "mine"}
    good["sampler"]["guidance"] = {"scale": 1.5}
    good["budget"], good["budgets"] = "40-steps", {"blink": "8-steps"}
    searched = _with(good, "search", {"learning_rate": [1e-4, 1e-2], "beta2": [0.9, 0.99], "warmup": [0.0, 0.1]})
    searched["evaluation"]["metrics"] = ["denoise", "fid"]
    for one in some(wrong(Track, searched, strict=True, nothing=False), 6):
        yield _case(f"{one.place}: {one.what}", one.content, one.field, "100000000000")
    for place, values in _NOT_OF_FORM.items():
        for value in values:
            yield _case(f"{place} = {value!r}", _with(good, place, value), *_words(place, value))
    for place, values in _MAGNITUDES.items():
        for value in values:
            yield _case(
                f"run, {place} = {value:g}", _with(good, place, value), place.split(".")[-1], f"{value}", command=_RUN
            )
    yield from _components(good)
    yield from _files()


def content_of(name: str) -> dict[str, Any]:
    """An installed track as TOML has it."""
    return load_track(Registry.installed().tracks[name]).model_dump(mode="json", exclude_none=True)


def _components(good: dict[str, Any]) -> Iterator[Case]:
    """Each objective with each of its settings spoilt, under a sampler that fits it."""
    registry = Registry.installed()
    for objective in registry.objectives.values():
        sampler = next(one for one in registry.samplers.values() if objective.name in one.objectives)
        content = _with(_with(good, "sampler.name", sampler.name), "objective", {"name": objective.name})
        surprise = _with(content, "objective.settings", {"surprise": 1})
        yield _case(f"objective {objective.name} with a surprise", surprise, "surprise")
        for name, default in objective.settings.items():
            for value in _SETTINGS:
                if type(value) is not type(default) or value != value or value in ("nonsense", "true"):
                    spoilt = _with(content, "objective.settings", {name: value})
                    yield _case(f"objective {objective.name}: {name} = {value!r}", spoilt, name)
    for sampler in registry.samplers.values():
        content = _with(_with(good, "sampler.name", sampler.name), "objective", {"name": sampler.objectives[0]})
        for settings in ({"surprise": 1}, {"shift": "far"}):
            yield _case(f"sampler {sampler.name}: {settings}", _with(content, "sampler.settings", settings), *settings)
        for steps in (sampler.min_steps - 1, (sampler.max_steps or -1) + 1):
            if steps > 0:
                content = _with(_with(good, "sampler.name", sampler.name), "sampler.steps", steps)
                content = _with(content, "objective", {"name": sampler.objectives[0]})
                yield _case(f"sampler {sampler.name}: {steps} steps", content, "steps", sampler.name)


def _files() -> Iterator[Case]:
    for name, text in _TEXTS.items():
        yield Case("track", f"text: {name}", CHECK, (FILE,), partial(_write, content=text))
    yield Case("track", "a folder", CHECK, (FILE,), lambda folder: (folder / FILE).mkdir())
    yield Case("track", "a pipe", CHECK, (FILE,), lambda folder: os.mkfifo(folder / FILE))
    yield Case("track", "a link to itself", CHECK, (FILE,), lambda folder: (folder / FILE).symlink_to(FILE))
    yield Case("track", "/dev/null", ("track", "check", "/dev/null"), ("/dev/null",))
    yield Case("track", "a name too long", ("track", "check", "x" * 5000 + ".toml"), ("xxx",))
    yield Case("track", "show a pipe", ("track", "show", FILE), (FILE,), lambda folder: os.mkfifo(folder / FILE))
    yield Case("track", "run a pipe", _RUN, (FILE,), lambda folder: os.mkfifo(folder / FILE))


def _case(name: str, content: dict[str, Any], *culprits: str, command: tuple[str, ...] = CHECK) -> Case:
    return Case("track", name[:120], command, culprits, partial(_write, content=tomli_w.dumps(content).encode()))


def _write(folder: Path, content: bytes) -> None:
    (folder / FILE).write_bytes(content)


def _with(content: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    spoilt = copy.deepcopy(content)
    owner, (*way, name) = spoilt, place.split(".")
    for part in way:
        owner = owner[part]
    owner[name] = value
    return spoilt


def _words(place: str, value: Any) -> tuple[str, ...]:
    """The field, or what stands there."""
    texts = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
    return (
        place,
        place.split(".")[-1],
        place.split(".")[-1].rstrip("s"),
        "extractor",
        *(repr(text)[:20].rstrip("'") for text in texts if text != ""),
    )
