"""The recipe's optimiser is the paper's, and what is missing says how to get it."""

import sys

import pytest
import torch

from ditbench.errors import BadValue
from ditbench.tracks.recipe import Recipe
from ditbench.training.optimizers import hidden_matrices, make_optimizer, set_rate

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


class Small(torch.nn.Module):
    """An embedding, two blocks and a head."""

    def __init__(self):
        super().__init__()
        self.table, self.head = torch.nn.Embedding(3, 4), torch.nn.Linear(4, 2)
        layers = ([torch.nn.Linear(4, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 4)] for _ in range(2))
        self.blocks = torch.nn.ModuleList(torch.nn.Sequential(*block) for block in layers)


def test_muon_trains_the_matrices_of_the_blocks_and_adamw_all_else():
    """Jordan et al. (2024): a step of the matrices is nearly orthogonal; scaled as Liu et al. (2025) have it."""
    torch.manual_seed(0)
    network = Small()
    matrices = hidden_matrices(network)
    assert [name for name, of in network.named_parameters() if any(of is one for one in matrices)] == [
        "blocks.0.0.weight", "blocks.0.2.weight", "blocks.1.0.weight", "blocks.1.2.weight",
    ]  # fmt: skip
    recipe = Recipe(optimizer="muon", betas=(0.9, 0.95), matrix_rate=0.3, **(RECIPE | {"weight_decay": 0.0}))
    optimizer = make_optimizer(recipe, list(network.parameters()), matrices=matrices)
    set_rate(optimizer, 0.05)  # half of the recipe's
    before = {name: one.detach().clone() for name, one in network.named_parameters()}
    for one in network.parameters():
        one.grad = torch.randn_like(one)
    optimizer.step()
    moved = {name: one.detach() - before[name] for name, one in network.named_parameters()}
    torch.testing.assert_close(moved["head.weight"].abs(), torch.full((2, 4), 0.05), rtol=1e-3, atol=0)
    stretched = torch.linalg.svdvals(moved["blocks.0.0.weight"]) / (0.15 * 0.2 * 8**0.5)
    assert ((stretched > 0.6) & (stretched < 1.3)).all(), stretched
    optimizer.zero_grad()
    assert all(one.grad is None for one in network.parameters()) and len(optimizer.state) == len(before)


def test_without_its_class_muon_says_which_torch_has_it(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    recipe = Recipe(optimizer="muon", betas=(0.9, 0.95), **RECIPE)
    with pytest.raises(BadValue, match=r"'muon' needs torch 2\.9 or newer"):
        make_optimizer(recipe, [torch.nn.Parameter(torch.ones(2, 2))])
