"""Runs whose track asks for the denoising error: what their records have of it, and how a forger is found."""

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pictures import write_autoencoder, write_pictures
from tampering import to

from ditbench import campaign
from ditbench.benchmark.denoising import read_errors, write_errors
from ditbench.benchmark.reevaluation import re_evaluate
from ditbench.datasets.autoencoder import load_autoencoder
from ditbench.datasets.folder import list_folder
from ditbench.datasets.held_out import held_out_examples, prepare
from ditbench.errors import BadFile, BadValue
from ditbench.records.denoising import LOG_SNRS, POINTS, WEIGHTS
from ditbench.records.record import seal
from ditbench.records.validation import files
from ditbench.registry import Registry

pytestmark = pytest.mark.timeout(240)
TINY = (Path(__file__).parents[1] / "tiny.toml").read_text()
ASKED = 'metrics = ["denoise", "kid", "denoise-image"]\ndenoised = 30\ndenoised_on_the_way = 20\n'
validate = partial(files.validate, registry=Registry.installed())


def track(folder, asked=ASKED, name="errors"):
    text = TINY.replace('name = "tiny"', f'name = "{name}"', 1).replace('"40-steps"', '"12-steps"')
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("metrics")) + asked
    (folder / f"{name}.toml").write_text(text)
    return str(folder / f"{name}.toml")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors")
    (record,) = campaign.run(
        track(folder), ["dit"], out=folder / "out", device="cpu", executor="inline", eval_at=[0.5], raw_weights=True
    )
    return record, next(folder.glob("out/*/*/record.json"))


def test_a_record_has_the_curves_and_what_the_metrics_make_of_them(run):
    record, path = run
    found = record.denoising
    assert [one.protocol for one in record.metrics] == [
        "denoise30/logsnr16", "kid40/digits-cnn", "denoise-image30/logsnr16"
    ]  # fmt: skip
    assert [(one.weights, one.images) for one in found.curves] == [
        ("ema", "held-out"), ("ema", "training"), ("raw", "held-out"), ("raw", "training")
    ]  # fmt: skip
    assert found.labelled and found.images == 30 and found.points_images == 20 and found.seconds > 0
    assert [point.at for point in found.points] == list(POINTS) and found.points[-1].steps == 12
    first = found.curves[0].errors
    assert record.metrics[0].value == pytest.approx(np.dot([(1 + np.exp(one)) / 16 for one in LOG_SNRS], first))
    assert record.metrics[2].value == pytest.approx(np.mean(first))
    assert record.raw.metrics[2].value == pytest.approx(np.mean(found.curves[2].errors))
    assert record.milestones[0].metrics[0].value != record.metrics[0].value
    assert [one.metric for one in record.floors] == ["kid"]
    assert not list(path.parent.glob("*.partial.*"))
    assert not [line for one in validate([path]) for line in one.lines]


