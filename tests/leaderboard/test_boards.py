"""Which records may be compared, what makes a row, and which rows get a rank."""

import json
import re
from itertools import permutations

import pydantic
import pytest
from fingerprints import known_by
from records import ENVIRONMENT, TRACK, finished, measurement, unfinished
from verifications import checked, sealed

from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.build import on_the_boards_of
from ditbench.leaderboard.export import csv, json_text
from ditbench.leaderboard.latex import latex
from ditbench.leaderboard.markdown import markdown
from ditbench.leaderboard.notes import of_values, outside
from ditbench.leaderboard.tables import columns, table
from ditbench.records.facts import Measurement
from ditbench.records.fingerprint import TOLERANCE
from ditbench.records.record import Record

OTHER_MACHINE = ENVIRONMENT.model_copy(update={"cpu": "Another processor"})
GPU = ENVIRONMENT.model_copy(update={"gpu": "A GPU"})


def only(records):
    (board,) = boards(records)
    return board


def seeds(label, *fids, **changes):
    """One finished run per FID."""
    return [finished(label, fid, seed, **changes) for seed, fid in enumerate(fids)]


def ranks(records):
    return {row.label: row.rank for row in only(records).rows}


GOOD, SAME, BAD = (1.0, 1.1, 1.2), (1.1, 1.0, 1.3), (3.0, 3.2, 3.1)


def test_rows_are_ranked_by_the_first_metric_and_those_that_tie_say_so():
    board = only([*seeds("a:b", *BAD), *seeds("c:d", *GOOD), *seeds("e:f", *SAME)])
    assert [(row.label, row.rank, row.tied) for row in board.rows] == [
        ("c:d", 1, True), ("e:f", 1, True), ("a:b", 3, False),
    ]  # fmt: skip
    assert [(pair.one, pair.other, pair.told_apart) for pair in board.pairs] == [
        (0, 1, False), (0, 2, True), (1, 2, True),
    ]  # fmt: skip


def test_higher_is_better_where_the_metric_says_so():
    def accuracy(label, *values):
        found = seeds(label, *values)
        return [
            run.model_copy(update={"metrics": [measurement("knn", run.metrics[0].value, higher=True)]}) for run in found
        ]

    assert ranks([*accuracy("a:b", *GOOD), *accuracy("c:d", *BAD)]) == {"c:d": 1, "a:b": 2}


def test_the_order_of_the_records_has_no_say():
    records = [*seeds("a:b", *BAD), *seeds("c:d", *GOOD), unfinished("c:d", seed=3), finished("e:f", 0.5)]
    first = boards(records)
    for order in list(permutations(records))[::997]:
        assert boards(order) == first


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_seeds_are_provisional(count):
    (row, other) = only([*seeds("a:b", *GOOD[:count]), *seeds("c:d", *BAD)]).rows[::-1]
    assert row.rank is None and row.provisional == f"{count} of 3 seeds" and row.status.startswith("provisional")
    assert (other.rank, other.provisional, other.status) == (1, "", "finished")


@pytest.mark.parametrize(("numbers", "missing"), [((0, 1, 3), 2), ((1, 2, 3), 0), ((0, 1, 2**32 - 1), 2)])
def test_seeds_that_were_left_out_are_asked_for(numbers, missing):
    row = only([finished("a:b", 1.0 + seed % 7, seed) for seed in numbers]).rows[0]
    assert row.rank is None and row.provisional == f"seed {missing} is missing, and seeds count from 0"


def test_nobody_adds_seeds_until_a_test_agrees():
    row = only([finished("a:b", 1.0 + seed, seed) for seed in range(4)]).rows[0]
    assert row.rank is None and row.provisional == "4 seeds, and the track asks for 3"
    ten = TRACK.model_copy(update={"seeds": 10})
    assert ten.hash == TRACK.hash and ten.all_seeds == "0-9" and TRACK.all_seeds == "0,1,2"
    row = only([finished("a:b", 1.0 + seed, seed, track=ten) for seed in range(4)]).rows[0]
    assert row.provisional == "4 of 10 seeds"


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_a_row_with_a_miss_counts_it_and_ranks_after_all_whole_ones(status):
    board = only(
        [*seeds("a:b", 0.1, 0.2), unfinished("a:b", status, seed=2), *seeds("c:d", *BAD), finished("e:f", 0.1)]
    )
    assert [(row.label, row.rank) for row in board.rows] == [("c:d", 1), ("a:b", 2), ("e:f", None)]
    missed = board.rows[1]
    assert len(missed.missed) == 1 and len(missed.finished) == 2 and missed.seeds == {0, 1, 2}
    assert missed.status == f"1 of 3 {status}: the loss became nan at step 3"
    assert board.comparable == [board.rows[0]] and board.pairs == []


