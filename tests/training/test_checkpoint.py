"""A run that is stopped and taken up again is the same run, bit for bit; and what else is saved on the way."""

import json
import pickle
import subprocess
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from checksums import SUMS, noted_again
from torch.distributed.checkpoint.api import CheckpointException
from toy_net import Toy
from trainers import CLIP_SPEC, SPEC, Hand, changed, clips_feed, go, latents_feed, stop_after, trainer

from ditbench.components import load
from ditbench.errors import BadFile, DitbenchError
from ditbench.registry import Registry
from ditbench.runtime.clock import EVERY, RunningClock
from ditbench.runtime.progress import Interrupted, Watch
from ditbench.training import checkpoint
from ditbench.training.checkpoint import Checkpoints
from ditbench.training.loop import SAVING_SECONDS

NETWORKS = Registry.installed().architectures


def same_state(one, other):
    mine, yours = one.tensors(), other.tensors()
    assert mine.keys() == yours.keys() and {name.partition("/")[0] for name in mine} == {"denoiser", "ema", "optimizer"}
    for name, tensor in mine.items():
        assert torch.equal(tensor, yours[name]), name
    assert one.numbers().groups == other.numbers().groups
    assert (one.clock.steps, one.clock.images) == (other.clock.steps, other.clock.images)
    assert [point["loss"] for point in one.curve.points] == [point["loss"] for point in other.curve.points]


@pytest.mark.parametrize("name", ["toy", *NETWORKS])
def test_a_resumed_run_is_the_same_run_bit_for_bit(tmp_path, name):
    def build():
        torch.manual_seed(0)
        if name == "toy":
            return Toy(SPEC, width=8)
        spec = CLIP_SPEC if of_clips else SPEC
        return load(NETWORKS[name].build)(spec, **NETWORKS[name].settings("nano", {}))

    def new():
        return trainer(build(), "6-steps", feed=clips_feed() if of_clips else None)

    of_clips = name != "toy" and NETWORKS[name].clips
    whole = go(new(), tmp_path / "whole")
    first = new()
    with pytest.raises(Interrupted):
        go(first, tmp_path / "parts", stop_after(4, first))
    torch.manual_seed(99)  # whatever the process did meanwhile
    torch.rand(7)
    second = go(new(), tmp_path / "parts")
    same_state(whole, second)
    assert (whole.resumed, second.resumed) == (0, 1)


@pytest.mark.parametrize("name", ["plain", "latents", "accumulated", "everything", "scaled", "muon"])
def test_a_run_that_is_killed_and_resumed_is_the_unbroken_one(tmp_path, name):
    """Also where the data is streamed, gradients are accumulated and clipped, the optimiser is Adan, or under muP."""
    more = {
        "plain": {"ema_half_life": None, "ema_decay": 0.9, "warmup": 0.0, "warmup_steps": 3},
        "latents": {"precision": "bfloat16"},
        "accumulated": {"micro_batch": 4, "clip_norm": 0.1},
        "everything": {"optimizer": "adan", "betas": (0.98, 0.92, 0.99), "micro_batch": 8, "clip_norm": 1.0},
        "scaled": {"weight_decay": 0.1},
        "muon": {"optimizer": "muon", "matrix_rate": 0.02, "decay": "linear"},
    }  # fmt: skip
    rates = {"outward.weight": 0.5, "middle.0.weight": 0.5, "label.weight": 1.0} if name == "scaled" else None
    streams = name in ("latents", "everything")

    def build():
        return trainer(recipe=changed(**more[name]), feed=latents_feed(tmp_path) if streams else None, rates=rates)

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

    def save(self, tensors, facts):
        saved.append(facts.clock["steps"])
        timer.now += takes - timer.tick

    monkeypatch.setattr(Checkpoints, "save", save)
    one = go(trainer(timer=timer), tmp_path, every=2.25)  # a step has four looks at the timer
    assert saved == steps
    assert one.clock.seconds == pytest.approx(12 * 0.75) and one.facts().checkpoint_seconds == pytest.approx(
        len(steps) * takes
    )


def test_milestones_are_offered_with_the_state_saved_and_again_after_a_resume(tmp_path):
    seen = []

    def measure(one, share, now):
        seen.append((share, now, one.clock.steps, Checkpoints(tmp_path, "hash").latest().facts.clock["steps"]))
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


