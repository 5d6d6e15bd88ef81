"""A run as a folder: diffusers draws the run's own bytes from it, without ditbench; and what can't be exported."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import dynamic_modules_utils
from huggingface_hub import ModelCard
from pictures import write_kind
from safetensors.torch import load_file, save_file

from ditbench import campaign
from ditbench.components import load as component
from ditbench.errors import BadFile, BadValue, DitbenchError
from ditbench.export import folder as folders
from ditbench.export import trial
from ditbench.export.folder import MANIFEST, write_diffusers, write_folder
from ditbench.export.request import Request, export
from ditbench.export.subject import of_run, of_weights
from ditbench.export.trial import drawn_by
from ditbench.registry import Registry
from ditbench.sampling.generate import generate
from ditbench.storage.files import sha256_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run's record and its folder, made by the first test that installs the toy."""
    made = []

    def finished():
        if not made:
            out = tmp_path_factory.mktemp("runs")
            (record,) = campaign.run("tiny", ["toy"], out=out, device="cpu", executor="inline", budget="blink")
            made.append((record, out / "tiny" / record.run_id))
        return made[0]

    return finished


@pytest.fixture
def run(toy, finished):
    return finished()


@pytest.fixture
def untried(monkeypatch):
    """Folders are not tried: a test does, or needs none of it."""
    monkeypatch.setattr(folders, "check", lambda folder, subject: None)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """diffusers' loader, with the code that it copies in a folder of its own."""
    modules = tmp_path / "modules"
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(modules))
    monkeypatch.syspath_prepend(tmp_path)

    def load(folder):
        pipeline = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True, low_cpu_mem_usage=False)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    yield load
    for name in [name for name in sys.modules if name.startswith("diffusers_modules")]:
        del sys.modules[name]


def test_the_runs_own_bytes_without_ditbench(run, untried, tmp_path):
    record, folder = run
    out = tmp_path / "model"
    assert export(Request(source=folder, out=out, to="hub"), Registry.installed()) == record.run_id
    found = drawn_by(out, record.track.evaluation.samples, {"ditbench", "toy", "toy_net"})
    assert found == record.sampling.images_sha256, "of grey images (N, 1, H, W) and (N, H, W, 1) are the same bytes"
    assert not [path for path in out.rglob("*") if path.suffix in (".bin", ".pt", ".pkl", ".pyc", ".ckpt")]
    assert {path.name for path in out.rglob("*.safetensors")} == {"diffusion_pytorch_model.safetensors"}
    listed = json.loads((out / MANIFEST).read_text())
    assert listed["of"] == record.run_id and listed["files"]["samples.png"] == sha256_of(folder / "samples.png")
    assert "torch==" in (out / "requirements.txt").read_text()
    assert (out / "LICENSE").read_text() and "@software{ditbench" in (out / "CITATION.bib").read_text()
    _check_card(record, ModelCard.load(out / "README.md"))


def _check_card(record, card):
    assert {found.metric_name: found.metric_value for found in card.data.eval_results} == {
        measured.protocol: measured.value for measured in record.metrics
    }
    assert card.data.library_name == "diffusers" and card.data.license == "apache-2.0"
    text = card.text
    assert "![samples](samples.png)" in text and f"hash {record.track_hash}" in text
    assert "ditbench run --track tiny --plugins toy:nano --budget 8-steps --seeds 0 --device cpu" in text
    assert "this row is provisional: 1 of 3 seeds" in text


def test_two_folders_in_one_process_and_what_may_be_asked(run, untried, load, tmp_path):
    """diffusers keeps all folders' code in one place. The second network is another."""
    subject = of_run(run[1], Registry.installed())
    write_diffusers(subject, tmp_path / "one")
    weights = tmp_path / "big.safetensors"
    other = of_weights(weights, "toy:big/2", "tiny", 5, Registry.installed())
    torch.manual_seed(1)
    save_file(_build(other).state_dict(), weights)
    write_diffusers(other, tmp_path / "other")
    one, two = load(tmp_path / "one"), load(tmp_path / "other")
    torch.set_num_threads(1)
    for pipeline, of in ((one, subject), (two, other), (one, subject)):
        (batch,) = generate(of.network, of.spec, of.plan(2), range(16), 16, CPU)
        drawn = pipeline(num_images=16, output_type="np").images
        assert np.array_equal(np.moveaxis(drawn, -1, 1), batch.pixels)
    for asked, why in (
        ({"num_images": 0}, "num_images is 0"),
        ({"num_images": 3, "class_labels": [1, 2]}, "There are 2 class_labels for 3 images"),
        ({"num_images": 2, "class_labels": [1, 11]}, "The class label 11 is none from 0 to 9, nor 10, no label"),
    ):
        with pytest.raises(ValueError, match=why):
            one(**asked)
    pictures = one(num_images=3, class_labels=[7, 7, 10], guidance_scale=2.0, num_inference_steps=3).images
    assert [picture.size for picture in pictures] == [(8, 8)] * 3 and pictures[0].mode == "L"
    again = one(num_images=2, first=1, class_labels=[7, 10], guidance_scale=2.0, num_inference_steps=3).images
    assert np.abs(np.asarray(pictures[1], int) - np.asarray(again[0], int)).max() <= 1, "number 1 is number 1"