def test_rows_with_misses_share_their_rank():
    missing = [run for label in ("a:b", "c:d") for run in (*seeds(label, *GOOD[:2]), unfinished(label, seed=2))]
    board = only([*missing, *seeds("e:f", *BAD)])
    assert [(row.label, row.rank, row.tied) for row in board.rows] == [
        ("e:f", 1, False), ("a:b", 2, True), ("c:d", 2, True),
    ]  # fmt: skip


def test_a_row_of_nothing_but_misses_has_no_numbers_and_the_last_rank():
    board = only([*seeds("a:b", *BAD), *(unfinished("c:d", seed=seed) for seed in range(3))])
    row = board.rows[-1]
    assert (row.label, row.rank, row.quality, row.values) == ("c:d", 2, {}, {})


def test_an_interrupted_run_has_not_ended_and_does_not_count():
    stopped = unfinished("a:b", "interrupted", "killed by SIGKILL", seed=2)
    row = only([*seeds("a:b", 1.0, 2.0), stopped]).rows[0]
    assert row.provisional == "2 of 3 seeds" and not row.missed and "1 of 3 interrupted" in row.status
    row = only([*seeds("a:b", *GOOD), stopped.model_copy(update={"seed": 3})]).rows[0]
    assert row.rank == 1 and row.seeds == {0, 1, 2}


def test_a_mean_is_over_seeds_and_never_the_best():
    row = only(seeds("a:b", 1.0, 2.0, 6.0)).rows[0]
    assert list(row.quality) == [f"{name}1k/digits-cnn" for name in ("fid", "kid", "is", "knn")]
    assert row.quality["fid1k/digits-cnn"].mean == 3.0 and row.values == {0: 1.0, 1: 2.0, 2: 6.0}


def test_a_record_that_lies_there_twice_is_one_run_and_a_repeated_seed_is_no_further_one():
    once = seeds("a:b", 1.0, 2.0)
    assert boards([*once, *seeds("a:b", 1.0, 2.0)]) == boards(once)
    again = finished("a:b", 4.0, seed=1)
    row = only([*once, again]).rows[0]
    assert row.provisional == "2 of 3 seeds" and row.values == {0: 1.0, 1: 3.0} and len(row.finished) == 3
    assert row.quality["fid1k/digits-cnn"].values == (1.0, 3.0)


def test_two_versions_of_a_plugin_are_two_rows_not_two_seeds():
    changed = {"source_sha256": "9" * 64}
    newer = finished(fid=3.0, seed=1)
    newer = newer.model_copy(update={"architecture": newer.architecture.model_copy(update=changed)})
    rows = only([finished(fid=1.0), newer]).rows
    assert [row.label for row in rows] == [
        "dit:nano (ditbench-dit 0.1.0, eeeeee)", "dit:nano (ditbench-dit 0.1.0, 999999)",
    ]  # fmt: skip


def of_code(record, source, year=2026):
    """The record as another source of the plugin made it, later."""
    of = record.architecture.model_copy(update={"source_sha256": source * 64, "distribution_version": f"0.{source}"})
    return record.model_copy(update={"architecture": of, "created": record.created.replace(year=year)})


def test_a_corrected_comment_ages_no_row_and_another_network_does():
    comment = [known_by(run) for run in seeds("a:b", *GOOD)]
    comment[2] = of_code(comment[2], "9", 2027)
    (row,) = only(comment).rows
    assert (row.label, row.seeds, row.rank) == ("a:b", {0, 1, 2}, 1)
    edited = known_by(of_code(finished("a:b", 1.0, seed=3), "8", 2028), loss=2.0)
    new, old = sorted(only([*comment, edited]).rows, key=lambda row: len(row.records))
    assert (new.label, new.seeds) == ("a:b (current)", {3})
    assert (old.label, old.seeds) == ("a:b (ditbench-a 0.9, 999999)", {0, 1, 2})


