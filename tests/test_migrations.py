"""Records of older versions are read, and what was tampered with in them is still refused."""

import json
from pathlib import Path

import pytest

from ditbench.errors import BadFile
from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.tables import table
from ditbench.record import read_record

V1 = Path(__file__).parent / "older" / "record-v1.json"


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
