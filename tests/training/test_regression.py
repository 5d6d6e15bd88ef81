"""What surrounds the network in a step: the objective's numbers, looked up once, and a graph where it is compiled."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters

from ditbench.registry import Registry
from ditbench.runtime import compiling
from ditbench.tracks.track import ObjectiveChoice
from ditbench.training.objectives import EDM, Flow, Noise
from ditbench.training.regression import Regression
from ditbench.training.spec import make_objective

DRAW = torch.Generator().manual_seed(0)
X0, NOISE = torch.randn(2, 4, 3, 8, 8, generator=DRAW).unbind()
T = torch.tensor([0.0, 3.0, 500.0, 999.0])


@pytest.mark.parametrize("objective", [Flow(), EDM(), Noise(learn_variance=True, min_snr_gamma=5.0)])
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
    assert graphs.frame_count == 2 and not counters["graph_break"]


@pytest.mark.parametrize("name", sorted(Registry.installed().objectives))
def test_every_objective_has_one_way_to_look_things_up(name):
    objective = make_objective(ObjectiveChoice(name=name), "digits", Registry.installed())
    at = Regression(objective, False).at(T)
    assert len(at) == hasattr(objective, "at")
    torch.testing.assert_close(objective.corrupt(X0, NOISE, T, *at), objective.corrupt(X0, NOISE, T))
