"""What processes of a test do together: a module of its own, since they import it."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from extractors import tiny_extractor
from torch import distributed
from torch._dynamo.testing import CompileCounter
from toy_net import Toy
from trainers import CPU, SPEC, Hand, changed, choice_of, data_of

from ditbench.components import load
from ditbench.datasets.loading import Feed
from ditbench.metrics.features import extract, load_extractor
from ditbench.registry import Registry
from ditbench.runtime import compiling
from ditbench.runtime.distributed import ALONE, World
from ditbench.runtime.fsdp import gather
from ditbench.sampling import samples
from ditbench.sampling.generate import generate
from ditbench.sampling.samplers import euler
from ditbench.sampling.walking import SamplingPlan, initial_noise
from ditbench.tracks.budget import Budget, BudgetClock
from ditbench.training.checkpoint import Checkpoints
from ditbench.training.objectives import Flow
from ditbench.training.trainer import Trainer


class TwoPasses(Toy):
    """As MDT's, its loss takes two forward passes, each with noise of its own; one of them it weighs itself."""

    def training_loss(self, once):
        seen = once.forward()
        return once() + 0.5 * (seen.error * (1 + seen.t / 1000)[:, None, None, None]).mean()


class Plain(Toy):
    """Without dropout: what a network draws for its own images depends on how many it has."""

    def __init__(self, spec, **settings):
        super().__init__(spec, **settings)
        self.drop = torch.nn.Identity()


def dit(spec, width):
    """The reference plugin's."""
    chosen = Registry.installed().architectures["dit"]
    return load(chosen.build)(spec, **chosen.settings("nano", {}))


NETWORKS = {"dit": dit, "plain": Plain, "two": type("Two", (TwoPasses, Plain), {})}


class Uneven:
    """Compiling takes the second process longer."""

    def __init__(self, rank):
        self.seconds, self._rank = 0.0, rank

    def __enter__(self):
        self.seconds += 0.0005 * (self._rank + 1)

    def __exit__(self, *error):
        pass


def trained(
    steps,
    world=ALONE,
    network="plain",
    data="images",
    folder=None,
    sharded=False,
    kept=None,
    pinned=False,
    budget=None,
    compiles=False,
    **changes,
):
    """The losses of some steps, the weights, the time, and how many graphs were compiled.

    From a checkpoint of theirs if `kept` has one, and with one there.
    """
    world = replace(world, sharded=sharded and world != ALONE)
    torch.manual_seed(0)
    denoiser, compiling.BACKEND = NETWORKS[network](SPEC, width=8), CompileCounter()
    clock = BudgetClock(Budget(budget or steps, "steps"))
    feed = Feed(data_of(data, folder), choice_of(data), 0, CPU, world.rank, world.size)
    trainer = Trainer(denoiser, SPEC, Flow(), changed(**changes), clock, feed, 0, CPU, Hand(0.001), world)
    if compiles:
        trainer.compiled, trainer.compiling = True, Uneven(world.rank)
    checkpoints = Checkpoints(folder / kept, "hash", world, pinned) if kept else None
    if kept and (saved := checkpoints.latest()):
        trainer.restore(saved)
    losses = [trainer.step() for _ in range(steps)]
    if kept:
        with patch.object(torch.Tensor, "pin_memory", torch.Tensor.clone):  # which takes CUDA
            checkpoints.save(trainer.tensors(), trainer.numbers())
        checkpoints.settle()
    feed.close()
    ema = gather(trainer.ema, NETWORKS[network](SPEC, width=8)) if world.sharded else trainer.ema
    return losses, ema.state_dict(), clock.seconds, compiling.BACKEND.frame_count


def sampled(world=ALONE, **_):
    """Images from the same weights, and the noise that they start from: 13 of them, in batches of 5."""
    torch.manual_seed(0)
    denoiser, plan = Plain(SPEC, width=8), SamplingPlan(euler, Flow(), steps=3, seed=7)

    def make(numbers):
        return next(generate(denoiser, SPEC, plan, numbers, 5, CPU), None)

    parts = [np.arange(start, min(start + 5, 13)) for start in range(0, 13, 5)]
    batches = [samples.shared(make, numbers, world) for numbers in parts]
    noise = [initial_noise(7, numbers[world.share(len(numbers))], (1, 8, 8)) for numbers in parts]
    noises = [torch.cat(list(world.all(part))) for part in noise]
    return [torch.from_numpy(b.pixels) for b in batches], [torch.from_numpy(b.labels) for b in batches], noises


def extracted(folder, count, keep=None, world=ALONE):
    """All that is found of the first images of a mapped file, in batches of 4; and how many this process read."""
    pixels = np.load(Path(folder) / "images.npy", mmap_mode="r").transpose(0, 3, 1, 2)[:count]
    place = Path(folder) / f"weights-{world.rank}"
    place.mkdir(exist_ok=True)
    network, seen = load_extractor(*tiny_extractor(place)), []
    network.register_forward_hook(lambda module, inputs, found: seen.append(len(inputs[0])))
    batches = (pixels[start : start + 4] for start in range(0, count, 4))
    found = extract(network, batches, ("features", "logits", "spatial"), keep, world=world)
    moments = {name: (of.count, of.mean, of.covariance) for name, of in found.moments.items()}
    return found.count, found.outputs, moments, sum(seen)


def together(rank, size, folder, jobs, images):
    """One of several processes: every training, samples, and features of images, for those who wait to read."""
    with _met(rank, size, folder) as world:
        trainings, drawn = [trained(world=world, **job) for job in jobs], sampled(world)
        features = [extracted(folder, *these, world=world) for these in images]
    torch.save((trainings, drawn, features), Path(folder) / f"{rank}-of-{size}.pt")


def spawned(size, folder, jobs, images):
    """What each of several processes finds: its trainings, its samples, its features."""
    torch.multiprocessing.spawn(together, (size, str(folder), jobs, images), nprocs=size)
    found = [torch.load(folder / f"{rank}-of-{size}.pt") for rank in range(size)]
    return tuple(zip(*found, strict=True))


@contextmanager
def _met(rank, size, folder):
    store = distributed.FileStore(str(Path(folder) / f"store-{size}"), size)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    torch.set_num_threads(1)
    yield World(rank, size)
    distributed.destroy_process_group()
