"""Record: the result of one run, as JSON that explains itself without the repository."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from .components import Value
from .derived import Kind, sample_error
from .errors import BadFile
from .migrations import upgrade_record
from .reading import read_checked
from .storage import write_text
from .track import Frozen, Name, ObjectiveChoice, Positive, Recipe, Ruleset, RunConfig, Track, digest

FILE_NAME = "record.json"
WEIGHTS_FILE, SAMPLES_FILE, GRID_FILE = "ema.safetensors", "samples.npz", "samples.png"
PROFILE_SUFFIX = ".profile.json"  # what `profile.py` writes, which may lie among records
EVALUATION_SUFFIX = ".evaluation.json"  # what `evaluation.py` writes, likewise
VERIFICATION_SUFFIXES = (".re-evaluated.json", ".re-trained.json")  # what `verification.py` writes, likewise
NO_RECORDS = (PROFILE_SUFFIX, EVALUATION_SUFFIX, *VERIFICATION_SUFFIXES, "milestones.json", ".partial.json")  # endings

Status = Literal["finished", "failed", "diverged", "interrupted"]
Count = Annotated[int, Field(ge=0, le=10**30)]
Person = Annotated[str, Field(pattern=r"^[^\x00-\x1f/\\]{1,100}$")]  # a name or an account, no address and no path
Number = Annotated[float, Field(ge=-1e30, le=1e30)]  # statistics of several can't overflow
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ArchitectureFacts(Frozen):
    """What was built, and whose code built it."""

    name: Name
    size: str
    options: dict[str, Value]
    label: str  # as the command line spells it
    settings: dict[str, Value | None]  # everything the network was built with
    distribution: str
    distribution_version: str
    source_sha256: str  # of the plugin's Python files
    paper: str


class Environment(Frozen):
    """The machine and the software. No host name, no user name, no path."""

    ditbench: str
    git_commit: Annotated[str, Field(pattern=r"^[0-9a-f]{7,64}$")] | None
    git_dirty: bool | None
    python: str
    platform: str
    torch: str
    diffusers: str
    torchmetrics: str
    torch_fidelity: str | None = None  # None: a record from before it was noted
    scikit_learn: str | None = None
    numpy: str | None = None
    torchvision: str | None = None
    pillow: str | None = None
    timm: str | None = None  # None: not installed
    cuda: str | None  # the toolkit torch was built with, when the run used a GPU
    gpu: str | None
    gpu_driver: str | None
    cpu: str
    cores: Count  # logical processors this process may use
    threads: Count  # torch's intra-op threads; part of a CPU result's bits
    memory_bytes: Count
    processes: Positive = 1  # that train and sample one run together, each on a GPU of its own if there are any
    parallel: Positive = 1  # runs at a time on the machine, each with its own GPUs or cores

    @property
    def hardware(self) -> str:
        """The class of hardware: the GPU's model, or the processor's and its threads."""
        return self.gpu or f"{self.cpu}, {self.threads} threads"


class Cost(Frozen):
    """What a denoiser costs before any clock runs."""

    parameters: Count  # fixed tables included
    trainable_parameters: Count
    train_only_parameters: Count  # of the above, never used by inference
    macs_per_image: Count  # forward pass at batch 1; 1 multiply-accumulate = 1, attention included
    training_macs_per_image: Count  # all forwards and backwards of one training image, recomputation included
    training_forwards: Annotated[int, Field(ge=1)] = 1  # that the architecture's own loss takes of an image

    @property
    def training_flops_per_image(self) -> int:
        """What a FLOPs budget counts: 3 x forward, as the DiT paper does; masked tokens are counted as processed."""
        return 3 * 2 * self.macs_per_image * self.training_forwards


class CurvePoint(Frozen):
    """The mean loss since the point before, and what had been spent by then."""

    step: Count
    images: Count
    seconds: Number
    loss: Number


class TrainingFacts(Frozen):
    """What training did. Throughputs derive from the raw times."""

    batch_size: Count
    steps: Count
    images: Count
    seconds: Number  # optimiser steps only, synchronised
    final_loss: Number | None  # mean over the last interval of the curve
    step_seconds: Annotated[list[Number], Field(min_length=1)]  # raw; every `step_stride`-th step
    step_stride: Count
    images_per_second: Number  # at the median step
    curve: list[CurvePoint] = []  # empty: a record from before it was noted
    resumed: Count  # times the run was taken up again
    flops: Number = 0.0  # spent, as a FLOPs budget counts them
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    compiled: bool = False
    feeding: Literal["device", "streamed"] = "device"  # where the data lay
    loading_seconds: Number = 0.0  # of `seconds`: waiting for data
    compile_seconds: Number = 0.0  # these three are not part of `seconds`
    checkpoint_seconds: Number = 0.0
    evaluation_seconds: Number = 0.0


class SamplingFacts(Frozen):
    """How the scored images came about."""

    sampler: str
    steps: Count
    evaluations: Count  # denoiser evaluations per image (NFE)
    weights: Literal["ema", "raw"]
    labels_sha256: str
    images_sha256: str
    batch_images: Annotated[list[Count], Field(min_length=1)]
    batch_seconds: Annotated[list[Number], Field(min_length=1)]  # raw, one per batch; without decoding
    images_per_second: Number  # of the median batch
    decode_seconds: Number = 0.0  # of all latents to images


class PeakMemory(Frozen):
    """A phase's peaks in bytes: the process's resident set on a CPU; on CUDA the allocator's two, and the device's."""

    resident: Count | None = None
    allocated: Count | None = None
    reserved: Count | None = None
    device_used: Count | None = None  # of the whole GPU, other processes included, seen after each step; None: not seen

    @classmethod
    def largest(cls, peaks: Sequence[PeakMemory]) -> PeakMemory:
        """The peaks of a phase that was measured in parts."""
        facts = [peak.model_dump() for peak in peaks]
        return cls(**{name: max((f[name] for f in facts if f[name] is not None), default=None) for name in facts[0]})


class Memory(Frozen):
    """Peak memory of the two phases. A process's resident peak can't be reset, so on a CPU sampling has none."""

    resident_at_start: Count  # libraries and data, before the network is built
    training: PeakMemory
    sampling: PeakMemory


class Measurement(Frozen):
    """One number and all it takes to read it."""

    protocol: Annotated[
        str, Field(pattern=r"^[a-z0-9._-]+/[a-z0-9._-]+$")
    ]  # e.g. "fid1k/digits-cnn"; numbers of different protocols never share a column
    metric: str
    value: Number
    spread: Number | None = None  # deviation of subsets, splits or halves, or a jackknife's standard error
    higher_is_better: bool
    samples: Count
    reference_samples: Count | None  # None: not known (moments from a file), or the metric has no reference
    reference_sha256: str | None = None  # of the real images, or of the file that holds their moments
    features_sha256: str | None = None  # of the extractor's weights
    settings: dict[str, Value] = {}
    raw: dict[Kind, list[Number]] = {}  # what value and spread follow from, as `derived.of_raw` has it

    @property
    def sample_error(self) -> float | None:
        """Standard error that the choice of samples gives the value; None: not known, as of KID's random subsets."""
        return sample_error(self.value, self.raw, disjoint="splits" in self.settings)


