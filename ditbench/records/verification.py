"""What somebody else found when they checked a run, and what trust its record earns by that.

``self-reported``: nobody has. ``re-evaluated``: the metrics were measured again, of the weights whose sha256 the record
has. ``re-trained``: the run was trained again. A verification is a file beside the record, sealed like one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

import pydantic
from pydantic import Field

from ..errors import BadFile, BadValue, DitbenchError
from ..storage.files import Unwritable, exists, write_text
from ..storage.schema import Frozen, Hash, Name, Number, Sha256, Words, digest, read_checked
from .facts import Environment, Measurement, Person, SamplingFacts, TrainingFacts
from .files import VERIFICATION_SUFFIXES, json_files
from .record import Record, seal

Again = Literal["re-evaluated", "re-trained"]
Tier = Literal["self-reported", "re-evaluated", "re-trained"]
TIERS: tuple[Tier, ...] = ("self-reported", "re-evaluated", "re-trained")  # from the least trust to the most
NAME_FORM = "up to 100 characters, without slashes and line breaks"
SUFFIXES: dict[Again, str] = dict(zip(get_args(Again), VERIFICATION_SUFFIXES, strict=True))


class Tolerance(NamedTuple):
    """How far a number that was measured again may be from the record's: the larger of two distances."""

    share: float  # of the record's number
    spreads: float  # times its spread over the samples, the smaller of the two, so that nobody widens it for himself

    def allows(self, recorded: Measurement, found: Measurement) -> float:
        """The distance, for one number."""
        return max(self.share * abs(recorded.value), self.spreads * min(noise(recorded), noise(found)))


TOLERANCES: dict[Again, Tolerance] = {
    # The weights, the labels and the noise are the same. What differs is rounding on another machine, which moves a
    # metric by far less than another draw of the samples would, and that is what the spread measures.
    "re-evaluated": Tolerance(0.01, 0.25),
    # The seed is the same, but rounding makes two trainings part ways: the second is as far off as another seed's. The
    # spread has none of that, so a tenth is allowed; FIDs of seeds are seldom that far apart.
    "re-trained": Tolerance(0.10, 4),
}
# The images are the same to the last bit, so that rounding in the extractor alone is left: measured, up to 2e-6 of a
# KID and 5e-8 of a FID between ways to compute the same convolutions; more where a KID is about 0.
SAME_IMAGES = Tolerance(0.001, 0.01)


class Comparison(Frozen):
    """A number of the record beside the one that was measured again."""

    protocol: str
    recorded: Number
    found: Number
    allowed: Number  # distance between the two

    @property
    def agrees(self) -> bool:
        """Whether they are no further apart than that."""
        return abs(self.found - self.recorded) <= self.allowed


class Verification(Frozen):
    """One run, checked by somebody. It confirms the record, or says where it does not agree."""

    schema_version: Literal[1] = 1
    sha256: Sha256 | None = None  # of all else as JSON; set when it is written
    tier: Again
    run_id: Name
    run_hash: Hash  # a run that was trained again has the same
    record_sha256: Sha256  # the seal of the record that was checked
    by: Person
    created: datetime
    environment: Environment
    device: Words
    metrics: Annotated[list[Measurement], Field(min_length=1)]  # measured again
    sampling: SamplingFacts
    trained: datetime | None = None  # when the run that was trained again ended
    training: TrainingFacts | None = None  # of that run
    compared: list[Comparison]  # what has to agree
    confirmed: bool  # whether all of it does

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Verification:
        again = self.tier == "re-trained"
        if (self.training is not None, self.trained is not None) != (again, again):
            raise ValueError("what was trained again tells its training and when that was, and nothing else does")
        return self


def noise(of: Measurement) -> float:
    """How far another draw of the samples moves a number: its spread, or a share's binomial standard error."""
    if of.spread is not None:
        return of.spread
    counts = of.raw.get("counts", [])
    is_share = len(counts) == 2 and counts[1] > 0 and 0 <= of.value <= 1
    return math.sqrt(of.value * (1 - of.value) / counts[1]) if is_share else 0.0


def compare(record: Record, tier: Again, metrics: Sequence[Measurement], sampling: SamplingFacts) -> list[Comparison]:
    """The numbers that have to agree: all of the same weights, after another training the one that ranks.

    `sampling` tells the images that were measured. None if other metrics were measured than the record has.
    """
    if [one.protocol for one in metrics] != [one.protocol for one in record.metrics]:
        return []
    again = tier == "re-evaluated"
    tolerance = SAME_IMAGES if again and _same_images(record, sampling) else TOLERANCES[tier]
    pairs = list(zip(record.metrics, metrics, strict=True))
    return [
        Comparison(
            protocol=recorded.protocol,
            recorded=recorded.value,
            found=found.value,
            allowed=tolerance.allows(recorded, found),
        )
        for recorded, found in (pairs if again else pairs[:1])
    ]


def _same_images(record: Record, sampling: SamplingFacts) -> bool:
    return record.sampling is not None and record.sampling.images_sha256 == sampling.images_sha256


def re_evaluated(
    record: Record,
    by: str,
    environment: Environment,
    device: str,
    sampling: SamplingFacts,
    metrics: Sequence[Measurement],
) -> Verification:
    """What the metrics are when they are measured again of the record's weights."""
    check_by(record, by)
    return _verification(record, "re-evaluated", metrics, sampling, by=by, environment=environment, device=device)


