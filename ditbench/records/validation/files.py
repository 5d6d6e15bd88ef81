"""Record files, checked: the seal, the schema, every number that follows from others, and the files beside.

All faults of a file are told, a line each, and whatever it holds, reading it raises nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pydantic

from ...errors import BadFile, one_line
from ...registry import Registry
from ...storage.files import exists, is_file, is_folder, sha256_of
from ...storage.schema import Model, digest, newer_than_known
from ..evaluation import Evaluation
from ..files import (
    CALLED,
    EVALUATION_SUFFIX,
    FILE_NAME,
    GRID_FILE,
    GUIDANCE_SUFFIX,
    LENGTHS_SUFFIX,
    PROFILE_SUFFIX,
    RECORDS,
    VERIFICATION_SUFFIXES,
    WEIGHTS_FILE,
    json_files,
    profile_files_beside,
    record_files,
)
from ..guidance import GuidanceCurve
from ..lengths import EmaLengths
from ..profile import Profile
from ..record import Record, read_record, seal
from ..verification import (
    NAME_FORM,
    Comparison,
    Verification,
    compare,
    file_name,
    has_its_times,
    is_copy,
    is_name,
    is_submitter,
)
from .faults import Faults, differs, short, shown
from .folder import (
    as_submitted,
    grid_of,
    is_committed,
    is_committed_profile,
    picture_only,
    strays,
    tells_no_path,
)
from .guidance import faults_of_curve
from .json_files import doubles, oddities, read_object
from .known import Counter, Known
from .lengths import faults_of_lengths
from .metrics import metrics_of_evaluation
from .plausible import in_time, not_before
from .profiles import committed_faults, profile_faults
from .rows import faults_between
from .run import faults_of, measured_faults
from .training import training_of

MAX_FAULTS = 200  # of a file that are told
_SCHEMA: int = Record.model_fields["schema_version"].default


@dataclass
class CheckedFile:
    """A file, what it holds, and what is wrong with it."""

    path: Path
    kind: str
    faults: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)  # what could not be computed again here, and why
    record: Record | None = None  # of a run, where it can be read as one

    @property
    def lines(self) -> list[str]:
        """The faults as they are told: FILE: what, what it says, what it should be."""
        told = [short(f"{self.path}: {fault}", 1000) for fault in self.faults[:MAX_FAULTS]]
        more = len(self.faults) - MAX_FAULTS
        return [*told, f"{self.path}: and {more} more"] if more > 0 else told


def validate(paths: Sequence[Path], registry: Registry, count: Counter | None = None) -> list[CheckedFile]:
    """Check files, and folders through and through, each by itself and the runs beside each other.

    The metrics and samplers in the registry are those whose numbers can be computed again; `count` counts the cost of
    its architectures. `BadFile` if a path leads nowhere, or there is no record.
    """
    checked = [check_file(path, registry, count) for path in _find(paths)]
    if not checked:
        places = ", ".join(repr(str(path)) for path in paths)
        raise BadFile(f"There is no record in {places}. A record is called {CALLED}.")
    check_together(checked)
    return _with_strays(checked, paths)


def _find(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if not exists(path):
            raise BadFile(f"There is no file or folder {str(path)!r}.")
        found += _inside(path) if is_folder(path) else [path]
    return list({file.absolute(): file for file in found}.values())


def _inside(folder: Path) -> list[Path]:
    """Records and what may lie among them, by their names; of a leaderboard's folder its records and profiles."""
    folder = folder / RECORDS if is_folder(folder / RECORDS) else folder
    among = [*record_files(folder), *(path for path in json_files(folder) if kind_of(path) != "record")]
    return [*sorted(among), *profile_files_beside(folder)]


def _with_strays(checked: list[CheckedFile], paths: Sequence[Path]) -> list[CheckedFile]:
    """Also what lies in a leaderboard and belongs to no record, whether it was checked as a file or not."""
    by_path = {one.path.absolute(): one for one in checked}
    for path, fault in strays(paths):
        by_path.setdefault(path.absolute(), CheckedFile(path, "stray")).faults.append(fault)
    return list(by_path.values())


def check_file(path: Path, registry: Registry, count: Counter | None = None) -> CheckedFile:
    """Check one file by itself."""
    known = Known(registry, count=count)
    checked = CheckedFile(path, kind_of(path), unchecked=known.unchecked)
    try:
        content = read_object(path)
    except ValueError as error:
        checked.faults.append(short(f"it can't be read: {error}"))
        return checked
    odd = dict(oddities(content))
    checked.faults += [f"{place} stands twice, should stand once" for place in doubles(content)]
    checked.faults += [f"{place} {what}" for place, what in odd.items()]
    _CHECKS[checked.kind](_File(checked, content, set(odd), known))
    return checked


def kind_of(path: Path) -> str:
    """What a file's name says it is: a record, unless its ending says otherwise."""
    return next((kind for ending, kind in _ENDINGS.items() if path.name.endswith(ending)), "record")


