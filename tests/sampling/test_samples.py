"""Samples lie on disk while they are measured; an interrupted sampling goes on, and never with others' images."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ditbench.benchmark.setup import build, drawing_of, resolve
from ditbench.errors import BadFile
from ditbench.registry import Registry
from ditbench.runtime.progress import Interrupted, Watch
from ditbench.sampling.samples import batches, draw, samples_in
from ditbench.sampling.walking import SamplingPlan, labels_of, random_labels
from ditbench.tracks.plan import make_plan

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def made():
    """What a run draws, and an untrained denoiser."""
    registry = Registry.installed()
    (config,) = make_plan(registry, "tiny", ["toy"], [3], device="cpu")
    parts = resolve(config, registry)
    return drawing_of(config, parts), build(parts, config).eval()


def stopped(after):
    """A watch that asks to stop after so many words: one that it begins, and one for each batch."""
    seen = []
    return Watch(seen.append, lambda: len(seen) >= after)


def test_an_interrupted_sampling_goes_on_with_the_same_images(tmp_path, made):
    drawing, denoiser = made
    draw(drawing, denoiser, tmp_path, Watch(), "whole")
    whole = samples_in(drawing, "ema", tmp_path, "whole")
    with pytest.raises(Interrupted):
        draw(drawing, denoiser, tmp_path, stopped(after=3))
    begun = []
    with pytest.raises(BadFile, match="are not the 40 that were to be"):
        samples_in(drawing, "ema", tmp_path)
    draw(drawing, denoiser, tmp_path, Watch(lambda progress: begun.append(progress.step)))
    resumed = samples_in(drawing, "ema", tmp_path)
    assert begun == [32, 40], "only the third batch of 16, 16 and 8 was left to sample"
    assert np.array_equal(resumed.pixels, whole.pixels) and len(whole.pixels) == 40
    assert resumed.facts.images_sha256 == whole.facts.images_sha256
    assert resumed.facts.batch_images == whole.facts.batch_images == [16, 16, 8]
    assert resumed.pixels.shape == (40, 1, 8, 8)
    resumed.discard()
    whole.discard()
    assert not list(tmp_path.glob("*.partial.*"))


def test_other_weights_start_over(tmp_path, made):
    drawing, denoiser = made
    with pytest.raises(Interrupted):
        draw(drawing, denoiser, tmp_path, stopped(after=3))
    with torch.no_grad():
        denoiser.outward.bias += 1
    draw(drawing, denoiser, tmp_path, Watch())
    other = samples_in(drawing, "ema", tmp_path)
    (first, *_) = batches(drawing, denoiser, range(16))
    assert np.array_equal(other.pixels[:16], first.pixels)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"weights": "x", "batch_images": "many"}'])
def test_a_damaged_note_of_what_is_done_starts_over(tmp_path, made, damage):
    drawing, denoiser = made
    with pytest.raises(Interrupted):
        draw(drawing, denoiser, tmp_path, stopped(after=2))
    (tmp_path / "samples.partial.json").write_bytes(damage)
    draw(drawing, denoiser, tmp_path, Watch())
    assert samples_in(drawing, "ema", tmp_path).facts.batch_images == [16, 16, 8]


def test_latents_are_decoded_on_the_way_and_the_decoding_is_timed_apart(tmp_path, made):
    drawing, denoiser = made

    class Bright:
        network = SimpleNamespace(module=torch.nn.Identity())

        def decode(self, x):
            return torch.ones(len(x), 3, 16, 16)

    bright = replace(
        drawing,
        plan=replace(drawing.plan, decode=Bright().decode),
        image_shape=(3, 16, 16),
        autoencoder=Bright(),
    )
    draw(bright, denoiser, tmp_path, Watch())
    samples = samples_in(bright, "ema", tmp_path)
    assert samples.pixels.shape == (40, 3, 16, 16) and samples.pixels.min() == 255
    assert samples.facts.decode_seconds > 0


def test_random_labels_follow_from_seed_and_index_alone():
    some, all_of_them = random_labels(1, np.array([5, 700]), 10), random_labels(1, np.arange(1000), 10)
    assert some.tolist() == all_of_them[[5, 700]].tolist()
    assert set(all_of_them) == set(range(10)) and 60 < np.bincount(all_of_them).min() < 100  # drawn, not dealt out
    assert not np.array_equal(all_of_them, random_labels(2, np.arange(1000), 10))
    assert random_labels(1, np.arange(3), 0).tolist() == [0, 0, 0]
    plan = SamplingPlan(sample=lambda walk: walk.noise, objective=None, steps=1, seed=1, labels="random")
    assert np.array_equal(labels_of(plan, np.arange(1000), 10), all_of_them)
