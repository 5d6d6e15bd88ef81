"""What the checks found, as a table's rows, JSON and Markdown. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

from ...errors import in_markdown

Outcome = Literal["passed", "failed", "warned", "skipped"]


class Finding(BaseModel):
    """One check's outcome."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str  # its name, e.g. "depends-on-t"
    status: Outcome
    expected: str
    seen: str  # or why it was skipped
    mend: str = ""  # empty unless it failed or warned
    seconds: float = 0.0
    traceback: str = ""  # of the network's own error, if that ended the check


class Report(BaseModel):
    """All findings about one architecture in one size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str  # name:size+option=value
    spec: str  # the input that it was built for
    findings: list[Finding]

    def and_(self, finding: Finding) -> Report:
        """This report with one finding more."""
        return self.model_copy(update={"findings": [*self.findings, finding]})

    @property
    def failed(self) -> list[Finding]:
        """The checks that failed, in order."""
        return [finding for finding in self.findings if finding.status == "failed"]

    @property
    def warned(self) -> list[Finding]:
        """What keeps the contract and is seldom meant, in order."""
        return [finding for finding in self.findings if finding.status == "warned"]

    @property
    def faults(self) -> list[Finding]:
        """What is to be mended; what a check has seen first, for an error often follows from it."""
        return sorted(self.failed, key=lambda finding: bool(finding.traceback))

    @property
    def summary(self) -> str:
        """E.g. ``dit:nano on 8x8x1 pixel, 10 classes: 20 passed, 1 skipped``."""
        counts = [(sum(f.status == status for f in self.findings), status) for status in get_args(Outcome)]
        return f"{self.label} on {self.spec}: " + ", ".join(f"{count} {status}" for count, status in counts if count)

    @property
    def markdown(self) -> str:
        """A page: the summary, a table, and what mends each failure and warning."""
        lines = [f"# Conformance of {in_markdown(self.label)}", "", f"{in_markdown(self.summary)}.", ""]
        lines += ["| check | outcome | expected | seen |", "|---|---|---|---|"]
        for found in self.findings:
            lines.append(
                f"| `{found.check}` | {found.status} | {in_markdown(found.expected)} | {in_markdown(found.seen)} |"
            )
        lines += [f"\n**{fault.check}**: {in_markdown(fault.mend)}" for fault in (*self.faults, *self.warned)]
        return "\n".join(lines) + "\n"


def at_work(target: Path) -> Path:
    """Where the name of the check lies that is being made."""
    return target.with_suffix(".now")


def unfinished(target: Path) -> Path:
    """Where a report lies while checks are made."""
    return target.with_suffix(".unfinished")
