"""The denoising error on the site: by the level of noise and on the way, with intervals; notes on what it warns of."""

import math

import numpy as np
import pytest
from denoised import denoising
from records import TRACK, finished, measurement
from site_pages import content

from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.notes import memorising, saturated
from ditbench.leaderboard.site import errors
from ditbench.leaderboard.site.contents import Contents
from ditbench.leaderboard.site.pages import write_site
from ditbench.records.denoising import LOG_SNRS, WEIGHTS


def board_of(*records):
    (board,) = boards(records)
    return board


@pytest.fixture
def board():
    with_errors = [finished("dit:nano", 1.0, s, denoising=denoising(1.0 + s)) for s in range(3)]
    short = [finished("uvit:nano", 2.0, s, denoising=denoising(4.0, (0.5,) if s else (0.5, 1.0))) for s in range(3)]
    return board_of(*with_errors, *short, *(finished("mdt:nano", 3.0, s) for s in range(3)))


def test_a_line_for_each_row_that_has_it_with_its_interval(board):
    chart = errors.by_level(Contents([board]), board)
    dit, uvit = chart["series"]
    assert (str(dit["name"]), str(uvit["name"])) == ("dit:nano", "uvit:nano") and dit["x"]["snr"] == list(LOG_SNRS)
    assert dit["y"]["velocity"] == [2.0] * 16 and dit["dy"]["velocity"] == [2.48] * 16  # of 1, 2, 3
    assert uvit["dy"]["velocity"] == [0.0] * 16
    np.testing.assert_allclose(dit["y"]["image"], [2 / (1 + math.exp(log_snr)) for log_snr in LOG_SNRS], rtol=1e-4)


def test_on_the_way_are_the_shares_that_all_runs_of_a_row_were_seen_at(board):
    dit, uvit = errors.on_the_way(Contents([board]), board)["series"]
    assert dit["x"] == {"images": [50, 100], "flops": [5e8, 1e9]} and len(uvit["x"]["images"]) == 1
    assert dit["y"]["error"] == [pytest.approx(2.0)] * 2
    assert sum(WEIGHTS["denoise"](one) / (1 + math.exp(one)) for one in LOG_SNRS) == pytest.approx(1)


def test_a_runs_page_has_all_its_curves_and_pages_without_any_have_no_plot(board, tmp_path):
    contents = Contents([board])
    by_label = {run.record.architecture.label: run for row in board.rows for run in contents.runs_of(row)}
    names = [str(series["name"]) for series in errors.of_run(contents, by_label["dit:nano"])["series"]]
    assert names == [
        "averaged weights, held-out images", "averaged weights, training images",
        "last weights, held-out images", "last weights, training images",
    ]  # fmt: skip
    assert errors.of_run(contents, by_label["mdt:nano"]) is None
    plain = board_of(finished("mdt:nano"))
    assert errors.by_level(Contents([plain]), plain) is None and errors.on_the_way(Contents([plain]), plain) is None
    write_site([board], tmp_path, samples=None)
    pages = {name: text.decode() for name, text in content(tmp_path).items() if name.endswith(".html")}
    assert "Denoising error on the way" in pages["tracks/digits.html"]
    told = {name: "Denoising error" in text for name, text in pages.items() if name.startswith("runs/")}
    assert {name.partition("-")[0]: yes for name, yes in told.items()} == {
        "runs/dit": True, "runs/uvit": True, "runs/mdt": False
    }  # fmt: skip


def test_rows_that_score_as_real_images_do_are_saturated(board):
    assert saturated(board) == ""  # its floor is of too few images: 898 is enough, and 0.1 is below all
    good = board_of(finished("dit:nano", 0.05), finished("uvit:nano", 0.2))
    assert saturated(good) == "Saturated, as real images score no better (fid898/digits-cnn 0.1000): dit:nano."
    few = [measurement("fid", 0.1, samples=256)]
    assert saturated(board_of(finished("dit:nano", 0.05, floors=few))) == ""


@pytest.mark.parametrize(("hits", "marked"), [(10, False), (20, False), (80, True)])
def test_rows_with_more_copies_than_chance_allows_are_marked(hits, marked):
    track = TRACK.model_copy(
        update={"evaluation": TRACK.evaluation.model_copy(update={"metrics": ("fid", "memorised")})}
    )
    copies = measurement("memorised", hits / 1000).model_copy(
        update={"raw": {"counts": [float(hits), 1000.0]}, "settings": {"held_out": 256, "calibrated_on": 256}}
    )
    runs = [
        finished("dit:nano", seed=seed).model_copy(
            update={"track": track, "track_hash": track.hash, "metrics": [measurement("fid", 1.0), copies]}
        )
        for seed in range(3)
    ]
    told = memorising(board_of(*runs))
    assert told == (
        "Memorised: more samples of dit:nano lie close to training images than held-out images do." * marked
    )
