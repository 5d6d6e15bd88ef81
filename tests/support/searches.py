"""Searches made by hand: a track that declares one, its runs, and what a study says of them."""

from pathlib import Path

from records import ENVIRONMENT, finished, measurement, unfinished

from ditbench.records.record import identity
from ditbench.records.search import study_of
from ditbench.tracks.points import draw
from ditbench.tracks.track import load_track
from ditbench.tracks.tuning import trial_of, tuned

TINY = (Path(__file__).parents[1] / "tiny.toml").read_text()
SEARCH = "[search]\nlearning_rate = [5e-4, 8e-3]\nbeta2 = [0.95, 0.999]\ntrials = 3\n"


def track_file(folder, search=SEARCH):
    """The tiny track with a search, in a file."""
    text = TINY.replace('name = "tiny"', 'name = "searched"').replace("[sampler]", f"{search}\n[sampler]")
    lines = [line for line in text.splitlines() if not line.startswith("metrics")]
    path = folder / "searched.toml"
    path.write_text("\n".join([*lines, 'metrics = ["denoise", "fid"]', "denoised = 30", ""]))
    return path


def loaded(folder, search=SEARCH):
    return load_track(track_file(folder, search))


def record_of(config, value):
    """How a run ended: with a denoising error; as it says; or where it was stopped."""
    if isinstance(value, str):
        return unfinished(status=value).model_copy(update={**identity(config), "environment": ENVIRONMENT})
    metrics = [measurement(name, value, samples=30) for name, _ in config.track.evaluation.choices]
    done = finished()
    training = done.training.model_copy(update={"flops": 1e12})
    facts = {"environment": ENVIRONMENT, "metrics": metrics, "training": training}
    return done.model_copy(update={**identity(config), **facts})


def searched(config, values):
    """The records of a run's trials that ended with these values, and what its study says of them."""
    points = draw(config.track, len(values))
    trials = [record_of(trial_of(config, point), value) for point, value in zip(points, values, strict=True)]
    return trials, study_of(config.track.search, points, trials)


def tuned_record(config, values=(3.0, 1.0, 2.0)):
    """A finished run with its study."""
    return record_of(tuned(config, searched(config, values)[1]), 1.5)
