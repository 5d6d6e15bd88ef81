"""The loop: what each step sees, the schedule, the EMA, and that a resumed run is the same run, bit for bit."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from toy_net import Toy

from ditbench import checkpoint
from ditbench.budget import Budget
from ditbench.components import DenoiserSpec, load
from ditbench.datasets import load_digits
from ditbench.errors import BadFile
from ditbench.objectives import Flow
from ditbench.registry import Registry
from ditbench.track import Recipe
from ditbench.training import MAX_STEP_TIMES, Shuffle, StepTimes, Trainer, lr_factor, train
from ditbench.watch import Diverged, Interrupted, Watch

SPEC = DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
RECIPE = Recipe(
    optimizer="adamw", learning_rate=2e-3, betas=(0.9, 0.99), weight_decay=0.01, batch_size=16, warmup=0.1,
    decay="cosine", label_dropout=0.1, ema_half_life=0.2, precision="float32",
)  # fmt: skip
DIGITS = load_digits()
NETWORKS = Registry.installed().architectures


def trainer(denoiser=None, budget="12-steps", seed=0, recipe=RECIPE):
    if denoiser is None:
        torch.manual_seed(seed)
        denoiser = Toy(SPEC, width=8)
    cpu = torch.device("cpu")
    return Trainer(denoiser, SPEC, Flow(), recipe, Budget.parse(budget), DIGITS.pixels, DIGITS.labels, seed, cpu)


def go(one, folder, watch=None, every=1e9):
    folder.mkdir(exist_ok=True)
    train(one, folder, "hash", every, watch or Watch())
    return one


def stop_after(steps, one):
    return Watch(should_stop=lambda: one.clock.steps >= steps)


def same_state(one, other):
    for part in ("denoiser", "ema"):
        for name, tensor in one.state()[part].items():
            assert torch.equal(tensor, other.state()[part][name]), (part, name)
    mine, yours = one.state()["optimizer"], other.state()["optimizer"]
    assert mine["param_groups"] == yours["param_groups"]
    for key, moments in mine["state"].items():
        assert all(torch.equal(value, yours["state"][key][name]) for name, value in moments.items())
    assert (one.clock.steps, one.clock.images) == (other.clock.steps, other.clock.images)
    assert [point["loss"] for point in one.curve] == [point["loss"] for point in other.curve]


@pytest.mark.parametrize("name", ["toy", *NETWORKS])
def test_a_resumed_run_is_the_same_run_bit_for_bit(tmp_path, name):
    def build():
        torch.manual_seed(0)
        if name == "toy":
            return Toy(SPEC, width=8)
        return load(NETWORKS[name].build)(SPEC, **NETWORKS[name].settings("nano", {}))

    whole = go(trainer(build(), "6-steps"), tmp_path / "whole")
    first = trainer(build(), "6-steps")
    with pytest.raises(Interrupted):
        go(first, tmp_path / "parts", stop_after(4, first))
    torch.manual_seed(99)  # whatever the process did meanwhile
    torch.rand(7)
    second = go(trainer(build(), "6-steps"), tmp_path / "parts")
    same_state(whole, second)
    assert (whole.resumed, second.resumed) == (0, 1)


def test_resume_continues_the_curve_file(tmp_path):
    first = trainer()
    with pytest.raises(Interrupted):
        go(first, tmp_path, stop_after(5, first))
    with (tmp_path / "curve.jsonl").open("a") as file:
        file.write('{"step": 6, "loss": 9')  # a torn line, as a kill leaves it
    second = go(trainer(), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert lines == second.curve and [line["step"] for line in lines] == list(range(1, 13))


def test_checkpoints_are_periodic(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda path, run, state: saved.append(state["clock"]["steps"]))
    go(trainer(), tmp_path, every=1e-9)
    assert saved == [*range(1, 13), 12]


def test_a_checkpoint_of_another_run_or_a_torn_one_is_refused(tmp_path):
    cpu, path = torch.device("cpu"), tmp_path / "checkpoint.pt"
    assert checkpoint.load(path, "mine", cpu) is None
    checkpoint.save(path, "mine", {"a": torch.ones(3)})
    assert checkpoint.load(path, "mine", cpu)["a"].tolist() == [1, 1, 1]
    with pytest.raises(BadFile, match="belongs to another run"):
        checkpoint.load(path, "yours", cpu)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BadFile, match="can't be read"):
        checkpoint.load(path, "mine", cpu)


def test_a_checkpoint_can_not_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("pwned",))

    torch.save({"run": "mine", "x": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(BadFile, match="can't be read"):
        checkpoint.load(tmp_path / "checkpoint.pt", "mine", torch.device("cpu"))


def test_architectures_see_the_same_images_labels_times_and_noise():
    seen = []

    class Spy(Toy):
        def forward(self, x, t, y):
            seen.append((x.detach().clone(), t.clone(), y.clone()))
            return super().forward(x, t, y)

        draws = 0

        def training_loss(self, loss):
            torch.rand(self.draws)  # draws of the network's own must not shift the harness's
            first = loss()
            return first + loss() if self.draws else first

    for draws in (0, 5):
        spy = Spy(SPEC, width=8)
        spy.draws = draws
        one = trainer(spy)
        one.step(), one.step()
    plain, twice = seen[:2], seen[2:]
    for step in range(2):
        assert all(torch.equal(a, b) for a, b in zip(plain[step], twice[2 * step], strict=True))
        x, t, y = twice[2 * step + 1]
        assert torch.equal(t, plain[step][1]) and torch.equal(y, plain[step][2])
        assert not torch.equal(x, plain[step][0])  # the second forward has fresh noise


def test_label_dropout_uses_the_null_label():
    seen = []

    class Spy(Toy):
        def forward(self, x, t, y):
            seen.append(y)
            return super().forward(x, t, y)

    one = trainer(Spy(SPEC, width=4), "200-steps")
    for _ in range(200):
        one.step()
    labels = torch.cat(seen)
    assert labels.min() == 0 and labels.max() == 10
    assert float((labels == 10).float().mean()) == pytest.approx(0.1, abs=0.02)


def test_the_shuffle_deals_every_image_once_per_epoch_from_any_position():
    shuffle = Shuffle(10, seed=3)
    stream = np.concatenate([shuffle.batch(start, 7) for start in range(0, 70, 7)])
    for epoch in range(7):
        assert sorted(stream[10 * epoch : 10 * epoch + 10]) == list(range(10))
    assert np.array_equal(Shuffle(10, seed=3).batch(23, 30), stream[23:53])
    assert not np.array_equal(Shuffle(10, seed=4).batch(0, 10), stream[:10])
    assert not np.array_equal(stream[:10], stream[10:20])


def test_the_learning_rate_warms_up_and_decays():
    assert [lr_factor(RECIPE, p) for p in (0, 0.05, 0.1)] == pytest.approx([0, 0.5, 1])
    assert lr_factor(RECIPE, 0.55) == pytest.approx(0.5)
    assert lr_factor(RECIPE, 1.0) == pytest.approx(0)
    constant = RECIPE.model_copy(update={"decay": "constant", "warmup": 0.0})
    assert [lr_factor(constant, p) for p in (0, 0.5, 1)] == [1, 1, 1]


def test_the_ema_has_its_half_life_in_shares_of_the_budget():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x, t, y):
            return x * self.weight

    recipe = RECIPE.model_copy(update={"learning_rate": 1e-12, "ema_half_life": 0.25})
    one = trainer(Frozen(), "8-steps", recipe=recipe)
    with torch.no_grad():
        one.ema.weight.zero_()
    for _ in range(8):  # four half-lives
        one.step()
    assert float(one.ema.weight) == pytest.approx(1 - 0.5**4, abs=1e-6)


def test_divergence_is_found_at_its_step(tmp_path):
    with pytest.raises(Diverged, match="the loss became nan at step 3"):
        go(trainer(Toy(SPEC, width=8, fault="nan")), tmp_path)


def test_training_lowers_the_loss(tmp_path):
    one = go(trainer(Toy(SPEC, width=32), budget="200-steps"), tmp_path)
    assert one.curve[-1]["loss"] < 0.6 * one.curve[0]["loss"]


def test_raw_step_times_stay_few_and_evenly_spaced():
    times = StepTimes()
    for step in range(10_000):
        times.add(step, float(step))
    assert len(times.seconds) <= MAX_STEP_TIMES
    assert times.seconds == [float(step) for step in range(0, 10_000, times.stride)]


def test_a_time_budget_ends_training_and_its_curve_has_rates(tmp_path):
    one = go(trainer(budget="0.5s"), tmp_path)
    assert 0.5 <= one.clock.seconds < 2
    assert all(point["images_per_second"] > 0 for point in one.curve)
