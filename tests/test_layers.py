"""Parts that papers share."""

import pytest
import torch
from torch import nn

from ditbench.denoiser.interface import build_denoiser, example_batch
from ditbench.layers import split_heads
from ditbench.registry import Registry
from ditbench.testing import latent_spec


def test_heads_are_parted_in_the_order_of_the_published_code():
    qkv = torch.arange(2 * 3 * 24.0).view(2, 3, 24)
    parts = split_heads(qkv, 4)
    for part, expected in zip(parts, qkv.reshape(2, 3, 3, 4, 2).permute(2, 0, 3, 1, 4), strict=True):
        assert torch.equal(part, expected)


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
