"""Settings by the signature that takes them: a factory's annotations are the form that its settings must have."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import pydantic

from ..components import Value
from ..errors import BadValue, one_line
from ..storage.schema import first_fault
from .options import About, described

_STRICT = pydantic.ConfigDict(strict=True, allow_inf_nan=False)
_UNNAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


def checked(factory: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, with the defaults of the others; `BadValue` names the first that the factory does not take.

    Names, types and ranges are those of its signature, as pydantic reads them in its strict mode: True is no number,
    "false" no bool, and 5 may stand for 5.0. A setting without an annotation has the type of its default.
    """
    signature = inspect.signature(factory, eval_str=True)
    named = [one for one in signature.parameters.values() if one.kind not in _UNNAMED]

    def take(**given: Any) -> dict[str, Any]:
        return given

    parameters = [_by_name(one) for one in named]
    take.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    take.__annotations__ = {one.name: one.annotation for one in parameters}
    try:
        return pydantic.validate_call(config=_STRICT)(take)(**settings)
    except pydantic.ValidationError as error:
        raise BadValue(first_fault(error, [one.name for one in named])) from None


def _by_name(one: inspect.Parameter) -> inspect.Parameter:
    """A parameter that is given by its name, and has a type."""
    kind = one.kind if one.kind is one.VAR_KEYWORD else one.KEYWORD_ONLY
    of_default = type(one.default) if isinstance(one.default, Value) else Any
    return one.replace(kind=kind, annotation=of_default if one.annotation is one.empty else one.annotation)


def check_options(options: type, given: Mapping[str, Any]) -> None:
    """`BadValue` for the first of the given options that has not its type, or lies beyond its range."""
    for name, (kind, about) in described(options).items():
        if name in given:
            check_option(name, kind, given[name], about)


def check_option(name: str, kind: Any, value: Any, about: About | None = None) -> None:
    """The same of one; a text is no sequence of texts, and an iterator is none either: it can be read but once."""
    shown = f"`{name}` {reprlib.repr(value)}"
    try:
        pydantic.TypeAdapter(kind).validate_python(value, strict=True)
    except pydantic.ValidationError as error:
        raise BadValue(f"{shown}: {one_line(error.errors()[0]['msg']).removeprefix('Value error, ')}.") from None
    if about is None or value is None:
        return
    if (about.least is not None and value < about.least) or (about.most is not None and value > about.most):
        raise BadValue(f"{shown}: choose from {about.least:,} to {about.most:,}.")
