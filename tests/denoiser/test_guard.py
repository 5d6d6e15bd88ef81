"""What a network changes when it is called, beside its output, is seen and named; what it may do is no fault."""

import random

import numpy as np
import pytest
import torch
from toy_net import Toy

from ditbench.denoiser.guard import Guard, Spots
from ditbench.denoiser.interface import DIGITS_SPEC, build_denoiser, example_batch, training_loss
from ditbench.errors import BadValue
from ditbench.registry import Registry

X, T, Y = example_batch(DIGITS_SPEC, 3)
REFERENCES = ("dit", "uvit", "mdt", "mdtv2", "diffit")


@pytest.fixture(autouse=True)
def restored():
    """What the networks here change stays no longer than their test."""
    threads, kind, states = (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        (random.getstate(), np.random.get_state()),
    )
    precision = torch.get_float32_matmul_precision()
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(kind)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.enable_flash_sdp(True)
    torch.set_autocast_enabled("cpu", False)
    random.setstate(states[0])
    np.random.set_state(states[1])


class Meddler(Toy):
    """Does `deed(network)` in every forward pass."""

    def __init__(self, deed):
        super().__init__(DIGITS_SPEC, width=8)
        self.register_buffer("table", torch.zeros(4))
        self.deed = deed

    def forward(self, x, t, y):
        out = super().forward(x, t, y)
        self.deed(self)
        return out


def train_more(network):
    for weight in network.parameters():
        weight.data -= 1e-3 * torch.ones_like(weight)  # past autograd, which would count a version


def train_by_the_optimizer(network):
    for state in network.optimizer.state.values():
        state["step"] += 1


def learn_faster(network):
    network.optimizer.param_groups[0]["lr"] *= 2


def swap(network):
    network.time.weight = torch.nn.Parameter(network.time.weight.detach().clone())


def draw_from_torch(network):
    torch.rand(1)


def write_to_a_buffer(network):
    network.table += 1


EITHER = {  # deed: what is named, in training and in eval mode
    "its weights": train_more,
    "its weights ": swap,
    "torch's number of threads": lambda network: torch.set_num_threads(torch.get_num_threads() + 1),
    "torch's default dtype": lambda network: torch.set_default_dtype(torch.float64),
    "torch's default device": lambda network: torch.set_default_device("meta"),
    "the grad mode": lambda network: torch.set_grad_enabled(not torch.is_grad_enabled()),
    "autocast": lambda network: torch.set_autocast_enabled("cpu", True),
    "the precision of matrix products": lambda network: torch.set_float32_matmul_precision("medium"),
    "cuDNN's settings": lambda network: setattr(torch.backends.cudnn, "benchmark", True),
    "the kinds of attention": lambda network: torch.backends.cuda.enable_flash_sdp(False),
    "the deterministic algorithms": lambda network: torch.use_deterministic_algorithms(True, warn_only=True),
    "Python's generator": lambda network: random.random(),
    "NumPy's generator": lambda network: np.random.rand(),
    "torch's generator": lambda network: torch.manual_seed(7),
    "the optimizer's settings": learn_faster,
    "the optimizer's steps": train_by_the_optimizer,
}
IN_EVAL = {"torch's generator": draw_from_torch, "its buffers": write_to_a_buffer}


def looked_at(deed, training):
    """A network that meddles once it is looked at, not before."""
    network = Meddler(lambda network: None)
    optimizer = torch.optim.AdamW(network.parameters())
    training_loss(network.train(), X, T, Y).backward()
    optimizer.step()
    network.__dict__["optimizer"], network.deed = optimizer, deed
    with torch.set_grad_enabled(training), Guard(network.train(training), optimizer).surroundings():
        training_loss(network, X, T, Y)


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("name", EITHER)
def test_what_a_call_changes_is_named(name, training):
    words = rf"^A forward pass of Meddler changed {name.strip()}: a network may change nothing but its output\.$"
    with pytest.raises(BadValue, match=words):
        looked_at(EITHER[name], training)


@pytest.mark.parametrize("name", IN_EVAL)
def test_training_may_draw_and_write_to_buffers_and_sampling_may_not(name):
    looked_at(IN_EVAL[name], training=True)
    with pytest.raises(BadValue, match=rf"changed {name}:"):
        looked_at(IN_EVAL[name], training=False)


def test_a_setting_that_was_changed_between_two_looks_is_seen_at_the_second():
    guard = Guard(Toy(DIGITS_SPEC, width=8))
    with guard.surroundings():
        pass
    torch.set_num_threads(torch.get_num_threads() + 1)
    with pytest.raises(BadValue, match="changed torch's number of threads:"), guard.surroundings():
        pass


@pytest.mark.parametrize("which", ["x", "t", "y"])
def test_an_input_that_changes_is_named(which):
    inputs = {name: tensor.clone() for name, tensor in zip("xty", (X, T, Y), strict=True)}
    guard = Guard(Toy(DIGITS_SPEC, width=8))
    with guard.inputs(**inputs):
        pass
    with pytest.raises(BadValue, match=f"changed its input {which}:"), guard.inputs(**inputs):
        inputs[which].data += 1


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_networks_leave_all_alone(name):
    architecture = Registry.installed().architectures[name]
    network = build_denoiser(architecture)
    optimizer = torch.optim.AdamW(network.parameters())
    guard = Guard(network.train(), optimizer)
    for _ in range(2):
        with guard.surroundings(), guard.inputs(x=X, t=T, y=Y):
            training_loss(network, X, T, Y).backward()
        optimizer.step()
    with torch.inference_mode(), Guard(network.eval()).surroundings(), guard.inputs(x=X, t=T, y=Y):
        network(X, T, Y)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.complex64, torch.complex128, torch.bool])
def test_weights_of_every_type_are_looked_at(kind):
    network = torch.nn.Module()
    network.register_buffer("table", torch.zeros(3, 2, dtype=kind).T)
    network.register_buffer("none", torch.zeros(0, dtype=kind))
    guard = Guard(network.eval())
    with guard.surroundings():
        pass
    with pytest.raises(BadValue, match="changed its buffers:"), guard.surroundings():
        network.table[0, 1] = 1


def test_it_is_looked_first_last_and_in_between_as_far_as_that_is_cheap(monkeypatch):
    now = 0.0
    monkeypatch.setattr("ditbench.denoiser.guard.time.perf_counter", lambda: now)
    spots, looks = Spots(), []
    for step in range(4000):
        if spots.due(seconds=step, last=step == 3999):
            looks.append(step)
            with spots.looking():
                now += 1.0
    assert looks[0] == 0 and looks[-1] == 3999
    assert 9 <= len(looks) <= 15  # three seconds in a thousand
    with pytest.raises(ZeroDivisionError), spots.looking():
        raise ZeroDivisionError