def re_trained(record: Record, other: Record, by: str) -> Verification:
    """What another run of the same hash says of a record; `DitbenchError` if it is not another one, or not finished."""
    check_by(record, by)
    if other.run_hash != record.run_hash:
        raise BadFile(f"{other.run_id} is another run than {record.run_id}: their run hashes differ.")
    if other.status != "finished" or not other.metrics or other.sampling is None or other.environment is None:
        raise BadFile(f"{other.run_id} was trained again but has no metrics: it is {other.status}.")
    if is_copy(record, other.created, other.training):
        raise BadFile(f"{other.run_id} was not trained again: its times are those of the record itself.")
    return _verification(
        record,
        "re-trained",
        other.metrics,
        other.sampling,
        by=by,
        environment=other.environment,
        device=other.device,
        trained=other.created,
        training=other.training,
    )


def is_copy(record: Record, trained: datetime | None, training: TrainingFacts | None) -> bool:
    """Whether a training is the record's own: no two end in the same second, or have most of their step times alike."""
    ours = record.training
    if training is None or ours is None:
        return False
    pairs = list(zip(ours.step_seconds, training.step_seconds, strict=False))
    return trained == record.created or 2 * sum(one == other for one, other in pairs) > len(pairs)


def has_its_times(record: Record, sampling: SamplingFacts) -> bool:
    """Whether a sampling took, batch by batch, as long as the record's own: then it is that one, copied."""
    return record.sampling is not None and record.sampling.batch_seconds == sampling.batch_seconds


def is_name(by: str) -> bool:
    """Whether it can be the name of who submits or verifies."""
    return 0 < len(by.strip()) <= len(by) <= 100 and by.isprintable() and not {"/", "\\"} & set(by)


def check_name(by: str) -> None:
    """`BadValue` if it can't be the name of who submits or verifies."""
    if not is_name(by):
        raise BadValue(f"`by` {by!r} is no name: {NAME_FORM}.")


def check_by(record: Record, by: str) -> None:
    """`DitbenchError` if there is nothing to verify, or if who submitted the record would verify it."""
    check_name(by)
    if record.status != "finished" or not record.metrics or record.sha256 is None:
        raise BadFile(f"{record.run_id} has no numbers to verify: it is {record.status}.")
    if is_submitter(record, by):
        raise DitbenchError(f"{by!r} submitted {record.run_id}; a verification is somebody else's.")


def is_submitter(record: Record, by: str) -> bool:
    """Whether that name submitted the record."""
    return record.submission is not None and _called(record.submission.by) == _called(by)


def _called(by: str) -> str:
    """A person's name as it is compared: capitals and blanks around it make nobody else."""
    return by.casefold().strip()


def _verification(
    record: Record, tier: Again, metrics: Sequence[Measurement], sampling: SamplingFacts, **facts: object
) -> Verification:
    compared = compare(record, tier, metrics, sampling)
    if not compared:
        raise BadFile(f"What was measured again are not the metrics of {record.run_id}.")
    content = {
        "tier": tier,
        "run_id": record.run_id,
        "run_hash": record.run_hash,
        "record_sha256": record.sha256,
        "created": datetime.now(UTC).replace(microsecond=0),
        "metrics": list(metrics),
        "sampling": sampling,
        "compared": compared,
        "confirmed": all(one.agrees for one in compared),
        **facts,
    }
    return Verification.model_validate(content)


def is_of(verification: Verification, record: Record) -> bool:
    """Whether it is of this record as it is: of one that was changed since it is not."""
    return verification.run_id == record.run_id and verification.record_sha256 == record.sha256


def confirms(verification: Verification, record: Record) -> bool:
    """Whether it is of this record, and what was measured again agrees with it."""
    if not is_of(verification, record):
        return False
    compared = compare(record, verification.tier, verification.metrics, verification.sampling)
    return bool(compared) and all(one.agrees for one in compared)


def tier_of(record: Record, verifications: Iterable[Verification]) -> Tier:
    """The most that a verification of this very record has confirmed."""
    earned: list[Tier] = [found.tier for found in verifications if confirms(found, record)]
    return max(earned, key=TIERS.index, default="self-reported")


def doubts_of(record: Record, verifications: Iterable[Verification]) -> list[Verification]:
    """Those of this very record that do not agree with it."""
    return [found for found in verifications if is_of(found, record) and not confirms(found, record)]


def read_verification(path: Path) -> Verification:
    """Read and check one; `BadFile` names the file and the field."""
    return read_checked(Verification, path)


def read_verifications(folder: Path) -> list[Verification]:
    """All below a folder; `BadFile` names the first that is wrong."""
    return [read_verification(path) for path in json_files(folder) if path.name.endswith(VERIFICATION_SUFFIXES)]


def file_name(verification: Verification) -> str:
    """Its file's name beside the record: one for each tier and each person, so that several can verify a run."""
    return f"{verification.run_id}.{digest(_called(verification.by), 6)}{SUFFIXES[verification.tier]}"


def verifications_of(run_id: str, folder: Path) -> list[Path]:
    """The files of a run's verifications in a folder, going by their names."""
    return sorted(path for suffix in SUFFIXES.values() for path in folder.glob(f"{run_id}.*{suffix}"))


def write_verification(verification: Verification, folder: Path) -> Path:
    """Write it atomically and sealed beside its record, in place of an earlier one by the same person.

    `DitbenchError` if it can't be written, or if another person's has its name.
    """
    path = folder / file_name(verification)
    if exists(path) and _called((before := read_verification(path)).by) != _called(verification.by):
        raise DitbenchError(f"{path.name!r} is already there, by {before.by!r}; give another name by `by`.")
    sealed = verification.model_copy(update={"sha256": seal(verification.model_dump(mode="json"))})
    try:
        write_text(path, sealed.model_dump_json(indent=1) + "\n")
    except Unwritable as error:
        raise DitbenchError(f"{path.name!r} can't be written beside its record ({error.reason}).") from None
    return path
