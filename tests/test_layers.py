"""Parts that papers share. The goldens of the plugins that use them freeze their numerics, too."""

import math

import pytest
import torch
from torch import nn

from ditbench.denoiser.interface import build_denoiser, example_batch
from ditbench.layers import (
    AdaLNZeroBlock,
    Attention,
    RMSNorm,
    SwiGLU,
    TimestepEmbedder,
    axial_rope,
    neighbourhood_mask,
    rotate,
    split_heads,
)
from ditbench.registry import Registry
from ditbench.testing import latent_spec


def test_heads_are_parted_in_the_order_of_the_published_code():
    qkv = torch.arange(2 * 3 * 24.0).view(2, 3, 24)
    parts = split_heads(qkv, 4)
    for part, expected in zip(parts, qkv.reshape(2, 3, 3, 4, 2).permute(2, 0, 3, 1, 4), strict=True):
        assert torch.equal(part, expected)


def test_rms_norm():
    norm, x = RMSNorm(2), torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    norm.weight.data = torch.tensor([1.0, 10.0])
    rms = math.sqrt(12.5)
    torch.testing.assert_close(norm(x), torch.tensor([[3 / rms, 40 / rms], [0.0, 0.0]]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert norm(x.bfloat16()).dtype == torch.float32  # as layer norm's; no warning either
    assert norm.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_swiglu():
    mlp, x = SwiGLU(96), torch.ones(1, 1, 96)
    assert mlp.w12.out_features == 2 * 256 and SwiGLU(64).w3.in_features == 170  # two thirds, rounded down
    torch.nn.init.constant_(mlp.w12.weight, 1 / 96)
    mlp.w12.bias.data[:256], mlp.w12.bias.data[256:] = 1.0, 2.0  # gate 2, value 3
    torch.nn.init.constant_(mlp.w3.weight, 1 / 256)
    torch.nn.init.zeros_(mlp.w3.bias)
    torch.testing.assert_close(mlp(x), torch.full((1, 1, 96), 3 * 2 / (1 + math.exp(-2))))


def test_rotary_positions():
    """Token 5 of a 4 x 4 square stands in row 1, column 1; token 6 in row 1, column 2."""
    rope = axial_rope("net", torch.arange(4), 8)
    assert rope.shape == (2, 16, 4)
    angles = torch.tensor([1, 1 / 100, 2, 2 / 100])  # two frequencies, of the row, then of the column
    torch.testing.assert_close(rope[:, 6], torch.stack([angles.cos(), angles.sin()]))
    one = torch.zeros(1, 1, 16, 8)
    one[..., 0] = 1
    torch.testing.assert_close(rotate(one, rope)[0, 0, 6, :2], torch.tensor([math.cos(1), math.sin(1)]))


def test_attention_to_rotated_tokens_sees_offsets_alone():
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0)).expand(2, 1, 1, 16, 8)
    rope = axial_rope("net", torch.arange(4), 8)
    scores = (rotate(q, rope) @ rotate(k, rope).transpose(-2, -1))[0, 0].view(4, 4, 4, 4)
    torch.testing.assert_close(scores[0, 0, 1, 2], scores[2, 1, 3, 3])
    assert not torch.isclose(scores[0, 0, 1, 2], scores[0, 0, 2, 1])


def test_norms_of_q_and_k_bound_the_logits():
    attention = Attention(8, 2, qk_norm=RMSNorm)
    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    attention.qkv.weight.data[8:16] *= 1000  # of k
    attention.qkv.bias.data.zero_()
    loud = attention(x)
    attention.qkv.weight.data[8:16] /= 1000
    torch.testing.assert_close(loud, attention(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shift", [True, False])
def test_a_block_is_told_for_an_image_or_for_each_token(shift):
    torch.manual_seed(0)
    block = AdaLNZeroBlock(8, 2, shift=shift)
    x, c = torch.randn(2, 3, 8), torch.randn(2, 8)
    told = c[:, None].repeat(1, 3, 1)
    torch.testing.assert_close(block(x, told), block(x, c))
    told[:, 1] = 0
    assert not torch.allclose(block(x, told)[:, 1], block(x, c)[:, 1])


def test_dropout_in_training_alone():
    torch.manual_seed(0)
    attention, x = Attention(8, 2, dropout=0.5), torch.randn(2, 3, 8)
    assert (attention(x) == 0).any() and not (attention.eval()(x) == 0).any()
    assert not [part for part in Attention(8, 2).modules() if isinstance(part, torch.nn.Dropout)]


def test_time_of_published_weights():
    embed = TimestepEmbedder(8, unit=True)
    plain = TimestepEmbedder(8)
    plain.load_state_dict(embed.state_dict())
    torch.testing.assert_close(embed(torch.tensor([250.0])), plain(torch.tensor([0.75])))


@pytest.mark.parametrize("name", ["dit", "uvit", "mdt", "diffit"])
def test_tokens_are_contiguous_on_their_way_through_the_blocks(name):
    """Else each norm copies them."""
    spec, seen = latent_spec(), list[bool]()
    network = build_denoiser(Registry.installed().architectures[name], "nano", spec)
    for blocks in (module for module in network.modules() if isinstance(module, nn.ModuleList)):
        for block in blocks:
            block.register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0].is_contiguous()))
    network(*example_batch(spec, 2))
    assert seen and all(seen)


def test_a_neighbourhood_is_shifted_inwards_at_the_borders():
    seen = ["".join("x" if one else "." for one in row) for row in neighbourhood_mask(6, 3).tolist()]
    assert seen == ["xxx...", "xxx...", ".xxx..", "..xxx.", "...xxx", "...xxx"]
    assert neighbourhood_mask(4, 7).all()
