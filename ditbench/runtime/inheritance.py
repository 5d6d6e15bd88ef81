"""What a process that we start inherits: a path of modules and an environment that are cleaned.

Python itself would put the working directory on the path, where a ``profile.py`` of somebody's stands in for the
library's, and would run the script that called us again in every process.
"""

from __future__ import annotations

import os
import re
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..errors import BadValue

_OURS = Path(__file__).parents[2]  # the folder that ditbench is imported from
_SPINS = "GOMP_SPINCOUNT"  # libgomp's, which torch uses on Linux; read when it is loaded
_UNKNOWN_TO_RECORDS = ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")  # precisions a record can't name


@contextmanager
def clean() -> Iterator[None]:
    """Meanwhile no module is found because of where we stand, here or in any Python that is started.

    Variables by which a library would compute in another precision than the one it is told are gone.
    """
    before = sys.path
    sys.path = _clean_path()
    try:
        with environment({"PYTHONSAFEPATH": "1", **_clean_pythonpath(), **dict.fromkeys(_UNKNOWN_TO_RECORDS)}):
            yield
    finally:
        sys.path = before


@contextmanager
def apart_from_the_program() -> Iterator[None]:
    """The same, and a process that multiprocessing starts does not run our program's script, which needs no guard."""
    program = sys.modules["__main__"]
    with clean():
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = program


def leave_out(folder: Path) -> None:
    """Search a folder for modules no more, if only because it was put first; ditbench's own stays."""
    first = next((entry for entry in sys.path if _same(entry, folder)), None)
    if first is not None and not _same(folder, _OURS):
        sys.path.remove(first)


def check_environment() -> None:
    """`BadValue` for what libraries would pass over without a word, and compute with another number of threads."""
    threads = os.environ.get("OMP_NUM_THREADS", "").strip() or "1"  # OpenMP takes an empty one for unset
    if not re.fullmatch(r"\s*0*[1-9]\d*\s*(,\s*0*[1-9]\d*\s*)*", threads):
        raise BadValue(f"OMP_NUM_THREADS is {threads!r}: give a number of threads, 1 or more, or unset it.")


def brief_waits() -> dict[str, str]:
    """A variable by which OpenMP's threads wait for each other busily for a moment alone, unless the user says how.

    Left alone, libgomp has them spin on cores that others could use. What a step of two threads took on two cores,
    alone and beside one busy neighbour, as multiples of the best: left alone 1.0 and 3 (on another machine 17 to 28),
    1,000 spins 1.1 and 2.0, 10,000 spins 1.0 and 3.3, 100,000 spins 1.0 and 13, PASSIVE 1.2 and 1.7.
    """
    return {} if {"OMP_WAIT_POLICY", _SPINS} & os.environ.keys() else {_SPINS: "1000"}


@contextmanager
def environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """These variables, for what is imported and started meanwhile; None: it is not set."""
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


@contextmanager
def same_working_directory() -> Iterator[None]:
    """Afterwards we stand where we stood, wherever a plugin has gone meanwhile."""
    before = _working_directory()
    try:
        yield
    finally:
        if before is not None:
            os.chdir(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _clean_path() -> list[str]:
    """`sys.path` without what Python put there for the program that it runs, or for where we are."""
    path = list(sys.path)
    program = _folder_of_the_program()
    if path and not sys.flags.safe_path and program and _same(path[0], program) and not _same(program, _OURS):
        del path[0]
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    here = _working_directory() if "" in named[1:] + named[:-1] else None  # an empty entry beside others
    if here is not None and here != _OURS and not any(entry and _same(entry, here) for entry in named):
        path = [entry for entry in path if not _same(entry, here)]
    return [entry for entry in path if entry]


def _clean_pythonpath() -> dict[str, str]:
    """PYTHONPATH without empty entries, which mean the folder we are in: ``$PYTHONPATH:more`` makes one by accident."""
    named = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join(filter(None, named.split(os.pathsep)))} if named else {}


def _working_directory() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:  # it is gone
        return None


def _folder_of_the_program() -> Path | None:
    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is not None or script is None:  # python -m, or no script at all
        return _working_directory()
    return Path(script).parent


def _same(one: str | Path, other: str | Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
