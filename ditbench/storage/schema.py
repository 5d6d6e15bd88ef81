"""Files of JSON, read and checked as what they should be: whatever they hold, it ends in a `BadFile` at worst."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from .errors import BadFile
from .track import Frozen, first_fault

Model = TypeVar("Model", bound=Frozen)


def read_checked(
    model: type[Model], path: Path, upgrade: Callable[[dict[str, Any]], dict[str, Any]] = lambda content: content
) -> Model:
    """Read and check a JSON file of one kind; `BadFile` names the kind, the file and the field."""
    kind = model.__name__.lower()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        current = upgrade(content) if isinstance(content, dict) else content
        return model.model_validate_json(json.dumps(current))
    except pydantic.ValidationError as error:
        raise BadFile(f"The {kind} {str(path)!r} is wrong: {first_fault(error)}.") from None
    except (OSError, ValueError, RecursionError) as error:  # also: no JSON, no UTF-8, too many digits
        raise BadFile(f"The {kind} {str(path)!r} can't be read: {' '.join(str(error).split())}.") from None
