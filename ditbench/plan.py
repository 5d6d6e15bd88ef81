"""From what the user asked to a list of runs. Every wrong name or value is found here, before any work."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .budget import Budget
from .components import Selection, Value
from .errors import BadValue
from .registry import Registry, pick
from .track import RunConfig, Track, check_seeds, load_track

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def make_plan(
    registry: Registry,
    track: str,
    architectures: Sequence[str],
    seeds: Sequence[int],
    budget: str | None,
    device: str,
    keep_samples: bool = False,
    checkpoint_seconds: float = 20.0,
    raw_weights: bool = False,
) -> list[RunConfig]:
    """One `RunConfig` for each architecture and seed, in the order given, seeds innermost.

    Raises `DitbenchError` for an unknown architecture, size, option, track, metric, device or a bad value.
    `device` may be ``auto``; the executor's preflight resolves it.
    """
    chosen = resolve_track(registry, track)
    amount = str(Budget.parse(budget or chosen.budget))
    check_device(device)
    if not architectures:
        raise BadValue("No architecture chosen. Name some with --plugins dit,uvit or see ditbench list.")
    if not 0 < checkpoint_seconds < float("inf"):
        raise BadValue(f"Checkpoints every {checkpoint_seconds} s: choose a positive number of seconds.")
    selections = [select(registry, text, chosen.size) for text in architectures]
    runs: list[RunConfig] = []
    for selection in selections:
        architecture = selection.architecture
        plugin = registry.provider(architecture.name)
        runs += [
            RunConfig(
                track=chosen,
                architecture=architecture.name,
                size=selection.size,
                options=dict(selection.options),
                settings=selection.settings,
                paper=architecture.paper,
                distribution=plugin.distribution,
                distribution_version=plugin.version,
                source_sha256=registry.source_sha256(architecture.name),
                budget=amount,
                seed=seed,
                device=device,
                keep_samples=keep_samples,
                raw_weights=raw_weights,
                checkpoint_seconds=checkpoint_seconds,
            )
            for seed in check_seeds(seeds)
        ]
    labels = [(run.label, run.seed) for run in runs]
    for label, seed in labels:
        if labels.count((label, seed)) > 1:
            raise BadValue(f"Architecture {label!r} stands twice in the selection.")
    return runs


def check_device(device: str) -> None:
    """Whether it is spelled like one; only the process that computes can tell whether it is there."""
    if not _DEVICE.fullmatch(device):
        raise BadValue(f"No device named {device!r}. Known: auto, cpu, cuda, cuda:0, cuda:1, ...")


def resolve_track(registry: Registry, name: str) -> Track:
    """The track of that name, all of whose components are installed."""
    track = load_track(Path(pick("track", name, registry.tracks)))
    if track.name != name:
        raise BadValue(f"The track file of {name!r} calls itself {track.name!r}; the two must be one name.")
    pick("dataset", track.dataset, registry.datasets)
    objective = pick("objective", track.objective.name, registry.objectives)
    sampler = pick("sampler", track.sampler.name, registry.samplers)
    if objective.name not in sampler.objectives:
        raise BadValue(
            f"Track {name!r}: sampler {sampler.name!r} can't drive objective {objective.name!r}, "
            f"only {', '.join(sampler.objectives)}."
        )
    if track.sampler.steps < sampler.min_steps:
        raise BadValue(f"Track {name!r}: sampler {sampler.name!r} needs at least {sampler.min_steps} steps.")
    if sampler.max_steps is not None and track.sampler.steps > sampler.max_steps:
        raise BadValue(f"Track {name!r}: sampler {sampler.name!r} has at most {sampler.max_steps} steps.")
    guidance = track.sampler.guidance
    if guidance is not None and track.recipe.label_dropout == 0:
        raise BadValue(f"Track {name!r}: guidance needs a label_dropout above 0, or no null label is trained.")
    choices = track.evaluation.choices
    for metric, extractor in choices:
        pick("metric", metric, registry.metrics).check_fits(pick("extractor", extractor, registry.extractors))
    if len(set(choices)) < len(choices):
        raise BadValue(f"Track {name!r} names a metric twice: {', '.join(track.evaluation.metrics)}.")
    return track


def select(registry: Registry, text: str, default_size: str = "") -> Selection:
    """Parse ``name[:size][+option=value]...``; without a default the size must be named."""
    head, *pairs = text.strip().split("+")
    name, _, size = head.partition(":")
    architecture = pick("architecture", name, registry.architectures)
    size = size or default_size
    if not size:
        raise BadValue(f"{text!r} names no size: write {name}:SIZE, with one of {', '.join(architecture.sizes)}.")
    pick(f"size of {name}", size, architecture.sizes)
    settings = architecture.settings(size, {})
    options: dict[str, Value] = {}
    for pair in pairs:
        key, equals, spelled = pair.partition("=")
        option = pick(f"option of {name}", key, architecture.options)
        if not equals:
            raise BadValue(f"{text!r}: option {key!r} has no value; write +{key}=VALUE.")
        if key in options:
            raise BadValue(f"{text!r}: option {key!r} stands twice.")
        try:
            options[key] = option.parse(spelled)
        except BadValue as fault:
            raise BadValue(f"Option {key!r} of {name}: {fault}") from None
    differing = {key: value for key, value in options.items() if value != settings[key]}
    return Selection(architecture=architecture, size=size, options=differing)
