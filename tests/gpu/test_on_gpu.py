"""What only a GPU can show: the same numbers as on a CPU, the kernels that run, and a step that waits for nothing."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from toy_net import Toy
from trainers import IMAGES, RECIPE, SPEC, choice_of

from ditbench.datasets.loading import Feed
from ditbench.denoiser.conformance.running import CHECKS
from ditbench.denoiser.conformance.subject import Subject
from ditbench.denoiser.interface import DIGITS_SPEC, build_denoiser, example_batch, perturb
from ditbench.denoiser_spec import DenoiserSpec
from ditbench.metrics import quality
from ditbench.metrics.features import Features, extract, load_extractor
from ditbench.registry import Registry, select
from ditbench.runtime.precision import autocast, products
from ditbench.tracks.budget import Budget, BudgetClock
from ditbench.training.checkpoint import Checkpoints
from ditbench.training.objectives import Flow
from ditbench.training.trainer import Trainer

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(120)]
REGISTRY = Registry.installed()
GPU = torch.device("cuda")
LATENT = DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent")
NETWORKS = ("dit", "uvit", "mdt", "mdtv2", "diffit")


def network(name, size="nano", spec=DIGITS_SPEC):
    denoiser = build_denoiser(REGISTRY.architectures[name], size, spec)
    perturb(denoiser)
    return denoiser.eval()


def loss_and_gradient(denoiser, device):
    """Of a whole forward pass without masks, which each device would draw otherwise, in plain float32."""
    denoiser = denoiser.to(device)
    with products("float32"):
        loss = denoiser(*(part.to(device) for part in example_batch(DIGITS_SPEC, 8))).square().mean()
        loss.backward()
    norm = sum(p.grad.double().square().sum() for p in denoiser.parameters() if p.grad is not None).sqrt()
    return loss.item(), norm.item()


@pytest.mark.parametrize("name", NETWORKS)
def test_loss_and_gradient_are_those_of_the_cpu(name):
    here, there = (loss_and_gradient(network(name), device) for device in ("cpu", GPU))
    assert there == pytest.approx(here, rel=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_compiled_is_as_eager(name):
    denoiser, batch = network(name).to(GPU), [part.to(GPU) for part in example_batch(DIGITS_SPEC, 8)]
    with torch.inference_mode(), products("float32"):
        eager = denoiser(*batch)
        denoiser.compile()
        torch.testing.assert_close(denoiser(*batch), eager, rtol=1e-3, atol=1e-4)


def test_peaks_begin_anew_before_cuda_is_initialised():
    code = "import torch; from ditbench.runtime.memory import reset_peak; reset_peak(torch.device('cuda:0'))"
    subprocess.run([sys.executable, "-c", code], check=True)


def trainer(budget):
    torch.manual_seed(0)
    feed, clock = Feed(IMAGES, choice_of("images"), 0, GPU), BudgetClock(Budget.parse(budget))
    return Trainer(Toy(SPEC, width=8), SPEC, Flow(), RECIPE, clock, feed, 0, GPU)


def test_a_step_waits_for_the_device_once_at_most():
    one = trainer("12-steps")
    for _ in range(4):  # the first allocate, and look at what the network does
        one.step()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for _ in range(4):
                one.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [str(one.message) for one in told if "synchroniz" in str(one.message)]
    assert len(waits) <= 4, waits[:8]


def test_resumed_is_as_going_on():
    whole, first, second = trainer("8-steps"), trainer("8-steps"), trainer("8-steps")
    losses = [whole.step() for _ in range(8)]
    before = [first.step() for _ in range(4)]
    second.step()  # its optimiser has a state then, to be filled
    kept = first.tensors()
    for name, tensor in second.tensors().items():
        tensor.data.copy_(kept[name])
    second.clock.restore(first.clock.state())
    second.before = first.before
    after = [second.step() for _ in range(4)]
    assert before + after == pytest.approx(losses, rel=1e-4)


def test_checkpoints_are_copied_into_pinned_memory(tmp_path):
    one, mine = trainer("8-steps"), Checkpoints(tmp_path, "hash", pinned=True)
    for _ in range(2):  # the second one into the memory of the first
        one.step()
        before = {name: tensor.clone() for name, tensor in one.tensors().items()}
        mine.save(one.tensors(), one.numbers())
        one.step()
        mine.settle()
        other = trainer("8-steps")
        other.restore(mine.latest())
        assert all(torch.equal(tensor, before[name]) for name, tensor in other.tensors().items())
    assert all(tensor.is_pinned() for tensor in mine._stager.state_dict_cache.values() if tensor.dim())


def test_features_are_compared_as_on_the_cpu():
    draw = np.random.default_rng(0)
    sets = [torch.from_numpy(draw.normal(size=(1500, 64)).astype(np.float32)) for _ in range(2)]
    here, there = ([Features(1500, {"features": one}, device=torch.device(at)) for one in sets] for at in ("cpu", GPU))
    assert quality.kernel_distance(*there).value == pytest.approx(quality.kernel_distance(*here).value, rel=1e-4)
    for metric in (quality.precision, quality.recall):
        assert metric(*there).raw["counts"][0] == pytest.approx(metric(*here).raw["counts"][0], abs=3)  # on the edge


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-3), ("tf32", 1e-2), ("bfloat16", 0.1)])
def test_extractors_see_what_they_see_on_the_cpu(precision, error):
    extractor = REGISTRY.extractors["efficientnet-lite0"]
    pixels = np.random.default_rng(0).integers(0, 256, (8, 3, 64, 64), np.uint8)
    here = extract(load_extractor(extractor), [pixels], ("features",)).outputs["features"]
    network = load_extractor(extractor, device=GPU)
    there = extract(network, [pixels], ("features",), device=GPU, precision=precision).outputs["features"]
    assert (there - here).norm() / here.norm() < error


def test_attention_in_bfloat16_is_one_of_the_fast_kernels():
    denoiser, batch = network("dit", "S/2", LATENT).to(GPU), [part.to(GPU) for part in example_batch(LATENT, 8)]
    with torch.inference_mode(), autocast("bfloat16", GPU):
        denoiser(*batch)
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            denoiser(*batch)
            torch.cuda.synchronize()
    kernels = {event.key.lower() for event in seen.key_averages()}
    assert any("flash" in kernel or "cudnn" in kernel or "fmha" in kernel for kernel in kernels), sorted(kernels)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_contracts_check_passes(name):
    (cuda,) = (check for check in CHECKS if check.name == "cuda")
    assert "as on the CPU" in cuda.look(Subject(select(REGISTRY, f"{name}:nano"), DIGITS_SPEC))
