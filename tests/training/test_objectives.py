"""Objectives against their equations. `test_goldens.py` has the published iDDPM's tensors."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ditbench.errors import BadValue
from ditbench.tracks.settings import checked
from ditbench.training.objectives import EDM, Flow, Noise


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
