"""MaskDiT: sizes, initialisation, masking, its loss and every option. `tests/test_goldens.py` has the function."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

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
from ditbench_maskdit import ARCHITECTURE, SIZES
from ditbench_maskdit.model import MaskDiT, standardized
from ditbench_maskdit.reference import convert_reference, from_reference_config

README = (Path(__file__).parents[1] / "README.md").read_text()
LATENT = latent_spec(learn_variance=False)


def perturbed(**options):
    net = build_denoiser(ARCHITECTURE, **options)
    perturb(net)
    return net


@pytest.mark.parametrize(
    ("size", "parameters", "gmacs"),
    [
        ("S/2", 68_346_256, 13.09),
        ("B/2", 175_909_648, 30.10),
        ("L/2", 510_176_272, 87.83),
        ("XL/2", 730_541_200, 125.8),
        ("H/2", 1_010_002_192, 173.9),
    ],
)
def test_size(size, parameters, gmacs):
    found = parameters_and_macs(ARCHITECTURE, size, LATENT)
    assert found.parameters == parameters and found.train_only_parameters == 512
    assert found.macs_per_image == pytest.approx(gmacs * 1e9, rel=1e-3)
    assert f"{parameters:,} | {found.macs_per_image / 1e9:.3f} |" in README


@pytest.mark.parametrize(("size", "macs"), [("nano", 7_560_192), ("nano/4", 41_533_440)])
def test_nano_costs_what_dit_nano_costs(size, macs):
    assert len(SIZES) == 7  # the others stand above
    found = parameters_and_macs(ARCHITECTURE, size, ARCHITECTURE.specs[size])
    assert found.macs_per_image == pytest.approx(macs, rel=0.013)
    told = f"`maskdit:{size}` has {found.parameters:,} parameters and {found.macs_per_image / 1e6:.3f} MMACs"
    assert told in " ".join(README.split())


@pytest.mark.parametrize(
    "options", [{}, {"mask": False}, {"mask_ratio": 0.75}, {"decoder": 1}, {"checkpointing": True}], ids=str
)
def test_contract(options):
    skip = ["compiles", "macs-in-class", *(["counted-as-trained"] if options else [])]
    check_architecture(ARCHITECTURE, options=options, skip=skip)


def test_contract_of_nano_4_and_without_labels():
    skip = ["compiles", "counted-as-trained", "ladder", "macs-in-class"]
    check_architecture(ARCHITECTURE, ARCHITECTURE.specs["nano/4"], "nano/4", skip=skip)
    spec = DenoiserSpec(channels=3, resolution=8, classes=0, space="pixel", learn_variance=True)
    check_architecture(ARCHITECTURE, spec, skip=[*skip, "other-inputs"])


def test_the_null_label_tells_nothing_and_is_not_trained():
    net = perturbed()
    assert not net.y_embedder(torch.tensor([DIGITS_SPEC.classes])).any()
    assert net.y_embedder.weight.shape == (DIGITS_SPEC.classes, 96)
    assert torch.equal(net.y_embedder(torch.tensor([3]))[0], net.y_embedder.weight[3])


def test_the_encoder_sees_kept_tokens_alone():
    """What is hidden moves nothing; the others move every place, through the decoder."""
    net, (x, t, y) = perturbed(), example_batch(DIGITS_SPEC, 2)
    keep_ids = torch.arange(8).expand(2, 8)  # the upper half of the image
    lower, upper = x.clone(), x.clone()
    lower[:, :, 4:] += 1
    upper[:, :, :4] += 1
    out = net(x, t, y, keep_ids=keep_ids)
    assert torch.equal(net(lower, t, y, keep_ids=keep_ids), out)
    assert (net(upper, t, y, keep_ids=keep_ids) != out).all()


def test_keeping_all_in_another_order_is_keeping_all():
    net, batch = perturbed(), example_batch(DIGITS_SPEC, 3)
    keep_ids = torch.randperm(16).expand(3, 16)
    torch.testing.assert_close(net(*batch, keep_ids=keep_ids), net(*batch))


class Seen:
    """A loss whose forward is seen once, of an output that the test chooses."""

    def __init__(self, **seen):
        self.seen, self.asked = SimpleNamespace(**seen), []
        self.y = seen["y"]

    def forward(self, **extra):
        self.asked.append(extra)
        return self.seen


def test_the_loss_denoises_what_is_kept_and_reconstructs_what_is_hidden(monkeypatch):
    net = build_denoiser(ARCHITECTURE, reconstruction=0.5)
    keep_ids = torch.arange(8).expand(2, 8)
    monkeypatch.setattr("ditbench_maskdit.model.draw_kept", lambda *about: keep_ids)
    error = torch.zeros(2, 1, 8, 8)
    error[:, :, :4], error[:, :, 4:] = 3.0, 100.0  # of the hidden half no denoising is asked
    x_t = torch.randn(2, 1, 8, 8)
    wanted = net.patches(x_t)
    wanted = (wanted - wanted.mean(2, keepdim=True)) / (wanted.var(2, keepdim=True) + 1e-6).sqrt()
    folded = torch.nn.functional.fold(wanted.transpose(1, 2), (8, 8), 2, stride=2)
    loss = Seen(error=error, rest=torch.tensor([1.0, 3.0]), x_t=x_t, denoised=folded + 2, y=torch.zeros(2).long())
    assert net.training_loss(loss).item() == pytest.approx(3 + 2 + 0.5 * 4)
    assert torch.equal(loss.asked[0]["keep_ids"], keep_ids) and len(loss.asked) == 1


def test_a_noisy_patch_is_reconstructed_whatever_its_scale():
    patches = torch.randn(2, 3, 12)
    torch.testing.assert_close(standardized(7 * patches + 5), standardized(patches), atol=1e-4, rtol=1e-4)


def test_half_of_the_tokens_are_kept_at_random():
    net = build_denoiser(ARCHITECTURE)
    batch = example_batch(DIGITS_SPEC, 4)
    loss = Seen(**dict.fromkeys(["error", "x_t", "denoised"], torch.zeros(4, 1, 8, 8)), rest=torch.zeros(4), y=batch[2])
    net.training_loss(loss)
    net.training_loss(loss)
    first, second = (asked["keep_ids"] for asked in loss.asked)
    assert first.shape == (4, 8) and all(row.unique().numel() == 8 for row in first)
    assert not torch.equal(first.sort().values, second.sort().values)
    assert not torch.equal(first[0].sort().values, first[1].sort().values)


def test_training_costs_less_than_without_masks():
    asked = []
    assert build_denoiser(ARCHITECTURE).training_cost(lambda **extra: asked.append(extra) or 5.0) == 5.0
    assert build_denoiser(ARCHITECTURE, mask=False).training_cost(lambda **extra: asked.append(extra) or 5.0) == 5.0
    assert asked == [{"keep": 8}, {}]


def test_initialisation():
    net = build_denoiser(ARCHITECTURE, "S/2", LATENT)
    assert not any(one.any() for block in net.blocks for one in block.adaLN_modulation[1].parameters())
    assert not any(one.any() for block in net.decoder_blocks for one in block.adaLN_modulation[1].parameters())
    assert not net.decoder_layer.linear.weight.any() and not net.final_layer.linear.weight.any()
    for normal in (net.y_embedder.weight, net.mask_token, net.t_embedder.mlp[0].weight):
        assert normal.std().item() == pytest.approx(0.02, rel=0.1)
    assert not net.pos_embed.requires_grad and not net.decoder_pos_embed.requires_grad
    assert not net(*example_batch(LATENT, 2)).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_ratio": 1.0}, "mask_ratio 1.0 is no share"),
        ({"mask_ratio": 0.99}, "hides all or none of 16 tokens"),
        ({"reconstruction": -1.0}, "no weight of a loss"),
        ({"decoder": 0}, "choose mask=off, or decoder=1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(BadValue, match=message):
        build_denoiser(ARCHITECTURE, **options)


def test_a_network_without_masks_has_none():
    net = MaskDiT(DIGITS_SPEC, **SIZES["nano"], mask=False)
    with pytest.raises(BadValue, match="no masked forward pass"):
        net(*example_batch(DIGITS_SPEC, 2), keep=8)
    assert (
        not net.train_only and build_denoiser(ARCHITECTURE, mask=False, decoder=0)(*example_batch(DIGITS_SPEC, 2)).shape
    )


def test_published_checkpoint_and_settings():
    state = build_denoiser(ARCHITECTURE).state_dict()
    state["y_embedder.embedding_table.weight"] = state.pop("y_embedder.weight").T
    converted = convert_reference(state)
    assert converted.keys() == build_denoiser(ARCHITECTURE).state_dict().keys()
    with pytest.raises(BadValue, match=r"maskdit: 'ema' is no parameter of a published MaskDiT"):
        convert_reference({"ema": torch.zeros(1)})
    spec, settings = from_reference_config({})
    assert spec == LATENT and SIZES["XL/2"].items() <= settings.items()
    with pytest.raises(BadValue, match="'hidden' is no argument of the published MaskDiT"):
        from_reference_config({"hidden": 3})


def test_native_recipe():
    native = ARCHITECTURE.native("latent", 256, "XL/2")
    assert native.recipe["learning_rate"] == 1e-4
    assert native.objectives == {"edm": {"mean": -1.2, "std": 1.2, "sigma_data": 0.5}}


def test_record_needs_no_torch():
    code = "import sys, ditbench_maskdit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