def test_a_pause_is_on_no_clock_and_is_told_also_after_a_resume(tmp_path, monkeypatch):
    times = SimpleNamespace(now=0.0)
    clock = RunningClock(lambda: times.now, lambda: 0.0, lambda: 0.0)
    monkeypatch.setattr("ditbench.training.trainer.RUNNING", clock)
    monkeypatch.setattr(RunningClock, "_keep_looking", lambda self, over: None)

    class Paused(Toy):
        def forward(self, x, t, y):
            times.now += 60.0 if times.now == 3 * 1.5 else 1.5  # stopped in the midst of the fourth step
            return super().forward(x, t, y)

    with clock.watched():
        first = trainer(Paused(SPEC, width=8), "10s", timer=clock)
        with pytest.raises(Interrupted):
            go(first, tmp_path, stop_after(5, first))
        second = go(trainer(Paused(SPEC, width=8), "10s", timer=clock), tmp_path)
    facts = second.facts()
    assert facts.steps == 8 and facts.step_seconds == pytest.approx([1.5] * 3 + [EVERY] + [1.5] * 4)
    assert facts.seconds == pytest.approx(7 * 1.5 + EVERY)
    assert (facts.pauses, facts.paused_seconds) == (1, pytest.approx(60 - EVERY))
    assert facts.images_per_second == pytest.approx(16 / 1.5)


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
    path = tmp_path / "checkpoints" / "000001" / "state.json"
    content = json.loads(path.read_text())
    content["facts"]["peak"]["resident"] *= 100
    path.write_text(json.dumps(content))
    noted_again(path.parent)
    second = trainer()
    second.restore(Checkpoints(tmp_path, "hash").latest())
    assert second.peak.resident == content["facts"]["peak"]["resident"]


def saved_in(folder):
    """A checkpoint of some steps, and its one file of tensors."""
    first = trainer()
    with pytest.raises(Interrupted):
        go(first, folder, watch=stop_after(3, first))
    (tensors,) = folder.glob("checkpoints/*/*.safetensors")
    return tensors


def test_a_checkpoint_of_another_run_version_or_network_is_refused(tmp_path):
    assert Checkpoints(tmp_path, "hash").latest() is None
    facts = saved_in(tmp_path).with_name("state.json")
    with pytest.raises(BadFile, match="belongs to another run"):
        Checkpoints(tmp_path, "yours").latest()
    torch.manual_seed(0)
    with pytest.raises(BadFile, match="does not fit its run"):
        trainer(Toy(SPEC, width=16)).restore(Checkpoints(tmp_path, "hash").latest())
    facts.write_text(facts.read_text().replace('"layout":4', '"layout":5'))
    noted_again(facts.parent)
    with pytest.raises(BadFile, match="another version of ditbench"):
        Checkpoints(tmp_path, "hash").latest()
    (tmp_path / "checkpoint.pt").write_bytes(b"of an older ditbench")
    with pytest.raises(BadFile, match=r"checkpoint\.pt.*another version of ditbench"):
        Checkpoints(tmp_path, "hash").latest()


def changed_in_a_bit(path):
    """Still a number, or JSON, of the same length."""
    content = bytearray(path.read_bytes())
    content[content.rindex(b"1") if path.suffix == ".json" else -9] ^= 2  # "1" and "3"
    path.write_bytes(content)


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "not noted"])
@pytest.mark.parametrize("damage", ["cut", "garbage", "gone", "facts", "fields"])
def test_a_damaged_checkpoint_is_told_in_one_line(tmp_path, damage, noted):
    """Also where its checksums say that it has always been so."""
    tensors = saved_in(tmp_path)
    facts = tensors.with_name("state.json")
    match damage:
        case "cut":
            tensors.write_bytes(tensors.read_bytes()[:-200])
        case "garbage":
            tensors.write_bytes(pickle.dumps({"a": print}))
        case "gone":
            tensors.unlink()
        case "facts":
            facts.write_text(facts.read_text()[:-20])
        case "fields":
            facts.write_text(facts.read_text().replace('"before"', '"after"'))
    if noted:
        noted_again(facts.parent)
    with pytest.raises(BadFile, match=r"can't be read|does not fit") as told:
        trainer().restore(Checkpoints(tmp_path, "hash").latest())
    assert "`force`" in str(told.value) and "\n" not in str(told.value)


def killed_after(steps, folder):
    """A training that has saved after every step, and nothing more at its end."""
    one = trainer()

    def kill():
        if one.clock.steps == steps:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        go(one, folder, Watch(should_stop=kill), every=1e-9)
    one.feed.close()


