"""Tiers are earned by what somebody else measured, of this very record, and disagreement shows."""

import json
import math
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from records import ENVIRONMENT, sound, unfinished
from tampering import both, to

from ditbench import campaign
from ditbench.benchmark.reevaluation import re_evaluate
from ditbench.errors import BadFile, BadValue, DitbenchError
from ditbench.records.facts import Measurement
from ditbench.records.record import Submission, read_record, seal, write_record
from ditbench.records.validation.files import validate
from ditbench.records.verification import (
    compare,
    confirms,
    doubts_of,
    file_name,
    noise,
    re_evaluated,
    re_trained,
    read_verification,
    read_verifications,
    tier_of,
    verifications_of,
    write_verification,
)
from ditbench.registry import Registry
from ditbench.storage.files import write_text
from ditbench.storage.schema import digest

SUBMISSION = Submission(by="Ada", date="2026-01-02")


def put(folder, record):
    """The record in a leaderboard's folder, sealed; and where."""
    place = folder / "records" / "digits"
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{record.run_id}.json"
    return write_record(record, path), path


@pytest.fixture
def board(tmp_path):
    return put(tmp_path, sound(submission=SUBMISSION))


def sampled(record, same=False):
    """The sampling once more: other times and, unless they are the same to the bit, other images."""
    images = {} if same else {"images_sha256": "9" * 64}
    return record.sampling.model_copy(update={"batch_seconds": [2.0, 0.5, 0.5, 1.0], **images})


def measured(record, fid=None, by="Grace", same=False):
    """The record's metrics again, with another FID."""
    metrics = sound(fid=fid).metrics if fid is not None else record.metrics
    return re_evaluated(record, by, ENVIRONMENT, "cpu", sampled(record, same), metrics)


def trained(record, fid=None):
    """The run once more: later, and with other step times."""
    other = sound(fid=fid or record.metrics[0].value)
    facts = other.training.model_copy(update={"step_seconds": [0.2, 0.1, 10.0]})
    curve = [point.model_copy(update={"seconds": s}) for point, s in zip(facts.curve, (0.2, 0.3, 10.3), strict=True)]
    later = {"created": other.created + timedelta(days=1), "training": facts.model_copy(update={"curve": curve})}
    return other.model_copy(update={**later, "sampling": sampled(other)})


SAMPLED = sampled(sound())


def faults(folder):
    return "\n".join(line for one in validate([folder], Registry.installed()) for line in one.lines)


def test_a_tier_is_earned_by_agreement_alone(board):
    record, _ = board
    same, far = measured(record), measured(record, fid=1.6)
    again, apart = re_trained(record, trained(record, 1.3), "Grace"), re_trained(record, trained(record, 2.0), "Alan")
    assert [one.confirmed for one in (same, far, again, apart)] == [True, False, True, False]
    assert tier_of(record, []) == tier_of(record, [far, apart]) == "self-reported"
    assert tier_of(record, [same]) == tier_of(record, [same, apart]) == "re-evaluated"
    assert tier_of(record, [again, same]) == "re-trained"
    assert doubts_of(record, [same, apart, far]) == [apart, far] and not doubts_of(record, [same])
    other = record.model_copy(update={"sha256": "0" * 64})
    assert tier_of(other, [same, again]) == "self-reported" and not doubts_of(other, [far])  # of another record
    boast = far.model_copy(update={"confirmed": True})
    assert not confirms(boast, record), "what it says of itself does not count"
    assert not confirms(same.model_copy(update={"metrics": same.metrics[:1]}), record)


def test_the_same_weights_must_give_every_metric_and_another_training_the_one_that_ranks(board):
    record, _ = board
    worse = [*record.metrics[:3], record.metrics[3].model_copy(update={"value": 0.5})]
    assert [one.agrees for one in compare(record, "re-evaluated", worse, SAMPLED)] == [True, True, True, False]
    assert [one.agrees for one in compare(record, "re-trained", worse, SAMPLED)] == [True]
    assert compare(record, "re-evaluated", record.metrics[:2], SAMPLED) == []


