"""The command that repeats a run, from its record alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version

from ...builtins import SHIPPED_PLUGINS
from ...errors import brief
from ...records.record import Record
from ...tracks.free import Free, written
from ...tracks.ledger import namesake

_RECIPE = "recipe.toml"  # of a speedrun
_LONGEST = 1_000  # characters of a word that anybody would type
# Where a clone of ditbench has plugins: those that `uv sync` installs, and examples.
SHIPPED = frozenset(f"ditbench-{name}" for name in SHIPPED_PLUGINS)
EXAMPLES = {"ditbench-unet": "examples/ditbench-unet"}


@dataclass(frozen=True)
class Reproduction:
    """What to type, each line for a shell; no lines where the record's words must not reach one."""

    lines: tuple[str, ...]
    caveats: tuple[str, ...]  # what the record can't tell


def reproduction(record: Record) -> Reproduction:
    """How to repeat a run. Every word is quoted for the shell; words that no name or number looks like give no line."""
    words = list(_words(record))
    typed = all(word.isprintable() and len(word) <= _LONGEST for word in (*words, *_recipe(record)))
    lines = (
        (*_install(record), *_written(record), f"{'uv run ' if _commit(record) else ''}{shlex.join(words)}")
        if typed
        else ()
    )
    return Reproduction(lines, tuple(_caveats(record)))


def _recipe(record: Record) -> list[str]:
    """The lines of the file that a run of a speedrun takes."""
    free = Free(record.recipe, record.objective, record.changed)
    return written(free, record.track) if record.ruleset == "speedrun" else []


def _written(record: Record) -> Iterator[str]:
    """What makes that file."""
    if lines := _recipe(record):
        printed = shlex.join(["printf", "%s\\n", *lines])
        yield f"{printed} > {_RECIPE}"


def _commit(record: Record) -> str | None:
    return record.environment.git_commit if record.environment else None


def _install(record: Record) -> Iterator[str]:
    """In a clone of ditbench: the commit that ran, what it needs, and the plugin if it is not part of it."""
    of, commit = record.architecture, _commit(record)
    if commit:
        yield f"git checkout {commit} && uv sync"
    if commit and of.distribution in EXAMPLES:
        yield f"uv pip install -e {EXAMPLES[of.distribution]}"
    elif _is_foreign(record) and _is_requirement(of.distribution, of.distribution_version):
        wanted = f"{of.distribution}=={of.distribution_version}"
        yield shlex.join([*(["uv"] if commit else []), "pip", "install", wanted])


def _is_foreign(record: Record) -> bool:
    return record.architecture.distribution not in (*SHIPPED, *EXAMPLES)


def _is_requirement(distribution: str, version: str) -> bool:
    try:
        return bool(canonicalize_name(distribution, validate=True) and Version(version))
    except (InvalidName, InvalidVersion):
        return False


def _words(record: Record) -> Iterator[str]:
    """The words of `ditbench run`."""
    yield from ("ditbench", "run", "--track", record.track.name, "--plugins", record.architecture.label)
    yield from ("--budget", record.budget, "--seeds", str(record.seed), "--device", record.device.partition(":")[0])
    if record.ruleset != "matched":
        yield from ("--ruleset", record.ruleset)
    if record.ruleset == "speedrun":
        yield from ("--recipe", _RECIPE)
    if record.study is not None:
        yield from ("--trials", str(len(record.study.trials)))
    if record.milestones:
        yield from ("--eval-at", ",".join(_share(milestone.at) for milestone in record.milestones))
    if record.recipe.micro_batch != record.track.recipe.micro_batch:
        yield from ("--micro-batch", str(record.recipe.micro_batch))
    if record.recipe.checkpointing and not record.track.recipe.checkpointing:
        yield "--checkpointing"
    if record.recipe.compile not in (record.track.recipe.compile, "auto"):
        yield from ("--compile", record.recipe.compile)
    if record.raw is not None:
        yield "--raw"
    if record.deviations:
        yield from _chosen(record)


def _chosen(record: Record) -> Iterator[str]:
    """What was chosen instead of the track's own; all, where that is not at hand: to choose its own is no change."""
    asked, ours = record.track.evaluation, namesake(record.track)
    if ours is None or asked.samples != ours.evaluation.samples:
        yield from ("--samples", str(asked.samples))
    if ours is None or asked.features != ours.evaluation.features:
        yield from ("--features", asked.features)
    elif ours is not None and asked.metrics != ours.evaluation.metrics:
        yield from ("--metrics", ",".join(asked.metrics))
    if record.track.recipe.parametrization != (ours.recipe.parametrization if ours else "standard"):
        yield from ("--parametrization", record.track.recipe.parametrization)


def _share(at: float) -> str:
    percent = f"{100 * at:g}%"
    return percent if float(percent[:-1]) / 100 == at else repr(at)


def _without_fingerprint(record: Record) -> Iterator[str]:
    if record.fingerprint is None and record.status == "finished":
        yield "The record is older than fingerprints, so its network is known by its plugin's source alone."
    elif record.fingerprint is not None and record.fingerprint.missing:
        why = record.fingerprint.missing
        yield f"Its network has no fingerprint ({why}), so it is known by its plugin's source alone."


def _caveats(record: Record) -> Iterator[str]:
    environment, of = record.environment, record.architecture
    torch = f", torch {environment.torch}" if environment else ""
    yield f"It ran with {of.distribution} {of.distribution_version} (source sha256 {of.source_sha256[:12]}){torch}."
    if _is_foreign(record):
        yield f"{of.distribution} is not part of ditbench. If no package index has it, install it from its repository."
        yield "A plugin runs its own code: install only what you trust."
    if of.libraries:
        named = (f"{one.name} {one.version} (files sha256 {one.files_sha256[:12]})" for one in of.libraries)
        yield brief(f"Its network is imported from {', '.join(named)}.", _LONGEST)
    yield from _without_fingerprint(record)
    if environment is None:
        yield "The run ended before it recorded its machine and versions."
    elif environment.git_commit is None:
        yield f"The record has no commit of ditbench; its version was {environment.ditbench}."
    elif environment.git_dirty:
        yield "The code had changes that were not committed."
    if record.deviations:
        yield f"The run differs from its track ({'; '.join(map(brief, record.deviations))})."
    if record.data is not None and record.data.skipped:
        yield f"{record.data.skipped} images could not be read and were left out, with --skip-bad."
    yield "The record does not say where the data was. If the track does not find it, add --data."
