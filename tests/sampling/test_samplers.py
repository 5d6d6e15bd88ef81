"""Samplers along paths, against normal data, whose velocity and whose end are known, and against SiT's and JiT's rules.

`test_generate.py` has what all samplers have in common.
"""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from torch import nn

from ditbench.denoiser_spec import DenoiserSpec
from ditbench.errors import BadValue
from ditbench.registry import Registry
from ditbench.sampling import samplers, times
from ditbench.sampling.chosen import make_sample
from ditbench.sampling.noises import of_streams
from ditbench.sampling.samplers import Walk, diffusion_at, euler, heun, sde
from ditbench.sampling.walking import GuidedDenoiser, streams
from ditbench.tracks.guidance import Guidance
from ditbench.tracks.track import SamplerChoice
from ditbench.training.objectives import Flow, ImagePrediction
from ditbench.training.paths import PATHS

MEAN, SPREAD = 0.3, 0.5  # of the data
OBJECTIVES = [*(Flow(path=path) for path in PATHS), ImagePrediction(t_eps=1e-6, noise_scale=2.0)]
DRAW = torch.Generator().manual_seed(0)
NOISE = torch.randn(2, 1, 4, 4, dtype=torch.float64, generator=DRAW)


def spread_at(place):
    """Standard deviation of x there."""
    return ((place.alpha * SPREAD) ** 2 + place.sigma**2).sqrt()


def knowing(objective):
    """The best denoiser of normal data: the expectation, given x, of what the objective regresses."""

    def denoise(x, t):
        place = objective.place(t.double() / 1000)
        gap = (x - place.alpha * MEAN) / spread_at(place) ** 2
        image, noise = MEAN + place.alpha * SPREAD**2 * gap, place.sigma * gap
        if isinstance(objective, ImagePrediction):
            return image
        return place.velocity(image, noise)

    return denoise


def walk(denoise, objective, steps, noise=NOISE):
    return Walk(denoise, objective, noise, steps, lambda: streams(0, np.arange(len(noise))))


