"""Tables are views of records: right numbers, honest rows, nothing smuggled in, and reproducible."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from records import ENVIRONMENT, TRACK, finished, measurement, raw_weights, unfinished

from ditbench.leaderboard.boards import boards, on_the_boards_of
from ditbench.leaderboard.tables import csv, curves, floor, markdown, table, unranked
from ditbench.record import Milestone, Record, read_records

COMMITTED = Path(__file__).parent.parent / "leaderboard"


def only(records):
    (board,) = boards(records)
    return board


def test_rows_are_ranked_by_the_first_metric_and_failures_come_last():
    board = only([finished("dit:nano", 2.0), unfinished("mdt:nano"), finished("uvit:nano", 1.0)])
    assert [row.label for row in board.rows] == ["uvit:nano", "dit:nano", "mdt:nano"]
    frame = table(board)
    assert frame["rank"].tolist() == ["1", "2", ""]
    assert frame["status"].tolist() == ["finished", "finished", "diverged: the loss became nan at step 3"]


def test_numbers_come_from_raw_times_and_carry_full_names():
    row = table(only([finished(fid=1.23456)])).iloc[0]
    assert row["fid1k/digits-cnn ↓"] == "1.235" and row["is1k/digits-cnn ↑"] == "5.000"
    assert row["train img/s"] == "500.0"  # 100 images at the median step of 0.2 s, not at the mean
    assert row["sample img/s"] == "250.0"  # the median of 250, 500 and 250 images/s
    assert row["params (M)"] == "1.500"  # without what only training uses
    assert row["MACs (M)"] == "7.560" and row["train MACs (M)"] == "22.00" and row["peak MiB"] == "1,024"


def test_the_floor_is_a_line_of_its_own_under_its_own_protocol():
    board = only([finished()])
    assert "fid898/digits-cnn 0.1000" in floor(board) and floor(board) in markdown([finished()])
    assert table(board)["architecture"].tolist() == ["dit:nano"]


def test_the_same_metric_of_two_extractors_are_two_columns():
    evaluation = TRACK.evaluation.model_copy(update={"metrics": ("fid", "fid/other")})
    track = TRACK.model_copy(update={"evaluation": evaluation})
    other = measurement("fid", 7.0).model_copy(update={"protocol": "fid1k/other"})
    changed = {"track": track, "track_hash": track.hash, "metrics": [measurement("fid", 2.0), other]}
    row = table(only([Record.model_validate({**finished().model_dump(), **changed})])).iloc[0]
    assert row["fid1k/digits-cnn ↓"] == "2.000" and row["fid1k/other ↓"] == "7.000"


def test_raw_weights_have_a_column_of_their_own_when_every_seed_has_them():
    plain = finished(seed=1)
    full = finished(raw=raw_weights(9.0))
    assert table(only([full])).iloc[0]["raw weights' fid1k/digits-cnn ↓"] == "9.000"
    assert not [name for name in table(only([full, plain])).columns if "raw" in name]
    assert "raw fid1k/digits-cnn" in csv([full]).splitlines()[0]


def test_two_versions_of_a_plugin_are_two_rows_not_two_seeds():
    newer = finished(fid=3.0)
    newer = newer.model_copy(update={"architecture": newer.architecture.model_copy(update={"source_sha256": "9" * 64})})
    rows = table(only([finished(fid=1.0), newer]))
    assert rows["architecture"].tolist() == [
        "dit:nano (ditbench-dit 0.1.0, eeeeee)", "dit:nano (ditbench-dit 0.1.0, 999999)",
    ]  # fmt: skip
    assert rows["seeds"].tolist() == ["1", "1"]


def test_a_command_shows_the_boards_it_ran_on():
    mine, other, elsewhere = finished("mine:nano"), finished("dit:nano"), finished("dit:nano", budget="1k-images")
    assert on_the_boards_of([mine], [mine, other, elsewhere]) == [mine, other]


def test_seeds_give_mean_and_spread_and_every_seed_counts():
    board = only([finished(fid=1.0, seed=0), finished(fid=3.0, seed=1), unfinished("dit:nano", seed=2)])
    row = table(board).iloc[0]
    assert row["fid1k/digits-cnn ↓"] == "2.000 ± 1.414" and row["seeds"] == "2"
    assert row["status"] == "diverged (1 of 3): the loss became nan at step 3"


@pytest.mark.parametrize(
    "other",
    [
        finished("uvit:nano", budget="32k-images"),
        finished("uvit:nano", track=TRACK.model_copy(update={"version": TRACK.version + 1})),
        finished("uvit:nano", environment=ENVIRONMENT.model_copy(update={"gpu": "A GPU"}), device="cuda"),
        finished("uvit:nano", ruleset="native"),
        finished("uvit:nano", data_sha256="0" * 64),
        finished("uvit:nano", reference_sha256="0" * 64),
        finished("uvit:nano", deviations=["12 training images, not 1541"]),
    ],
)
def test_what_does_not_compare_never_shares_a_table(other):
    assert len(boards([finished(), other])) == 2


def test_runs_that_are_not_what_their_track_says_have_no_rank_and_say_why():
    record = finished(deviations=["12 training images, not 1541", "<b>"])
    board = only([record])
    assert table(board)["rank"].tolist() == [""] and "unranked" in board.title
    page = markdown([record])
    assert "12 training images, not 1541; &lt;b&gt;" in page and unranked(board) and not unranked(only([finished()]))
    noise = finished(metrics=[], floors=[], left_out=["no quality"], deviations=["synthetic noise in place of data"])
    row = table(only([noise])).iloc[0]
    assert "fid1k/digits-cnn ↓" not in row and row["train img/s"] == "500.0" and row["status"] == "finished"


def test_names_can_not_break_the_page():
    nasty = "<script>alert(1)</script> | `x` & [y](javascript:z)\n# heading"
    page = markdown([unfinished(reason=nasty)])
    assert "<script>" not in page and "\n# heading" not in page and "](" not in page.replace("\\]", "")
    header, row = (next(line for line in page.splitlines() if word in line) for word in ("architecture", "alert"))
    assert row.replace("\\|", "").count("|") == header.count("|")


def test_the_data_file_is_unrounded():
    frame = pd.read_csv(pd.io.common.StringIO(csv([finished(fid=1.23456789), unfinished()])))
    assert frame["fid1k/digits-cnn"].tolist()[0] == 1.23456789
    assert frame["status"].tolist() == ["finished", "diverged"]


def test_milestones_are_rows_of_the_curve_with_what_was_spent():
    way = Milestone(at=0.5, steps=1, images=100, seconds=0.1, flops=4.5e9, metrics=[measurement("fid", 9.0)])
    frame = pd.read_csv(pd.io.common.StringIO(curves([finished(fid=2.0, milestones=[way]), finished("uvit:nano")])))
    fids = frame[frame["protocol"] == "fid1k/digits-cnn"]
    assert fids[["at", "images", "value"]].values.tolist() == [[0.5, 100, 9.0], [1.0, 300, 2.0]]
    assert set(frame["architecture"]) == {"dit:nano"} and curves([finished()]) == ""


def test_a_time_budget_compares_on_one_processor_alone():
    other = ENVIRONMENT.model_copy(update={"threads": 64})
    for budget, count in (("90s", 2), ("64k-images", 1)):
        assert len(boards([finished(budget=budget), finished("a:b", budget=budget, environment=other)])) == count


def test_no_records_make_an_empty_page():
    assert "No records yet." in markdown([]) and csv([]).strip() in ("", '""')


def test_the_committed_leaderboard_is_what_its_records_say():
    records = read_records(COMMITTED / "records")
    assert (COMMITTED / "README.md").read_text(encoding="utf-8") == markdown(records)
    assert (COMMITTED / "leaderboard.csv").read_text(encoding="utf-8") == csv(records)


def test_the_committed_digits_run_meets_the_quality_bar():
    records = {record.architecture.name: record for record in read_records(COMMITTED / "records" / "digits")}
    assert records.keys() >= {"dit", "uvit", "mdt", "diffit"}
    for record in records.values():
        (accuracy,) = [m.value for m in record.metrics if m.protocol == "knn1k/raw-pixels"]
        assert record.status == "finished" and accuracy >= 0.85, record.architecture.label


def test_building_it_imports_no_torch(tmp_path):
    code = (
        "import sys; from ditbench.cli import app\n"
        f"app(['leaderboard', 'build', {str(COMMITTED / 'records')!r}, '--out', {str(tmp_path)!r}], "
        "standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "README.md").read_bytes() == (COMMITTED / "README.md").read_bytes()
