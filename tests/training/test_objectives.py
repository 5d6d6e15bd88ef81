"""Objectives against their equations. `test_goldens.py` has the published iDDPM's tensors."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ditbench.errors import BadValue
from ditbench.tracks.settings import checked
from ditbench.training.discrete import Noise
from ditbench.training.objectives import EDM, Flow, ImagePrediction
from ditbench.training.paths import PATHS


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_path_runs_straight_from_image_to_noise():
    x0, noise = torch.randn(2, 3, 1, 8, 8, generator=draw()).unbind()
    at = Flow().corrupt(x0, noise, torch.tensor([0.0, 250.0, 1000.0]))
    torch.testing.assert_close(at[0], x0[0])
    torch.testing.assert_close(at[1], 0.75 * x0[1] + 0.25 * noise[1])
    torch.testing.assert_close(at[2], noise[2])


def test_the_true_velocity_has_no_loss_and_others_have_theirs():
    x0, noise = torch.randn(2, 3, 1, 8, 8, generator=draw()).unbind()
    t = torch.full((3,), 500.0)
    assert Flow().loss(noise - x0, x0, noise, t).tolist() == [0, 0, 0]
    torch.testing.assert_close(Flow().loss(noise - x0 + 2, x0, noise, t), torch.full((3,), 4.0))


def test_logit_normal_time_has_the_right_quantiles():
    s = Flow("logit-normal").sample_time(100_000, draw()) / 1000
    quantiles = torch.quantile(s, torch.tensor([0.1587, 0.5, 0.8413]))
    torch.testing.assert_close(quantiles, torch.sigmoid(torch.tensor([-1.0, 0.0, 1.0])), atol=5e-3, rtol=0)


def test_uniform_time_is_uniform():
    s = Flow("uniform").sample_time(100_000, draw()) / 1000
    torch.testing.assert_close(torch.quantile(s, 0.25), torch.tensor(0.25), atol=5e-3, rtol=0)
    assert s.min() >= 0 and s.max() <= 1


def quantiles(objective, at=(0.1587, 0.5, 0.8413)):
    """Of the times that it draws, as s; the defaults are a deviation below the middle, it, and one above."""
    return torch.quantile(objective.sample_time(100_000, draw()) / 1000, torch.tensor(at))


def test_logit_normal_time_has_its_mean_and_deviation():
    expected = torch.sigmoid(torch.tensor([0.5 - 2.0, 0.5, 0.5 + 2.0]))
    torch.testing.assert_close(quantiles(Flow(mean=0.5, std=2.0)), expected, atol=5e-3, rtol=0)
    plain = Flow().sample_time(1000, draw())
    assert torch.equal(plain, 1000 * torch.randn(1000, generator=draw()).sigmoid()), "to the bit, as it always was"


@pytest.mark.parametrize("objective", [Flow("uniform", shift=3.0), Flow("uniform", shift_dimension=9 * 4096)])
def test_times_are_shifted_towards_noise(objective):
    s = torch.tensor([0.25, 0.5, 0.75])
    torch.testing.assert_close(quantiles(objective, (0.25, 0.5, 0.75)), 3 * s / (1 + 2 * s), atol=5e-3, rtol=0)


def test_on_the_path_vp_training_keeps_from_the_ends_as_sit_does():
    s = Flow("logit-normal", "vp", std=20.0).sample_time(100_000, draw()).double() / 1000
    assert s.min() >= 0.999e-5 and s.max() <= 1 - 0.99e-5
    assert Flow(std=20.0).sample_time(100_000, draw()).min() < 1e-5


@pytest.mark.parametrize("path", PATHS)
def test_sits_velocity_is_regressed_on_each_path(path):
    """In their time it is a' x_1 + s' e, of the other sign."""
    x0, noise, out = torch.randn(3, 3, 1, 8, 8, generator=draw()).unbind()
    s = torch.tensor([0.1, 0.5, 0.9])
    alpha, sigma, alpha_slope, sigma_slope = (one[:, None, None, None] for one in PATHS[path](s))
    flow, t = Flow(path=path), 1000 * s
    torch.testing.assert_close(flow.corrupt(x0, noise, t), alpha * x0 + sigma * noise)
    sits = -alpha_slope * x0 - sigma_slope * noise
    torch.testing.assert_close(flow.loss(out, x0, noise, t), (-out - sits).square().flatten(1).mean(1))


def test_jits_loss_is_that_of_the_velocity():
    """In their time tau = 1 - s: z = tau x + (1 - tau) n e, and both velocities have max(1 - tau, t_eps) below."""
    x, noise, out = torch.randn(3, 4, 1, 8, 8, generator=draw()).unbind()
    tau = torch.tensor([0.0, 0.5, 0.94, 0.99])[:, None, None, None]
    z, below = tau * x + (1 - tau) * 2 * noise, (1 - tau).clamp(min=0.05)
    jit, t = ImagePrediction(noise_scale=2.0), 1000 * (1 - tau).flatten()
    torch.testing.assert_close(jit.corrupt(x, noise, t), z)
    expected = ((x - z) / below - (out - z) / below).square().flatten(1).mean(1)
    torch.testing.assert_close(jit.loss(out, x, noise, t), expected)


def test_jits_times_are_logit_normal_in_their_time():
    found = 1 - quantiles(ImagePrediction()).flip(0)
    torch.testing.assert_close(found, torch.sigmoid(torch.tensor([-1.6, -0.8, 0.0])), atol=5e-3, rtol=0)


EVERY = [
    *(Flow(path=path) for path in PATHS), ImagePrediction(noise_scale=2.0), EDM(), Noise(), Noise(min_snr_gamma=5.0),
    Noise(learn_variance=True), Noise(learn_variance=True, min_snr_gamma=5.0),
]  # fmt: skip


@pytest.mark.parametrize("objective", EVERY, ids=str)
def test_a_loss_is_the_mean_of_its_parts_and_the_right_output_means_the_image(objective):
    x0, noise, out, variance = torch.randn(4, 3, 1, 8, 8, generator=draw())
    t = torch.tensor([3.0, 500.0, 990.0])
    own = torch.cat([out, variance], dim=1) if objective.learn_variance else out
    parts = objective.parts(own, x0, noise, t)
    assert parts.error.shape == parts.denoised.shape == x0.shape and parts.rest.shape == (3,)
    assert parts.rest.any() == objective.learn_variance
    torch.testing.assert_close(parts.error.flatten(1).mean(1) + parts.rest, objective.loss(own, x0, noise, t))
    right = rightly(objective, x0, noise, t)
    parts = objective.parts(torch.cat([right, variance], dim=1) if objective.learn_variance else right, x0, noise, t)
    torch.testing.assert_close(parts.denoised, x0, atol=1e-3, rtol=1e-3)
    assert parts.error.max() < 1e-8


def rightly(objective, x0, noise, t):
    """What an all-knowing denoiser puts out."""
    if isinstance(objective, Noise):
        return noise
    if isinstance(objective, ImagePrediction):
        return x0
    if isinstance(objective, EDM):
        sigma = objective.sigma_of(t)[:, None, None, None]
        skip, scale = 0.25 / (sigma**2 + 0.25), 0.5 * sigma / (sigma**2 + 0.25).sqrt()
        return (x0 - skip * (x0 + sigma * noise)) / scale
    return PATHS[objective.path]((t / 1000)[:, None, None, None]).velocity(x0, noise)


def test_the_bound_teaches_the_variance_and_not_the_mean():
    x0, noise, *halves = torch.randn(4, 4, 3, 8, 8, generator=draw())
    out = torch.cat(halves, dim=1).requires_grad_()
    t = torch.tensor([0.0, 1.0, 500.0, 999.0])
    Noise(learn_variance=True).bound(out, x0, noise, t).sum().backward()
    mean, variance = out.grad.chunk(2, dim=1)
    assert not mean.any() and variance.isfinite().all() and variance.abs().sum() > 0


@pytest.mark.parametrize(
    ("schedule", "first", "middle", "last"),
    [("linear", 1e-4, 0.01005, 0.02), ("scaled-linear", 0.00085, 0.004809, 0.012)],
)
def test_schedules(schedule, first, middle, last):
    noise = Noise(schedule)
    assert noise.betas[[0, -1]].tolist() == pytest.approx([first, last])
    assert float(noise.betas[499:501].mean()) == pytest.approx(middle, rel=1e-3)
    assert len(noise.betas) == 1000 and noise.alpha_bars[-1] < 5e-3


def test_min_snr_weighs_clean_images_down():
    out, x0, noise = torch.randn(3, 3, 1, 8, 8, generator=draw()).unbind()
    t = torch.tensor([0.0, 100.0, 999.0])
    plain, weighted = Noise().loss(out, x0, noise, t), Noise(min_snr_gamma=5).loss(out, x0, noise, t)
    snr = Noise().alpha_bars[t.long()] / (1 - Noise().alpha_bars[t.long()])
    torch.testing.assert_close(weighted / plain, (5 / snr).clamp(max=1).float())
    assert weighted[2] == plain[2] and weighted[0] < 0.01 * plain[0]


def test_min_snr_leaves_the_bound_alone():
    x0, noise, *halves = torch.randn(4, 3, 1, 8, 8, generator=draw())
    out, t = torch.cat(halves, dim=1), torch.tensor([0.0, 100.0, 999.0])
    weighted = Noise(learn_variance=True, min_snr_gamma=5)
    squared = Noise(min_snr_gamma=5).loss(out, x0, noise, t)
    torch.testing.assert_close(weighted.loss(out, x0, noise, t) - weighted.bound(out, x0, noise, t), squared)


class Float64(TorchDispatchMode):
    """Counts the operations on float64."""

    operations = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.operations += any(isinstance(x, torch.Tensor) and x.dtype == torch.float64 for x in args)
        return operation(*args, **(kwargs or {}))


def test_tables_are_made_once_and_equal_objectives_share_them():
    x0, noise, *halves = torch.randn(4, 3, 1, 8, 8, generator=draw())
    out, t = torch.cat(halves, dim=1), torch.tensor([0.0, 100.0, 999.0])

    def operations():
        with Float64() as mode:
            Noise(learn_variance=True, min_snr_gamma=4.25).loss(out, x0, noise, t)  # a gamma of no other test
        return mode.operations

    assert operations() > 0 and operations() == 0


def test_discrete_times_are_all_there():
    t = Noise().sample_time(200_000, draw())
    assert sorted(set(t.tolist())) == list(range(1000))


def test_edm_sees_unit_variance_and_its_loss_is_the_papers():
    edm = EDM()
    x0 = 0.5 * torch.randn(50_000, 1, 1, 1, generator=draw())
    noise = torch.randn(50_000, 1, 1, 1, generator=draw(1))
    out = torch.randn(50_000, 1, 1, 1, generator=draw(2))
    for sigma in (0.01, 0.5, 50.0):
        s = torch.full((50_000, 1, 1, 1), sigma)
        t = edm.time_of(s.flatten())
        assert float(edm.corrupt(x0, noise, t).square().mean()) == pytest.approx(1, abs=0.02)
        weight = (sigma**2 + 0.25) / (sigma * 0.5) ** 2
        error = weight * (edm.denoised(out, x0 + sigma * noise, s) - x0).square().flatten()
        torch.testing.assert_close(edm.loss(out, x0, noise, t), error, rtol=5e-3, atol=1e-3)


def test_edm_times():
    edm = EDM()
    assert edm.time_of(torch.tensor([0.002, 0.4, 80.0])).tolist() == pytest.approx([0, 500, 1000], abs=1e-2)
    t = edm.sample_time(100_000, draw())
    assert t.min() >= 0 and t.max() <= 1000
    logs = edm.sigma_of(t).log()
    assert float(logs.mean()) == pytest.approx(-1.2, abs=0.02) and float(logs.std()) == pytest.approx(1.2, abs=0.02)


@pytest.mark.parametrize(
    ("objective", "settings", "message"),
    [
        (Flow, {"time": "lognormal"}, "time: Input should be 'logit-normal' or 'uniform', not 'lognormal'"),
        (Flow, {"path": "cosine"}, "path: Input should be 'linear', 'gvp' or 'vp', not 'cosine'"),
        (Flow, {"shift": 0}, "shift: .* greater than or equal to 0.01, not 0"),
        (Flow, {"shift_dimension": 2.5}, "shift_dimension: .* not 2.5"),
        (ImagePrediction, {"t_eps": 0.0}, "t_eps: .* not 0"),
        (ImagePrediction, {"time": "uniform"}, "time: there is nothing of this name; known: p_mean, p_std, t_eps"),
        (Noise, {"schedule": "cosine"}, "schedule: Input should be 'linear' or 'scaled-linear', not 'cosine'"),
        (Noise, {"min_snr_gamma": -1}, "min_snr_gamma: .* greater than or equal to 0, not -1"),
        (Noise, {"learn_variance": "false"}, "learn_variance: Input should be a valid boolean, not 'false'"),
        (Noise, {"min_snr_gama": 5.0}, "min_snr_gama: there is nothing of this name; did you mean 'min_snr_gamma'?"),
        (EDM, {"sigma_data": 0}, "sigma_data: .* not 0"),
        (EDM, {"std": float("nan")}, "std: .* finite number, not nan"),
        (EDM, {"mean": float("inf")}, "mean: .* finite number, not inf"),
    ],
)
def test_settings_that_make_no_sense(objective, settings, message):
    with pytest.raises(BadValue, match=message):
        checked(objective, settings)


def test_the_mean_of_uniform_time_can_not_be_chosen():
    with pytest.raises(BadValue, match="mean and std are those of logit-normal time, and time is uniform"):
        Flow("uniform", mean=0.5)
