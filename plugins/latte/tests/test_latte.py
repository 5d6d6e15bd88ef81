"""Latte: sizes and variants. `tests/test_goldens.py` has the function, `tests/test_contract.py` the contract."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from ditbench import BadValue
from ditbench.testing import build_denoiser, check_architecture, example_batch, parameters_and_macs, perturb
from ditbench_latte import ARCHITECTURE, MOVING_DIGITS, SIZES, SPECS, native
from ditbench_latte.reference import convert_reference, from_reference_config

README = " ".join((Path(__file__).parents[1] / "README.md").read_text().split())
build = partial(build_denoiser, ARCHITECTURE, "nano", MOVING_DIGITS)
cost = partial(parameters_and_macs, ARCHITECTURE)


@pytest.mark.parametrize(
    ("size", "parameters", "macs"),
    [
        ("S/2", 32_624_288, 93_631_266_816),
        ("B/2", 129_834_272, 364_106_219_520),
        ("L/2", 457_198_624, 1_285_102_501_888),
        ("XL/2", 674_112_416, 1_892_963_893_248),
    ],
)
def test_size(size, parameters, macs):
    found = cost(size, SPECS[size])
    assert (found.parameters, found.macs_per_image) == (parameters, macs)
    assert f"| {parameters:,} | {macs / 1e9:.3f} |" in README


def test_nano():
    found = cost("nano", MOVING_DIGITS)
    assert f"{found.parameters:,} parameters, {found.macs_per_image / 1e6:.3f} MMACs" in README


@pytest.mark.parametrize("variant", [1, 2, 3, 4])
def test_variant(variant):
    """Each has the cost that the README tells, and sees across frames and within them."""
    found = cost("S/2", SPECS["S/2"], variant=variant)
    assert f"{found.parameters:,} | {found.macs_per_image / 1e9:.3f}" in README
    net = build(variant=variant)
    perturb(net)
    x, t, y = example_batch(MOVING_DIGITS, 2)
    x.requires_grad_()
    (seen,) = torch.autograd.grad(net(x, t, y)[0, 3, 0, 5, 5].square(), x)
    assert seen[0].flatten(1).any(1).all() and not seen[1].any()


SHALLOW = replace(ARCHITECTURE, sizes={"nano": {**SIZES["nano"], "depth": 2}}, specs={}, ladder={})  # all of its code


@pytest.mark.parametrize("variant", [2, 3, 4])  # the first: tests/test_contract.py
def test_contract_of_variants(variant):
    skip = ["compiles", "counted-as-trained"]  # the same file compiles them
    check_architecture(SHALLOW, MOVING_DIGITS, options={"variant": variant}, skip=skip)


@pytest.mark.parametrize("variant", [1, 2, 3, 4])
def test_without_positions_in_time_the_order_of_frames_means_nothing(variant):
    """It is these alone that tell it, and their table is added once."""
    net = build(variant=variant)
    perturb(net)
    x, t, y = example_batch(MOVING_DIGITS, 2)
    assert not torch.allclose(net(x.flip(1), t, y).flip(1), net(x, t, y), rtol=1e-3)
    net.temp_embed.data.zero_()
    torch.testing.assert_close(net(x.flip(1), t, y).flip(1), net(x, t, y), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", [1, 3])  # by turns, and at once
def test_checkpointing_changes_no_gradient(variant):
    found = []
    for checkpointing in (False, True):
        net = build(variant=variant, checkpointing=checkpointing)
        perturb(net)
        net(*example_batch(MOVING_DIGITS, 2)).square().mean().backward()
        found.append([parameter.grad for parameter in net.parameters() if parameter.requires_grad])
    torch.testing.assert_close(*found)


def test_variants_differ_though_their_weights_are_alike():
    one, two = build(variant=1), build(variant=2)
    perturb(one)
    two.load_state_dict(one.state_dict())
    batch = example_batch(MOVING_DIGITS, 2)
    assert not torch.allclose(one(*batch), two(*batch), rtol=1e-3)


def test_untrained_network_returns_zero():
    assert not build()(*example_batch(MOVING_DIGITS, 2)).any()


@pytest.mark.parametrize(
    ("options", "told"),
    [({"depth": 5}, "half of the blocks of variant 1 are in time, and depth 5 is odd"),
     ({"variant": 4, "heads": 5}, "5 heads can't be halved between space and time")],
    ids=["odd-depth", "odd-heads"],
)  # fmt: skip
def test_what_can_not_be_halved(options, told):
    with pytest.raises(BadValue, match=told):
        build(**options)


def test_published_checkpoint():
    weights = build().state_dict()
    assert convert_reference(weights).keys() == weights.keys()
    with pytest.raises(BadValue, match="latte: 'ema' is no parameter of a published Latte"):
        convert_reference({"ema": torch.zeros(1)})


def test_published_settings():
    spec, settings = from_reference_config({"num_classes": 101, "extras": 2})
    assert spec == SPECS["XL/2"] and settings["width"] == 1152
    assert from_reference_config({"extras": 1})[0].classes == 0
    with pytest.raises(BadValue, match="extras 78 means text"):
        from_reference_config({"extras": 78})
    with pytest.raises(BadValue, match="'frames' is no argument of the published Latte"):
        from_reference_config({"frames": 3})


def test_native_recipe_is_the_published_one():
    assert native("latent", 256, "XL/2").recipe["learning_rate"] == 1e-4
