"""Tables are views of records: right numbers, honest rows, nothing smuggled in."""

import io
import json

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from records import ENVIRONMENT, TRACK, finished, measurement, raw_weights, unfinished
from rich.console import Console
from verifications import checked, sealed

from ditbench.cli.display import print_boards
from ditbench.errors import in_markdown
from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.export import csv, curves, json_text
from ditbench.leaderboard.intervals import Estimate
from ditbench.leaderboard.learning_curves import course, reached, row_course
from ditbench.leaderboard.markdown import markdown
from ditbench.leaderboard.notes import beside_others, floor, noise, provisional, ties, unranked
from ditbench.leaderboard.tables import interval, number, span, table, target
from ditbench.records.facts import Milestone, PeakMemory
from ditbench.records.record import Record

FID = "fid1k/digits-cnn"
NASTY = "<script>alert(1)</script> | `x` & [y](javascript:z) *b* https://evil.example www.evil.example\n# heading"
OTHER_MACHINE = ENVIRONMENT.model_copy(update={"cpu": "Another processor"})
GOOD, SAME, BAD = (1.0, 1.1, 1.2), (1.1, 1.0, 1.3), (3.0, 3.2, 3.1)


def only(records):
    (board,) = boards(records)
    return board


def seeds(label, *fids, **changes):
    return [finished(label, fid, seed, **changes) for seed, fid in enumerate(fids)]


def part(record, name, **changes):
    return record.model_copy(update={name: getattr(record, name).model_copy(update=changes)})


def read(text):
    return pd.read_csv(io.StringIO(text))


def on_the_way(record, *fids):
    """With milestones at equal shares of the budget, of 100 images and 1 s each, and a target of 2."""
    way = [
        Milestone(
            at=place / (len(fids) + 1), steps=place, images=100 * place, seconds=float(place), flops=1.0 * place,
            metrics=[measurement("fid", fid)],
        )
        for place, fid in enumerate(fids, start=1)
    ]  # fmt: skip
    track = TRACK.model_copy(update={"target": 2.0})
    return counting(record.model_copy(update={"milestones": way, "track": track}), 1e10)


def counting(record, flops):
    """The record, of a network that takes so many FLOPs for a training image."""
    return part(record, "cost", training_macs_per_image=round(flops / 2))


def test_rows_stand_by_rank_and_what_did_not_finish_says_why():
    records = [*seeds("dit:nano", *BAD), *seeds("uvit:nano", *GOOD), unfinished("mdt:nano"), *seeds("a:b", 0.1, 0.2)]
    frame = table(only([*records, unfinished("a:b", seed=2)]))
    assert frame["architecture"].tolist() == ["uvit:nano", "dit:nano", "a:b", "mdt:nano"]
    assert frame["rank"].tolist() == ["1", "2", "3", ""] and frame["seeds"].tolist() == ["3", "3", "2 of 3", "0 of 1"]
    assert frame["status"].tolist() == [
        "finished", "finished", "1 of 3 diverged: the loss became nan at step 3",
        "1 of 1 diverged: the loss became nan at step 3; provisional: 1 of 3 seeds",
    ]  # fmt: skip


def test_times_measured_beside_other_runs_share_no_column_and_no_mean_with_others():
    """Quality does: a row's seeds are runs of it, wherever and beside whom they were trained."""
    beside = ENVIRONMENT.model_copy(update={"parallel": 2})
    first, *others = seeds("dit:nano", *GOOD)
    mixed = [
        part(first, "training", seconds=9.0, images_per_second=900.0),
        *(one.model_copy(update={"environment": beside}) for one in others),
    ]
    board = only([*mixed, *seeds("uvit:nano", *BAD, environment=beside), *seeds("mdt:nano", *SAME)])
    frame = table(board).set_index("architecture")
    assert [head for head in frame if "train s" in head] == ["train s", "train s (beside others)"]
    assert list(frame["train s"][["dit:nano", "uvit:nano", "mdt:nano"]]) == ["9.000", "", "10.30"]
    assert list(frame["train s (beside others)"][["dit:nano", "uvit:nano", "mdt:nano"]]) == ["10.30", "10.30", ""]
    assert frame["rank"].str.contains("1").sum() == 2 and "peak MiB (beside others)" not in frame
    assert beside_others(board).startswith("Beside others: ") and beside_others(board) in markdown([board])
    rows = {row["architecture"]: row for row in json.loads(json_text([board]))["boards"][0]["rows"]}
    assert rows["dit:nano"]["cost"]["training_images_per_second_in_run"]["mean"] == 900.0
    assert [rows[f"{name}:nano"]["beside_others"] for name in ("dit", "uvit", "mdt")] == [False, True, False]
    assert beside_others(only(seeds("dit:nano", *GOOD))) == ""


