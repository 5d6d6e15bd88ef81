"""An archive of a leaderboard: the same bytes each time, whole, and its tables made again from it alone."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
import yaml
from records import finished, sound
from tampering import SUBMISSION

from ditbench.leaderboard.build import FILES
from ditbench.records.record import write_record

CFF = """
cff-version: 1.2.0
title: Mine
version: 0.1.0
license: Apache-2.0
authors:
  - family-names: Lovelace
    given-names: Ada
    affiliation: Somewhere
"""
REPORTED = """
[[setting]]
paper = "DiT"
arxiv = "2212.09748"
track = "digits"
[setting.values]
"fid1k/digits-cnn" = { "dit:nano" = 1.5 }
"""
REMARKS = '[[remark]]\narchitecture = "dit"\nsays = "a remark"\n'


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A leaderboard with two boards, and the citation above it."""
    home = tmp_path / "clone"
    place, grids = home / "leaderboard" / "records" / "digits", home / "leaderboard" / "samples" / "digits"
    place.mkdir(parents=True)
    grids.mkdir(parents=True)
    found = [sound(seed=seed, submission=SUBMISSION) for seed in (0, 1)]
    for record in (*found, finished("uvit:nano", budget="1k-images")):
        write_record(record, place / f"{record.run_id}.json")
        (grids / f"{record.run_id}.png").write_bytes(b"no picture, but bytes " * 9)
    (place / "stranger.json").write_text("{}")
    (home / "leaderboard" / "reported.toml").write_text(REPORTED)
    (home / "leaderboard" / "remarks.toml").write_text(REMARKS)
    (home / "CITATION.cff").write_text(CFF)
    (home / "LICENSE").write_text("A licence.")
    monkeypatch.chdir(home)
    return home


def test_its_tables_are_made_again_byte_for_byte(clone, ditbench, monkeypatch, tmp_path):
    told = ditbench("leaderboard", "archive", "leaderboard", "one.zip")
    assert told.startswith("3 records of 2 boards, 18 files -> one.zip (")
    ditbench("leaderboard", "build", "leaderboard/records", "--out", "built")
    with zipfile.ZipFile("one.zip") as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path / "ditbench-leaderboard")
    assert "is current" in ditbench("leaderboard", "build", "leaderboard/records", "--out", "leaderboard", "--check")
    ditbench("leaderboard", "build", "leaderboard/records", "--out", "again")
    places = (Path("leaderboard"), Path("again"), clone / "built")
    for name in FILES:
        assert len({(place / name).read_bytes() for place in places}) == 1
    page = Path("leaderboard/README.md").read_text()
    assert "a remark" in page and "## Reported" in page


def test_it_says_what_it_is_and_holds_nothing_of_strangers(clone, ditbench):
    ditbench("leaderboard", "archive", "leaderboard", "one.zip")
    with zipfile.ZipFile("one.zip") as archive:
        content = {name.removeprefix("ditbench-leaderboard/"): archive.read(name) for name in archive.namelist()}
    sums = dict(line.split("  ")[::-1] for line in content["SHA256SUMS"].decode().splitlines())
    assert sums == {name: hashlib.sha256(text).hexdigest() for name, text in content.items() if name != "SHA256SUMS"}
    assert not [name for name in content if "stranger" in name or name.startswith("/") or ".." in name]
    zenodo, cff = json.loads(content[".zenodo.json"]), yaml.safe_load(content["CITATION.cff"])
    assert zenodo["creators"] == [{"name": "Lovelace, Ada", "affiliation": "Somewhere"}]
    assert (zenodo["title"], zenodo["version"], zenodo["license"], zenodo["upload_type"]) == (
        "Records and leaderboard of Mine", "0.1.0", "apache-2.0", "dataset",
    )  # fmt: skip
    assert "1 row, 2 runs" in zenodo["description"]
    assert cff["type"] == "dataset" and cff["authors"] == yaml.safe_load(CFF)["authors"]
    assert cff["references"][0]["title"] == "Mine" and content["LICENSE"] == b"A licence."


def test_the_same_files_give_the_same_bytes(clone, ditbench):
    for name in ("one.zip", "two.zip"):
        ditbench("leaderboard", "archive", "leaderboard", name)
        for path in (clone / "leaderboard").rglob("*.json"):
            path.touch()
    assert Path("one.zip").read_bytes() == Path("two.zip").read_bytes()


def test_one_board_alone(clone, ditbench, tmp_path, monkeypatch):
    ditbench("leaderboard", "archive", "leaderboard", "one.zip", "--board", "digits-v3-matched-1k-images-cpu")
    with zipfile.ZipFile("one.zip") as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path / "ditbench-leaderboard")
    assert [path.name[:4] for path in Path().rglob("*.png")] == ["uvit"] and len(list(Path().rglob("*seed*.json"))) == 1
    assert "is current" in ditbench("leaderboard", "build", "leaderboard/records", "--out", "leaderboard", "--check")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda home: (home / "CITATION.cff").unlink(), "There is no CITATION.cff in 'leaderboard' or above it"),
        (lambda home: (home / "leaderboard/remarks.toml").write_text("x"), "remarks.toml' can't be read"),
        (lambda home: next((home / "leaderboard").rglob("dit*.json")).write_text("{"), "can't be read"),
        (lambda home: _link(next((home / "leaderboard").rglob("dit*.png"))), "is a link that leads out"),
        (lambda home: _rename(next((home / "leaderboard").rglob("dit*.json"))), "is not called RUN-ID.json"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_no_archive(clone, ditbench, harm, told):
    harm(clone)
    errors = ditbench("leaderboard", "archive", "leaderboard", "one.zip", code=2)
    assert told in errors and errors.count("\n") == 1
    assert not list(clone.glob("*.zip")) and not list(clone.glob(".*.tmp"))


def _link(path):
    path.unlink()
    path.symlink_to("/etc/hostname")


def _rename(path):
    path.parent.joinpath("mine").mkdir()
    path.rename(path.parent / "mine" / "record.json")


def test_an_unknown_board_or_place_is_told(clone, ditbench):
    near = ("--board", "digits-v3-matched-1k-image")
    errors = ditbench("leaderboard", "archive", "leaderboard", "one.zip", *near, code=2)
    assert "No board named" in errors and "Did you mean 'digits-v3-matched-1k-images-cpu'" in errors
    assert "there is no such folder" in ditbench("leaderboard", "archive", "leaderboard", "no/one.zip", code=2)
    assert "'nowhere/records' does not exist" in ditbench("leaderboard", "archive", "nowhere", "one.zip", code=2)
