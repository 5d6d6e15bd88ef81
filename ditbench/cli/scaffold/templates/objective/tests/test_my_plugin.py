"""The objective's ends, its loss at the truth, and a sampler that finds the image if the denoiser knows it."""

import pytest
import torch

from ditbench import Walk
from ditbench_my_plugin import times
from ditbench_my_plugin.objective import QUARTER, Trigonometric, sample

X0, NOISE = torch.rand(4, 1, 8, 8), torch.randn(4, 1, 8, 8)


def test_it_leads_from_image_to_noise():
    ends = Trigonometric().corrupt(X0, NOISE, torch.tensor([0.0, 0.0, 1000.0, 1000.0]))
    torch.testing.assert_close(ends, torch.cat([X0[:2], NOISE[2:]]))


@pytest.mark.parametrize("time", ["uniform", "logit-normal"])
def test_the_true_velocity_has_no_loss(time):
    objective = Trigonometric(time=time)
    t = objective.sample_time(4, torch.Generator().manual_seed(0))
    assert t.min() >= 0 and t.max() <= 1000
    angle = (QUARTER * t / 1000)[:, None, None, None]
    velocity = angle.cos() * NOISE - angle.sin() * X0
    torch.testing.assert_close(objective.loss(velocity, X0, NOISE, t), torch.zeros(4))
    torch.testing.assert_close(objective.parts(velocity, X0, NOISE, t).denoised, X0)


def test_the_sampler_follows_the_true_velocity_to_the_image():
    asked = []

    def velocity(x, t):
        asked.append(float(t))
        angle = QUARTER * t / 1000
        return angle.cos() * NOISE - angle.sin() * X0

    found = sample(Walk(denoise=velocity, objective=None, noise=NOISE, steps=5, streams=list))
    torch.testing.assert_close(found, X0, atol=1e-5, rtol=0)
    assert asked == pytest.approx(times(5))