def test_what_a_budget_of_time_buys_beside_others_is_another_board():
    alone = finished(budget="60s")
    beside = finished(budget="60s", seed=1, environment=ENVIRONMENT.model_copy(update={"parallel": 2}))
    assert [board.protocol.device for board in boards([beside, alone])] == [
        "A processor, 2 threads", "A processor, 2 threads, beside others",
    ]  # fmt: skip


def test_numbers_come_from_raw_times_and_carry_full_names():
    board = only([finished(fid=1.23456)])
    row, run = table(board).iloc[0], read(csv([board])).iloc[0]
    assert row[f"{FID} ↓"] == "1.235" and row["is1k/digits-cnn ↑"] == "5.000"
    assert row["images"] == "300.0" and row["train s"] == "10.30"
    assert run["train img/s in run"] == 500.0  # 100 images at the median step of 0.2 s, not at the mean
    assert run["sample img/s in run"] == 250.0 and "train img/s" not in row  # the median of 250, 500 and 250 images/s
    assert row["params (M)"] == "1.500"  # without what only training uses
    assert row["MACs (M)"] == "7.560" and row["train MACs (M)"] == "22.00" and row["peak MiB"] == "1,024"
    assert (row["tier"], row["seeds"]) == ("self-reported", "1")


def test_seeds_give_a_mean_with_its_interval_and_what_is_counted_has_none():
    row = table(only(seeds("a:b", 1.0, 2.0, 3.0))).iloc[0]
    assert row[f"{FID} ↓"] == "2.0 ± 2.5" and row["params (M)"] == "1.500"
    slower = part(finished("a:b", 2.0, 1), "training", seconds=12.3)
    assert table(only([finished("a:b", 1.0), slower])).iloc[0]["train s"] == "11.30 (10.30–12.30)"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((1.354,), "1.354"), ((1.0, 1.0, 1.0), "1.000 ± 0"), ((0.0297, 0.0296, 0.0299), "0.02973 ± 0.00038"),
        ((1093.0, 1100.0, 1080.0), "1,091 ± 25"), ((50.0001, 50.0002, 50.0003), "50.00020 ± 0.00025"),
        ((-0.001, -0.002, 0.001), "-0.0007 ± 0.0038"),
    ],
)  # fmt: skip
def test_an_interval_shows_the_digits_that_it_leaves(values, text):
    assert interval(Estimate(values)) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((93.0, 252.0, 144.0), "163.0 (93.0–252.0)"),
        ((7.0,), "7.000"),
        ((2.0, 2.0), "2.000"),
        ((1e4, 10000.1), "10,000"),
    ],
)
def test_a_cost_shows_the_least_and_the_most_and_nothing_below_zero(values, text):
    assert span(Estimate(values)) == text


def test_numbers_have_four_digits_and_no_exponent():
    assert [number(value) for value in (0, 0.00012345, 12345678, 1e-12, -3.14159)] == [
        "0.000", "0.000123", "12,345,678", "0.000000", "-3.142",
    ]  # fmt: skip


def test_what_an_old_record_does_not_know_is_missing_and_not_zero():
    plain = finished()
    blank = plain.model_copy(update={"memory": plain.memory.model_copy(update={"training": PeakMemory()})})
    assert "peak MiB" not in table(only([blank]))


def test_flops_are_by_one_rule_whichever_the_records_were_counted_by():
    old, new = finished("a:b", 1.0), finished("c:d", 2.0, flops_rule=2)
    frame = table(only([part(counting(run, 1e10), "training", flops=7.0) for run in (old, new)]))
    assert frame["TFLOPs"].tolist() == ["3.000", "3.000"]  # of 300 images


