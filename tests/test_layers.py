"""Parts that papers share."""

import torch

from ditbench.layers import neighbourhood_mask, split_heads


def test_heads_are_parted_in_the_order_of_the_published_code():
    qkv = torch.arange(2 * 3 * 24.0).view(2, 3, 24)
    parts = split_heads(qkv, 4)
    for part, expected in zip(parts, qkv.reshape(2, 3, 3, 4, 2).permute(2, 0, 3, 1, 4), strict=True):
        assert torch.equal(part, expected)


def test_a_neighbourhood_is_shifted_inwards_at_the_borders():
    seen = ["".join("x" if one else "." for one in row) for row in neighbourhood_mask(6, 3).tolist()]
    assert seen == ["xxx...", "xxx...", ".xxx..", "..xxx.", "...xxx", "...xxx"]
    assert neighbourhood_mask(4, 7).all()
