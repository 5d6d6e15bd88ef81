"""Every question that ditbench asks a plugin, one hook each. All return records of `ditbench.components`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pluggy

from .components import Architecture, Autoencoder, Dataset, Executor, Extractor, Metric, Objective, Sampler

hookspec = pluggy.HookspecMarker("ditbench")
hookimpl = pluggy.HookimplMarker("ditbench")


@hookspec
def ditbench_architectures() -> Iterable[Architecture]:  # type: ignore[empty-body]
    """Denoisers to compare. Names must be unique across all plugins, as for every hook here."""


@hookspec
def ditbench_datasets() -> Iterable[Dataset]:  # type: ignore[empty-body]
    """Labelled real images to train on and to measure against."""


@hookspec
def ditbench_autoencoders() -> Iterable[Autoencoder]:  # type: ignore[empty-body]
    """Ways between images and latents."""


@hookspec
def ditbench_objectives() -> Iterable[Objective]:  # type: ignore[empty-body]
    """Ways to make x_t from an image and to score what the denoiser says of it."""


@hookspec
def ditbench_samplers() -> Iterable[Sampler]:  # type: ignore[empty-body]
    """Ways to turn noise into images with a trained denoiser."""


@hookspec
def ditbench_metrics() -> Iterable[Metric]:  # type: ignore[empty-body]
    """Measures of how close generated images are to real ones."""


@hookspec
def ditbench_extractors() -> Iterable[Extractor]:  # type: ignore[empty-body]
    """Networks, pinned by the hash of their weights, whose features the metrics compare."""


@hookspec
def ditbench_tracks() -> Iterable[Path]:  # type: ignore[empty-body]
    """TOML files, each one track: data, objective, recipe, budget, sampler and evaluation."""


@hookspec
def ditbench_executors() -> Iterable[Executor]:  # type: ignore[empty-body]
    """Places where runs can happen."""
