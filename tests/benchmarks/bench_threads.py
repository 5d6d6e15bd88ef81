"""What a second thread brings on a CPU, by the size of a step: `ditbench.tracks.threads.ONE_THREAD` was chosen by it.

On demand, on a machine that does nothing else: uv run pytest -n 0 tests/benchmarks/bench_threads.py

Two runs of one thread side by side do twice the work of one. So a second thread is better spent on one run only where
it nearly halves a step.
"""

import pytest
import torch

from ditbench.datasets.bundled import load_digits
from ditbench.datasets.examples import Request
from ditbench.datasets.loading import Feed
from ditbench.denoiser.cost import cost_of
from ditbench.denoiser.interface import DIGITS_SPEC, build_denoiser
from ditbench.registry import Registry
from ditbench.tracks.budget import Budget, BudgetClock
from ditbench.tracks.threads import has_one_thread
from ditbench.tracks.track import load_track
from ditbench.training.objectives import Flow
from ditbench.training.trainer import Trainer

REGISTRY = Registry.installed()
TRACK = load_track(REGISTRY.tracks["digits"])
CPU = torch.device("cpu")
BUDGET = Budget.parse("1M-steps")  # never reached
STEPS = [  # from 0.4 to 110 G training MACs
    ("dit", "nano", 16), ("dit", "nano", 64), ("mdt", "nano", 64), ("dit", "nano", 256), ("dit", "S/2", 4),
    ("dit", "S/2", 16), ("dit", "S/2", 64),
]  # fmt: skip


@pytest.fixture(params=[1, 2])
def threads(request):
    """As many as the parameter says, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize(("name", "size", "batch"), STEPS)
def test_training_step(benchmark, threads, name, size, batch):
    """One optimiser step; its training MACs, and what the rule says, are in `extra_info`."""
    denoiser = build_denoiser(REGISTRY.architectures[name], size)
    macs = cost_of(denoiser, DIGITS_SPEC).training_macs_per_image * batch
    benchmark.extra_info |= {"training MACs": macs, "has one thread": has_one_thread(macs)}
    recipe = TRACK.recipe.model_copy(update={"batch_size": batch})
    feed = Feed(load_digits(Request(TRACK.data.resolution)), TRACK.data, 0, CPU)
    trainer = Trainer(denoiser, DIGITS_SPEC, Flow(), recipe, BudgetClock(BUDGET), feed, 0, CPU)
    benchmark.group = f"{macs / 1e9:.1f} G MACs: {name}:{size}, batch {batch}"
    benchmark.pedantic(trainer.step, rounds=5, warmup_rounds=2)
