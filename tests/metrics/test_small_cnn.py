"""The shipped classifiers read images they have not seen, and the script makes such classifiers."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ditbench.datasets.bundled import digits
from ditbench.datasets.examples import Request
from ditbench.datasets.fashion import _DEBIAN, _split
from ditbench.datasets.moving import load_moving_digits
from ditbench.metrics.extractors import train_small_cnn
from ditbench.metrics.extractors.small_cnn import digits_cnn
from ditbench.metrics.extractors.train_small_cnn import SEEN, shuffled, steps_of_light, train_digits, train_motion
from ditbench.metrics.features import extract, load_extractor
from ditbench.metrics.weights import weights_path
from ditbench.registry import Registry

EXTRACTORS = Registry.installed().extractors


@pytest.fixture(scope="module")
def clips():
    """Held-out clips of moving digits, which show other digits than those that were trained on, and their labels."""
    data = load_moving_digits(Request(resolution=16, frames=8))
    return next(data.held_out.batches(500)), data.held_out_labels


def accuracy(network, pixels, labels):
    found = extract(network, [pixels], ("features", "logits"))
    return found.outputs["features"].shape[1], np.mean(found.outputs["logits"].argmax(1).numpy() == labels)


def test_the_digits_classifier_reads_unseen_digits():
    pixels, labels = digits()
    width, right = accuracy(load_extractor(EXTRACTORS["digits-cnn"]), pixels[SEEN:], labels[SEEN:])
    assert width == 64 and right >= 0.97


@pytest.mark.skipif(not _DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_fashion_classifier_names_unseen_clothes():
    pixels, labels = _split(_DEBIAN, "t10k", border=2)
    width, right = accuracy(load_extractor(EXTRACTORS["fashion-cnn"]), pixels[:3000], labels[:3000])
    assert width == 128 and right >= 0.9


def test_the_classifier_of_frames_reads_unseen_digits_anywhere(clips):
    pixels, labels = clips
    width, right = accuracy(
        load_extractor(EXTRACTORS["frame-cnn"]), pixels[::2, ::3].reshape(-1, 1, 16, 16), labels[::2].repeat(3)
    )
    assert width == 64 and right >= 0.95


@torch.inference_mode()
def test_the_network_of_clips_sees_which_digit_moves_and_how(clips):
    pixels, labels = torch.from_numpy(clips[0]), clips[1]
    network = load_extractor(EXTRACTORS["motion-cnn"])
    width, right = accuracy(network, clips[0], labels)
    assert width == 64 and right >= 0.95
    for seen, astray in ((pixels, 0.25), (shuffled(pixels), 0.6)):
        steps = steps_of_light(seen)
        wrong = network.motion(network(seen)["features"]) - steps
        assert wrong.square().mean().sqrt() < astray < steps.std() / 3


def test_what_the_network_of_clips_is_trained_on():
    clips = torch.zeros(1, 8, 1, 16, 16, dtype=torch.uint8)
    for frame in range(8):
        clips[0, frame, 0, 2 + frame // 2, 12 - frame] = 200
    steps = steps_of_light(clips)
    assert steps[0].tolist() == [[down, -1] for down in (0, 1, 0, 1, 0, 1, 0)]
    mixed = shuffled(clips.expand(50, -1, -1, -1, -1))
    assert torch.equal(mixed.sum(1), clips.expand_as(mixed).sum(1)) and not torch.equal(mixed[0], mixed[1])
    before, after = train_motion(steps=0), train_motion(steps=2)
    assert before.state_dict().keys() == load_file(weights_path(EXTRACTORS["motion-cnn"])).keys()
    assert all(not torch.equal(one, other) for one, other in zip(before.parameters(), after.parameters(), strict=True))


def test_the_script_trains_and_writes_a_classifier(tmp_path, monkeypatch):
    monkeypatch.setitem(train_small_cnn.TRAININGS, "digits-cnn", lambda: train_digits(steps=100))
    train_small_cnn.main("digits-cnn", tmp_path / "one.safetensors")
    train_small_cnn.main("digits-cnn", tmp_path / "other.safetensors")
    weights, again = load_file(tmp_path / "one.safetensors"), load_file(tmp_path / "other.safetensors")
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    pixels, labels = digits()
    right = accuracy(digits_cnn(weights).eval(), pixels[SEEN:], labels[SEEN:])[1]
    assert right >= 0.7  # 15 times fewer steps