@pytest.mark.parametrize(
    ("flops", "seconds", "headers"),
    [
        (9e11, 7200.0, ("TFLOPs", "train s")),
        (3e15, 7201.0, ("PFLOPs", "train h")),
        (7.3e19, 1.0, ("EFLOPs", "train s")),
    ],
)
def test_a_board_has_one_unit_and_its_header_names_it(flops, seconds, headers):
    frame = table(only([part(counting(finished(), flops / 300), "training", seconds=seconds)]))
    assert set(headers) <= set(frame.columns)


def test_two_classes_of_hardware_never_share_a_column_of_time_speed_or_memory():
    here = seeds("a:b", *GOOD)
    there = seeds("a:b", *BAD, environment=OTHER_MACHINE)
    frame = table(only([*here, *there]))
    assert frame["hardware"].tolist() == ["A processor, 2 threads", "Another processor, 2 threads"]
    for header in ("train s", "peak MiB"):
        assert header not in frame
        columns = [frame[f"{header} ({hardware})"].tolist() for hardware in frame["hardware"]]
        assert [[bool(cell) for cell in column] for column in columns] == [[True, False], [False, True]]
    assert all(frame["MACs (M)"]) and all(frame["TFLOPs"]) and "hardware" not in table(only(here))
    text = ties(only([*here, *seeds("a:b", *SAME, environment=OTHER_MACHINE)]))
    assert "a:b on A processor, 2 threads and a:b on Another processor, 2 threads can't be told apart" in text[0]


def test_what_each_of_several_processes_did_is_told_where_there_were_several():
    four = ENVIRONMENT.model_copy(update={"processes": 4})
    alone, together = finished("a:b"), finished("c:d", environment=four)
    both = only([alone, together, unfinished("c:d", seed=1)])
    rows = read(csv([both])).set_index("run_id")
    rates = [f"{name} img/s per device in run" for name in ("train", "sample")]
    assert rows.columns[-2:].tolist() == rates and rows.loc[together.run_id, rates].tolist() == [125.0, 62.5]
    assert rows[rates[0]].isna().sum() == 2
    costs = [row["cost"] for row in json.loads(json_text([both]))["boards"][0]["rows"]]
    keys = [f"{stage}_images_per_second_per_device_in_run" for stage in ("training", "sampling")]
    assert sorted(cost[keys[0]]["mean"] for cost in costs if keys[0] in cost) == [125.0]
    assert sum(key in cost for cost in costs for key in keys) == 2
    for text in (csv([only([alone])]), json_text([only([alone])]), markdown([only([alone])])):
        assert "per device" not in text and "per_device" not in text


def test_the_same_metric_of_two_extractors_are_two_columns():
    evaluation = TRACK.evaluation.model_copy(update={"metrics": ("fid", "fid/other")})
    track = TRACK.model_copy(update={"evaluation": evaluation})
    other = measurement("fid", 7.0).model_copy(update={"protocol": "fid1k/other"})
    changed = {"track": track, "track_hash": track.hash, "metrics": [measurement("fid", 2.0), other]}
    row = table(only([Record.model_validate({**finished().model_dump(), **changed})])).iloc[0]
    assert row[f"{FID} ↓"] == "2.000" and row["fid1k/other ↓"] == "7.000"


def test_raw_weights_have_a_column_of_their_own_when_every_seed_has_them():
    plain = finished(seed=1)
    full = finished(raw=raw_weights(9.0))
    assert table(only([full])).iloc[0][f"raw weights' {FID} ↓"] == "9.000"
    assert not [name for name in table(only([full, plain])).columns if "raw" in name]
    assert f"raw {FID}" in csv(boards([full])).splitlines()[0]


def test_the_floor_is_a_line_of_its_own_under_its_own_protocol():
    board = only([finished()])
    assert "fid898/digits-cnn 0.1000" in floor(board) and floor(board) in markdown([board])
    assert table(board)["architecture"].tolist() == ["dit:nano"]


def test_ties_are_told_in_words_with_their_p():
    board = only([*seeds("a:b", *GOOD), *seeds("c:d", *SAME), *seeds("e:f", *BAD)])
    assert ties(board) == [
        "Rank 1 is shared: a:b and c:d can't be told apart (p = 0.67).",
        "On this board a difference needs p ≤ 0.05.",
    ]
    assert ties(board)[0] in markdown([board]) and ties(only([*seeds("a:b", *GOOD), *seeds("e:f", *BAD)])) == []
    many = only([run for place in range(5) for run in seeds(f"m{place}:x", 1.0, 1.1, 1.2 + place / 10)])
    assert len(many.pairs) == 10 and "and 4 more pairs" in ties(many)[0]