def test_the_tolerance_is_the_larger_of_a_share_and_the_spread(board):
    record, _ = board
    fid, _, _, knn = compare(record, "re-evaluated", record.metrics, SAMPLED)
    assert fid.allowed == record.metrics[0].spread / 4 > 0.0125
    assert knn.allowed == pytest.approx(0.009)  # a hundredth; a quarter of the binomial error is less
    assert noise(record.metrics[3]) == pytest.approx(math.sqrt(0.9 * 0.1 / 1000))  # counts have no spread of their own
    assert compare(record, "re-evaluated", record.metrics, sampled(record, same=True))[0].allowed == 0.00125
    assert compare(record, "re-trained", record.metrics, sampled(record, same=True))[0].allowed == 16 * fid.allowed
    steady = record.model_copy(update={"metrics": [one.model_copy(update={"spread": 0.0}) for one in record.metrics]})
    assert compare(steady, "re-evaluated", record.metrics, SAMPLED)[0].allowed == pytest.approx(0.0125)
    assert compare(steady, "re-trained", record.metrics, SAMPLED)[0].allowed == pytest.approx(0.125)
    wide = record.model_copy(update={"metrics": [one.model_copy(update={"spread": 99.0}) for one in record.metrics]})
    (fid,) = compare(wide, "re-trained", record.metrics, SAMPLED)
    assert fid.allowed == 4 * record.metrics[0].spread, "the smaller one"
    plain = Measurement(protocol="a/b", metric="a", value=2.0, higher_is_better=True, samples=1, reference_samples=None)
    for counts in ([], [1.0], [0.0, 0.0], [1.0, 2.0, 3.0]):
        assert noise(plain.model_copy(update={"value": 0.5, "raw": {"counts": counts}})) == 0.0


def test_what_is_written_comes_back_and_holds(board, tmp_path):
    record, path = board
    found = [measured(record), re_trained(record, trained(record), "Grace")]
    paths = [write_verification(one, path.parent) for one in found]
    grace = digest("grace", 6)
    assert [one.name for one in paths] == [f"{record.run_id}.{grace}.re-{how}.json" for how in ("evaluated", "trained")]
    assert verifications_of(record.run_id, path.parent) == sorted(paths)
    assert faults(tmp_path) == ""
    assert [one.model_copy(update={"sha256": None}) for one in read_verifications(tmp_path)] == found
    assert tier_of(read_record(path), read_verifications(tmp_path)) == "re-trained"


def test_several_people_may_verify_a_run_and_each_has_one_say(board, tmp_path):
    record, path = board
    for by, fid in (("Grace", 1.6), ("Alan", None), (" GRACE ", None)):
        write_verification(measured(record, fid, by), path.parent)
    assert sorted(one.by for one in read_verifications(tmp_path)) == [" GRACE ", "Alan"] and faults(tmp_path) == ""
    place = path.with_name(file_name(measured(record)))
    write_text(place, measured(record, by="Alan").model_dump_json())  # another name of the same hash
    with pytest.raises(DitbenchError, match="already there, by 'Alan'; give another name"):
        write_verification(measured(record), path.parent)
    assert "the file's name is" in faults(tmp_path)


def test_a_verification_of_another_record_is_compared_with_none(board):
    record, _ = board
    found = measured(record)
    assert not confirms(found, unfinished()) and not confirms(found.model_copy(update={"run_id": "x"}), record)


