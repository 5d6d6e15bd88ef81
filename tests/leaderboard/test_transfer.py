"""Whether rankings carry over: correlations of made orders, their intervals, and where there is no answer."""

import json

import pytest
from records import TRACK, finished, measurement
from site_pages import Page
from test_site_errors import denoising

from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.site.pages import write_site
from ditbench.leaderboard.transfer import between_boards, between_metrics, on_the_way, orderings, questions
from ditbench.records.record import write_record

NAMES = ("dit", "uvit", "mdt", "diffit")
OTHER = TRACK.model_copy(update={"name": "other"})


def rows(levels, track=TRACK, noise=0.01, size="nano", **changes):
    """Three seeds of each; FID and KID are the level, and the Inception Score falls with it."""
    for name, level in zip(NAMES, levels, strict=False):
        for seed, at in enumerate((-1, 0, 1)):
            value = level + at * noise * (1 + 0.1 * NAMES.index(name))
            up = [measurement(metric, (9 - value) / 10, higher=True) for metric in ("is", "knn")]
            metrics = [measurement("fid", value), measurement("kid", value), *up]
            yield finished(f"{name}:{size}", value, seed, track, **{"metrics": metrics, **changes})


def test_the_same_order_is_one_and_the_other_way_round_is_minus_one():
    same, other = boards([*rows((1, 2, 3, 4)), *rows((5, 6, 7, 8), OTHER)]), rows((4, 3, 2, 1), OTHER, size="big")
    assert {one.tau for one in between_metrics(same)} == {1.0}, "also where higher is better"
    assert [(one.one.kind, one.tau, one.interval, one.told_apart) for one in between_boards(same)] == [
        (kind, 1.0, (1.0, 1.0), (6, 6)) for kind in ("fid", "kid", "is", "knn")
    ]
    turned = between_boards(boards([*rows((1, 2, 3, 4)), *other]))
    assert {(one.tau, one.told_apart) for one in turned} == {(-1.0, (0, 6))}, "whatever the sizes are called"


def test_pairs_that_seeds_can_not_tell_apart_widen_the_interval_and_count_for_nothing():
    found = between_boards(boards([*rows((1, 1.001, 3)), *rows((1, 1.001, 3), OTHER, noise=0.2)]))[0]
    low, high = found.interval
    assert found.tau == 1.0 and low == pytest.approx(1 / 3) and high == 1.0 and found.told_apart == (2, 2)


def test_what_no_rank_has_and_too_few_networks_give_no_answer():
    few = boards([*rows((1, 2)), *rows((1, 2), OTHER)])
    assert not any(questions(few).values())
    unranked = boards(rows((1, 2, 3), deviations=["200 samples"]))
    assert orderings(unranked[0]) == []


def test_several_sizes_on_a_board_are_several_networks():
    (board,) = boards([*rows((1, 2)), *rows((3, 4), size="big")])
    assert list(orderings(board)[0].values) == ["dit:big", "dit:nano", "uvit:big", "uvit:nano"]


def test_the_order_on_the_way_is_held_against_the_end():
    scales = {"dit": 1.0, "uvit": 2.0, "mdt": 3.0}
    found = []
    for record in rows((1, 2, 3)):
        about = denoising(scales[record.architecture.name] + 0.01 * record.seed)
        first, last = about.points
        turned = first.model_copy(update={"errors": [9 - error for error in first.errors]})
        found.append(record.model_copy(update={"denoising": about.model_copy(update={"points": [turned, last]})}))
    (answer,) = on_the_way(boards(found))
    assert answer.tau == -1.0 and answer.one.metric == "denoise at 50 % of the budget"


def test_command_and_page_say_the_same(tmp_path, ditbench):
    records = [*rows((1, 2, 3)), *rows((3, 2, 1), OTHER)]
    for record in records:
        place = tmp_path / "runs" / record.track.name
        place.mkdir(parents=True, exist_ok=True)
        write_record(record, place / f"{record.run_id}.json")
    told = json.loads(ditbench("leaderboard", "transfer", str(tmp_path / "runs"), "--json"))
    first = told["Do boards agree on one metric?"][0]
    assert first["kendall_tau"] == -1 and first["of_these_in_the_same_order"] == 0
    assert "-1.00 (-1.00 to -1.00)" in ditbench("leaderboard", "transfer", str(tmp_path / "runs"))
    write_site(boards(records), tmp_path / "site", samples=None)
    page = Page(tmp_path / "site" / "transfer.html").text
    assert "Do boards agree" in page and "0 of 3" in page
    assert ditbench("leaderboard", "transfer", str(tmp_path / "site")).count("No answer") == 3