def test_what_is_provisional_is_told_once():
    assert provisional(only([finished("a:b"), finished("c:d")])) == ("One seed each: provisional; ranks need 3.")
    mixed = only([*seeds("a:b", *GOOD), *seeds("c:d", 1, 2), *seeds("e:f", 2, 3), finished("g:h", 9.0)])
    assert provisional(mixed) == "Provisional, without rank: c:d, e:f (2 of 3 seeds); g:h (1 of 3 seeds)."
    assert provisional(only(seeds("a:b", *GOOD))) == provisional(only([finished(deviations=["x"])])) == ""


def test_both_noises_are_kept():
    def known(run):
        raw = {"terms": [run.metrics[0].value, 0.0], "jackknife": [0.0, 0.5]}  # whose standard error is 0.25
        metrics = [run.metrics[0].model_copy(update={"raw": raw}), *run.metrics[1:]]
        return run.model_copy(update={"metrics": metrics})

    board = only([*(known(run) for run in seeds("a:b", 1.0, 2.0, 3.0)), finished("c:d")])
    words = "standard deviation over seeds / part of it from the samples of one run"
    assert noise(board) == f"Noise of {FID} ({words}): a:b 1.000 / 0.2500." and noise(board) in markdown([board])
    frame = read(csv([board]))[["noise over seeds", "part of the samples in it"]]
    assert frame.values.tolist()[:3] == [[1.0, 0.25]] * 3
    told = json.loads(json_text([board]))["boards"][0]["rows"][0]["quality"][FID]
    assert (told["sd"], told["sample_noise"]) == (1.0, 0.25) and noise(only([finished()])) == ""


def test_runs_that_are_not_what_their_track_says_have_no_rank_and_say_why():
    board = only([finished(deviations=["12 training images, not 1541", "<b>"])])
    assert table(board)["rank"].tolist() == [""] and table(board)["status"].tolist() == ["finished"]
    page = markdown([board])
    assert "12 training images, not 1541; &lt;b&gt;" in page and unranked(board) and not unranked(only([finished()]))
    noise = finished(metrics=[], floors=[], left_out=["no quality"], deviations=["synthetic noise in place of data"])
    row = table(only([noise])).iloc[0]
    assert f"{FID} ↓" not in row and row["train s"] == "10.30" and row["status"] == "finished"


@pytest.mark.parametrize("text", ["# a", "######", "- a", "+ a", "1. a", "12) a", "---", "===", "> a", "    a", "<!--"])
def test_text_begins_no_block_of_a_page(text):
    (opened, inline, _) = MarkdownIt("commonmark").parse(f"before\n\n{in_markdown(text)}\n")[3:]
    assert opened.type == "paragraph_open"
    assert "".join(child.content for child in inline.children if child.type == "text") == text.strip()


@pytest.mark.parametrize("text", ["-0.5", "1.5", "#1", "+a", "a # b", "2026-01-01"])
def test_text_that_begins_no_block_stays(text):
    assert in_markdown(text) == text


def test_names_can_not_break_the_page():
    page = markdown(boards([unfinished(reason=NASTY)]))
    assert "<script>" not in page and "\n# heading" not in page and "](" not in page.replace("\\]", "")
    assert "*b*" not in page.replace("\\*", "") and "://" not in page and "www.evil" not in page
    header, row = (next(line for line in page.splitlines() if word in line) for word in ("architecture", "alert"))
    assert row.replace("\\|", "").count("|") == header.count("|")


def test_milestones_and_the_end_are_the_course_of_a_run():
    record = on_the_way(finished(fid=1.0), 9.0, 3.0)
    assert [(point.at, point.images, point.flops) for point in course(record)] == [
        (pytest.approx(1 / 3), 100, 1e12), (pytest.approx(2 / 3), 200, 2e12), (1.0, 300, 3e12),
    ]  # fmt: skip
    assert [point.quality[FID] for point in course(record)] == [9.0, 3.0, 1.0]
    assert course(finished()) == course(unfinished()) == []
    frame = read(curves(boards([record, finished("uvit:nano")])))
    fids = frame[frame["protocol"] == FID]
    assert fids[["images", "value"]].values.tolist() == [[100, 9.0], [200, 3.0], [300, 1.0]]
    assert set(frame["architecture"]) == {"dit:nano"} and curves(boards([finished()])) == ""


