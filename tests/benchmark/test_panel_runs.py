"""Runs whose track asks for a mean over extractors: what their records have of it, and what does not do."""

import json
import re
from functools import partial
from pathlib import Path

import pytest
from tampering import to

from ditbench import campaign
from ditbench.benchmark.reevaluation import re_evaluate
from ditbench.errors import DitbenchError
from ditbench.records.record import read_record, seal
from ditbench.records.validation import files
from ditbench.records.verification import write_verification
from ditbench.registry import Registry
from ditbench.tracks.lookup import resolve_track
from ditbench.tracks.plan import measured_otherwise

TINY = (Path(__file__).parents[1] / "tiny.toml").read_text()
PANEL = "fdr/digits-cnn+logits-cnn"
PLUGIN = """
from dataclasses import replace
from torch import nn
import ditbench
from ditbench.builtins import EXTRACTORS
from ditbench.metrics.extractors.small_cnn import digits_cnn

class Logits(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.network = digits_cnn(weights)

    def forward(self, pixels):
        return {"features": self.network(pixels)["logits"]}

@ditbench.hookimpl
def ditbench_extractors():
    of_digits = next(one for one in EXTRACTORS if one.name == "digits-cnn")
    return [replace(of_digits, name="logits-cnn", build=Logits, outputs=("features",), metrics=("fd",), width=10)]
"""  # a second opinion: of the classes alone


def track(folder, *metrics):
    text = re.sub(r"metrics = .*\n", f"metrics = {list(metrics)}\n".replace("'", '"'), TINY)
    path = folder / "tiny.toml"
    path.write_text(text.replace('"40-steps"', '"2-steps"'))
    return str(path)


@pytest.fixture
def plugin(install):
    install("ditbench-second", "second_opinion", PLUGIN)


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("plugin")
def test_a_record_has_the_mean_over_extractors_and_a_forger_is_found(tmp_path):
    asked = track(tmp_path, PANEL, "fid", "fd/logits-cnn")
    (record,) = campaign.run(asked, ["dit"], out=tmp_path / "out", device="cpu", executor="inline", eval_at=[0.5])
    found, fid, fd = record.metrics
    floors = {one.protocol: one.value for one in record.floors}
    assert found.protocol == "fdr40/digits-cnn+logits-cnn" and found.features_sha256 is None
    quotients = [fid.value / floors["fid40/digits-cnn"], fd.value / floors["fd40/logits-cnn"]]
    assert quotients[0] != quotients[1] and found.value == pytest.approx(sum(quotients) / 2)
    assert found.spread > 0 and found.settings == {"floor_samples": 40} and found.reference_samples == 1541
    assert floors["fdr40/digits-cnn+logits-cnn"] == pytest.approx(1) and record.floors[-1].spread > 0
    assert record.milestones[0].metrics[0].value != found.value
    path = next(tmp_path.glob("out/*/*/record.json"))
    told = partial(files.validate, registry=Registry.installed())
    assert not [line for one in told([path]) for line in one.lines]
    again = re_evaluate(record, path.with_name("ema.safetensors"), "Eve", Registry.installed())
    beside = write_verification(again, path.parent)
    assert again.confirmed and not [line for one in told([beside]) for line in one.lines]
    content = record.model_dump(mode="json")
    del content["sha256"]
    to("metrics.0.raw.ratios.1", 2 * found.raw["ratios"][1])(content)
    better = sum(quotients) / 2 - quotients[0] / 4
    to("metrics.0.value", better)(content)
    content["sha256"] = seal(content)
    path.write_text(json.dumps(content))
    assert read_record(path).metrics[0].value == better
    assert "metrics.0.raw is" in "\n".join(line for one in told([path]) for line in one.lines)


BAD = {
    "one extractor": (["fid", "fdr"], "needs two extractors or more"),
    "one twice": (["fid", "fdr/digits-cnn+digits-cnn"], "needs two extractors or more"),
    "none of one": (["fid", PANEL], "the metrics lack fid/logits-cnn or fd/logits-cnn"),
    "another metric": (["fid", "kid/digits-cnn+logits-cnn"], "names 2 extractors, and 'kid' is of one"),
    "unknown": (["fid", "fdr/digits-cnn+nobody"], "No extractor named 'nobody'"),
}


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("name", BAD)
def test_a_panel_that_can_not_be_measured_is_refused(tmp_path, name):
    metrics, words = BAD[name]
    with pytest.raises(DitbenchError, match=re.escape(words)):
        resolve_track(Registry.installed(), track(tmp_path, *metrics))


@pytest.mark.usefixtures("plugin")
def test_with_another_extractor_a_panel_that_lacks_one_is_left_out(tmp_path):
    registry = Registry.installed()
    resolved = resolve_track(registry, track(tmp_path, "fid", PANEL, "fd/logits-cnn"))
    assert measured_otherwise(registry, resolved, None, "logits-cnn")[0].evaluation.metrics == ("fid", "fd/logits-cnn")
    assert measured_otherwise(registry, resolved, 60, "")[0].evaluation.metrics == resolved.evaluation.metrics
