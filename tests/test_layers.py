"""GELU of our own on a CPU: torch's numbers and derivatives, whoever asks for them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ditbench.layers import Gelu, TanhGelu, split_heads

X = torch.linspace(-9, 9, 60, dtype=torch.float64)


def ours(x):
    return TanhGelu.apply(x)[0]


def torchs(x):
    return F.gelu(x, approximate="tanh")


def slopes(f):
    """Of every image's sum, as `torch.func` derives them."""
    return torch.func.vmap(torch.func.grad(lambda x: f(x).sum()))(X.view(6, 10))


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")  # of torch's own forward mode
def test_gelu_is_torchs_own():
    torch.testing.assert_close(ours(X), torchs(X))
    x = X.clone().requires_grad_()
    assert torch.autograd.gradcheck(ours, x, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(ours, x)
    torch.testing.assert_close(torch.func.jvp(ours, (X,), (X,)), torch.func.jvp(torchs, (X,), (X,)))
    torch.testing.assert_close(slopes(ours), slopes(torchs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_of_a_network(dtype):
    """Rounded as torch's, with and without a gradient, and compiled in one piece."""
    x, layer = X.to(dtype).requires_grad_(), Gelu("tanh")
    found = layer(x)
    torch.testing.assert_close(found, torchs(x))
    torch.testing.assert_close(
        torch.autograd.grad(found.sum(), x), torch.autograd.grad(torchs(x).sum(), x), atol=2e-6, rtol=2e-6
    )
    with torch.no_grad():
        assert torch.equal(layer(x), found)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="eager")(x), found)
    assert torch.equal(Gelu()(x), nn.GELU()(x))


def test_heads_are_parted_in_the_order_of_the_published_code():
    qkv = torch.arange(2 * 3 * 24.0).view(2, 3, 24).requires_grad_()
    parts = split_heads(qkv, 4)
    for part, expected in zip(parts, qkv.reshape(2, 3, 3, 4, 2).permute(2, 0, 3, 1, 4), strict=True):
        assert torch.equal(part, expected)