def test_a_rows_curve_is_over_seeds_where_all_have_it():
    one, two = on_the_way(finished(fid=1.0), 9.0), on_the_way(finished(fid=2.0, seed=1), 5.0)
    half, end = row_course(only([one, two]).rows[0], FID)
    assert (half.at, half.quality.mean, half.quality.values, half.images.mean) == (0.5, 7.0, (9.0, 5.0), 100.0)
    assert (end.at, end.quality.mean, end.flops.mean) == (1.0, 1.5, 3e12)
    other_shares = on_the_way(finished(fid=2.0, seed=1), 5.0, 4.0)
    assert [point.at for point in row_course(only([one, other_shares]).rows[0], FID)] == [1.0]
    assert row_course(only([one, finished(seed=1)]).rows[0], FID) == []


def test_the_target_is_reached_at_the_first_measurement_beyond_it():
    board = only([on_the_way(finished("a:b", 1.0, 0), 9.0, 1.9), on_the_way(finished("a:b", 1.0, 1), 2.0, 3.0)])
    got = reached(board.rows[0], board)
    assert got.images.values == (200.0, 100.0) and got.seconds.mean == 1.5 and got.flops.mean == 1.5e12
    row = table(board).iloc[0]
    assert (
        target(board) == "fid1k ≤ 2"
        and row["s to fid1k ≤ 2"] == "1.500 (1.000–2.000)"
        and row["TFLOPs to fid1k ≤ 2"] == "1.500 (1.000–2.000)"
    )


def test_a_target_that_some_runs_did_not_reach_has_no_mean():
    late = [on_the_way(finished("a:b", 2.5, 1), 9.0), on_the_way(finished("a:b", 1.0, 0), 1.5)]
    board = only(late)
    assert reached(board.rows[0], board).seconds is None
    assert table(board).iloc[0]["s to fid1k ≤ 2"] == "1 of 2 runs"
    assert table(only([*late, unfinished("a:b", seed=2)])).iloc[0]["s to fid1k ≤ 2"] == "1 of 3 runs"
    told = json.loads(json_text([board]))["boards"][0]["rows"][0]["to_target"]
    assert told == {"reached": 1, "of": 2, "images": None, "seconds": None, "flops": None}


def test_a_target_counts_up_where_higher_is_better():
    def accurate(run, *values):
        metrics = [[measurement("knn", value, higher=True)] for value in values]
        way = [stone.model_copy(update={"metrics": of}) for stone, of in zip(run.milestones, metrics, strict=False)]
        return run.model_copy(update={"milestones": way, "metrics": metrics[-1]})

    board = only([accurate(on_the_way(finished(), 0, 0), 1.0, 2.5, 3.0)])
    assert target(board) == "knn1k ≥ 2" and reached(board.rows[0], board).images.mean == 200


def test_without_milestones_or_target_the_time_to_it_is_not_known():
    tracked = finished(track=TRACK.model_copy(update={"target": 2.0}))
    assert not [name for name in table(only([tracked])).columns if " to " in name]
    untargeted = on_the_way(finished(), 1.0).model_copy(update={"track": TRACK.model_copy(update={"target": None})})
    assert not [name for name in table(only([untargeted])).columns if " to " in name]
    board = only([on_the_way(finished(fid=1.0), 1.0), tracked.model_copy(update={"seed": 1})])
    assert reached(board.rows[0], board) is None


def test_the_data_file_is_unrounded_and_has_a_row_per_run():
    good = sealed(finished(fid=1.23456789))
    frame = read(csv(boards([good, unfinished()], [checked(good)])))
    assert frame[FID].tolist()[0] == 1.23456789 and frame["status"].tolist() == ["finished", "diverged"]
    assert frame["tier"].tolist() == ["re-evaluated", "self-reported"]
    assert frame["hardware"].tolist() == ["A processor, 2 threads", "cpu"]
    assert frame["peak MiB"].tolist()[0] == 1024 and pd.isna(frame["train s"][1])
    assert csv([]).startswith("track,track_version") and len(csv([]).splitlines()) == 1


