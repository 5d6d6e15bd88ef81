"""What an installed plugin tells of its metrics and samplers is computed again; what nobody tells is named, no more."""

import json
import os
import sys
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
from records import sound
from tampering import content_of

from ditbench.components import Metric, Sampler
from ditbench.discovery import PluginSource, installed_sources
from ditbench.errors import BadValue
from ditbench.hookspecs import hookimpl
from ditbench.records.facts import Measurement
from ditbench.records.validation import known
from ditbench.records.validation.cost import settings_of
from ditbench.records.validation.known import Known
from ditbench.records.validation.run import faults_of
from ditbench.registry import Registry

SOURCE = "architecture {!r}: no plugin with its source is installed"
PLUGIN = """
import ditbench

def times(steps):
    return [1000 * (1 - half / (2 * steps)) for half in range(2 * steps)]

@ditbench.hookimpl
def ditbench_samplers():
    return [ditbench.Sampler(name="midpoint", sample="mine:sample", objectives=("flow",), times=times)]

@ditbench.hookimpl
def ditbench_metrics():
    return [ditbench.Metric(name="coverage", measure="mine:of", higher_is_better=True, sees="pixels", raw="counts")]
"""


def mine(evaluations=50, **changes):
    """A run that a plugin's sampler drew, and a plugin's metric measured beside ditbench's own."""
    good = sound()
    asked = good.track.evaluation.model_copy(update={"metrics": (*good.track.evaluation.metrics, "coverage")})
    sampler = good.track.sampler.model_copy(update={"name": "midpoint"})
    track = good.track.model_copy(update={"name": "mine", "sampler": sampler, "evaluation": asked})
    sampling = good.sampling.model_copy(update={"sampler": "midpoint", "evaluations": evaluations})
    facts = {
        "protocol": "coverage1k/raw-pixels", "metric": "coverage", "value": 0.75, "higher_is_better": True,
        "samples": 1000, "reference_samples": 1541, "reference_sha256": good.data_sha256, "raw": {"counts": [3, 4]},
    }  # fmt: skip
    metrics = [*good.metrics, Measurement.model_validate({**facts, **changes})]
    return sound(track=track, track_hash=track.hash, sampling=sampling, metrics=metrics, milestones=[])


def told(record, registry=None):
    """The faults of a record, and what was left unchecked beside its architecture, whose source nobody has."""
    known = Known(registry or Registry.installed())
    faults = "\n".join(faults_of(record, known))
    assert any(note == SOURCE.format(record.architecture.label) for note in known.unchecked)
    return faults, [note for note in known.unchecked if not note.startswith("architecture")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"evaluations": 25}, "sampling.evaluations is 25, should be 50 (25 steps of midpoint)"),
        ({"value": 0.8}, "metrics.4.value is 0.8, should be 0.75 (coverage by its raw numbers)"),
        ({"raw": {}}, 'the kind of metrics.4.raw is [], should be ["counts"] (what coverage follows from)'),
        ({"raw": {"values": [0.75]}}, 'the kind of metrics.4.raw is ["values"], should be ["counts"]'),
        ({"raw": {"counts": [1.5, 2]}}, "metrics.4.raw.counts.0 is 1.5, should be 2.0 (a count)"),
        ({"higher_is_better": False}, "metrics.4.higher_is_better is false, should be true"),
        ({"reference_sha256": "0" * 64}, "metrics.4.reference_sha256 is"),
        ({"protocol": "coverage1k/digits-cnn"}, "metrics.4.protocol is"),
    ],
)
def test_what_an_installed_plugin_tells_is_computed_again(install, change, words):
    install("ditbench-mine", "mine", PLUGIN)
    faults, unchecked = told(mine(**change))
    assert (faults.startswith(words) if words else not faults) and "\n" not in faults
    assert not unchecked


def test_what_no_installed_plugin_tells_is_named_and_is_no_fault():
    odd = mine(evaluations=1, raw={"values": [0.75]}, higher_is_better=False, reference_sha256="0" * 64)
    assert told(odd) == (
        "",
        ["sampler 'midpoint': its plugin is not installed", "metric 'coverage': its plugin is not installed"],
    )


def test_the_command_names_what_it_left_unchecked_and_that_is_no_fault(tmp_path, ditbench):
    for record in (mine(), mine(raw={"counts": [6, 8]})):
        place = tmp_path / record.run_hash / str(record.metrics[-1].raw["counts"][0]) / "mine"
        place.mkdir(parents=True)
        (place / f"{record.run_id}.json").write_text(json.dumps(content_of(record)))
    folder = place.parent
    out = ditbench("records", "validate", str(folder))
    assert out.splitlines()[:3] == [
        f"left unchecked: {SOURCE.format(mine().architecture.label)}",
        "left unchecked: sampler 'midpoint': its plugin is not installed",
        "left unchecked: metric 'coverage': its plugin is not installed",
    ]
    assert "1 record checked: no fault." in out
    assert "its plugin is not installed (2 files)" in ditbench("records", "validate", str(tmp_path), code=1)
    (found,) = json.loads(ditbench("records", "validate", str(folder), "--json"))
    assert (found["kind"], found["faults"], len(found["unchecked"])) == ("record", [], 3)
    found = json.loads(ditbench("records", "validate", str(tmp_path), "--json", code=1))
    assert [bool(one["faults"]) for one in found] == [False, True], "the same run twice"


