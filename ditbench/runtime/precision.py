"""How a network is run, whatever it computes: the precision of its arithmetic, and what of it is compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import nn

Precision = Literal["float32", "tf32", "bfloat16"]
Choice = Literal["on", "off", "blocks", "auto"]  # what of a network is compiled: all, nothing, its repeated blocks
Way = Literal["whole", "off", "blocks"]  # a choice, decided for a device


def resolve(wanted: Precision | Literal["auto"], device: torch.device) -> Precision:
    """What a device does when asked for a precision: auto is bfloat16 on CUDA; a CPU has no TF32."""
    if device.type == "cuda":
        return "bfloat16" if wanted == "auto" else wanted
    return "bfloat16" if wanted == "bfloat16" else "float32"


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 in the operations that bear it, with weights in float32; otherwise nothing."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


@contextmanager
def products(precision: Precision) -> Iterator[None]:
    """Matrix products and cuDNN's convolutions of float32 in TF32 or not, restored at the end."""
    cudnn, before = torch.backends.cudnn, (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32 = before[1]


@contextmanager
def computing(precision: Precision, device: torch.device) -> Iterator[None]:
    """Both of them, whatever autocast others have around it: for a network that only looks at images, or makes them."""
    dtype = torch.bfloat16 if precision == "bfloat16" else None
    with products(precision), torch.autocast(device.type, dtype, enabled=dtype is not None):
        yield


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on its device; on CUDA with channels-last convolutions, which cuDNN otherwise makes of each input."""
    network = network.to(device)
    return channels_last(network) if device.type == "cuda" else network


def channels_last(network: nn.Module) -> nn.Module:
    """The network with the weights of its convolutions of images in that layout; their inputs follow."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return network
