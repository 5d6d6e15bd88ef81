"""The public names, and what each says of an argument that it can't take."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from records import finished

import ditbench
from ditbench import BadValue
from ditbench.records.record import write_record

PIXELS = np.zeros((2, 1, 8, 8), np.uint8)


def test_dir_shows_the_public_names_alone():
    assert dir(ditbench) == sorted(ditbench.__all__)
    assert all(getattr(ditbench, name) is not None for name in dir(ditbench))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (partial(ditbench.run, budget=100), "`budget` 100"),
        (partial(ditbench.run, eval_at=["25%"]), "`eval_at` ['25%']"),
        (partial(ditbench.run, architectures="dit"), "`architectures` 'dit'"),
        (partial(ditbench.run, seeds=0), "Seeds 0"),
        (partial(ditbench.run, out=""), "`out` '' is empty"),
        (partial(ditbench.run, track=None), "`track` None"),
        (partial(ditbench.read_record, 3), "`path` 3: give str or Path, not int"),
        (partial(ditbench.load_track, None), "`path` None: give str or Path."),
        (partial(ditbench.tables, 3), "`records` 3"),
        (partial(ditbench.tables, "runs"), "`records` 'r': give Record, not str"),
        (partial(ditbench.makespan, ["x"], 3), "`hours` 'x'"),
        (partial(ditbench.makespan, [1.0], True), "`places` True"),
        (partial(ditbench.makespan, [1.0], 0), "`places` 0"),
        (partial(ditbench.dense_peak, 3, "float32"), "`gpu` 3"),
        (partial(ditbench.cost_of, "dit", None), "`denoiser` 'dit'"),
        (partial(ditbench.cost_of, torch.nn.Linear(1, 1), "digits"), "`spec` 'digits'"),
        (partial(ditbench.from_arrays, "mine", [[0]], [0], ("a",)), "`pixels` [[0]]"),
        (partial(ditbench.from_arrays, "mine", PIXELS, [0, 0], ("a",)), "`labels` [0, 0]"),
        (partial(ditbench.preflight, "dit"), "`configs` 'dit'"),
        (partial(ditbench.preflight, []), "`configs` names no run"),
    ],
)
def test_a_wrong_argument_is_named(call, words):
    with pytest.raises(BadValue) as told:
        call()
    assert words in str(told.value)


def test_a_path_may_be_text(tmp_path):
    write_record(finished(), tmp_path / "record.json")
    assert ditbench.read_record(str(tmp_path / "record.json")) == ditbench.read_record(tmp_path / "record.json")
    track = Path(ditbench.__file__).parent / "tracks" / "digits.toml"
    assert ditbench.load_track(str(track)) == ditbench.load_track(track)


def test_tables_have_numbers():
    (frame,) = ditbench.tables(
        [*(finished("a:b", fid, seed) for seed, fid in enumerate((1.0, 1.5, 2.0))), finished("c:d", 3.0)]
    ).values()
    fid = next(header for header in frame if header.startswith("fid"))
    assert frame[fid].tolist() == [1.5, 3.0] and frame[f"{fid} ±"].iloc[0] == pytest.approx(1.242, abs=1e-3)
    assert frame["seeds"].tolist() == [3, 1] and frame["rank"].dtype == "Int64" and "images ±" not in frame
    assert {str(frame[header].dtype) for header in frame} == {"Int64", "float64", "str"}
