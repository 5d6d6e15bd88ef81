"""DDT and DiT^DH: sizes, what decodes what, start. `tests/test_goldens.py` has the functions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ditbench import BadValue, DenoiserSpec
from ditbench.testing import DIGITS_SPEC, build_denoiser, example_batch, parameters_and_macs, perturb
from ditbench_ddt import DDT, DIT_DH
from ditbench_ddt.reference import convert_ddt, convert_dit_dh, from_reference_config

README = " ".join((Path(__file__).parents[1] / "README.md").read_text().split())
BOTH = pytest.mark.parametrize("architecture", [DDT, DIT_DH], ids=["ddt", "dit-dh"])


@pytest.mark.parametrize(
    ("architecture", "size", "millions", "gmacs"),
    [
        (DDT, "B/2", 130.26, 26.92),
        (DDT, "L/2", 457.65, 87.64),
        (DDT, "XL/2", 674.65, 131.48),
        (DDT, "S/2", 32.84, 7.033),  # not published, nor the next
        (DDT, "S/4", 32.89, 1.654),
        (DIT_DH, "S/1", 196.46, 48.47),
        (DIT_DH, "B/1", 294.30, 65.69),
        (DIT_DH, "L/1", 621.74, 123.55),
        (DIT_DH, "XL/1", 838.68, 161.58),
    ],
)
def test_size(architecture, size, millions, gmacs):
    found = parameters_and_macs(architecture, size, architecture.specs[size])
    assert round(found.parameters / 1e6, 2) == millions
    assert found.macs_per_image == pytest.approx(gmacs * 1e9, rel=1e-3)
    assert f"| {found.parameters:,} | {found.macs_per_image / 1e9:.3f} |" in README


@BOTH
@pytest.mark.parametrize("size", ["nano", "nano/4"])
def test_nano(architecture, size):
    found = parameters_and_macs(architecture, size, architecture.specs[size])
    assert f"{found.parameters:,} parameters, {found.macs_per_image / 1e6:.3f} MMACs" in README


@pytest.mark.parametrize("switch", ["swiglu", "rope", "rmsnorm", "qknorm", "shift", "position"])
def test_switch_of_dit_dh(switch):
    other = {switch: not DIT_DH.options[switch].default}
    found = parameters_and_macs(DIT_DH, "XL/1", DIT_DH.specs["XL/1"], **other)
    assert f"{found.parameters:,} | {found.macs_per_image / 1e9:.3f} |" in README


@BOTH
def test_the_decoder_is_told_token_by_token(architecture):
    """What its first block gets, beside the image's own tokens: one condition for each token, in its own width."""
    net, seen = perturbed(architecture), []
    net.blocks[net.encoder].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[:2]))
    x, t, y = example_batch(DIGITS_SPEC, 3)
    net(x, t, y)
    ((tokens, told),) = seen
    assert tokens.shape == told.shape and torch.equal(tokens, net.x_embedder(x))
    assert not torch.allclose(told[:, 0], told[:, 1])


def perturbed(architecture, **options):
    net = build_denoiser(architecture, **options)
    perturb(net)
    return net


@BOTH
def test_start(architecture):
    """The output is zero; of DDT's gates none is."""
    net = build_denoiser(architecture)
    assert not net(*example_batch(DIGITS_SPEC, 3)).any()
    assert all(bool(block.adaLN_modulation[1].weight.any()) == (architecture is DDT) for block in net.blocks)
    assert net.t_embedder.mlp[0].weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_patches_are_laid_out_as_they_were_cut():
    """With the identity as embedding, blocks and head an image comes out as it went in."""
    spec = DenoiserSpec(channels=3, resolution=8, classes=0, space="pixel")
    net = build_denoiser(DDT, "nano", spec, width=12, heads=3)
    net.x_embedder.proj.weight.data, net.x_embedder.proj.bias.data = torch.eye(12), torch.zeros(12)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(net.image(net.x_embedder(x)), x)


def test_encoder_and_decoder_have_a_block_each():
    for encoder in (0, 6):
        with pytest.raises(BadValue, match=f"ddt: of 6 blocks {encoder} can't form the encoder"):
            build_denoiser(DDT, encoder=encoder)
    with pytest.raises(BadValue, match="dit-dh: of 4 blocks 4 can't form the encoder"):
        build_denoiser(DIT_DH, head_depth=0)


def test_published_checkpoint():
    net = build_denoiser(DIT_DH, qknorm=True)
    theirs = {**net.state_dict(), "enc_feat_rope.freqs_cos": torch.zeros(1)}
    assert convert_dit_dh(theirs).keys() == net.state_dict().keys()
    for convert, name in ((convert_ddt, "ddt"), (convert_dit_dh, "dit-dh")):
        with pytest.raises(BadValue, match=f"{name}: 'ema' is no parameter of a published {name}"):
            convert({"ema": torch.zeros(1)})
    with pytest.raises(BadValue, match=r"ddt: 'blocks\.0\.mlp\.w3\.weight' is missing"):
        convert_ddt({"blocks.0.mlp.w1.weight": torch.zeros(1)})


def test_published_settings():
    assert from_reference_config({}, "dit-dh")[0] == DIT_DH.specs["XL/1"]
    spec, settings = from_reference_config({"num_blocks": 12, "num_encoder_blocks": 8, "hidden_size": 768}, "ddt")
    assert spec == DDT.specs["B/2"] and settings == {**DDT.sizes["B/2"], "time": "unit"}
    assert from_reference_config({"class_dropout_prob": 0}, "dit-dh")[0].classes == 999
    with pytest.raises(BadValue, match="'hidden' is no argument of the published ddt"):
        from_reference_config({"hidden": 3}, "ddt")