@pytest.mark.parametrize("file", ["tensors", "state.json", SUMS, "no sums", "one more"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(tmp_path, file):
    """The result is the unbroken run's, and its record tells, also if the run is stopped once more before it saves."""
    whole = go(trainer(), tmp_path / "whole")
    killed_after(7, tmp_path / "parts")
    old, new = sorted((tmp_path / "parts" / "checkpoints").iterdir())
    (tensors,) = new.glob("*.safetensors")
    match file:
        case "tensors":
            changed_in_a_bit(tensors)
        case "no sums":
            (new / SUMS).unlink()
        case "one more":
            (new / f"other-{tensors.name}").write_bytes(tensors.read_bytes())
        case _:
            changed_in_a_bit(new / file)
    Checkpoints(tmp_path / "parts", "hash").latest()  # as a process that was killed then
    last = go(trainer(), tmp_path / "parts", every=1e-9)
    same_state(whole, last)
    assert (last.facts().resumed, last.facts().damaged_checkpoints) == (1, 1)
    assert whole.facts().damaged_checkpoints == 0
    assert {path.name for path in old.parent.iterdir()} == {"000011", "000012"}


def test_whoever_takes_up_the_one_before_hears_why(tmp_path):
    told = []
    killed_after(4, tmp_path)
    (tensors,) = tmp_path.glob("checkpoints/000004/*.safetensors")
    changed_in_a_bit(tensors)
    go(trainer(), tmp_path, Watch(told.append))
    said = f"The checkpoint 000004 is damaged ({tensors.name}: its bytes are not those that were written). "
    assert [one.remark for one in told if one.remark] == [f"{said}The one before, 000003, is taken up."]
    assert told[0].step == 3


def test_a_checkpoint_of_before_there_were_checksums_is_taken_up_and_told_of(tmp_path):
    facts, told = saved_in(tmp_path).with_name("state.json"), []
    (facts.parent / SUMS).unlink()
    facts.write_text(facts.read_text().replace('"layout":4', '"layout":3').replace('"damaged":0,', ""))
    last = go(trainer(), tmp_path, Watch(told.append))
    assert (last.facts().resumed, last.facts().damaged_checkpoints) == (1, 0)
    assert told[0].remark.startswith("The checkpoint 000001 is of an older ditbench and has no checksums")


def test_sha256sum_can_check_a_checkpoint(tmp_path):
    folder = saved_in(tmp_path).parent
    done = subprocess.run(["sha256sum", "--check", SUMS], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK\n") == 2 == len(list(folder.iterdir())) - 1


def test_two_checkpoints_stay_and_what_a_kill_leaves_is_no_checkpoint(tmp_path):
    """Of two trainings in turn each saves a few; a folder that has not got its name yet is of no use."""
    saved_in(tmp_path)
    half = tmp_path / "checkpoints" / ".000002.tmp"
    half.mkdir()
    (half / "state.json").write_text("{")
    assert Checkpoints(tmp_path, "hash").latest().facts.clock["steps"] == 3
    go(trainer(), tmp_path, every=1e-9)
    of_steps_11_and_12 = ["000009", "000010"]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == of_steps_11_and_12


def test_what_is_saved_is_the_state_of_that_step_though_training_goes_on(tmp_path):
    """The copy is taken at once; the file is written while the weights change."""
    one, mine = trainer(), Checkpoints(tmp_path, "hash")
    one.step()
    mine.save(one.tensors(), one.numbers())
    before = {name: tensor.clone() for name, tensor in one.tensors().items()}
    one.step()
    assert mine.latest() is None
    mine.settle()
    other = trainer()
    other.restore(mine.latest())
    assert other.clock.steps == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.tensors().items())


def test_a_gpus_state_is_copied_into_pinned_memory_that_stays(tmp_path, monkeypatch):
    """Each checkpoint is the state of its step; what an optimiser makes late has memory, too. To pin takes CUDA."""
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    one, mine, sizes = trainer(), Checkpoints(tmp_path, "hash", pinned=True), []
    for step in range(4):  # the first one before there are any moments
        mine.save(one.tensors(), one.numbers())
        before = {name: tensor.clone() for name, tensor in one.tensors().items()}
        one.step()
        mine.settle()
        other = trainer()
        other.restore(mine.latest())
        assert other.clock.steps == step and other.tensors().keys() == before.keys()
        assert all(torch.equal(tensor, before[name]) for name, tensor in other.tensors().items())
        sizes.append(len(pinned))
    assert 0 < sizes[0] < sizes[1] == sizes[2] == sizes[3]


def test_a_full_disk_is_one_clear_line(tmp_path, monkeypatch):
    """The library's exception is no `Exception`, and its text a traceback."""
    full, written = OSError(28, "No space left on device"), Future()
    written.set_exception(CheckpointException("save", {0: (full, None)}))
    monkeypatch.setattr(checkpoint, "async_save", lambda *what, **how: written)
    mine, one = Checkpoints(tmp_path, "hash"), trainer()
    mine.save(one.tensors(), one.numbers())
    with pytest.raises(DitbenchError, match=r"checkpoints/000001' can't be written: No space left on device\. Mend"):
        mine.settle()
    assert not list(tmp_path.glob("checkpoints/.*"))  # the room of what was begun is free again
