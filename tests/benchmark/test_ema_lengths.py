"""Runs that keep snapshots, and `ditbench ema`, which measures other lengths of EMA by them."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from tampering import to

from ditbench import campaign
from ditbench.benchmark.lengths import measure_lengths
from ditbench.errors import BadFile, BadValue
from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.site.contents import Contents
from ditbench.leaderboard.site.errors import by_length
from ditbench.leaderboard.site.pages import write_site
from ditbench.records.lengths import is_of, read_all_lengths, read_lengths, write_lengths
from ditbench.records.record import read_record, seal
from ditbench.records.validation.files import validate
from ditbench.registry import Registry

pytestmark = pytest.mark.timeout(240)
TINY = (Path(__file__).parents[1] / "tiny.toml").read_text()
ASKED = {"device": "cpu", "executor": "inline"}


def track(folder):
    """The tiny track with the denoising error."""
    text = TINY.replace('name = "tiny"', 'name = "averaged"', 1).replace('"40-steps"', '"12-steps"')
    metrics = 'metrics = ["denoise", "kid"]\ndenoised = 30\n'
    (folder / "averaged.toml").write_text(text.replace('metrics = ["fid", "kid", "is", "knn"]\n', metrics))
    return str(folder / "averaged.toml")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run with snapshots and without: the two directories."""
    folder = tmp_path_factory.mktemp("averaged")
    for name, more in {"with": {"ema_snapshots": 4}, "without": {}}.items():
        campaign.run(track(folder), ["dit"], out=folder / name, **ASKED, **more)
    return [next(folder.glob(f"{name}/averaged/*/record.json")).parent for name in ("with", "without")]


@pytest.fixture
def run(runs, tmp_path):
    """A copy of the first."""
    return Path(shutil.copytree(runs[0], tmp_path / runs[0].name))


def lengths_of(run, *lengths, samples=False, save=None):
    return measure_lengths(run, lengths, samples, save, Registry.installed(), device="cpu")


def test_snapshots_change_nothing_of_a_run(runs):
    one, other = (read_record(run / "record.json") for run in runs)
    assert (one.run_id, one.run_hash, one.files) == (other.run_id, other.run_hash, other.files)  # sha256 of both
    assert [point.loss for point in one.training.curve] == [point.loss for point in other.training.curve]
    assert [of.value for of in one.metrics] == [of.value for of in other.metrics]
    assert sorted(path.name for path in (runs[0] / "ema-snapshots").iterdir()) == [
        f"at-{share}-percent.safetensors" for share in (100, 25, 50, 75)
    ]
    assert {path.name for path in runs[0].iterdir()} - {path.name for path in runs[1].iterdir()} == {"ema-snapshots"}


def test_lengths_are_measured_as_the_run_was_and_kept_beside_it(run):
    record = read_record(run / "record.json")
    found = lengths_of(run, 0.05, 0.1, 0.15, samples=True)
    assert [[of.protocol for of in one.metrics] for one in found.lengths] == [
        [of.protocol for of in record.metrics]
    ] * 3
    assert [one.profile_error < 1e-6 for one in found.lengths] == [True, True, False]
    assert [(one.time, one.steps) for one in found.snapshots] == [(0.25, 3), (0.5, 6), (0.75, 9), (1.0, 12)]
    path = write_lengths(found, run)
    assert read_lengths(path) == found and is_of(found, record) and path.name == f"{record.run_id}.ema.json"
    assert not faults(run), faults(run)
    content = json.loads(path.read_text())
    content["lengths"][0]["metrics"][0]["value"] = 0.0
    path.write_text(json.dumps(content))
    with pytest.raises(BadFile, match="it was changed after it was written"):
        read_lengths(path)
    assert "sha256 is" in faults(run)


def faults(folder):
    return "\n".join(line for one in validate([folder], Registry.installed()) for line in one.lines)