def _build(subject):
    return component(subject.architecture.build)(subject.spec, **subject.config.settings)


def latent_track(place, channels=4, normalised=False):
    """A file of the tiny track on latents with a factor of 4, of 32x32 pixels."""
    text = (Path(__file__).parents[1] / "tiny.toml").read_text()
    pixels = "resolution = 8\nchannels = 1"
    latents = f"resolution = 32\ndownsampling = 4\nchannels = {channels}"
    latents += '\nnormalise = "channel"' if normalised else ""
    swaps = {'"pixel"': '"latent"', '"tiny"': '"latent"', '"digits"': '"latents"', ', "knn"': "", pixels: latents}
    for old, new in swaps.items():
        assert old in text
        text = text.replace(old, new)
    path = place / "latent.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("kind", "changes", "channels"),
    [
        ("dc", {}, 8),
        ("kl", {"latents_mean": (0.1, 0.2, 0.3, 0.4), "latents_std": (0.5, 1.0, 1.5, 2.0)}, 4),
        ("kl", {"shift_factor": 0.3}, 4),  # as FLUX's
        ("kl", {}, 4),
    ],
    ids=["dc", "kl-by-channel", "kl-shifted", "kl"],
)
def test_latents_have_their_autoencoder(toy, untried, load, tmp_path, kind, changes, channels):
    asked = write_kind(kind, tmp_path / "vae", **changes)
    weights = tmp_path / "toy.safetensors"
    track = latent_track(tmp_path, channels=channels)
    subject = of_weights(weights, "toy", track, 0, Registry.installed(), asked)
    save_file(_build(subject).state_dict(), weights)
    write_diffusers(subject, tmp_path / "model")
    (batch,) = generate(subject.network, subject.spec, subject.plan(2), range(3), 3, CPU)
    drawn = load(tmp_path / "model")(num_images=3, batch_size=3, output_type="np").images
    assert drawn.shape == (3, 32, 32, 3) and np.array_equal(np.moveaxis(drawn, -1, 1), batch.pixels)


@pytest.mark.parametrize(
    ("asked", "normalised", "why"),
    [
        ("", False, "toy:nano makes latents: give the folder of their autoencoder by `autoencoder`"),
        ("nowhere", False, "The autoencoder 'nowhere' is no folder"),
        ("rae:nowhere", False, "The autoencoder 'rae' can't be exported; kl and dc can"),
        ("identity", False, "The autoencoder 'identity' is no folder"),
        ("nowhere", True, "latents normalised by channel, whose numbers a run does not keep"),
    ],
)
def test_latents_that_can_not_be_decoded(toy, tmp_path, asked, normalised, why):
    track = latent_track(tmp_path, normalised=normalised)
    with pytest.raises(DitbenchError, match=re.escape(why)):
        of_weights(tmp_path / "toy.safetensors", "toy", track, 0, Registry.installed(), asked)


def test_clips_are_lists_of_frames(untried, load, tmp_path):
    weights = tmp_path / "latte.safetensors"
    subject = of_weights(weights, "latte", "moving-digits", 0, Registry.installed())
    save_file(_build(subject).state_dict(), weights)
    write_diffusers(subject, tmp_path / "model")
    (batch,) = generate(subject.network, subject.spec, subject.plan(2), range(2), 2, CPU)
    clips = load(tmp_path / "model")(num_images=2, batch_size=2, num_inference_steps=2).images
    assert [[frame.size for frame in clip] for clip in clips] == [[(16, 16)] * 8] * 2
    drawn = np.stack([[np.asarray(frame)[None] for frame in clip] for clip in clips])
    assert np.array_equal(drawn, batch.pixels)


def test_weights_are_the_runs_and_evaluate_takes_them(run, untried, tmp_path):
    """The toy has no published names; those of an architecture whose names are ours are the run's own tensors."""
    _, folder = run
    write_diffusers(of_run(folder, Registry.installed()), tmp_path / "model")
    theirs = load_file(tmp_path / "model" / "transformer" / "diffusion_pytorch_model.safetensors")
    ours = load_file(folder / "ema.safetensors")
    assert theirs.keys() == {f"network.{name}" for name in ours}
    assert all(torch.equal(theirs[f"network.{name}"], ours[name]) for name in ours)
    with pytest.raises(BadValue, match="toy has no published names"):
        export(Request(source=folder, out=tmp_path / "st", to="safetensors"), Registry.installed())
    assert not (tmp_path / "st").exists()