def far(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def error(sampler, objective, steps, **settings):
    """How far it ends from where the ODE leads: x goes with the mean and the deviation of its time."""
    place = objective.place(torch.ones((), dtype=torch.float64))
    start = objective.noise_scale * NOISE
    exact = MEAN + SPREAD * (start - place.alpha * MEAN) / spread_at(place)
    return far(sampler(walk(knowing(objective), objective, steps), **settings), exact)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize(("sampler", "order"), [(euler, 1), (heun, 2)])
@pytest.mark.parametrize("settings", [{}, {"shift": 2.0}], ids=str)
def test_normal_data_is_reached_with_the_methods_order(sampler, order, objective, settings):
    errors = [error(sampler, objective, steps, **settings) for steps in (100, 200, 400)]
    assert [one / other for one, other in pairwise(errors)] == pytest.approx(2 * [2**order], rel=0.12)
    assert errors[-1] < {1: 2e-2, 2: 5e-4}[order]


DIFFUSIONS = ("sigma", "linear", "constant", "decreasing", "increasing-decreasing")


@pytest.mark.parametrize(
    ("objective", "diffusion"),
    [*product([Flow(), Flow(path="gvp")], DIFFUSIONS), (Flow(path="vp"), "sbdm"), (OBJECTIVES[-1], "sigma")],
    ids=str,
)
def test_the_sde_reaches_normal_data_with_weak_order_one(objective, diffusion, monkeypatch):
    """Of a linear denoiser a sample is linear in all noise: mean and deviation follow from one image for each."""
    errors = []
    for steps in (101, 201, 401):
        impulses = torch.eye(steps, dtype=torch.float64).reshape(steps, steps, 1, 1, 1)
        none = torch.zeros_like(impulses[:, :1])
        first, *others = torch.cat([none, impulses], dim=1)  # image 0 sees no noise at all
        monkeypatch.setattr(samplers, "drawn_ahead", lambda *_, others=others: iter(others))
        found = sde(walk(knowing(objective), objective, steps, first), diffusion).flatten()
        spread = (found[1:] - found[0]).square().sum().sqrt()
        errors.append(abs(complex(*(torch.stack([found[0], spread]) - _after_the_last_step(objective, diffusion)))))
    assert [one / other for one, other in pairwise(errors)] == pytest.approx([2, 2], rel=0.15)
    assert errors[-1] < 5e-3


def _after_the_last_step(objective, diffusion):
    """Mean and deviation of what the step without noise makes of the SDE's own x at s = 0.04."""
    here = torch.tensor(0.04, dtype=torch.float64)
    place, h = objective.place(here), 0.04
    w = diffusion_at(here, objective.place, diffusion, 1.0)
    x = torch.stack([place.alpha * MEAN, place.alpha * MEAN + spread_at(place)])
    velocity = objective.velocity(knowing(objective)(x, 1000 * here), x, here)
    mean, above = x - h * velocity - h * w * (x - place.alpha * MEAN) / spread_at(place) ** 2
    return torch.stack([mean, above - mean])


@pytest.mark.parametrize("path", ["linear", "gvp"])
def test_sbdms_coefficient_is_finite_where_a_path_is_pure_noise(path):
    one, s = torch.ones((), dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    assert diffusion_at(one, PATHS[path], "sbdm", 1.0) == diffusion_at(0.999 * one, PATHS[path], "sbdm", 1.0)
    assert float(diffusion_at(s, PATHS["linear"], "sbdm", 3.0)) == pytest.approx(3.0), "(1 - tau) / tau"
    assert float(diffusion_at(one, PATHS["vp"], "sbdm", 1.0)) == pytest.approx(10), "half of beta"


# the rules of published code, in its own time tau = 1 - s


class Net(nn.Module):
    """A denoiser of no meaning, which sees its label."""

    def forward(self, x, t, y):
        return (x * (1 + y[:, None, None, None] / 4) + (t / 300)[:, None, None, None]).sin()


SPEC = DenoiserSpec(channels=4, resolution=4, classes=3, space="latent")
X = torch.randn(3, 4, 4, 4, dtype=torch.float64, generator=DRAW)
Y = torch.tensor([0, 1, 2])


def guided(guidance):
    """Ours; in float64 only what the net makes is rounded."""
    return GuidedDenoiser(Net(), SPEC, Y, guidance)


def theirs(x, tau, weight, channels=4):
    """c and u, guided by hand on the first channels."""
    t = x.new_full((len(x),), 1000 * (1 - tau))
    c, u = Net()(x, t, Y), Net()(x, t, torch.full_like(Y, 3))
    return torch.cat([(u + weight * (c - u))[:, :channels], c[:, channels:]], dim=1)


@pytest.mark.parametrize("noise_scale", [1.0, 2.0])
def test_jits_sampling_is_heun_with_guidance_on_an_interval(noise_scale):
    """50 Heun steps, the last Euler's: 99 evaluations; v = (x^ - z) / max(1 - tau, 0.05), guided on 0.1 < tau < 1."""
    taus, z, weights = np.linspace(0, 1, 51), noise_scale * X, []

    def v(z, tau):
        weights.append(3.0 if 0.1 + 1e-9 < tau < 1 else 1.0)
        return (theirs(z, tau, weights[-1]) - z) / max(1 - tau, 0.05)

    for here, there in pairwise(taus):
        first = v(z, here)
        ahead = z + (there - here) * first
        z = z + (there - here) * (first + v(ahead, there)) / 2 if there < 1 else ahead
    ours = guided(Guidance(scale=3.0, schedule="interval", interval=(0, 899.9)))
    found = heun(walk(ours, ImagePrediction(noise_scale=noise_scale), 50, X))
    assert len(weights) == 99 and ours.evaluations == 99 + sum(w != 1 for w in weights)
    assert far(found, z) < 1e-5


@pytest.mark.parametrize("path", PATHS)
def test_sits_sampling_is_the_sde_with_guidance_on_an_interval(path):
    """249 Euler-Maruyama steps on [0, 0.96] with w = sigma, then one "Mean" step of 0.04; REPA guides to 0.7."""
    taus, x, draws, asked = np.linspace(0, 0.96, 250), X, streams(0, np.arange(3)), []
    dt = taus[1] - taus[0]

    def drift(x, tau):
        asked.append(1.8 if tau >= 0.3 - 1e-9 else 1.0)
        alpha, sigma, alpha_slope, sigma_slope = PATHS[path](torch.tensor(1 - tau, dtype=torch.float64))
        velocity, ratio = -theirs(x, tau, asked[-1], 3), -alpha / alpha_slope
        score = (ratio * velocity - x) / (sigma**2 + ratio * sigma_slope * sigma)
        return velocity + sigma * score, sigma

    for tau in taus[:-1]:
        along, w = drift(x, tau)
        x = x + along * dt + (2 * w).sqrt() * np.sqrt(dt) * of_streams(draws, x)
    x = x + 0.04 * drift(x, taus[-1])[0]
    ours = guided(Guidance(scale=1.8, schedule="interval", interval=(0, 700.001), channels=3))
    assert far(sde(walk(ours, Flow(path=path), 250, X)), x) < 1e-4
    assert len(asked) == 250 and ours.evaluations == 250 + sum(w != 1 for w in asked)


def test_lightningdits_sampling_is_euler_with_a_shift():
    """250 points in time are 249 steps; theirs are shifted by 0.3 in their direction, and guided above 0.125."""
    grid = np.linspace(0, 1, 250)
    taus, x = 0.3 * grid / (1 + (0.3 - 1) * grid), X
    for here, there in pairwise(taus):
        x = x + (there - here) * -theirs(x, here, 6.7 if here > 0.125 else 1.0, 3)
    ours = guided(Guidance(scale=6.7, schedule="interval", interval=(0, 874.9), channels=3))
    assert far(euler(walk(ours, Flow(), 249, X), shift=1 / 0.3), x) < 1e-4
    assert ours.evaluations == 249 + sum(tau > 0.125 for tau in taus[:-1])


@pytest.mark.parametrize(
    ("sampler", "settings"),
    [
        (euler, {"shift": 3.0}),
        (heun, {"shift_dimension": 9 * 4096}),
        (sde, {"last_step": 0.1, "shift": 0.5}),
        (sde, {"diffusion": "constant", "norm": 0.5}),
    ],
    ids=["euler", "heun", "sde", "sde-of-a-norm"],
)
def test_the_times_of_a_sampler_with_settings_are_told(sampler, settings):
    asked = []

    def denoise(x, t):
        asked.append(float(t))
        return torch.zeros_like(x)

    sampler(walk(denoise, Flow(), 7), **settings)
    told = getattr(times, sampler.__name__)(7, **settings)
    assert sorted(told) == pytest.approx(sorted(asked), abs=1e-3)


REGISTRY = Registry.installed()


def chosen(name, **settings):
    return make_sample(SamplerChoice(name=name, steps=4, batch_size=4, settings=settings), "mine", REGISTRY)


def test_a_tracks_settings_reach_its_sampler():
    asked = walk(knowing(Flow()), Flow(), 4)
    plain, shifted = (chosen("euler", **settings)(asked) for settings in ({}, {"shift": 3.0}))
    assert torch.equal(plain, euler(asked)) and not torch.equal(plain, shifted)
    assert torch.equal(shifted, euler(asked, shift=3.0))


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("ddpm", {"shift": 2.0}, "shift: there is nothing of this name"),
        ("euler", {"shft": 2.0}, "shft: there is nothing of this name; did you mean 'shift'?"),
        ("euler", {"walk": 2.0}, "walk: there is nothing of this name; known: shift, shift_dimension"),
        ("heun", {"shift": 0.0}, "shift: Input should be greater than or equal to 0.01, not 0.0"),
        (
            "sde",
            {"diffusion": "SBDM"},
            "diffusion: Input should be 'sigma', 'sbdm', 'linear', 'constant'",
        ),
        ("sde", {"last_step": 1.0}, "last_step: Input should be less than 1, not 1.0"),
        ("sde", {"norm": "much"}, "norm: Input should be a valid number, not 'much'"),
    ],
)
def test_settings_that_a_sampler_has_not(name, settings, words):
    with pytest.raises(BadValue) as told:
        chosen(name, **settings)
    assert str(told.value).startswith(f"Sampler {name!r} of track 'mine': {words}"), told.value
