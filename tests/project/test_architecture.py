"""The picture of the house and its tables are as the packages are."""

import architecture
import pytest
from import_graph import job

AGAIN = "stale: draw it anew by `uv run python docs/architecture.py`"


def test_picture_and_page_are_as_the_imports_are():
    assert architecture.PICTURE.read_text(encoding="utf-8") == architecture.Picture().svg(), AGAIN
    text = architecture.PAGE.read_text(encoding="utf-8")
    assert text == architecture.page(text), AGAIN
    assert f"| `storage` | {job('storage')} |" in text


def test_what_follows_from_other_arrows_is_left_out():
    imported = {"top": {"left", "right", "low"}, "left": {"low"}, "right": set(), "low": set()}
    assert architecture.without_what_follows(imported) == {**imported, "top": {"left", "right"}}
    assert architecture.floors(imported) == {"low": 0, "right": 0, "left": 1, "top": 2}


@pytest.mark.parametrize(
    ("name", "boxes", "told"),
    [
        ("WAY", ("cli", "judging"), "no judging any more"),
        ("ON_THE_LEFT", {"Python API"}, "benchmark and profiling stand at one place"),
        ("ON_THE_RIGHT", {"leaderboard", "datasets", "scaling"}, "scaling -> leaderboard passes through datasets"),
    ],
)
def test_a_box_that_is_not_there_or_in_the_way_is_told(name, boxes, told, monkeypatch):
    monkeypatch.setattr(architecture, name, boxes)
    with pytest.raises(ValueError, match=told):
        architecture.Picture()
