"""What would fail at a run's end is refused before its start, in one line."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ditbench.benchmark import setup
from ditbench.benchmark.rehearsal import rehearse
from ditbench.benchmark.setup import resolve
from ditbench.errors import BadFile, BadValue
from ditbench.metrics.features import Moments
from ditbench.metrics.quality import Score
from ditbench.registry import Registry
from ditbench.sampling.pictures import write_grid
from ditbench.tracks.plan import make_plan


@pytest.fixture
def end(toy):
    """A run's end on the digits: its config, parts, networks, and what these say of the real images."""
    registry = Registry.installed()
    (config,) = make_plan(registry, "digits", ["toy"], [0], device="cpu")
    parts = resolve(config, registry)
    networks = parts.scoring.load_networks(parts.device)
    return config, parts, networks, parts.scoring.read(networks, parts.device)


def with_first(parts, **changes):
    """The same with another first metric."""
    (metric, extractor), *others = parts.scoring.metrics
    scoring = replace(parts.scoring, metrics=((replace(metric, **changes), extractor), *others))
    return replace(parts, scoring=scoring)


def broken(fake, real):
    raise IndexError("index 7 is\nfar out")


def demanding(fake, real):
    """It has use for whole outputs alone, which is no fault."""
    assert fake.outputs["features"].shape[1] == real.outputs["features"].shape[1] > 32
    return Score(1.0)


def particular(fake, real):
    """It says so itself, wants many samples, and real images of every class: no fault either."""
    if fake.count < 100 or len(set(real.labels)) < 10:
        raise BadValue("give 100 samples, and all classes")
    return Score(1.0)


def test_all_that_ships_can_be_measured(end):
    config, parts, networks, real = end
    random = torch.random.get_rng_state()
    rehearse(config.model_copy(update={"keep_samples": True}), parts, networks, real)
    for measure in (demanding, particular):
        rehearse(config, with_first(parts, measure=measure), networks, real)
    assert torch.equal(torch.random.get_rng_state(), random)


def test_a_metric_that_breaks_is_named_before_anything_is_spent(end):
    config, parts, networks, real = end
    with pytest.raises(BadValue) as refused:
        rehearse(config, with_first(parts, name="mine", measure=broken), networks, real)
    assert str(refused.value) == (
        "Metric 'mine' can't be measured on 'digits' (index 7 is far out): leave it out of the track, "
        "or mend its plugin."
    )


def test_weights_are_numbers_but_a_mask_of_the_networks_own_may_be_infinite(end, tmp_path, monkeypatch):
    config, parts, *_ = end
    network = setup.build(parts, config)
    network.register_buffer("mask", torch.full((2,), -torch.inf))
    monkeypatch.setattr(setup, "build", lambda parts, config: network)
    save_file(network.state_dict(), tmp_path / "good.safetensors")
    setup.load_denoiser(config, parts, tmp_path / "good.safetensors")
    name = next(iter(dict(network.named_parameters())))
    bad = {**network.state_dict(), name: network.state_dict()[name] + torch.nan}
    large = {**network.state_dict(), name: network.state_dict()[name].double() + 1e300}
    for wrong in (bad, large):
        save_file(wrong, tmp_path / "bad.safetensors")
        with pytest.raises(BadFile, match=f"an infinite number or NaN in '{name}', as torch.float32"):
            setup.load_denoiser(config, parts, tmp_path / "bad.safetensors")


def test_moments_of_another_extractor_are_refused(end):
    config, parts, networks, real = end
    source = replace(parts.scoring.source, name="R.npz", images=None)
    source = replace(source, moments={"features": Moments(0, torch.zeros(5), torch.eye(5))})
    parts = replace(parts, scoring=replace(parts.scoring, source=source))
    with pytest.raises(BadValue, match=r"The reference 'R\.npz' has moments of 5 features, but 'digits-cnn' puts out"):
        rehearse(config, parts, networks, real)


def test_a_grid_bears_any_name_of_a_class(tmp_path):
    """Folders may be called so."""
    write_grid(tmp_path / "grid.png", np.zeros((4, 1, 8, 8), np.uint8), np.arange(4) % 2, ("a\nb", "\t"))
    assert (tmp_path / "grid.png").exists()