def with_sampler(times):
    """All that is installed, and a sampler that tells its times so."""
    sampler = Sampler(name="midpoint", sample="mine:sample", objectives=("flow",), times=times)
    plugin = SimpleNamespace(ditbench_samplers=hookimpl(lambda: [sampler]))
    return Registry([*installed_sources(), PluginSource("mine", "ditbench-mine", "0.1", lambda: plugin)])


def fails(steps):
    raise RuntimeError(f"no times\nfor {steps} steps")


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (None, "it does not tell its times"),
        (fails, "RuntimeError: no times for 25 steps"),
        (lambda steps: sys.exit("not on this machine"), "SystemExit: not on this machine"),
        ("needs_what_is_not_here:times", "'needs_what_is_not"),
        (lambda steps: os._exit(0), "its process ended with exit code 0 before it had"),
        (lambda: [], "TypeError:"),
        (lambda steps: [0.0, 1000.5], "ValueError: not all lie in 0..1000"),
        (lambda steps: [float("nan")], "ValueError: not all lie in 0..1000"),
        (lambda steps: "noon", "ValueError: could not convert"),
        (lambda steps: None, "TypeError"),
        (lambda steps: (0.0 for _ in count()), "ValueError: more than 1000000 times"),
    ],
)
def test_times_that_fail_are_a_line_that_names_the_sampler(times, words):
    faults, (note, *others) = told(mine(evaluations=1), with_sampler(times))
    start = "its times of 25 steps can't be told: " if times else ""
    assert not faults and note.startswith(f"sampler 'midpoint': {start}{words}") and note.isprintable()
    assert others == ["metric 'coverage': its plugin is not installed"]


def test_steps_without_end_are_not_counted():
    good = sound()
    track = good.track.model_copy(update={"sampler": good.track.sampler.model_copy(update={"steps": 2**62})})
    faults, unchecked = told(good.model_copy(update={"track": track}))
    assert "sampling.steps is 25" in faults and "evaluations" not in faults
    assert unchecked == [f"sampler 'euler': {2**62} steps are too many to count"]


def test_a_metric_that_tells_no_kind_is_named():
    kid = sound().metrics[1]
    fact = {"metric": "fid-infinity", "protocol": kid.protocol.replace("kid", "fid-infinity"), "raw": {}}
    faults, unchecked = told(with_metrics(kid.model_copy(update=fact)))
    assert not faults and unchecked == ["metric 'fid-infinity': it does not tell the kind of its raw numbers"]


def with_metrics(*more, extractor=""):
    """A run that measured more, perhaps of another extractor's features."""
    good = sound()
    names = [one.metric for one in good.metrics] + [one.metric + extractor for one in more]
    asked = good.track.evaluation.model_copy(update={"metrics": tuple(names)})
    track = good.track.model_copy(update={"name": "mine", "evaluation": asked})
    return sound(track=track, track_hash=track.hash, metrics=[*good.metrics, *more], milestones=[])


def test_what_a_file_calls_its_parts_floods_nobody():
    kid = sound().metrics[1]
    names = [f"\x1b[31m{'x' * 500}{i}" for i in range(3)] + [f"m{i}" for i in range(100)]
    _, unchecked = told(with_metrics(*(kid.model_copy(update={"metric": name}) for name in names)))
    assert len(unchecked) == 50 and unchecked[-1] == "and more"
    assert all(note.isprintable() and len(note) <= 300 for note in unchecked)


@pytest.mark.parametrize(
    ("name", "faults", "notes"),
    [
        ("net", "", ["extractor 'net': its plugin is not installed"]),
        ("fashion-cnn", "metrics.4.features_sha256 is", []),
    ],
)
def test_the_weights_of_an_installed_extractor_are_known(name, faults, notes):
    found = sound().metrics[1].model_copy(update={"protocol": f"kid1k/{name}"})
    lines, unchecked = told(with_metrics(found, extractor=f"/{name}"))
    assert (lines.startswith(faults) if faults else not lines) and unchecked == notes


def test_a_component_checks_its_facts_where_it_is_built():
    with pytest.raises(BadValue, match="raw is 'jackknife', not one of terms, values, counts"):
        Metric(name="mine", measure="a:b", higher_is_better=True, sees="pixels", raw="jackknife")
    with pytest.raises(BadValue, match="sampler 'mine': 3 is neither a callable nor"):
        Sampler(name="mine", sample="a:b", objectives=(), times=3)


def test_a_record_names_the_features_that_its_plugin_trains_with(monkeypatch):
    registry, good = Registry.installed(), sound()
    helped = replace(registry.architectures["dit"], trained_with=("dinov2-vit-l-14",))
    source = {"name": "dit", "source_sha256": registry.source_sha256("dit")}
    record = good.model_copy(update={"architecture": good.architecture.model_copy(update=source)})
    monkeypatch.setattr(known, "read_shipped", lambda: SimpleNamespace(sources={}, settings={}))
    lines = [line for line in settings_of(record, Known(registry)) if "trained_with" in line]
    assert lines == []
    monkeypatch.setattr(Registry, "architectures", {"dit": helped})
    (line,) = [line for line in settings_of(record, Known(registry)) if "trained_with" in line]
    assert line.startswith('architecture.trained_with is [], should be ["dinov2-vit-l-14"]')
