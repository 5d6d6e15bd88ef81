"""Clips outside of networks: strips of film, which objectives, samplers and guidance take for images."""

import numpy as np
import pytest
import torch
from torch import nn

from ditbench.denoiser.strips import as_clips, as_strips, clips_like, strip_shape
from ditbench.denoiser_spec import DenoiserSpec
from ditbench.errors import BadValue
from ditbench.sampling.generate import generate
from ditbench.sampling.samplers import euler
from ditbench.sampling.walking import GuidedDenoiser, SamplingPlan
from ditbench.tracks.guidance import Guidance
from ditbench.training.discrete import Noise
from ditbench.training.objectives import Flow
from ditbench.training.regression import LossOfBatch, Regression

SPEC = DenoiserSpec(channels=2, resolution=4, classes=3, space="pixel", frames=5, learn_variance=True)
CLIPS = torch.randn(3, *SPEC.shape, generator=torch.Generator().manual_seed(0))


class Lookout(nn.Module):
    """Notes the shape that it is given; its output tells frames, channels and labels apart."""

    def __init__(self, spec):
        super().__init__()
        self.spec, self.seen = spec, []

    def forward(self, x, t, y):
        self.seen.append(tuple(x.shape))
        frames = torch.arange(1.0, 1 + self.spec.frames).view(-1, 1, 1, 1)
        twice = torch.cat([x, -x], dim=2) if self.spec.learn_variance else x
        return twice * frames + y.view(-1, 1, 1, 1, 1)


def test_a_strip_is_the_frames_one_below_the_other():
    strips = as_strips(CLIPS)
    assert strips.shape == (3, *strip_shape(SPEC.shape)) == (3, 2, 20, 4)
    assert torch.equal(strips[1, :, 8:12], CLIPS[1, 2])
    assert torch.equal(as_clips(strips, 5), CLIPS) and torch.equal(clips_like(CLIPS, strips), CLIPS)


def test_images_stay_as_they_are():
    images = CLIPS[:, 0]
    assert as_strips(images) is images and as_clips(images, 1) is images and clips_like(images, images) is images
    assert strip_shape((2, 4, 4)) == (2, 4, 4)


def test_a_spec_tells_its_shapes():
    assert (SPEC.shape, SPEC.out_shape) == ((5, 2, 4, 4), (5, 4, 4, 4))
    assert str(SPEC) == "5 frames of 4x4x2 pixel, 3 classes, learned variance"
    with pytest.raises(BadValue, match="frames is 0"):
        DenoiserSpec(channels=1, resolution=8, classes=0, space="pixel", frames=0)


def test_the_loss_of_clips_is_that_of_their_frames():
    """Of a flow each frame's is its own; the variational bound splits channels, not frames."""
    noise, t, y = torch.ones_like(CLIPS), torch.tensor([100.0, 500.0, 900.0]), torch.zeros(3, dtype=torch.long)
    for objective, learns in ((Flow(), False), (Noise(learn_variance=True), True)):
        spec = DenoiserSpec(**{**vars(SPEC), "learn_variance": learns})
        network = Lookout(spec)
        loss = LossOfBatch(Regression(objective, compiled=False), network, CLIPS, t, y, iter([noise, noise]))
        whole, found = loss(), loss.forward()
        assert network.seen == [(3, 5, 2, 4, 4)] * 2
        assert found.out.shape[1:] == spec.out_shape and found.denoised.shape == found.error.shape == CLIPS.shape
        of_frames = []
        for frame in range(5):
            one = [of[:, frame] for of in (found.out, CLIPS, noise)]
            of_frames.append(objective.loss(*one, t).mean())
        torch.testing.assert_close(whole, torch.stack(of_frames).mean())
        torch.testing.assert_close(found.error.mean() + found.rest.mean(), whole)


def test_a_guided_step_of_clips_guides_the_same_channels_of_every_frame():
    y = torch.tensor([0, 1, 2])
    guided = GuidedDenoiser(Lookout(SPEC), SPEC, y, Guidance(scale=3.0, channels=1))
    out = as_clips(guided(as_strips(CLIPS), torch.tensor(500.0)), 5)
    plain = Lookout(SPEC)(CLIPS, None, y)
    torch.testing.assert_close(out[:, :, 1:], plain[:, :, 1:])
    torch.testing.assert_close(out[:, :, :1], plain[:, :, :1] + 2 * (y - 3.0).view(-1, 1, 1, 1, 1))


def test_samples_of_clips_are_clips_whatever_the_batch():
    spec = DenoiserSpec(**{**vars(SPEC), "learn_variance": False})
    plan = SamplingPlan(sample=euler, objective=Flow(), steps=2, seed=0)
    parts = [
        np.concatenate([b.pixels for b in generate(Lookout(spec), spec, plan, range(3), n, torch.device("cpu"))])
        for n in (1, 3)
    ]
    assert parts[0].shape == (3, 5, 2, 4, 4)
    np.testing.assert_array_equal(*parts)


def test_frames_are_decoded_by_themselves():
    spec = DenoiserSpec(**{**vars(SPEC), "learn_variance": False})
    decoded = []

    def decode(x):
        decoded.append(tuple(x.shape))
        return x[:, :1].repeat(1, 3, 2, 2)

    plan = SamplingPlan(sample=euler, objective=Flow(), steps=1, seed=0, decode=decode)
    (batch,) = generate(Lookout(spec), spec, plan, range(2), 2, torch.device("cpu"))
    assert decoded == [(10, 2, 4, 4)] and batch.pixels.shape == (2, 5, 3, 8, 8)
