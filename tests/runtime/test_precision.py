"""What a precision means on a device, and that nothing outside is changed."""

import pytest
import torch

from ditbench.runtime.precision import autocast, products, resolve

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


@pytest.mark.parametrize(("precision", "expected"), [("tf32", ("high", True)), ("float32", ("highest", False))])
def test_products_are_in_tf32_or_not_and_then_as_before(precision, expected):
    def now():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = now()
    with pytest.raises(ZeroDivisionError), products(precision):
        assert now() == expected
        raise ZeroDivisionError
    assert now() == before
