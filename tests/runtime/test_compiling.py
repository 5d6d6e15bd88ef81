"""A network compiled by its blocks: how many graphs that takes, and when there are more."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters
from toy_net import Toy

from ditbench.denoiser.interface import DIGITS_SPEC, build_denoiser, example_batch, perturb, training_loss
from ditbench.registry import Registry
from ditbench.runtime import compiling
from ditbench.runtime.compiling import CompileWatch, blocks_of, compile_network, way_of

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute")  # Dynamo hides it, but from -W error
INSTALLED = Registry.installed().architectures
GRAPHS = {  # of training: kinds of blocks, masked or not; told an image or its tokens
    "dit": 1, "uvit": 2, "mdt": 3, "mdtv2": 6, "diffit": 4, "jit": 2, "lightningdit": 1, "ddt": 2,
    "dit-dh": 2,
}  # fmt: skip
# Blocks of one kind get few and more tokens, one condition and one for each token, or their input as skip, too.
TWO_SHAPES = {"jit", "ddt", "mdtv2"}


@pytest.fixture
def graphs(monkeypatch):
    """Counts those that are compiled from now on."""
    torch._dynamo.reset()
    counters.clear()
    counter = CompileCounter()
    monkeypatch.setattr(compiling, "BACKEND", counter)
    with compiling.compiling(CompileWatch(float)):
        yield counter


def network(name):
    one = build_denoiser(INSTALLED[name])
    perturb(one)
    return one


SLOW = pytest.mark.slow  # faster: the case of dit


@pytest.mark.parametrize("name", [name if name == "dit" else pytest.param(name, marks=SLOW) for name in GRAPHS])
def test_a_graph_for_each_kind_of_block_and_none_for_another_batch(name, graphs):
    trained, batch = network(name), example_batch(DIGITS_SPEC, 16)  # as many as there are tokens
    drawn, plain = copy.deepcopy(trained).eval(), copy.deepcopy(trained)
    torch.manual_seed(0)
    expected = training_loss(plain, *batch)
    compile_network(trained, "blocks")
    for _ in range(2):
        torch.manual_seed(0)
        loss = training_loss(trained, *batch)
        torch.testing.assert_close(loss, expected)
        loss.backward()
    found = graphs.frame_count
    assert found <= GRAPHS[name]
    compile_network(drawn, "blocks", batches_vary=True)
    kinds = len({compiling._kind(block) for block in blocks_of(drawn)}) + (name in TWO_SHAPES)
    with torch.inference_mode():
        for size in (250, 500, 125, 17):  # guided images are two each, and the last batch is an odd one
            drawn(*example_batch(DIGITS_SPEC, size))
            assert graphs.frame_count <= found + kinds
        batch = example_batch(DIGITS_SPEC, 17)
        torch.testing.assert_close(drawn(*batch), plain.eval()(*batch), rtol=1e-4, atol=1e-5)
    assert not counters["graph_break"]


def test_masked_lengths_are_one_dynamic_dimension(graphs):
    """mdtv2 draws another number of kept tokens at every step."""
    one, batch = compile_network(network("mdtv2"), "blocks"), example_batch(DIGITS_SPEC, 4)
    with torch.no_grad():
        one(*batch)
        one(*batch, keep=8), one(*batch, keep=9)
        found = graphs.frame_count
        for keep in (10, 11, 12, 8):
            one(*batch, keep=keep)
    assert graphs.frame_count == found <= GRAPHS["mdtv2"] and not counters["graph_break"]


def test_a_network_without_blocks_is_compiled_whole(graphs):
    toy = compile_network(Toy(DIGITS_SPEC, width=8).eval(), "blocks")  # its list has single layers
    whole, apart = compile_network(network("dit"), "whole"), compile_network(network("dit"), "off")
    assert not blocks_of(toy)
    for one, more in ((toy, 1), (whole, 1), (apart, 0)):
        before = graphs.frame_count
        one(*example_batch(DIGITS_SPEC, 4))
        assert graphs.frame_count == before + more


def test_a_copy_is_not_compiled_and_has_its_own_weights(graphs):
    one = compile_network(network("dit"), "blocks")
    copied, batch = copy.deepcopy(one), example_batch(DIGITS_SPEC, 2)
    with torch.no_grad():
        for weight in one.parameters():
            weight.zero_()
    assert copied(*batch).any() and graphs.frame_count == 0 and not one(*batch).any()
    assert one.state_dict().keys() == copied.state_dict().keys()


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
@pytest.mark.parametrize("name", ["blocks", pytest.param("dit", marks=SLOW)])
def test_inductor_compiles_a_step_and_finds_its_graphs_again(name, tmp_path):
    script = Path(__file__).parents[1] / "support" / "inductor_step.py"
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", script, name],
        env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    cold, warm = json.loads(ended.stdout)
    for found in (cold, warm):
        compiled, eager = found["losses"]
        assert found["compiled"] and compiled == pytest.approx(eager, rel=1e-4)
    assert cold["warm_compile_seconds"] == 0 < warm["warm_compile_seconds"] <= warm["compile_seconds"]
    assert warm["compile_seconds"] < 0.5 * cold["compile_seconds"] and cold["seconds"] < cold["compile_seconds"]


def test_the_blocks_of_a_network():
    def block():
        return nn.Sequential(nn.Linear(2, 2))

    net = nn.Sequential(nn.ModuleList([nn.ModuleList([block(), block()]), block()]), nn.Sequential(nn.Linear(2, 2)))
    assert blocks_of(net) == [*net[0][0], net[0][1]]  # torch's own container beside them is no block for that
    mdt = network("mdt")
    assert blocks_of(mdt) == [*mdt.blocks, mdt.side_block]  # which stands in no list


def test_what_a_choice_compiles_where():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    found = {choice: (way_of(choice, cpu), way_of(choice, cuda)) for choice in ("on", "off", "blocks", "auto")}
    assert found == {"on": ("whole",) * 2, "off": ("off",) * 2, "blocks": ("blocks",) * 2, "auto": ("off", "blocks")}