@dataclass
class _File:
    """A file's content while it is checked."""

    checked: CheckedFile
    content: dict[str, Any]
    odd: set[str]  # places of which enough is said
    known: Known

    def tell(self, faults: Faults) -> None:
        self.checked.faults += faults

    def check_seal(self) -> None:
        """The content as it lies there, before anything is made of it, has the sha256 that it says."""
        self.tell(differs("sha256", self.content.get("sha256"), seal(self.content), "the seal over all else"))

    def parse(self, model: type[Model]) -> Model | None:
        """The content as a model, or None; each wrong field is a fault. What is unknown is told and left out."""
        if newer := newer_than_known(self.content.get("schema_version"), model):
            self.checked.faults.append(newer)
            return None
        try:
            return model.model_validate_json(json.dumps(self.content), strict=True)
        except pydantic.ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False)
        self.tell(_told(one) for one in wrong if _place(one) not in self.odd)
        unknown = [one["loc"] for one in wrong if one["type"] == "extra_forbidden"]
        if len(unknown) < len(wrong):
            return None
        for *way, name in unknown:
            del reduce(getitem, way, self.content)[name]  # type: ignore[arg-type]
        return self.parse(model)


def _place(wrong: Any) -> str:
    return ".".join(map(str, wrong["loc"]))


def _told(wrong: Any) -> str:
    """One of pydantic's errors in a line."""
    place, says = _place(wrong), wrong["input"]
    text = one_line(wrong["msg"].removeprefix("Value error, "))
    if not place:
        return text
    if wrong["type"] == "missing":
        return f"{place} is missing"
    if wrong["type"] == "extra_forbidden":
        return f"{place} is {shown(says)}, should not be there: no such field is known"
    return f"{place} is {shown(says)}: {text[0].lower()}{text[1:]}"


class _Loose(Record):
    """A record whose fields are right, each by itself, so that all else that is wrong can be told, too."""

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> _Loose:
        return self


def _check_record(file: _File) -> None:
    version = file.content.get("schema_version")
    if type(version) is int and version < _SCHEMA:
        file.checked.faults.append(
            f"schema_version is {version}, should be {_SCHEMA}: an older record has no raw numbers of its metrics, so "
            "it can be read, but not recomputed; run it anew"
        )
        return
    file.check_seal()
    record = file.parse(_Loose)
    if record is None:
        return
    file.checked.record = record
    file.parse(Record)  # tells what its fields say against each other
    if not file.odd:
        file.tell(faults_of(record, file.known))
    path = file.checked.path.absolute()
    file.tell(_where(path, record))
    file.tell(_beside(path, record))
    if is_committed(path):
        file.tell(as_submitted(record))


def _where(path: Path, record: Record) -> Faults:
    """It lies as ``TRACK/RUN-ID.json``, or in its run's directory as ``RUN-ID/record.json``."""
    if path.name == FILE_NAME:
        yield from differs("the folder's name", path.parent.name, record.run_id, "its run_id")
    else:
        yield from differs("the file's name", path.name, f"{record.run_id}.json", "its run_id")
        yield from differs("the folder's name", path.parent.name, record.track.name, "its track")


def _beside(path: Path, record: Record) -> Faults:
    """The files that the run left have the sha256 that its record says, where they are."""
    if record.status == "finished" and WEIGHTS_FILE not in record.files:
        yield f"files.{WEIGHTS_FILE} is missing: no weights could be known as this run's"
    places = {name: path.parent / name for name in record.files} if path.name == FILE_NAME else {}
    if is_committed(path):
        places = {GRID_FILE: grid_of(path)}
    for name, place in places.items():
        if place.is_symlink() or (exists(place) and not is_file(place)):
            yield f"files.{name}: {place.name} is no file, but a link or a folder"
        elif exists(place):
            yield from differs(f"files.{name}", record.files.get(name), _sha256(place), f"of {place.name} beside it")
            if name == GRID_FILE:
                yield from picture_only(place, record)


def _sha256(path: Path) -> str | None:
    try:
        return sha256_of(path)
    except OSError:
        return None


def _check_evaluation(file: _File) -> None:
    found = file.parse(Evaluation)
    if found is None or file.odd:
        return
    file.tell(metrics_of_evaluation(found, file.known))
    end = f"-{digest(found.model_dump(mode='json', exclude={'created', 'seconds', 'peak'}), 8)}{EVALUATION_SUFFIX}"
    name = file.checked.path.name
    if not name.endswith(end):
        file.checked.faults.append(f"the file's name is {shown(name)}, should end with {end} (hash of its content)")


def _check_profile(file: _File) -> None:
    found, path = file.parse(Profile), file.checked.path
    if found is None or file.odd:
        return
    file.tell(profile_faults(found, file.known))
    if is_committed_profile(path):
        file.tell(committed_faults(found, path))


