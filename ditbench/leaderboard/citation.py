"""Who made a leaderboard, what it is called and under which licence: read from the CITATION.cff that lies with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pydantic
import yaml
from pydantic import ConfigDict, Field

from ..errors import BadFile, one_line
from ..storage.files import is_file
from ..storage.reading import read_text
from ..storage.schema import Frozen, first_fault

FILE_NAME = "CITATION.cff"
_MAX = 2**16  # bytes; YAML is slow to read
_Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,1000}$")]


class _Partly(Frozen):
    """What of a CITATION.cff is used; there may be more in it."""

    model_config = ConfigDict(extra="ignore")


class Author(_Partly):
    """A person or a group."""

    name: _Line | None = None
    given_names: _Line | None = Field(None, alias="given-names")
    family_names: _Line | None = Field(None, alias="family-names")
    affiliation: _Line | None = None
    orcid: Annotated[str, Field(pattern=r"^https://orcid\.org/[0-9X-]{19}$")] | None = None

    @pydantic.model_validator(mode="after")
    def _is_called(self) -> Author:
        if not self.told:
            raise ValueError("an author needs name, or family-names")
        return self

    @property
    def told(self) -> str:
        """As archives want names: the family's first."""
        person = ", ".join(filter(None, (self.family_names, self.given_names)))
        return self.name or person

    @property
    def is_group(self) -> bool:
        """Whether it is no person."""
        return self.name is not None


class Citation(_Partly):
    """A CITATION.cff, as far as it is used."""

    title: _Line
    version: _Line
    license: Annotated[str, Field(pattern=r"^[A-Za-z0-9.+-]{1,100}$")]  # by SPDX
    authors: Annotated[tuple[Author, ...], Field(min_length=1, max_length=1000)]
    keywords: tuple[_Line, ...] = Field((), max_length=100)
    url: Annotated[str, Field(pattern=r"^https?://\S{1,500}$")] | None = None
    repository: Annotated[str, Field(pattern=r"^https?://\S{1,500}$")] | None = Field(None, alias="repository-code")

    @property
    def address(self) -> str:
        """Where it is on the web; empty: it does not say."""
        return self.url or self.repository or ""


def citation_beside(leaderboard: Path) -> Path:
    """The CITATION.cff in a leaderboard's folder or the one above; `BadFile` if there is none."""
    places = [leaderboard / FILE_NAME, leaderboard.absolute().parent / FILE_NAME]
    for place in places:
        if is_file(place):
            return place
    raise BadFile(
        f"There is no {FILE_NAME} in {str(leaderboard)!r} or above it, which says authors and licence: name one by "
        "`citation`."
    )


def read_citation(path: Path) -> Citation:
    """Read and check it; `BadFile` names the file and the field."""
    text = read_text(path, "citation", _MAX)
    try:
        content: Any = yaml.load(text, yaml.BaseLoader)  # all of it text: 0.10 is no number, and 2026-02-30 no date
        return Citation.model_validate(content)
    except (yaml.YAMLError, RecursionError) as error:
        raise BadFile(f"The citation {str(path)!r} can't be read: it is no YAML ({one_line(error)}).") from None
    except pydantic.ValidationError as error:
        raise BadFile(f"The citation {str(path)!r} is wrong: {first_fault(error)}.") from None
