"""Boards to pages. The same boards make the same bytes: no time, no chance, no name of this machine."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps

from ...errors import BadValue, brief
from ...records.guidance import GuidanceCurve
from ...records.lengths import EmaLengths
from ...records.profile import Profile
from ...records.verification import Verification
from ..boards import Board, headline
from ..markdown import LEGEND
from ..remarks import starred
from ..reported import Reported
from ..transfer import HEADINGS, NOTE, Correlation, questions
from . import architectures, plots, runs, speedruns, speeds, tracks
from .assets import assets
from .contents import Contents, Key, Run, ShownStudy, architecture_page, board_page, fields_of_board, key_of, track_page
from .errors import beside_another
from .folder import Content, write_files
from .pictures import find_pictures
from .rules import render

_NEWEST = 8  # records on the first page
_DESCRIPTION = "A benchmark of diffusion-transformer architectures: same data, same recipe, same budget, several seeds."


@dataclass(frozen=True)
class Links:
    """Where the site and its sources are to be found, as it tells its readers; empty: it does not tell."""

    repository: str = ""  # on GitHub, or a forge with its paths
    address: str = ""  # of the site itself, without which nobody can show its picture

    def __post_init__(self) -> None:
        for name, url in vars(self).items():
            if url and not re.fullmatch(r"https?://[\w.-]+(:\d+)?(/[\w.~-]+)*", url, re.ASCII):
                raise BadValue(f"The {name} {brief(url)!r} is no address such as https://example.org/name.")

    @property
    def docs(self) -> str:
        """The documentation's first page."""
        return f"{self.repository}/blob/HEAD/docs/index.md"

    @property
    def plugin(self) -> str:
        """How to write a plugin."""
        return f"{self.repository}/blob/HEAD/docs/plugin.md"


def write_site(
    boards: Sequence[Board],
    folder: Path,
    *,
    samples: Path | None,
    reported: Sequence[Reported] = (),
    verifications: Mapping[str, Sequence[Verification]] | None = None,
    profiles: Sequence[Profile] = (),
    studies: Sequence[ShownStudy] = (),
    lengths: Sequence[EmaLengths] = (),
    guidance: Sequence[GuidanceCurve] = (),
    data: Mapping[str, str] | None = None,
    links: Links | None = None,
) -> list[Path]:
    """Write the site of some boards, and return its files; pages of runs that are gone are removed.

    `samples` has the grids of samples, ``<track>/<run-id>.png``; `reported` are the published numbers; `verifications`,
    by run id, are told on the runs' pages, also those of a record that has changed since; `profiles` that have
    measurements get a page, and so do `studies`; `lengths` of EMA and curves of `guidance` are drawn on their runs'
    pages; `data` are files for other programs, by name, that the first page links to; `links`, where else to look.
    Raises `BadValue` if a page would take the place of a file that is not of a site.
    """
    pictures = find_pictures((record for board in boards for record in board.records), samples)
    measured = [profile for profile in profiles if not profile.reason]
    averaged = {one.run_id: one for one in lengths}
    contents = Contents(boards, pictures, reported, verifications or {}, measured, studies, averaged, guidance)
    return write_files(_Pages(contents, data or {}, links or Links()).all(), folder)