@pytest.mark.parametrize(
    ("reason", "cell"),
    [("lost;=1+1", "lost;'=1+1"), ("lost; @A1;x", "lost; '@A1;x"), (';"=1', ";\"'=1"), ("a;b = c - d", "a;b = c - d")],
)
def test_text_is_no_formula_where_a_semicolon_ends_a_cell(reason, cell):
    assert read(csv(boards([unfinished(reason=reason)])))["reason"][0] == cell


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r\n-", "\0="])
def test_text_is_no_formula_in_a_spreadsheet_and_numbers_stay_numbers(start):
    negative = finished(metrics=[measurement("fid", -0.5)])
    bad = unfinished(reason=f"{start}cmd|' /C calc'!A0, \"x\"")
    frame = read(csv(boards([negative, bad])))
    assert frame["reason"][1].startswith(f"'{start[-1]}cmd") and frame[FID][0] == -0.5 and len(frame) == 2


def test_json_has_rows_and_pairs_in_plain_units():
    board = only([*seeds("a:b", *GOOD), *seeds("c:d", *BAD), unfinished("e:f")])
    text = json_text([board])
    content = json.loads(text)
    assert text == json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    assert content["schema_version"] == 3 and content["reported"] == []
    (told,) = content["boards"]
    first, _, third = told["rows"]
    assert (first["architecture"], first["rank"], first["tied"], first["provisional"]) == ("a:b", 1, False, "")
    quality = first["quality"][FID]
    half = Estimate(GOOD).half_width
    assert quality["values"] == {"0": 1.0, "1": 1.1, "2": 1.2} and quality["mean"] == pytest.approx(1.1)
    assert (quality["low"], quality["high"]) == (pytest.approx(1.1 - half), pytest.approx(1.1 + half))
    assert first["cost"]["parameters"]["mean"] == 1_500_000 and first["cost"]["peak_memory_bytes"] == {
        "mean": 2**30, "least": 2**30, "most": 2**30,
    }  # fmt: skip
    assert (
        first["run_ids"] == [f"a-b-seed{seed}-0123abcd" for seed in range(3)]
        and first["cost"]["training_flops"]["mean"] == 300 * 2 * 22_000_000
    )
    assert third["quality"] == {} and third["provisional"] == "1 of 3 seeds" and third["rank"] is None
    (pair,) = told["pairs"]
    assert (pair["one"], pair["other"], pair["seeds"], pair["told_apart"]) == (0, 1, [0, 1, 2], True)
    assert pair["difference"] == pytest.approx(-2.0) and 0 < pair["p"] < 0.05
    assert told["protocol"]["track"] == "digits" and told["metrics"][FID] == {"higher_is_better": False}


def shown(records, width):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    print_boards(console, records)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_whole_numbers_at_any_width(width):
    way = [*seeds("diffit:nano", *GOOD), *seeds("uvit:nano", *BAD)]
    for records in (way, [way[0], way[3]], [*way, *seeds("mdt:nano", *SAME, environment=OTHER_MACHINE)]):
        text = shown(records, width)
        table_lines = text.partition("Real images")[0].splitlines()
        assert max(map(len, table_lines)) <= width
        for word in ("diffit:nano", "uvit:nano", "MiB" if width == 120 and len(records) < 9 else "fid1k/"):
            assert word in text
        assert ("± 0.25" in text) == (len(records) > 2)


def test_the_terminal_tells_once_what_holds_for_all_rows():
    text = shown([finished("a:b"), finished("c:d"), unfinished("e:f")], 120)
    assert text.count("provisional") == 1 and "e:f: 1 of 1 diverged: the loss became nan at step 3" in text
    tied = shown([*seeds("a:b", *GOOD), *seeds("c:d", *SAME)], 120)
    assert "can't be told apart" in tied and "provisional" not in tied


def test_names_are_no_markup_in_a_terminal():
    text = shown([part(finished(), "architecture", label="[red]x[/red]"), unfinished(reason="[bold]\x1b[31m")], 120)
    assert "[red]x[/red]" in text and "[bold]" in text and "\x1b" not in text
