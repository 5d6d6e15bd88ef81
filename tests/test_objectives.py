"""The flow objective against its equations."""

import pytest
import torch

from ditbench.errors import BadValue
from ditbench.objectives import Flow


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


def test_an_unknown_time_is_refused():
    with pytest.raises(BadValue, match="logit-normal"):
        Flow("lognormal")