def _check_verification(file: _File) -> None:
    file.check_seal()
    found, path = file.parse(Verification), file.checked.path
    if found is None or file.odd:
        return
    file.tell(differs("the file's name", path.name, file_name(found), "its run_id, who verified it, and its tier"))
    if is_committed(path):
        file.tell(tells_no_path(found.model_dump(mode="json", exclude={"by"})))
    if record := _record_beside(file, found.run_id):
        file.tell(_of(found, record, file.known))


def _check_guidance(file: _File) -> None:
    file.check_seal()
    found, path = file.parse(GuidanceCurve), file.checked.path
    if found is None or file.odd:
        return
    file.tell(differs("the file's name", path.name, f"{found.run_id}{GUIDANCE_SUFFIX}", "its run_id"))
    if is_committed(path):
        file.tell(tells_no_path(found.model_dump(mode="json")))
    if record := _record_beside(file, found.run_id):
        file.tell(faults_of_curve(found, record, file.known))


def _record_beside(file: _File, run_id: str) -> Record | None:
    """The record that a file is about; that there is none is a fault."""
    beside = file.checked.path.with_name(f"{run_id}.json")
    try:
        return read_record(beside if exists(beside) else beside.with_name(FILE_NAME))
    except BadFile:
        file.checked.faults.append(f"run_id is {shown(run_id)}, but there is no such record beside it")
        return None


def _check_lengths(file: _File) -> None:
    file.check_seal()
    found, path = file.parse(EmaLengths), file.checked.path
    if found is None or file.odd:
        return
    if is_committed(path):
        file.tell(tells_no_path(found.model_dump(mode="json")))
    file.tell(differs("the file's name", path.name, f"{found.run_id}{LENGTHS_SUFFIX}", "its run_id"))
    if record := _record_beside(file, found.run_id):
        file.tell(faults_of_lengths(found, record, file.known))


def _of(found: Verification, record: Record, known: Known) -> Faults:
    """It is of this very record, somebody else's, and says of it what its numbers say."""
    why = "the seal of the record beside it, which may have changed since it was verified"
    yield from differs("run_id", found.run_id, record.run_id, "the record's")
    yield from differs("record_sha256", found.record_sha256, record.sha256, why)
    yield from differs("run_hash", found.run_hash, record.run_hash, "the record's")
    yield from in_time("created", found.created)
    yield from not_before("created", found.created, record.created)
    yield from _another(found, record)
    yield from _compared(found, record)
    facts = {name: getattr(found, name) for name in ("environment", "device", "sampling", "metrics", "training")}
    nothing: dict[str, object] = {"memory": None, "raw": None, "milestones": []}
    if record.denoising is not None:  # its images are the verification's, too
        nothing["denoising"] = record.denoising.model_copy(update={"points": []})
    again = record.model_copy(update={**facts, **nothing})
    if found.training is not None:
        yield from training_of(again)
    yield from measured_faults(again, known)


def _another(found: Verification, record: Record) -> Faults:
    """By another person, of another sampling and, where it was trained again, another training."""
    if is_submitter(record, found.by):
        yield f"by is {shown(found.by)}, who submitted the record; a verification is somebody else's"
    if not is_name(found.by):
        yield f"by is {shown(found.by)}, should be a name: {NAME_FORM}"
    if has_its_times(record, found.sampling):
        yield "sampling.batch_seconds are those of the record itself, should be another sampling's"
    if found.training is not None and is_copy(record, found.trained, found.training):
        yield "training is that of the record itself, should be another one's"


def _compared(found: Verification, record: Record) -> Faults:
    """What it says of each number, and of all, follows from its metrics and the record's."""
    compared = compare(record, found.tier, found.metrics, found.sampling)
    yield from differs("the length of compared", len(found.compared), len(compared), "metrics that have to agree")
    for i, (says, should) in enumerate(zip(found.compared, compared, strict=False)):
        for name in Comparison.model_fields:
            why = "by its metrics and the record's"
            yield from differs(f"compared.{i}.{name}", getattr(says, name), getattr(should, name), why)
    agree = bool(compared) and all(one.agrees for one in compared)
    yield from differs("confirmed", found.confirmed, agree, "by what is compared")


_ENDINGS = {
    PROFILE_SUFFIX: "profile",
    EVALUATION_SUFFIX: "evaluation",
    LENGTHS_SUFFIX: "EMA curve",
    GUIDANCE_SUFFIX: "guidance curve",
    **dict.fromkeys(VERIFICATION_SUFFIXES, "verification"),
}
_CHECKS: dict[str, Callable[[_File], None]] = {
    "record": _check_record,
    "profile": _check_profile,
    "evaluation": _check_evaluation,
    "EMA curve": _check_lengths,
    "guidance curve": _check_guidance,
    "verification": _check_verification,
}


def check_together(checked: Sequence[CheckedFile]) -> None:
    """No run twice, none copied from another, no seed left out, and one floor for all."""
    found = [(one, record) for one in checked if (record := one.record) is not None]
    for place, fault in faults_between([record for _, record in found], [str(one.path) for one, _ in found]):
        found[place][0].faults.append(fault)
