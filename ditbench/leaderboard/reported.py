"""Numbers that papers print, beside what was measured here. They never enter a board, and no rank."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import pydantic
import tomli_w
from pydantic import Field

from ..errors import BadFile, BadValue
from ..storage.files import exists, write_text
from ..storage.reading import read_text, read_toml
from ..storage.schema import Frozen, Name, Sha256OrEmpty, Words, first_fault, later
from ..tracks.budget import Budget
from ..tracks.config import Ruleset
from .boards import Board
from .intervals import Estimate
from .tables import interval

FILE_NAME = "reported.toml"

ProtocolName = Annotated[str, Field(pattern=r"^[a-z0-9._-]+/[a-z0-9._-]+$", max_length=200)]

_Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=500)]  # one line
_Label = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,200}$")]  # of an architecture, ours or another's
StrictNumber = Annotated[float, Field(strict=True)]  # "1.5" is a slip


class Setting(Frozen):
    """A set of numbers of one table of a paper, or of another harness's file, got alike."""

    paper: Annotated[_Text, Field(min_length=1)]  # or what else they are of
    arxiv: Annotated[str, Field(pattern=r"^(\d{4}\.\d{4,5})?$")] = ""  # this, or url
    url: Annotated[str, Field(pattern=r"^(https?://[^\s\x00-\x1f]{1,500})?$")] = later("")
    harness: Words = later("")  # the program whose file they were read from; empty: a person copied them
    file_sha256: Sha256OrEmpty = later("")  # of that file
    table: _Text = ""  # of the paper; empty: not known
    second_hand: bool = False  # read where others quote the paper, not in it
    track: Name
    budget: str | None = None  # None: not published
    ruleset: Ruleset = "matched"  # the runs of ours that these numbers stand beside
    differs: _Text = ""  # what is not as on the track: then no run of ours is the same
    note: _Text = ""  # what else a reader should know
    values: Annotated[dict[ProtocolName, dict[_Label, StrictNumber]], Field(min_length=1)]  # -> architecture -> value

    @pydantic.field_validator("budget")
    @classmethod
    def _spelled_as_in_records(cls, budget: str | None) -> str | None:
        try:
            return None if budget is None else str(Budget.parse(budget))
        except BadValue as error:
            raise ValueError(str(error)) from None

    @pydantic.model_validator(mode="after")
    def _is_from_somewhere(self) -> Setting:
        if not self.arxiv and not self.url:
            raise ValueError("arxiv or url must say where the numbers are from")
        return self

    @property
    def source(self) -> str:
        """Where the numbers are from."""
        place = f", {self.table}" if self.table else ""
        where = f"arXiv:{self.arxiv}" if self.arxiv else self.url
        how = [f"by {self.harness}"] * bool(self.harness) + ["second-hand"] * self.second_hand
        return f"{self.paper}{place} ({', '.join([where, *how])})"


class _File(Frozen):
    setting: list[Setting]


@dataclass(frozen=True)
class Reported:
    """One published number, and what was measured here in its setting."""

    setting: Setting
    architecture: str  # as the command line spells it
    protocol: str
    value: float
    measured: tuple[Estimate, ...]  # of every row of the one board in that setting: plugin versions, hardware classes

    @property
    def here(self) -> str:
        """What was measured, row by row: a dash where nobody has; empty where the setting differs."""
        return "" if self.setting.differs else "; ".join(map(interval, self.measured)) or "—"


def read_reported(path: Path) -> list[Setting]:
    """Read and check a file of published numbers; `BadFile` names the file and the field."""
    try:
        return _File.model_validate(read_toml(path, "file of published numbers")).setting
    except pydantic.ValidationError as error:
        raise BadFile(f"The published numbers {str(path)!r} are wrong: {first_fault(error)}.") from None


def add_reported(path: Path, added: Sequence[Setting]) -> None:
    """Write settings at the end of a file of published numbers, or into a new one; what stands there stays as it is.

    `BadFile` if the file is wrong, `BadValue` if it has one of the numbers already.
    """
    there = exists(path)
    before = read_reported(path) if there else []
    known = {_name_of(*number) for number in _numbers(before)}
    for number in _numbers(added):
        if _name_of(*number) in known:
            setting, protocol, architecture = number
            raise BadValue(f"{str(path)!r} has {protocol} of {architecture!r} from {setting.source} already.")
    text = f"{read_text(path, 'file of published numbers').rstrip()}\n\n" if there else ""
    more = [setting.model_dump(exclude_defaults=True) for setting in added]
    whole = text + tomli_w.dumps({"setting": more})
    _check_grown(path, whole)
    write_text(path, whole)


def _check_grown(path: Path, text: str) -> None:
    """`BadFile` for a file at whose end no [[setting]] can stand, such as one with ``setting = [...]``."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise BadFile(
            f"Nothing can be added to {str(path)!r}: write its settings as [[setting]], one below another."
        ) from None


def _numbers(settings: Sequence[Setting]) -> Iterator[tuple[Setting, str, str]]:
    for setting in settings:
        for protocol, values in setting.values.items():
            yield from ((setting, protocol, architecture) for architecture in values)


def _name_of(setting: Setting, protocol: str, architecture: str) -> tuple[object, ...]:
    """What no other number has, in a file where each stands once."""
    return setting.track, setting.source, setting.budget, setting.ruleset, setting.differs, protocol, architecture


def beside(settings: Sequence[Setting], boards: Sequence[Board]) -> list[Reported]:
    """The published numbers in their order, each with what was measured in the same setting."""
    return [
        Reported(setting, architecture, protocol, value, _measured(setting, architecture, protocol, boards))
        for setting in settings
        for protocol, values in setting.values.items()
        for architecture, value in values.items()
    ]


def reported_tables(reported: Sequence[Reported]) -> dict[str, pd.DataFrame]:
    """Track -> its published numbers as text cells, beside what was measured here."""
    rows: dict[str, list[dict[str, str]]] = {}
    for of in reported:
        row = {
            "architecture": of.architecture,
            "budget": of.setting.budget or "not published",
            "metric": of.protocol,
            "reported": f"{of.value:g}",
            "measured here": of.here,
            "what differs": of.setting.differs,
            "source": of.setting.source,
        }
        rows.setdefault(of.setting.track, []).append(row)
    return {track: pd.DataFrame(found) for track, found in rows.items()}


def remarks(reported: Sequence[Reported], track: str) -> list[str]:
    """What else must be said of a track's published numbers, source by source."""
    noted = [of.setting for of in reported if of.setting.track == track and of.setting.note]
    return list(dict.fromkeys(f"{setting.source}: {setting.note}." for setting in noted))


def _measured(setting: Setting, architecture: str, protocol: str, boards: Sequence[Board]) -> tuple[Estimate, ...]:
    if setting.differs:
        return ()
    wanted = (setting.track, setting.budget, setting.ruleset, ())
    same = [board for board in boards if _setting(board) == wanted]
    if len(same) > 1:  # other data, or another reference: which one is the paper's?
        return ()
    rows = [row for board in same for row in board.rows if row.records[0].architecture.label == architecture]
    return tuple(row.quality[protocol] for row in rows if protocol in row.quality)


def _setting(board: Board) -> tuple[str, str, str, tuple[str, ...]]:
    of = board.protocol
    return of.track, of.budget, of.ruleset, of.deviations
