"""What surrounds the network in a step: the objective's numbers, looked up once, and a graph where it is compiled."""

from itertools import repeat

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters

from ditbench.errors import BadValue
from ditbench.registry import Registry
from ditbench.runtime import compiling
from ditbench.tracks.recipe import ObjectiveChoice
from ditbench.training.discrete import Noise
from ditbench.training.objectives import EDM, Flow, ImagePrediction
from ditbench.training.regression import LossOfBatch, Regression
from ditbench.training.spec import make_objective

DRAW = torch.Generator().manual_seed(0)
X0, NOISE = torch.randn(2, 4, 3, 8, 8, generator=DRAW).unbind()
T = torch.tensor([0.1, 3.0, 500.0, 999.0])  # the path vp is infinitely steep at 0


OBJECTIVES = [
    Flow(), Flow(path="gvp"), Flow(path="vp"), ImagePrediction(), EDM(), Noise(learn_variance=True, min_snr_gamma=5.0),
]  # fmt: skip


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_x_t_and_the_loss_are_a_graph_each_with_the_objectives_numbers(objective, monkeypatch):
    torch._dynamo.reset()
    counters.clear()
    graphs = CompileCounter()
    monkeypatch.setattr(compiling, "BACKEND", graphs)
    out = torch.randn(4, 3 * (1 + objective.learn_variance), 8, 8, generator=DRAW).requires_grad_()
    plain, compiled = Regression(objective, False), Regression(objective, True)
    torch.testing.assert_close(compiled.noisy(X0, NOISE, T, *compiled.at(T)), objective.corrupt(X0, NOISE, T))
    losses = [one.loss(out, X0, NOISE, T, *one.at(T)) for one in (plain, compiled)]
    assert torch.equal(losses[0], objective.loss(out, X0, NOISE, T).mean())
    torch.testing.assert_close(losses[1], losses[0])
    found = [torch.autograd.grad(loss, out)[0] for loss in losses]
    torch.testing.assert_close(found[1], found[0])
    parts = [one.parts(out, X0, NOISE, T, *one.at(T)) for one in (plain, compiled)]
    torch.testing.assert_close(parts[1], parts[0], rtol=1e-4, atol=1e-5)
    assert graphs.frame_count == 3 and not counters["graph_break"]


@pytest.mark.parametrize("name", sorted(Registry.installed().objectives))
def test_every_objective_has_one_way_to_look_things_up(name):
    objective = make_objective(ObjectiveChoice(name=name), "digits", Registry.installed())
    at = Regression(objective, False).at(T)
    assert len(at) == hasattr(objective, "at")
    torch.testing.assert_close(objective.corrupt(X0, NOISE, T, *at), objective.corrupt(X0, NOISE, T))


@pytest.mark.parametrize("objective", [Flow(), Noise(learn_variance=True)], ids=str)
def test_a_forward_tells_what_it_saw_and_gave(objective):
    """Beside a plain pass, with the noise that is next; its loss is the mean of its parts."""
    noises, called, y = torch.randn(2, *X0.shape, generator=DRAW), [], torch.arange(4)
    out = torch.randn(4, 3 * (1 + objective.learn_variance), 8, 8, generator=DRAW).requires_grad_()

    def network(x, t, y, **extra):
        called.append((x, t, y, extra))
        return out

    loss = LossOfBatch(Regression(objective, False), network, X0, T, y, iter(noises))
    first, seen = loss(), loss.forward(keep=3)
    for noise, (x, t, labels, extra), keywords in zip(noises, called, ({}, {"keep": 3}), strict=True):
        assert torch.equal(x, objective.corrupt(X0, noise, T)) and (t is T, labels is y) == (True, True)
        assert extra == keywords
    assert seen.out is out and seen.x_0 is X0 and seen.t is T and seen.y is y
    assert torch.equal(seen.noise, noises[1]) and torch.equal(seen.x_t, called[1][0])
    assert torch.equal(first, objective.loss(out, X0, noises[0], T).mean())
    torch.testing.assert_close(seen.error.mean() + seen.rest.mean(), objective.loss(out, X0, noises[1], T).mean())
    assert all(one.requires_grad for one in (seen.denoised, seen.error)) and seen.error.shape == X0.shape


class Plain:
    """An objective that says no more than training needs."""

    learn_variance = False

    def sample_time(self, count, generator):
        return torch.rand(count, generator=generator)

    def corrupt(self, x0, noise, t):
        return x0 + noise

    def loss(self, out, x0, noise, t):
        return (out - x0).square().flatten(1).mean(1)


def test_an_objective_that_does_not_tell_its_parts_is_named_to_a_network_that_asks():
    loss = LossOfBatch(Regression(Plain(), False), lambda x, t, y: x, X0, T, T, repeat(NOISE))
    assert loss().ndim == 0
    with pytest.raises(BadValue, match=r"^The objective Plain has no method 'parts', by which the own loss of this"):
        loss.forward()
