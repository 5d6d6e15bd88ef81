"""The sampler integrates what can be integrated by hand."""

import torch

from ditbench import Walk
from ditbench_my_plugin import times
from ditbench_my_plugin.sampler import sample


def test_it_is_of_second_order():
    noise = torch.randn(3, 1, 4, 4)
    asked = []

    def velocity(x, t):  # dx/ds = 2 s, so that x falls by 1 on the way, exactly by this method
        asked.append(float(t))
        return torch.full_like(x, 2 * float(t) / 1000)

    found = sample(Walk(denoise=velocity, objective=None, noise=noise, steps=2, streams=list))
    torch.testing.assert_close(found, noise - 1)
    assert asked == times(2) == [1000, 750, 500, 250]
