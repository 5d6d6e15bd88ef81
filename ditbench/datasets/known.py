"""What was found out by reading files through, noted in the cache, so that they need not be read again to know it.

A note is of facts that say all it depends on: a content's hash, and the stamp of files (see `RawImages`), which changes
with whatever might change their content.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ..storage.files import cache_folder, exists
from ..storage.schema import digest

_logger = logging.getLogger(__name__)


def is_known(kind: str, *facts: str | None) -> bool:
    """Whether this was noted before."""
    return exists(_note(kind, facts))


def note(kind: str, *facts: str | None) -> None:
    """Note that this is so. If the cache can't be written, that is told, and it is found out again next time."""
    path = _note(kind, facts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        _logger.warning("the cache %s can't be written (%s); DITBENCH_CACHE names another", path.parent, error)


def _note(kind: str, facts: tuple[str | None, ...]) -> Path:
    return cache_folder() / "known" / f"{kind}-{digest(facts, 32)}"
