"""The contract over everything installed, and proof that the checks catch what they should."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from toy_net import Toy

from ditbench import Architecture, DenoiserSpec
from ditbench.guidance import Guidance
from ditbench.objectives import EDM, Flow, Noise, loss_of
from ditbench.registry import Registry
from ditbench.samplers import ddpm, dpm_solver, edm_heun, euler
from ditbench.sampling import Plan, generate
from ditbench.testing import (
    DIGITS_SPEC,
    ContractBroken,
    build_denoiser,
    check_architecture,
    example_batch,
    perturb,
    training_loss,
)

INSTALLED = Registry.installed().architectures
LEARNED = DenoiserSpec(channels=4, resolution=8, classes=3, space="latent", learn_variance=True)
UNCONDITIONAL = DenoiserSpec(channels=3, resolution=16, classes=0, space="pixel")


@pytest.mark.parametrize("name", INSTALLED)
def test_on_the_digits_track(name):
    check_architecture(INSTALLED[name])


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("spec", [LEARNED, UNCONDITIONAL], ids=["learned-variance", "unconditional"])
def test_on_other_tracks(name, spec):
    check_architecture(INSTALLED[name], spec)


VARIANTS = [(name, {}) for name in INSTALLED] + [
    (name, {option: value})
    for name, architecture in INSTALLED.items()
    for option, axis in architecture.options.items()
    for value in axis.choices or ((False, True) if isinstance(axis.default, bool) else ())
    if value != axis.default
]
VARIANTS += [("diffit", {"model": "latent", "time": time}) for time in ("bias", "mlp", "token")]
EVERY_VARIANT = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)


@EVERY_VARIANT
def test_compiles_as_one_graph(name, options):
    torch._dynamo.reset()
    denoiser = build_denoiser(INSTALLED[name], **options)
    perturb(denoiser)
    batch = example_batch(DIGITS_SPEC, 3)
    compiled = torch.compile(denoiser, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*batch), denoiser(*batch))


@pytest.mark.parametrize("name", INSTALLED)
def test_trains_compiled(name):
    """Its own loss, MDT's masked pass included, and the backward pass through it."""
    torch._dynamo.reset()

    def gradients(backend):
        denoiser = build_denoiser(INSTALLED[name])
        perturb(denoiser)
        if backend:
            denoiser.compile(fullgraph=True, backend=backend)
        torch.manual_seed(3)
        training_loss(denoiser, *example_batch(DIGITS_SPEC, 3)).backward()
        return [parameter.grad for parameter in denoiser.parameters()]

    for compiled, eager in zip(gradients("aot_eager"), gradients(None), strict=True):
        torch.testing.assert_close(compiled, eager)


class MatrixProducts(TorchDispatchMode):
    """Notes the type of every matrix product and convolution."""

    def __init__(self):
        super().__init__()
        self.types = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if any(part in str(function) for part in ("mm", "conv", "attention")):
            self.types |= {arg.dtype for arg in args if isinstance(arg, torch.Tensor)}
        return function(*args, **(kwargs or {}))


@EVERY_VARIANT
def test_no_float32_detours_under_autocast(name, options):
    denoiser = build_denoiser(INSTALLED[name], **options)
    with torch.autocast("cpu", dtype=torch.bfloat16), MatrixProducts() as seen:
        training_loss(denoiser, *example_batch(DIGITS_SPEC, 3))
        with torch.no_grad():  # attention takes another path
            denoiser(*example_batch(DIGITS_SPEC, 3))
    assert seen.types == {torch.bfloat16}


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
    spec = replace(DIGITS_SPEC, learn_variance=objective.learn_variance)
    denoiser = build_denoiser(INSTALLED[name], spec=spec)
    draw = torch.Generator().manual_seed(0)
    x0, noise = torch.rand(2, 4, 1, 8, 8, generator=draw)
    t, y = objective.sample_time(4, draw), torch.arange(4)

    def loss(**extra):
        return objective.loss(denoiser(objective.corrupt(x0, noise, t), t, y, **extra), x0, noise, t).mean()

    loss_of(denoiser, loss).backward()
    assert all(p.grad.isfinite().all() for p in denoiser.parameters() if p.grad is not None)
    plan = Plan(sampler, objective, 3, 0, Guidance(scale=1.5))
    (batch,) = generate(denoiser, spec, plan, range(4), 4, torch.device("cpu"))
    assert batch.pixels.shape == (4, 1, 8, 8)


def test_the_toy_keeps_it(toy):
    check_architecture(toy)


class Deaf(Toy):
    def forward(self, x, t, y):
        return super().forward(x, torch.zeros_like(t), y)


class LabelBlind(Toy):
    def forward(self, x, t, y):
        return super().forward(x, t, torch.zeros_like(y)) + 0 * self.label(y).sum()


class NullIsZero(Toy):
    def forward(self, x, t, y):
        return super().forward(x, t, y % 10) + 0 * self.label(y).sum()


class Leaky(Toy):
    def forward(self, x, t, y):
        out = super().forward(x, t, y)
        return out - out.mean(0, keepdim=True)


class Dead(Toy):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.unused = nn.Linear(2, 2)


class Random(Toy):
    def forward(self, x, t, y):
        return super().forward(x, t, y) + 0.1 * torch.randn_like(x)


class SecretlyRandom(Toy):
    def forward(self, x, t, y):
        torch.rand(1)
        return super().forward(x, t, y)


class Doubled(Toy):
    def forward(self, x, t, y):
        return super().forward(x, t, y).repeat(1, 2, 1, 1)


class Wide(Toy):
    def forward(self, x, t, y):
        return super().forward(x, t, y).double()


class Forgetful(Toy):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.hidden_scale = [1.0]

    def forward(self, x, t, y):
        if self.training:
            self.hidden_scale[0] = 1.5
        return super().forward(x, t, y) * self.hidden_scale[0]


class Vector(Toy):
    def training_loss(self, loss):
        return loss()[None]


class Exploding(Toy):
    def training_loss(self, loss):
        return loss() * float("inf")


@pytest.mark.parametrize(
    ("network", "complaint"),
    [
        (Deaf, "gradient of 'time.weight' is zero"),
        (LabelBlind, "does not depend on y"),
        (NullIsZero, "null label gives the same as label 0"),
        (Leaky, "images see each other"),
        (Dead, "'unused.weight' gets no gradient"),
        (Random, "two calls with the same input differ"),
        (SecretlyRandom, "draws from torch's global generator"),
        (Doubled, r"shape \(7, 2, 8, 8\), not \(7, 1, 8, 8\)"),
        (Wide, "float64"),
        (Forgetful, "rebuilt from the state dict"),
        (Vector, r"training loss has shape \(1,\)"),
        (Exploding, "is not finite"),
    ],
)
def test_a_broken_contract_is_named(network, complaint):
    broken = Architecture(name="broken", build=network, sizes={"nano": {"width": 16}})
    with pytest.raises(ContractBroken, match=complaint):
        check_architecture(broken)
