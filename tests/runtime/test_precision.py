"""What a precision means on a device, and that nothing outside is changed."""

import pytest
import torch
from torch import nn

from ditbench.runtime.precision import autocast, channels_last, computing, placed, products, resolve

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("wanted", "cpu", "cuda"),
    [
        ("float32", "float32", "float32"), ("tf32", "float32", "tf32"), ("bfloat16", "bfloat16", "bfloat16"),
        ("auto", "float32", "bfloat16"),
    ],
)  # fmt: skip
def test_precisions_by_device(wanted, cpu, cuda):
    assert (resolve(wanted, CPU), resolve(wanted, CUDA)) == (cpu, cuda)


def test_autocast_is_for_bfloat16_alone():
    one = torch.ones(2, 2)
    for precision, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        with autocast(precision, CPU):
            assert (one @ one).dtype == dtype


def test_what_only_looks_at_images_has_its_own_precision_whoever_calls():
    one = torch.ones(2, 2)
    for precision, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        with autocast("bfloat16", CPU), computing(precision, CPU):
            assert (one @ one).dtype == dtype


def test_convolutions_of_images_are_channels_last_on_cuda_alone():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(2), nn.Conv1d(8, 4, 1), nn.Flatten(), nn.Linear(144, 2))
    x, last = torch.randn(5, 3, 8, 8), {"memory_format": torch.channels_last}
    assert placed(network, CPU)[0].weight.is_contiguous()
    before = network(x)
    assert channels_last(network)[0].weight.is_contiguous(**last) and network[0](x).is_contiguous(**last)
    torch.testing.assert_close(network(x), before)


@pytest.mark.parametrize(("precision", "expected"), [("tf32", ("high", True)), ("float32", ("highest", False))])
def test_products_are_in_tf32_or_not_and_then_as_before(precision, expected):
    def now():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = now()
    with pytest.raises(ZeroDivisionError), products(precision):
        assert now() == expected
        raise ZeroDivisionError
    assert now() == before