TAMPERED = {
    "a better number": (to("lengths.0.metrics.0.value", 0.01), "lengths.0.metrics.0.value is 0.01, should be"),
    "another metric": (to("lengths.0.metrics.0.protocol", "fid9/x"), "lengths.0.metrics.0.protocol is"),
    "another training": (to("weights_sha256", "0" * 64), "weights_sha256 is"),
    "another run": (to("run_id", "dit-nano-seed7-00000000"), "the file's name is"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_forged_curve_is_found(run, name):
    """Sealed anew as its forger would."""
    change, told = TAMPERED[name]
    path = write_lengths(lengths_of(run, 0.05), run)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps({**content, "sha256": seal(content)}))
    assert told in faults(run)


def test_a_runs_page_draws_them_if_they_are_of_its_training(run, tmp_path):
    record, found = read_record(run / "record.json"), lengths_of(run, 0.05, 0.1)
    (board,) = boards([record])
    contents = Contents([board], lengths={record.run_id: found})
    (line,) = by_length(contents, contents.runs[0])["series"]
    assert line["x"]["length"] == [0.05, 0.1]
    assert line["y"]["m0"] == pytest.approx([one.metrics[0].value for one in found.lengths], rel=1e-3)
    foreign = found.model_copy(update={"weights_sha256": "0" * 64})
    other = Contents([board], lengths={record.run_id: foreign})
    assert by_length(other, other.runs[0]) is None
    write_lengths(found, run)
    assert read_all_lengths(run.parent) == [found]
    write_site([board], tmp_path / "site", samples=None, lengths=[found])
    assert "Other lengths of EMA" in next((tmp_path / "site" / "runs").glob("*.html")).read_text()


def test_the_command_shows_writes_and_saves(run, ditbench, tmp_path):
    told = ditbench("ema", str(run), "--lengths", "0.07", "--device", "cpu", "--save", str(tmp_path / "w.safetensors"))
    assert "the track's EMA" in told and "denoise30/logsnr16 ↓" in told and "kid" not in told
    (path,) = run.glob("*.ema.json")
    (found,) = read_lengths(path).lengths
    assert found.length == 0.07 and f"{found.metrics[0].value:.6g}" in told
    assert (tmp_path / "w.safetensors").stat().st_size == (run / "ema.safetensors").stat().st_size


def damage(change, run, name="at-50-percent.safetensors"):
    path = run / "ema-snapshots" / name
    path.write_bytes(change(path.read_bytes(), read_record(run / "record.json").run_hash.encode()))


DAMAGES = {  # what is done to a run, and what is told
    "none": (lambda run: shutil.rmtree(run / "ema-snapshots"), "has no snapshots of other averages"),
    "no end": (lambda run: (run / "ema-snapshots/at-100-percent.safetensors").unlink(), "'at-100-percent.safetensors'"),
    "cut": (partial(damage, lambda old, of: old[:-9]), "at-50-percent.*can't be read"),
    "noise": (partial(damage, lambda old, of: b"x" * 99), "at-50-percent.*can't be read"),
    "foreign": (partial(damage, lambda old, of: old.replace(of, b"0" * 12)), "at-50-percent.*belongs to another run"),
    "weights": (
        lambda run: shutil.copy(run / "ema.safetensors", run / "ema-snapshots/at-50-percent.safetensors"),
        "at-50-percent.*does not say what it is of",
    ),
    "other weights": (lambda run: shutil.copy(run / "raw.safetensors", run / "ema.safetensors"), "are not those of"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_no_run_with_snapshots_is_one_line(run, name):
    spoil, told = DAMAGES[name]
    spoil(run)
    with pytest.raises(BadFile, match=told) as caught:
        lengths_of(run, 0.05)
    assert "\n" not in str(caught.value)


def test_another_source_of_the_plugin_is_refused(run, monkeypatch):
    monkeypatch.setattr(Registry, "source_sha256", lambda self, name: "0" * 64)
    with pytest.raises(BadValue, match="was made with another source of"):
        lengths_of(run, 0.05)


@pytest.mark.parametrize("lengths", [(), (0.0,), (0.26,), (0.1, 0.1), (0.1, 0.05), (float("nan"),), (0.01,) * 51])
def test_lengths_that_are_none_are_one_line(runs, lengths):
    with pytest.raises(BadValue, match=r"^`lengths` "):
        lengths_of(runs[0], *lengths)


def test_one_average_is_saved_and_a_track_may_have_nothing_to_measure_without_samples(run, toy, tmp_path):
    with pytest.raises(BadValue, match="`save` writes one average"):
        lengths_of(run, 0.05, 0.1, save=tmp_path / "w.safetensors")
    campaign.run("tiny", ["toy"], budget="4-steps", ema_snapshots=1, out=tmp_path / "tiny", **ASKED)
    with pytest.raises(BadValue, match="Track 'tiny' measures no denoising error: ask for `samples`"):
        lengths_of(next(tmp_path.glob("tiny/tiny/*/record.json")).parent, 0.05)


def test_snapshots_of_a_finished_run_can_not_be_asked_for(runs, tmp_path):
    out = runs[1].parents[1]
    with pytest.raises(BadValue, match="is finished and kept no snapshots of other averages"):
        campaign.run(track(tmp_path), ["dit"], out=out, ema_snapshots=2, **ASKED)


def test_a_disk_without_room_for_the_snapshots_ends_the_run_at_its_start(toy, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10**5)
    monkeypatch.setattr("ditbench.benchmark.snapshots.shutil.disk_usage", lambda place: usage)
    (record,) = campaign.run("tiny", ["toy"], budget="4-steps", ema_snapshots=100, out=tmp_path, **ASKED)
    assert record.status == "failed" and "give fewer `ema_snapshots`" in record.reason
