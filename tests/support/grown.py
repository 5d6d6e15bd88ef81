"""ditbench as a later one may be: all that is hashed has fields that today's lacks, at every depth.

A process of its own for `test_growth`: given the folder of the records and one to write to, it prints what it found.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from ditbench.storage import schema
from ditbench.storage.schema import later


class Part(schema.Frozen):
    """A model that is there from the start only in fields that come later."""

    share: Annotated[float, Field(gt=0)] = 0.5


class Grown(schema.Frozen):
    """In place of `Frozen`: what every model of ditbench inherits."""

    later_value: str | int | bool = later(1)  # whose True is another value
    later_word: Literal["as before", "other"] | None = later(None)
    later_shares: tuple[float, ...] = later((0.5,), max_length=2)
    later_settings: dict[str, int | bool] = later({"b": 1, "a": 1})
    later_part: Part = later(Part())
    later_parts: dict[str, list[Part]] = later({"both": [Part(), Part(share=1.0)]})


OTHERWISE = {
    "later_value": True, "later_word": "other", "later_shares": (), "later_settings": {"a": 1, "b": True},
    "later_part": Part(share=0.25), "later_parts": {"both": [Part(), Part()]},
}  # fmt: skip
AS_BEFORE = {"later_settings": {"a": 1, "b": 1}, "later_part": Part(share=0.5)}
schema.Frozen = Grown  # before any other module of ditbench takes it

from records import evaluation, sound  # noqa: E402
from verifications import checked, sealed  # noqa: E402

from ditbench.records.record import config_of, read_record, row_hash, seal, write_record  # noqa: E402
from ditbench.records.validation.files import validate  # noqa: E402
from ditbench.registry import Registry  # noqa: E402
from ditbench.tracks.track import load_track  # noqa: E402


def hashes_of(record: Any) -> dict[str, str]:
    """All that is published of it, computed from its parts."""
    config = config_of(record)
    return {
        "run_id": config.run_id,
        "run_hash": config.hash,
        "track_hash": record.track.hash,
        "row_hash": row_hash(record),
        "sha256": seal(record.model_dump(mode="json")),
    }


def ways(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """To every model in a model, itself the first: the names and places on the way there."""
    inside: Any = ()
    if isinstance(value, pydantic.BaseModel):
        yield way
        inside = [(name, getattr(value, name)) for name in type(value).model_fields if not name.startswith("later")]
    elif isinstance(value, list | tuple):
        inside = enumerate(value[:2])
    for name, part in inside:
        yield from ways(part, (*way, name))


def changed(value: Any, way: tuple[Any, ...], update: dict[str, Any]) -> Any:
    """The same with another value in a model that it holds, unchecked."""
    if not way:
        return value.model_copy(update=update)
    head, *rest = way
    if isinstance(value, pydantic.BaseModel):
        return value.model_copy(update={head: changed(getattr(value, head), tuple(rest), update)})
    return [changed(part, tuple(rest), update) if i == head else part for i, part in enumerate(value)]


def unmoved(record: Any) -> list[str]:
    """Where another value of a later field is not told by a hash that it belongs to: each alone, or all in a part."""
    alone = [{name: value} for name, value in OTHERWISE.items()]
    before, found = hashes_of(record), []
    for way in ways(record):
        belongs = {"sha256"}
        if way and way[0] in ("track", "recipe", "objective", "architecture"):
            belongs |= {"run_hash", "row_hash", "run_id"}
        if way and way[0] == "track":
            belongs |= {"track_hash"}
        for update in alone if way in ((), ("track",), ("recipe",)) else [OTHERWISE]:
            now = hashes_of(changed(record, way, update))
            found += [f"{which}: {way} {[*update]}" for which in belongs if now[which] == before[which]]
    return found


def moved(record: Any) -> list[str]:
    """Where a hash tells that the default was spelled out."""
    before = hashes_of(record)
    return [str(way) for way in ways(record) if hashes_of(changed(record, way, AS_BEFORE)) != before]


def main(records: Path, out: Path) -> dict[str, Any]:
    """What `test_growth` compares with what today's ditbench finds, or what it expects to be empty."""
    found = {path: read_record(path) for path in sorted(records.rglob("*.json"))}
    for path, record in found.items():
        write_record(record, out / path.parent.name / path.name)
    first, made, registry = next(iter(found.values())), sound(), Registry.installed()
    grown = changed(changed(first, (), OTHERWISE), ("training",), OTHERWISE)
    again = write_record(grown, out.parent / "grown.json")
    return {
        "later": [*Grown.__annotations__.keys() & type(first.metrics[0]).model_fields.keys()],
        "tracks": {name: load_track(path).hash for name, path in registry.tracks.items()},
        "hashes": {path.stem: hashes_of(record) for path, record in found.items()},
        "dumps": [model.model_dump_json(exclude={"created"}) for model in (made, evaluation(), checked(sealed(made)))],
        "faults": [line for folder in (records, out) for one in validate([folder], registry) for line in one.lines],
        "unmoved": unmoved(first),
        "moved": moved(first),
        "read again": read_record(out.parent / "grown.json") == again != first,
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
