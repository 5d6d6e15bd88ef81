"""Bad calls of `ditbench.run`, each option with what its type does not take."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pydantic
from judge import Case

import ditbench
from ditbench.tracks.options import CampaignOptions, described

_CANDIDATES = (7, -1, 0.5, True, None, "nonsense", "", [], ["nonsense"], {}, {"a": 1}, b"bytes", object(), float("nan"))
_OWN: dict[str, tuple[Any, ...]] = {
    "track": (7, None, True, [], b"tiny", "", "nonsense", "a\nb", Path("missing.toml"), {"name": "tiny"}),
    "architectures": (
        "toy",
        "",
        7,
        None,
        [],
        [7],
        [None],
        [""],
        ["nonsense"],
        ["toy", "toy"],
        {"toy": 1},
        [["toy"]],
        b"toy",
    ),
    "seeds": (
        "0",
        0,
        None,
        [],
        [0.0],
        [True],
        ["0"],
        [None],
        [-1],
        [2**32],
        [0, 0],
        {"a": 1},
        [[0]],
        [float("nan")],
        [10**40],
    ),
}
_MEANT: dict[str, tuple[Any, ...]] = {  # of the right type, and not to be meant
    "budget": ("", "nonsense", "0-steps", "nan-steps", "a\nb", "x" * 5000),
    "device": ("", "tpu", "cuda:-1", "cuda:99999999999999999999", "\x1b[31m", "CPU"),
    "ruleset": ("", "nonsense", "Matched"),
    "eval_at": ([0.0], [1.0], [-0.5], [2], [0.5, 0.5], [float("nan")], [float("inf")], [None], [True]),
    "recipe": ("nonsense", "missing.toml"),
    "trials": (8, 1, 0, -5, 10**9, True),
    "samples": (0, -5, 19, 10**15, True),
    "compile": ("", "auto", "whole", "ON"),
    "parametrization": ("", "muP", "ntk", "on"),
    "ema_snapshots": (-1, 101, True),
    "features": ("nonsense", "fid", "a\nb"),
    "metrics": (["nonsense"], [""], ["fd/nonsense"]),
    "micro_batch": (0, -1, 7, True, 10**12),
    "checkpoint_seconds": (0.0, -1.0, float("nan"), float("inf"), True),
    "processes": (0, -1, True, 10**9),
    "parallel": (0, -1, True),
    "executor": ("", "nonsense", "a\nb"),
    "log": (["nonsense"], "tensorboard", [7], [""]),
    "options": (["nonsense"], ["=1"], [""], [7], "gpus=1", {"gpus": 1}),
    "data": ("nonsense", "image-folder:/nowhere", "digits:/nowhere", "a\nb"),
    "reference": ("/nowhere", "nonsense", "missing.npz"),
    "address": ("nonsense",),
    "out": ("a-file", "a-file/below", "x" * 5000, "/proc/nothing/here"),
}
_ALSO = {
    "log": ("''",),
    "seeds": ("Seed", "no list"),
    "architectures": ("''", "rchitecture"),
    "data": ("/nowhere",),
    "reference": ("nonsense'", "missing.npz'"),
    "eval_at": ("%",),
}


def cases(base: Path) -> Iterator[Case]:
    """All of them."""
    for name, values in _OWN.items():
        for value in values:
            yield _case(name, value)
    for name, (kind, _) in described(CampaignOptions).items():
        takes = pydantic.TypeAdapter(kind, config=pydantic.ConfigDict(strict=True, arbitrary_types_allowed=True))
        of_type = [one for one in _MEANT.get(name, ()) if _taken(takes, one)]
        for value in (*(one for one in _CANDIDATES if not _taken(takes, one)), *of_type):
            yield _case(name, value)


def _taken(adapter: Any, value: Any) -> bool:
    try:
        adapter.validate_python(value)
    except pydantic.ValidationError:
        return False
    return True


def _case(name: str, value: Any) -> Case:
    shown = "object()" if type(value) is object else repr(value)
    call = partial(_run, **{name: value})
    inside = value if isinstance(value, (list, tuple)) else [value]
    words = (
        f"`{name}`",
        name,
        *(repr(one)[:20].rstrip("'") for one in inside if len(repr(one)) > 2),
        *_ALSO.get(name, ()),
    )
    return Case("calls", f"{name}={shown:.60}", culprits=words, make=_with_a_file, call=call)


def _with_a_file(folder: Path) -> None:
    (folder / "a-file").write_text("")


def _run(**given: Any) -> None:
    ditbench.run(
        **{
            "track": "tiny",
            "architectures": ["toy"],
            "budget": "1-steps",
            "device": "cpu",
            "executor": "inline",
            **given,
        }
    )
