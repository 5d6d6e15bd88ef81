"""What processes of a test do together: a module of its own, since they import it."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from toy_net import Toy
from trainers import CPU, SPEC, Hand, changed, choice_of, data_of

from ditbench import samples, sampling
from ditbench.budget import Budget, BudgetClock
from ditbench.datasets.loading import Feed
from ditbench.objectives import Flow
from ditbench.samplers import euler
from ditbench.training import Trainer
from ditbench.world import ALONE, World


class TwoPasses(Toy):
    """As MDT's, its loss takes two forward passes, each with noise of its own."""

    def training_loss(self, once):
        return once() + 0.5 * once()


class Plain(Toy):
    """Without dropout: what a network draws for its own images depends on how many it has."""

    def __init__(self, spec, **settings):
        super().__init__(spec, **settings)
        self.drop = torch.nn.Identity()


NETWORKS = {"plain": Plain, "two": type("Two", (TwoPasses, Plain), {})}


def trained(steps, world=ALONE, network="plain", data="images", folder=None, **changes):
    """The losses of some steps, and the weights."""
    torch.manual_seed(0)
    denoiser = NETWORKS[network](SPEC, width=8)
    clock = BudgetClock(Budget(steps, "steps"))
    feed = Feed(data_of(data, folder), choice_of(data), 0, CPU, world.rank, world.size)
    trainer = Trainer(denoiser, SPEC, Flow(), changed(**changes), clock, feed, 0, CPU, Hand(0.001), world)
    losses = [trainer.step() for _ in range(steps)]
    feed.close()
    return losses, trainer.ema.state_dict(), clock.seconds


def sampled(world=ALONE, **_):
    """Images from the same weights, and the noise that they start from: 13 of them, in batches of 5."""
    torch.manual_seed(0)
    denoiser, plan = Plain(SPEC, width=8), sampling.Plan(euler, Flow(), steps=3, seed=7)

    def make(numbers):
        return next(sampling.generate(denoiser, SPEC, plan, numbers, 5, CPU), None)

    parts = [np.arange(start, min(start + 5, 13)) for start in range(0, 13, 5)]
    batches = [samples.shared(make, numbers, world) for numbers in parts]
    noise = [sampling.initial_noise(7, numbers[world.share(len(numbers))], (1, 8, 8)) for numbers in parts]
    noises = [torch.cat(list(world.all(part))) for part in noise]
    return [torch.from_numpy(b.pixels) for b in batches], [torch.from_numpy(b.labels) for b in batches], noises


def together(rank, size, folder, jobs):
    """One of several processes: every job, its result beside the others'."""
    store = distributed.FileStore(str(Path(folder) / "store"), size)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    torch.set_num_threads(1)
    world = World(rank, size)
    torch.save(([trained(world=world, **job) for job in jobs], sampled(world)), Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()
