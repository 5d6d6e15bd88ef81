"""Precision and recall of samples, by torch-fidelity. A module of its own, because its import takes seconds."""

from __future__ import annotations

from torch_fidelity.metric_prc import prc_features_to_metric

from .features import Features
from .quality import Score

NEIGHBOURS = 3


def precision(fake: Features, real: Features) -> Score:
    """Share of the samples that lie within the real images' manifold (Kynkäänniemi et al., 2019)."""
    return _of("precision", fake, real)


def recall(fake: Features, real: Features) -> Score:
    """Share of the real images that lie within the samples' manifold (Kynkäänniemi et al., 2019)."""
    return _of("recall", fake, real)


def _of(name: str, fake: Features, real: Features) -> Score:
    """An image's manifold is the union of balls around it and its like, each up to its third neighbour."""
    settings = {"prc_neighborhood": NEIGHBOURS, "prc_batch_size": 10_000, "save_cpu_ram": True, "verbose": False}
    found = prc_features_to_metric(fake.features, real.features, **settings)
    return Score(float(found[name]), settings={"neighbours": NEIGHBOURS})