class Milestone(Frozen):
    """The EMA weights measured on the way, at a share of the budget."""

    at: Annotated[Number, Field(gt=0, lt=1)]
    steps: Count
    images: Count
    seconds: Number
    flops: Number
    metrics: list[Measurement]


class DataFacts(Frozen):
    """What was trained on. No path."""

    name: str
    examples: Count
    shape: tuple[int, int, int]  # (C, H, W) of what the denoiser sees
    classes: Count
    skipped: Count = 0  # images that were left out because they could not be read
    autoencoder: str = ""  # of latents, by its name
    autoencoder_sha256: str = ""


class RawWeights(Frozen):
    """The weights as training left them, not averaged: sampled and measured like the EMA, when that was asked for."""

    created: datetime
    environment: Environment
    sampling: SamplingFacts
    metrics: list[Measurement]


class Submission(Frozen):
    """Who put a record forward, and where its weights are for others to measure."""

    by: Person
    date: date
    weights: Annotated[str, Field(pattern=r"^https://\S{1,500}$")] | None = None  # of the file in `files`


class Record(Frozen):
    """One run. Immutable once finished, but for what is asked for later and adds to it."""

    schema_version: Literal[3] = 3
    sha256: Sha256 | None = None  # of all else as JSON; set when the record is written
    run_id: Name
    run_hash: str
    status: Status
    reason: str | None = None  # why the run did not finish, in one line
    created: datetime
    track: Track
    track_hash: str
    ruleset: Ruleset
    recipe: Recipe  # the track's, or with what the architecture's paper changes
    objective: ObjectiveChoice
    deviations: list[str] = []  # why the run is not ranked: what is not as its track says
    budget: str
    data_sha256: str  # of the examples, their labels and the classes' names
    reference_sha256: str  # of what samples are compared with; empty: with nothing
    seed: Count
    device: str
    architecture: ArchitectureFacts
    environment: Environment | None = None
    cost: Cost | None = None
    training: TrainingFacts | None = None
    sampling: SamplingFacts | None = None
    memory: Memory | None = None
    data: DataFacts | None = None
    metrics: list[Measurement] = []
    left_out: list[str] = []  # why the track's metrics could not be measured
    floors: list[Measurement] = []  # the same metrics of held-out images, or between random halves of the real ones
    milestones: list[Milestone] = []  # the same metrics on the way, where that was asked for
    raw: RawWeights | None = None
    files: dict[Name, Sha256] = {}  # what the run left beside its record: the weights measured, the grid of samples
    submission: Submission | None = None

    @property
    def hardware(self) -> str:
        """How many of which class of hardware, whose runs alone share speeds; empty if the record does not say."""
        of = self.environment
        return "" if of is None else f"{of.processes} x {of.hardware}" if of.processes > 1 else of.hardware

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Record:
        if self.track_hash != self.track.hash:
            raise ValueError(f"track_hash is {self.track_hash} but the track hashes to {self.track.hash}")
        whole = (self.environment, self.cost, self.training, self.sampling, self.memory, self.data)
        if self.status == "finished" and None in whole:
            raise ValueError("a finished run needs environment, cost, training, sampling, memory and data")
        found = [measurement.metric for measurement in self.metrics]
        asked = [metric for metric, _ in self.track.evaluation.choices]
        as_the_track = self.recipe.learns == self.track.recipe.learns and self.objective == self.track.objective
        if self.ruleset == "matched" and not as_the_track:
            raise ValueError("under the matched ruleset recipe and objective are the track's")
        if self.left_out and (found or not self.deviations):
            raise ValueError("only a run that deviates from its track may leave its metrics out, and then all of them")
        if self.status == "finished" and not self.left_out and found != asked:
            raise ValueError(f"a finished run needs its track's metrics, not {', '.join(found) or 'none'}")
        if self.status != "finished" and not self.reason:
            raise ValueError("a run that did not finish needs its reason")
        return self


