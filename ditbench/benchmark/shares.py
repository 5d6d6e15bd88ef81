"""What each run of a plan is given of this machine: its threads, and how many others it may have beside it.

On a CPU a run whose step is small has one thread by a rule (`tracks.threads`), and as many such runs go side by side as
there are cores and memory. All other runs go alone, with all threads; so do those whose budget is a time, which buys
less beside others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..records.facts import Environment
from ..runtime.affinity import Slot, processors, quota
from ..runtime.environment import describe
from ..runtime.memory import available
from ..tracks.budget import Budget
from ..tracks.config import RunConfig
from ..tracks.threads import has_one_thread
from ..training.fitting import SURE, Needs

_PROCESS = 2**30  # bytes of a run's process beside its network: libraries, data, samples; those of digits take 0.7


def shares(
    configs: Sequence[RunConfig],
    needs: Mapping[str, Needs | None],
    device: torch.device,
    processes: int,
    parallel: int | None,
) -> tuple[Environment, ...]:
    """Of each run; this process has the threads of one that is not small. `parallel` None: as many as do well."""
    whole = describe(device)
    small = [processes == 1 and has_one_thread(macs_of_a_step(config, needs[config.label])) for config in configs]
    beside = [one and not Budget.parse(config.budget).is_of_time for config, one in zip(configs, small, strict=True)]
    most = _places([_bytes(c, needs[c.label]) for c, others in zip(configs, beside, strict=True) if others])
    return tuple(
        _share(whole, parallel or (most if others else 1), one_thread)
        for others, one_thread in zip(beside, small, strict=True)
    )


def macs_of_a_step(config: RunConfig, needs: Needs | None) -> int | None:
    """Training MACs of a batch; None: not counted, as on a GPU."""
    return None if needs is None or needs.macs is None else needs.macs * config.recipe.batch_size


def _places(of_runs: Sequence[int]) -> int:
    """How many runs of one thread, which take so many bytes each, go side by side."""
    cores = min(torch.get_num_threads(), len(processors()), quota())
    return max(1, min(len(of_runs), cores, available() // max(of_runs, default=1)))


def _bytes(config: RunConfig, needs: Needs | None) -> int:
    """Memory that a run's process takes at most."""
    if needs is None:
        return _PROCESS
    images = min(config.recipe.micro_batch or config.recipe.batch_size, config.recipe.batch_size)
    return _PROCESS + needs.weights + SURE * images * needs.of_image


def _share(whole: Environment, parallel: int, one_thread: bool) -> Environment:
    cores = whole.cores if whole.gpu else len(Slot(of=parallel).cores(range(whole.cores)))
    threads = 1 if one_thread else whole.threads
    return whole.model_copy(update={"parallel": parallel, "cores": cores, "threads": threads})
