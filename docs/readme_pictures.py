"""README's pictures and badges, from committed records and pyproject.toml: `uv run python docs/readme_pictures.py`.

`pictures/terminal.svg` is what the main job's own code shows at its end, for the runs with seed 0: nothing is trained.
`pictures/board.png` is the first screen of the leaderboard's site in a Chromium (`DITBENCH_CHROMIUM` names another than
the system's). A test says when the first is stale.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import tomllib
from contextlib import chdir
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.terminal_theme import MONOKAI

from ditbench import campaign
from ditbench.builtins import REFERENCE_ARCHITECTURES
from ditbench.cli import console as consoles
from ditbench.cli import output
from ditbench.cli.app import app
from ditbench.cli.display import Live
from ditbench.executors.jobs import Job
from ditbench.records.record import Record, config_of, read_records, write_record

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "leaderboard" / "records" / "digits"
FOLDER = Path(__file__).parent / "pictures"
TERMINAL, BOARD = FOLDER / "terminal.svg", FOLDER / "board.png"
BADGES = {"licence": FOLDER / "licence.svg", "python": FOLDER / "python.svg"}
COMMAND = ["run", "--plugins", ",".join(REFERENCE_ARCHITECTURES)]
WIDTH = 104  # columns of the terminal
PAGE = {"width": 1200, "height": 620}  # pixels of the board's picture

# Rich's own has a font from a network. The signs' places are in the picture, so any font of equal widths will do.
SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font: {char_height}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace }}
.{unique_id}-title {{ font: bold 18px system-ui, sans-serif }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""

LETTER = 6.6  # pixels of a letter in a badge, on average
BADGE = """\
<svg width="{width}" height="20" role="img" aria-label="{name}: {value}" xmlns="http://www.w3.org/2000/svg">
<rect width="{width}" height="20" rx="3" fill="#3f51b5"/>
<path d="M3 0h{left}v20H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3" fill="#525c66"/>
<g fill="#fff" text-anchor="middle" font-family="system-ui, sans-serif" font-size="11">
<text x="{middle}" y="14">{name}</text><text x="{right}" y="14">{value}</text>
</g>
</svg>
"""


def main() -> None:
    """Draw all."""
    FOLDER.mkdir(exist_ok=True)
    for name, path in BADGES.items():
        path.write_text(badge(name), encoding="utf-8")
    TERMINAL.write_text(terminal(), encoding="utf-8")
    BOARD.write_bytes(board())


def badge(name: str) -> str:
    """What pyproject.toml says of the licence or of Python, as SVG."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    value = {"licence": about["license"], "python": about["requires-python"].replace(">=", "≥ ")}[name]
    left, right = (round(LETTER * len(text)) + 12 for text in (name, value))
    return BADGE.format(
        name=name, value=value, width=left + right, left=left - 3, middle=left / 2, right=left + right / 2
    )


def terminal() -> str:
    """The screen at the end of the main job, as SVG."""
    found = {record.architecture.name: record for record in read_records(RECORDS) if record.seed == 0}
    records = [found[name] for name in REFERENCE_ARCHITECTURES]
    screen = _Screen(record=True, force_terminal=True, file=io.StringIO(), width=WIDTH, height=50)
    screen.print(f"[bold green]$[/] uv run ditbench {' '.join(COMMAND)}", highlight=False)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for record in records:
            (place := Path("runs", "digits", record.run_id)).mkdir(parents=True)
            write_record(record, place / "record.json")
        said = _main_job(records, screen)
    screen.print(said.strip(), highlight=False, markup=False)
    return screen.export_svg(title="ditbench", theme=MONOKAI, code_format=SVG)


class _Screen(Console):
    """A terminal, which breaks the lines that are too long for it."""

    def print(self, *what: Any, **how: Any) -> None:
        super().print(*what, **{**how, "soft_wrap": False})


def _main_job(records: list[Record], screen: Console) -> str:
    """The command, which gets records in place of runs, and its screen; what it says beside it."""

    def ended(*_: Any, listener: Live, **__: Any) -> list[Record]:
        with patch.object(listener.bars, "start"):  # bars are drawn once, as they stand at the end
            listener.planned([_job(record) for record in records], ())
        for record in records:
            listener.started(config_of(record))
            listener.ended(record)
        screen.print(listener.bars.get_renderable())
        return records

    said = io.StringIO()
    with (
        patch.object(campaign, "run", ended),
        patch.object(consoles, "make_console", lambda: screen),
        patch.object(output, "output", lambda: said),
    ):
        app(COMMAND, standalone_mode=False)
    return said.getvalue()


def _job(record: Record) -> Job:
    assert record.environment is not None
    return Job(config_of(record), Path("runs", "digits", record.run_id), record.environment)


def board() -> bytes:
    """The first screen of the site, as PNG."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = os.environ.get("DITBENCH_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        app(["leaderboard", "build", str(RECORDS.parent), "--out", folder], standalone_mode=False)
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page(viewport=PAGE, reduced_motion="reduce", color_scheme="light")
        page.goto(Path(folder, "site", "index.html").as_uri())
        page.wait_for_load_state("networkidle")
        picture = page.screenshot()
        browser.close()
    return bytes(picture)


if __name__ == "__main__":
    main()
