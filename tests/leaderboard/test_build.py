"""The leaderboard's files: the same bytes from the same records, checked without being written."""

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from records import TRACK, finished, measurement, unfinished
from verifications import checked, sealed

from ditbench.errors import BadFile, DitbenchError, UnknownName
from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.build import (
    CURVES_FILE,
    ENDS,
    FILES,
    STARTS,
    build,
    into_page,
    of_track,
    outputs,
    stale,
    write_run_tables,
)
from ditbench.leaderboard.reported import read_reported
from ditbench.records.facts import Milestone
from ditbench.records.record import read_records, write_record

COMMITTED = Path(__file__).parents[2] / "leaderboard"
REPORTED = COMMITTED / "reported.toml"
OTHER = TRACK.model_copy(update={"name": "other"})


def course(record):
    way = Milestone(at=0.5, steps=1, images=100, seconds=0.1, flops=4.5e9, metrics=[measurement("fid", 9.0)])
    return record.model_copy(update={"milestones": [way]})


RECORDS = [
    *(finished(label, 1.0 + seed / 7 + place, seed) for place, label in enumerate(("a:b", "c:d")) for seed in range(3)),
    course(finished("e:f")),
    unfinished("g:h"),
    finished("a:b", track=OTHER),
]
NAMES = ["README.md", "leaderboard.csv", "leaderboard.json", "leaderboard.tex", "curves.csv"]


@pytest.fixture
def folder(tmp_path):
    """Records on disk, as they are committed."""
    for record in RECORDS:
        place = tmp_path / "board" / "records" / record.track.name
        place.mkdir(parents=True, exist_ok=True)
        write_record(record, place / f"{record.run_id}.json")
    return tmp_path / "board"


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_files_are_a_function_of_the_records_alone():
    first = outputs(boards(RECORDS))
    assert list(first) == NAMES == list(FILES) and all(
        text.endswith("\n") and "\r" not in text for text in first.values()
    )
    shuffled = list(RECORDS)
    random.Random(0).shuffle(shuffled)
    assert outputs(boards(shuffled)) == first
    assert not [name for name, text in first.items() if str(Path.home()) in text]


def test_another_process_makes_the_same_files_without_torch(folder):
    code = (
        "import hashlib, sys; from pathlib import Path; from ditbench.records.record import read_records\n"
        "from ditbench.leaderboard.boards import boards; from ditbench.leaderboard.build import outputs\n"
        f"found = outputs(boards(read_records(Path({str(folder / 'records')!r}))))\n"
        "print(hashlib.sha256(repr(found).encode()).hexdigest(), 'torch' in sys.modules)"
    )
    hashed = {**os.environ, "PYTHONHASHSEED": "1"}  # the order of sets is another one there
    told = subprocess.run(
        [sys.executable, "-c", code], env=hashed, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    here = hashlib.sha256(repr(outputs(boards(read_records(folder / "records")))).encode()).hexdigest()
    assert told.split() == [here, "False"]


def test_what_is_built_is_current_and_building_again_changes_nothing(tmp_path):
    build(boards(RECORDS), tmp_path)
    assert sorted(content(tmp_path)) == sorted(NAMES) and stale(boards(RECORDS), tmp_path) == []
    first = content(tmp_path)
    build(boards(RECORDS), tmp_path)
    assert content(tmp_path) == first


def test_a_check_names_what_is_stale_missing_and_superfluous_and_writes_nothing(tmp_path):
    build(boards(RECORDS), tmp_path)
    (tmp_path / "leaderboard.tex").write_text("% edited")
    (tmp_path / "leaderboard.json").unlink()
    before = content(tmp_path)
    fewer = [record for record in RECORDS if not record.milestones]
    told = stale(boards(fewer), tmp_path)
    assert told == [
        f"{tmp_path / 'README.md'} is stale", f"{tmp_path / 'leaderboard.csv'} is stale",
        f"{tmp_path / 'leaderboard.json'} is missing", f"{tmp_path / 'leaderboard.tex'} is stale",
        f"{tmp_path / 'curves.csv'} is superfluous",
    ]  # fmt: skip
    assert content(tmp_path) == before
    build(boards(fewer), tmp_path)
    assert stale(boards(fewer), tmp_path) == [] and not (tmp_path / CURVES_FILE).exists()
    assert len(stale(boards(fewer), tmp_path / "nowhere")) == 4 and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", NAMES)
def test_one_changed_byte_is_seen(tmp_path, name):
    build(boards(RECORDS), tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes().replace(b"\n", b"\r\n", 1))
    assert stale(boards(RECORDS), tmp_path) == [f"{tmp_path / name} is stale"]


def test_somebody_elses_files_are_not_overwritten(tmp_path):
    (tmp_path / "README.md").write_text("# My project")
    (tmp_path / CURVES_FILE).write_text("mine")
    with pytest.raises(BadFile, match=r"README\.md.*choose another `out`"):
        build(boards(RECORDS), tmp_path)
    assert content(tmp_path) == {"README.md": b"# My project", CURVES_FILE: b"mine"}
    (tmp_path / "README.md").unlink()
    build(boards([finished()]), tmp_path)
    assert (tmp_path / CURVES_FILE).read_text() == "mine"


def test_a_place_that_can_not_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DitbenchError, match="`out`"):
        build(boards(RECORDS), tmp_path / "file")


