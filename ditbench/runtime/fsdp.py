"""A network whose weights lie in shards over a run's processes (FSDP2); each has all of a block while it computes.

Its gradients, its EMA and its optimiser's state are sharded with it (Zhao et al., 2023; torch's `fully_shard`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)  # they have no forward to hook into


def shard(network: nn.Module, device: torch.device, processes: int) -> nn.Module:
    """The network itself, on the device, block by block: what stands in a list of modules is a block."""
    mesh = init_device_mesh(device.type, (processes,))
    for module in reversed(list(network.modules())):  # the inner ones first
        if isinstance(module, nn.ModuleList):
            _shard_blocks(module, mesh)
    fully_shard(network, mesh=mesh)
    return network.to(device)  # the buffers


def _shard_blocks(blocks: nn.ModuleList, mesh: DeviceMesh) -> None:
    for block in blocks:
        if not isinstance(block, _CONTAINERS) and next(block.parameters(), None) is not None:
            fully_shard(block, mesh=mesh)


@torch.no_grad()
def gather(sharded: nn.Module, whole: nn.Module) -> nn.Module:
    """Give a network of the same architecture the weights of a sharded one. All processes take part."""
    ours = whole.state_dict()
    for name, tensor in sharded.state_dict().items():
        ours[name].copy_(full(tensor))
    return whole


def full(tensor: Tensor) -> Tensor:
    """All of a tensor that may be sharded. All processes take part."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
