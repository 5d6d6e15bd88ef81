"""Records that can't be true: the committed one of a run, changed by a forger who computes again what follows.

Each is a change, and what must be said of it. Hash of the run, its name and the seal are made anew by `forged`.
"""

import json
from pathlib import Path

from tampering import both, to

from ditbench.records.derived import of_raw
from ditbench.records.record import Record, config_of, seal

COMMITTED = Path(__file__).parents[2] / "leaderboard" / "records" / "digits"
TRUE = COMMITTED / "dit-nano-seed0-f6f6db90.json"  # of the track's version 3
FID, KID, IS, KNN = range(4)  # the places of the track's metrics
OTHER_SOURCE = to("architecture.source_sha256", "0" * 64)  # of which nothing is known here


def forged(change):
    """The content of a record that was changed, and whose hashes were made anew."""
    content = json.loads(TRUE.read_text(encoding="utf-8"))
    change(content)
    config = config_of(Record.model_validate(content))
    content |= {"run_hash": config.hash, "run_id": config.run_id}
    return {**content, "sha256": seal(content)}


def raw(place, owner="metrics", **numbers):
    """Other raw numbers of a metric, with the value and the spread that follow."""

    def change(content):
        one = at(content, owner)[place]
        one["raw"] |= {name: make(one["raw"][name]) if callable(make) else make for name, make in numbers.items()}
        one["value"], one["spread"] = of_raw(one["raw"])

    return change


def at(content, owner):
    for part in owner.split("."):
        content = content[int(part) if isinstance(content, list) else part]
    return content


def times(factor):
    return lambda numbers: [factor * number for number in numbers]


def fid(means, covariances):
    """Another FID, whose jackknife lies around it as it did."""
    total = means + covariances
    return raw(FID, terms=[means, covariances], jackknife=lambda found: [total * n * 10 / sum(found) for n in found])


def costs(**numbers):
    """Another cost, with the FLOPs that follow from it."""

    def change(content):
        content["cost"] |= numbers
        cost, training = content["cost"], content["training"]
        for part in (training, *content["milestones"]):
            part["flops"] = float(6 * cost["macs_per_image"] * cost["training_forwards"] * part["images"])

    return change


def fast_steps(content):
    """Training in no time: every step took a microsecond."""
    training = content["training"]
    training |= {"step_seconds": [1e-6] * len(training["step_seconds"]), "seconds": training["steps"] * 1e-6}
    training["images_per_second"] = training["batch_size"] / 1e-6
    for part in (*training["curve"], *content["milestones"]):
        part["seconds"] = part.get("step", part.get("steps")) * 1e-6


def on_gpu(content):
    """The same run on a GPU."""
    content["device"] = "cuda"
    content["environment"] |= {"gpu": "NVIDIA H200", "cuda": "13.2", "gpu_driver": "600.1"}
    content["memory"] |= {phase: {"allocated": 2**28, "reserved": 2**29} for phase in ("training", "sampling")}


