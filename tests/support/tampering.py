"""A record that holds, and the ways to tamper with it: what is changed, and what must be said of it."""

import hashlib
import struct
import zlib

from records import sound

from ditbench.records.record import Submission, seal
from ditbench.tracks.track import Track

SUBMISSION = Submission(by="Ada", date="2026-01-02")
GOOD = sound(submission=SUBMISSION)


def content_of(record=GOOD):
    """A record as its file has it, sealed."""
    content = record.model_dump(mode="json")
    return {**content, "sha256": seal(content)}


def at(field):
    """A function that reaches a field in a content: its owner, and its key."""
    *way, key = field.split(".")

    def reach(content):
        for part in way:
            content = content[int(part) if isinstance(content, list) else part]
        return content, int(key) if isinstance(content, list) else key

    return reach


def to(field, value):
    def change(content):
        owner, key = at(field)(content)
        owner[key] = value(owner[key]) if callable(value) else value

    return change


def without(field):
    def change(content):
        owner, key = at(field)(content)
        del owner[key]

    return change


def both(*changes):
    def change(content):
        for one in changes:
            one(content)

    return change


def retrack(content):
    """Another learning rate, and the hash that goes with it."""
    content["track"]["recipe"]["learning_rate"] = content["recipe"]["learning_rate"] = 1.0
    content["track_hash"] = Track.model_validate(content["track"]).hash


