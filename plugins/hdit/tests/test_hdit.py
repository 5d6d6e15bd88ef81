"""HDiT: its size, its neighbourhoods, its initialisation. `tests/test_goldens.py` has the function."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from ditbench import BadValue, DenoiserSpec
from ditbench.layers import neighbourhood_mask
from ditbench.testing import (
    DIGITS_SPEC,
    build_denoiser,
    check_architecture,
    example_batch,
    parameters_and_macs,
    perturb,
)
from ditbench_hdit import ARCHITECTURE, IMAGENET_256, OPTIONS, SIZES
from ditbench_hdit.model import HDiT, Neighbourhood, merge, split
from ditbench_hdit.reference import convert_reference, from_reference_config

README = " ".join((Path(__file__).parents[1] / "README.md").read_text().split())
SKIPS = OPTIONS["skip"].choices
build, cost = partial(build_denoiser, ARCHITECTURE), partial(parameters_and_macs, ARCHITECTURE)


@pytest.mark.parametrize("skip", SKIPS)
def test_the_published_size(skip):
    found = cost("557M", IMAGENET_256, skip=skip)
    assert f"| {found.parameters:,} | {found.macs_per_image / 1e9:.3f} |" in README
    if skip == "lerp":
        assert found.parameters == pytest.approx(556.4e6, rel=2e-3)


@pytest.mark.parametrize(("size", "macs"), [("nano", 7_560_192), ("nano/4", 41_533_440)])
def test_nano_costs_as_much_as_dit_nano(size, macs):
    found = cost(size, ARCHITECTURE.specs[size])
    assert found.macs_per_image / macs == pytest.approx(1, abs=0.02)
    assert f"{found.parameters:,} parameters, {found.macs_per_image / 1e6:.3f} MMACs" in README


@pytest.mark.parametrize("skip", SKIPS)
def test_contract(skip):
    check_architecture(ARCHITECTURE, options={"skip": skip}, skip=["compiles", "macs-in-class"])


def test_contract_of_nano_4():
    skip = ["compiles", "counted-as-trained", "ladder", "macs-in-class"]
    check_architecture(ARCHITECTURE, ARCHITECTURE.specs["nano/4"], "nano/4", skip=skip)


@pytest.mark.parametrize(
    ("grid", "kernel", "tiles"), [(8, 3, 1), (16, 3, 2), (32, 7, 4), (12, 5, 2), (11, 3, 11), (4, 7, 1)]
)
def test_tiles_attend_as_the_whole_map_with_a_mask(grid, kernel, tiles):
    """Output and gradients, on maps that are one tile and on others, with tiles at every border."""
    nearby, axis = Neighbourhood(grid, kernel), neighbourhood_mask(grid, kernel)
    assert nearby.region.shape[0] == tiles
    whole = (axis[:, None, :, None] & axis[None, :, None, :]).reshape(grid**2, grid**2)
    inputs = [torch.randn(2, 3, grid**2, 4, requires_grad=True) for _ in range(3)]
    found, expected = nearby(*inputs), F.scaled_dot_product_attention(*inputs, attn_mask=whole, scale=1.0)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    for one, other in zip(
        *(torch.autograd.grad((out * weights).sum(), inputs) for out in (found, expected)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_cost_of_neighbourhoods_grows_with_the_pixels():
    spec = DenoiserSpec(channels=1, resolution=32, classes=0, space="pixel")
    local = [cost("nano", spec, kernels="3,3").macs_per_image for spec in (spec, twice(spec))]
    everywhere = [cost("nano", spec, kernels="0,0").macs_per_image for spec in (spec, twice(spec))]
    assert local[1] / local[0] == pytest.approx(4, rel=0.02) and everywhere[1] / everywhere[0] > 8


def twice(spec):
    return DenoiserSpec(channels=spec.channels, resolution=2 * spec.resolution, classes=0, space="pixel")


def test_tokens_merge_and_split_by_squares():
    x = torch.arange(16.0).view(1, 16, 1)
    assert merge(x, 4, 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert torch.equal(split(merge(x, 4, 2), 2, 2), x)


def test_checkpointing_changes_no_gradient():
    def gradients(checkpointing):
        net = build(checkpointing=checkpointing)
        perturb(net)
        net(*example_batch(DIGITS_SPEC, 3)).square().mean().backward()
        return [parameter.grad for parameter in net.parameters()]

    for kept, recomputed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(recomputed, kept)


def test_initialisation():
    net = build()
    block, x, c = net.middle[0], torch.randn(2, 16, 64), torch.randn(2, 96)
    assert torch.equal(block(x, c, net.position1), x)  # both branches put out zero
    assert torch.equal(block.norm1(x, c), block.norm1(x, -c))  # W is zero
    assert (block.attn.scale == 10).all() and net.skips[0].share.item() == 0.5
    first, *_, last = block.attn.frequencies.t().flatten().tolist()  # dealt out to the heads
    assert first == pytest.approx(torch.pi) and last < 10 * torch.pi and last / first == pytest.approx(10 ** (7 / 8))
    assert not net(*example_batch(DIGITS_SPEC, 3)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depths": "1"}, "hdit: depths 1 are not of as many levels as widths 32,64"),
        ({"head_widths": "16,24"}, "hdit: width 64 does not split into heads of 24"),
        ({"kernels": "4,0"}, "hdit: a neighbourhood of 4 tokens has no middle"),
        ({"patch_size": 3}, "hdit: patch size 3 does not divide the resolution 8"),
        ({"patch_size": 8}, "hdit: 1 x 1 tokens can't be halved 1 times"),
    ],
)
def test_settings_that_do_not_fit(change, message):
    with pytest.raises(BadValue, match=message):
        HDiT(DIGITS_SPEC, **{**SIZES["nano"], **change})


def test_published_checkpoint_and_settings():
    with pytest.raises(BadValue, match=r"hdit: 'ema' is no parameter of a published HDiT"):
        convert_reference({"ema": torch.zeros(1)})
    level = {"depth": 16, "width": 1536, "d_ff": 4096, "attention": "global", "d_head": 64, "kernel_size": 0}
    near = {"attention": "neighborhood", "kernel_size": 7, "depth": 2}
    levels = [{**level, **near, "width": 384, "d_ff": 1024}, {**level, **near, "width": 768, "d_ff": 2048}, level]
    spec, settings = from_reference_config({"num_classes": 1000, "levels": levels})
    assert (spec, settings) == (IMAGENET_256, {**SIZES["557M"], "mapping_depth": 2})
    with pytest.raises(BadValue, match="attention 'shifted-window' is not supported"):
        from_reference_config({"levels": [{**level, "attention": "shifted-window"}]})
    with pytest.raises(BadValue, match="'hidden' is not understood"):
        from_reference_config({"hidden": 3, "levels": levels})


def test_record_needs_no_torch():
    code = "import sys, ditbench_hdit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
