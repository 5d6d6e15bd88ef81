"""Why the numbers of two records differ: every field of the protocol, the most suspicious first."""

import json

import pytest
from records import ENVIRONMENT, TRACK, evaluation, finished, sound

from ditbench.errors import BadValue
from ditbench.records.diff import SUSPECTS, differences, doubt, read_either, record_in
from ditbench.records.evaluation import write_evaluation
from ditbench.records.record import write_record
from ditbench.tracks.guidance import Guidance


def fields(one, other):
    return [difference.field for difference in differences(one, other)]


def test_the_same_protocol_has_no_differences_whatever_came_out():
    assert fields(finished(fid=1.0), finished(fid=2.0)) == []


def test_the_most_suspicious_comes_first():
    sampler = TRACK.sampler.model_copy(update={"steps": 50, "guidance": Guidance(scale=1.5)})
    track = TRACK.model_copy(update={"sampler": sampler})
    one = finished()
    other = finished(track=track, seed=3, environment=ENVIRONMENT.model_copy(update={"torch": "2.11.0", "gpu": "H100"}))
    found = differences(one, other)
    names = [difference.field for difference in found]
    assert names[0].startswith("track.sampler.guidance")
    assert names.index("track.sampler.steps") < names.index("seed") < names.index("environment.gpu")
    assert names.index("environment.gpu") < names.index("environment.torch")
    by_name = {difference.field: difference for difference in found}
    assert (by_name["track.sampler.steps"].one, by_name["track.sampler.steps"].other) == (25, 50)
    assert by_name["track.sampler.guidance.scale"].one is None


def test_a_metric_of_another_extractor_is_the_first_suspect():
    one, other = finished(), finished()
    metrics = [
        metric.model_copy(update={"features_sha256": "0" * 64, "protocol": "fid1k/other"})
        for metric in other.metrics[:1]
    ]
    other = other.model_copy(update={"metrics": [*metrics, *other.metrics[1:]], "seed": 1})
    assert fields(one, other) == ["metric.fid.features_sha256", "metric.fid.protocol", "seed"]


def test_every_field_of_the_protocol_has_its_rank():
    one = finished()
    other = finished("uvit:nano", seed=1, budget="1-steps", device="cuda", data_sha256="0" * 64)
    assert {name.partition(".")[0] for name in fields(one, other)} <= {name.partition(".")[0] for name in SUSPECTS}


def test_a_record_that_was_changed_afterwards_is_compared_and_doubted(ditbench, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "record.json"
    write_record(sound(), path)
    assert doubt(path, read_either(path)) == "" and record_in(path.parent) == path
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "seed": 7}))
    told = []
    monkeypatch.setattr("ditbench.cli.records.warn", told.append)
    assert "same protocol" in ditbench("diff", str(path.parent), str(path))
    (line,) = told
    assert "record.json' is not as it was written: its sha256 is not that of its content and run_hash is not" in line
    assert "is a folder without record.json" in ditbench("diff", str(tmp_path), str(path), code=2)


def test_evaluations_are_compared_likewise(tmp_path):
    one = evaluation(fid=1.0)
    assert fields(one, evaluation(fid=2.0)) == []
    lossy = one.samples.model_copy(update={"jpeg": True, "name": "other", "sha256": "0" * 64})
    real = one.reference.model_copy(update={"count": 50_000})
    other = evaluation(samples=lossy, reference=real, device="cuda", resize="bicubic", extractor_sha256="d" * 64)
    assert fields(one, other) == ["extractor_sha256", "resize", "reference.count", "samples.jpeg", "device"]
    assert read_either(write_evaluation(one, tmp_path)) == one
    write_record(finished(), tmp_path / "record.json")
    with pytest.raises(BadValue, match="two of a kind"):
        differences(one, read_either(tmp_path / "record.json"))
