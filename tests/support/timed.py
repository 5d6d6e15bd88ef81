"""Profiles made by hand of what records are of, for the tests of what boards say of speeds."""

from dataclasses import asdict
from datetime import UTC, datetime

from ditbench.denoiser_spec import DenoiserSpec
from ditbench.records.facts import PeakMemory
from ditbench.records.profile import Phase, Profile, Setup, Turn

SPEC = DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel", learn_variance=False)


def timed(record, training=500.0, sampling=5000.0, turn=1, day=1, **setup):
    """What timed a record's network alone, at so many images per second; a step of sampling, likewise."""
    batch, track = record.recipe.batch_size, record.track
    how = {
        "batch_size": batch, "steps": 4, "warmup": 1, "precision": record.training.precision, "compile": False,
        "device": record.device, "objective": record.objective, "sampler": track.sampler, "spec": asdict(SPEC),
        "track": f"{track.name} v{track.version} {record.track_hash}",
    }  # fmt: skip
    return Profile(
        created=datetime(2026, 4, day, tzinfo=UTC),
        architecture=record.architecture,
        setup=Setup.model_validate({**how, **setup}),
        turn=Turn(seed=turn, position=0, of=2),
        environment=record.environment,
        cost=record.cost,
        inference=_phase(batch / sampling),
        training=_phase(batch / training),
        sampling=_phase(batch / sampling),
        peaks_version="1",
    )


def _phase(seconds):
    return Phase(warmup_seconds=1.0, compile_seconds=None, step_seconds=[seconds] * 4, peak=PeakMemory(resident=2**30))
