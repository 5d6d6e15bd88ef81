"""JiT: sizes, context tokens, dropout. `tests/test_goldens.py` has the function."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from ditbench import BadValue
from ditbench.testing import DIGITS_SPEC, build_denoiser, example_batch, parameters_and_macs, perturb
from ditbench_jit import ARCHITECTURE, SPECS
from ditbench_jit.reference import convert_reference, from_reference_config

README = " ".join((Path(__file__).parents[1] / "README.md").read_text().split())
build, cost = partial(build_denoiser, ARCHITECTURE), partial(parameters_and_macs, ARCHITECTURE)


@pytest.mark.parametrize(
    ("size", "millions", "gmacs"),
    [
        ("B/16", 131.32, 25.22),
        ("B/32", 133.39, 25.75),
        ("L/16", 459.14, 87.94),
        ("L/32", 461.80, 88.62),
        ("H/16", 952.84, 181.95),
        ("H/32", 956.38, 182.85),
        ("S/2", 32.65, 6.625),  # not published, nor those that follow
        ("S/4", 33.05, 6.630),
        ("B/2", 129.88, 25.05),
        ("B/4", 130.67, 25.06),
        ("L/2", 457.25, 87.72),
        ("L/4", 458.31, 87.73),
    ],
)
def test_size(size, millions, gmacs):
    found = cost(size, SPECS[size])
    assert round(found.parameters / 1e6, 2) == millions
    assert found.macs_per_image == pytest.approx(gmacs * 1e9, rel=1e-3)
    assert f"| {found.parameters:,} | {found.macs_per_image / 1e9:.3f} |" in README
    assert (SPECS[size].resolution // ARCHITECTURE.sizes[size]["patch_size"]) ** 2 == 256


@pytest.mark.parametrize("size", ["nano", "nano/4"])
def test_nano(size):
    found = cost(size, SPECS[size])
    assert f"{found.parameters:,} parameters, {found.macs_per_image / 1e6:.3f} MMACs" in README


def test_native_recipe():
    small, large = (ARCHITECTURE.native("pixel", resolution, "B/32") for resolution in (256, 512))
    assert (small.objectives["x-pred"]["noise_scale"], large.objectives["x-pred"]["noise_scale"]) == (1.0, 2.0)


def perturbed(**options):
    net = build(**options)
    perturb(net)
    return net


def test_context_tokens_join_at_their_block_and_leave_before_the_head():
    net, seen = perturbed(), []
    for block in net.blocks:
        block.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0].shape[1], inputs[3].shape[1])))
    net(*example_batch(DIGITS_SPEC, 3))
    assert seen == [(16, 16)] * 2 + [(20, 20)] * 3
    assert torch.equal(net.rope_in_context[:, 4:], net.rope)
    assert torch.equal(net.rope_in_context[:, :4], torch.stack([torch.ones(4, 10), torch.zeros(4, 10)]))


def test_context_tokens_tell_the_label():
    net, tokens, label = build(), torch.randn(3, 16, 80), torch.randn(3, 80)
    joined = net.joined(tokens, label)
    torch.testing.assert_close(joined[:, :4] - net.in_context_posemb, label[:, None].expand(-1, 4, -1))
    assert torch.equal(joined[:, 4:], tokens) and torch.equal(net.joined(tokens, None)[2, :4], net.in_context_posemb[0])
    with pytest.raises(BadValue, match="jit: context_start 5 leaves no block of 5"):
        build(context_start=5)


def test_dropout_in_the_middle_half_alone():
    net = build("S/4", SPECS["S/4"], dropout=0.2)
    dropped = [n for n, block in enumerate(net.blocks) if any(isinstance(m, torch.nn.Dropout) for m in block.modules())]
    assert dropped == [3, 4, 5, 6, 7, 8]
    assert net.blocks[3].attn.drop.p == net.blocks[3].mlp.drop.p == 0.2


def test_initialisation():
    net = build("S/4", SPECS["S/4"])
    for proj in (net.x_embedder.proj1, net.x_embedder.proj2):
        flat = proj.weight.flatten(1)
        bound = (6 / sum(flat.shape)) ** 0.5
        assert flat.abs().max() <= bound and flat.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert net.in_context_posemb.std().item() == pytest.approx(0.02, rel=0.05)
    assert not net.final_layer.linear.weight.any() and not net.blocks[2].adaLN_modulation[1].weight.any()


def test_published_checkpoint():
    net = build()
    theirs = {
        **net.state_dict(),
        "feat_rope.freqs_cos": torch.zeros(1),
        "feat_rope_incontext.freqs_sin": torch.zeros(1),
    }
    assert convert_reference(theirs).keys() == net.state_dict().keys()
    with pytest.raises(BadValue, match=r"jit: 'ema' is no parameter of a published JiT"):
        convert_reference({"ema": torch.zeros(1)})


def test_published_settings():
    spec, settings = from_reference_config({"proj_drop": 0.2})
    assert spec == SPECS["L/16"]
    size = {**{name: option.default for name, option in ARCHITECTURE.options.items()}, **ARCHITECTURE.sizes["L/16"]}
    assert {**size, "time": "unit", "dropout": 0.2, "mlp_ratio": 4.0} == {**settings, "checkpointing": False}
    with pytest.raises(BadValue, match="'hidden' is no argument of the published JiT"):
        from_reference_config({"hidden": 3})
    with pytest.raises(BadValue, match=r"attn_drop is 0\.1"):
        from_reference_config({"attn_drop": 0.1})
