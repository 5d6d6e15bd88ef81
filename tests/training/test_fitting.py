"""What can't fit a device is refused before anything is built there, with the number that would."""

import os
import re
import time
from dataclasses import replace
from functools import partial

import pytest
import torch

from ditbench.denoiser.bounds import without_memory
from ditbench.denoiser.cost import activation_bytes
from ditbench.denoiser.interface import build_denoiser
from ditbench.denoiser_spec import DenoiserSpec
from ditbench.errors import BadValue
from ditbench.registry import Registry
from ditbench.training import fitting
from ditbench.training.fitting import Kept, all_needs, check_fits, needs_of

SPEC = DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def denoiser():
    with without_memory("dit:nano"):
        return build_denoiser(Registry.installed().architectures["dit"], "nano", SPEC)


def with_memory(monkeypatch, size):
    monkeypatch.setattr(fitting, "capacity", lambda device: size)


def test_a_batch_is_refused_with_the_number_that_fits(denoiser, monkeypatch):
    kept, of_image = Kept(moments=2), 0
    with without_memory("dit:nano"):
        of_image = activation_bytes(denoiser, SPEC, fused=True)
    with_memory(monkeypatch, kept.bytes(denoiser) + 100 * of_image)
    with without_memory("dit:nano"):
        check_fits("dit:nano", needs_of(denoiser, SPEC, kept), 400, CPU)  # at half the precision it may
        with pytest.raises(BadValue, match=r"405 images in a pass: cpu has .* at most 400 could") as caught:
            check_fits("dit:nano", needs_of(denoiser, SPEC, kept), 405, CPU)
    assert "`micro_batch`" in str(caught.value)


def test_weights_are_refused_that_no_batch_could_help(denoiser, monkeypatch):
    kept = Kept(moments=2).bytes(denoiser)
    with_memory(monkeypatch, kept // 2)
    with without_memory("dit:nano"):
        with pytest.raises(BadValue, match=re.escape("enough for 50 % of it; choose a smaller size")):
            check_fits("dit:nano", needs_of(denoiser, SPEC, Kept(moments=2)), 1, CPU)
        check_fits("dit:nano", needs_of(denoiser, SPEC, Kept(moments=0, averages=0)), 1, CPU)
    with without_memory("dit:nano"), pytest.raises(BadValue, match="not one fits"):
        with_memory(monkeypatch, kept)
        check_fits("dit:nano", needs_of(denoiser, SPEC, Kept(moments=2)), 10, CPU)


def test_networks_are_counted_side_by_side_and_one_that_never_comes_is_left(monkeypatch):
    monkeypatch.setattr(fitting, "SECONDS", 1.0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    dit = Registry.installed().architectures["dit"]
    builds = [partial(time.sleep, 60), *3 * [partial(build_denoiser, dit, "nano", SPEC)]]
    none, *found = all_needs((str(build), build, SPEC, Kept(moments=2)) for build in builds)
    with without_memory("dit:nano"):
        expected = needs_of(build_denoiser(dit, "nano", SPEC), SPEC, Kept(moments=2))
    assert none is None and found == 3 * [expected] and expected.of_image > 0


def test_activations_are_those_of_a_real_device(denoiser):
    """But for attention, which a CPU takes in one piece where it can."""
    with without_memory("dit:nano"):
        foretold = activation_bytes(denoiser, SPEC)
    real = activation_bytes(build_denoiser(Registry.installed().architectures["dit"], "nano", SPEC), SPEC)
    assert real <= foretold <= 1.5 * real


def test_a_map_of_attention_is_counted_only_where_it_is_kept(denoiser):
    """Fused attention keeps none, so that what grows with the square of the tokens refuses no batch that fits."""
    long = replace(SPEC, resolution=32)
    with without_memory("dit:nano"):
        one = build_denoiser(Registry.installed().architectures["dit"], "nano", long)
        few, many = (activation_bytes(denoiser, SPEC, fused=True), activation_bytes(one, long, fused=True))
        assert activation_bytes(one, long) > 1.4 * many
    tokens = (32 // 8) ** 2
    assert 0.8 * tokens < many / few < 1.1 * tokens
