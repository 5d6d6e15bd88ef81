"""What the harness adds to a bare loop, on demand: uv run pytest -n 0 tests/benchmarks/bench_overhead.py

The bare loop has the same network, loss and optimiser, its batch at hand, and nothing else. The harness is `train`
itself, with everything that it does between two steps: loading, seeding, noise, schedule, EMA, curve, progress and
checkpoints. The two take turns every few steps, the bare ones while `train` asks whether to stop, because a machine's
speed drifts by more than what is measured here. For the same reason there is a second figure, "outside": what of a
harness's step lies before the network's forward or after the optimiser, as a share of what lies between. Checkpoints
are told apart: the medians leave them out.
"""

import statistics
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from ditbench import DenoiserSpec
from ditbench.datasets.bundled import load_digits, load_synthetic
from ditbench.datasets.examples import Data, Examples, Request
from ditbench.datasets.loading import Feed
from ditbench.denoiser.interface import DIGITS_SPEC, build_denoiser
from ditbench.registry import Registry
from ditbench.runtime.progress import Watch
from ditbench.tracks.budget import Budget, BudgetClock
from ditbench.tracks.recipe import Recipe
from ditbench.tracks.track import DataChoice, load_track
from ditbench.training.checkpoint import Checkpoints
from ditbench.training.loop import SAVING_SECONDS, train
from ditbench.training.objectives import Flow
from ditbench.training.optimizers import make_optimizer
from ditbench.training.trainer import Trainer

REGISTRY = Registry.installed()
CPU = torch.device("cpu")
EVERY = 20.0  # seconds between checkpoints, the default
LATENT = DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent")
BATCH = 8  # of dit:S/2; a CPU takes seconds for more
DIGITS = load_track(REGISTRY.tracks["digits"]).recipe
LATENTS = Recipe(
    optimizer="adamw", learning_rate=1e-4, betas=(0.9, 0.999), weight_decay=0.0, batch_size=BATCH, label_dropout=0.1,
    ema_decay=0.9999,
)  # fmt: skip


@dataclass
class Turns:
    """Bare steps while `train` waits, `block` of them after each block of its own."""

    bare: object  # one bare step
    block: int
    steps: int = 0
    mark: float = 0.0
    pairs: list = field(default_factory=list)  # seconds of a block: the harness's, the bare loop's

    def should_stop(self):
        if self.steps % self.block == 0:
            self.turn()
            self.mark = time.perf_counter()
        self.steps += 1
        return False

    def turn(self):
        harness, began = time.perf_counter() - self.mark, time.perf_counter()
        for _ in range(self.block):
            self.bare()
        self.pairs.append((harness, time.perf_counter() - began))


def bare_step(size, spec, recipe):
    """Forward, backward, optimiser."""
    denoiser, objective = build_denoiser(REGISTRY.architectures["dit"], size, spec), Flow()
    optimizer = make_optimizer(recipe, list(denoiser.parameters()))
    x0, noise = torch.randn(2, recipe.batch_size, spec.channels, spec.resolution, spec.resolution)
    t, y = torch.rand(recipe.batch_size) * 1000, torch.arange(recipe.batch_size) % spec.classes
    x = objective.corrupt(x0, noise, t)

    def step():
        optimizer.zero_grad(set_to_none=True)
        objective.loss(denoiser(x, t, y), x0, noise, t).mean().backward()
        optimizer.step()

    return step


def mapped_latents(folder, count=4096):
    """Latents of ImageNet's size, memory-mapped: (count, 2, 4, 32, 32) float16."""
    made = load_synthetic(Request(256, "latent", downsampling=8, channels=4, classes=1000, images=count)).examples
    np.save(folder / "rows.npy", made.rows)
    rows = np.load(folder / "rows.npy", mmap_mode="r")
    return Data("latents", "", Examples(rows, made.labels), tuple(map(str, range(1000))), None)


def test_digits(benchmark, tmp_path, capsys, monkeypatch):
    """dit:nano, the track's recipe."""
    data = load_digits(Request(8))
    feed = Feed(data, DataChoice(dataset="digits", resolution=8), 0, CPU)
    compare(benchmark, tmp_path, capsys, monkeypatch, ("nano", DIGITS_SPEC, DIGITS), feed, block=10, steps=400)


def test_latents(benchmark, tmp_path, capsys, monkeypatch):
    """dit:S/2 on streamed latents."""
    feed = Feed(mapped_latents(tmp_path), DataChoice(dataset="latents", resolution=256), 0, CPU)
    compare(benchmark, tmp_path, capsys, monkeypatch, ("S/2", LATENT, LATENTS), feed, block=1, steps=20)


def compare(benchmark, folder, capsys, monkeypatch, what, feed, block, steps):
    size, spec, recipe = what
    saved, save = [], Checkpoints.save
    monkeypatch.setattr(Checkpoints, "save", lambda *state: saved.append(save(*state)))
    turns = Turns(bare_step(*what), block)
    denoiser = build_denoiser(REGISTRY.architectures["dit"], size, spec)
    trainer = Trainer(denoiser, spec, Flow(), recipe, BudgetClock(Budget(steps, "steps")), feed, 0, CPU)
    core = []  # seconds from the forward to the optimiser's end
    denoiser.register_forward_pre_hook(lambda *_: core.append(-time.perf_counter()))
    trainer.optimizer.register_step_post_hook(lambda *_: core.append(core.pop() + time.perf_counter()))
    go = (trainer, folder, "bench", EVERY, Watch(should_stop=turns.should_stop))
    benchmark.pedantic(train, args=go, rounds=1)
    feed.close()
    facts = trainer.facts()
    pairs = turns.pairs[2:]  # the harness's first block is in the second pair, and allocates
    cores = [sum(core[start : start + block]) for start in range(block, len(core), block)]
    bare = statistics.median(seconds for _, seconds in pairs) / block
    saving = facts.checkpoint_seconds / len(saved)
    found = {
        "bare step ms": 1000 * bare,
        "harness %": 100 * (statistics.median(mine / bare for mine, bare in pairs) - 1),
        "outside %": 100
        * statistics.median(mine / inside - 1 for (mine, _), inside in zip(pairs, cores, strict=False)),
        "checkpoints %": 100 * saving / (EVERY * max(1, saving / SAVING_SECONDS)),
        "loading %": 100 * facts.loading_seconds / facts.seconds,
    }
    tell(benchmark, capsys, found)


def tell(benchmark, capsys, found):
    benchmark.extra_info.update(found)
    with capsys.disabled():
        print("\n" + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))


@pytest.mark.parametrize("where", ["device", "streamed"])
def test_loading(benchmark, tmp_path, where):
    """A batch of latents with nothing to hide behind: whole, the reading and the posterior's draw."""
    data = mapped_latents(tmp_path)
    if where == "device":
        examples = Examples(np.array(data.examples.rows), data.examples.labels)
        data = Data("latents", "", examples, data.class_names, None)
    feed = Feed(data, DataChoice(dataset="latents", resolution=256), 0, CPU)
    assert feed.where == where
    draw, positions = torch.Generator(), iter(range(0, 10**9, BATCH))
    benchmark.pedantic(lambda: feed.batch(next(positions), BATCH, draw), rounds=200, warmup_rounds=10)
    feed.close()
