"""What README says of CI is so, it is short, and its pictures are there and current; test_docs.py runs its commands."""

import html
import re
import tomllib
from pathlib import Path

import readme_pictures as pictures
from PIL import Image

from ditbench.registry import Registry

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]


def test_the_main_job_and_the_tests_are_one_line_each_short_and_long():
    short_run, short_test = "uv run ditbench run --plugins dit,uvit,mdt,diffit", "uv run pytest"
    assert LINES.index(short_test) == LINES.index(short_run) + 1
    (run,) = [line for line in LINES if line.endswith(f"; {short_run}")]
    (test,) = [line for line in LINES if line.endswith(f"; {short_test}")]
    assert "pip install -q --target .uv uv" in run and run.rpartition(";")[0] == test.rpartition(";")[0]
    assert test in (ROOT / ".ci" / "run").read_text().splitlines()


def test_it_is_short():
    assert len(README.splitlines()) <= 150


def test_its_pictures_are_there_and_small():
    shown = re.findall(r"!\[[^]]+\]\((docs/pictures/\S+?)\)", README)
    assert {Path(name).name for name in shown} == {path.name for path in pictures.FOLDER.iterdir()}
    assert all(0 < (ROOT / name).stat().st_size < 200_000 for name in shown)
    with Image.open(pictures.BOARD) as board:
        assert board.size == (pictures.PAGE["width"], pictures.PAGE["height"])
        assert len(board.convert("L").getcolors()) > 50  # a page, not a blank


def test_its_pictures_load_nothing_and_run_nothing():
    for path in pictures.FOLDER.glob("*.svg"):
        text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?:|@import|@font-face|<script|<image|href", text), path


def test_the_terminals_picture_and_the_badges_are_what_the_code_draws_now():
    """`uv run python docs/readme_pictures.py` draws them anew."""
    assert _words(pictures.TERMINAL.read_text(encoding="utf-8")) == _words(pictures.terminal())
    for name, path in pictures.BADGES.items():
        assert path.read_text(encoding="utf-8") == pictures.badge(name)


def _words(svg):
    """The text of a picture; how it is laid out is rich's."""
    return html.unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", svg, flags=re.DOTALL)).split()


def test_the_plugin_by_hand_is_one(install):
    page = (ROOT / "docs" / "plugin.md").read_text(encoding="utf-8")
    (source,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "hookimpl" in block]
    (project,) = [block for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "[project]" in block]
    about = tomllib.loads(project)["project"]
    assert about["entry-points"]["ditbench"] == {"my_arch": "ditbench_my_arch"}
    install(about["name"], "ditbench_my_arch", source, entry="my_arch")
    registry = Registry.installed(strict=True)
    assert registry.provider("my_arch").distribution == "ditbench-my-arch"
    settings = {"patch": 2, "width": 92, "depth": 4, "heads": 4}
    assert registry.architectures["my_arch"].settings("nano", {}) == {**settings, "skip": True}
