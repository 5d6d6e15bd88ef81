"""What a denoiser costs: parameters, multiply-accumulates, peak memory."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..components import DenoiserSpec, Selection
from ..records.facts import Cost
from .interface import loss_of


def cost_of(denoiser: nn.Module, spec: DenoiserSpec) -> Cost:
    """Count a denoiser's parameters, and its multiply-accumulates on one image.

    A copy is counted, with its own random draws: the denoiser and the generators stay as they are.
    """
    denoiser = copy.deepcopy(denoiser)
    tensors = dict(denoiser.named_parameters())
    tables = [table for table in denoiser.buffers() if table.is_floating_point()]
    train_only = tuple(getattr(denoiser, "train_only", ()))
    gpus = {p.device for p in tensors.values() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(0)  # MDTv2 draws how much it masks
        forward, (training, forwards) = macs(denoiser, spec), training_macs(denoiser, spec)
    return Cost(
        parameters=_count([*tensors.values(), *tables]),
        trainable_parameters=_count(p for p in tensors.values() if p.requires_grad),
        train_only_parameters=_count(
            p for name, p in tensors.items() if any(f"{name}.".startswith(f"{part}.") for part in train_only)
        ),
        macs_per_image=forward,
        training_macs_per_image=training,
        training_forwards=forwards,
    )


def cost_of_selection(selection: Selection, spec: DenoiserSpec) -> Cost:
    """The same of a denoiser that is not built yet, on the meta device: it takes no memory."""
    with torch.device("meta"):
        return cost_of(selection.build(spec), spec)


def macs(denoiser: nn.Module, spec: DenoiserSpec) -> int:
    """Multiply-accumulates of one inference forward at batch 1, attention's products included.

    torch counts 2 operations per multiply-accumulate in matrix products, convolutions and attention;
    element-wise work is left out, as in the papers' "Gflops".
    """
    denoiser.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        denoiser(*_one_image(denoiser, spec))
    return int(counter.get_total_flops()) // 2


def training_macs(denoiser: nn.Module, spec: DenoiserSpec) -> tuple[int, int]:
    """Multiply-accumulates per training image, every forward of its own loss and the backward; how many forwards.

    Attention is taken apart, so that the count is the same on every device: fused kernels compute the logits once
    more in the backward pass, and some of them say so.
    """
    denoiser.train()
    x, t, y = _one_image(denoiser, spec)
    forwards = 0

    def once(**extra: Any) -> torch.Tensor:
        nonlocal forwards
        forwards += 1
        return denoiser(x, t, y, **extra).square().mean()  # type: ignore[no-any-return]

    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss_of(denoiser, once).backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops()) // 2, forwards


def _one_image(denoiser: nn.Module, spec: DenoiserSpec) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    device = next(denoiser.parameters()).device
    x = torch.zeros(1, spec.channels, spec.resolution, spec.resolution, device=device)
    return x, torch.zeros(1, device=device), torch.zeros(1, dtype=torch.long, device=device)


def _count(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)
