"""MDT v1 and v2: sizes, initialisation, masking, and every option. `tests/test_goldens.py` has the function."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._dynamo.testing import CompileCounter

import ditbench
from ditbench import BadValue, DenoiserSpec
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
from ditbench_mdt import MDT, MDT_V2
from ditbench_mdt.model import MDTv2, chances_of_lengths
from ditbench_mdt.reference import convert_mdt, convert_mdtv2, from_reference_config

README = (Path(__file__).parents[1] / "README.md").read_text()
BOTH = pytest.mark.parametrize("architecture", [MDT, MDT_V2], ids=["v1", "v2"])
LATENT = latent_spec()
SHALLOW = {  # as few layers as have all of its code
    of.name: replace(of, sizes={**of.sizes, "nano": {**of.sizes["nano"], "depth": depth, "decoder": 1}}, ladder={})
    for of, depth in ((MDT, 2), (MDT_V2, 3))
}


def perturbed(architecture, **options):
    net = build_denoiser(architecture, **options)
    perturb(net)
    return net


@pytest.mark.parametrize(
    ("architecture", "size", "parameters", "gmacs"),
    [
        (MDT, "S/2", 35_797_208, 6.056),
        (MDT, "S/4", 35_647_736, 1.413),
        (MDT, "B/2", 141_488_528, 23.005),
        (MDT, "L/2", 477_641_312, 80.698),
        (MDT, "XL/2", 699_778_144, 118.621),
        (MDT_V2, "S/2", 38_454_872, 6.735),
        (MDT_V2, "S/4", 38_305_400, 1.582),
        (MDT_V2, "B/2", 152_112_272, 25.723),
        (MDT_V2, "L/2", 507_015_776, 88.214),
        (MDT_V2, "XL/2", 742_263_904, 129.493),
    ],
)
def test_size(architecture, size, parameters, gmacs):
    found = parameters_and_macs(architecture, size, LATENT)
    assert found.parameters == parameters
    assert found.macs_per_image == pytest.approx(gmacs * 1e9, rel=1e-3)
    without_side = found.parameters - found.train_only_parameters
    assert f"{parameters:,} | {without_side:,} | {found.macs_per_image / 1e9:.3f} |" in README
    if (architecture, size) == (MDT, "XL/2"):  # printed as 676 M
        assert without_side == 675_856_416


def test_s_of_larger_patches_in_pixels():
    spec = DenoiserSpec(channels=3, resolution=64, classes=1000, space="pixel", learn_variance=True)
    v1, v2 = (parameters_and_macs(architecture, "S/4", spec) for architecture in (MDT, MDT_V2))
    assert v1.macs_per_image == 6_065_111_040  # as dit:S/4
    told = f"`mdt:S/4` costs {v1.macs_per_image / 1e9:.3f} GMACs, exactly as much as `dit:S/4`, and `mdtv2:S/4`"
    assert f"{told} {v2.macs_per_image / 1e9:.3f}." in " ".join(README.split())


@BOTH
@pytest.mark.parametrize(("size", "macs", "within"), [("nano", 7_560_192, 0.03), ("nano/4", 41_533_440, 0.01)])
def test_nano_costs_what_dit_nano_costs(architecture, size, macs, within):
    found = parameters_and_macs(architecture, size, architecture.specs[size])
    assert found.macs_per_image == pytest.approx(macs, rel=within)
    without_side = found.parameters - found.train_only_parameters
    told = f"{found.parameters:,} parameters ({without_side:,} without side) and {found.macs_per_image / 1e6:.3f} MMACs"
    assert f"`{architecture.name}:{size}` has {told}" in " ".join(README.split())


def test_native_recipes():
    v1, v2 = MDT.native("latent", 256, "S/2"), MDT_V2.native("latent", 256, "B/2")
    assert (v1.recipe["optimizer"], v1.recipe["learning_rate"], v1.recipe["betas"]) == ("adamw", 3e-4, (0.9, 0.999))
    assert (v2.recipe["optimizer"], v2.recipe["learning_rate"], v2.recipe["clip_norm"]) == ("adan", 3e-4, 1.0)
    assert v2.recipe["betas"] == (0.98, 0.92, 0.99)
    assert [MDT_V2.native("pixel", 64, size).recipe["learning_rate"] for size in ("S/2", "S/4")] == [5e-4, 5e-4]
    assert v2.objectives["iddpm"]["min_snr_gamma"] == 5 and "min_snr_gamma" not in v1.objectives["iddpm"]
    for native in (v1, v2):
        assert (native.recipe["weight_decay"], native.recipe["warmup_steps"], native.recipe["decay"]) == (
            0,
            0,
            "constant",
        )


@BOTH
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mask": False},
        {"side": False},
        {"bias": False},
        {"position": "fixed"},
        {"mask_ratio": 0.5},
        {"checkpointing": True},
    ],
    ids=str,
)
def test_contract(architecture, options):
    costly = [] if options.keys() <= {"mask", "checkpointing"} else ["counted-as-trained"]  # as much as by default
    check_architecture(SHALLOW[architecture.name], options=options, skip=["compiles", "macs-in-class", *costly])


@BOTH
def test_every_block_may_be_the_decoders(architecture):
    check_architecture(architecture, options={"decoder": 4}, only=["output-shape", "gradients"])


@BOTH
def test_contract_of_nano_4(architecture):
    check_architecture(architecture, architecture.specs["nano/4"], "nano/4", only=["output-shape", "gradients"])


@BOTH
def test_contract_without_labels(architecture):
    spec = DenoiserSpec(channels=3, resolution=8, classes=0, space="pixel", learn_variance=True)
    skip = ["compiles", "counted-as-trained", "macs-in-class"]
    check_architecture(SHALLOW[architecture.name], spec, skip=skip)


@BOTH
def test_keeping_all_tokens_masks_nothing(architecture):
    net, batch = perturbed(architecture), example_batch(DIGITS_SPEC, 3)
    order = torch.rand(3, 16).argsort(dim=1)
    torch.testing.assert_close(net(*batch, keep_ids=order), net(*batch))


@BOTH
def test_kept_tokens_have_no_order(architecture):
    net, batch = perturbed(architecture), example_batch(DIGITS_SPEC, 3)
    kept = torch.rand(3, 16).argsort(dim=1)[:, :9]
    torch.testing.assert_close(net(*batch, keep_ids=kept.flip(1)), net(*batch, keep_ids=kept))


def test_encoder_does_not_see_hidden_tokens():
    net = perturbed(MDT)
    x, t, y = example_batch(DIGITS_SPEC, 2)
    kept = torch.arange(8).expand(2, 8)  # the upper half
    other = x.clone()
    other[:, :, 4:] += 1
    assert torch.equal(net(other, t, y, keep_ids=kept), net(x, t, y, keep_ids=kept))
    v2 = perturbed(MDT_V2)  # whose decoder is fed all patches, as published
    assert not torch.equal(v2(other, t, y, keep_ids=kept), v2(x, t, y, keep_ids=kept))


@BOTH
def test_drawn_masks_differ_from_image_to_image(architecture):
    net = perturbed(architecture)
    x, t, y = (part[:1].expand(6, *part.shape[1:]) for part in example_batch(DIGITS_SPEC, 1))
    out = net(x, t, y, keep=11)
    assert not torch.allclose(out[0], out[1])
    torch.manual_seed(3)
    first = net(x, t, y, keep=11)
    torch.manual_seed(3)
    assert torch.equal(net(x, t, y, keep=11), first)


def test_number_of_kept_tokens():
    assert build_denoiser(MDT, "S/2", LATENT).draw_kept() == 179  # int(0.7 * 256)
    assert build_denoiser(MDT).draw_kept() == 11
    with torch.device("meta"):
        v2 = build_denoiser(MDT_V2, "S/2", LATENT)
    lengths = [v2.draw_kept() for _ in range(2000)]
    assert set(lengths) == set(range(128, 180))  # every int(256 (1 - r)), r from 0.3 to 0.5
    assert sum(lengths) / 2000 == pytest.approx(0.6 * 256, rel=0.01)


@pytest.mark.parametrize(("tokens", "mean"), [(16, 0.570), (64, 0.592), (256, 0.598)])
def test_chances_of_lengths_are_those_of_the_published_rule(tokens, mean):
    chances = chances_of_lengths(tokens, 0.3, 0.5)
    assert sum(chances.values()) == pytest.approx(1)
    assert sum(keep * p for keep, p in chances.items()) / tokens == pytest.approx(mean, abs=5e-4)
    drawn = (tokens * (1 - torch.linspace(0.3, 0.5, 200_001, dtype=torch.float64))).int()
    for keep, p in chances.items():
        assert (drawn == keep).double().mean().item() == pytest.approx(p, abs=1e-4)
    assert chances_of_lengths(256, 0.3, 0.3) == {179: 1.0}


def test_training_cost_is_the_mean_over_all_lengths():
    with torch.device("meta"):
        net = build_denoiser(SHALLOW["mdtv2"], mask_ratio=0.4)

    def one_of(keep):
        net.training_cost = lambda cost: cost() + cost(keep=keep)
        return ditbench.cost_of(net, DIGITS_SPEC).training_macs_per_image

    exact = sum(p * one_of(keep) for keep, p in chances_of_lengths(16, *net.mask_ratios).items())
    del net.training_cost
    assert ditbench.cost_of(net, DIGITS_SPEC).training_macs_per_image == round(exact)


@BOTH
def test_two_forwards_a_step(architecture):
    def calls(**options):
        seen = []
        build_denoiser(architecture, **options).training_loss(lambda **extra: seen.append(extra) or torch.zeros(()))
        return seen

    whole, masked = calls()
    assert whole == {}
    assert masked.keys() == {"keep"}
    assert calls(mask=False) == [{}]


@BOTH
def test_side_block_is_only_trained(architecture):
    net, batch = perturbed(architecture), example_batch(DIGITS_SPEC, 3)
    assert net.train_only == ("side_block", "mask_token")
    before = net(*batch)
    for name in net.train_only:
        setattr(net, name, None)
    assert torch.equal(net(*batch), before)
    assert build_denoiser(architecture, side=False).train_only == ("mask_token",)
    assert build_denoiser(architecture, mask=False).train_only == ()
    with pytest.raises(BadValue, match="mask=off"):
        build_denoiser(architecture, mask=False)(*batch, keep=8)


@BOTH
def test_checkpointing_changes_no_gradient(architecture):
    def gradients(checkpointing):
        net = perturbed(architecture, checkpointing=checkpointing)
        torch.manual_seed(4)
        training_loss(net, *example_batch(DIGITS_SPEC, 3)).backward()
        return [parameter.grad for parameter in net.parameters()]

    for kept, recomputed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(recomputed, kept)


@BOTH
def test_initialisation(architecture):
    net = build_denoiser(architecture, "S/2", LATENT)
    table = net.side_block.bias_table
    assert table.shape == (31**2 + 3, 6)
    assert table.std().item() == pytest.approx(0.02, rel=0.05)
    assert net.mask_token.std().item() == pytest.approx(0.02, rel=0.15)
    assert torch.equal(net.pos_embed, net.decoder_pos_embed)
    assert net.pos_embed.requires_grad
    assert net.decoder_pos_embed.requires_grad
    fixed = build_denoiser(architecture, position="fixed")
    assert not fixed.pos_embed.requires_grad
    assert not fixed.decoder_pos_embed.requires_grad
    assert not net.side_block.adaLN_modulation[1].weight.any()
    weight = net.side_block.attn.qkv.weight
    assert weight.std().item() == pytest.approx((2 / sum(weight.shape)) ** 0.5, rel=0.01)  # Xavier
    assert not build_denoiser(architecture)(*example_batch(DIGITS_SPEC, 3)).any()


@BOTH
def test_bad_settings(architecture):
    with pytest.raises(BadValue, match="decoder 6 does not fit into depth 4"):
        build_denoiser(architecture, decoder=6)
    with pytest.raises(BadValue, match=rf"{architecture.name}: mask ratios from 1\.5"):
        build_denoiser(architecture, mask_ratio=1.5)
    high = {"mask_ratio": 0.95} if architecture is MDT else {"mask_ratio": 0.9, "mask_ratio_max": 0.95}
    with pytest.raises(BadValue, match=r"mask ratio 0\.95 leaves none of 16 tokens"):
        build_denoiser(architecture, **high)
    with pytest.raises(BadValue, match="leave out side=off"):
        build_denoiser(architecture, mask=False, side=False)
    with pytest.raises(BadValue, match="give one"):
        build_denoiser(architecture)(*example_batch(DIGITS_SPEC, 2), keep=3, keep_ids=torch.zeros(2, 3))
    spec = DenoiserSpec(channels=1, resolution=9, classes=0, space="pixel")
    with pytest.raises(BadValue, match=f"{architecture.name}: patch size 2 does not divide the resolution 9"):
        build_denoiser(architecture, spec=spec)


def test_odd_encoder():
    build_denoiser(MDT, decoder=1)
    with pytest.raises(BadValue, match="decoder 3 leaves an odd encoder"):
        build_denoiser(MDT_V2, decoder=3)


def published(architecture):
    """The state dict of a nano network as the authors' code would name it, index tables included."""
    names = [
        (r"^in_blocks\.", "en_inblocks."),
        (r"^out_blocks\.", "en_outblocks."),
        (r"^decoder_blocks\.", "de_blocks."),
        (r"^side_block\.", "sideblocks.0."),
        (r"\.bias_table$", ".attn.rel_pos_bias.relative_position_bias_table"),
        (r"\.fuse\.", ".skip_linear."),
    ]
    state = {}
    for ours, tensor in build_denoiser(architecture).state_dict().items():
        theirs = functools.reduce(lambda name, pair: re.sub(*pair, name), names, ours)
        state[theirs] = tensor
        if theirs.endswith("bias_table"):
            state[theirs.replace("bias_table", "index")] = torch.zeros(1)
    return state