TAMPERED = {
    "a better number": (to("metrics.0.raw.terms.3", 1e-4), "metrics.0.value is"),
    "a better curve": (to("denoising.curves.0.errors.3", 1e-4), "metrics.0.raw.terms.3 is"),
    "no curve": (to("denoising", None), "denoising is none, should be what the metrics"),
    "other weights first": (to("denoising.curves.0.weights", "raw"), "the denoising.curves is"),
    "a negative error": (to("denoising.curves.1.errors.0", -1.0), "denoising.curves.1.errors.0 is -1.0, should not be"),
    "a point that was not": (to("denoising.points.0.at", 0.15), "the shares of denoising.points are"),
    "a point too early": (to("denoising.points.9.at", 0.95), "the shares of denoising.points are"),
    "a point of another step": (to("denoising.points.3.steps", 9), "denoising.points.3.images is 80, should be 144"),
    "other images": (to("denoising.images", 29), "metrics.0.samples is 30, should be 29"),
    "no labels": (to("denoising.labelled", False), 'metrics.0.protocol is "denoise30/logsnr16", should be'),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_what_does_not_follow_from_the_curves_is_found(run, tmp_path, name):
    change, line = TAMPERED[name]
    content = json.loads(run[1].read_text())
    change(content)
    content["sha256"] = seal(content)
    path = tmp_path / "records" / "errors" / f"{content['run_id']}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    assert line in "\n".join(line for one in validate([path]) for line in one.lines)


def test_the_error_is_measured_again_of_the_weights(run):
    record, path = run
    found = re_evaluate(record, path.with_name("ema.safetensors"), "Ada", Registry.installed())
    assert found.confirmed and {one.protocol for one in found.compared} >= {"denoise30/logsnr16"}


def test_data_without_held_out_images_is_refused(tmp_path):
    write_pictures(tmp_path / "pictures", 7)
    how = {"data": f"image-folder:{tmp_path / 'pictures'}", "features": "efficientnet-lite0", "device": "cpu"}
    with pytest.raises(BadValue, match=r"denoise is of held-out images, and the data 'pictures' has none"):
        campaign.run(track(tmp_path, name="alone"), ["dit"], out=tmp_path, executor="inline", **how)


def test_errors_that_are_not_those_of_the_run_are_told(tmp_path):
    write_errors(np.ones((3, 16)), tmp_path, "samples")
    assert read_errors(tmp_path, "samples", 3).shape == (3, 16)
    (tmp_path / "junk-errors.partial.npy").write_bytes(b"junk")
    for stem, images, words in (("junk", 3, "can't be read"), ("samples", 4, "are not those of 4 images")):
        with pytest.raises(BadFile, match=words):
            read_errors(tmp_path, stem, images)


def test_every_weight_has_its_metric():
    metrics = Registry.installed().metrics
    assert {name for name, metric in metrics.items() if metric.sees == "denoiser"} == set(WEIGHTS)


@pytest.mark.parametrize("autoencoder", [True, False], ids=["latents", "pixels"])
def test_held_out_images_are_prepared_beside_the_others_and_shown_to_the_denoiser(tmp_path, autoencoder):
    """Their classes are not known where they lie in one folder, and the number's name says so."""
    write_pictures(tmp_path / "pictures" / "train", 10)
    write_pictures(tmp_path / "pictures" / "val", 8)
    for label in ("val",) if autoencoder else ():
        for path in sorted((tmp_path / "pictures" / label).glob("*/*")):
            path.rename(tmp_path / "pictures" / label / f"{path.parent.name}-{path.name}")
        for folder in [one for one in (tmp_path / "pictures" / label).iterdir() if one.is_dir()]:
            folder.rmdir()
    vae = load_autoencoder(str(write_autoencoder(tmp_path / "vae")), offline=True) if autoencoder else None
    heard = []
    manifest = prepare(
        list_folder(tmp_path / "pictures"), tmp_path / "out", 16, vae, shard_size=7,
        report=lambda done, of: heard.append((done, of)),
    )  # fmt: skip
    assert manifest.count == 30 and heard[-1] == (54, 54) and heard == sorted(heard)
    aside, labelled = held_out_examples(tmp_path / "out" / "held-out")
    assert len(aside) == 24 and labelled != autoencoder
    rows, kind = ("latents", "latent") if autoencoder else ("image-folder", "pixel")
    text = re.sub(r"\[data\].*?\n\n", f'[data]\ndataset = "{rows}"\nresolution = 16\n\n', TINY, flags=re.DOTALL)
    text = text.replace('space = "pixel"', f'space = "{kind}"').replace('"40-steps"', '"2-steps"')
    text = text.replace('"digits-cnn"', '"efficientnet-lite0"').replace("samples = 40", "samples = 20")
    if autoencoder:
        text = text.replace("[data]\n", "[data]\ndownsampling = 4\n")
    (tmp_path / "tiny.toml").write_text(re.sub(r"metrics = .*", 'metrics = ["denoise", "kid"]', text))
    (record,) = campaign.run(
        str(tmp_path / "tiny.toml"), ["dit"], out=tmp_path / "runs", device="cpu", data=str(tmp_path / "out"),
        executor="inline",
    )  # fmt: skip
    assert record.status == "finished", record.reason
    assert record.metrics[0].protocol == f"denoise24/logsnr16{'-null' if autoencoder else ''}"
    assert record.denoising.labelled != autoencoder
