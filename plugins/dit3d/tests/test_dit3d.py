"""DiT for clips: sizes and positions. `tests/test_contract.py` has the contract."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from ditbench.testing import build_denoiser, example_batch, parameters_and_macs, perturb
from ditbench_dit3d import ARCHITECTURE, MOVING_DIGITS, SPECS
from ditbench_dit3d.model import clip_positions

README = " ".join((Path(__file__).parents[1] / "README.md").read_text().split())
build = partial(build_denoiser, ARCHITECTURE, "nano", MOVING_DIGITS)
cost = partial(parameters_and_macs, ARCHITECTURE)


@pytest.mark.parametrize(
    ("size", "parameters", "macs"),
    [
        ("S/2", 34_092_704, 241_678_565_376),
        ("B/2", 132_771_104, 657_325_424_640),
        ("L/2", 461_114_400, 2_061_940_031_488),
        ("XL/2", 678_517_664, 2_909_220_323_328),
    ],
)
def test_size(size, parameters, macs):
    found = cost(size, SPECS[size])
    assert (found.parameters, found.macs_per_image) == (parameters, macs)
    assert f"| {parameters:,} | {macs / 1e9:.3f} |" in README


def test_nano():
    found = cost("nano", MOVING_DIGITS)
    assert f"{found.parameters:,} parameters, {found.macs_per_image / 1e6:.3f} MMACs" in README


@pytest.mark.parametrize("width", [80, 384, 1152])
def test_every_token_has_a_position_of_its_own(width):
    table = clip_positions(width, 8, 4)
    assert table.shape == (1, 8 * 16, width)
    assert len(torch.unique(table[0], dim=0)) == 8 * 16
    of_clip, places = table.view(8, 4, 4, width), 4 * (3 * width // 16)
    assert torch.equal(of_clip[0, ..., :places], of_clip[5, ..., :places])
    assert torch.equal(of_clip[3, 0, 0, places:], of_clip[3, 2, 1, places:])  # the frame's


def test_every_frame_sees_every_other_and_their_order_matters():
    net = build()
    perturb(net)
    x, t, y = example_batch(MOVING_DIGITS, 2)
    x.requires_grad_()
    (seen,) = torch.autograd.grad(net(x, t, y)[0, 3, 0, 5, 5].square(), x)
    assert seen[0].flatten(1).any(1).all() and not seen[1].any()
    assert not torch.allclose(net(x.flip(1), t, y).flip(1), net(x, t, y), rtol=1e-3)


def test_untrained_network_returns_zero():
    assert not build()(*example_batch(MOVING_DIGITS, 2)).any()