def test_small_steps_away_from_the_newest_do_not_add_up():
    near = 1 + 0.8 * TOLERANCE
    runs = [known_by(of_code(finished("a:b", 1.0, seed), "7", 2026 + seed), loss=near**seed) for seed in range(3)]
    for order in permutations(runs):
        current, older = sorted(only(order).rows, key=lambda row: -len(row.records))
        assert (current.label, current.seeds, older.seeds) == ("a:b (current)", {1, 2}, {0})


def test_records_without_a_fingerprint_are_beside_their_very_source():
    """As those from before there were any, and runs that did not finish."""
    diverged = unfinished("a:b", seed=3)
    (row,) = only(
        [known_by(finished("a:b", 1.0)), of_code(known_by(finished("a:b", 1.0, 1)), "9", 2027), diverged]
    ).rows
    assert row.missed == (diverged,) and row.seeds == {0, 1, 3}
    apart = only([known_by(of_code(finished("a:b", 1.0), "9", 2027)), finished("a:b", 1.0, 1), diverged]).rows
    assert sorted(sorted(row.seeds) for row in apart) == [[0], [1, 3]]
    two = [known_by(finished("a:b", 1.0, seed), loss=1.0 + seed) for seed in range(2)]  # as by another library
    assert sorted(sorted(row.seeds) for row in only([*two, diverged]).rows) == [[0], [1], [3]]
    assert len({row.label for row in only([*two, diverged]).rows}) == 3


def test_two_settings_of_one_label_are_two_rows():
    """What a row's runs share is all but the seed: an edited recipe under the native ruleset is another row."""
    other = finished(fid=3.0, seed=1)
    other = other.model_copy(update={"architecture": other.architecture.model_copy(update={"settings": {"width": 9}})})
    first, second = only([finished(fid=1.0), other]).rows
    assert first.label != second.label and first.label.startswith("dit:nano (ditbench-dit 0.1.0, eeeeee, ")
    assert first.seeds == {0} and second.seeds == {1}


def test_boards_of_one_title_say_what_tells_them_apart():
    one, other = boards([finished(), finished(reference_sha256="0" * 64)])
    assert one.title != other.title and "against 000000" in one.title + other.title
    assert ", data" not in boards([finished()])[0].title


def test_who_trains_with_a_networks_features_has_a_board_of_their_own():
    plain, helped = seeds("dit:nano", *GOOD), seeds("repa:nano", *GOOD)
    about = helped[0].architecture.model_copy(update={"trained_with": ("dinov2-vit-l-14",)})
    apart = boards([*plain, *(record.model_copy(update={"architecture": about}) for record in helped)])
    assert [[row.label for row in board.rows] for board in apart] == [["dit:nano"], ["repa:nano"]]
    assert "matched, trained with dinov2-vit-l-14" in apart[1].title and "matched" not in apart[0].title
    assert [outside(board)[:59] for board in apart] == [
        "",
        "Trained with features of outside networks (dinov2-vit-l-14)",
    ]


def test_the_work_of_outside_networks_is_a_column_where_there_is_some():
    about = finished().architecture.model_copy(update={"trained_with": ("dinov2-vit-l-14",)})
    cost = finished().cost.model_copy(update={"outside_macs_per_image": 5_000_000})
    helped = only([record.model_copy(update={"architecture": about, "cost": cost}) for record in seeds("a:b", *GOOD)])
    (column,) = [column for column in columns(helped) if column.header == "of them outside (M)"]
    assert column.text(helped.rows[0]) == "5.000"
    assert "of them outside (M)" not in [column.header for column in columns(only(seeds("a:b", *GOOD)))]
    for text in (markdown([helped]), latex([helped]), csv([helped])):
        assert text.count("trained with dinov2-vit-l-14") >= 1 and "of them outside (M)" in text
    assert json.loads(json_text([helped]))["boards"][0]["rows"][0]["cost"]["outside_macs_per_image"]["mean"] == 5e6