def test_nothing_is_overwritten(run, untried, tmp_path):
    _, folder = run
    subject = of_run(folder, Registry.installed())
    out = tmp_path / "model"
    write_diffusers(subject, out)
    before = sha256_of(out / MANIFEST)
    with pytest.raises(BadFile, match="exists: choose another folder, or replace an export by `force`"):
        write_diffusers(subject, out)
    write_diffusers(subject, out, force=True, more={"README.md": "the card"})
    assert (out / "README.md").exists() and sha256_of(out / MANIFEST) != before
    for name, text in (("README.md", "the card, and my words"), ("notes.txt", "mine")):
        (out / name).write_text(text)
        with pytest.raises(BadFile, match=f"model/{name}' is not as an export wrote it, so the folder is not replaced"):
            write_diffusers(subject, out, force=True)
        (out / "README.md").write_text("the card")
    (out / "notes.txt").unlink()
    write_diffusers(subject, out, force=True)
    assert sha256_of(out / MANIFEST) == before and not (out / "README.md").exists()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("dear")
    with pytest.raises(BadFile, match="is no folder that an export has written, so it is not replaced"):
        write_diffusers(subject, tmp_path / "home", force=True)
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(BadFile, match="is not replaced"):
        write_diffusers(subject, tmp_path / "link", force=True)


def test_what_came_to_the_place_meanwhile_stays(tmp_path):
    out = tmp_path / "model"

    def fill(folder):
        out.mkdir()
        (out / "thesis.txt").write_text("dear")

    with pytest.raises(BadFile, match="exists: choose another folder"):
        write_folder(out, fill, "toy", force=False)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "thesis.txt"]


def test_a_folder_that_draws_other_images_is_not_put_in_its_place(run, monkeypatch, tmp_path):
    _, folder = run
    monkeypatch.setattr(trial, "drawn_by", lambda *_, **__: "other")
    with pytest.raises(BadFile, match="draws other images than ditbench does"):
        write_diffusers(of_run(folder, Registry.installed()), tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["site"], "whole or absent; the toy is installed there"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda folder: (folder / "ema.safetensors").unlink(), "has no ema.safetensors: a run without its weights"),
        (lambda folder: (folder / "record.json").unlink(), "is no finished run's folder: it has no record.json"),
        (lambda folder: (folder / "samples.png").write_bytes(b"x"), "has no samples.png that is its record's"),
        (lambda folder: (folder / "ema.safetensors").write_bytes(b"x"), "are not those of toy-nano-seed0"),
    ],
)
def test_a_run_that_lacks_something(run, untried, tmp_path, spoil, why):
    copy = shutil.copytree(run[1], tmp_path / "runs" / run[1].name)
    spoil(copy)
    with pytest.raises(DitbenchError, match=re.escape(why)):
        export(Request(source=copy, out=tmp_path / "out", to="hub"), Registry.installed())
    assert not (tmp_path / "out").exists()


def test_a_plugin_that_was_edited_since(run, monkeypatch):
    monkeypatch.setattr(Registry, "source_sha256", lambda self, name: "0" * 64)
    with pytest.raises(BadValue, match="was made with another source"):
        of_run(run[1], Registry.installed())


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"source": "nothing"}, "There is nothing of the name"),
        ({"architecture": "toy"}, "are of weights; a run says all"),
        ({"seed": 7}, "are of weights; a run says all"),
        ({"source": "weights"}, "A file of weights needs `architecture`"),
        ({"like": "weights"}, "`like` is of safetensors, not of diffusers"),
        ({"source": "weights", "architecture": "toy", "track": "tiny", "to": "hub"}, "give a run's folder"),
        ({"autoencoder": "."}, "`autoencoder` is of latents"),
    ],
)
def test_what_can_not_be_asked(run, untried, tmp_path, asked, why):
    weights = shutil.copy(run[1] / "ema.safetensors", tmp_path / "w.safetensors")
    places = {"weights": Path(weights), "nothing": tmp_path / "nothing"}
    given = {name: places.get(value, value) for name, value in asked.items()}
    request = replace(Request(source=run[1], out=tmp_path / "out", to="diffusers"), **given)
    with pytest.raises(DitbenchError, match=re.escape(why)):
        request.check()
        export(request, Registry.installed())


def test_the_command(run, untried, ditbench, tmp_path):
    record, folder = run
    said = ditbench("export", str(folder), "--to", "diffusers", str(tmp_path / "model"))
    assert f"{record.run_id} -> {tmp_path / 'model'}" in said
    assert "exists" in ditbench("export", str(folder), "--to", "hub", str(tmp_path / "model"), code=2)
