"""DiffiT: sizes, TMSA by hand, the U shape, every option value. `tests/test_goldens.py` has the function."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache, partial
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
from ditbench_diffit import ARCHITECTURE, OPTIONS, SIZES
from ditbench_diffit import model as networks
from ditbench_diffit.model import Block, TimeAttention, from_windows, to_windows
from ditbench_diffit.reference import convert_reference, from_reference_config

README = (Path(__file__).parents[1] / "README.md").read_text()
CIFAR = DenoiserSpec(channels=3, resolution=32, classes=0, space="pixel")
FFHQ = DenoiserSpec(channels=3, resolution=64, classes=0, space="pixel")
MODELS, TIMES = OPTIONS["model"].choices, OPTIONS["time"].choices
VARIANTS = [(model, time) for model in MODELS for time in TIMES]
SHALLOW = replace(ARCHITECTURE, sizes={**SIZES, "nano": {**SIZES["nano"], "depth": 2, "blocks": "1,1"}}, ladder={})
build, cost = partial(build_denoiser, ARCHITECTURE), cache(partial(parameters_and_macs, ARCHITECTURE))


def test_published_size():
    found = cost("XL/2", latent_spec())
    assert found.parameters == 561_330_144
    assert found.macs_per_image == pytest.approx(118.507e9, rel=1e-3)


@pytest.mark.parametrize(
    ("size", "spec"),
    [
        ("S/2", latent_spec()),
        ("S/4", latent_spec()),
        ("B/2", latent_spec()),
        ("L/2", latent_spec()),
        ("XL/2", latent_spec()),
        ("XL/2", latent_spec(64)),
        ("cifar10", CIFAR),
        ("ffhq64", FFHQ),
    ],
)
def test_readme_has_the_size(size, spec):
    found = cost(size, spec)
    shape = f"{spec.resolution}x{spec.resolution}x{spec.channels}"
    row = next(line for line in README.splitlines() if line.startswith(f"| {size} | {shape} |"))
    assert f"| {found.parameters:,} | {found.macs_per_image / 1e9:.3f} |" in row


@pytest.mark.parametrize(
    ("size", "spec", "macs"),
    [
        ("S/2", DenoiserSpec(channels=3, resolution=32, classes=10, space="pixel"), 6_053_314_560),
        (
            "S/4",
            DenoiserSpec(channels=3, resolution=64, classes=1000, space="pixel", learn_variance=True),
            6_065_111_040,
        ),
    ],
)
def test_image_model_of_s_costs_as_much_as_dit_s(size, spec, macs):
    found = cost(size, spec)
    assert found.macs_per_image / macs == pytest.approx(1, abs=0.02)
    shape = f"{spec.resolution}x{spec.resolution}x{spec.channels}"
    row = next(line for line in README.splitlines() if line.startswith(f"| {size} | {shape}"))
    assert f"| {found.parameters:,} | {found.macs_per_image / 1e9:.3f} | {macs / 1e9:.3f} |" in row


@pytest.mark.parametrize("time", TIMES)
def test_readme_has_the_variant(time):
    image, isotropic = cost("cifar10", CIFAR, time=time), cost("XL/2", latent_spec(), time=time)
    row = next(line for line in README.splitlines() if line.startswith(f"| `{time}`"))
    assert f"| {image.parameters:,} | {image.macs_per_image / 1e9:.3f} |" in row
    assert f"| {isotropic.parameters:,} | {isotropic.macs_per_image / 1e9:.3f} |" in row


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("size", "macs"), [("nano", 7_560_192), ("nano/4", 41_533_440)])
def test_nano_costs_as_much_as_dit_nano(size, macs, model):
    found = cost(size, ARCHITECTURE.specs[size], model=model)
    assert found.macs_per_image / macs == pytest.approx(1, abs=0.02)
    assert f"{found.parameters:,} parameters, {found.macs_per_image / 1e6:.3f} MMACs" in " ".join(README.split())


def test_native_recipes():
    cifar10, ffhq = (ARCHITECTURE.native("pixel", resolution, "nano").recipe for resolution in (32, 64))
    adam = {"optimizer": "adamw", "betas": (0.9, 0.999), "weight_decay": 0.0, "decay": "constant", "clip_norm": None}
    assert cifar10 == {**adam, "learning_rate": 1e-3} and ffhq == {**adam, "learning_rate": 2e-4}
    latents = [ARCHITECTURE.native("latent", resolution, "XL/2").recipe for resolution in (256, 512)]
    assert latents == [{"optimizer": "adamw", "learning_rate": rate} for rate in (3e-4, 1e-4)]  # the rest: unpublished


@pytest.mark.parametrize(("model", "time"), VARIANTS)
def test_contract(model, time):
    check_architecture(SHALLOW, options={"model": model, "time": time}, skip=["compiles", "macs-in-class"])


@pytest.mark.parametrize("model", MODELS)
def test_contract_of_nano_4(model):
    only = ["output-shape", "gradients"]
    check_architecture(ARCHITECTURE, ARCHITECTURE.specs["nano/4"], "nano/4", {"model": model}, only)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("time", ["tmsa", "token"])  # the labels go where the time goes: into each block, or a token
def test_contract_without_labels(model, time):
    spec = DenoiserSpec(channels=3, resolution=8, classes=0, space="pixel", learn_variance=True)
    skip = ["compiles", "counted-as-trained", "macs-in-class", "other-inputs"]
    check_architecture(SHALLOW, spec, options={"model": model, "time": time}, skip=skip)


def test_the_space_chooses_the_model():
    names = {
        space: type(build(spec=spec)).__name__ for space, spec in {"pixel": CIFAR, "latent": latent_spec()}.items()
    }
    assert names == {"pixel": "ImageDiffiT", "latent": "LatentDiffiT"}


def test_tmsa_by_hand():
    """Equations 3 to 6, one window, head and token at a time."""
    torch.manual_seed(0)
    attention = TimeAttention(width=8, heads=2, window=2, time_width=6, time="tmsa")
    torch.nn.init.normal_(attention.relative_position_bias_table)
    x, c = torch.randn(3, 4, 4, 8), torch.randn(3, 6)
    index = torch.tensor([[3 * (a // 2 - b // 2 + 1) + (a % 2 - b % 2 + 1) for b in range(4)] for a in range(4)])

    expected = torch.empty_like(x)
    for n in range(3):
        temporal = attention.qkv_temb(c[n])
        for w in range(4):
            q, k, v = (attention.qkv(x[n, w]) + temporal).chunk(3, dim=-1)
            heads = []
            for h, cut in enumerate((slice(0, 4), slice(4, 8))):
                bias = attention.relative_position_bias_table[index, h]
                heads.append((q[:, cut] @ k[:, cut].T / 4**0.5 + bias).softmax(-1) @ v[:, cut])
            expected[n, w] = attention.proj(torch.cat(heads, dim=-1))
    torch.testing.assert_close(attention(x, c, index), expected)


def test_windows_are_squares_of_the_map():
    x = torch.arange(64.0).reshape(1, 1, 8, 8).expand(2, 3, 8, 8)
    windows = to_windows(x, 4)
    assert windows.shape == (2, 4, 16, 3)
    assert torch.equal(windows[0, 1, :, 0].reshape(4, 4), x[0, 0, :4, 4:])
    assert torch.equal(from_windows(windows, 8), x)


@pytest.mark.parametrize("time", TIMES)
def test_attention_stays_in_its_window(time):
    torch.manual_seed(0)
    block = Block(width=8, heads=2, window=2, time_width=6, time=time)
    torch.nn.init.zeros_(block.attn.relative_position_bias_table)
    x, c, index = torch.randn(1, 4, 4, 8, requires_grad=True), torch.randn(1, 6), torch.zeros(4, 4, dtype=torch.long)
    (gradient,) = torch.autograd.grad(block(x, c, index)[0, 2].sum(), x)
    assert gradient[0, 2].any()
    assert not gradient[0, [0, 1, 3]].any()


def test_maps_of_the_ffhq_model_are_the_papers():
    """Tables S.2 and S.3, apart from the 128 channels that S.2 prints after the second downsampler."""
    with torch.device("meta"):
        net = build("ffhq64", FFHQ)
        seen = []
        parts = [net.tokenizer, *net.encoder, *net.down, *net.up, *net.decoder, net.head]
        for part in parts:
            part.register_forward_hook(lambda _, __, out: seen.append(f"{out.shape[2]}^2x{out.shape[1]}"))
        net(torch.empty(1, 3, 64, 64), torch.empty(1))
    assert seen == [
        *("64^2x128", "64^2x128", "32^2x128", "32^2x256", "16^2x256", "16^2x256", "8^2x256", "8^2x256"),
        *("16^2x256", "16^2x256", "32^2x256", "32^2x256", "64^2x256", "64^2x128", "64^2x3"),
    ]
    assert [len(stage.blocks) for stage in net.encoder] == [4, 4, 4, 4]
    assert [block.window for stage in net.encoder for block in stage.blocks] == [8] * 16


@pytest.mark.parametrize("model", MODELS)
def test_checkpointing_changes_no_gradient(model):
    def gradients(checkpointing):
        net = build(model=model, checkpointing=checkpointing)
        perturb(net)
        net(*example_batch(DIGITS_SPEC, 3)).square().mean().backward()
        return [parameter.grad for parameter in net.parameters()]

    for kept, recomputed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(recomputed, kept)


def test_initialisation_of_the_latent_model():
    net = build("S/2", latent_spec())
    block = net.blocks[3]
    for linear in (block.attn.qkv, block.attn.qkv_temb, block.mlp.fc1, block.attn.proj):
        assert is_xavier_uniform(linear.weight)
        assert not linear.bias.any()
    assert is_xavier_uniform(net.x_embedder.proj.weight.flatten(1))
    for normal in (net.y_embedder.embedding_table.weight, net.t_embedder.mlp[0].weight, net.t_embedder.mlp[2].weight):
        assert normal.std().item() == pytest.approx(0.02, rel=0.02)
    assert block.attn.relative_position_bias_table.std().item() == pytest.approx(0.02, rel=0.05)
    assert not net.pos_embed.requires_grad


def test_initialisation_of_the_image_model():
    net = build("cifar10", DenoiserSpec(channels=3, resolution=32, classes=10, space="pixel"))
    block = net.encoder[1].blocks[2]
    for weight in (block.conv.weight, block.block.attn.qkv.weight, net.down[0].weight):
        assert is_xavier_uniform(weight.flatten(1))
    assert not block.conv.bias.any()
    assert net.y_embedder.embedding_table.weight.std().item() == pytest.approx(1, rel=0.05)


def is_xavier_uniform(weight):
    bound = (6 / sum(weight.shape)) ** 0.5
    inside = weight.abs().max().item() <= bound * (1 + 1e-6)  # rounded to float32
    return inside and weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)


@pytest.mark.parametrize(("model", "time"), VARIANTS)
def test_untrained_network_returns_zero(model, time):
    assert not build(model=model, time=time)(*example_batch(DIGITS_SPEC, 3)).any()


@pytest.mark.parametrize(
    ("size", "spec", "options", "message"),
    [
        ("XL/2", CIFAR, {}, r"image model \(nano, nano/4, S/2, S/4, cifar10, ffhq64\); choose one"),
        ("ffhq64", latent_spec(), {}, r"latent model \(nano, nano/4, S/2, S/4, B/2, L/2, XL/2\); choose one"),
        ("ffhq64", CIFAR, {"model": "latent"}, "not one of the latent model"),
        ("cifar10", DenoiserSpec(channels=3, resolution=34, classes=0, space="pixel"), {}, "resolution 34 halved 2"),
        ("cifar10", DenoiserSpec(channels=3, resolution=24, classes=0, space="pixel"), {}, "into windows of 4"),
        ("XL/2", latent_spec(9), {}, "patch size 2 does not divide the resolution 9"),
    ],
)
def test_what_does_not_fit(size, spec, options, message):
    with pytest.raises(BadValue, match=message), torch.device("meta"):
        build(size, spec, **options)


@pytest.mark.parametrize("model", MODELS)
def test_a_size_is_of_a_model_or_the_message_names_those_that_are(model):
    spec = FFHQ if model == "image" else latent_spec()
    with pytest.raises(BadValue) as refusal:
        networks.build(spec)
    named = re.search(r"\((.*)\)", str(refusal.value))[1].split(", ")
    for size in SIZES:
        with (
            torch.device("meta"),
            contextlib.nullcontext() if size in named else pytest.raises(BadValue, match="this size"),
        ):
            build(size, spec)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": "1"}, "2 widths but blocks for 1 resolutions"),
        ({"head_width": 24}, "width 32 does not split into heads of 24"),
    ],
)
def test_image_settings_that_do_not_fit(settings, message):
    nano = {key: value for key, value in SIZES["nano"].items() if key not in settings}
    with pytest.raises(BadValue, match=message):
        networks.build(DIGITS_SPEC, **nano, **settings)


def test_published_checkpoint():
    net = build("nano", latent_spec())
    index = {"blocks.0.attn.relative_position_index": torch.zeros(1)}
    assert convert_reference({**net.state_dict(), **index}).keys() == net.state_dict().keys()
    with pytest.raises(BadValue, match=r"diffit: 'ema' is no parameter of the published latent DiffiT"):
        convert_reference({"ema": torch.zeros(1)})


def test_published_settings():
    spec, settings = from_reference_config({"depth": 28})
    assert spec == latent_spec()
    assert settings == {"model": "latent", **SIZES["XL/2"], "mlp_ratio": 4.0}
    assert from_reference_config({"class_dropout_prob": 0})[0].classes == 999
    with pytest.raises(BadValue, match="'hidden' is no argument of the published latent DiffiT"):
        from_reference_config({"hidden": 3})


def test_record_needs_no_torch():
    code = "import sys, ditbench_diffit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
