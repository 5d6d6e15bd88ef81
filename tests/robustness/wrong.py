"""Values that a field can't have, found by asking its own model: new fields enter by themselves."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, NamedTuple

import pydantic

MISSING = object()
_CANDIDATES = (
    "nonsense",
    "",
    "3",
    "true",
    7,
    -7,
    0,
    0.5,
    -0.5,
    10**31,
    True,
    [],
    {},
    [1],
    {"a": 1},
    float("nan"),
    float("inf"),
    None,
)


class Wrong(NamedTuple):
    """One change that makes a good content a bad one."""

    place: str  # e.g. "recipe.learning_rate"
    what: str
    content: dict[str, Any]

    @property
    def field(self) -> str:
        """The last name in the place that is no number."""
        return [part for part in self.place.split(".") if not part.isdecimal()][-1]


def wrong(
    model: type[pydantic.BaseModel], content: dict[str, Any], strict: bool, nothing: bool = True
) -> Iterator[Wrong]:
    """All ways to spoil one field of a good content; `nothing`: the format has a null."""
    for way, what, value in _of(model, content, strict, ()):
        if value is None and not nothing:
            continue
        spoilt = copy.deepcopy(content)
        owner: Any = spoilt
        for part in way[:-1]:
            owner = owner[part]
        if value is MISSING:
            del owner[way[-1]]
        else:
            owner[way[-1]] = value
        yield Wrong(".".join(map(str, way)), what, spoilt)


def some(found: Iterable[Wrong], each: int) -> Iterator[Wrong]:
    """So many of each place, others than at the place before."""
    places: dict[str, list[Wrong]] = {}
    for one in found:
        places.setdefault(one.place, []).append(one)
    for number, several in enumerate(places.values()):
        chosen = {(number + step * 5) % len(several) for step in range(each)}
        yield from (several[index] for index in sorted(chosen))


def _of(
    model: type[pydantic.BaseModel], content: Any, strict: bool, way: tuple[Any, ...]
) -> Iterator[tuple[Any, str, Any]]:
    yield (*way, "surprise"), "an unknown field", 1
    for name, field in model.model_fields.items():
        here = (*way, name)
        if field.is_required() and name in content:
            yield here, "missing", MISSING
        kind: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        taken = _taker(kind, strict)
        for value in _CANDIDATES:
            if not taken(value):
                yield here, f"{value!r}", value
        yield from _inside(content.get(name), field.annotation, strict, here)


def _inside(content: Any, annotation: Any, strict: bool, way: tuple[Any, ...]) -> Iterator[tuple[Any, str, Any]]:
    """The same of models within: a field's own, or the first of a list of them."""
    models = [one for one in _arguments(annotation) if isinstance(one, type) and issubclass(one, pydantic.BaseModel)]
    if isinstance(content, list) and content and models:
        content, way = content[0], (*way, 0)
    if isinstance(content, dict) and models:
        yield from _of(models[0], content, strict, way)


def _arguments(annotation: Any) -> Iterator[Any]:
    yield annotation
    for one in getattr(annotation, "__args__", ()):
        yield from _arguments(one)


def _taker(kind: Any, strict: bool) -> Callable[[Any], bool]:
    """Whether a field of that kind takes a value, as a file has it."""
    config = pydantic.ConfigDict(allow_inf_nan=False)
    one = pydantic.create_model("One", __config__=config, value=(kind, ...))

    def takes(value: Any) -> bool:
        try:
            one.model_validate_json(json.dumps({"value": value}), strict=strict)
        except pydantic.ValidationError:
            return False
        return True

    return takes
