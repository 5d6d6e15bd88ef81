"""The metric's ends, and one value that can be counted by hand."""

import torch

from ditbench import Features
from ditbench_my_plugin.metric import measure


def features(rows):
    return Features(len(rows), {"features": rows})


def test_all_or_nothing():
    real = features(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)))
    assert measure(real, real).value == 1
    assert measure(features(torch.full((50, 8), 100.0)), real).value == 0


def test_half_of_the_real_images_are_covered():
    places = torch.arange(20.0)[:, None]
    real = features(torch.cat([places, places + 1000]))  # two clusters
    assert measure(features(places), real).value == 0.5
