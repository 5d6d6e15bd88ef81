"""Listeners: who hears of a command's runs while they go."""

from __future__ import annotations

from collections.abc import Sequence

from ..components import Extractor
from ..records.record import Record
from ..registry import Plugin
from ..runtime.progress import Progress
from ..tracks.config import RunConfig
from .jobs import Job


class Silent:
    """A listener that says nothing; the base of those that say something."""

    def left_out(self, faults: Sequence[Plugin]) -> None:
        """These plugins are faulty, so that the command does without them."""

    def fetching(self, extractor: Extractor) -> None:
        """The weights of a feature extractor are not here; they are fetched now."""

    def preparing(self) -> None:
        """Names are fine; now the libraries load and every part is checked."""

    def checking(self, progress: Progress) -> None:
        """How far the data is prepared, or the reference read."""

    def passing_over(self, told: str) -> None:
        """The record of another run in the folder can't be read: a line that names it, and the way out."""

    def repeating(self, told: str) -> None:
        """Some runs are finished on other hardware, or with other threads, and begin anew here: a line that says so."""

    def planned(self, jobs: Sequence[Job], settled: Sequence[Record]) -> None:
        """All runs of the command, and the records of those that are done already."""

    def searched(self, told: str) -> None:
        """What the search of an architecture's recipe has chosen, in a line; its runs come next."""

    def started(self, config: RunConfig) -> None:
        """A run begins or resumes."""

    def progress(self, config: RunConfig, progress: Progress) -> None:
        """A run says how far it is."""

    def ended(self, record: Record) -> None:
        """A run has its record."""

    def close(self) -> None:
        """Nothing more will come."""


class Together(Silent):
    """Several listeners, told one after the other."""

    def __init__(self, *listeners: Silent) -> None:
        self.listeners = listeners

    def left_out(self, faults: Sequence[Plugin]) -> None:
        for listener in self.listeners:
            listener.left_out(faults)

    def fetching(self, extractor: Extractor) -> None:
        for listener in self.listeners:
            listener.fetching(extractor)

    def preparing(self) -> None:
        for listener in self.listeners:
            listener.preparing()

    def checking(self, progress: Progress) -> None:
        for listener in self.listeners:
            listener.checking(progress)

    def passing_over(self, told: str) -> None:
        for listener in self.listeners:
            listener.passing_over(told)

    def repeating(self, told: str) -> None:
        for listener in self.listeners:
            listener.repeating(told)

    def planned(self, jobs: Sequence[Job], settled: Sequence[Record]) -> None:
        for listener in self.listeners:
            listener.planned(jobs, settled)

    def searched(self, told: str) -> None:
        for listener in self.listeners:
            listener.searched(told)

    def started(self, config: RunConfig) -> None:
        for listener in self.listeners:
            listener.started(config)

    def progress(self, config: RunConfig, progress: Progress) -> None:
        for listener in self.listeners:
            listener.progress(config, progress)

    def ended(self, record: Record) -> None:
        for listener in self.listeners:
            listener.ended(record)

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()