@pytest.mark.parametrize(
    ("tier", "change", "words"),
    [
        ("re-evaluated", to("metrics.0.value", 0.5), "metrics.0.value is 0.5, should be 1.6 (fid by its raw numbers)"),
        ("re-evaluated", to("sampling.batch_seconds", [1.0, 0.5, 0.5, 2.0]), "batch_seconds are those of the record"),
        ("re-trained", to("sampling.batch_seconds", [1.0, 0.5, 0.5, 2.0]), "batch_seconds are those of the record"),
        ("re-trained", to("training.step_seconds", [0.1, 0.2, 9.0]), "training is that of the record itself"),
        ("re-evaluated", to("sampling.evaluations", 24), "sampling.evaluations is 24, should be 25"),
        ("re-evaluated", to("created", "2999-01-01T00:00:00Z"), "should not be yet to come"),
        ("re-evaluated", to("device", "cpu /home/ada"), "device holds an absolute path"),
        ("re-evaluated", to("by", "\u202e"), "should be a name: up to 100 characters"),
        ("re-evaluated", to("by", "Alan"), "(its run_id, who verified it, and its tier)"),
        ("re-evaluated", to("confirmed", True), "confirmed is true, should be false (by what is compared)"),
        ("re-evaluated", to("compared.0.allowed", 9.0), "compared.0.allowed is 9.0, should be 0.0215"),
        ("re-evaluated", both(to("compared.0.allowed", 9.0), to("confirmed", True)), "confirmed is true, should be"),
        ("re-evaluated", to("compared", []), "the length of compared is 0, should be 4"),
        ("re-evaluated", to("record_sha256", "0" * 64), "which may have changed since it was verified"),
        ("re-evaluated", to("run_hash", "0" * 12), "run_hash is"),
        ("re-evaluated", to("by", "ada "), 'by is "ada ", who submitted the record'),
        ("re-evaluated", to("by", "a/b"), 'by is "a/b"'),
        ("re-evaluated", to("tier", "re-trained"), "what was trained again tells its training"),
        ("re-evaluated", to("sampling.labels_sha256", "0" * 64), "sampling.labels_sha256 is"),
        ("re-evaluated", to("sampling.images_per_second", 1.0), "sampling.images_per_second is 1.0, should be 375.0"),
        ("re-evaluated", to("environment.gpu", "H100"), 'environment.gpu is "H100", should be none'),
        ("re-evaluated", to("surprise", 1), "surprise is 1, should not be there"),
        ("re-evaluated", to("run_id", "dit-nano-seed9-00000000"), "there is no such record beside it"),
        ("re-trained", to("training.images_per_second", 1.0), "training.images_per_second is 1.0, should be 320.0"),
        ("re-trained", to("training.steps", 4), "training.images is 192, should be 256"),
        ("re-trained", to("trained", "2026-01-02T00:00:00Z"), "training is that of the record itself"),
        ("re-trained", to("training.step_seconds", [0.1, 0.2, 10.0]), "training is that of the record itself"),
    ],
)  # fmt: skip
def test_a_verification_that_was_tampered_with_is_found(board, tmp_path, tier, change, words):
    record, path = board
    found = measured(record, 1.6) if tier == "re-evaluated" else re_trained(record, trained(record), "Grace")
    place = write_verification(found, path.parent)
    content = json.loads(place.read_text())
    change(content)
    place.write_text(json.dumps(content))
    assert words in faults(tmp_path) and "(the seal over all else)" in faults(tmp_path)
    content["sha256"] = seal(content)
    place.write_text(json.dumps(content))
    assert words in faults(tmp_path) and "(the seal over all else)" not in faults(tmp_path)
    place.write_text("{}")
    with pytest.raises(BadFile, match=r"re-.*\.json"):
        read_verification(place)


def test_a_record_that_was_changed_after_it_was_verified_is_found(board, tmp_path):
    record, path = board
    write_verification(measured(record), path.parent)
    write_record(record.model_copy(update={"environment": ENVIRONMENT.model_copy(update={"cpu": "Faster"})}), path)
    assert "record_sha256 is" in faults(tmp_path) and tier_of(read_record(path), read_verifications(tmp_path)) == (
        "self-reported"
    )


def test_nobody_verifies_nothing_himself_or_another_run(board):
    record, _ = board
    with pytest.raises(DitbenchError, match="'ADA' submitted"):
        measured(record, by="ADA")
    for name in ("", " ", "a/b", "a\nb", "x" * 101, "\u202e"):
        with pytest.raises(BadValue, match="is no name"):
            measured(record, by=name)
    with pytest.raises(BadFile, match="was not trained again"):
        re_trained(record, record, "Grace")
    with pytest.raises(BadFile, match="their run hashes differ"):
        re_trained(record, sound(seed=1), "Grace")
    with pytest.raises(BadFile, match="it is diverged"):
        re_trained(record, unfinished().model_copy(update={"run_hash": record.run_hash}), "Grace")
    with pytest.raises(BadFile, match="has no numbers to verify: it is diverged"):
        re_evaluated(unfinished(), "Grace", ENVIRONMENT, "cpu", SAMPLED, record.metrics)
    with pytest.raises(BadFile, match="are not the metrics of"):
        re_evaluated(record, "Grace", ENVIRONMENT, "cpu", SAMPLED, record.metrics[:1])


