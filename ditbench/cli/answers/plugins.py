"""Answers of `new` and `check`."""

from __future__ import annotations

from ...denoiser.conformance.findings import Report
from . import Answer


class NewPlugin(Answer):
    """A package that was written."""

    name: str
    component: str
    """What `run --plugins`, or `--track`, calls it."""
    kind: str
    folder: str
    files: list[str]
    """In the folder."""
    next: list[str]
    """Commands, in their order."""


CheckAnswer = Report | list[Report]  # several, if several were named
