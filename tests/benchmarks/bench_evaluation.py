"""Time of scoring images, on demand: uv run pytest -n 0 tests/benchmarks/bench_evaluation.py

The extractors on images of 64x64, Inception with weights that no one trained; the metrics on features of Inception's
width.
"""

import numpy as np
import pytest
import torch
from extractors import calibrated_inception
from photos import crops

from ditbench.components import load
from ditbench.datasets.image_sets import in_memory
from ditbench.metrics.features import Features, extract, load_extractor, moments_of
from ditbench.registry import Registry

REGISTRY = Registry.installed()
IMAGES, WIDTH, CLASSES = 50, 2048, 1008


@pytest.fixture(scope="module")
def pixels():
    return np.ascontiguousarray(crops(IMAGES, 64, seed=0).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("name", ["efficientnet-lite0", "inception-v3-compat"])
def test_extracting(benchmark, name, pixels, tmp_path):
    """One pass over 50 images, all outputs and moments."""
    known = {"inception-v3-compat": lambda: calibrated_inception(tmp_path)}
    extractor, weights = known.get(name, lambda: (REGISTRY.extractors[name], None))()
    network = load_extractor(extractor, weights)

    def one_pass():
        extract(network, in_memory("", pixels, "").batches(25), extractor.outputs)

    benchmark.pedantic(one_pass, rounds=3, warmup_rounds=1)


@pytest.fixture(scope="module")
def sets():
    """Two sets of 5,000 images' features."""
    found = []
    for seed in (0, 1):
        draw = torch.Generator().manual_seed(seed)
        features, logits = (torch.randn(5000, width, generator=draw) for width in (WIDTH, CLASSES))
        outputs = {"features": features, "logits": logits}
        found.append(Features(5000, outputs, {"features": moments_of(features.split(500))}))
    return found


@pytest.mark.parametrize("name", ["fid", "kid", "is", "precision"])
def test_measuring(benchmark, name, sets):
    measure = load(REGISTRY.metrics[name].measure)
    benchmark.pedantic(lambda: measure(*sets), rounds=1)