def test_two_classes_of_hardware_are_two_rows_of_one_board():
    board = only([*seeds("a:b", *GOOD), *seeds("a:b", *SAME, environment=OTHER_MACHINE)])
    assert [(row.label, row.hardware, row.rank) for row in board.rows] == [
        ("a:b", "A processor, 2 threads", 1), ("a:b", "Another processor, 2 threads", 1),
    ]  # fmt: skip
    assert board.hardware == ["A processor, 2 threads", "Another processor, 2 threads"]


def test_a_failed_run_that_does_not_say_where_it_was_still_counts():
    assert unfinished().environment is None
    rows = only([*seeds("a:b", *GOOD), *seeds("a:b", *SAME, environment=OTHER_MACHINE), unfinished("a:b", seed=3)]).rows
    assert [len(row.missed) for row in rows] == [0, 1] and len(rows) == 2


def test_a_time_budget_compares_on_one_class_of_hardware_alone():
    for budget, count in (("90s", 2), ("2gpu-hours", 2), ("64k-images", 1)):
        found = boards([finished(budget=budget), finished("a:b", budget=budget, environment=OTHER_MACHINE)])
        assert len(found) == count


@pytest.mark.parametrize(
    "other",
    [
        finished("uvit:nano", budget="32k-images"),
        finished("uvit:nano", track=TRACK.model_copy(update={"version": TRACK.version + 1})),
        finished("uvit:nano", environment=GPU, device="cuda"),
        finished("uvit:nano", ruleset="native"),
        finished("uvit:nano", data_sha256="0" * 64),
        finished("uvit:nano", reference_sha256="0" * 64),
        finished("uvit:nano", deviations=["12 training images, not 1541"]),
        finished("uvit:nano", metrics=[measurement("fid", 1.0).model_copy(update={"protocol": "fid1k/other"})]),
    ],
)
def test_what_does_not_compare_never_shares_a_board(other):
    found = boards([finished(), other])
    assert len(found) == 2 and len({board.slug for board in found}) == 2


def test_runs_without_metrics_stand_with_those_that_have_them():
    board = only([unfinished(), finished(), unfinished("a:b")])
    assert len(board.rows) == 3 and board.rows[0].label == "dit:nano"
    assert only([unfinished()]).rows[0].label == "uvit:nano"


def test_a_board_of_deviating_runs_has_no_ranks():
    board = only([*seeds("a:b", *GOOD, deviations=["x"]), *seeds("c:d", *BAD, deviations=["x"])])
    assert not board.ranked and "unranked" in board.title and [row.rank for row in board.rows] == [None, None]


def test_slugs_are_plain_names_whatever_a_record_says():
    for text in ("../../etc/passwd", "<script>", "a/b\\c:d*?", "日本", "x" * 500, "CON\0 \n"):
        (board,) = boards([finished(budget="90s", environment=ENVIRONMENT.model_copy(update={"gpu": text}))])
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", board.slug) and len(board.slug) <= 100
    assert only([finished()]).slug == "digits-v3-matched-64k-images-cpu"


def test_no_two_boards_have_one_slug_and_a_ranked_one_has_the_plain_one():
    unranked = [finished(deviations=[why], data_sha256="0" * 64) for why in ("1", "2", "3")]
    found = boards([*unranked, finished(), finished(data_sha256="e" * 64)])
    assert len({board.slug for board in found}) == 5
    (plain,) = [board for board in found if board.slug == "digits-v3-matched-64k-images-cpu"]
    assert plain.ranked and plain.protocol.data == "d" * 64


def test_a_slug_can_not_be_taken_from_another_board():
    def on(gpu):
        return finished(budget="90s", environment=ENVIRONMENT.model_copy(update={"gpu": gpu}))

    first, second = (board.slug for board in boards([on("a"), on("A")]))
    assert {first, second} > {"digits-v3-matched-90s-a"}
    longest = max(first, second, key=len)
    hostile = on(f"a {longest.rpartition('-')[2]}")
    assert len({board.slug for board in boards([on("a"), on("A"), hostile])}) == 3


def test_the_target_is_the_newest_tracks_and_starts_no_new_board():
    old = finished(track=TRACK.model_copy(update={"target": None}))
    new = finished("a:b", track=TRACK.model_copy(update={"target": 2.5}), created=old.created.replace(year=2027))
    assert only([new, old]).target == 2.5 and only([old]).target is None


