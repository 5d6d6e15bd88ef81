"""Time of the main job's parts, on demand: uv run pytest -n 0 tests/benchmarks/bench_nano.py"""

import subprocess
import sys

import pytest
import torch

from ditbench.datasets.bundled import load_digits
from ditbench.datasets.examples import Request
from ditbench.datasets.loading import Feed
from ditbench.denoiser.interface import DIGITS_SPEC, build_denoiser
from ditbench.metrics.features import Features
from ditbench.metrics.quality import kernel_distance
from ditbench.registry import Registry
from ditbench.sampling.generate import generate
from ditbench.sampling.samplers import euler
from ditbench.sampling.walking import SamplingPlan
from ditbench.tracks.budget import Budget, BudgetClock
from ditbench.tracks.track import load_track
from ditbench.training.objectives import Flow
from ditbench.training.trainer import Trainer

REGISTRY = Registry.installed()
TRACK = load_track(REGISTRY.tracks["digits"])
CPU = torch.device("cpu")
BUDGET = Budget.parse("1M-steps")  # never reached


@pytest.mark.parametrize("name", sorted(REGISTRY.architectures))
def test_training_step(benchmark, name):
    """One optimiser step at the track's batch size, all of the harness's work included."""
    feed = Feed(load_digits(Request(TRACK.data.resolution)), TRACK.data, 0, CPU)
    denoiser = build_denoiser(REGISTRY.architectures[name])
    trainer = Trainer(denoiser, DIGITS_SPEC, Flow(), TRACK.recipe, BudgetClock(BUDGET), feed, 0, CPU)
    benchmark.pedantic(trainer.step, rounds=15, warmup_rounds=3)


@pytest.mark.parametrize("name", sorted(REGISTRY.architectures))
def test_sampling_a_batch(benchmark, name):
    """250 images in 25 Euler steps."""
    network = build_denoiser(REGISTRY.architectures[name])

    def sample():
        return list(generate(network, DIGITS_SPEC, SamplingPlan(euler, Flow(), 25, 0), range(250), 250, CPU))

    benchmark.pedantic(sample, rounds=3, warmup_rounds=1)


def test_kid(benchmark):
    """1,000 samples against the 1,541 digits that are trained on, 64 features each: 100 subsets."""
    draw = torch.Generator().manual_seed(0)
    fake, real = (Features(n, {"features": torch.randn(n, 64, generator=draw)}) for n in (1000, 1541))
    benchmark.pedantic(kernel_distance, args=(fake, real), rounds=3, warmup_rounds=1)


def test_loading(benchmark):
    """The libraries that every run's process needs, as a whole process."""
    command = [sys.executable, "-c", "import ditbench.benchmark.run, torch._dynamo"]
    benchmark.pedantic(subprocess.run, args=(command,), kwargs={"check": True}, rounds=3)


def test_help(benchmark):
    """`ditbench --help` as a whole process."""
    command = [sys.executable, "-m", "ditbench", "--help"]
    benchmark(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
