"""Entries of a speedrun made by hand."""

from datetime import UTC, datetime

from records import ENVIRONMENT, finished, measurement, named

from ditbench.registry import Registry
from ditbench.tracks.track import load_track

TRACK = load_track(Registry.installed().tracks["digits"])


def entry(seconds=50.0, denoise=0.34, day=1, rate=4e-3, seeds=10, changed="a better rate", parallel=1, **more):
    """The records of all seeds of one recipe: their errors and their times spread by about a hundredth."""
    return [
        _record(seed, seconds + (seed - 4.5) / 20, denoise + (seed - 4.5) / 1000, day, rate, changed, parallel, more)
        for seed in range(seeds)
    ]


def _record(seed, seconds, denoise, day, rate, changed, parallel, more):
    plain = finished(seed=seed)
    values = {"denoise": denoise, "fid": 1.5 + seed / 100}
    found = [measurement(name, values.get(name, 1.0)) for name in TRACK.evaluation.metrics]
    metrics = [
        one.model_copy(update={"raw": {"counts": [0.0, 1000.0]}} if one.metric == "memorised" else {}) for one in found
    ]
    facts = {
        "ruleset": "speedrun", "changed": changed, "budget": "30k-images", "metrics": metrics,
        "track": TRACK, "track_hash": TRACK.hash, "objective": TRACK.objective,
        "recipe": TRACK.recipe.model_copy(update={"learning_rate": rate}),
        "created": datetime(2026, 4, day, tzinfo=UTC),
        "environment": ENVIRONMENT.model_copy(update={"parallel": parallel}),
        "training": plain.training.model_copy(update={"seconds": seconds, "images": 30_000}),
    }  # fmt: skip
    return named(plain.model_copy(update={**facts, **more}))