@pytest.mark.timeout(240)
def test_weights_are_measured_again_and_a_second_training_confirms(toy, tmp_path, ditbench):
    """A real run of the toy, verified by the command line in both ways."""
    how = {"device": "cpu", "executor": "inline", "budget": "blink"}
    (record,) = campaign.run("tiny", ["toy"], out=tmp_path / "one", **how)
    run = tmp_path / "one" / "tiny" / record.run_id
    assert faults(tmp_path / "one") == "", "what a run writes holds"
    place = tmp_path / "board" / "tiny"
    place.mkdir(parents=True)
    path = place / f"{record.run_id}.json"
    write_record(record.model_copy(update={"submission": SUBMISSION}), path)
    weights = str(run / "ema.safetensors")
    out = ditbench("records", "verify", str(path), "--weights", weights, "--by", "Grace", "--device", "cpu")
    (found,) = read_verifications(place)
    assert f"re-evaluated: confirmed -> {place / file_name(found)}" in out and out.count("agrees") == 4
    assert [one.value for one in found.metrics] == [one.value for one in record.metrics]
    assert found.sampling.images_sha256 == record.sampling.images_sha256

    (other,) = campaign.run("tiny", ["toy"], out=tmp_path / "two", **how)
    again = tmp_path / "two" / "tiny" / other.run_id
    later = other.model_copy(update={"created": other.created + timedelta(seconds=2)})  # this computer is fast
    write_record(later, again / "record.json")
    told = json.loads(ditbench("records", "verify", str(path), "--run", str(again), "--by", "Grace", "--json"))
    assert told["verification"]["tier"] == "re-trained" and told["verification"]["confirmed"] and told["submitted"]
    assert Path(told["file"]).exists() and faults(tmp_path / "board") == ""
    assert tier_of(read_record(path), read_verifications(place)) == "re-trained"

    shutil.rmtree(place)
    place.mkdir()
    fid = record.metrics[0]
    lie = fid.model_copy(
        update={"raw": {**fid.raw, "terms": [0.0, fid.value / 2]}, "value": math.fsum([0.0, fid.value / 2])}
    )
    write_record(record.model_copy(update={"metrics": [lie, *record.metrics[1:]]}), path)
    out = ditbench("records", "verify", str(path), "--weights", weights, "--by", "Grace", "--device", "cpu", code=1)
    assert "re-evaluated: not confirmed" in out and "differs" in out and "is not submitted" in out
    assert faults(tmp_path / "board") == "" and tier_of(read_record(path), read_verifications(place)) == "self-reported"


@pytest.mark.timeout(240)
def test_other_weights_plugins_and_data_are_refused(toy, tmp_path, ditbench, monkeypatch):
    (record,) = campaign.run("tiny", ["toy"], out=tmp_path, device="cpu", executor="inline", budget="blink")
    run = tmp_path / "tiny" / record.run_id
    arguments = ("records", "verify", str(run / "record.json"), "--by", "Grace", "--device", "cpu")
    raw, ema = str(run / "raw.safetensors"), str(run / "ema.safetensors")
    assert "are not those of" in ditbench(*arguments, "--weights", raw, code=2)
    assert "can't be read" in ditbench(*arguments, "--weights", str(run / "none"), code=2)
    assert "Give either --weights" in ditbench(*arguments, code=2)
    assert "Give either --weights" in ditbench(*arguments, "--weights", ema, "--run", str(run), code=2)
    assert "No device named 'tpu'" in ditbench(*arguments, "--weights", ema, "--device", "tpu", code=2)
    assert "is not the record's" in ditbench(*arguments, "--weights", ema, "--data", "synthetic", code=2)
    np.savez(tmp_path / "noise.npz", np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8))
    noise = ("--reference", str(tmp_path / "noise.npz"))
    assert "compared with other real images" in ditbench(*arguments, "--weights", ema, *noise, code=2)
    monkeypatch.setattr(Registry, "source_sha256", lambda self, name: "0" * 64)
    with pytest.raises(BadValue, match=r"was made with another source of ditbench-toy 0\.1"):
        re_evaluate(record, Path(ema), "Grace", Registry.installed(), device="cpu")
    monkeypatch.undo()
    content = json.loads((run / "record.json").read_text())
    content["architecture"]["distribution_version"] = "0.2"
    (run / "record.json").write_text(json.dumps(content))
    assert "such faults; see `ditbench records validate`" in ditbench(*arguments, "--weights", ema, code=2)
