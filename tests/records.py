"""Records made by hand, for the tests of what is done with records."""

from datetime import UTC, datetime

from ditbench.record import (
    ArchitectureFacts,
    Cost,
    DataFacts,
    Environment,
    Evaluation,
    Measurement,
    Memory,
    PeakMemory,
    RawWeights,
    Record,
    SamplingFacts,
    TrainingFacts,
)
from ditbench.registry import Registry
from ditbench.track import load_track

TRACK = load_track(Registry.installed().tracks["digits"])
ENVIRONMENT = Environment(
    ditbench="0.1.0", git_commit="c0ffee" * 6, git_dirty=False, python="3.11.7", platform="Linux x86_64",
    torch="2.15.0", diffusers="0.42.1", torchmetrics="1.9.0", cuda=None, gpu=None, gpu_driver=None,
    cpu="A processor", cores=2, threads=2, memory_bytes=2**34,
)  # fmt: skip


def measurement(metric, value, higher=False, samples=1000):
    count = "1k" if samples == 1000 else str(samples)
    return Measurement(
        protocol=f"{metric}{count}/digits-cnn", metric=metric, value=value, higher_is_better=higher,
        samples=samples, reference_samples=1541, features_sha256="f" * 64,
    )  # fmt: skip


def finished(label="dit:nano", fid=1.0, seed=0, track=TRACK, **changes):
    name, _, size = label.partition(":")
    record = Record(
        run_id=f"{name}-{size}-seed{seed}-0123abcd", run_hash="0123abcd4567", status="finished",
        created=datetime(2026, 1, 2, tzinfo=UTC), track=track, track_hash=track.hash, budget="64k-images",
        ruleset="matched", recipe=track.recipe, objective=track.objective, data_sha256="d" * 64,
        reference_sha256="c" * 64, seed=seed, device="cpu",
        architecture=ArchitectureFacts(
            name=name, size=size, options={}, label=label, settings={"width": 96}, distribution=f"ditbench-{name}",
            distribution_version="0.1.0", source_sha256="e" * 64, paper="arXiv:0000.00000",
        ),
        environment=ENVIRONMENT,
        cost=Cost(
            parameters=2_000_000, trainable_parameters=1_900_000, train_only_parameters=500_000,
            macs_per_image=7_560_192, training_macs_per_image=22_000_000,
        ),
        training=TrainingFacts(
            batch_size=100, steps=3, images=300, seconds=10.3, final_loss=0.5, step_seconds=[0.1, 0.2, 10.0],
            step_stride=1, resumed=0, images_per_second=500.0,
        ),
        sampling=SamplingFacts(
            sampler="euler", steps=25, evaluations=25, weights="ema", labels_sha256="a" * 64, images_sha256="b" * 64,
            batch_images=[250, 250, 100], batch_seconds=[1.0, 0.5, 0.4],
            images_per_second=250.0,
        ),
        memory=Memory(resident_at_start=2**29, training=PeakMemory(resident=2**30), sampling=PeakMemory()),
        data=DataFacts(name="digits", examples=1541, shape=(1, 8, 8), classes=10),
        metrics=[
            measurement("fid", fid), measurement("kid", 0.01), measurement("is", 5.0, higher=True),
            measurement("knn", 0.9, higher=True),
        ],
        floors=[measurement("fid", 0.1, samples=898), measurement("is", 5.1, higher=True, samples=898)],
    )  # fmt: skip
    return record.model_copy(update=changes)


def evaluation(fid=1.0, **changes):
    facts = {"name": "samples", "kind": "images", "sha256": "a" * 64, "count": 1000, "shape": (3, 32, 32)}
    found = Evaluation(
        created=datetime(2026, 1, 2, tzinfo=UTC),
        samples=facts,
        reference={**facts, "name": "real", "sha256": "b" * 64},
        extractor="efficientnet-lite0",
        extractor_sha256="c" * 64,
        resize="none",
        environment=ENVIRONMENT,
        device="cpu",
        seconds={"samples": 1.0},
        peak=PeakMemory(resident=2**30),
        bytes_per_image=5120,
        metrics=[measurement("fid", fid)],
    )
    return found.model_copy(update=changes)


def raw_weights(fid):
    plain = finished()
    metrics = [measurement("fid", fid)]
    return RawWeights(created=plain.created, environment=ENVIRONMENT, sampling=plain.sampling, metrics=metrics)


def unfinished(label="uvit:nano", status="diverged", reason="the loss became nan at step 3", seed=0):
    record = finished(label, seed=seed)
    names = ("run_id", "run_hash", "created", "track", "track_hash", "ruleset", "recipe", "objective", "budget",
             "data_sha256", "reference_sha256", "seed", "device", "architecture")  # fmt: skip
    kept = {name: getattr(record, name) for name in names}
    return Record(**kept, status=status, reason=reason)
