"""The U-Net keeps the contract, costs what its README says, and learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ditbench import BadValue, DenoiserSpec
from ditbench.testing import DIGITS_SPEC, build_denoiser, check_architecture, parameters_and_macs
from ditbench_unet import ARCHITECTURE, SIZES, SPECS

README = (Path(__file__).parents[1] / "README.md").read_text()
VARIANCE = DenoiserSpec(channels=4, resolution=8, classes=0, space="latent", learn_variance=True)


@pytest.mark.parametrize("spec", [DIGITS_SPEC, VARIANCE], ids=str)
def test_the_contract(spec):
    check_architecture(ARCHITECTURE, spec, module="ditbench_unet", skip=["ladder"])


@pytest.mark.parametrize("size", ["nano", "nano/4"])
def test_the_ladders(size):
    check_architecture(ARCHITECTURE, SPECS[size], size, only=["ladder", "width-pair"])


@pytest.mark.parametrize(("size", "dit"), [("nano", 7.560e6), ("nano/4", 41.533e6), ("S/2", 6.056e9)])
def test_a_size_costs_what_dit_does_and_what_the_readme_says(size, dit):
    found = parameters_and_macs(ARCHITECTURE, size, SPECS[size])
    assert found.macs_per_image == pytest.approx(dit, rel=0.01)
    assert f"| {size} | {SIZES[size]['channels']} |" in README
    assert f"| {found.parameters:,} | {found.macs_per_image / 1e6:,.3f} |" in README


def test_what_cannot_be_built_is_refused():
    odd = DenoiserSpec(channels=1, resolution=9, classes=0, space="pixel")
    with pytest.raises(BadValue, match="resolution 9 is no multiple of 2"):
        build_denoiser(ARCHITECTURE, "nano", odd)
    with pytest.raises(BadValue, match="18 channels can't be parted into 4 groups"):
        build_denoiser(ARCHITECTURE, "nano", DIGITS_SPEC, channels="16,18")


def test_without_classes_the_label_is_ignored():
    net = build_denoiser(ARCHITECTURE, "nano", VARIANCE).eval()
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([0.0, 1000.0])
    with torch.no_grad():
        assert torch.equal(net(x, t, torch.tensor([0, 0])), net(x, t, torch.tensor([3, 7])))


def test_it_learns():
    torch.manual_seed(0)
    net = build_denoiser(ARCHITECTURE, "nano", DIGITS_SPEC).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    x, t, y = torch.randn(16, 1, 8, 8), torch.linspace(0, 1000, 16), torch.arange(16) % 11
    losses = []
    for _ in range(30):
        loss = (net(x, t, y) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
