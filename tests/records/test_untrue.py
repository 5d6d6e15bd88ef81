"""What arithmetic and physics say against a record is found, whoever seals it anew; what is honest and odd passes."""

import json
from functools import partial

import pytest
from records import sound
from tampering import both, to
from untrue import OTHER_SOURCE, TRUE, UNTRUE, forged, on_gpu, raw

from ditbench.components import Selection
from ditbench.denoiser.cost import cost_of_selection
from ditbench.denoiser_spec import DenoiserSpec
from ditbench.records.facts import DataFacts, Measurement
from ditbench.records.record import Record
from ditbench.records.validation.cost import cost_of
from ditbench.records.validation.extremes import against_each_other
from ditbench.records.validation.files import validate
from ditbench.records.validation.known import Known
from ditbench.records.validation.metrics import measurement
from ditbench.records.validation.plausible import machine
from ditbench.registry import Registry

REGISTRY = Registry.installed()
validate = partial(validate, registry=REGISTRY)


def put(folder, content):
    place = folder / "records" / "digits"
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{content['run_id']}.json"
    path.write_text(json.dumps(content))
    return path


def told(path):
    return "\n".join(line for one in validate([path]) for line in one.lines)


@pytest.mark.parametrize("name", UNTRUE)
def test_a_record_that_can_not_be_true_is_found_though_hashed_and_sealed_anew(tmp_path, name):
    change, words = UNTRUE[name]
    lines = told(put(tmp_path, forged(change)))
    assert words in lines and "run_hash" not in lines and "the seal" not in lines


def test_the_true_record_holds_and_so_does_another_source_that_costs_what_it_says(tmp_path):
    assert told(put(tmp_path, forged(lambda content: None))) == ""
    other = both(OTHER_SOURCE, to("cost.parameters", 10**6), to("architecture.settings.depth", 7))
    assert told(put(tmp_path, forged(other))) == ""


HONEST = {
    "OMP_NUM_THREADS above the cores": both(to("environment.threads", 4), to("environment.cores", 1)),
    "a processor of whose cores nothing is known": to("environment.cores", 0),
    "a checkpointed network": to("cost.training_macs_per_image", 30_199_808),
    "an evaluation whose time was lost with a process": both(
        to("training.evaluation_seconds", 0.0), to("training.resumed", 1)
    ),
    "one image that all samples are": raw(2, values=[1.0] * 10),
    "a KID a little below 0": raw(1, values=lambda found: [value - sum(found) / 100 - 0.001 for value in found]),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_record_that_is_odd_passes(tmp_path, name):
    assert told(put(tmp_path, forged(HONEST[name]))) == ""


def test_a_huge_network_in_shards_on_a_gpu_passes():
    """Eight GPUs hold an eighth of its weights each."""
    content = forged(both(OTHER_SOURCE, on_gpu, to("environment.processes", 8)))
    content["cost"] |= {"parameters": 10**9, "trainable_parameters": 10**9}
    assert not list(machine(Record.model_validate(content)))


def of_few(metric, raw, samples, extractor="digits-cnn"):
    value = sum(raw.get("terms", ())) or sum(raw.get("values", ())) / max(1, len(raw.get("values", ())))
    return Measurement(protocol=f"{metric}{samples}/{extractor}", metric=metric, value=value, higher_is_better=False,
                       samples=samples, reference_samples=1541, raw=raw)  # fmt: skip


def test_few_samples_and_unknown_features_pass():
    """A toy network's 40 images of 64 features have an FID half of what its jackknife says: its root is of rounding."""
    known = Known(REGISTRY)
    few = of_few("fid", {"terms": [5.0, 10.11], "jackknife": [30.6 + i / 10 for i in range(10)]}, 40)
    unknown = of_few("fid", {"terms": [5.0, 10.11], "jackknife": [60.0 + i for i in range(10)]}, 1000, "mine")
    for one in (few, unknown):
        kid = of_few("kid", {"values": [0.4]}, one.samples, one.protocol.partition("/")[2])
        assert not list(against_each_other("metrics", [one, kid], known))
    single = of_few("is", {"values": [1.0] * 10}, 1)
    assert "no more than" not in "".join(measurement("metrics.0", single, ["digits-cnn"], known))


def test_an_installed_architecture_is_asked_what_it_costs(toy):
    registry = Registry.installed()
    counted = cost_of_selection(
        Selection(architecture=toy, size="nano", options={"depth": 3}),
        spec := toy_spec(),
    )
    record = sound("toy:nano", cost=counted, data=DataFacts(name="digits", examples=1541, shape=(1, 8, 8), classes=10))
    facts = {"source_sha256": registry.source_sha256("toy"), "options": {"depth": 3}}
    record = record.model_copy(update={"architecture": record.architecture.model_copy(update=facts)})
    known = Known(registry, count=cost_of_selection)
    assert not list(cost_of(record, known)) and known.cost(record.architecture, spec) == counted
    lie = record.model_copy(update={"cost": counted.model_copy(update={"parameters": 10**6})})
    assert f"cost.parameters is 1000000, should be {counted.parameters}" in "".join(cost_of(lie, known))
    deep = record.model_copy(
        update={"architecture": record.architecture.model_copy(update={"options": {"depth": 10**9}})}
    )
    assert not list(cost_of(deep, known)), "nobody builds that"


def toy_spec():
    return DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")


@pytest.mark.parametrize("part", ["picture", "losses", "metrics"])
def test_a_new_architecture_does_not_carry_another_runs_numbers_or_picture(tmp_path, part):
    other = TRUE.with_name("uvit-nano-seed0-bbdaa930.json")  # of the same version of the track
    true, new = json.loads(TRUE.read_text(encoding="utf-8")), json.loads(other.read_text(encoding="utf-8"))
    copies = {
        "picture": ("files.samples.png", lambda: new["files"].update({"samples.png": true["files"]["samples.png"]})),
        "losses": ("training.curve", lambda: copy_losses(true["training"], new["training"])),
        "metrics": ("metrics.0.raw", lambda: new["metrics"].__setitem__(0, true["metrics"][0])),
    }
    field, copy = copies[part]
    copy()
    first = put(tmp_path, forged(lambda content: None))
    put(tmp_path, forged(lambda content: (content.clear(), content.update(new))))
    lines = told(tmp_path)
    assert f"{field} is " in lines and f"as in {first}: it is a copy of another run's" in lines


def copy_losses(of, to):
    to["curve"] = [{**mine, "loss": theirs["loss"]} for mine, theirs in zip(to["curve"], of["curve"], strict=False)]
    to["final_loss"] = to["curve"][-1]["loss"]
