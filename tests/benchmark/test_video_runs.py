"""A run on clips, from the plan to a record that is validated, and its checkpoint; what such a track can't ask for."""

import json
from functools import partial

import pytest
from tampering import to

from ditbench import campaign
from ditbench.benchmark.evaluation import EvaluationRequest, evaluate
from ditbench.benchmark.generation import open_checkpoint
from ditbench.datasets.examples import Request
from ditbench.datasets.moving import load_moving_digits
from ditbench.errors import DitbenchError
from ditbench.records.record import seal
from ditbench.records.validation import files
from ditbench.registry import Registry
from ditbench.storage.files import temporary_folder
from ditbench.tracks.lookup import resolve_track
from ditbench.tracks.plan import measured_otherwise
from ditbench.tracks.track import load_track

SHIPPED = Registry.installed().tracks["moving-digits"]
PLUGIN = """
import ditbench
from torch import nn

class Toy(nn.Module):
    def __init__(self, spec, *, width):
        super().__init__()
        self.inward = nn.Conv3d(spec.channels, width, 3, padding=1)
        self.label, self.time = nn.Embedding(spec.classes + 1, width), nn.Linear(1, width)
        self.outward = nn.Conv3d(width, spec.out_channels, 3, padding=1)

    def forward(self, x, t, y):
        told = self.time(t[:, None] / 1000) + self.label(y)
        h = self.inward(x.transpose(1, 2)) + told[:, :, None, None, None]
        return self.outward(h.tanh()).transpose(1, 2)

@ditbench.hookimpl
def ditbench_architectures():
    sizes = {"nano": {"width": 8}}
    return [ditbench.Architecture(name="film", build=Toy, sizes=sizes, clips=True, paper="none", licence="Apache-2.0")]
"""
METRICS = ["fvd", "frame-fid/frame-cnn", "moves", "memorised", "kid", "is", "precision", "recall", "denoise"]


def track(folder, metrics=METRICS, samples=40, **changes):
    text = SHIPPED.read_text()
    own = {
        'name = "moving-digits"': 'name = "film"',
        text[text.index("metrics = [") : text.index("denoised =")]: f"metrics = {json.dumps(metrics)}\n",
        "samples = 500": f"samples = {samples}",
        "denoised = 256": "denoised = 20",
        "denoised_on_the_way = 48": "denoised_on_the_way = 0",
        'standard = "64k-images"': 'standard = "2-steps"',
        "steps = 25": "steps = 2",
        "batch_size = 64": "batch_size = 16",
        **changes,
    }
    for old, new in own.items():
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "film.toml"
    path.write_text(text)
    return str(path)


@pytest.fixture
def film(install):
    install("ditbench-film", "film", PLUGIN)


def test_the_shipped_track_is_of_the_data_and_can_be_measured():
    registry = Registry.installed()
    shipped, data = resolve_track(registry, "moving-digits"), load_moving_digits(Request(resolution=16, frames=8))
    assert shipped == load_track(SHIPPED) and shipped.data.images == len(data.examples)
    others, found = measured_otherwise(registry, shipped, None, "frame-cnn")
    assert [*map(str, found)] and "fvd" not in others.evaluation.metrics and "moves" in others.evaluation.metrics


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("film")
def test_a_run_on_clips(tmp_path):
    asked = track(tmp_path)
    (record,) = campaign.run(asked, ["film"], out=tmp_path / "out", device="cpu", executor="inline")
    assert record.status == "finished" and record.data.shape == (8, 1, 16, 16)
    found, floors = ({one.metric: one for one in of} for of in (record.metrics, record.floors))
    assert [one.metric for one in record.metrics] == [name.partition("/")[0] for name in METRICS]
    assert found["fvd"].protocol == "fvd40/motion-cnn" and found["fvd"].value > 10 * floors["fvd"].value
    assert found["fvd"].settings == {"frames": 8, "interval": 1, "resize": "none", "split": "training"}
    assert (found["fvd"].reference_samples, found["frame-fid"].reference_samples) == (4000, 4000)
    assert floors["fvd"].settings["split"] == "training and held-out"
    assert (found["moves"].protocol, found["moves"].value) == ("moves40/raw-pixels", 0)
    assert found["moves"].reference_sha256 is None and floors["moves"].value >= 0.98
    a_checkpoint_scores_the_same(record, next(tmp_path.glob("out/*/*/ema.safetensors")), asked)
    forgers_are_found(record, next(tmp_path.glob("out/*/*/record.json")))


def a_checkpoint_scores_the_same(record, weights, asked):
    registry, run = Registry.installed(), {one.metric: one for one in record.metrics}
    motion, frame = (registry.extractors[name] for name in ("motion-cnn", "frame-cnn"))
    with temporary_folder() as drawn:
        of = open_checkpoint(weights, "film:nano", asked, registry, drawn, device="cpu")
        how = {"device": "cpu", "generated": of.how, "interval": of.interval, "floors": False}
        score = partial(EvaluationRequest, of.images, **how)
        found = {one.metric: one for one in evaluate(score(of.reference, motion, ()), registry).metrics}
        by_name = evaluate(score("moving-digits", motion, (registry.metrics["fvd"],)), registry).metrics
        by_frames = evaluate(score("moving-digits", frame, ()), registry)
        with pytest.raises(DitbenchError, match="'moves' looks at pixels, of which nothing is kept here"):
            evaluate(score(of.reference, motion, (registry.metrics["moves"],)), registry)
    assert found.keys() == {"fvd", "kid", "is", "precision", "recall"}
    for one in (found["fvd"], *by_name, found["recall"], *by_frames.metrics):
        assert one.value == pytest.approx(run[one.metric].value, rel=1e-6)
        assert (one.protocol, one.settings) == (run[one.metric].protocol, run[one.metric].settings)
    assert by_frames.metrics[0].metric == "frame-fid" and by_frames.bytes_per_image == 4 * 8 * 64


def forgers_are_found(record, path):
    told = partial(files.validate, registry=Registry.installed())
    assert not [line for one in told([path]) for line in one.lines]
    forged = (
        ("metrics.0.settings.frames", 16), ("metrics.0.settings.interval", 4), ("metrics.0.settings.split", "given"),
        ("metrics.1.settings.resize", "bilinear, to 224"), ("metrics.2.settings.pixels", 0.5),
        ("metrics.0.raw.terms.0", 0.0), ("metrics.2.raw.counts.0", 12),
    )  # fmt: skip
    for place, value in forged:
        content = record.model_dump(mode="json")
        del content["sha256"]
        to(place, value)(content)
        content["sha256"] = seal(content)
        path.write_text(json.dumps(content))
        lines = "\n".join(line for one in told([path]) for line in one.lines)
        assert place.partition(".raw")[0] in lines, place


BAD = {
    "clips that are too short": (["fvd/i3d-rgb-imagenet"], "clips of 8 frames, .* 'i3d-rgb-imagenet' needs 9 or more"),
    "images": (["fid"], "needs images, and these are clips"),
    "an extractor of images": (["fvd/frame-cnn"], "needs an extractor of clips here; 'frame-cnn' sees images"),
    "an extractor of clips": (["frame-fid"], "needs an extractor of images here; 'motion-cnn' sees clips"),
    "a panel that lacks one": (["fvd", "fdr/motion-cnn+frame-cnn"], "the metrics lack fvd/frame-cnn"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_track_of_clips_that_can_not_be_measured_is_refused(tmp_path, name):
    metrics, words = BAD[name]
    with pytest.raises(DitbenchError, match=words):
        resolve_track(Registry.installed(), track(tmp_path, metrics))
