"""Published hashes stay, whatever the models gain later; and whoever adds a field is told how, so that they do."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import pydantic
import pytest
from records import evaluation, sound
from verifications import checked, sealed

from ditbench.records.evaluation import Evaluation
from ditbench.records.guidance import GuidanceCurve
from ditbench.records.record import OF_THE_RUN, Record, config_of, read_record, row_hash, seal
from ditbench.records.verification import Verification
from ditbench.registry import Registry
from ditbench.storage.schema import Frozen, later
from ditbench.tracks.config import NOT_HASHED, RunConfig
from ditbench.tracks.ledger import read_ledger
from ditbench.tracks.track import Track, load_track

TESTS = Path(__file__).parents[1]
RECORDS = TESTS.parent / "leaderboard" / "records"
PUBLISHED = tomllib.loads(Path(__file__).with_name("published_hashes.toml").read_text())
PATHS = {path.stem: path for path in RECORDS.rglob("*.json")}
FIRST = {run_id: path for run_id, path in PATHS.items() if "-seed0-" in run_id}  # other seeds' have the same fields
TRACKS = Registry.installed().tracks

FIELDS = {  # of all that is hashed, as they were when hashes of it were first published
    "RunConfig":
        "track architecture size options settings paper distribution distribution_version source_sha256 ruleset recipe "
        "objective budget seed device hardware data reference data_sha256 reference_sha256 deviations skip_bad offline "
        "eval_at keep_samples raw_weights checkpoint_seconds",
    "Track":
        "name version description space size budget budgets data objective recipe sampler evaluation target",
    "DataChoice":
        "dataset resolution flip posterior channels images classes downsampling autoencoder",
    "ObjectiveChoice": "name settings",
    "Recipe":
        "optimizer learning_rate betas weight_decay batch_size micro_batch warmup warmup_steps decay clip_norm "
        "label_dropout ema_half_life ema_decay precision compile checkpointing",
    "SamplerChoice": "name steps batch_size guidance",
    "Guidance": "scale formula schedule power interval channels",
    "EvaluationChoice": "samples labels features metrics",
    "Record":
        "schema_version sha256 run_id run_hash status reason created track track_hash ruleset recipe objective "
        "deviations budget data_sha256 reference_sha256 seed device architecture environment cost training sampling "
        "memory data metrics left_out floors milestones raw files submission",
    "Submission": "by date weights",
    "ArchitectureFacts":
        "name size options label settings distribution distribution_version source_sha256 paper",
    "Environment":
        "ditbench git_commit git_dirty python platform torch diffusers torchmetrics torch_fidelity scikit_learn numpy "
        "torchvision pillow timm cuda gpu gpu_driver cpu cores threads memory_bytes processes parallel",
    "Cost":
        "parameters trainable_parameters train_only_parameters macs_per_image training_macs_per_image "
        "training_forwards",
    "TrainingFacts":
        "batch_size steps images seconds final_loss step_seconds step_stride images_per_second curve resumed flops "
        "precision compiled feeding loading_seconds compile_seconds checkpoint_seconds evaluation_seconds",
    "Fingerprint": "rule shapes_sha256 numbers missing",
    "Scaled": "value scale",
    "Library": "name version files_sha256",
    "CurvePoint": "step images seconds loss",
    "Denoising": "images labelled curves seconds points points_images",
    "ErrorCurve": "weights images errors standard_errors",
    "ErrorPoint": "at steps images seconds flops errors",
    "SamplingFacts":
        "sampler steps evaluations weights labels_sha256 images_sha256 batch_images batch_seconds images_per_second "
        "decode_seconds",
    "Memory": "resident_at_start training sampling",
    "PeakMemory": "resident allocated reserved device_used",
    "DataFacts": "name examples shape classes skipped autoencoder autoencoder_sha256",
    "Reconstruction": "features features_sha256 rfid psnr images images_sha256",
    "Measurement":
        "protocol metric value spread higher_is_better samples reference_samples reference_sha256 features_sha256 "
        "settings raw",
    "Milestone": "at steps images seconds flops metrics",
    "RawWeights": "created environment sampling metrics",
    "Verification":
        "schema_version sha256 tier run_id run_hash record_sha256 by created environment device metrics sampling "
        "trained training compared confirmed",
    "Comparison": "protocol recorded found allowed",
    "Evaluation":
        "schema_version created samples reference extractor extractor_sha256 resize generated environment device "
        "seconds peak bytes_per_image metrics left_out floors",
    "Search": "learning_rate weight_decay beta2 warmup trials",
    "Point": "learning_rate weight_decay beta2 warmup",
    "Trial": "point run_id hardware status value seconds flops",
    "Speedrun": "network seeds targets",
    "Study": "space sampler sampler_seed metric seed trials chosen seconds flops",
    "ImageFacts": "name kind sha256 count shape jpeg",
    "GuidanceCurve": "schema_version sha256 run_id run_hash weights_sha256 points",
    "GuidancePoint": "guidance created environment device sampling metrics",
}  # fmt: skip


@pytest.mark.parametrize("run_id", PUBLISHED["records"])
def test_a_published_record_keeps_its_hashes(run_id):
    path = PATHS[run_id]  # or it was removed, and nobody can look it up
    record, content = read_record(path), json.loads(path.read_text())
    config = config_of(record)
    assert (config.run_id, content["run_id"]) == (run_id, run_id)
    found = {"run_hash": config.hash, "track_hash": record.track.hash, "sha256": seal(content)}
    assert found == PUBLISHED["records"][run_id] == {name: content[name] for name in found}


def test_a_published_track_keeps_its_hash():
    assert read_ledger(TRACKS["digits"].parent) == PUBLISHED["tracks"]
    for name, path in TRACKS.items():
        track = load_track(path)
        assert track.hash == PUBLISHED["tracks"][name][str(track.version)]
    older = TESTS / "older" / "record-v1.json"  # version 2 was hashed in another way, and is known by it alone
    assert json.loads(older.read_text())["track_hash"] == PUBLISHED["tracks"]["digits"]["2"]
    assert read_record(older).track.version == 2


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """What a ditbench finds whose models have all gained fields."""
    place = tmp_path_factory.mktemp("grown")
    records, out = place / "as they lie", place / "written anew"
    for path in FIRST.values():
        for folder in (records, out):
            (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, records / path.parent.name)
    command = [sys.executable, TESTS / "support" / "grown.py", records, out]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_fields_that_come_later_change_no_hash_at_their_defaults(grown):
    assert len(grown["later"]) == 6, "else nothing grew, and nothing is shown"
    for run_id, path in FIRST.items():
        record = read_record(path)
        assert grown["hashes"][run_id] == {
            "run_id": record.run_id,
            "run_hash": record.run_hash,
            "track_hash": record.track_hash,
            "row_hash": row_hash(record),
            "sha256": seal(record.model_dump(mode="json")),
        }
    assert grown["tracks"] == {name: load_track(path).hash for name, path in TRACKS.items()}
    made = sound()
    todays = [model.model_dump_json(exclude={"created"}) for model in (made, evaluation(), checked(sealed(made)))]
    assert grown["dumps"] == todays
    assert not grown["moved"], "nor where the default is spelled out"


def test_todays_records_hold_in_a_later_ditbench_as_they_lie_and_written_anew(grown):
    assert not grown["faults"]


def test_fields_that_come_later_are_told_by_the_hashes_at_any_other_value(grown):
    assert not grown["unmoved"]
    assert grown["read again"]


def models_in(kind, known):
    """The models that a type holds, however deep, by name."""
    if isinstance(kind, type) and issubclass(kind, Frozen):
        name = kind.__name__
        if name not in known:
            known[name] = kind
            for field in kind.model_fields.values():
                models_in(field.annotation, known)
        assert known[name] is kind, f"two parts of what is hashed are called {name}"
    for part in get_args(kind):
        models_in(part, known)
    return known


def added_wrongly(model, todays):
    """A line for each field that would change published hashes, or that they would not tell."""
    for name, field in model.model_fields.items():
        if name not in todays and field.exclude_if is None:
            yield f"{model.__name__}.{name}: what is hashed grows by `storage.schema.later(default)` alone"
        elif name not in todays and not field.exclude_if(_validated(field)):
            yield f"{model.__name__}.{name}: its default is not written as its type has it, such as 1.0 for a float"
        elif name not in todays and field.default is not None and _takes_none(field.annotation):
            yield f"{model.__name__}.{name}: None is its default, or no value of it: a track's hash leaves None out"


def _validated(field):
    return pydantic.TypeAdapter(field.annotation).validate_python(field.default)


def _takes_none(annotation):
    try:
        pydantic.TypeAdapter(annotation).validate_python(None)
    except pydantic.ValidationError:
        return False
    return True


def test_what_is_hashed_grows_by_later_alone():
    known = {}
    for root in (RunConfig, Record, Verification, Evaluation, GuidanceCurve):
        models_in(root, known)
    assert set(known) == set(FIELDS), "a new part of what is hashed: write down the fields that it starts with"
    for name, model in known.items():
        todays = FIELDS[name].split()
        assert not [field for field in todays if field not in model.model_fields], f"{name} lost a field"
        assert not list(added_wrongly(model, todays))


def test_who_adds_a_field_in_another_way_is_told():
    class Grown(Track):
        plain: int = 3
        needed: int
        whole: float = later(0)
        empty: str | None = later("x")
        any: Any = later(1)
        right: str | None = later(None)

    lines = list(added_wrongly(Grown, FIELDS["Track"].split()))
    assert [line.partition(":")[0] for line in lines] == [
        f"Grown.{name}" for name in ("plain", "needed", "whole", "empty", "any")
    ]


def test_a_record_says_all_that_its_runs_hash_has():
    """What a config is hashed by comes back through its record, or no record of such a run could be validated."""
    config = config_of(sound())
    told = {name for name in RunConfig.model_fields if name not in NOT_HASHED}
    back = {*OF_THE_RUN, *config.built.of_run, "hardware"}
    assert told <= back, "name it in `records.record.OF_THE_RUN`, or leave it out of `RunConfig.hash`"


def test_a_later_field_is_checked_and_its_default_is_its_own():
    class Part(Frozen):
        names: list[str] = later(["a"], max_length=2)

    assert Part(names=["a"]) == Part() and Part(names=["a"]).model_dump_json() == "{}"
    Part().names.append("b")
    assert Part().names == ["a"] and Part(names=["b"]).model_dump() == {"names": ["b"]}
    with pytest.raises(pydantic.ValidationError, match="at most 2"):
        Part(names=["a", "b", "c"])
