"""Memorisation: certain of training images handed in, 1 % of held-out ones, and of honest samples about as much."""

from dataclasses import replace

import pytest
import torch

from ditbench.errors import BadValue
from ditbench.metrics.features import Features
from ditbench.metrics.memorisation import memorised


def features(count, seed, spread=1.0):
    draw = torch.Generator().manual_seed(seed)
    return Features(count, {"features": spread * torch.randn(count, 6, generator=draw)})


REAL = replace(features(2000, 0), held_out=features(600, 1))


def test_what_is_handed_in_is_found_and_what_is_new_is_not():
    held_out = REAL.held_out
    assert memorised(features(1000, 2), REAL).value < 0.03
    assert memorised(REAL.subset(torch.arange(500).numpy()), REAL).value == 1
    assert memorised(held_out, replace(REAL, held_out=features(600, 3))).value < 0.03
    half = torch.cat([REAL.outputs["features"][:250] + 1e-3, features(250, 4).outputs["features"]])
    found = memorised(Features(500, {"features": half}), REAL)
    assert found.value == pytest.approx(0.5, abs=0.03) and found.raw["counts"][1] == 500
    assert found.settings == {"held_out": 600, "calibrated_on": 600}


def test_no_held_out_images_is_told():
    with pytest.raises(BadValue, match="needs held-out images"):
        memorised(REAL, replace(REAL, held_out=None))


def test_an_image_of_both_sets_is_no_memory():
    twice = replace(
        REAL,
        held_out=Features(2600, {"features": torch.cat([REAL.outputs["features"], REAL.held_out.outputs["features"]])}),
    )
    assert memorised(REAL, twice).value == 0
