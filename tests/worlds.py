"""What processes of a test do together: a module of its own, since they import it."""

from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed
from toy_net import Toy
from trainers import CPU, SPEC, Hand, changed, choice_of, data_of

from ditbench.budget import Budget, BudgetClock
from ditbench.datasets.loading import Feed
from ditbench.objectives import Flow
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


def together(rank, size, folder, jobs):
    """One of several processes: every job, its result beside the others'."""
    store = distributed.FileStore(str(Path(folder) / "store"), size)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    torch.set_num_threads(1)
    found = [trained(world=World(rank, size), **job) for job in jobs]
    torch.save(found, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()
