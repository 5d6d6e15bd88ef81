"""A finished run sampled at scales of guidance: the same noise and labels, kept point by point, and shown."""

import json

import pytest

from ditbench import campaign
from ditbench.benchmark import reevaluation
from ditbench.errors import BadValue, DitbenchError, RunBusy
from ditbench.executors import verifying
from ditbench.records.guidance import file_name, read_curve
from ditbench.records.record import write_record
from ditbench.records.validation.files import validate
from ditbench.registry import Registry
from ditbench.storage.claims import sole_writer


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run's record and its folder, made by the first test that installs the toy."""
    made = []

    def finished():
        if not made:
            out = tmp_path_factory.mktemp("runs")
            (record,) = campaign.run("tiny", ["toy"], out=out, device="cpu", executor="inline", budget="blink")
            made.append((record, out / "tiny" / record.run_id))
        return made[0]

    return finished


@pytest.fixture
def run(toy, finished):
    record, folder = finished()
    (folder / file_name(record.run_id)).unlink(missing_ok=True)
    return record, folder


@pytest.fixture
def here(monkeypatch):
    """Points are measured in this process; the scales that were."""
    scales = []

    def measure(record, weights, scale, hear=lambda progress: None, **options):
        scales.append(scale)
        return reevaluation.measure_guided(record, weights, scale, Registry.installed(), hear, **options)

    monkeypatch.setattr(verifying, "measure_guided", measure)
    return scales


def test_scale_1_is_the_run_itself_and_others_are_not(run):
    record, folder = run
    about = (record, folder / "ema.safetensors")
    whole, plain, guided = (reevaluation.measure_guided(*about, w, Registry.installed()) for w in (0, 1, 2.5))
    assert plain.sampling.images_sha256 == record.sampling.images_sha256, "to the last bit"
    assert plain.metrics[:4] == record.metrics and plain.sampling.labels_sha256 == guided.sampling.labels_sha256
    assert [one.metric for one in guided.metrics] == ["fid", "kid", "is", "knn", "recall", "precision"]
    assert len({one.sampling.images_sha256 for one in (whole, plain, guided)}) == 3
    assert [one.sampling.evaluations for one in (whole, plain, guided)] == [4, 2, 4]
    assert all(one.raw and one.samples == 40 for one in guided.metrics)


def test_a_process_of_its_own_measures_the_same(run):
    record, folder = run
    heard = []
    found = verifying.guidance_curve(folder, [1.0], hear=lambda scale, told: heard.append((scale, told.stage)))
    assert found.points[0].sampling.images_sha256 == record.sampling.images_sha256
    assert {(1.0, "sample"), (1.0, "measure")} <= set(heard)


def test_points_are_kept_one_by_one_and_not_measured_again(run, here, ditbench, monkeypatch):
    record, folder = run
    whole, path = verifying.measure_guided, folder / file_name(record.run_id)

    def dies(record, weights, scale, *about, **options):
        if scale > 1:
            raise DitbenchError("killed")
        return whole(record, weights, scale, *about, **options)

    command = ("evaluate", str(folder), "--device", "cpu", "--guidance")
    with monkeypatch.context() as patch:
        patch.setattr(verifying, "measure_guided", dies)
        assert "killed" in ditbench(*command, "1,3", code=2)
    assert read_curve(path).scales == here == [1]
    out = ditbench(*command, "1,3")
    assert here == [1, 3] and "At 1 the images are the run's own, to the last bit." in out
    assert "recall40/digits-cnn ↑" in out and f"Curve in {path}" in out
    found = json.loads(ditbench(*command, "2", "--json"))
    assert [one["guidance"]["scale"] for one in found["points"]] == [1, 2, 3] and here == [1, 3, 2]
    before = read_curve(path)
    ditbench(*command, "3", "--force")
    after = read_curve(path)
    assert here == [1, 3, 2, 3] and after.at(3).metrics == before.at(3).metrics
    assert [line for one in validate([folder], Registry.installed()) for line in one.lines] == []
    ditbench("leaderboard", "build", str(folder.parents[1]), "--out", str(folder.parents[2] / "board"))
    page = folder.parents[2] / "board" / "site" / "runs" / f"{record.run_id}.html"
    assert "The same weights, guided" in page.read_text()


def test_a_track_that_guides_keeps_its_own_schedule(run, here):
    record, folder = run
    track = record.track.model_dump()
    interval = {"scale": 2.0, "schedule": "interval", "interval": (600.0, 1000.0)}  # the first of two steps
    track["sampler"]["guidance"] = interval
    changed = type(record.track).model_validate(track)
    of = record.model_copy(update={"track": changed, "track_hash": changed.hash})
    found = reevaluation.measure_guided(of, folder / "ema.safetensors", 3.0, Registry.installed())
    assert (found.guidance.schedule, found.sampling.evaluations, found.scale) == ("interval", 3, 3.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--guidance", "1,x"], "--guidance '1,x' is no list of scales such as 1,1.5,2"),
        (["--guidance", "2,1"], "ascending order"),
        (["--guidance", "1", "--architecture", "toy"], "--architecture does not go with --guidance"),
        (["--guidance", "1", "--no-floor"], "--floor does not go with --guidance"),
        (["--guidance", "1", "--count", "40"], "--count does not go with --guidance"),
        (["--guidance", "1", "--data", "synthetic"], "is not the record's"),
        (["--force", "--reference", "digits"], "--force measures points of --guidance again"),
    ],
)
def test_bad_arguments_end_in_one_line(run, here, ditbench, arguments, words):
    _, folder = run
    assert words in ditbench("evaluate", str(folder), "--device", "cpu", *arguments, code=2)


def test_what_is_no_run_or_was_made_by_another_source_is_refused(run, here, ditbench, tmp_path, monkeypatch):
    record, folder = run
    command = ("evaluate", "--device", "cpu", "--guidance", "1")
    assert "is no run's folder: --guidance needs one" in ditbench(*command, str(tmp_path), code=2)
    recipe = record.recipe.model_copy(update={"label_dropout": 0.0})
    track = record.track.model_copy(update={"recipe": recipe})
    plain = record.model_copy(update={"track": track, "track_hash": track.hash, "recipe": recipe})
    write_record(plain, tmp_path / "record.json")
    assert "never saw the null label" in ditbench(*command, str(tmp_path), code=2)
    with sole_writer(folder), pytest.raises(RunBusy):
        verifying.guidance_curve(folder, [1.0])
    monkeypatch.setattr(Registry, "source_sha256", lambda self, name: "0" * 64)
    with pytest.raises(BadValue, match=r"was made with another source of ditbench-toy 0\.1"):
        verifying.guidance_curve(folder, [1.0])
