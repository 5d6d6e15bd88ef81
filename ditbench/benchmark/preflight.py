"""A whole plan opened and checked on this machine, before anything is spent.

This process computes the features of the real images that all runs are compared with, and says how many threads each
run has. So no network of a plugin is built in it, nor is its module imported: each is checked in a process of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from ..asking import Asked, in_turn
from ..denoiser.parametrization import scales_of
from ..errors import BadValue, PluginFault
from ..imported import imported_by
from ..records.facts import Environment
from ..registry import Registry
from ..runtime.environment import find_device
from ..runtime.memory import capacity
from ..runtime.progress import ProgressCallback
from ..tracks.architecture import MOST_LIBRARIES, Library
from ..tracks.config import RunConfig
from ..tracks.deviation import Deviation
from ..tracks.plan import find_dataset
from ..training.fitting import SECONDS, Kept, Needs, Question, all_needs, check_fits
from .deviations import deviations, other_images
from .making import make_components_of
from .rehearsal import rehearse
from .setup import Parts, build, open_data, resolve, selected
from .shares import macs_of_a_step, shares


@dataclass(frozen=True)
class CheckedPlan:
    """What is known of the runs of a plan once their parts have been opened."""

    device: str
    environments: tuple[Environment, ...]  # of each run, as the next
    macs: tuple[int, ...]  # training MACs of a step; 0: not counted, as on a GPU
    data_sha256: str
    reference_sha256: str
    deviations: tuple[Deviation, ...]
    libraries: Mapping[str, tuple[Library, ...]]  # by architecture, size and options, as `RunConfig.label` spells them


def check(
    configs: Sequence[RunConfig],
    registry: Registry,
    report: ProgressCallback = lambda progress: None,
    processes: int = 1,
    parallel: int | None = 1,
) -> CheckedPlan:
    """Open the data, read the reference, build every network without memory, and try what a run ends with.

    Raises a `DitbenchError` for all that would not do. `parallel` None: as many runs at a time as do well side by side.

    What takes long (images to prepare, features of the real images) lands in the cache, so the runs find it there. A
    network that breaks, ends its process or never comes is left to its own run, which will fail for itself. This
    process keeps as many threads as a run has that is not small.
    """
    first = configs[0]
    device = find_device(first.device)
    _check_processes(configs, device, processes)
    _check_parallel(device, processes, parallel or 1)
    torch.set_num_threads(max(1, torch.get_num_threads() // (parallel or 1)))
    for config in configs:
        make_components_of(config, registry)
    data = open_data(first, registry, report)
    of_runs = [(config, resolve(config, registry, data)) for config in configs]
    networks_of = {config.label: (config, parts) for config, parts in of_runs}
    needs = _check_networks(networks_of, device, processes)
    libraries = _libraries(networks_of, registry)
    config, parts = of_runs[-1]
    scoring = parts.scoring
    networks = scoring.load_networks(device) if scoring else {}
    rehearse(config, parts, networks, scoring.read(networks, device, report) if scoring else {})
    dataset, _ = find_dataset(registry, first.track, first.data)
    reference = scoring.source.hash() if scoring else ""
    return CheckedPlan(
        device=str(device),
        environments=shares(configs, needs, device, processes, parallel),
        macs=tuple(macs_of_a_step(config, needs[config.label]) or 0 for config in configs),
        data_sha256=data.sha256,
        reference_sha256=reference,
        deviations=(*deviations(first.track, data, dataset.name), *other_images(first.track, data, reference)),
        libraries=libraries,
    )


def _check_networks(
    of_runs: Mapping[str, tuple[RunConfig, Parts]], device: torch.device, processes: int
) -> dict[str, Needs | None]:
    """What each takes. `DitbenchError` if one can't be built, or can't fit.

    What breaks in any other way is left to its own run. The device is asked for its memory when all are counted: who
    has asked a GPU can't fork users of it.
    """
    on_cpu = device.type == "cpu"
    found = dict(zip(of_runs, all_needs(_questions(of_runs.values()), count_macs=on_cpu), strict=True))
    capacity(device)  # tells what is wrong with it, whatever is known of the networks
    for label, (config, _) in of_runs.items():
        recipe, share = config.recipe, math.ceil(config.recipe.batch_size / processes)
        if (needs := found[label]) is not None:
            check_fits(label, needs, min(recipe.micro_batch or share, share), device, gpus=processes)
    return found


def _questions(of_runs: Iterable[tuple[RunConfig, Parts]]) -> Iterator[Question]:
    for config, parts in of_runs:
        kept = Kept(config.recipe.moments, 1 + config.averages)
        yield config.label, partial(_built_alone, parts, config), parts.spec, kept


def _built_alone(parts: Parts, config: RunConfig) -> nn.Module:
    """A run's denoiser; `BadValue` if its recipe scales it by its width, and what grows with that can't be told."""
    if config.recipe.parametrization == "mup":
        scales_of(selected(parts, config), parts.spec)
    return build(parts, config)


def _libraries(of_runs: Mapping[str, tuple[RunConfig, Parts]], registry: Registry) -> dict[str, tuple[Library, ...]]:
    """What each network is imported from beside its plugin, found in a process of its own; nothing of one that dies."""
    questions = ((partial(build, parts, of), registry.packages(of.architecture)) for of, parts in of_runs.values())
    starts = (partial(Asked, _imported, *question, seconds=SECONDS) for question in questions)
    return dict(zip(of_runs, in_turn(starts, _libraries_told), strict=True))


def _imported(build: Callable[[], nn.Module], own: Sequence[str]) -> list[tuple[str, str, str]]:
    torch.set_num_threads(1)  # a fork has no other, and would wait for them
    with torch.device("meta"):
        return imported_by(build, own)


def _libraries_told(asked: Asked) -> tuple[Library, ...]:
    try:
        found = asked.answer()[:MOST_LIBRARIES]
        return tuple(Library(name=name, version=version, files_sha256=sha256) for name, version, sha256 in found)
    except (PluginFault, TypeError, ValueError):  # the plugin's own code may have answered
        return ()


def _check_processes(configs: Sequence[RunConfig], device: torch.device, processes: int) -> None:
    """`BadValue` if there are not so many GPUs, or more processes than images in a batch."""
    if device.type == "mps" and processes > 1:
        raise BadValue("Device 'mps' is one GPU: a run there has one process; leave out `processes`.")
    gpus = torch.cuda.device_count() if device.type == "cuda" else processes
    if processes > gpus:
        raise BadValue(f"{processes} processes need a GPU each, and there are {gpus}; give a smaller `processes`.")
    if processes > 1 and device.index:
        raise BadValue(f"{processes} processes can't share {str(device)!r}: give `device` cuda, or no `processes`.")
    least = min(config.recipe.batch_size for config in configs)
    if processes > least:
        raise BadValue(f"{processes} processes can't share batches of {least} images; give a smaller `processes`.")


def _check_parallel(device: torch.device, processes: int, parallel: int) -> None:
    """`BadValue` if so many runs at a time can't have GPUs of their own, or on a CPU threads."""
    if parallel == 1:
        return
    if device.type == "mps":
        raise BadValue("Device 'mps' is one GPU: runs there take turns; leave out `parallel`.")
    if device.type == "cuda":
        _check_gpus(device, processes, parallel)
    elif parallel > torch.get_num_threads():
        raise BadValue(
            f"{parallel} runs at a time need a thread each, and torch has {torch.get_num_threads()}; "
            "give a smaller `parallel`, or raise OMP_NUM_THREADS."
        )


def _check_gpus(device: torch.device, processes: int, parallel: int) -> None:
    """The GPUs must be there, and of one model, since a run has its class of hardware before it has its GPUs."""
    if device.index is not None:
        raise BadValue(f"{parallel} runs at a time can't share {str(device)!r}; give `device` cuda, or no `parallel`.")
    needed, there = parallel * processes, torch.cuda.device_count()
    if needed > there:
        fewer = "`parallel`" if processes == 1 else "`parallel` or `processes`"
        raise BadValue(f"{parallel} runs at a time need {needed} GPUs, and there are {there}; give a smaller {fewer}.")
    models = sorted({torch.cuda.get_device_name(number) for number in range(needed)})
    if len(models) > 1:
        raise BadValue(
            f"Runs at a time need GPUs of one model; CUDA_VISIBLE_DEVICES picks some of {', '.join(models)}."
        )