class ImageFacts(Frozen):
    """A set of images that was scored, or scored against."""

    name: str  # of the file, folder, data set or weights, without the way to it
    kind: Literal["images", "moments", "generated"]
    sha256: str | None  # of the files or pixels; None: generated and not kept
    count: Count | None  # None: a file of moments does not tell
    shape: tuple[int, int, int] | None  # (C, H, W)
    jpeg: bool = False  # compressed with loss, and scored all the same because that was asked for


class Evaluation(Frozen):
    """Samples scored by `ditbench evaluate`, whoever made them."""

    schema_version: Literal[1] = 1
    created: datetime
    samples: ImageFacts
    reference: ImageFacts
    extractor: Name
    extractor_sha256: str
    resize: str  # how the extractor brought the images to its size
    generated: dict[str, Any] = {}  # of a checkpoint: how its images came about
    environment: Environment
    device: str
    seconds: dict[str, Number]  # of the parts: reference, samples, metrics
    peak: PeakMemory
    bytes_per_image: Count  # what is kept of each image
    metrics: Annotated[list[Measurement], Field(min_length=1)]
    left_out: list[str] = []  # metrics that could not be measured, and why
    floors: list[Measurement] = []


_OF_THE_RUN = (  # what a config and its record both say, by one name
    "track", "ruleset", "recipe", "objective", "budget", "seed", "device", "data_sha256", "reference_sha256",
)  # fmt: skip


