"""The denoising error: of every objective at the same levels, exact for a Gaussian, and the same in any convention."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ditbench.denoiser_spec import DenoiserSpec
from ditbench.errors import BadValue
from ditbench.metrics.denoising import Denoised, image_error, nats, velocity_error
from ditbench.records.denoising import LOG_SNRS
from ditbench.runtime.progress import Diverged
from ditbench.sampling.denoising import denoising_errors, level_noise
from ditbench.training.discrete import Noise
from ditbench.training.objectives import EDM, Flow, ImagePrediction

OBJECTIVES = {
    "flow": Flow(),
    "gvp": Flow(path="gvp"),
    "vp": Flow(path="vp"),
    "x-pred": ImagePrediction(noise_scale=2.0),
    "ddpm-sd": Noise(schedule="scaled-linear"),
    "iddpm": Noise(learn_variance=True),
    "edm": EDM(),
}
DEVIATION = 0.5  # of the Gaussian's pixels
SPEC = DenoiserSpec(channels=1, resolution=4, classes=3, space="pixel")


class Ideal(nn.Module):
    """What an objective asks of a network, where pixels are normal: E[x_0 | x_t], wherever t says that x_t is."""

    def __init__(self, objective):
        super().__init__()
        self.objective = objective
        self.levels = [objective.level(log_snr) for log_snr in LOG_SNRS]

    def forward(self, x, t, y):
        level = min(self.levels, key=lambda one: abs(float(one.t) - float(t[0])))
        assert math.isclose(float(level.t), float(t[0]), rel_tol=1e-6)
        image = DEVIATION**2 * level.alpha / (level.alpha**2 * DEVIATION**2 + level.sigma**2) * x
        return _output(self.objective, image, x, level)


def _output(objective, image, x, level):
    """The output that means an image at x."""
    noise = (x - level.alpha * image) / level.sigma
    if isinstance(objective, ImagePrediction):
        return image
    if isinstance(objective, Noise):
        return torch.cat([noise, noise], 1) if objective.learn_variance else noise
    if isinstance(objective, EDM):
        sigma = level.sigma / level.alpha
        skip = objective.sigma_data**2 / (sigma**2 + objective.sigma_data**2)
        return (image - skip * x / level.alpha) / (sigma * objective.sigma_data) * (sigma**2 + 0.25).sqrt()
    _, _, alpha_slope, sigma_slope = objective.place(level.t / 1000)
    return alpha_slope * image + sigma_slope * noise


def _errors(objective, batch_size=64):
    x0 = DEVIATION * torch.randn(40, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    return x0, denoising_errors(Ideal(objective), SPEC, objective, x0, torch.zeros(40, dtype=torch.int64), batch_size)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_level_is_where_the_objective_has_that_noise_and_an_output_means_one_image(name):
    objective = OBJECTIVES[name]
    x0, noise, out = torch.randn(3, 2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    out = torch.cat([out, out], 1) if objective.learn_variance else out
    levels = [objective.level(log_snr) for log_snr in LOG_SNRS]
    for log_snr, level in zip(LOG_SNRS, levels, strict=True):
        assert 0 <= level.t <= 1000 and 2 * math.log(level.alpha / level.sigma) == pytest.approx(log_snr)
    assert [float(level.t) for level in levels] == sorted((float(level.t) for level in levels), reverse=True)
    t = torch.full((2,), 300.0)
    here = objective.level(float(torch.logit(objective.alpha_bars)[300])) if isinstance(objective, Noise) else levels[5]
    t = t if isinstance(objective, Noise) else here.t.float().expand(2)
    x = here.alpha * x0 + here.sigma * noise
    torch.testing.assert_close(x, objective.corrupt(x0, noise, t), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(
        objective.image(out, x, here).float(), objective.parts(out, x0, noise, t).denoised, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_error_of_a_gaussian_is_exact_in_every_convention(name):
    x0, found = _errors(OBJECTIVES[name])
    for number, log_snr in enumerate(LOG_SNRS):
        snr = math.exp(log_snr)
        noisy = x0 + snr**-0.5 * level_noise(number, 40, (1, 4, 4))
        should = (noisy * DEVIATION**2 / (DEVIATION**2 + 1 / snr) - x0).square().flatten(1).mean(1)
        np.testing.assert_allclose(found[:, number], should, rtol=2e-3, atol=1e-6)


def test_an_image_has_the_same_error_in_any_batch():
    np.testing.assert_allclose(_errors(Flow())[1], _errors(Flow(), batch_size=7)[1], rtol=1e-5)


def test_the_weights_are_those_of_the_velocity_of_the_image_and_of_the_likelihood():
    errors = np.random.default_rng(0).random((40, len(LOG_SNRS)))
    snr, mean = np.exp(LOG_SNRS), errors.mean(0)
    assert velocity_error(Denoised(errors)).value == pytest.approx(((1 + snr) * mean).mean())
    assert image_error(Denoised(errors)).value == pytest.approx(mean.mean())
    found = nats(Denoised(errors))
    assert found.value == pytest.approx(np.trapezoid(0.5 * snr * mean, LOG_SNRS), rel=1e-5)
    of_images = np.trapezoid(0.5 * snr * errors, LOG_SNRS, axis=1)
    assert found.spread == pytest.approx(of_images.std(ddof=1) / len(errors) ** 0.5, rel=0.5)  # a jackknife of ten


def test_what_can_be_measured_of_no_network_is_told():
    class Broken(nn.Module):
        def forward(self, x, t, y):
            return x / 0

    x0, y = torch.randn(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(Diverged, match="became infinite or NaN"):
        denoising_errors(Broken(), SPEC, Flow(), x0, y, 2)
    with pytest.raises(BadValue, match="The objective object has not the methods 'level' and 'image'"):
        denoising_errors(Broken(), SPEC, object(), x0, y, 2)
