"""The report of a change of records: what moved, what is a tie, what must not be, and nothing smuggled into GitHub."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from records import ENVIRONMENT, finished, unfinished
from verifications import checked, sealed

from ditbench.errors import BadFile, BadValue
from ditbench.leaderboard.changes import Web, report
from ditbench.leaderboard.commits import folder_at
from ditbench.records.record import read_records, write_record

V2 = Path(__file__).parents[1] / "older" / "record-v2.json"
HOSTILE = "a ` @team <script>alert(1)</script> | [x](//x) ![x](//x) https://evil.example #12\n# heading\n\u202e&#64;all"


def records_at(ref, folder):
    """The records below a folder as a commit had them."""
    with folder_at(ref, folder) as then:
        return read_records(then)


def runs(label, *values, **changes):
    name = label.partition(":")[0]
    return [finished(label, fid, seed, run_id=f"{name}-{seed}", **changes) for seed, fid in enumerate(values)]


def changed(record, **changes):
    return record.model_copy(update=changes)


NAME = "dit-nano-seed0-0123abcd"  # of a record's file
DIT, UVIT = runs("dit:nano", 1.0, 1.1, 1.05), runs("uvit:nano", 1.02, 1.08, 1.1)
MINE = runs("mine:nano", 0.5, 0.52, 0.51)


def rows(text):
    """The table of the only board: architecture -> its cells by header."""
    table = [line for line in text.partition("| rank")[2].partition("\n\n")[0].splitlines() if line.startswith("|")]
    header = ["rank", *[cell.strip() for cell in text.partition("| rank")[2].splitlines()[0].split("|")[1:-1]]]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[1:]]
    found = [dict(zip(header, line, strict=True)) for line in cells]
    return {row["architecture"].strip("`"): row for row in found}


def test_a_new_row_takes_its_rank_and_moves_others():
    text = report([*DIT, *UVIT], [*DIT, *UVIT, *MINE], "main")
    first, second = [line for line in text.splitlines() if line][:2]
    assert first == "# `mine:nano` enters `digits v3, 64k-images, cpu` at rank 1 of 3"
    assert second == "9 records, compared with `main`: 3 new."
    found = rows(text)
    assert [(name, row["rank"], row["before"]) for name, row in found.items()] == [
        ("mine:nano", "1", ""), ("dit:nano", "2 (tie)", "1 (tie)"), ("uvit:nano", "2 (tie)", "1 (tie)"),
    ]  # fmt: skip
    assert found["mine:nano"]["what happened"] == "**new**" and found["dit:nano"]["what happened"] == ""
    assert found["mine:nano"]["`fid1k/digits-cnn ↓`"] == "0.510 ± 0.025"  # 4.303 * 0.01 / sqrt(3)
    assert "- `mine:nano` differs from `dit:nano` (p = 0.0018), `uvit:nano` (p = " in text
    assert "`dit:nano` differs" not in text and "told apart" not in text  # neither of the others is new
    assert "Look at" not in text


def test_costs_and_grids_stand_side_by_side_and_new_runs_lead_to_their_pages():
    web = Web("https://git.example/samples", "https://pages.example")
    text = report([*DIT, *UVIT], [*DIT, *UVIT, *MINE], "main", web=web)
    costs = text.partition("what it costs")[2].partition("\n\n")[0].splitlines()[2]
    assert [cell.strip() for cell in costs.split("|")[1:5]] == ["`mine:nano`", "1,024", "1.500", "7.560"]
    heads, _, grids = next(lines for lines in map(str.splitlines, text.split("\n\n")) if "![samples" in lines[-1])
    assert [cell.strip() for cell in heads.split("|")[1:-1]] == ["`mine:nano`", "`dit:nano`", "`uvit:nano`"]
    assert [cell.strip() for cell in grids.split("|")[1:-1]] == [
        f"![samples of {name}-0](https://git.example/samples/digits/{name}-0.png)" for name in ("mine", "dit", "uvit")
    ]
    assert text.count("https://pages.example/runs/mine-") == 3 and "runs/dit" not in text
    bare = report([*DIT, *UVIT], [*DIT, *UVIT, *MINE], "main")
    assert "what it costs" in bare and "http" not in bare and "Pages" not in bare


def test_the_verdict_counts_what_does_not_fit_it():
    many = [run for n in range(5) for run in runs(f"a{n}:nano", n, n + 0.1, n + 0.2)]
    verdict = report(DIT, [*DIT, *many], "main").partition("\n")[0]
    assert verdict.count("enters") == 3 and verdict.endswith("; 2 more rows")
    assert report(DIT, DIT, "main").startswith("# No board changes\n")


def test_a_machines_memory_is_the_same_but_for_what_the_kernel_keeps():
    for more, told in ((2**14, False), (2**33, True)):
        moved = [changed(run, environment=changed(ENVIRONMENT, memory_bytes=2**34 + more)) for run in MINE]
        assert ("memory_bytes" in report(DIT, [*DIT, *moved])) is told


def test_one_more_seed_completes_a_row_and_a_gap_makes_it_provisional():
    text = report([*DIT, *MINE[:2]], [*DIT, *MINE], "main")
    assert rows(text)["mine:nano"]["what happened"] == "1 run new, no longer provisional"
    assert rows(text)["mine:nano"]["before"] == "provisional" and rows(text)["mine:nano"]["rank"] == "1"
    text = report([*DIT, *MINE], [*DIT, *MINE[:2]], "main")
    assert rows(text)["mine:nano"]["what happened"] == "1 run removed, now provisional"
    assert "- `mine:nano` is provisional: 2 of 3 seeds." in text and "- `mine-2` was **removed**." in text


def test_what_must_not_happen_to_records_comes_first():
    better = changed(DIT[1], metrics=[changed(DIT[1].metrics[0], value=0.1), *DIT[1].metrics[1:]], sha256="0" * 64)
    more = changed(DIT[2], files={"samples.png": "1" * 64})
    text = report([*DIT, *UVIT], [DIT[0], better, more, *UVIT[:2], changed(UVIT[0], seed=7)], "main")
    assert text.startswith("# Look at 5 records first. ")
    alarms = text.partition("## Look at these first")[2].partition("##")[0].strip().splitlines()[2:]
    assert alarms == [
        "- `uvit-0` is there **more than once**.",
        "- `uvit-2` was **removed**.",
        "- `dit-1` was **changed**: `metrics`.",
        "- `dit-2` was added to: `files`.",
        "- `uvit-0` was **changed**: `seed`.",
    ]
    assert rows(text)["dit:nano"]["what happened"] == "2 runs changed"


def test_rows_and_boards_that_are_gone_are_shown_and_the_others_counted():
    elsewhere = runs("far:nano", 1.0, budget="1k-images")
    text = report([*DIT, *MINE, *elsewhere], [*DIT, *elsewhere], "main")
    assert (rows(text)["mine:nano"]["rank"], rows(text)["mine:nano"]["what happened"]) == ("–", "**gone**")
    assert text.endswith("1 other board did not change.\n") and "1k-images" not in text
    assert text.startswith("# Look at 3 records first. `mine:nano` leaves ")
    text = report([*DIT, *elsewhere], DIT, "main")
    assert list(rows(text)) == ["far:nano"] and "1k-images" in text
    same = report([*DIT, *elsewhere], [*elsewhere, *DIT], "main")
    assert "nothing is new.\n\n2 boards did not change." in same and "|" not in same


def test_a_change_of_tier_alone_is_told():
    runs = list(map(sealed, DIT))
    text = report(runs, runs, "main", (), [checked(run) for run in runs])
    assert rows(text)["dit:nano"]["what happened"] == "tier self-reported → re-evaluated"
    assert text.count("A verification is **new**") == len(runs)


def test_a_doubt_that_comes_or_goes_is_told_first():
    runs = list(map(sealed, DIT))
    doubt = checked(runs[0], by="@bob", fid=9.0)
    for before, after, news in (((), [doubt], "new"), ([doubt], (), "gone")):
        text = report(runs, runs, "main", before, after)
        assert f"A verification is **{news}**" in text.partition("##")[2] and "**does not agree**" in text


def test_without_a_base_every_row_is_told_once():
    text = report(None, [*DIT, *UVIT])
    assert text.startswith("# 1 board, all rows\n\n6 records, compared with nothing.\n")
    assert "before" not in rows(text)["dit:nano"] and "what happened" not in rows(text)["dit:nano"]
    assert text.count("told apart") == 1 and "- `dit:nano` can't be told apart from `uvit:nano` (p = 0.5)" in text
    assert "differ in nothing but architecture and seed" in text


def test_confounds_of_a_new_row_and_within_a_row_most_suspicious_first():
    features = [changed(metric, features_sha256="9" * 64) for metric in MINE[0].metrics]
    odd = [changed(MINE[0], metrics=features), *MINE[1:]]
    odd = [changed(run, environment=changed(ENVIRONMENT, torch="2.11.0", git_dirty=True)) for run in odd]
    table = report(DIT, [*DIT, *odd]).partition("most suspicious first:")[2]
    found = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    assert found[:5] == [
        ["what differs", "value", "runs"],
        ["`metric.fid.features_sha256`", "`999999999999`", "`mine:nano` (1 of 3)"],
        ["", "`ffffffffffff`", "`mine:nano` (2 of 3), `dit:nano`"],
        ["`metric.is.features_sha256`", "`999999999999`", "`mine:nano` (1 of 3)"],
        ["", "`ffffffffffff`", "`mine:nano` (2 of 3), `dit:nano`"],
    ]
    torch = found.index(["`environment.torch`", "`2.11.0`", "`mine:nano`"])
    assert found[torch + 1] == ["", "`2.15.0`", "`dit:nano`"]
    assert not [line for line in found if line[0].startswith(("`architecture", "`seed"))]


def test_code_that_nobody_else_has_is_told_even_if_all_runs_share_it():
    dirty = [changed(run, environment=changed(ENVIRONMENT, git_dirty=True)) for run in DIT]
    assert "- Run with uncommitted changes: `dit:nano`." in report(None, dirty)
    unknown = [changed(run, environment=changed(ENVIRONMENT, git_commit=None)) for run in DIT]
    assert "- Run with ditbench at an unknown commit: `dit:nano`." in report(None, unknown)


def test_runs_that_failed_are_told_with_their_reason():
    text = report(DIT, [*DIT, unfinished("mdt:nano", "failed", "out of memory", seed=1)], "main")
    assert "- `mdt:nano`, seed 1, failed: `out of memory`" in text and rows(text)["mdt:nano"]["seeds"] == "1"


def test_unranked_boards_say_why():
    text = report(None, [changed(run, deviations=["samples 20, not 1000"]) for run in DIT])
    assert "Unranked, because these runs are not what their track says: `samples 20, not 1000`." in text
    assert rows(text)["dit:nano"]["rank"] == "unranked"
    fewer = report(None, [changed(run, deviations=["samples 20, not 1000"]) for run in DIT[:2]])
    assert rows(fewer)["dit:nano"]["rank"] == "unranked" and "provisional" not in fewer


def test_rows_of_one_label_on_two_machines_are_told_apart_by_name():
    elsewhere = [changed(run, environment=changed(ENVIRONMENT, cpu="Another"), run_id=f"{run.run_id}b") for run in DIT]
    text = report(DIT, [*DIT, *elsewhere])
    assert "`dit:nano on A processor, 2 threads`" in text and "`dit:nano on Another, 2 threads`" in text
    assert rows(text)["dit:nano"]["hardware"] in ("`A processor, 2 threads`", "`Another, 2 threads`")


def test_a_long_report_still_fits_a_comment():
    many = [run for n in range(40) for run in runs(f"a{n}:nano", n, n, n, environment=changed(ENVIRONMENT, cores=n))]
    failed = [unfinished("mdt:nano", reason="long " * 1000, seed=seed) for seed in range(200)]
    text = report(DIT, [*DIT, *many, *failed], "main")
    assert " and 9 more by paired t-tests" in text and re.search(r"^- and 2\d\d more$", text, re.MULTILINE)
    assert "and 34 more values" in text
    assert len(text) < 50_000


def test_nothing_of_a_record_is_markdown():
    run = DIT[0]
    architecture = changed(
        run.architecture, label=HOSTILE, name=HOSTILE, size=HOSTILE, distribution=HOSTILE, distribution_version=HOSTILE
    )
    facts = type(ENVIRONMENT).model_fields
    strings = {name: HOSTILE for name in facts if isinstance(getattr(ENVIRONMENT, name), str)}
    evil = changed(
        run, architecture=architecture, run_id=HOSTILE, deviations=[HOSTILE], budget="90s",
        environment=changed(ENVIRONMENT, **strings), data=changed(run.data, name=HOSTILE, autoencoder=HOSTILE),
        metrics=[changed(metric, protocol=HOSTILE) for metric in run.metrics], device=HOSTILE,
    )  # fmt: skip
    failed = changed(unfinished(reason=HOSTILE), deviations=[HOSTILE], architecture=architecture)
    plain = changed(run, deviations=[HOSTILE], run_id="plain", budget="90s")
    web = Web("https://git.example/samples", "https://pages.example")
    text = report([plain, changed(evil, seed=4, run_id=f"{HOSTILE}2")], [plain, evil, failed], HOSTILE, web=web)
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    inner = [child for token in tokens for child in token.children or []]
    assert not {token.type for token in (*tokens, *inner)} & {"html_block", "html_inline", "link_open", "image"}
    shown = "".join(child.content for child in inner if child.type == "text")
    assert not re.search("team|script|evil|heading|all", shown.replace("shared", ""))
    assert len({line.count("|") for line in text.partition("| rank")[2].partition("\n\n")[0].splitlines()[1:]}) == 1
    assert set(filter(lambda c: not c.isprintable(), text)) == {"\n"}


# What a commit had


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    """A repository whose first commit has two records, one of an older version, and its second has none."""
    folder = tmp_path / "records"
    (folder / "digits" / "ä").mkdir(parents=True)
    write_record(DIT[0], folder / "digits" / f"{NAME}.json")
    shutil.copy(V2, folder / "digits" / "ä" / "dit-nano-seed0-687b0345.json")
    (folder / "digits" / "some.profile.json").write_text("no record")
    (folder / "note.txt").write_text("no record")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "records")
    git(tmp_path, "tag", "first")
    git(tmp_path, "rm", "-r", "-q", "records")
    git(tmp_path, "commit", "-m", "none")
    folder.mkdir()
    return tmp_path


def test_a_commits_records_are_read_as_the_folders_are(repository, monkeypatch):
    folder = repository / "records"
    found = records_at("first", folder)
    assert [record.schema_version for record in found] == [3, 3]
    git(repository, "checkout", "first", "--", "records")
    assert found == read_records(folder)
    assert records_at("HEAD", folder) == []
    monkeypatch.chdir(repository)
    assert records_at("HEAD^", Path("records")) == found == records_at("first", Path("records/digits"))


def test_the_repository_is_the_folders_whatever_the_surroundings_name(repository, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("other")
    git(other, "init")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / "index"))
    assert len(records_at("first", repository / "records")) == 2


@pytest.mark.parametrize("ref", ["", "-x", "--output=pwned", "no such", "first:records", "HEAD^7"])
def test_what_is_no_commit_is_refused(repository, ref):
    reason = "names no commit" if ref in ("", "-x", "--output=pwned") else "can't find the commit"
    with pytest.raises(BadValue, match=reason) as refused:
        records_at(ref, repository / "records")
    assert "\n" not in str(refused.value) and not list(repository.rglob("pwned"))


def test_no_repository_and_no_git_are_one_line(tmp_path, repository, monkeypatch):
    with pytest.raises(BadValue, match=r"can't find the commit 'HEAD' in .*nowhere"):
        records_at("HEAD", tmp_path / "nowhere")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BadValue, match="git is not installed"):
        records_at("HEAD", repository / "records")


def test_a_bad_record_of_a_commit_is_named_by_commit_and_path(repository):
    folder = repository / "records"
    (folder / f"{NAME}.json").write_text("{}")
    git(repository, "add", ".")
    git(repository, "commit", "-m", "bad")
    with pytest.raises(BadFile, match=f"The record 'HEAD:{folder}/{NAME}.json' is wrong"):
        records_at("HEAD", folder)
