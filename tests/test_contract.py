"""Every architecture that is installed, on other input, with every option, with every objective."""

from dataclasses import replace
from itertools import repeat

import pytest
import torch

from ditbench import DenoiserSpec
from ditbench.denoiser.interface import DIGITS_SPEC, build_denoiser, example_batch, loss_of, perturb
from ditbench.registry import Registry
from ditbench.sampling.generate import generate
from ditbench.sampling.samplers import euler
from ditbench.sampling.schedulers import ddpm, dpm_solver, edm_heun
from ditbench.sampling.walking import SamplingPlan
from ditbench.testing import check_architecture
from ditbench.tracks.guidance import Guidance
from ditbench.training.discrete import Noise
from ditbench.training.objectives import EDM, Flow
from ditbench.training.regression import LossOfBatch, Regression

INSTALLED = Registry.installed().architectures
LEARNED = DenoiserSpec(channels=4, resolution=8, classes=3, space="latent", learn_variance=True)
SHALLOW = {
    "dit": {"depth": 2},
    "mdt": {"depth": 2, "decoder": 1},
    "mdtv2": {"depth": 3, "decoder": 1},
    "diffit": {"depth": 2, "blocks": "1,1"},
    "lightningdit": {"depth": 2},
    "jit": {"depth": 2, "context_start": 1},
    "ddt": {"depth": 2, "encoder": 1},
    "dit-dh": {"depth": 1},
    "maskdit": {"depth": 1, "decoder": 1},
    "dico": {"depths": "1,1,1,1,1"},
    "hdit": {"depths": "1,1"},
    "latte": {"depth": 2},
    "dit3d": {"depth": 1},
}
FRAMES = 3  # of clips


def shallow(name):
    """The architecture with as few layers in nano as have all of its code: the time is that of the layers."""
    architecture = INSTALLED[name]
    nano = {**architecture.sizes["nano"], **SHALLOW.get(name, {})}
    return replace(architecture, sizes={**architecture.sizes, "nano": nano}, ladder={})


def taken(name, spec):
    """The input, or clips of it if that is what the architecture takes."""
    return replace(spec, frames=FRAMES) if INSTALLED[name].clips else spec


@pytest.mark.parametrize("name", INSTALLED)
def test_on_another_track(name):
    """What an option or another input does to the counts is in the plugins' tests; there are images without labels."""
    skip = ["compiles", "counted-as-trained", "macs-in-class", "other-inputs"]
    check_architecture(shallow(name), taken(name, LEARNED), skip=skip)


def others(axis):
    """The values of an option that are not its default, as far as they can be listed."""
    values = axis.choices or ((False, True) if isinstance(axis.default, bool) else ())
    return [value for value in values if value != axis.default]


def variants(name):
    """As few as have every value of every option. Those that are next to each other are apart, as mask and side."""
    axes = {option: found for option, axis in INSTALLED[name].options.items() if (found := others(axis))}
    number = max(2, *map(len, axes.values()))
    chosen = [{} for _ in range(number)]
    for place, (option, values) in enumerate(axes.items()):
        for step in range(number if len(values) > 1 else 1):
            chosen[(place + step) % number][option] = values[step % len(values)]
    return [(name, options) for options in chosen]


EVERY_OPTION = [variant for name in INSTALLED for variant in variants(name)]


@pytest.mark.parametrize(("name", "options"), EVERY_OPTION, ids=str)
def test_every_option_compiles_as_one_graph(name, options):
    """Forward alone; the suite's own check, backward included, is slower and made of each default."""
    torch._dynamo.reset()
    denoiser = build_denoiser(shallow(name), spec=(spec := taken(name, DIGITS_SPEC)), **options)
    perturb(denoiser)
    batch = example_batch(spec, 3)
    compiled = torch.compile(denoiser, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*batch), denoiser(*batch))


@pytest.mark.parametrize("name", INSTALLED)
def test_default_trains_compiled(name):
    check_architecture(shallow(name), taken(name, DIGITS_SPEC), only=["compiles"])


OBJECTIVES = {
    "flow": (Flow(), euler),
    "iddpm": (Noise(learn_variance=True), ddpm),
    "ddpm-sd": (Noise("scaled-linear", min_snr_gamma=5), dpm_solver),
    "edm": (EDM(), edm_heun),
}


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_trains_and_samples_with_every_objective(name, objective):
    objective, sampler = OBJECTIVES[objective]
    spec = taken(name, replace(DIGITS_SPEC, learn_variance=objective.learn_variance))
    denoiser = build_denoiser(shallow(name), spec=spec)
    draw = torch.Generator().manual_seed(0)
    x0, noise = torch.rand(2, 4, *spec.shape, generator=draw)
    t, y = objective.sample_time(4, draw), torch.arange(4)
    loss = LossOfBatch(Regression(objective, compiled=False), denoiser, x0, t, y, repeat(noise))
    loss_of(denoiser, loss).backward()
    assert all(p.grad.isfinite().all() for p in denoiser.parameters() if p.grad is not None)
    plan = SamplingPlan(sampler, objective, 3, 0, Guidance(scale=1.5))
    (batch,) = generate(denoiser, spec, plan, range(4), 4, torch.device("cpu"))
    assert batch.pixels.shape == (4, *spec.shape)
