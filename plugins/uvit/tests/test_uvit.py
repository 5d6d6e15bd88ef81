"""U-ViT: the paper's sizes, its initialisation, and every option value. `tests/test_goldens.py` has the function."""

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
)
from ditbench_uvit import ARCHITECTURE, OPTIONS
from ditbench_uvit.model import LongSkip, UViT
from ditbench_uvit.reference import convert_reference, from_reference_config

README = (Path(__file__).parents[1] / "README.md").read_text()
LATENT_256, LATENT_512 = (latent_spec(cells, learn_variance=False) for cells in (32, 64))
CIFAR = DenoiserSpec(channels=3, resolution=32, classes=0, space="pixel")
CELEBA = DenoiserSpec(channels=3, resolution=64, classes=0, space="pixel")
IMAGENET_64 = DenoiserSpec(channels=3, resolution=64, classes=999, space="pixel")  # 1000 rows, none to spare
VARIANTS = [
    (name, value)
    for name, option in OPTIONS.items()
    for value in option.choices or ((False, True) if isinstance(option.default, bool) else (0.05,))
    if value != option.default
]
DEFAULT = ("checkpointing", False)
build, cost = partial(build_denoiser, ARCHITECTURE), partial(parameters_and_macs, ARCHITECTURE)


@pytest.mark.parametrize(
    ("size", "spec", "parameters", "gmacs"),
    [
        ("S/2", CIFAR, 44_255_328, 12.201),
        ("M/4", IMAGENET_64, 130_940_292, 35.236),
        ("L/2", LATENT_256, 286_763_172, 76.456),
        ("H/2", LATENT_256, 500_832_016, 133.197),
    ],
)
def test_size(size, spec, parameters, gmacs):
    found = cost(size, spec)
    assert found.parameters == parameters
    assert found.macs_per_image == pytest.approx(gmacs * 1e9, rel=1e-3)


@pytest.mark.parametrize(
    ("size", "spec"),
    [
        ("S/2", CIFAR),
        ("S/4", CELEBA),
        ("S/2-deep", LATENT_256),
        ("M/4", IMAGENET_64),
        ("L/4", IMAGENET_64),
        ("L/2", LATENT_256),
        ("H/2", LATENT_256),
        ("L/4", LATENT_512),
        ("H/4", LATENT_512),
    ],
)
def test_readme_has_the_size(size, spec):
    found = cost(size, spec)
    row = next(line for line in README.splitlines() if line.startswith(f"| {size} | {where(spec)} |"))
    assert f"| {found.parameters:,} | {found.macs_per_image / 1e9:.3f} |" in row


@pytest.mark.parametrize(("option", "value"), [DEFAULT, *VARIANTS[:-1]])  # checkpointing costs no multiplications
def test_readme_has_the_variant(option, value):
    found = cost("S/2", CIFAR, **{option: value})
    assert f"| {found.parameters:,} | {found.macs_per_image / 1e9:.3f} |" in README


def where(spec):
    return f"{spec.resolution}x{spec.resolution}x{spec.channels}"


@pytest.mark.parametrize(("size", "macs"), [("nano", 7_560_192), ("nano/4", 41_533_440)])
def test_nano_costs_as_much_as_dit_nano(size, macs):
    found = cost(size, ARCHITECTURE.specs[size])
    assert found.macs_per_image / macs == pytest.approx(1, abs=0.02)
    assert f"{found.parameters:,} parameters, {found.macs_per_image / 1e6:.3f} MMACs" in README


@pytest.mark.parametrize(
    ("space", "resolution", "size", "rate", "betas", "warmup"),
    [
        ("pixel", 32, "S/2", 2e-4, (0.99, 0.999), 2500),
        ("pixel", 64, "S/4", 2e-4, (0.99, 0.99), 5000),
        ("pixel", 64, "M/4", 3e-4, (0.99, 0.99), 5000),
        ("latent", 256, "L/2", 2e-4, (0.99, 0.99), 5000),
        ("latent", 512, "H/4", 2e-4, (0.99, 0.99), 5000),
    ],
)
def test_native_recipe(space, resolution, size, rate, betas, warmup):
    native = ARCHITECTURE.native(space, resolution, size)
    assert native.recipe == {
        "optimizer": "adamw",
        "learning_rate": rate,
        "betas": betas,
        "weight_decay": 0.03,
        "warmup_steps": warmup,
        "decay": "constant",
        "clip_norm": None,
    }
    schedule = "scaled-linear" if size == "H/4" else "linear"
    assert native.objectives["iddpm"] == {"schedule": schedule, "learn_variance": False}


@pytest.mark.parametrize(("option", "value"), [DEFAULT, *VARIANTS])
def test_contract(option, value):
    costly = [] if option == "checkpointing" else ["counted-as-trained"]  # as much as by default
    check_architecture(ARCHITECTURE, options={option: value}, skip=["compiles", "macs-in-class", *costly])


def test_contract_of_nano_4():
    check_architecture(ARCHITECTURE, ARCHITECTURE.specs["nano/4"], "nano/4", only=["output-shape", "gradients"])


@pytest.mark.parametrize("time", OPTIONS["time"].choices)
def test_contract_without_labels(time):
    """Labels go where the time goes: into a token, or into the blocks' modulation."""
    spec = DenoiserSpec(channels=3, resolution=8, classes=0, space="pixel", learn_variance=True)
    skip = ["compiles", "counted-as-trained", "macs-in-class", "other-inputs"]
    check_architecture(ARCHITECTURE, spec, options={"time": time}, skip=skip)