UNTRUE = {
    "a covariance term below 0": (raw(FID, terms=[2.0, -0.5]), "metrics.0.raw.terms.1 is -0.5, should not be below 0"),
    "a mean term below 0": (raw(FID, terms=[-0.5, 2.0]), "metrics.0.raw.terms.0 is -0.5, should not be below 0"),
    "a milestone's covariance term below 0": (
        raw(FID, "milestones.0.metrics", terms=[20.0, -5.0]),
        "milestones.0.metrics.0.raw.terms.1 is -5.0, should not be below 0",
    ),
    "a jackknife far above": (raw(FID, jackknife=times(50)), "the mean of metrics.0.raw.jackknife is"),
    "a jackknife somewhat above": (raw(FID, jackknife=times(3)), "the mean of metrics.0.raw.jackknife is"),
    "a jackknife far below": (raw(FID, jackknife=times(0.01)), "the mean of metrics.0.raw.jackknife is"),
    "a jackknife somewhat below": (raw(FID, jackknife=times(0.8)), "the mean of metrics.0.raw.jackknife is"),
    "a jackknife below 0": (
        raw(FID, jackknife=lambda found: [-1.0, *found[1:]]),
        "metrics.0.raw.jackknife.0 is -1.0, should not be below 0",
    ),
    "an FID that was halved without its jackknife": (
        raw(FID, terms=[0.1, 0.2]),
        "the mean of metrics.0.raw.jackknife is",
    ),
    "an IS of 20 with ten classes": (
        raw(IS, values=[20.0] * 10),
        "metrics.2.raw.values.0 is 20.0, should be no more than the 10 classes",
    ),
    "one split beyond the classes": (
        raw(IS, values=lambda found: [10.5, *found[1:]]),
        "metrics.2.raw.values.0 is 10.5, should be no more than the 10 classes",
    ),
    "an IS beyond the images of a split": (
        raw(IS, values=[500.0] * 10),
        "metrics.2.raw.values.9 is 500.0, should be no more than the images of its split",
    ),
    "an IS below 1": (raw(IS, values=[0.5] * 10), "metrics.2.raw.values.0 is 0.5, should be at least 1"),
    "a floor's IS beyond the classes": (raw(IS, "floors", values=[20.0] * 10), "floors.2.raw.values.0 is 20.0"),
    "a KID of nothing beside an FID of 30": (
        both(fid(20.0, 10.0), raw(KID, values=[1e-5] * 100)),
        "metrics.1.value is 1e-05, should be from 0.234",
    ),
    "a KID of much beside an FID of nothing": (
        both(fid(1e-4, 1e-3), raw(KID, values=[1.5] * 100)),
        "metrics.1.value is 1.5, should be from",
    ),
    "a KID far below 0": (
        raw(KID, values=[-0.3 - i / 10000 for i in range(100)]),
        "should not be so far below 0: it is a squared distance",
    ),
    "more hits than tries": (to("metrics.3.raw.counts.0", 1001.0), "metrics.3.raw is"),
    "another parameter count": (
        both(to("cost.parameters", 600_000), to("cost.trainable_parameters", 600_000)),
        "cost.parameters is 600000, should be 725380 (as the architecture of that source has it)",
    ),
    "fewer trained parameters": (to("cost.trainable_parameters", 1000), "cost.trainable_parameters is 1000, should be"),
    "parameters that only training uses": (
        to("cost.train_only_parameters", 700_000),
        "cost.train_only_parameters is 700000, should be 0",
    ),
    "half the MACs": (
        costs(macs_per_image=3_780_096),
        "cost.macs_per_image is 3780096, should be about 7560192 (as the architecture of that source has it)",
    ),
    "half the training": (
        to("cost.training_macs_per_image", 9_000_000),
        "cost.training_macs_per_image is 9000000, should be about 22649856",
    ),
    "a second forward pass": (costs(training_forwards=2), "cost.training_forwards is 2, should be 1"),
    "a deeper network under a size's name": (
        to("architecture.settings.depth", 40),
        "architecture.settings is {",
    ),
    "a size that the source has not": (
        both(to("architecture.size", "XXL/2"), to("architecture.label", "dit:XXL/2")),
        "architecture.settings is {",
    ),
    "64 threads on one core": (
        both(to("environment.threads", 64), to("environment.cores", 1)),
        "environment.threads is 64, should be at most 16 for each of 1 logical processors",
    ),
    "a byte of memory": (
        both(to("memory.resident_at_start", 1), to("memory.training.resident", 1)),
        "memory.resident_at_start is 1, should be 16777216 or more: torch is loaded",
    ),
    "no memory in training": (
        both(to("memory.training.resident", None), to("memory.resident_at_start", 0)),
        "memory.training.resident is none, should be 1447688 or more: the weights alone take that",
    ),
    "weights that need more memory": (
        both(OTHER_SOURCE, to("cost.parameters", 10**12), to("cost.trainable_parameters", 10**12)),
        "should be 2000000000000 or more: the weights alone take that",
    ),
    "more memory than there is": (
        to("memory.training.resident", 2**50),
        f"memory.training.resident is {2**50}, should be part of the machine's",
    ),
    "a machine without memory": (to("environment.memory_bytes", 1), "should be part of the machine's 1"),
    "CUDA on a CPU": (to("environment.cuda", "13.2"), 'environment.cuda is "13.2", should be none'),
    "a GPU's driver on a CPU": (to("environment.gpu_driver", "600"), 'environment.gpu_driver is "600", should be none'),
    "weights that fill no memory of a GPU": (
        both(on_gpu, to("memory.training", {"allocated": 8, "reserved": 8})),
        "memory.training.allocated is 8, should be 1447688 or more: the weights alone take that",
    ),
    "a date before the project": (to("created", "2020-01-01T00:00:00Z"), "should not be before 2026-01-01: there was"),
    "the beginning of time": (to("created", "1970-01-01T00:00:00Z"), "should not be before 2026-01-01: there was"),
    "a date to come": (to("created", "2999-01-01T00:00:00Z"), "should not be yet to come"),
    "a submission before the project": (
        to("submission.date", "2019-12-31"),
        'submission.date is "2019-12-31T00:00:00+00:00", should not be before 2026-01-01',
    ),
    "a submission to come": (to("submission.date", "2999-01-01"), "submission.date is"),
    "training in no time": (fast_steps, "should be 0.0"),
    "samples in no time": (
        both(to("sampling.batch_seconds", times(1e-6)), to("sampling.images_per_second", lambda rate: rate * 1e6)),
        "sampling.batch_seconds.0 is",
    ),
    "evaluation in no time": (to("training.evaluation_seconds", 0.0), "training.evaluation_seconds is 0.0, should be"),
    "latents that were decoded in no time": (
        both(to("data.autoencoder", "sd-vae-ft-mse"), to("sampling.decode_seconds", 0.0)),
        "sampling.decode_seconds is 0.0, should be above",
    ),
}
