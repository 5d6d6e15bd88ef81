"""Records of older versions are read, and what was tampered with in them is still refused."""

import json
from pathlib import Path

import pytest

from ditbench.errors import BadFile
from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.tables import table
from ditbench.records.record import read_record

V1 = Path(__file__).parents[1] / "older" / "record-v1.json"


def test_a_record_of_version_1_is_read_with_its_numbers():
    old, record = json.loads(V1.read_text()), read_record(V1)
    assert record.schema_version == 3 and record.ruleset == "matched" and record.recipe == record.track.recipe
    assert record.metrics[0].value == old["metrics"][0]["value"] and record.data_sha256 == old["data_sha256"]
    (board,) = boards([record])
    assert board.protocol.version == 2 and table(board)["rank"].tolist() == [""]


def test_a_changed_protocol_of_version_1_is_refused(tmp_path):
    old = json.loads(V1.read_text())
    old["track"]["recipe"]["learning_rate"] = 1.0
    (tmp_path / "record.json").write_text(json.dumps(old))
    with pytest.raises(BadFile, match="schema_version"):
        read_record(tmp_path / "record.json")


OLD = {1: json.loads(V1.read_text()), 2: json.loads(V1.with_name("record-v2.json").read_text())}


def without(*way):
    def change(content):
        for part in way[:-1]:
            content = content[part]
        del content[way[-1]]

    return change


def to(value, *way):
    def change(content):
        for part in way[:-1]:
            content = content[part]
        content[way[-1]] = value

    return change


@pytest.mark.parametrize(
    ("version", "change", "words"),
    [
        (2, without("training", "step_seconds"), "version 2 and can't be brought to the present one (KeyError"),
        (2, to([0, 0, 0], "training", "step_seconds"), "ZeroDivisionError"),
        (2, to([], "training", "step_seconds"), "no median"),
        (2, to(["a", 1], "training", "step_seconds"), "TypeError"),
        (2, to(10**400, "training", "batch_size"), "OverflowError"),
        (2, to([1, 2], "training"), "TypeError"),
        (2, to("text", "sampling"), "TypeError"),
        (2, to([1], "sampling", "batch_images"), "ValueError"),
        (2, to({}, "raw"), "KeyError"),
        (1, to(5, "track"), "schema_version"),
        (1, to({}, "track", "data"), "schema_version"),
    ],
)  # fmt: skip
def test_an_older_record_that_lacks_what_it_should_have_is_one_line(tmp_path, ditbench, version, change, words):
    content = json.loads(json.dumps(OLD[version]))
    change(content)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content))
    with pytest.raises(BadFile, match=r"record\.json") as caught:
        read_record(path)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert ditbench("diff", str(path), str(V1), code=2).count("\n") == 1
