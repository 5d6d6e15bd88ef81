"""DiCo: the published sizes, its initialisation, what a place sees. `tests/test_goldens.py` has the function."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from ditbench import BadValue, DenoiserSpec
from ditbench.testing import (
    DIGITS_SPEC,
    build_denoiser,
    check_architecture,
    example_batch,
    latent_spec,
    parameters_and_macs,
    perturb,
)
from ditbench_dico import ARCHITECTURE, SIZES
from ditbench_dico.model import ConvModule, DiCo
from ditbench_dico.reference import convert_reference, from_reference_config

README = " ".join((Path(__file__).parents[1] / "README.md").read_text().split())
build, cost = partial(build_denoiser, ARCHITECTURE), partial(parameters_and_macs, ARCHITECTURE)


@pytest.mark.parametrize(
    ("size", "millions", "gmacs"),
    [("S", 33.14, 4.24), ("B", 129.99, 16.86), ("L", 463.9, 60.17), ("XL", 701.15, 87.22), ("H", 1037.4, 194.0)],
)
def test_size_as_published(size, millions, gmacs):
    found = cost(size, latent_spec())
    assert found.parameters / 1e6 == pytest.approx(millions, abs=0.01)
    assert found.macs_per_image / 1e9 == pytest.approx(gmacs, rel=1.1e-3)  # 4.24 is rounded
    assert f"| {found.parameters:,} | {found.macs_per_image / 1e9:.3f} |" in README


def test_readme_has_the_variant():
    found = cost("S", latent_spec(), channel_attention=False)
    assert f"{found.parameters:,} parameters and {found.macs_per_image / 1e9:.3f} GMACs" in README


@pytest.mark.parametrize(("size", "macs"), [("nano", 7_560_192), ("nano/4", 41_533_440)])
def test_nano_costs_as_much_as_dit_nano(size, macs):
    found = cost(size, ARCHITECTURE.specs[size])
    assert found.macs_per_image / macs == pytest.approx(1, abs=0.02)
    assert f"{found.parameters:,} parameters, {found.macs_per_image / 1e6:.3f} MMACs" in README


@pytest.mark.parametrize("channel_attention", [True, False])
def test_contract(channel_attention):
    options = {"channel_attention": channel_attention}
    check_architecture(ARCHITECTURE, options=options, skip=["compiles", "macs-in-class"])


def test_contract_of_nano_4():
    skip = ["compiles", "counted-as-trained", "ladder", "macs-in-class"]
    check_architecture(ARCHITECTURE, ARCHITECTURE.specs["nano/4"], "nano/4", skip=skip)


def test_checkpointing_changes_no_gradient():
    def gradients(checkpointing):
        net = build(checkpointing=checkpointing)
        perturb(net)
        net(*example_batch(DIGITS_SPEC, 3)).square().mean().backward()
        return [parameter.grad for parameter in net.parameters()]

    for kept, recomputed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(recomputed, kept)


def test_only_the_gate_sees_the_whole_map():
    def seen(channel_attention):
        module = ConvModule(8, channel_attention)
        x = torch.randn(1, 8, 9, 9, requires_grad=True)
        (gradient,) = torch.autograd.grad(module(x)[..., 4, 4].sum(), x)
        return gradient.abs().sum((0, 1)) > 0

    around = torch.zeros(9, 9, dtype=torch.bool)
    around[3:6, 3:6] = True
    assert torch.equal(seen(False), around)
    assert seen(True).all()


def test_initialisation():
    net = build("S", latent_spec())
    block = net.stages[2][1]
    for conv in (block.conv.enter, block.conv.gate, block.mlp.leave, net.up[0], net.fuse[1]):
        assert is_xavier_uniform(conv.weight, conv.weight[0, 0].numel())
    assert is_xavier_uniform(block.conv.depthwise.weight, 9)
    assert is_xavier_uniform(net.x_embedder.weight.flatten(1), 1)
    assert not block.conv.leave.bias.any() and not net.x_embedder.bias.any()
    condition = net.conditions[2]
    for normal in (condition.y_embedder.embedding_table.weight, condition.t_embedder.mlp[2].weight):
        assert normal.std().item() == pytest.approx(0.02, rel=0.02)
    x, c = torch.randn(2, 512, 4, 4), torch.randn(2, 512)
    assert torch.equal(block(x, c), x)
    assert not build()(*example_batch(DIGITS_SPEC, 3)).any()


def is_xavier_uniform(weight, taps):
    bound = (6 / (taps * sum(weight.shape[:2]))) ** 0.5
    inside = weight.abs().max().item() <= bound * (1 + 1e-6)  # rounded to float32
    return inside and weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)


@pytest.mark.parametrize(
    ("change", "resolution", "message"),
    [
        ({"depths": "1,1,1"}, 8, "dico: depths for 3 stages"),
        ({"width": 27}, 8, "dico: width 27 is odd"),
        ({}, 10, "dico: resolution 10 can't be halved twice"),
    ],
)
def test_settings_that_do_not_fit(change, resolution, message):
    spec = DenoiserSpec(channels=1, resolution=resolution, classes=0, space="pixel")
    with pytest.raises(BadValue, match=message):
        DiCo(spec, **{**SIZES["nano"], **change})


def test_published_checkpoint_and_settings():
    with pytest.raises(BadValue, match=r"dico: 'ema' is no parameter of a published DiCo"):
        convert_reference({"ema": torch.zeros(1)})
    spec, settings = from_reference_config({"hidden_size": 416, "depth": [9, 9, 10, 9, 9], "mlp_ratio": 2})
    assert (spec, settings) == (latent_spec(), SIZES["XL"])
    assert from_reference_config({"class_dropout_prob": 0})[0].classes == 999
    with pytest.raises(BadValue, match="'hidden' is no argument of the published DiCo"):
        from_reference_config({"hidden": 3})


def test_record_needs_no_torch():
    code = "import sys, ditbench_dico; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
