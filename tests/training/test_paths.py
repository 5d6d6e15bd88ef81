"""Paths against SiT's equations, which count time from noise to image, and against their own derivatives."""

import math

import pytest
import torch

from ditbench.training.paths import PATHS, Place

S = torch.linspace(0.01, 0.99, 33, dtype=torch.float64)
TAU = 1 - S
SIT = {
    "linear": (TAU, 1 - TAU),
    "gvp": ((math.pi / 2 * TAU).sin(), (math.pi / 2 * TAU).cos()),
    "vp": (
        (-0.25 * (1 - TAU) ** 2 * (20 - 0.1) - 0.5 * (1 - TAU) * 0.1).exp(),
        (1 - (-0.5 * (1 - TAU) ** 2 * (20 - 0.1) - (1 - TAU) * 0.1).exp()).sqrt(),
    ),
}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_is_sits_and_its_slopes_are_the_derivatives(name):
    s = S.clone().requires_grad_()
    place = PATHS[name](s)
    for found, expected in zip(place[:2], SIT[name], strict=True):
        torch.testing.assert_close(found, expected)
    for value, slope in ((place.alpha, place.alpha_slope), (place.sigma, place.sigma_slope)):
        torch.testing.assert_close(torch.autograd.grad(value.sum(), s, retain_graph=True)[0], slope)


@pytest.mark.parametrize("name", PATHS)
def test_a_velocity_tells_the_image_and_the_noise(name):
    x0, noise = torch.randn(2, len(S), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    place = PATHS[name](S)
    velocity, x = place.velocity(x0, noise), place.x(x0, noise)
    torch.testing.assert_close(place.image(velocity, x), x0)
    torch.testing.assert_close(place.noise(velocity, x), noise)


@pytest.mark.parametrize(("name", "left"), [("linear", 0.0), ("gvp", 0.0), ("vp", 6.57e-3)])
def test_a_path_leads_from_the_image_to_noise(name, left):
    ends: Place = PATHS[name](torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(ends.alpha, torch.tensor([1.0, left]), atol=1e-5, rtol=0)
    torch.testing.assert_close(ends.sigma, torch.tensor([0.0, (1 - left**2) ** 0.5]), atol=1e-6, rtol=0)
