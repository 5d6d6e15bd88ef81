"""Remarks on rows: read with care, a star on the row and a sentence below, and never on another's row."""

import json
from pathlib import Path

import pytest
from records import finished

from ditbench.errors import BadFile
from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.export import json_text
from ditbench.leaderboard.latex import latex
from ditbench.leaderboard.markdown import markdown, summary
from ditbench.leaderboard.remarks import Remark, read_remarks, starred, with_remarks
from ditbench.leaderboard.tables import table
from ditbench.registry import Registry, select

COMMITTED = Path(__file__).parents[2] / "leaderboard" / "remarks.toml"
WIDE = Remark(architecture="dit", settings={"width": 96}, says="its width was drawn by lot")


def board_of(*remarks):
    (board,) = with_remarks(
        boards(finished(f"{name}:nano", seed=s) for name in ("dit", "uvit") for s in (0, 1, 2)), remarks
    )
    return board


def test_a_star_on_the_row_stands_for_the_sentence_below():
    board = board_of(WIDE, Remark(architecture="mdt", says="x"))
    assert table(board)["architecture"].tolist() == ["dit:nano *", "uvit:nano"]
    assert starred(board) == ["* dit:nano: its width was drawn by lot."]
    for page in (markdown([board]), latex([board]), summary([board])):
        assert "dit:nano: its width was drawn by lot." in page
    assert [row["remark"] for row in json.loads(json_text([board]))["boards"][0]["rows"]] == [WIDE.says, ""]


@pytest.mark.parametrize("changes", [{"architecture": "di"}, {"settings": {"width": 97}}, {"settings": {"depth": 96}}])
def test_it_is_of_no_row_that_was_built_otherwise(changes):
    assert starred(board_of(WIDE.model_copy(update=changes))) == []


def test_the_committed_ones_name_settings_of_ours():
    registry = Registry.installed()
    for remark in read_remarks(COMMITTED):
        sizes = [select(registry, f"{remark.architecture}:{size}") for size in ("nano", "nano/4")]
        assert all(remark.settings.items() <= dict(one.settings).items() for one in sizes)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[remark]]\narchitecture = 'dit'\n", r"remark\.0\.says"),
        ("[[remark]]\nsays = 'x'\n", r"remark\.0\.architecture"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_its_field(tmp_path, text, fault):
    path = tmp_path / "remarks.toml"
    path.write_text(text)
    with pytest.raises(BadFile, match=f"The remarks .*remarks.toml' are wrong: .*{fault}"):
        read_remarks(path)