@pytest.mark.parametrize("patch_size", [1, 2, 4, 8])
def test_conv_stack_makes_as_many_tokens_as_the_linear_embedding(patch_size):
    settings = {"width": 32, "patch_size": patch_size}
    x = torch.randn(2, 1, 8, 8)
    linear, stack = (
        UViT(DIGITS_SPEC, depth=3, heads=4, patch=patch, **settings).patch_embed(x)
        for patch in OPTIONS["patch"].choices
    )
    assert linear.shape == stack.shape == (2, (8 // patch_size) ** 2, 32)


def test_every_way_to_join_a_long_skip():
    h, s = torch.randn(2, 5, 8), torch.randn(2, 5, 8)

    def join(name):
        module = LongSkip(8, name)
        return module, module(h, s)

    assert torch.equal(join("add")[1], h + s)
    for name, by_hand in {
        "concat": lambda linear: linear(torch.cat([h, s], dim=-1)),
        "linear-add": lambda linear: linear(h + s),
        "add-linear": lambda linear: h + linear(s),
    }.items():
        module, joined = join(name)
        assert torch.equal(joined, by_hand(module.linear))


def test_skips_are_last_in_first_out():
    net = UViT(DIGITS_SPEC, depth=7, width=32, heads=4, patch_size=2)
    made, taken = [], []
    for block in net.in_blocks:
        block.register_forward_hook(lambda _, __, out: made.append(out))
    for block in net.out_blocks:
        block.skip.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[1]))
    net(*example_batch(DIGITS_SPEC, 2))
    assert all(one is other for one, other in zip(made, reversed(taken), strict=True))
    assert len(made) == 3


def test_checkpointing_changes_no_gradient():
    def gradients(checkpointing):
        net = build(checkpointing=checkpointing)
        net(*example_batch(DIGITS_SPEC, 3)).square().mean().backward()
        return [parameter.grad for parameter in net.parameters()]

    for kept, recomputed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(recomputed, kept)


def test_initialisation():
    net = build("S/2", LATENT_256, time="adaln")
    block = net.out_blocks[2]
    for weight in (block.attn.qkv.weight, block.mlp.fc1.weight, block.skip.linear.weight, net.pos_embed):
        assert weight.mean().item() == pytest.approx(0, abs=5e-4)
        assert weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert block.attn.qkv.bias is None
    assert not block.mlp.fc1.bias.any()
    assert net.label_emb.weight.std().item() == pytest.approx(1, rel=0.01)  # PyTorch's own
    assert net.patch_embed.proj.weight.abs().max() <= 0.25  # PyTorch's own: 1 / sqrt(4 * 2 * 2)
    scale, shift = block.norm1.linear.bias.chunk(2)
    assert torch.equal(scale, torch.ones_like(scale))
    assert not shift.any()


@pytest.mark.parametrize("size", ["nano", "nano/4"])
def test_nano_starts_elsewhere(size):
    spec = ARCHITECTURE.specs[size]
    net = build(size, spec)
    image = torch.randn(2, 1, spec.resolution, spec.resolution)
    torch.testing.assert_close(net.final_layer(image), image + net.final_layer.bias)
    assert net.mid_block.mlp.fc1.weight.std().item() == pytest.approx(0.1, rel=0.02)
    assert net.pos_embed.std().item() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 4}, "uvit: depth 4 is even"),
        ({"heads": 3}, "uvit: 3 heads do not divide the width 32"),
        ({"patch_size": 3}, "uvit: patch size 3 does not divide the resolution 8"),
        ({"patch": "conv-stack", "patch_size": 3, "resolution": 9}, "patch_size 3 must be a power of 2"),
        ({"init_std": 0.0}, r"uvit: start with init_std 0\.0 and position_std 0\.02"),
        ({"position": "sincos", "width": 30, "heads": 2}, "needs a width divisible by 4, not 30"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    settings = {"depth": 3, "width": 32, "heads": 4, "patch_size": 2, **settings}
    spec = DenoiserSpec(channels=1, resolution=settings.pop("resolution", 8), classes=0, space="pixel")
    with pytest.raises(BadValue, match=message):
        UViT(spec, **settings)


def test_published_checkpoint():
    net = build()
    published = {key.replace(".skip.linear.", ".skip_linear."): value for key, value in net.state_dict().items()}
    assert convert_reference(published).keys() == net.state_dict().keys()
    with pytest.raises(BadValue, match=r"uvit: 'ema' is no parameter of a published U-ViT"):
        convert_reference({"ema": torch.zeros(1)})


def test_published_settings():
    spec, settings = from_reference_config({})
    assert spec == DenoiserSpec(channels=3, resolution=224, classes=0, space="pixel")
    assert (settings["depth"], settings["skip"], settings["conv"]) == (13, "concat", "after")
    spec, settings = from_reference_config({"num_classes": 1001, "conv": False, "skip": False})
    assert (spec.classes, settings["conv"], settings["skip"]) == (1000, "none", "none")
    with pytest.raises(BadValue, match="'hidden' is no argument of the published U-ViT"):
        from_reference_config({"hidden": 3})
    with pytest.raises(BadValue, match=r"'qk_scale' 0\.5 is not supported"):
        from_reference_config({"qk_scale": 0.5})


def test_record_needs_no_torch():
    code = "import sys, ditbench_uvit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
