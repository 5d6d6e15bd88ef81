"""Time of every network at S/2 on latents, batch 8: uv run pytest -n 0 tests/benchmarks/bench_networks.py

Forward as in sampling, and forward and backward of the network's own loss, as in training (MDT passes twice); eager
and compiled; on the CPU, and on the GPU if there is one. Compiling happens before the clock starts.
"""

import pytest
import torch

from ditbench import DenoiserSpec
from ditbench.denoiser.interface import build_denoiser, example_batch, training_loss
from ditbench.registry import Registry

LATENT = DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent")
PIXEL = DenoiserSpec(channels=3, resolution=32, classes=0, space="pixel")
NETWORKS = [(name, "S/2", LATENT) for name in ("dit", "uvit", "mdt", "mdtv2", "diffit")] + [
    ("diffit", "cifar10", PIXEL)
]
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
BATCH, ROUNDS = 8, 7


@pytest.fixture(params=["eager", "compiled"])
def mode(request):
    torch._dynamo.reset()
    return request.param


@pytest.fixture(params=DEVICES)
def device(request):
    return torch.device(request.param)


@pytest.fixture(params=NETWORKS, ids=lambda network: ":".join(network[:2]))
def network(request, mode, device):
    """The denoiser and its inputs."""
    name, size, spec = request.param
    denoiser = build_denoiser(Registry.installed().architectures[name], size, spec).to(device)
    if mode == "compiled":
        denoiser.compile(fullgraph=True)
    return denoiser, [part.to(device) for part in example_batch(spec, BATCH)]


def finish(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def test_forward(benchmark, network, device):
    denoiser, batch = network

    def forward():
        with torch.no_grad():
            denoiser(*batch)
        finish(device)

    benchmark.pedantic(forward, rounds=ROUNDS, warmup_rounds=2)


def test_forward_and_backward(benchmark, network, device):
    denoiser, batch = network

    def step():
        denoiser.zero_grad(set_to_none=True)
        training_loss(denoiser, *batch).backward()
        finish(device)

    benchmark.pedantic(step, rounds=ROUNDS, warmup_rounds=6)  # MDT v2 meets its lengths