def chunk(kind, content=b""):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*more, mark=b"", head=(32, 1, 8, 0, 0, 0, 0), pixels=None, end=b""):
    """A grey picture of 32 pixels, which are another's with another mark; `more` chunks before them, `end` behind."""
    rows = zlib.compress(b"\0" + hashlib.sha256(mark).digest()) if pixels is None else pixels
    parts = (chunk(b"IHDR", struct.pack(">IIBBBBB", *head)), *more, chunk(b"IDAT", rows), chunk(b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + end


TAMPERED = {
    "data without a hash": (to("data_sha256", "\n<!--"), "data_sha256 is"),
    "images without a hash": (to("sampling.images_sha256", "mine"), 'sampling.images_sha256 is "mine": string should'),
    "a source without a hash": (to("architecture.source_sha256", "x"), 'source_sha256 is "x": string should match'),
    "a hash with a line break": (to("run_hash", "0123abcd4567\n"), 'run_hash is "0123abcd4567'),
    "a name that fills pages": (to("architecture.label", "x" * 20_000), "architecture.label has 20,000 characters"),
    "a key that fills pages": (to("architecture.settings", {"x" * 20_000: 1}), "has a name of 20,000 characters"),
    "a better FID": (to("metrics.0.value", 0.9), "metrics.0.value is 0.9, should be 1.25 (fid by its raw numbers)"),
    "an FID's term": (to("metrics.0.raw.terms.1", 0.5), "metrics.0.value is 1.25, should be 0.75"),
    "means closer than equal": (
        to("metrics.0.raw.terms", [-0.25, 1.5]),
        "metrics.0.raw.terms.0 is -0.25, should not be below 0: it is a square",
    ),
    "better than equal": (
        both(to("metrics.0.raw.terms", [0.25, -0.5]), to("metrics.0.value", -0.25)),
        "the sum of metrics.0.raw.terms is -0.25, should not be below 0: it is a distance",
    ),
    "an IS below 1": (to("metrics.2.raw.values.3", 0.5), "metrics.2.raw.values.3 is 0.5, should be at least 1"),
    "a smaller spread": (to("metrics.0.spread", 0.001), "metrics.0.spread is 0.001, should be 0.08"),
    "a hidden spread": (
        both(without("metrics.0.raw.jackknife"), to("metrics.0.spread", None)),
        'metrics.0.raw is {"terms": 2}, should be {"terms": 2, "jackknife": 10}',
    ),
    "no raw numbers": (to("metrics.0.raw", {}), "metrics.0.raw is empty"),
    "raw numbers of another kind": (to("metrics.0.raw", {"values": [1.25]}), 'metrics.0.raw is {"values": 1}'),
    "raw numbers of no kind": (to("metrics.0.raw", {"guesses": [1.25]}), "metrics.0.raw.guesses"),
    "a better KID": (to("metrics.1.value", 0.001), "metrics.1.value is 0.001, should be 0.01495"),
    "the worst subset of a KID": (without("metrics.1.raw.values.99"), 'metrics.1.raw is {"values": 99}, should be'),
    "fewer subsets of a KID": (
        both(to("metrics.1.raw.values", lambda values: values[:50]), to("metrics.1.settings.subsets", 50)),
        "metrics.1.settings.subsets is 50, should be 100",
    ),
    "fewer real images": (to("metrics.0.reference_samples", 100), "metrics.0.reference_samples is 100, should be"),
    "another precision": (
        to("training.precision", "bfloat16"),
        'training.precision is "bfloat16", should be "float32"',
    ),
    "compiled in secret": (to("training.compiled", True), "training.compiled is true, should be false"),
    "an IS's spread": (to("metrics.2.spread", 0.0), "metrics.2.spread is 0.0, should be 0.287"),
    "a better accuracy": (to("metrics.3.value", 0.99), "metrics.3.value is 0.99, should be 0.9"),
    "fewer tries": (
        both(to("metrics.3.raw.counts", [500.0, 500.0]), to("metrics.3.value", 1.0)),
        "metrics.3.raw.counts.1 is 500.0, should be 1000.0",
    ),
    "half a hit": (
        both(to("metrics.3.raw.counts.0", 900.5), to("metrics.3.value", 0.9005)),
        "metrics.3.raw.counts.0 is 900.5, should be 900.0",
    ),
    "more hits than tries": (to("metrics.3.raw.counts.0", 1001.0), "metrics.3.raw is"),
    "another sample count": (to("metrics.0.samples", 50000), "metrics.0.samples is 50000, should be 1000"),
    "a finer name": (to("metrics.0.protocol", "fid50k/digits-cnn"), 'should be "fid1k/digits-cnn"'),
    "a nobler extractor": (to("metrics.0.protocol", "fid1k/inception-v3-compat"), "metrics.0.protocol is"),
    "other features": (to("metrics.0.features_sha256", "0" * 64), "metrics.0.features_sha256 is"),
    "other real images": (to("metrics.0.reference_sha256", "0" * 64), "metrics.0.reference_sha256 is"),
    "the other direction": (to("metrics.0.higher_is_better", True), "metrics.0.higher_is_better is true"),
    "metrics that trade places": (
        lambda c: c["metrics"].insert(0, c["metrics"].pop(1)),
        'metrics is ["kid", "fid", "is", "knn"], should be ["fid", "kid", "is", "knn"]',
    ),
    "a metric less": (without("metrics.3"), "a finished run needs its track's metrics"),
    "training throughput": (to("training.images_per_second", 640.0), "should be 320.0 (at the median step)"),
    "faster steps": (
        both(to("training.step_seconds", [0.1, 0.1, 10.0]), to("training.images_per_second", 640.0)),
        "training.seconds is 10.3, should be 10.2, the sum of step_seconds",
    ),
    "the slow step": (to("training.step_seconds.2", 0.2), "training.seconds is 10.3, should be 0.5"),
    "a step less": (without("training.step_seconds.2"), "the length of training.step_seconds is 2, should be 3"),
    "another stride": (to("training.step_stride", 2), "training.step_stride is 2, should be 1"),
    "a step that took no time": (to("training.step_seconds.0", 0.0), "training.step_seconds.0 is 0.0, should be above"),
    "time that ran backwards": (to("training.compile_seconds", -1.0), "training.compile_seconds is -1.0, should not"),
    "more from a cache than there was": (
        to("training.warm_compile_seconds", 1.0),
        "training.warm_compile_seconds is 1.0, should be part of the 0.0 of compiling",
    ),
    "a pause that is too short": (
        to("training.pauses", 2),
        "training.paused_seconds is 0.0, should be at least 10.0: 2",
    ),
    "a damaged checkpoint without a start": (
        to("training.damaged_checkpoints", 1),
        "training.damaged_checkpoints is 1, should be 0",
    ),
    "a time without a pause": (to("training.paused_seconds", 7.5), "training.paused_seconds is 7.5, should be 0.0"),
    "loading beyond the clock": (to("training.loading_seconds", 11.0), "training.loading_seconds is 11.0"),
    "sampling throughput": (to("sampling.images_per_second", 500.0), "should be 375.0 (of the median batch)"),
    "faster batches": (
        to("sampling.batch_seconds", [0.1] * 4),
        "sampling.images_per_second is 375.0, should be 2500.0",
    ),
    "fewer samples": (to("sampling.batch_images.3", 50), "the sum of sampling.batch_images is 800, should be 1000"),
    "larger batches": (
        to("sampling.batch_images", [500, 500]),
        "sampling.batch_images is [500, 500], should be 250 each",
    ),
    "a batch's time": (without("sampling.batch_seconds.0"), "the length of sampling.batch_seconds is 3, should be 4"),
    "other labels": (to("sampling.labels_sha256", "0" * 64), "sampling.labels_sha256 is"),
    "more sampling steps": (to("sampling.steps", 250), "sampling.steps is 250, should be 25"),
    "fewer evaluations": (
        to("sampling.evaluations", 1),
        "sampling.evaluations is 1, should be 25 (25 steps of euler)",
    ),
    "another sampler": (to("sampling.sampler", "heun"), 'sampling.sampler is "heun", should be "euler"'),
    "weights not averaged": (to("sampling.weights", "raw"), 'sampling.weights is "raw", should be "ema"'),
    "fewer images": (to("training.images", 100), "training.images is 100, should be 192"),
    "a larger batch": (to("training.batch_size", 128), "training.batch_size is 128, should be 64"),
    "more steps": (
        both(to("training.steps", 4), to("training.images", 256)),
        "training.steps is 4.0, which is more than a step beyond the budget of 3-steps",
    ),
    "less than the budget": (
        both(to("training.steps", 2), to("training.images", 128)),
        "training.steps is 2.0, should be",
    ),
    "fewer FLOPs": (to("training.flops", 1.0), "training.flops is 1.0, should be 8709341184.0"),
    "fewer MACs": (to("cost.macs_per_image", 1_000_000), "training.flops is 8709341184.0, should be 1152000000.0"),
    "no parameters": (to("cost.parameters", 1), "cost.trainable_parameters is 1900000, should be part"),
    "another budget": (to("budget", "1-steps"), 'run_hash is "'),
    "no training": (
        to("cost.training_macs_per_image", 0),
        "cost.training_macs_per_image is 0, should be at least a tenth of the 7560192 of a forward pass",
    ),
    "no budget": (to("budget", "plenty"), 'budget is "plenty"'),
    "a budget spelled otherwise": (to("budget", "3steps"), 'budget is "3steps", should be "3-steps"'),
    "a better last loss": (to("training.final_loss", 0.1), "training.final_loss is 0.1, should be 0.33"),
    "no curve": (to("training.curve", []), "the length of training.curve is 0"),
    "a curve that ends early": (without("training.curve.2"), "training.curve.1.step is 2, should be 3"),
    "a curve that turns": (to("training.curve.1.step", 1), "training.curve.1.step is 1, should be above 1"),
    "an earlier point": (to("training.curve.1.seconds", 0.15), "training.curve.1.seconds is 0.15, should be 0.3"),
    "a point's images": (to("training.curve.1.images", 100), "training.curve.1.images is 100, should be 128"),
    "an earlier milestone": (to("milestones.0.at", 0.9), "milestones.0.at is 0.9, but its step 2"),
    "a later milestone": (to("milestones.0.at", 0.1), "milestones.0.at is 0.1, but its step 2"),
    "a milestone's time": (to("milestones.0.seconds", 0.1), "milestones.0.seconds is 0.1, should be 0.3"),
    "a milestone's FLOPs": (to("milestones.0.flops", 1.0), "milestones.0.flops is 1.0, should be"),
    "a milestone's FID": (to("milestones.0.metrics.0.value", 0.5), "milestones.0.metrics.0.value is 0.5, should"),
    "a floor": (to("floors.0.value", 9.0), "floors.0.value is 9.0, should be 0.0015"),
    "a floor of another metric": (
        to("floors.0.metric", "precision"),
        'floors.0.metric is "precision", should be one of',
    ),
    "another run's hash": (to("run_hash", "0123abcd4567"), 'run_hash is "0123abcd4567", should be "'),
    "another run's name": (to("run_id", "dit-nano-seed0-0123abcd"), "run_id is"),
    "another seed": (to("seed", 1), "run_hash is"),
    "another source": (to("architecture.source_sha256", "0" * 64), "run_hash is"),
    "another size": (to("architecture.size", "XL/2"), 'architecture.label is "dit:nano", should be "dit:XL/2"'),
    "another architecture's label": (
        to("architecture.label", "mine:nano"),
        'architecture.label is "mine:nano", should be',
    ),
    "an option without effect": (to("architecture.options", {"width": 97}), "architecture.settings.width is 96"),
    "other data": (to("data_sha256", "0" * 64), f'data_sha256 is "{"0" * 64}", should be "{GOOD.data_sha256}"'),
    "real images of one's own": (
        to("reference_sha256", "0" * 64),
        f'"{GOOD.data_sha256}" (the training images, as its track says; otherwise its deviations say so)',
    ),
    "a date to come": (
        to("created", "2999-01-01T00:00:00Z"),
        'created is "2999-01-01T00:00:00+00:00", should not be yet',
    ),
    "a date without a zone": (to("created", "2026-01-02T00:00:00"), 'created is "2026-01-02T00:00:00", should have a'),
    "no submitter": (to("submission", None), "submission is none, should say who put the record forward"),
    "a submitter without a name": (to("submission.by", "\u202e"), "submission.by is"),
    "a path": (
        to("architecture.paper", "see /home/ada/paper"),
        "architecture.paper holds an absolute path, should tell nothing of the machine",
    ),
    "another recipe": (to("recipe.learning_rate", 1.0), "under the matched ruleset recipe and objective are"),
    "another track": (to("track.recipe.learning_rate", 1.0), "track_hash is 41b9cb63cc42 but the track hashes to"),
    "another track, hashed": (retrack, 'should be "41b9cb63cc42" (digits v3 as it was published'),
    "a version to come": (
        both(retrack, to("track.version", 9), retrack),
        "track.version is 9, should be 2 or 3 or 4: no other digits was published",
    ),
    "less data, untold": (to("data.examples", 1000), "data.examples is 1000, should be 1541 (as its track says"),
    "other images, untold": (to("data.shape", [3, 8, 8]), "data.shape is [3, 8, 8], should be [1, 8, 8]"),
    "images left out, untold": (to("data.skipped", 7), "data.skipped is 7, should be 0"),
    "a GPU on a CPU": (to("environment.gpu", "NVIDIA H100"), 'environment.gpu is "NVIDIA H100", should be none'),
    "another device": (to("device", "tpu"), 'device is "tpu", should be cpu, mps, cuda or cuda:N'),
    "little memory": (to("memory.training.resident", 1), "memory.training.resident is 1, should be at least the"),
    "no weights": (lambda c: c["files"].pop("ema.safetensors"), "files.ema.safetensors is missing"),
    "a run that failed": (both(to("status", "failed"), to("reason", "so")), "metrics is there, should not be"),
    "an interrupted run": (both(to("status", "interrupted"), to("reason", "so")), 'status is "interrupted", should be'),
    "a reason for nothing": (to("reason", "so"), 'reason is "so", should be none'),
    "a field of its own": (to("surprise", "<b>"), 'surprise is "<b>", should not be there: no such field is known'),
    "a field of its own, deep": (to("metrics.0.surprise", 1), "metrics.0.surprise is 1, should not be there"),
    "no seed": (without("seed"), "seed is missing"),
    "no value": (without("milestones.0.metrics.1.value"), "milestones.0.metrics.1.value is missing"),
    "a number as text": (to("training.steps", "3"), 'training.steps is "3"'),
    "a switch as number": (to("sampling.evaluations", True), "sampling.evaluations is true"),
    "a count below 0": (to("cost.parameters", -1), "cost.parameters is -1"),
    "not a number": (to("metrics.0.value", float("nan")), "metrics.0.value is nan, should be finite"),
    "infinity, deep": (to("metrics.0.raw.terms.0", float("-inf")), "metrics.0.raw.terms.0 is -inf, should be finite"),
    "a number too large": (
        to("training.steps", 10**30),
        "training.steps is 1000000000000000000000000000000, should be below",
    ),
    "text that is none": (to("data.name", "\ud800"), 'data.name is "?", should be text'),
    "a schema to come": (
        to("schema_version", 4),
        "a newer ditbench wrote it: its schema_version is 4, and this one reads up to 3",
    ),
    "a way out of the folder": (to("run_id", "../../etc/passwd"), 'run_id is "../../etc/passwd"'),
}
SEALED = {  # what nothing but the seal can tell
    "another processor": to("environment.cpu", "A slow one"),
    "another submitter": to("submission", {"by": "mallory", "date": "2026-01-02", "weights": None}),
    "another date": to("created", "2026-01-01T00:00:00Z"),
    "other images": to("sampling.images_sha256", "0" * 64),
}
