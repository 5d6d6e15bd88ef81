"""A network that nobody means is refused while it is built without memory, and so does not hang."""

import pytest
import torch
from torch import nn

from ditbench.denoiser.bounds import NUMBERS, TENSORS, without_memory
from ditbench.errors import BadValue


def deep():
    return nn.ModuleList(nn.Linear(2, 2) for _ in range(10**26))


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (deep, f"mine has more than {TENSORS:,} tensors of weights; choose fewer layers."),
        (lambda: nn.ModuleList(nn.Linear(10**5, 10**5) for _ in range(10**6)), f"at most {NUMBERS:,} can be"),
        (lambda: nn.Linear(2**40, 2**40), "mine has tensors that are larger than any memory"),
        (lambda: nn.Linear(10**26, 2), "mine has tensors that are larger than any memory"),
    ],
)
def test_what_is_larger_than_anything_is_refused(build, told):
    with pytest.raises(BadValue) as caught, without_memory("mine"):
        build()
    assert told in str(caught.value)
    assert nn.Linear(2, 2).weight.device.type == "cpu"  # and nothing is counted any more


def test_a_network_of_its_own_fault_keeps_its_error():
    with pytest.raises(RuntimeError, match="reduction dim"), without_memory("mine"):
        torch.zeros(2, 3) @ torch.zeros(2, 3)