@pytest.mark.parametrize(("architecture", "convert"), [(MDT, convert_mdt), (MDT_V2, convert_mdtv2)], ids=["v1", "v2"])
def test_published_checkpoint(architecture, convert):
    net = build_denoiser(architecture)
    net.load_state_dict(convert(published(architecture)), strict=True)
    other = "en_inblocks.0.mlp.fc1.bias" if architecture is MDT else "blocks.0.mlp.fc1.bias"
    for key in (other, "ema"):
        with pytest.raises(
            BadValue, match=f"{architecture.name}: '{key}' is no parameter of a published {architecture.name}"
        ):
            convert({key: torch.zeros(1)})


def test_masked_pass_compiles_for_all_lengths():
    """Of v2, which draws them. That v1 compiles with its one length is in the contract."""
    torch._dynamo.reset()
    graphs, net = CompileCounter(), perturbed(SHALLOW["mdtv2"])
    compiled, batch = torch.compile(net, fullgraph=True, backend=graphs), example_batch(DIGITS_SPEC, 3)
    for keep in (8, 9, 11, 10):
        torch.manual_seed(keep)
        found = compiled(*batch), compiled(*batch, keep=keep)
        torch.manual_seed(keep)
        torch.testing.assert_close(found, (net(*batch), net(*batch, keep=keep)))
    assert graphs.frame_count <= 3  # whole, masked, masked with any length


def test_published_settings():
    spec, settings = from_reference_config({"mask_ratio": 0.3, "decode_layer": 4}, "mdtv2")
    assert spec == LATENT
    assert settings == {**MDT_V2.sizes["XL/2"], "mlp_ratio": 4.0, "mask_ratio": 0.3, "mask_ratio_max": 0.5}
    assert from_reference_config({"mask_ratio": 0.1}, "mdtv2")[1]["mask_ratio_max"] == pytest.approx(0.3)
    for_sampling = from_reference_config({"depth": 4, "hidden_size": 96, "num_heads": 4}, "mdtv2")
    assert MDTv2(for_sampling[0], **for_sampling[1]).mask_ratios == (0.3, 0.5)
    v1 = from_reference_config({"mask_ratio": 0.4}, "mdt")[1]
    assert v1["mask_ratio"] == 0.4 and "mask_ratio_max" not in v1
    assert from_reference_config({"depth": 5, "decode_layer": 2}, "mdtv2")[1]["depth"] == 4
    with pytest.raises(BadValue, match="'width' is no argument of the published mdt"):
        from_reference_config({"width": 3}, "mdt")


def test_records_need_no_torch():
    code = "import sys, ditbench_mdt; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
