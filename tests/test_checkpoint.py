"""A run that is stopped and taken up again is the same run, bit for bit; and what else is saved on the way."""

import json
from functools import partial

import pytest
import torch
from toy_net import Toy
from trainers import SPEC, Hand, changed, go, latents_feed, stop_after, trainer

from ditbench import checkpoint
from ditbench.components import load
from ditbench.errors import BadFile
from ditbench.registry import Registry
from ditbench.training import SAVING_SECONDS
from ditbench.watch import Interrupted

NETWORKS = Registry.installed().architectures


def same_state(one, other):
    for part in ("denoiser", "ema"):
        for name, tensor in one.state()[part].items():
            assert torch.equal(tensor, other.state()[part][name]), (part, name)
    mine, yours = one.state()["optimizer"], other.state()["optimizer"]
    assert mine["param_groups"] == yours["param_groups"]
    for key, moments in mine["state"].items():
        assert all(torch.equal(value, yours["state"][key][name]) for name, value in moments.items())
    assert (one.clock.steps, one.clock.images) == (other.clock.steps, other.clock.images)
    assert [point["loss"] for point in one.curve.points] == [point["loss"] for point in other.curve.points]


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


@pytest.mark.parametrize("name", ["plain", "latents", "accumulated", "everything"])
def test_a_run_that_is_killed_and_resumed_is_the_unbroken_one(tmp_path, name):
    """Also where the data is streamed, gradients are accumulated and clipped, and the optimiser is Adan."""
    more = {
        "plain": {"ema_half_life": None, "ema_decay": 0.9, "warmup": 0.0, "warmup_steps": 3},
        "latents": {"precision": "bfloat16"},
        "accumulated": {"micro_batch": 4, "clip_norm": 0.1},
        "everything": {"optimizer": "adan", "betas": (0.98, 0.92, 0.99), "micro_batch": 8, "clip_norm": 1.0},
    }  # fmt: skip
    streams = name in ("latents", "everything")

    def build():
        return trainer(recipe=changed(**more[name]), feed=latents_feed(tmp_path) if streams else None)

    whole = go(build(), tmp_path / "whole")
    for stop in (3, 8):  # 8: in the second epoch
        part = build()
        with pytest.raises(Interrupted):
            go(part, tmp_path / "parts", stop_after(stop, part))
        torch.rand(7)  # whatever the process did meanwhile
    last = go(build(), tmp_path / "parts")
    same_state(whole, last)
    assert last.facts().resumed == 2 and last.facts().feeding == ("streamed" if streams else "device")


def test_resume_continues_the_curve_file(tmp_path):
    first = trainer()
    with pytest.raises(Interrupted):
        go(first, tmp_path, stop_after(5, first))
    with (tmp_path / "curve.jsonl").open("a") as file:
        file.write('{"step": 6, "loss": 9')  # a torn line, as a kill leaves it
    second = go(trainer(), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert lines == second.curve.points and [line["step"] for line in lines] == list(range(1, 13))


@pytest.mark.parametrize(("takes", "steps"), [(SAVING_SECONDS / 2, [3, 6, 9, 12]), (2.5 * SAVING_SECONDS, [3, 11, 12])])
def test_checkpoints_are_periodic_and_rare_where_they_take_long(tmp_path, monkeypatch, takes, steps):
    saved, timer = [], Hand(tick=0.25)

    def save(path, run, state):
        saved.append(state["clock"]["steps"])
        timer.now += takes - timer.tick

    monkeypatch.setattr(checkpoint, "save", save)
    one = go(trainer(timer=timer), tmp_path, every=2.25)  # a step has four looks at the timer
    assert saved == steps
    assert one.clock.seconds == pytest.approx(12 * 0.75) and one.facts().checkpoint_seconds == pytest.approx(
        len(steps) * takes
    )


def test_milestones_are_offered_with_the_state_saved_and_again_after_a_resume(tmp_path):
    seen = []

    def measure(one, share, now):
        seen.append(
            (share, now, one.clock.steps, checkpoint.load(tmp_path / "checkpoint.pt", "hash")["clock"]["steps"])
        )
        if seen == [(0.25, True, 3, 3), (0.5, True, 6, 6)]:
            raise Interrupted("in the middle of the second")

    first = trainer()
    with pytest.raises(Interrupted):
        go(first, tmp_path, milestones=(0.25, 0.5, 0.75), evaluate=partial(measure, first))
    seen.clear()
    second = trainer()
    go(second, tmp_path, milestones=(0.25, 0.5, 0.75), evaluate=partial(measure, second))
    assert seen == [(0.25, False, 6, 6), (0.5, True, 6, 6), (0.75, True, 9, 9)]
    same_state(go(trainer(), tmp_path / "whole"), second)


def test_a_time_budget_counts_on_after_an_interruption(tmp_path):
    class Slow(Toy):
        def forward(self, x, t, y):
            timer.now += 1.5
            return super().forward(x, t, y)

    def begin():
        return trainer(Slow(SPEC, width=8), "10s", timer=timer)

    timer = Hand()
    first = begin()
    with pytest.raises(Interrupted):
        go(first, tmp_path, watch=stop_after(3, first))
    timer.now += 5000  # until somebody starts it again
    second = go(begin(), tmp_path)
    assert (second.clock.steps, second.clock.seconds, second.resumed) == (7, 10.5, 1)


def test_the_peak_of_training_outlives_its_process(tmp_path):
    first = trainer()
    with pytest.raises(Interrupted):
        go(first, tmp_path, watch=stop_after(3, first))
    state = checkpoint.load(tmp_path / "checkpoint.pt", "hash")
    state["peak"]["resident"] *= 100
    second = trainer()
    second.restore(state)
    assert second.peak.resident == state["peak"]["resident"]


def test_a_checkpoint_of_another_run_layout_or_a_torn_one_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    assert checkpoint.load(path, "mine") is None
    checkpoint.save(path, "mine", {"a": torch.ones(3)})
    assert checkpoint.load(path, "mine")["a"].tolist() == [1, 1, 1]
    with pytest.raises(BadFile, match="belongs to another run"):
        checkpoint.load(path, "yours")
    torch.save({"run": "mine", "a": torch.ones(3)}, tmp_path / "old.pt")
    with pytest.raises(BadFile, match=r"old\.pt.*another version of ditbench"):
        checkpoint.load(tmp_path / "old.pt", "mine")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BadFile, match="can't be read"):
        checkpoint.load(path, "mine")


def test_a_checkpoint_can_not_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("pwned",))

    torch.save({"run": "mine", "x": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(BadFile, match="can't be read"):
        checkpoint.load(tmp_path / "checkpoint.pt", "mine")
