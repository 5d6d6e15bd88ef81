"""What is read from disk: the form it must have, how that may grow, and its hash.

Whatever a file holds, reading it ends in a `BadFile` at worst.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import reprlib
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import pydantic
from pydantic import ConfigDict, Field
from pydantic_core import to_jsonable_python

from ..errors import BadFile, one_line
from .reading import read_json

Fraction = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[float, Field(ge=-1e30, le=1e30)]  # statistics of several can't overflow
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0, le=10**30)]  # sums and products of some still fit a float
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Sha256OrEmpty = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Shape = Annotated[tuple[Positive, ...], Field(min_length=3, max_length=4)]  # of an example
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]  # of a run or a track, as `digest` cuts it
Words = Annotated[str, Field(max_length=300)]  # what a machine or a package is called; tables have room for no more
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]  # names files: no separators

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


class Frozen(pydantic.BaseModel):
    """Unknown fields are refused and nothing changes after validation. What is hashed grows by `later` alone.

    What people write is read strictly, by ``class Name(Frozen, strict=True)``: true is no number, "3" no version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def later(default: Any, **constraints: Any) -> Any:
    """A pydantic `Field` for a model that is hashed already: the way to add one, so that every published hash stays.

    ``workers: int = later(1, gt=0)``: while its value is the default, the field is left out of every dump, and so out
    of hashes and seals. The default means "as before" and never changes. Write it as its type has it, 1.0 for a float;
    a mutable one is copied. A field whose default is not None can't be None: a track's hash leaves None out, too.
    `constraints` are those of pydantic's `Field`.
    """

    def as_before(value: Any) -> bool:
        return digest(to_jsonable_python(value)) == digest(to_jsonable_python(default))  # True is no 1

    return Field(default, exclude_if=as_before, validate_default=True, **constraints)


def digest(content: object, length: int = 64) -> str:
    """sha256 of the canonical JSON of `content`, its first `length` hex digits."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def first_fault(error: pydantic.ValidationError, known: object = None) -> str:
    """Field and fault of the first of a validation's errors, in one line.

    With `known`, the model or the names of its fields, one that there is not comes first, and with its nearest.
    """
    faults = error.errors(include_url=False)
    unknown = [fault for fault in faults if fault["type"] in _UNKNOWN]
    fault = unknown[0] if unknown and known else faults[0]
    *above, last = fault["loc"] or ("",)
    place = ".".join(map(str, (*above, last)))
    if fault["type"] in _UNKNOWN:
        return f"{place}: {_not_among(str(last), _fields(known, above))}"
    culprit = fault["input"]
    shown = f", not {reprlib.repr(culprit)}" if isinstance(culprit, (str, int, float)) else ""
    said = one_line(fault["msg"]).removeprefix("Value error, ") + shown
    return f"{place}: {said}" if place else said  # of the whole


def _not_among(name: str, known: Collection[str]) -> str:
    """That there is no field of this name; the nearest, or all there are."""
    near = " or ".join(map(repr, difflib.get_close_matches(name, known, n=2)))
    hint = f"; did you mean {near}?" if near else f"; known: {', '.join(known)}" if known else ""
    return f"there is nothing of this name{hint}"


def _fields(known: object, above: Iterable[int | str]) -> Collection[str]:
    """The fields of the model that stands at a place of another; nothing where none does."""
    for part in above:
        fields = getattr(known, "model_fields", {})
        known = _model_of(fields[part].annotation) if part in fields else None
    return known if isinstance(known, (tuple, list)) else tuple(getattr(known, "model_fields", ()))


def _model_of(annotation: Any) -> object:
    """The model that an annotation names, by itself or beside None."""
    return next((kind for kind in (annotation, *get_args(annotation)) if hasattr(kind, "model_fields")), None)


Model = TypeVar("Model", bound=Frozen)


class TooNew(BadFile):
    """A file that a newer ditbench has written."""


def newer_than_known(version: object, model: type[pydantic.BaseModel]) -> str:
    """That a file has a later schema than the model, and what to do, as a sentence without its end; or nothing."""
    field = model.model_fields.get("schema_version")
    if field is None or not isinstance(version, int) or version <= field.default:
        return ""
    return (
        f"a newer ditbench wrote it: its schema_version is {reprlib.repr(version)}, and this one reads up to "
        f"{field.default}; update ditbench to read it"
    )


def read_checked(
    model: type[Model],
    path: Path,
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] = lambda content: content,
    kind: str = "",
) -> Model:
    """Read and check a JSON file of one kind; `BadFile` names the kind, the model's name by default, file and field."""
    kind = kind or model.__name__.lower()
    content = read_json(path, kind)
    if newer := newer_than_known(content.get("schema_version") if isinstance(content, dict) else None, model):
        raise TooNew(f"The {kind} {str(path)!r} can't be read: {newer}.")
    try:
        current = upgrade(content) if isinstance(content, dict) else content
        return model.model_validate_json(json.dumps(current))
    except pydantic.ValidationError as error:
        raise BadFile(f"The {kind} {str(path)!r} is wrong: {first_fault(error)}.") from None
    except ValueError as error:  # of the upgrade
        raise BadFile(f"The {kind} {str(path)!r} can't be read: {one_line(error)}.") from None
