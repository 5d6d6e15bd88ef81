"""What commands answer to ``--json``: the shape of each, by the subject of the command.

`Commands.command` names a command's shape. Where a record on disk is the answer, its own model is the shape. Keys are
stable: they are added, and never renamed. ``ditbench commands --json`` gives all shapes as JSON Schemas.
"""

from __future__ import annotations

import pkgutil
from typing import Any

import pydantic
from pydantic import ConfigDict
from pydantic.json_schema import GenerateJsonSchema

from ...storage.schema import Frozen


class Answer(Frozen):
    """An object of an answer. Names in JSON that Python can't have are aliases."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True, use_attribute_docstrings=True)


class Fault(Answer):
    """Why a command has no answer."""

    kind: str
    """An error's of `ditbench.errors`, WrongUse, Unwritable, Interrupted, Failed; a bug's is Python's."""
    message: str
    """One line, as on standard error."""
    exit_code: int


class FaultAnswer(Answer):
    """What stands in the answer's place."""

    error: Fault


def shape(gives: str) -> pydantic.TypeAdapter[Any]:
    """What checks an answer, from where its shape is (`Commands.command`)."""
    return pydantic.TypeAdapter(pkgutil.resolve_name(gives))


def schema(gives: str) -> dict[str, Any]:
    """The JSON Schema of an answer."""
    return shape(gives).json_schema(schema_generator=_Terse)


class _Terse(GenerateJsonSchema):
    """Without titles, which say again what keys say."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False