def identity(config: RunConfig) -> dict[str, Any]:
    """The fields of a run's record that are known before it starts."""
    of_both = ArchitectureFacts.model_fields.keys() - {"name"}
    return {
        **{name: getattr(config, name) for name in _OF_THE_RUN},
        "run_id": config.run_id,
        "run_hash": config.hash,
        "created": datetime.now(UTC).replace(microsecond=0),
        "track_hash": config.track.hash,
        "deviations": list(config.deviations),
        "architecture": ArchitectureFacts(name=config.architecture, **{n: getattr(config, n) for n in of_both}),
    }


def config_of(record: Record) -> RunConfig:
    """The run that a record says it is of: `RunConfig.hash` of it is the record's `run_hash`."""
    return RunConfig(
        architecture=record.architecture.name,
        **record.architecture.model_dump(exclude={"name", "label"}),
        **{name: getattr(record, name) for name in _OF_THE_RUN},
        hardware=record.environment.hardware if record.environment else "",
        deviations=tuple(record.deviations),
        eval_at=tuple(milestone.at for milestone in record.milestones),
    )


def row_hash(record: Record) -> str:
    """What the runs of a row share, whatever their seeds and the hardware; empty if the record describes no run."""
    try:
        return config_of(record).model_copy(update={"seed": 0, "hardware": ""}).hash
    except pydantic.ValidationError:
        return ""


def seal(content: dict[str, Any]) -> str:
    """sha256 of a record as JSON gives it, but for the field that holds this sha256."""
    return digest({name: value for name, value in content.items() if name != "sha256"})


def write_record(record: Record, path: Path) -> Record:
    """Write the record atomically, with its sha256, and return it so: `read_record` gives it back equal."""
    sealed = record.model_copy(update={"sha256": seal(record.model_dump(mode="json"))})
    write_text(path, sealed.model_dump_json(indent=1) + "\n")
    return sealed


def write_evaluation(evaluation: Evaluation, folder: Path) -> Path:
    """Write it atomically, under a name that says what was scored with what."""
    stem = "".join(c if c.isalnum() or c in "._=" else "-" for c in evaluation.samples.name)[:80]
    content = evaluation.model_dump(mode="json", exclude={"created", "seconds", "peak"})
    path = folder / f"{stem}-{evaluation.extractor}-{digest(content, 8)}{EVALUATION_SUFFIX}"
    write_text(path, evaluation.model_dump_json(indent=1) + "\n")
    return path


def read_record(path: Path) -> Record:
    """Read and check a record, also one of an older version; `BadFile` names the file and the field."""
    return read_checked(Record, path, upgrade_record)


def read_records(folder: Path) -> list[Record]:
    """Every record below a folder, committed or of runs, and no other JSON; `BadFile` names the first that is wrong."""
    if not folder.is_dir():
        raise BadFile(f"The records folder {str(folder)!r} does not exist.")
    return [read_record(path) for path in sorted(folder.rglob("*.json")) if not path.name.endswith(NO_RECORDS)]


def read_runs(folder: Path) -> list[Record]:
    """The records of a track's run directories."""
    return [read_record(path) for path in sorted(folder.glob(f"*/{FILE_NAME}"))]
