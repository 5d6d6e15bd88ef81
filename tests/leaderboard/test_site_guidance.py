"""Guidance on the site: a line in the order of the scale, means over seeds with intervals, and no say in ranks."""

import json
import re

import pytest
from guided import curve
from records import sound

from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.site import guidance
from ditbench.leaderboard.site.contents import Contents
from ditbench.leaderboard.site.pages import write_site

FID, RECALL = "fid1k/digits-cnn", "recall1k/digits-cnn"
RUNS = [sound(seed=seed) for seed in range(3)]
CURVES = [
    curve(RUNS[0], {1.0: 3.0, 1.5: 1.0, 2.0: 2.0}, {1.0: 0.6, 1.5: 0.5, 2.0: 0.4}),
    curve(RUNS[1], {1.0: 5.0, 2.0: 4.0}, {1.0: 0.8, 2.0: 0.6}),
]


@pytest.fixture
def contents():
    return Contents(boards(RUNS), guidance=CURVES)


def test_a_runs_line_has_all_its_scales_and_the_mean_those_of_all(contents):
    own, mean = guidance.of_run(contents, contents.runs[0])["series"]
    assert own["labels"] == {"of": "scale", "texts": ["1", "1.5", "2"]} and own["y"][FID] == [3, 1, 2]
    assert own["x"][RECALL] == pytest.approx([0.6, 0.5, 0.4], abs=1e-3) and "text" in own["mode"]
    assert mean["labels"]["texts"] == ["1", "2"] and mean["y"][FID] == [4, 3] and str(mean["name"]) == "mean of 2 seeds"
    assert mean["dy"][FID] == [pytest.approx(12.7, abs=0.01)] * 2  # the 95 % interval of two values that are 2 apart
    assert mean["x"][RECALL][0] == pytest.approx(0.7, abs=1e-3) and mean["dx"][RECALL][0] > 1
    assert guidance.of_run(contents, contents.runs[2]) is None


def test_recall_and_fid_come_first_and_a_board_has_a_line_for_each_row(contents):
    (board,) = contents.boards
    chart = guidance.of_board(contents, board)
    assert chart["x"][0]["key"] == RECALL and chart["x"][-1]["key"] == "scale" and chart["y"][0]["key"] == FID
    (line,) = chart["series"]
    assert str(line["name"]) == "dit:nano" and line["y"][FID] == [4, 3]
    assert guidance.of_board(Contents(contents.boards), board) is None
    apart = Contents(contents.boards, guidance=[CURVES[0], curve(RUNS[1], {9.0: 1.0})])
    assert guidance.of_board(apart, board) is None, "no scale in common, no mean"


def test_pages_have_the_plot_and_a_curve_of_other_weights_is_not_shown(tmp_path):
    other = CURVES[1].model_copy(update={"weights_sha256": "0" * 64})
    write_site(boards(RUNS), tmp_path, samples=None, guidance=[CURVES[0], other])
    pages = [(tmp_path / "runs" / f"{record.run_id}.html").read_text() for record in RUNS]
    assert ["The same weights, guided" in page for page in pages] == [True, False, False]
    (chart,) = re.findall(r'id="guidance">.*?<script type="application/json">(.*?)</script>', pages[0], re.DOTALL)
    assert [series["name"] for series in json.loads(chart)["series"]] == ["seed 0"]
    assert "No point ranks" in (tmp_path / "tracks" / "digits.html").read_text()
