"""DiT: the paper's sizes, its initialisation, all conditionings, routing. `tests/test_goldens.py` has the function."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from ditbench import BadValue, DenoiserSpec, cost_of
from ditbench.testing import (
    DIGITS_SPEC,
    build_denoiser,
    check_architecture,
    example_batch,
    latent_spec,
    parameters_and_macs,
    perturb,
    training_loss,
)
from ditbench_dit import ARCHITECTURE, OPTIONS, SIZES
from ditbench_dit.model import middle_blocks
from ditbench_dit.reference import convert_reference, from_reference_config

README = (Path(__file__).parents[1] / "README.md").read_text()
CONDITIONINGS = OPTIONS["conditioning"].choices
build, cost = partial(build_denoiser, ARCHITECTURE), partial(parameters_and_macs, ARCHITECTURE)
SHALLOW = replace(ARCHITECTURE, sizes={**SIZES, "nano": {**SIZES["nano"], "depth": 2}}, ladder={})  # all of its code
OTHER_PATCHES = pytest.mark.slow  # faster: test_only_the_patches_of_the_other_sizes_are_others


@pytest.mark.parametrize(
    ("size", "resolution", "parameters", "gmacs"),
    [
        ("S/2", 32, 32_963_360, 6.056),
        ("B/2", 32, 130_512_416, 23.005),
        ("L/2", 32, 458_102_816, 80.698),
        ("XL/2", 32, 675_129_632, 118.621),
        ("S/4", 32, 32_945_024, 1.413),
        pytest.param("B/4", 32, 130_475_648, 5.565, marks=OTHER_PATCHES),
        pytest.param("L/4", 32, 458_053_760, 19.696, marks=OTHER_PATCHES),
        pytest.param("XL/4", 32, 675_074_432, 29.044, marks=OTHER_PATCHES),
        ("S/8", 32, 33_148_160, 0.358),
        pytest.param("B/8", 32, 130_881_536, 1.418, marks=OTHER_PATCHES),
        pytest.param("L/8", 32, 458_594_816, 5.011, marks=OTHER_PATCHES),
        pytest.param("XL/8", 32, 675_683_072, 7.392, marks=OTHER_PATCHES),
        ("XL/2", 64, 676_014_368, 524.538),
    ],
)
def test_size(size, resolution, parameters, gmacs):
    found = cost(size, latent_spec(resolution))
    assert found.parameters == parameters
    assert found.macs_per_image == pytest.approx(gmacs * 1e9, rel=1e-3)
    assert f"{parameters:,}" in README
    assert f"{found.macs_per_image / 1e9:.3f}" in README


def test_only_the_patches_of_the_other_sizes_are_others():
    for size in ("B/4", "B/8", "L/4", "L/8", "XL/4", "XL/8"):
        name, _, patch = size.partition("/")
        assert SIZES[size] == {**SIZES[f"{name}/2"], "patch_size": int(patch)}


@pytest.mark.parametrize(
    ("conditioning", "millions", "gmacs"),
    [("in-context", 449, 119.37), ("cross-attention", 598, 137.62), ("adaln", 600, 118.56)],
)
def test_size_of_variant_as_printed(conditioning, millions, gmacs):
    """The paper does not count the fixed position table."""
    found = cost("XL/2", latent_spec(), conditioning=conditioning)
    assert round(found.trainable_parameters / 1e6) == millions
    assert f"{found.trainable_parameters:,} | {found.macs_per_image / 1e9:.3f}" in README
    assert found.macs_per_image == pytest.approx(gmacs * 1e9, rel=1e-3)


def test_one_modulation_for_all_saves_that_of_all_blocks_but_one():
    """PixArt's: 6 D**2 weights a block, and the head's 2 D**2, in exchange for tables."""
    found, zero = (cost("XL/2", latent_spec(), conditioning=of) for of in ("adaln-single", "adaln-zero"))
    depth, width = 28, 1152
    matrices, tables = (depth - 1) * 6 + 2, depth * 6 + 2
    assert zero.parameters - found.parameters == matrices * (width + 1) * width - tables * width
    assert f"{found.trainable_parameters:,} | {found.macs_per_image / 1e9:.3f}" in README


@pytest.mark.parametrize("size", ["nano", "nano/4"])
def test_nano(size):
    assert len(SIZES) == 14  # the others stand above
    found = cost(size, ARCHITECTURE.specs[size])
    told = f"{found.parameters:,} parameters, {found.macs_per_image / 1e6:.3f} MMACs"
    assert told in " ".join(README.split())


def test_native_recipe():
    native = ARCHITECTURE.native("latent", 256, "XL/2")
    assert (native.recipe["optimizer"], native.recipe["learning_rate"], native.recipe["betas"]) == (
        ("adamw", 1e-4, (0.9, 0.999))
    )
    assert (native.recipe["weight_decay"], native.recipe["warmup_steps"], native.recipe["decay"]) == (0, 0, "constant")
    assert native == ARCHITECTURE.native("pixel", 8, "nano")


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_contract(conditioning):
    check_architecture(SHALLOW, options={"conditioning": conditioning}, skip=["compiles", "macs-in-class"])


def test_contract_of_nano_4():
    check_architecture(ARCHITECTURE, ARCHITECTURE.specs["nano/4"], "nano/4", only=["output-shape", "gradients"])


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_contract_without_labels(conditioning):
    spec = DenoiserSpec(channels=3, resolution=8, classes=0, space="pixel", learn_variance=True)
    skip = ["compiles", "counted-as-trained", "macs-in-class", "other-inputs"]
    check_architecture(SHALLOW, spec, options={"conditioning": conditioning}, skip=skip)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_checkpointing_changes_no_gradient(conditioning):
    def gradients(checkpointing):
        net = build_denoiser(SHALLOW, conditioning=conditioning, checkpointing=checkpointing)
        perturb(net)
        net(*example_batch(DIGITS_SPEC, 3)).square().mean().backward()
        return [parameter.grad for parameter in net.parameters() if parameter.requires_grad]

    for kept, recomputed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(recomputed, kept)


def test_initialisation():
    net = build("S/2", latent_spec())
    qkv, fc1 = net.blocks[3].attn.qkv, net.blocks[3].mlp.fc1
    for linear in (qkv, fc1, net.blocks[3].attn.proj):
        assert is_xavier_uniform(linear.weight)
        assert not linear.bias.any()
    assert is_xavier_uniform(net.x_embedder.proj.weight.flatten(1))
    assert not net.x_embedder.proj.bias.any()
    for normal in (net.y_embedder.embedding_table.weight, net.t_embedder.mlp[0].weight, net.t_embedder.mlp[2].weight):
        assert normal.mean().item() == pytest.approx(0, abs=5e-4)
        assert normal.std().item() == pytest.approx(0.02, rel=0.02)
        assert normal.abs().max() > 0.06  # a normal, not a uniform or truncated one
    assert not net.pos_embed.requires_grad


def is_xavier_uniform(weight):
    bound = (6 / sum(weight.shape)) ** 0.5
    inside = weight.abs().max().item() <= bound
    return inside and weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_untrained_network_returns_zero(conditioning):
    assert not build(conditioning=conditioning)(*example_batch(DIGITS_SPEC, 3)).any()


def test_only_adaln_zero_starts_as_the_identity():
    x, c = torch.randn(2, 16, 96), torch.randn(2, 96)
    assert torch.equal(build().blocks[0](x, c), x)
    assert not torch.allclose(build(conditioning="adaln").blocks[0](x, c), x)
    modulation = build(conditioning="adaln").blocks[0].adaLN_modulation[1].weight
    assert is_xavier_uniform(modulation)


@pytest.mark.parametrize("depth", [2, 3, 4, 12, 24, 28])
def test_half_of_the_blocks_are_passed_by(depth):
    middle = middle_blocks(depth)
    assert 1 <= middle.start < middle.stop <= depth
    assert middle.stop - middle.start == pytest.approx(depth / 2, abs=0.5)
    assert depth != 12 or (middle.start, middle.stop) == (2, 8)  # TREAD's


@pytest.mark.parametrize(("conditioning", "always"), [("adaln-zero", 0), ("in-context", 2)])
def test_half_of_the_tokens_pass_by_the_middle_blocks_in_training_alone(conditioning, always):
    net = build(conditioning=conditioning, route="tread")
    perturb(net)
    lengths = []
    for block in net.blocks:
        block.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    batch = example_batch(DIGITS_SPEC, 3)
    plain = build(conditioning=conditioning)
    perturb(plain)
    assert torch.equal(net(*batch), plain(*batch))  # whatever the mode
    assert lengths == [16 + always] * 4
    lengths.clear()
    training_loss(net, *batch)
    assert lengths == [16 + always, 8 + always, 8 + always, 16 + always]


def test_tokens_that_pass_by_come_out_as_they_went_in_and_others_at_their_place():
    """With middle blocks that add one, the routed half is one more, whichever they are; each image has its own."""
    net, add_one = build(route="tread"), torch.nn.Identity()
    add_one.forward = lambda x, c: x + 1
    net.blocks = torch.nn.ModuleList([torch.nn.Identity(), add_one, add_one, torch.nn.Identity()])
    for outer in (net.blocks[0], net.blocks[3]):
        outer.forward = lambda x, c: x
    x = torch.randn(5, 16, 96)
    added = (net.run(x, torch.zeros(5, 96), routed=True) - x).round()
    assert (added.std(2) == 0).all() and sorted(added[0, :, 0].tolist()) == [0] * 8 + [2] * 8
    assert len(set(map(tuple, added[:, :, 0].tolist()))) > 1


def test_routing_saves_training_and_nothing_else():
    whole, routed = (cost_of(build(route=route), DIGITS_SPEC) for route in ("none", "tread"))
    assert routed.macs_per_image == whole.macs_per_image and routed.parameters == whole.parameters
    assert 0.7 < routed.training_macs_per_image / whole.training_macs_per_image < 0.8
    with pytest.raises(BadValue, match="dit: depth 1 leaves no block for route=tread"):
        build(route="tread", depth=1)


def test_patch_that_does_not_fit():
    with pytest.raises(BadValue, match="dit: patch size 8 does not divide the resolution 12"):
        build("S/8", DenoiserSpec(channels=1, resolution=12, classes=0, space="pixel"))


def test_published_checkpoint():
    net = build()
    assert convert_reference(net.state_dict()).keys() == net.state_dict().keys()
    with pytest.raises(BadValue, match=r"dit: 'ema' is no parameter of a published DiT"):
        convert_reference({"ema": torch.zeros(1)})


def test_published_settings():
    spec, settings = from_reference_config({})
    assert spec == latent_spec()
    assert settings == {**SIZES["XL/2"], "mlp_ratio": 4.0}
    assert from_reference_config({"class_dropout_prob": 0})[0].classes == 999
    with pytest.raises(BadValue, match="'hidden' is no argument of the published DiT"):
        from_reference_config({"hidden": 3})


def test_record_needs_no_torch():
    code = "import sys, ditbench_dit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
