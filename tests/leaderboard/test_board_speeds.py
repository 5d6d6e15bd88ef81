"""A board's images per second are those of profiles, measured alone: of the same network, track, batch and hardware."""

import io
import json

import pandas as pd
import pytest
from records import ENVIRONMENT, finished, sound, unfinished
from timed import timed

from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.export import csv, json_text
from ditbench.leaderboard.latex import latex
from ditbench.leaderboard.markdown import markdown
from ditbench.leaderboard.speeds import speeds, with_profiles
from ditbench.leaderboard.tables import table
from ditbench.records.profile import folder_name, write_profile
from ditbench.records.record import write_record
from ditbench.tracks.recipe import ObjectiveChoice

DIT, UVIT = (
    [finished(label, fid, seed) for seed in range(3)] for label, fid in (("dit:nano", 1.0), ("uvit:nano", 2.0))
)
OTHER = ENVIRONMENT.model_copy(update={"cpu": "Another processor"})


def board_with(*profiles, records=(*DIT, *UVIT)):
    (board,) = with_profiles(boards(records), profiles)
    return board


def of_network(**changes):
    one = timed(DIT[0])
    return one.model_copy(update={"architecture": one.architecture.model_copy(update=changes)})


def test_a_row_has_the_newest_of_its_network_and_a_dash_says_how_to_measure_the_others():
    board = board_with(timed(DIT[0], 90.0), timed(DIT[0], 1234.0, 5000.0, day=3), timed(DIT[0], 91.0, day=2))
    frame = table(board).set_index("architecture")
    assert frame["train img/s"].tolist() == ["1,234", "—"]
    assert frame["sample img/s"].tolist() == ["200.0", "—"]  # 25 evaluations an image
    assert speeds(board) in markdown([board]).replace("\\", "") and "measured alone" in latex([board])
    assert speeds(board).startswith(
        "Images per second were measured alone, 2026-04-03, in one command. Those of a dash"
    )
    assert "`ditbench profile ARCHITECTURES --track digits --real-loss`" in speeds(board)
    whole = board_with(timed(DIT[0]), timed(UVIT[0], turn=2, day=2))
    assert speeds(whole) == (
        "Images per second were measured alone, 2026-04-01 to 2026-04-02, in 2 commands, so compare with care."
    )


@pytest.mark.parametrize(
    "profile",
    [
        of_network(label="dit:nano+a=b"),
        of_network(settings={"width": 97}),
        of_network(source_sha256="0" * 64),
        of_network(distribution="another"),
        timed(DIT[0], track="digits v4 0123456789ab"),
        timed(DIT[0], batch_size=8),
        timed(DIT[0], precision="tf32"),
        timed(DIT[0], compile=True),
        timed(DIT[0], objective=ObjectiveChoice(name="edm")),
        timed(DIT[0]).model_copy(update={"environment": OTHER}),
    ],
)  # fmt: skip
def test_what_was_timed_otherwise_is_not_of_the_row(profile):
    board = board_with(profile)
    assert not [row for row in board.rows if row.profile] and speeds(board) == ""
    assert not [head for head in table(board) if "img/s" in head]
    assert board_with(timed(DIT[0])).rows[0].profile


def test_each_class_of_hardware_has_columns_of_its_own():
    there = [finished("uvit:nano", 2.0, seed, environment=OTHER) for seed in range(3)]
    frame = table(board_with(timed(DIT[0], 10.0), timed(there[0], 20.0), records=(*DIT, *there)))
    heads = [head for head in frame if head.startswith("train img/s")]
    assert heads == ["train img/s (A processor, 2 threads)", "train img/s (Another processor, 2 threads)"]
    assert frame[heads].to_numpy().tolist() == [["10.00", ""], ["", "20.00"]]


def test_exports_have_both_a_runs_own_rates_and_those_measured_alone():
    board = board_with(timed(DIT[0], 900.0), records=(*DIT, *UVIT, unfinished("uvit:nano", seed=3)))
    frame = pd.read_csv(io.StringIO(csv([board])))
    own, alone = frame["train img/s in run"], frame["train img/s"]
    assert own.dropna().tolist() == [500.0] * 6 and alone.dropna().tolist() == [900.0] * 3
    dit, uvit = json.loads(json_text([board]))["boards"][0]["rows"]
    assert dit["alone"] == {
        "training_images_per_second": 900.0, "sampling_images_per_second": 200.0, "created": "2026-04-01T00:00:00+00:00"
    }  # fmt: skip
    assert uvit["alone"] is None and uvit["cost"]["training_images_per_second_in_run"]["mean"] == 500.0


def test_a_leaderboards_folder_has_them_and_a_folder_of_runs_has_none(ditbench, tmp_path):
    record = sound()
    for folder in ("board/records", "runs"):
        (tmp_path / folder / record.run_id).mkdir(parents=True)
        write_record(record, tmp_path / folder / record.run_id / "record.json")
    profile = timed(record, 777.0)
    (place := tmp_path / "board" / "profiles" / folder_name(profile)).mkdir(parents=True)
    write_profile(profile, place)
    for folder, there in (("board/records", True), ("runs", False)):
        ditbench("leaderboard", "build", str(tmp_path / folder), "--out", str(tmp_path / "out" / folder))
        assert ("777.0" in (tmp_path / "out" / folder / "README.md").read_text()) is there
