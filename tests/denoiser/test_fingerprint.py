"""A network's fingerprint: the same however it is written, rounded or drawn; another once it does something else."""

import pytest
import torch
from torch import nn

from ditbench.components import load
from ditbench.denoiser import fingerprint as module
from ditbench.denoiser.fingerprint import fingerprint
from ditbench.denoiser_spec import DenoiserSpec
from ditbench.records.fingerprint import ALSO, ALWAYS, Fingerprint, unlike
from ditbench.registry import Registry

SPEC = DenoiserSpec(channels=1, resolution=8, classes=3, space="pixel")
WIDTH = 16


class Net(nn.Module):
    """A network of three layers and a table; its output layer begins as 0, as those of diffusion transformers do."""

    def __init__(self, bias=True, classes=SPEC.classes + 1):
        super().__init__()
        self.inside = nn.Linear(64, WIDTH, bias=bias)
        self.labels = nn.Embedding(classes, WIDTH)
        self.register_buffer("table", torch.linspace(0, 1, WIDTH))
        self.out = nn.Linear(WIDTH, 64)
        nn.init.zeros_(self.out.weight)

    def forward(self, x, t, y):
        hidden = self.inside(x.flatten(1)) + self.labels(y) + self.table * t[:, None] / 1000
        return self.out(nn.functional.gelu(hidden)).view_as(x)


class Renamed(nn.Module):
    """The same, written anew."""

    def __init__(self):
        super().__init__()
        self.embed, self.classes = nn.Linear(64, WIDTH), nn.Embedding(SPEC.classes + 1, WIDTH)
        self.head = nn.Linear(WIDTH, 64)
        self.register_buffer("times", torch.linspace(0, 1, WIDTH))
        nn.init.zeros_(self.head.weight)

    def forward(self, x, t, y):
        hidden = self.embed(x.flatten(1)) + torch.outer(t / 1000, self.times) + self.classes(y)
        return self.head(nn.functional.gelu(hidden)).view(x.shape)


class DrawnOtherwise(Net):
    """Another draw of the same distribution, as another version of torch gives it."""

    def __init__(self):
        torch.rand(7)
        super().__init__()


class Tanh(Net):
    """Another function of the same weights, about 1e-3 away."""

    def forward(self, x, t, y):
        hidden = self.inside(x.flatten(1)) + self.labels(y) + self.table * t[:, None] / 1000
        return self.out(nn.functional.gelu(hidden, approximate="tanh") * 1.001).view_as(x)


class Larger(Net):
    """Another initialisation."""

    def __init__(self):
        super().__init__()
        nn.init.normal_(self.labels.weight, std=30.0)


class TimeReversed(Net):
    """Told by outputs alone."""

    def forward(self, x, t, y):
        return super().forward(x, 1000 - t, y)


class TrainedOtherwise(Net):
    """Told by its training alone."""

    def training_loss(self, once):
        return 2 * once()


def made(build):
    with torch.random.fork_rng(devices=[]):
        return Fingerprint.model_validate(fingerprint(build, SPEC))


@pytest.fixture(scope="module")
def plain():
    return made(Net)


@pytest.mark.parametrize("build", [Net, Renamed, DrawnOtherwise])
def test_a_network_that_does_the_same_has_the_same_fingerprint(plain, build):
    assert list(plain.numbers) == [*ALWAYS, *ALSO] and not plain.missing
    assert list(unlike(made(build), plain)) == []


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (Tanh, {"output.1", "output.3", "output.4", "loss", "gradient.matrices", "gradient.vectors"}),
        (Larger, {"weights.size"}),
        (TimeReversed, {"output.1", "output.2", "output.3", "output.4"}),
        (TrainedOtherwise, {"loss", "gradient.matrices", "gradient.vectors"}),
        (lambda: Net(bias=False), {"shapes_sha256"}),
        (lambda: Net(classes=9), {"shapes_sha256"}),
    ],
)
def test_a_network_that_does_something_else_is_told_apart(plain, build, told):
    assert told <= set(unlike(made(build), plain))


def test_rounding_is_no_difference(plain):
    """Of a whole architecture, with as many threads as there are; and the other way round of a small change."""
    dit = Registry.installed().architectures["dit"]
    spec = DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
    one, other = (fingerprint(lambda: load(dit.build)(spec, **dit.sizes["nano"]), spec) for _ in range(2))
    assert one == other, "the same to the last bit from one process to the next"
    assert one["numbers"]["weights.size"]["scale"] > 0, "its weights are known to be drawn"

    class Doubled(Net):
        def forward(self, x, t, y):
            return super().forward(x.double().float() * (1 + 1e-7), t, y)

    assert not list(unlike(made(Doubled), plain))


def test_of_a_big_network_two_outputs_are_enough(monkeypatch, plain):
    monkeypatch.setattr(module, "BIG", 1)
    big = made(Net)
    assert list(big.numbers) == [*ALWAYS]
    assert not list(unlike(big, plain)) and not list(unlike(plain, big)), "what both have is compared"


def test_of_large_drawn_weights_a_sample_tells(monkeypatch, plain):
    """The rest repeats it; numbers of a large tensor that are not drawn are as they were built."""
    monkeypatch.setattr(module, "SAMPLE", 100)
    built = module._built(Net, 0)
    drawn, fixed = built.inside.weight.flatten(), built.out.weight
    assert torch.equal(drawn[:100], drawn[900:1000]) and drawn[:100].unique().numel() > 90 and not fixed.any()
    assert set(unlike(made(Net), plain)) <= {name for name in ALWAYS if name.startswith("weights.")}


def test_numbers_of_networks_that_break_are_refused():
    class Broken(Net):
        def forward(self, x, t, y):
            return super().forward(x, t, y) * float("nan")

    with pytest.raises(ValueError, match="finite"):
        made(Broken)