@dataclass(frozen=True)
class _Pages:
    contents: Contents
    data: Mapping[str, str]
    links: Links

    def all(self) -> dict[str, Content]:
        """Name -> what makes its content, so that not all of it is in memory at once."""
        found: dict[str, Content] = {
            "index.html": self._index,
            "rules.html": partial(self._page, "rules.html", "", rules=render(_rules())),
            "assets/runs.js": self._list_of_runs,
            **{f"assets/{name}": content for name, content in assets().items()},
            **{f"data/{name}": partial(str, text) for name, text in self.data.items()},
            **{name: read for picture in self.contents.pictures.values() for name, read in picture.files()},
        }
        if self.contents.profiles:
            found["speeds.html"] = self._speeds
        if self._transfers:
            found["transfer.html"] = self._transfer
        if self.contents.studies:
            found["scaling.html"] = partial(self._page, "scaling.html", "", studies=self.contents.studies)
            found |= {study.href: partial(str, study.picture) for study in self.contents.studies}
        if self.contents.speedruns:
            found["speedrun.html"] = self._speedruns
        for name, boards in self.contents.tracks.items():
            found[track_page(name)] = partial(self._track, name, boards)
        for key in self.contents.architectures:
            found[architecture_page(key)] = partial(self._architecture, key)
        for board in self.contents.boards:
            found[fields_of_board(board)] = partial(self._fields_of_board, board)
        for run in self.contents.runs:
            found[run.href] = partial(self._run, run)
            found[f"runs/{run.name}.js"] = partial(self._fields_of_run, run)
            found[f"runs/{run.name}.json.gz"] = partial(_compressed, run)
        return found

    @cached_property
    def _environment(self) -> Environment:
        environment = Environment(
            loader=PackageLoader("ditbench.leaderboard.site"),
            autoescape=True,  # a record's text is anybody's
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["brief"] = brief
        environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
        environment.globals |= {
            "contents": self.contents,
            "transfers": bool(self._transfers),
            "data": sorted(self.data),
            "links": self.links,
            "starred": starred,
            "DESCRIPTION": _DESCRIPTION,
            "board_page": board_page,
            "track_page": track_page,
            "architecture_page": architecture_page,
            "key_of": key_of,
        }
        return environment

    def _page(self, template: str, root: str, **content: Any) -> str:
        return self._environment.get_template(template).render(root=root, **content)

    def _speeds(self) -> str:
        return self._page("speeds.html", "", views=speeds.views(self.contents), headings=speeds.HEADINGS)

    @cached_property
    def _transfers(self) -> dict[str, list[Correlation]]:
        """The questions that have an answer."""
        return {question: found for question, found in questions(self.contents.boards).items() if found}

    def _transfer(self) -> str:
        return self._page("transfer.html", "", questions=self._transfers, headings=HEADINGS, note=NOTE)

    def _speedruns(self) -> str:
        return self._page("speedrun.html", "", views=speedruns.views(self.contents))

    def _index(self) -> str:
        newest = sorted(self.contents.runs, key=lambda run: (run.record.created, run.name), reverse=True)[:_NEWEST]
        views = {name: [self._view(board) for board in boards] for name, boards in self.contents.tracks.items()}
        return self._page("index.html", "", tracks=views, newest=newest, front=self._front())

    def _front(self) -> dict[str, Any]:
        """The plot of the first page: of the first board there, where it has rows that compare."""
        found = headline(board for boards in self.contents.tracks.values() for board in boards if board.comparable)
        return {"board": found[0], "chart": plots.pareto(self.contents, found[0])} if found else {}

    def _track(self, name: str, boards: Sequence[Board]) -> str:
        records = [record for board in boards if board.ranked == boards[0].ranked for record in board.records]
        newest = max(records, key=lambda record: (record.track.version, record.created), default=None)
        return self._page(
            "track.html",
            "../",
            legend=render(LEGEND),
            name=name,
            newest=newest,
            protocol=tracks.protocol(newest) if newest else [],
            views=[(self._view(board), tracks.charts(self.contents, board)) for board in boards],
            published=tracks.published(self.contents, name),
        )

    @cached_property
    def _views(self) -> dict[str, tracks.BoardView]:
        return {board.slug: tracks.view(self.contents, board) for board in self.contents.boards}

    def _view(self, board: Board) -> tracks.BoardView:
        return self._views[board.slug]

    def _run(self, run: Run) -> str:
        return self._page("run.html", "../", view=runs.view(self.contents, run))

    def _architecture(self, key: Key) -> str:
        return self._page("architecture.html", "../", view=architectures.view(self.contents, key))

    def _list_of_runs(self) -> str:
        """For the choice of another run to compare with: each board's title, and its runs' names and titles."""
        listed = [
            [board.title, [[run.name, run.title] for row in board.rows for run in self.contents.runs_of(row)]]
            for boards in self.contents.tracks.values()
            for board in boards
        ]
        return _call("runs", listed)

    @cached_property
    def _shared(self) -> dict[str, list[runs.Field]]:
        return {board.slug: runs.shared_fields(board.records) for board in self.contents.boards}

    def _fields_of_board(self, board: Board) -> str:
        return _call("shared", board.slug, self._shared[board.slug])

    def _fields_of_run(self, run: Run) -> str:
        """What the run has not alike with all others of its board, and its denoising error."""
        shared = {name for _, name, _ in self._shared[run.board.slug]}
        own = [field for field in runs.protocol_fields(run.record) if field[1] not in shared]
        return _call("fields", run.name, run.board.slug, beside_another(self.contents, run), own)


def _compressed(run: Run) -> bytes:
    """The record: a quarter of its JSON. No time in it, so that the same record makes the same bytes."""
    return gzip.compress(run.record.model_dump_json().encode(), mtime=0)


def _call(function: str, *arguments: Any) -> str:
    """A script that hands data over; no text in it can end it."""
    dumps: Callable[..., str] = partial(json.dumps, separators=(",", ":"), allow_nan=False)
    return f"ditbench.{function}({','.join(htmlsafe_json_dumps(argument, dumps=dumps) for argument in arguments)});\n"


def _rules() -> str:
    return (files("ditbench.leaderboard") / "rules.md").read_text(encoding="utf-8")
