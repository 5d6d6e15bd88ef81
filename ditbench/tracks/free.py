"""The free recipe of a speedrun: the file that brings it, and what that makes of the track's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pydantic
from pydantic import Field

from ..components import Value
from ..errors import BadFile, BadValue
from ..storage.reading import read_toml
from ..storage.schema import Frozen, first_fault
from .recipe import ObjectiveChoice, Recipe
from .speedrun import Changed
from .track import Track

FIXED = ("micro_batch", "checkpointing", "precision", "compile")  # of a recipe, by the track and the device


class _File(Frozen, strict=True):
    """A file with a recipe, as people write it."""

    changed: Annotated[Changed, Field(min_length=1)]
    recipe: dict[str, Any] = {}
    objective: dict[str, Value] = {}


class Free(NamedTuple):
    """How a run of a speedrun is trained, and in words what is new in that."""

    recipe: Recipe
    objective: ObjectiveChoice
    changed: str


def free_recipe(track: Track, ruleset: str, recipe: str, compile: str | None) -> Free | None:
    """What the recipe's file makes of the track's own; None under another ruleset.

    `DitbenchError` names the file and what in it can't be, or what of the options does not go with the ruleset.
    """
    if ruleset != "speedrun":
        if recipe:
            raise BadValue(f"`recipe` {recipe!r} is of `ruleset` speedrun, not {ruleset!r}.")
        return None
    if track.speedrun is None:
        raise BadValue(f"Track {track.name!r} declares no [speedrun], so there is no `ruleset` speedrun on it.")
    track.speedrun.check(track.evaluation.metrics)
    if not recipe:
        raise BadValue("`ruleset` speedrun needs a recipe: name its file with `recipe` FILE.toml.")
    if compile not in (None, track.recipe.compile):
        raise BadValue(f"`compile` {compile}: in a speedrun it is the track's, {track.recipe.compile}.")
    return _read(Path(recipe), track)


def _read(path: Path, track: Track) -> Free:
    wrong = f"The recipe file {str(path)!r} is wrong"
    try:
        read = _File.model_validate(read_toml(path, "recipe file"))
    except pydantic.ValidationError as error:
        raise BadFile(f"{wrong}: {first_fault(error, _File)}.") from None
    if fixed := next((name for name in FIXED if name in read.recipe), None):
        raise BadFile(f"{wrong}: recipe.{fixed} is not free in a speedrun; leave it out.")
    try:
        recipe = track.recipe.with_changes(read.recipe)
    except pydantic.ValidationError as error:
        raise BadFile(f"{wrong}: recipe.{first_fault(error, type(track.recipe))}.") from None
    settings = {**track.objective.settings, **read.objective}
    return Free(recipe, track.objective.model_copy(update={"settings": settings}), read.changed)


def written(free: Free, track: Track) -> list[str]:
    """The lines of a file that makes this of the track's recipe and objective."""
    ours, theirs = free.recipe.learns, track.recipe.learns
    changes = {name: value for name, value in ours.items() if value not in (None, theirs.get(name))}
    settings, own = free.objective.settings, track.objective.settings
    lines = [f"changed = {_toml(free.changed)}", "[recipe]", *(f"{name} = {_toml(of)}" for name, of in changes.items())]
    different = [f"{name} = {_toml(of)}" for name, of in settings.items() if of != own.get(name)]
    return [*lines, "[objective]", *different] if different else lines


def _toml(value: Any) -> str:
    """Text of characters that are seen, numbers and lists of them: TOML spells them as JSON does."""
    return json.dumps(value, ensure_ascii=False)


def check_network(track: Track, label: str) -> None:
    """`BadValue` if a network is not that of the track's speedrun."""
    assert track.speedrun is not None
    if label != track.speedrun.network:
        raise BadValue(f"The speedrun of track {track.name!r} is of {track.speedrun.network}, not of {label}.")
