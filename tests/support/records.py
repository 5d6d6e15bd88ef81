"""Records made by hand, for the tests of what is done with records."""

import hashlib
import struct
from datetime import UTC, datetime
from pathlib import Path

from ditbench.records.derived import of_raw
from ditbench.records.evaluation import Evaluation
from ditbench.records.facts import (
    Cost,
    CurvePoint,
    DataFacts,
    Environment,
    Measurement,
    Memory,
    Milestone,
    PeakMemory,
    RawWeights,
    SamplingFacts,
    TrainingFacts,
)
from ditbench.records.record import Record, config_of
from ditbench.storage.schema import digest
from ditbench.tracks.architecture import ArchitectureFacts
from ditbench.tracks.ledger import data_of
from ditbench.tracks.track import load_track

TRACK = load_track(Path(__file__).parents[1] / "older" / "digits-v3.toml")  # ranked by FID
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


def sound(label="dit:nano", fid=1.25, seed=0, **changes):
    """A finished run of three steps that holds: every number follows from its raw ones, every hash is right.

    Another label or seed is another run: other weights, images and times.
    """
    own, shift = (
        digest([label, seed]),
        int(digest([label, seed], 4), 16) * 1e-9,
    )  # too little for any number that is told
    slow = 10.0 + seed + (sum(label.encode()) - sum(b"dit:nano")) / 1000
    record = finished(label, seed=seed, data_sha256=data_of(TRACK), reference_sha256=data_of(TRACK))
    reals = {"reference_samples": 1541, "reference_sha256": record.reference_sha256, "features_sha256": DIGITS_CNN}
    nothing = {**reals, "reference_samples": None, "reference_sha256": None}
    pixels = {**reals, "reference_sha256": record.data_sha256, "features_sha256": None}
    metrics = [
        computed(
            "fid", {"terms": [0.25, fid - 0.25], "jackknife": [fid + i / 100 + shift for i in range(10)]}, **reals
        ),
        computed("kid", {"values": [0.01 + i / 10000 for i in range(100)]}, **reals, subsets=100, subset_size=1000),
        computed("is", {"values": [4.5 + i / 10 for i in range(10)]}, **nothing, splits=10),
        computed("knn", {"counts": [900.0, 1000.0]}, **pixels, neighbours=3),
    ]
    floor = computed("kid", {"values": [0.001, 0.002] * 50}, **reals, samples=256, subsets=100, subset_size=256)
    flops = record.cost.training_flops(record.flops_rule)
    curve = [CurvePoint(step=i, images=64 * i, seconds=s, loss=1 / i) for i, s in ((1, 0.1), (2, 0.3), (3, 0.3 + slow))]
    milestone = Milestone(at=0.5, steps=2, images=128, seconds=0.3, flops=128.0 * flops, metrics=metrics)
    training = TrainingFacts(
        batch_size=64, steps=3, images=192, seconds=0.3 + slow, final_loss=1 / 3, step_seconds=[0.1, 0.2, slow],
        step_stride=1, images_per_second=320.0, curve=curve, resumed=0, flops=192.0 * flops, evaluation_seconds=1.0,
    )  # fmt: skip
    sampling = record.sampling.model_copy(
        update={
            "batch_images": [250] * 4, "batch_seconds": [1.0, 0.5, 0.5, 2.0], "images_per_second": 375.0,
            "labels_sha256": hashlib.sha256(struct.pack("<1000q", *(i % 10 for i in range(1000)))).hexdigest(),
            "images_sha256": digest([own, "images"]),
        }
    )  # fmt: skip
    facts = {
        "budget": "3-steps", "training": training, "sampling": sampling, "metrics": metrics, "floors": [floor],
        "milestones": [milestone], "files": {"ema.safetensors": own, "samples.png": digest([own, "picture"])},
    }  # fmt: skip
    return named(record.model_copy(update={**facts, **changes}))


DIGITS_CNN = "901f43288be1a993ad01c127a8618f5dd0445dee3f52095dcec0de8428099380"  # its weights


def computed(
    metric, raw, samples=1000, features_sha256=None, reference_samples=None, reference_sha256=None, **settings
):
    """A measurement that follows from its raw numbers."""
    value, spread = of_raw(raw)
    count = "1k" if samples == 1000 else str(samples)
    return Measurement(
        protocol=f"{metric}{count}/{'digits-cnn' if features_sha256 else 'raw-pixels'}", metric=metric, value=value,
        spread=spread, higher_is_better=metric in ("is", "knn"), samples=samples, reference_samples=reference_samples,
        reference_sha256=reference_sha256, features_sha256=features_sha256, settings=settings, raw=raw,
    )  # fmt: skip


def named(record):
    """The record under the hash, and so the name, of the run that it describes."""
    config = config_of(record)
    return record.model_copy(update={"run_hash": config.hash, "run_id": config.run_id})
