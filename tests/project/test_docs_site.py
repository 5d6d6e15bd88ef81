"""The documentation's site: it builds without a warning, loads nothing from elsewhere, and leaves nothing out."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import typer
import yaml

import ditbench
from ditbench.cli import app
from ditbench.cli.new import new
from ditbench.denoiser.conformance.suite import CHECKS
from ditbench.registry import Registry
from ditbench.tracks.track import load_track

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TEXT = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
TRACKS = Path(ditbench.__file__).parent / "tracks"
MADE = {"notebook"}  # pages that the build makes
FETCHED = {  # tag -> the attributes by which a browser fetches something unasked
    "audio": ["src"], "embed": ["src"], "iframe": ["src", "srcdoc"], "image": ["href", "xlink:href"],
    "img": ["src", "srcset"], "input": ["src"], "link": ["href"], "object": ["data"], "script": ["src"],
    "source": ["src", "srcset"], "track": ["src"], "use": ["href", "xlink:href"], "video": ["src", "poster"],
}  # fmt: skip


class Page(HTMLParser):
    """What a page fetches, and the ids of its headings."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.headings, self.formulas = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.fetched += [given[name] for name in FETCHED.get(tag, ()) if given.get(name)]
        self.fetched += re.findall(r"url\((.*?)\)", given.get("style") or "")
        self.formulas += tag == "math"
        if tag in ("h1", "h2") and "id" in given:
            self.headings.append(given["id"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Built strictly, from another folder than the repository."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]  # with --quiet it would count no warning
    place = ["--config-file", str(ROOT / "mkdocs.yml"), "--site-dir", str(folder / "site")]
    done = subprocess.run([*command, *place], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site):
    return {path.stem: Page(path.read_text(encoding="utf-8")) for path in site.glob("*.html")}


def rows(text):
    """Cells of the tables' lines, heads and rules left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads = {at - 1 for at, line in enumerate(lines) if set(line) <= set("|-: ")}
    kept = [line for at, line in enumerate(lines) if at not in heads and at - 1 not in heads]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in kept]


def navigation(entries):
    """The files that the navigation names."""
    for entry in entries:
        for value in entry.values():
            yield from navigation(value) if isinstance(value, list) else [value]


def commands(group, words=("ditbench",)):
    """Every command of the command line, as it is typed."""
    for name, command in group.commands.items():
        yield from commands(command, (*words, name)) if hasattr(command, "commands") else [(*words, name)]


def test_no_page_loads_anything_from_elsewhere(site, pages):
    assert {"index", "metrics", "notebook", "404"} <= pages.keys()
    for name, page in pages.items():
        assert page.fetched, name
        assert not [target for target in page.fetched if re.match(r"\w+://|//", target)], name
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        assert not re.search(r"@import|url\([\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_what_pages_load_is_there(site, pages):
    for page in pages.keys() - {"404"}:  # that one is for a server, and has absolute addresses
        for target in pages[page].fetched:
            if not target.startswith(("data:", "#")):
                assert (site / target.partition("#")[0].partition("?")[0]).exists(), (page, target)


def test_every_page_is_in_the_navigation():
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)
    assert set(navigation(config["nav"])) == {f"{name}.md" for name in TEXT.keys() | MADE}


class _Loader(yaml.SafeLoader):
    """MkDocs' own tags are nothing to this test."""


_Loader.add_constructor("!relative", lambda loader, node: None)
_Loader.add_constructor("!ENV", lambda loader, node: None)


def test_the_board_and_its_pictures_come_from_the_repository(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    board = readme.partition("<!-- boards")[2].partition("<!-- end of the boards")[0]
    pictures = re.findall(r"\((leaderboard/samples/\S+?)\)", board)
    architectures = {row[1].replace("\\", "") for row in rows(board) if row[0].split()[0].isdigit()}
    assert len(pictures) >= 5 and len(architectures) >= 5
    assert all(f'src="{picture}"' in text and (site / picture).stat().st_size for picture in pictures)
    assert all(f">{name}</td>" in text for name in architectures)


def test_the_notebook_is_shown_with_its_outputs(site):
    text = (site / "notebook.html").read_text(encoding="utf-8")
    pictures = re.findall(r'src="(notebook/\S+\.png)"', text)
    assert len(pictures) == 2 and all((site / picture).stat().st_size > 10_000 for picture in pictures)
    assert "<td>dit:nano</td>" in text and "<td>uvit:nano</td>" in text


def test_every_metric_has_a_heading_and_a_formula(pages):
    own = [metric for metric in Registry.installed().metrics.values() if metric.measure.startswith("ditbench.")]
    of_clips = {metric.name for metric in own if metric.of in ("clips", "frames")}
    assert {metric.name for metric in own} - of_clips == set(pages["metrics"].headings) - {"metrics"}
    assert of_clips and of_clips <= set(pages["video"].headings)
    assert pages["metrics"].formulas >= 8


def test_formulas_are_drawn_whole(site):
    text = (site / "metrics.html").read_text(encoding="utf-8")
    assert not re.search(r"arithmatex|<mtext>\\|\\(frac|sum|mathrm|Vert)", text)


def test_every_track_budget_and_kind_of_plugin_is_told():
    shown = {row[0].strip("`"): row for row in rows(TEXT["tracks"])}  # the last table with a name has its budgets
    own = {name: path for name, path in Registry.installed().tracks.items() if path.parent == TRACKS}
    assert own.keys() == shown.keys()
    for name, track in {name: load_track(path) for name, path in own.items()}.items():
        budgets = [cell.strip("*") for cell in shown[name][1:]]
        assert budgets == [track.budgets.get(key, "") for key in ("smoke", "short", "standard", "paper")]
        assert f"**{track.budgets[track.budget]}**" in shown[name]
        assert re.search(rf"\| `{name}` \|.*`{track.objective.name}`, .*`{track.sampler.name}`", TEXT["tracks"])
    told = re.findall(r"^ditbench new my-\w+ --kind (\w+)$", TEXT["extending"], re.MULTILINE)
    assert sorted(["architecture", *told]) == sorted(get_args(get_type_hints(new)["kind"]))


def test_every_check_of_the_contract_is_told():
    table = TEXT["plugin"].partition("| check | passes if |\n|---|---|\n")[2].partition("\n\n")[0]
    firsts = [line.split("|")[1] for line in table.splitlines()]
    assert [name for first in firsts for name in re.findall(r"`(.*?)`", first)] == list(CHECKS)
    assert f"the {len(CHECKS)} checks" in TEXT["commands"]


def test_the_api_page_has_every_public_name():
    api = "\n".join(text for name, text in TEXT.items() if name.partition("-")[0] == "api")
    shown = re.findall(r"^::: ditbench\.(\w+)$", api, re.MULTILINE)
    assert {"BadValue", "DitbenchError", *shown} == {"errors", "hookspecs", "layers", "testing", *ditbench.__all__}
    assert len(shown) == len(set(shown))


def test_every_symptom_has_a_cause_and_a_place_to_look():
    found = rows(TEXT["off-by-x"])
    assert len(found) >= 25
    for row in found:
        assert len(row) == 4 and all(row), row
    assert len({row[0] for row in found}) == len(found)


def test_every_command_is_told():
    text = "\n".join([*TEXT.values(), (ROOT / "README.md").read_text(encoding="utf-8")])
    every = list(commands(typer.main.get_command(app)))
    assert len(every) > 15
    assert not [command for command in every if not re.search(rf"{' '.join(command)}(?![\w-])", text)]


def test_pages_are_short():
    assert not {name: len(text.splitlines()) for name, text in TEXT.items() if len(text.splitlines()) > 180}