def test_one_track_alone(tmp_path):
    reported = read_reported(REPORTED)
    records, published = of_track(RECORDS, reported, "other")
    (board,) = shown = boards(records)
    build(shown, tmp_path, published)
    page = (tmp_path / "README.md").read_text()
    assert board.protocol.track == "other" and "digits v3" not in page and "## Reported" not in page
    records, published = of_track(RECORDS, reported, "imagenet256")
    assert records == []
    build([], tmp_path / "imagenet", published)
    page = (tmp_path / "imagenet" / "README.md").read_text()
    assert "No records yet." in page and "dit:XL/2" in page and "imagenet512" not in page
    with pytest.raises(UnknownName, match=r"'digit'\. Did you mean 'digits'.*Known: digits, other"):
        of_track(RECORDS, [], "digit")


def test_no_records_make_files_that_say_so():
    files = outputs([])
    assert "No records yet." in files["README.md"] and CURVES_FILE not in files


def test_tiers_reach_the_page_and_the_data():
    of = [sealed(record) for record in RECORDS if record.track == TRACK and record.architecture.label == "a:b"]
    files = outputs(boards(of, [checked(record) for record in of]))
    for name in ("README.md", "leaderboard.csv", "leaderboard.json"):
        assert "re-evaluated" in files[name]
    assert (
        "Checked: a:b, seed 0: re-evaluated by Ada" in files["README.md"] and '"by": "Ada"' in files["leaderboard.json"]
    )
    doubtful = outputs(boards(of, [checked(of[0], by="Bob", fid=9.0)]))
    assert "Doubt: a:b, seed 0: re-evaluated by Bob" in doubtful["README.md"]
    assert "fid1k/digits-cnn 9.000, recorded 1.000" in doubtful["README.md"]


def test_runs_get_their_page_and_data_beside_them(tmp_path):
    write_run_tables([finished()], tmp_path)
    assert sorted(content(tmp_path)) == ["leaderboard.csv", "leaderboard.md"]
    write_run_tables([course(finished())], tmp_path)
    assert sorted(content(tmp_path)) == ["curves.csv", "leaderboard.csv", "leaderboard.md"]


def test_the_command_builds_and_checks(folder, ditbench):
    records = str(folder / "records")
    assert f"{len(RECORDS)} records" in ditbench("leaderboard", "build", records, "--out", str(folder))
    assert "is current" in ditbench("leaderboard", "build", records, "--out", str(folder), "--check")
    for name in FILES:  # as git checks text out on Windows
        (folder / name).write_bytes((folder / name).read_bytes().replace(b"\n", b"\r\n"))
    assert "is current" in ditbench("leaderboard", "build", records, "--out", str(folder), "--check")
    current = json.loads(ditbench("leaderboard", "build", records, "--out", str(folder), "--check", "--json"))
    assert current["records"] == len(RECORDS) and current["stale"] == [] and current["site"] is None
    (folder / "leaderboard.csv").write_text("")
    answer = ditbench("leaderboard", "build", records, "--out", str(folder), "--check", "--json", code=1)
    assert json.loads(answer)["stale"] == [f"{folder / 'leaderboard.csv'} is stale"]
    told = ditbench("leaderboard", "build", records, "--out", str(folder), "--check", code=1)
    assert told.splitlines()[0] == f"{folder / 'leaderboard.csv'} is stale" and "without --check" in told
    assert ditbench("leaderboard", "build", records, "--out", str(folder), "--track", "other").startswith("1 records")
    error = ditbench("leaderboard", "build", records, "--out", str(folder), "--track", "othr", code=2)
    assert error.count("\n") == 1 and "Did you mean 'other'" in error
    ditbench("leaderboard", "build", str(folder / "none"), "--out", str(folder), code=2)