def test_a_row_has_the_least_of_its_runs_tiers():
    runs = list(map(sealed, seeds("a:b", *GOOD)))
    found = [checked(run) for run in runs]
    row = boards(runs, found)[0].rows[0]
    assert row.tier == "re-evaluated" and not row.doubts and len(row.verifications) == len(runs)
    assert boards(runs, found[1:])[0].rows[0].tier == "self-reported"
    doubt = checked(runs[0], by="Bob", fid=9.0)
    row = boards(runs, [doubt, *found[1:]])[0].rows[0]
    assert row.tier == "self-reported" and row.doubts == [doubt]
    changed = sealed(runs[0].model_copy(update={"reason": "edited"}))  # after it was checked
    assert boards([changed, *runs[1:]], found)[0].rows[0].tier == "self-reported"


def test_sample_noise_is_the_mean_of_the_runs_and_missing_if_a_run_lacks_it():
    def known(run, error):
        raw = {"terms": [run.metrics[0].value, 0.0], "jackknife": [0.0, 2 * error]}
        first = run.metrics[0].model_copy(update={"raw": raw})
        return run.model_copy(update={"metrics": [first, *run.metrics[1:]]})

    one, two = seeds("a:b", 1.0, 2.0)
    assert only([known(one, 0.2), known(two, 0.4)]).rows[0].sample_noise == {"fid1k/digits-cnn": pytest.approx(0.3)}
    assert only([known(one, 0.2), two]).rows[0].sample_noise == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_record_has_a_number_that_is_none(value):
    content = measurement("fid", 1.0).model_dump()
    with pytest.raises(pydantic.ValidationError, match="finite"):
        Measurement.model_validate({**content, "value": value})
    with pytest.raises(pydantic.ValidationError, match="finite"):
        Record.model_validate({**finished().model_dump(), "metrics": [{**content, "value": value}]})


def test_a_command_shows_the_boards_it_ran_on():
    mine, other, elsewhere = (
        finished("mine:nano", 1.0),
        finished("dit:nano", 2.0),
        finished("dit:nano", budget="1k-images"),
    )
    assert on_the_boards_of([mine], [elsewhere, other, mine]) == [mine, other]


def test_a_row_says_how_long_it_was_paused():
    def paused(run, times):
        facts = run.training.model_copy(update={"pauses": times, "paused_seconds": 1000.6 * times})
        return run.model_copy(update={"training": facts})

    runs = seeds("a:b", 1.0, 1.1, 1.2)
    told = [only([paused(runs[0], 1), *runs[1:]]), only([paused(run, 2) for run in runs])]
    words = ["paused 1,001 s in 1 pause", "paused 6,004 s in 6 pauses"]
    assert [table(board)["status"].item() for board in told] == words
    apart = finished(deviations=["synthetic noise in place of data"])
    assert table(only([paused(apart, 1)]))["status"].item() == words[0]


def test_a_row_says_how_often_a_damaged_checkpoint_set_it_back():
    runs = seeds("a:b", 1.0, 1.1, 1.2)
    back = runs[0].model_copy(update={"training": runs[0].training.model_copy(update={"damaged_checkpoints": 1})})
    assert table(only([back, *runs[1:]]))["status"].item() == "1 damaged checkpoint left out"


def test_runs_whose_budgets_of_flops_were_counted_by_two_rules_share_no_board():
    first, second = (finished(budget="1e12-flops", flops_rule=rule) for rule in (1, 2))
    assert {board.protocol.budget for board in boards([first, second])} == {"1e12-flops by rule 1", "1e12-flops"}
    assert len(boards([finished(flops_rule=rule, seed=rule) for rule in (1, 2)])) == 1, "of steps, they do"


def test_a_value_that_can_not_be_is_told_in_words():
    def drawn_on(run):
        (first, *others) = run.metrics
        return run.model_copy(
            update={"metrics": [first.model_copy(update={"settings": {"below_zero": "noise"}}), *others]}
        )

    board = only([drawn_on(run) for run in (*seeds("a:b", 1.0, -1.0), *seeds("c:d", 1.0))])
    (line,) = of_values(board)
    assert line == "a:b: fid1k/digits-cnn is below 0 by noise; read it as about 0." and line in markdown([board])
