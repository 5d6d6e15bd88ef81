"""When a step's numbers reach the host, and what a step asks of a device: kernels, and reads that wait."""

from collections import Counter

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from toy_net import Toy
from trainers import CPU, SPEC, Hand, build, changed, go, stop_after, trainer

from ditbench.denoiser.guard import Spots
from ditbench.denoiser.interface import build_denoiser
from ditbench.denoiser_spec import DenoiserSpec
from ditbench.registry import Registry
from ditbench.runtime.distributed import World
from ditbench.runtime.progress import Diverged, Interrupted
from ditbench.tracks.budget import Budget, BudgetClock
from ditbench.training.discrete import Noise
from ditbench.training.objectives import Flow
from ditbench.training.pace import StepLate
from ditbench.training.trainer import Trainer


class Device:
    """Makes events, as a GPU's stream has them, and notes which of them the host has waited for."""

    def __init__(self, timer):
        self.timer, self.made, self.waited_for = timer, 0, []

    def event(self):
        event, self.made = Event(self, self.made), self.made + 1
        return event


class Event:
    def __init__(self, device, number):
        self.device, self.number = device, number

    def record(self):
        self.at = self.device.timer()

    def synchronize(self):
        self.device.waited_for.append((self.number, self.device.made))

    def elapsed_time(self, other):
        return 1000 * (other.at - self.at)  # milliseconds


def late(denoiser=None, device=None, **how):
    device = device or Device(Hand(0.01))
    return trainer(denoiser, pace=StepLate(device.event, pinned=False), timer=device.timer, **how)


def without_times(curve):
    return [{name: value for name, value in point.items() if "second" not in name} for point in curve.points]


def test_a_step_late_is_the_same_training(tmp_path):
    one, other = go(trainer(), tmp_path / "one"), go(late(), tmp_path / "late", every=0.0)
    assert without_times(other.curve) == without_times(one.curve) and len(one.curve.points) == 12
    assert all(torch.equal(tensor, other.tensors()[name]) for name, tensor in one.tensors().items())
    assert len(other.times.seconds) == other.clock.steps == 12
    assert other.clock.seconds == pytest.approx(sum(other.times.seconds))


def test_a_run_that_was_stopped_goes_on_with_all_its_steps(tmp_path):
    whole, part = go(late(), tmp_path / "whole"), late()
    with pytest.raises(Interrupted):
        go(part, tmp_path / "parts", stop_after(5, part))
    rest = go(late(), tmp_path / "parts")
    assert rest.clock.steps == 12 and without_times(rest.curve) == without_times(whole.curve)


def test_the_host_waits_once_a_step_for_the_step_before():
    device = Device(Hand(0.01))
    one = late(device=device)
    losses = [one.step() for _ in range(4)]
    events = 3  # of a step: it begins, it is over, its loss is on the host
    assert device.waited_for == [(events * step + 2, events * (step + 2)) for step in range(3)]
    one.settle()
    plain = trainer()
    known = [plain.step() for _ in range(4)]
    assert losses == [0.0, *known[:3]] and one.curve.losses == known


def test_divergence_is_found_a_step_late_at_its_step(tmp_path):
    one = late(Toy(SPEC, width=8, fault="nan"))
    with pytest.raises(Diverged, match="the loss became nan at step 3"):
        go(one, tmp_path)
    assert one.clock.steps <= 4


def test_a_budget_of_time_ends_with_the_step_that_learns_of_it(tmp_path):
    device = Device(Hand())

    class Slow(Toy):
        def forward(self, x, t, y):
            device.timer.now += 1.5
            return super().forward(x, t, y)

    one = late(build(Slow), device, budget="10s")
    while not one.clock.done:
        one.step()
    assert (one.facts().steps, one.clock.seconds) == (8, 12.0)  # the seventh reached it, and the eighth was begun


# what a step asks of a device


class Asked(TorchDispatchMode):
    """Counts kernels, and what the host reads of tensors."""

    FREE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach"}

    def __init__(self):
        super().__init__()
        self.kernels, self.reads = Counter(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name == "_local_scalar_dense":
            self.reads += 1
            return 1.0
        if func.namespace == "aten" and not func.is_view and name not in self.FREE:
            self.kernels[name] += 1
        return func(*args, **(kwargs or {}))


class Here(World):
    def place(self, network, device):
        return network  # it is there: what has no numbers can't be moved


class Made:
    """A feed of one kernel and one copy."""

    where = "device"

    def batch(self, position, count, draw):
        return torch.randn(count, 4, 32, 32), torch.zeros(count, dtype=torch.long)


def a_step(objective, monkeypatch):
    """What one of dit:S/2 asks, without numbers."""
    monkeypatch.setattr(Spots, "due", lambda *_, **__: False)  # a look reads, and is rare
    objective.corrupt(*torch.zeros(3, 1))  # makes its table, which has numbers, and stays
    learns = objective.learn_variance
    spec = DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent", learn_variance=learns)
    dit, recipe = Registry.installed().architectures["dit"], changed(batch_size=4, decay="constant")
    clock, device = BudgetClock(Budget(9, "steps")), Device(Hand())
    with FakeTensorMode(allow_non_fake_inputs=True):
        about = (build_denoiser(dit, "S/2", spec), spec, objective, recipe, clock, Made(), 0, CPU)
        one = Trainer(*about, world=Here(), pace=StepLate(device.event, pinned=False))
        one.step()
        with Asked() as asked:
            one.step()
    assert len(device.waited_for) == 1 and device.waited_for[0][0] < 3  # for the first
    return asked


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize(("objective", "most"), [(Flow(), 860), (Noise(learn_variance=True), 988)])
def test_kernels_and_reads_of_a_step(objective, most, monkeypatch):
    """Eager; what the optimiser and the average do to all weights counts as one."""
    asked = a_step(objective, monkeypatch)
    assert 0.9 * most < sum(asked.kernels.values()) <= most
    assert asked.reads == 1  # the loss of the step before
    assert asked.kernels["index"] <= 1  # a schedule is looked up once
