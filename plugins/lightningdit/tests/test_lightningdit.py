"""LightningDiT: sizes and switches. `tests/test_goldens.py` has the function, `tests/test_contract.py` the contract."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from ditbench import BadValue
from ditbench.testing import DIGITS_SPEC, build_denoiser, example_batch, parameters_and_macs, perturb
from ditbench_lightningdit import ARCHITECTURE, SPECS
from ditbench_lightningdit.reference import convert_reference, from_reference_config

README = " ".join((Path(__file__).parents[1] / "README.md").read_text().split())
build, cost = partial(build_denoiser, ARCHITECTURE), partial(parameters_and_macs, ARCHITECTURE)


@pytest.mark.parametrize(
    ("size", "millions", "gmacs"),
    [
        ("B/1", 130.56, 23.008),
        ("B/2", 130.53, 23.002),
        ("L/2", 458.12, 80.68),
        ("XL/1", 675.26, 118.63),
        ("XL/2", 675.22, 118.62),
        ("1p0B/1", 1029.40, 179.15),
        ("1p6B/1", 1631.77, 283.35),
        ("S/2", 32.97, 6.054),  # not published, nor the next
        ("S/4", 32.94, 1.411),
    ],
)
def test_size(size, millions, gmacs):
    found = cost(size, SPECS[size])
    assert round(found.parameters / 1e6, 2) == millions
    assert found.macs_per_image == pytest.approx(gmacs * 1e9, rel=1e-3)
    assert f"| {found.parameters:,} | {found.macs_per_image / 1e9:.3f} |" in README


@pytest.mark.parametrize("size", ["nano", "nano/4"])
def test_nano(size):
    found = cost(size, SPECS[size])
    assert f"{found.parameters:,} parameters, {found.macs_per_image / 1e6:.3f} MMACs" in README


@pytest.mark.parametrize("switch", ["swiglu", "rope", "rmsnorm", "qknorm", "shift"])
def test_switch(switch):
    """It changes the function, and hardly the cost."""
    default = ARCHITECTURE.options[switch].default
    found, usual = cost("XL/1", SPECS["XL/1"], **{switch: not default}), cost("XL/1", SPECS["XL/1"])
    assert f"{found.parameters:,} | {found.macs_per_image / 1e9:.3f}" in README
    assert found.macs_per_image == pytest.approx(usual.macs_per_image, rel=7e-4)
    one, other = perturbed(), perturbed(**{switch: not default})
    shared = {name: weight for name, weight in one.state_dict().items() if same_shape(name, weight, other)}
    other.load_state_dict(shared, strict=False)
    batch = example_batch(DIGITS_SPEC, 3)
    assert not torch.allclose(one(*batch), other(*batch), rtol=1e-3)


def perturbed(**options):
    net = build(**options)
    perturb(net)
    return net


def same_shape(name, weight, other):
    return name in (theirs := other.state_dict()) and theirs[name].shape == weight.shape


def test_untrained_network_returns_zero():
    assert not build()(*example_batch(DIGITS_SPEC, 3)).any()


def test_head_whose_pairs_are_odd():
    with pytest.raises(BadValue, match="lightningdit: a head of 6 channels has no rotary positions"):
        build(width=24)


def test_published_checkpoint():
    net = build(qknorm=True)
    theirs = {**net.state_dict(), "feat_rope.freqs_cos": torch.zeros(1)}
    assert convert_reference(theirs).keys() == net.state_dict().keys()
    with pytest.raises(BadValue, match=r"lightningdit: 'ema' is no parameter of a published LightningDiT"):
        convert_reference({"ema": torch.zeros(1)})


def test_published_settings():
    spec, settings = from_reference_config({"input_size": 16, "patch_size": 1, "wo_shift": True})
    assert spec == SPECS["XL/1"]
    assert settings["time"] == "unit" and not settings["shift"] and not settings["rope"]
    assert from_reference_config({"class_dropout_prob": 0})[0].classes == 999
    with pytest.raises(BadValue, match="'hidden' is no argument of the published LightningDiT"):
        from_reference_config({"hidden": 3})
    with pytest.raises(BadValue, match="learn_sigma makes channels"):
        from_reference_config({"learn_sigma": True})
