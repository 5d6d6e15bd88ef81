"""The recipe's optimiser is the paper's, and what is missing says how to get it."""

import sys

import pytest
import torch

from ditbench.errors import BadValue
from ditbench.tracks.track import Recipe
from ditbench.training.optimizers import make_optimizer

CPU = torch.device("cpu")
RECIPE = {"learning_rate": 0.1, "weight_decay": 0.02, "batch_size": 4, "ema_decay": 0.99}


def descend(recipe, gradients):
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = make_optimizer(recipe, [weight])
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    return weight.detach()


def test_adamw_follows_its_paper():
    """Loshchilov & Hutter (2019), Algorithm 2."""
    recipe = Recipe(optimizer="adamw", betas=(0.9, 0.95), **RECIPE)
    gradients = [[0.5, -1.0], [0.25, 3.0], [-2.0, 0.1]]
    w, m, v = torch.tensor([1.0, -2.0]).double(), 0, 0
    for k, gradient in enumerate(gradients, start=1):
        g = torch.tensor(gradient).double()
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
        w = w * (1 - 0.1 * 0.02) - 0.1 * (m / (1 - 0.9**k)) / ((v / (1 - 0.95**k)).sqrt() + 1e-8)
    torch.testing.assert_close(descend(recipe, gradients), w)


def test_adan_follows_its_paper():
    """Xie et al. (2022), Algorithm 1, with 1 - beta for beta and bias corrections, as its authors' code has it."""
    recipe = Recipe(optimizer="adan", betas=(0.98, 0.92, 0.99), **RECIPE)
    gradients = [[0.5, -1.0], [0.25, 3.0], [-2.0, 0.1]]
    w, m, v, n, before = torch.tensor([1.0, -2.0]).double(), 0, 0, 0, None
    for k, gradient in enumerate(gradients, start=1):
        g = torch.tensor(gradient).double()
        change = torch.zeros(2).double() if before is None else g - before
        m, v = 0.98 * m + 0.02 * g, 0.92 * v + 0.08 * change
        n = 0.99 * n + 0.01 * (g + 0.92 * change) ** 2
        root = (n / (1 - 0.99**k)).sqrt() + 1e-8
        w = (w - 0.1 * (m / (1 - 0.98**k) + 0.92 * v / (1 - 0.92**k)) / root) / (1 + 0.1 * 0.02)
        before = g
    torch.testing.assert_close(descend(recipe, gradients), w)


def test_without_its_library_adan_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.delitem(sys.modules, "timm.optim", raising=False)
    recipe = Recipe(optimizer="adan", betas=(0.98, 0.92, 0.99), **RECIPE)
    with pytest.raises(BadValue, match=r"'adan' needs 'timm.*': (uv )?pip install 'ditbench\[adan\]'"):
        make_optimizer(recipe, [torch.nn.Parameter(torch.ones(1))])
