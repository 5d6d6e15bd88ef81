"""Records of older versions, brought to the present schema. What an old record did not note stays unsaid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pydantic

from ..storage.schema import digest
from ..tracks.track import Track
from .derived import sampling_rate, training_rate

_V1_PROSE = {"description", "size", "budget"}


def upgrade_record(content: dict[str, Any]) -> dict[str, Any]:
    """A run's record as JSON gives it, in the present schema; as it is, if it is no older one.

    `ValueError` if an older one lacks what the present schema is made from.
    """
    for version, step in ((1, _from_v1), (2, _from_v2)):
        if content.get("schema_version") == version:
            content = _taken(version, step, content)
    return content


def _taken(version: int, step: Callable[[dict[str, Any]], dict[str, Any]], content: dict[str, Any]) -> dict[str, Any]:
    """One step; a record may hold anything, so that anything may go wrong in it."""
    try:
        return step(content)
    except pydantic.ValidationError:
        raise
    except (LookupError, TypeError, AttributeError, ArithmeticError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
        raise ValueError(f"it is of version {version} and can't be brought to the present one ({why})") from None


def _from_v2(old: dict[str, Any]) -> dict[str, Any]:
    """3 has the throughputs beside the raw times, and what metrics were computed from, which 2 did not note."""
    new = {**old, "schema_version": 3}
    if (training := old.get("training")) is not None:
        rate = training_rate(training["batch_size"], training["step_seconds"])
        new["training"] = {**training, "images_per_second": rate}
    if (sampling := old.get("sampling")) is not None:
        new["sampling"] = _with_rate(sampling)
    if (raw := old.get("raw")) is not None:
        new["raw"] = {**raw, "sampling": _with_rate(raw["sampling"])}
    return new


def _with_rate(sampling: dict[str, Any]) -> dict[str, Any]:
    rate = sampling_rate(sampling["batch_images"], sampling["batch_seconds"])
    return {**sampling, "images_per_second": rate}


def _from_v1(old: dict[str, Any]) -> dict[str, Any]:
    """2 has the ruleset, the recipe that was in force, and facts of the data; a track names its data in a table."""
    if not isinstance(old.get("track"), dict) or digest(_named(old["track"], _V1_PROSE), 12) != old.get("track_hash"):
        return old  # the schema will say what is wrong
    new = {name: value for name, value in old.items() if name != "track"}
    track = {name: value for name, value in old["track"].items() if name != "dataset"}
    track["data"] = {"dataset": old["track"]["dataset"], "resolution": 8}  # the digits were all there was
    new |= {
        "schema_version": 2,
        "track": track,
        "track_hash": Track.model_validate(track).hash,
        "ruleset": "matched",
        "recipe": track["recipe"],
        "objective": track["objective"],
        "data_sha256": old.get("data_sha256") or "",
        "reference_sha256": old.get("data_sha256") or "",  # all of the data was both
    }
    if old.get("data_sha256"):
        new["data"] = {"name": "digits", "examples": 1797, "shape": [1, 8, 8], "classes": 10}
    return new


def _named(track: dict[str, Any], prose: set[str]) -> dict[str, Any]:
    """What version 1 hashed of a track: all but the prose and what was not set."""
    kept = {name: value for name, value in track.items() if name not in prose}
    return _without_none(kept)


def _without_none(value: dict[str, Any]) -> dict[str, Any]:
    pairs = ((name, inner) for name, inner in value.items() if inner is not None)
    return {name: _without_none(inner) if isinstance(inner, dict) else inner for name, inner in pairs}