def test_the_command_takes_the_published_numbers_beside_the_records(folder, tmp_path, ditbench):
    (folder / "reported.toml").write_bytes(REPORTED.read_bytes())
    ditbench("leaderboard", "build", str(folder / "records"), "--out", str(folder))
    assert "## Reported" in (folder / "README.md").read_text()
    (tmp_path / "other.toml").write_text("setting = []")
    arguments = ("leaderboard", "build", str(folder / "records"), "--out", str(folder))
    ditbench(*arguments, "--reported", str(tmp_path / "other.toml"))
    assert "## Reported" not in (folder / "README.md").read_text()
    error = ditbench(*arguments, "--reported", str(tmp_path / "absent.toml"), code=2)
    assert "absent.toml" in error and error.count("\n") == 1


def test_the_records_are_the_committed_ones_by_default(tmp_path, monkeypatch, ditbench):
    monkeypatch.chdir(COMMITTED.parent)
    ditbench("leaderboard", "build", "--out", str(tmp_path))
    assert "dit:nano" in (tmp_path / "README.md").read_text()


def test_the_committed_leaderboard_is_what_its_records_say(ditbench, monkeypatch):
    monkeypatch.chdir(COMMITTED.parent)
    ditbench("leaderboard", "build", "--out", "leaderboard", "--page", "README.md", "--check")


def test_the_committed_digits_runs_meet_the_quality_bar():
    ours = {"dit", "uvit", "mdt", "mdtv2", "diffit"}
    every = read_records(COMMITTED / "records" / "digits")
    records = [r for r in every if r.architecture.name in ours and r.ruleset == "matched"]
    assert {(record.architecture.name, record.seed) for record in records} >= {
        (name, s) for name in ours for s in range(3)
    }
    for record in records:
        (accuracy,) = [m.value for m in record.metrics if m.protocol == "knn1k/raw-pixels"]
        assert record.status == "finished" and accuracy >= 0.85, record.architecture.label


def test_a_page_has_the_ranked_boards_between_its_marks(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"# Mine\n\n{STARTS}\nstale words\n{ENDS}\nmore\n")
    ranked = [finished(label, fid, seed) for label, fid in (("a:b", 1.0), ("c:d", 9.0)) for seed in range(3)]
    text = into_page(page, boards([*ranked, finished("e:f", track=OTHER)]), tmp_path / "samples")
    assert text.startswith("# Mine") and text.endswith(f"{ENDS}\nmore\n") and "stale words" not in text
    assert "| a:b " in text and "e:f" not in text and f"(samples/digits/{ranked[0].run_id}.png)" in text
    page.write_text(text)
    assert into_page(page, boards(ranked), tmp_path / "samples") == text
    older = TRACK.model_copy(update={"version": TRACK.version - 1})
    both = [*ranked, *(finished("g:h", 5.0, seed, track=older) for seed in range(3))]
    assert into_page(page, boards(both), tmp_path / "samples") == text  # of a track, the newest version alone
    page.write_text("# Nothing here")
    with pytest.raises(BadFile, match="has no place for the boards"):
        into_page(page, boards(ranked))


@pytest.mark.parametrize("check", [(), ("--check",)])
@pytest.mark.parametrize("name", ["README.md", "leaderboard.csv"])
def test_a_folder_where_a_file_is_to_be_written_is_named(folder, ditbench, tmp_path, name, check):
    (tmp_path / "out" / name).mkdir(parents=True)
    arguments = ("leaderboard", "build", str(folder / "records"), "--out")
    told = ditbench(*arguments, str(tmp_path / "out"), *check, code=2)
    assert f"out/{name}'" in told and "folder" in told and told.count("\n") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


@pytest.mark.parametrize("check", [(), ("--check",)])
def test_what_can_be_no_folder_is_named(folder, ditbench, tmp_path, check):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("n" * 5000, "file", "loop"):
        told = ditbench("leaderboard", "build", str(folder / "records"), "--out", str(tmp_path / name), *check, code=2)
        assert told.count("\n") == 1 and len(told) < 700, told
