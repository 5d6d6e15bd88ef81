"""Time, memory and energy of denoisers: exact with a fake clock and a fake NVML, whole with real processes."""

import json
import os
import signal
import threading
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import pytest
import torch
from matplotlib.text import Text
from PIL import Image
from pynvml import NVMLError
from records import ENVIRONMENT, finished
from torch._dynamo.callback import CallbackTrigger, callback_handler

from ditbench.cli.options import as_flags, parse_batch_sizes
from ditbench.denoiser.interface import DIGITS_SPEC, build_denoiser, example_batch, perturb
from ditbench.errors import BadFile, BadValue
from ditbench.profiling import timing
from ditbench.profiling.energy import energy_counter
from ditbench.profiling.hardware import VERSION, dense_peak
from ditbench.profiling.plot import draw, marks_of, write_plot
from ditbench.profiling.profiler import plan_profiles, run_profiles
from ditbench.profiling.tables import tables, write_page
from ditbench.profiling.timing import stand_in_loss, time_steps, track_loss, training_step
from ditbench.records.facts import PeakMemory
from ditbench.records.profile import How, Phase, Profile, Setup, Turn, read_profile, read_profiles, write_profile
from ditbench.records.record import read_records
from ditbench.registry import Registry, select
from ditbench.sampling.walking import GuidedDenoiser
from ditbench.tracks.architecture import facts_of
from ditbench.tracks.lookup import resolve_track
from ditbench.training.objectives import Flow

HOW = How(batch_size=8, steps=4, warmup=1, precision="float32", compile=False, device="cpu")
SETUP = Setup(**dict(HOW), spec=DIGITS_SPEC)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def phase(*seconds, mebibytes=100, **changes):
    peak = PeakMemory(resident=mebibytes << 20)
    return Phase(**{"warmup_seconds": 1.0, "compile_seconds": None, "step_seconds": seconds, "peak": peak, **changes})


def profile(label="dit:nano", seconds=(0.5, 0.5, 0.5, 0.5), mebibytes=100, **changes):
    whole = {"setup": SETUP, "environment": ENVIRONMENT, "cost": finished().cost, "peaks_version": VERSION}
    phases = {"inference": phase(*seconds), "training": phase(*seconds, mebibytes=mebibytes)}
    return Profile(**about(label), **{**whole, **phases, **changes})


def about(label):
    """What a profile is of, and when it was taken."""
    architecture = finished().architecture.model_copy(update={"name": label.partition(":")[0], "label": label})
    turn = Turn(seed=1, position=0, of=1)
    return {"created": datetime(2026, 1, 2, tzinfo=UTC), "architecture": architecture, "turn": turn}


def failure(label, reason="OutOfMemoryError: too much"):
    return Profile(**about(label), setup=SETUP, reason=reason)


def clock_of(*steps):
    """A clock that is read at the beginning and at the end of steps of these lengths."""
    times = iter([moment for length in steps for moment in (100.0, 100.0 + length)])
    return lambda: next(times)


def test_a_known_step_time_gives_the_exact_throughput():
    steps = []
    setup = SETUP.model_copy(update={"warmup": 2})
    clock = clock_of(7.0, 1.5, 1.5, 0.2, 0.2, 0.4, 0.2)
    found = time_steps(lambda: steps.append(1), CPU, setup, clock=clock)
    assert found.warmup_seconds == 10 and found.compile_seconds is None and len(steps) == 7
    assert found.step_seconds == pytest.approx([0.2, 0.2, 0.4, 0.2])
    assert found.images_per_second(8) == pytest.approx((8 / 0.25, 40, 40))  # median of 0.2, 0.2, 0.2, 0.4


def test_the_global_throughput_is_that_of_a_device_times_the_devices():
    four = profile(setup=SETUP.model_copy(update={"devices": 4}))
    (row,) = tables([four])["Training"].to_dict("records")
    assert (
        row["images/s per device"] == "16.00 (16.00 to 16.00)" and row["devices"] == "4" and row["images/s"] == "64.00"
    )
    (row,) = tables([profile()])["Training"].to_dict("records")
    assert row["devices"] == "1" and row["images/s"] == "16.00"


def test_compiling_stands_apart_from_the_warm_up():
    now = [0.0]

    def step():
        now[0] += 1.0
        compiles = {1: 30.0, 2: 5.0, 4: 2.0}  # the fourth step is timed
        count[0] += 1
        if count[0] in compiles:
            with callback_handler.install_callbacks(CallbackTrigger.LAZY_BACKWARD, "0/0"):
                now[0] += compiles[count[0]]

    count = [0]
    setup = SETUP.model_copy(update={"compile": True, "warmup": 2})
    found = time_steps(step, CPU, setup, clock=lambda: now[0])
    assert found.warmup_seconds == 3 and found.compile_seconds == 37
    assert found.step_seconds == [3, 1, 1, 1] and found.compiled_steps == 1
    assert not callback_handler.start_callbacks and not callback_handler.end_callbacks
    row = tables([profile(training=found)])["Training"].to_dict("records")[0]
    assert (row["warm-up s"], row["compile s"], row["note"]) == ("3.0", "37.0", "1 timed steps compiled again")


def test_on_cuda_the_clock_waits_for_the_device_and_all_its_memory_is_seen(monkeypatch):
    events, free = [], iter([90, 60, 70, 20, 80, 80])
    fakes = {
        "synchronize": lambda device: events.append("synchronised"),
        "mem_get_info": lambda device: (next(free), 100),
        "max_memory_allocated": lambda device: 30,
        "max_memory_reserved": lambda device: 50,
        "reset_peak_memory_stats": lambda device: events.append("reset"),
        "empty_cache": lambda: None,
        "init": lambda: None,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)

    def clock():
        events.append("clock")
        return 0.0

    found = time_steps(lambda: events.append("step"), CUDA, SETUP, clock=clock)
    assert events == ["reset"] + 6 * ["clock", "step", "synchronised", "clock"]
    assert found.peak == PeakMemory(allocated=30, reserved=50, device_used=80)


class FakeNvml:
    """NVML on a machine whose second GPU is the one that torch calls the first."""

    NVMLError = NVMLError

    def __init__(self, *readings, counts=True):
        self.readings, self.counts = iter(readings), counts

    def nvmlInit(self):  # noqa: N802
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        if uuid != "GPU-0b1c":
            raise NVMLError(6)  # not found
        return "the second"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802
        if not self.counts:
            raise NVMLError(3)  # not supported
        assert handle == "the second"
        return next(self.readings)


def test_energy_is_that_of_the_timed_steps():
    joules = energy_counter("0b1c", FakeNvml(0, 5_000, 1_205_000))
    found = time_steps(lambda: None, CPU, SETUP, joules, clock_of(9.0, 9.0, 0.5, 0.5, 0.5, 0.5))
    assert found.joules == 1200
    assert found.joules_per_image(8) == 1200 / (4 * 8)
    assert tables([profile(training=found)])["Training"]["J/image"].tolist() == ["37.50"]


def test_without_a_counter_there_is_no_energy():
    assert energy_counter("another", FakeNvml(0)) is None
    assert energy_counter("0b1c", FakeNvml(counts=False)) is None
    still = energy_counter("0b1c", FakeNvml(0, 5_000, 5_000))
    assert time_steps(lambda: None, CPU, SETUP, still, clock_of(*6 * [0.001])).joules is None
    assert phase(0.2, 0.2, 0.2, 0.2, joules=9.0).joules_per_image(8) is None  # too short for the counter
    assert "J/image" not in tables([profile()])["Training"]


def test_utilisation_is_the_share_of_the_data_sheet_peak():
    flops = 2 * 22_000_000 * 8 / 0.5
    assert profile(peak_flops=dense_peak("NVIDIA H200", "float32")).utilisation() == pytest.approx(flops / 66.9e12)
    known = profile(peak_flops=flops * 4)
    assert tables([known])["Training"]["MFU"].tolist() == ["25.0%"] and "MFU" not in tables([known])["Inference"]
    assert dense_peak("NVIDIA H200", "bfloat16") == 989.4e12
    assert dense_peak("Somebody's GPU", "float32") is None and dense_peak(None, "float32") is None
    assert profile().utilisation() is None


def test_the_tables_rank_by_speed_and_keep_failures(tmp_path):
    failed, slow, fast = failure("uvit:nano"), profile("dit:nano", (1.0, 1.0, 1.0, 1.0)), profile("mdt:nano")
    found = tables([failed, slow, fast])
    assert list(found) == ["Training", "Inference", "Counts", "Not timed"]
    assert found["Training"]["architecture"].tolist() == ["mdt:nano", "dit:nano"]
    assert found["Training"]["resident MiB"].tolist() == ["100", "100"] and "machine" not in found["Training"]
    counts = found["Counts"].to_dict("records")[0]
    assert counts["without train-only (M)"] == "1.50"
    assert (counts["GMACs"], counts["GFLOPs"], counts["training GFLOPs"]) == ("0.007560", "0.01512", "0.04400")
    assert found["Not timed"]["reason"].tolist() == ["OutOfMemoryError: too much"]
    for one in (failed, slow, fast):
        write_profile(one, tmp_path)
    write_profile(profile("diffit:nano", setup=SETUP.model_copy(update={"compile": True})), tmp_path)
    write_page(read_profiles(tmp_path, SETUP.mode), tmp_path / "page.md", "plot.png")
    page = (tmp_path / "page.md").read_text()
    assert "# Profile: cpu, b8, float32, eager" in page and "A processor, torch 2.15.0" in page and "(plot.png)" in page
    assert "mdt:nano" in page and "OutOfMemoryError" in page and "diffit:nano" not in page
    assert read_records(tmp_path) == []  # a leaderboard's folder may hold profiles


def test_what_a_profile_says_is_text_on_its_page(tmp_path):
    evil = profile("mdt:nano", environment=ENVIRONMENT.model_copy(update={"cpu": "<b>| [x](y)"}))
    write_page([evil], tmp_path / "page.md", None)
    page = (tmp_path / "page.md").read_text()
    assert "<b>" not in page and "[x](" not in page and "&lt;b&gt;" in page


def test_machines_are_told_apart_where_there_are_several():
    other = profile("mdt:nano", environment=ENVIRONMENT.model_copy(update={"gpu": "NVIDIA H200"}))
    assert tables([profile(), other])["Inference"]["machine"].tolist() == [
        "A processor, torch 2.15.0",
        "NVIDIA H200, torch 2.15.0",
    ]


def test_a_profile_is_read_as_it_was_written(tmp_path):
    one = profile("dit:S/2+conditioning=adaln")
    path = write_profile(one, tmp_path)
    assert path.name.startswith("dit-S-2-conditioning=adaln-eeeeee-8x8x1-") and read_profile(path) == one
    assert path.name.endswith("-cpu-b8-float32-eager.profile.json")
    content = json.loads(path.read_text())
    content["training"]["step_seconds"] = [0.1]
    path.write_text(json.dumps(content))
    with pytest.raises(BadFile, match=r"training\.step_seconds"):
        read_profiles(tmp_path, SETUP.mode)
    with pytest.raises(ValueError, match="either all of its measurements or a reason"):
        failure("dit:nano", reason=None)


def crowd():
    """Four architectures in three sizes each, at nearly the same places."""
    sizes = {"S/2": (0.01, 500), "L/2": (0.1, 4000), "XL/2": (0.12, 5000)}
    return [
        profile(
            f"{name}:{size}", (seconds * k, seconds * k, seconds * k * 1.1, seconds * k), mebibytes=int(mebibytes * k)
        )
        for k, name in ((1.0, "dit"), (1.02, "uvit"), (1.03, "mdt"), (1.05, "diffit"))
        for size, (seconds, mebibytes) in sizes.items()
    ]


def test_the_plot_has_a_mark_per_size_and_a_colour_per_architecture(tmp_path):
    marks = {mark.label: mark for mark in marks_of(crowd(), "training")}
    assert len(marks) == 12 and len({mark.colour for mark in marks.values()}) == 4
    assert marks["dit:S/2"].colour == marks["dit:XL/2"].colour and len({mark.marker for mark in marks.values()}) == 1
    assert marks["dit:S/2"].memory == 500 / 1024 and marks["dit:S/2"].speed == 800
    other = profile("dit:S/4", setup=SETUP.model_copy(update={"spec": replace(DIGITS_SPEC, resolution=32)}))
    assert len({mark.marker for mark in marks_of([profile(), other], "training")}) == 2
    assert write_plot([profile(), failure("uvit:nano")], tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.width == 1650 and len(picture.getcolors(1 << 20)) > 20
    assert not write_plot([failure("uvit:nano")], tmp_path / "none.png") and not (tmp_path / "none.png").exists()


def text_box(note, renderer):
    note.update_positions(renderer)
    return Text.get_window_extent(note, renderer)


def test_no_label_of_the_plot_covers_another():
    figure = draw(crowd())
    for axes in figure.axes:
        boxes = [text_box(note, figure.canvas.get_renderer()) for note in axes.texts]
        assert len(boxes) == 12
        for number, box in enumerate(boxes):
            assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            assert not any(box.overlaps(other) for other in boxes[:number])
    assert {axes.get_yscale() for axes in figure.axes} == {"log"}
    assert draw([profile()]).axes[0].get_yscale() == "linear"


@pytest.mark.timeout(240)
def test_each_is_timed_in_a_process_of_its_own(toy):
    registry = Registry.installed()
    names = ("mdt:nano", "toy:nano+fault=raise", "toy:nano+fault=kill")
    half = HOW.model_copy(update={"precision": "bfloat16"})
    selections = [select(registry, name) for name in names]
    tasks = plan_profiles(registry, selections, [half], 3, None, vars(DIGITS_SPEC))
    again = plan_profiles(registry, selections[::-1], [half], 3, None, vars(DIGITS_SPEC))
    assert tasks == again and [task.turn.position for task in tasks] == [0, 1, 2]
    order = [task.label for task in tasks]
    assert order == ["toy:nano+fault=kill", "toy:nano+fault=raise", "mdt:nano"]
    assert order != [task.label for task in plan_profiles(registry, selections, [half], 0, None, vars(DIGITS_SPEC))]
    found = {profile.label: profile for profile in run_profiles(tasks)}
    assert list(found) == order
    assert found["toy:nano+fault=raise"].reason == "RuntimeError: the toy broke, as ordered"
    assert found["toy:nano+fault=kill"].reason == "killed by SIGKILL"
    mdt = found["mdt:nano"]
    assert mdt.reason is None and len(mdt.training.step_seconds) == 4 and mdt.turn.seed == 3
    assert median(mdt.training.step_seconds) > median(mdt.inference.step_seconds) > 0
    assert mdt.training.peak.resident >= mdt.inference.peak.resident > 1 << 20
    assert mdt.cost.train_only_parameters > 0 and mdt.resident_at_start < mdt.inference.peak.resident


def test_what_was_measured_is_never_replaced_by_a_failure_or_by_another_version(tmp_path):
    good = profile("dit:nano")
    newer = good.architecture.model_copy(update={"source_sha256": "9" * 64})
    later = {"created": good.created + timedelta(days=1)}
    paths = [write_profile(one, tmp_path) for one in (good, failure("dit:nano"))]
    assert read_profiles(tmp_path, SETUP.mode) == [good]
    anew = good.model_copy(update={"architecture": newer, **later})
    paths.append(write_profile(anew, tmp_path))
    write_profile(failure("dit:nano").model_copy(update=later), tmp_path)
    assert len(set(paths)) == 3 and [read_profile(path) for path in paths[:1]] == [good]
    assert read_profiles(tmp_path, SETUP.mode) == [anew]


def test_what_can_not_be_timed_is_said_before_anything_is(toy):
    registry = Registry.installed()
    selection = select(registry, "dit:S/8")

    def plan(selections=(selection,), track=None, changes=None, **how):
        return plan_profiles(registry, selections, [HOW.model_copy(update=how)], 0, track, changes or {})

    with pytest.raises(BadValue, match="Device 'cuda:99' is not here"):
        plan(device="cuda:99")
    with pytest.raises(BadValue, match="Profiles are of CPUs and CUDA's GPUs"):
        plan(device="mps")
    with pytest.raises(BadValue, match="No device named 'tpu'"):
        plan(device="tpu")
    with pytest.raises(BadValue, match="patch size 8 does not divide the resolution 12"):
        plan(changes={"resolution": 12})
    with pytest.raises(BadValue, match="Architecture 'dit:S/8' stands twice"):
        plan((selection, selection))
    with pytest.raises(BadValue, match="Track 'tiny' has an input of its own; leave out classes, or the track"):
        plan(track=resolve_track(registry, "tiny"), changes={"classes": 3})


@pytest.mark.timeout(240)
def test_a_track_gives_input_size_and_batch(toy, ditbench, tmp_path):
    arguments = (
        "toy",
        "toy+fault=raise",
        "toy+fault=build",
        "--track",
        "tiny",
        "--steps",
        "4",
        "--seed",
        "7",
        "--device",
        "auto",
    )
    told = json.loads(ditbench("profile", *arguments, "--out", str(tmp_path), "--json", code=1))  # some of them failed
    rows = {row["architecture"]: row for row in told["profiles"]}
    assert "the toy broke, as ordered" in rows["toy:nano+fault=raise"]["reason"]
    assert "no such layer" in rows["toy:nano+fault=build"]["reason"]
    assert rows["toy:nano"]["reason"] is None and rows["toy:nano"]["training_images_per_second"] > 0
    assert all(read_profile(Path(row["record"])).label == name for name, row in rows.items())
    (page,) = map(Path, told["pages"])
    assert "toy:nano" in page.read_text() and page.with_suffix(".png").exists()
    found = {one.label: one for one in map(read_profile, tmp_path.glob("*.profile.json"))}
    setup = found["toy:nano"].setup
    assert setup.spec == DIGITS_SPEC and setup.batch_size == 16 and setup.track.startswith("tiny v1 ")
    assert found["toy:nano"].environment.threads == 1  # as a run so small has, on any number of cores
    assert found["toy:nano"].turn.seed == 7 and found["toy:nano"].peaks_version == VERSION


@pytest.mark.timeout(240)
def test_ctrl_c_keeps_what_is_timed(toy, ditbench, tmp_path):
    arguments = ("toy", "toy+fault=slow", "--track", "tiny", "--steps", "400", "--seed", "0", "--out", str(tmp_path))
    ended = threading.Event()

    def press():
        while not list(tmp_path.glob("*.profile.json")) and not ended.wait(0.05):
            pass
        if not ended.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    try:
        errors = ditbench("profile", *arguments, code=130)
    finally:
        ended.set()
        thread.join()
    assert errors == "Interrupted. What was timed before is kept.\n"
    (kept,) = map(read_profile, tmp_path.glob("*.profile.json"))
    assert kept.label == "toy:nano" and kept.turn == Turn(seed=0, position=0, of=2)
    assert len(list(tmp_path.glob("profile-*.md"))) == len(list(tmp_path.glob("profile-*.png"))) == 1


def test_a_tracks_own_loss_and_the_steps_of_its_sampler(monkeypatch):
    """On the track's input, with its objective; each lap of the sampler is one evaluation, without guidance."""
    registry = Registry.installed()
    track, selection = resolve_track(registry, "digits"), select(registry, "dit:nano")
    track = track.model_copy(update={"sampler": track.sampler.model_copy(update={"steps": 4})})  # and so two walks
    setup = SETUP.model_copy(update={"objective": track.objective, "sampler": track.sampler})
    asked = []
    monkeypatch.setattr(GuidedDenoiser, "__call__", lambda self, x, t: asked.append(float(t)) or x)
    found = timing.profile(registry, selection, facts_of(selection, registry), setup, Turn(seed=0, position=0, of=1))
    assert asked == 2 * [1000, 750, 500, 250] and len(found.sampling.step_seconds) == 8 - 2  # first and warm-up
    assert setup.mode.endswith("-eager-loss") and Profile.model_validate_json(found.model_dump_json()) == found
    (row,) = tables([found])["Sampling"].to_dict("records")
    assert row["architecture"] == "dit:nano" and "MFU" not in row
    with pytest.raises(ValueError, match="has times of sampling if its setup has a sampler"):
        Profile.model_validate({**dict(found), "sampling": None})


def test_the_tracks_loss_is_its_objectives_on_fresh_noise_and_times():
    """As training takes it: a denoiser that knows the answer has none."""
    x0, y, seen = torch.randn(4, 1, 8, 8), torch.zeros(4, dtype=torch.long), []

    def knows(x, t, y):
        seen.append(t)
        return (x - x0) / (t / 1000)[:, None, None, None]  # the velocity, noise - x0

    losses = track_loss(knows, Flow(), x0, y)
    assert all(float(losses()()) < 1e-6 for _ in range(2)) and not torch.equal(*seen)


def test_several_batches_are_timed_and_told_apart():
    registry = Registry.installed()
    hows = [HOW.model_copy(update={"batch_size": size}) for size in (16, 4)]
    selections = [select(registry, name) for name in ("dit:nano", "uvit:nano")]
    tasks = plan_profiles(registry, selections, hows, 0, None, vars(DIGITS_SPEC))
    assert sorted((task.label, task.setup.batch_size) for task in tasks) == [
        ("dit:nano", 4), ("dit:nano", 16), ("uvit:nano", 4), ("uvit:nano", 16),
    ]  # fmt: skip
    both = [profile(setup=SETUP.model_copy(update={"batch_size": size})) for size in (16, 4)]
    assert tables(both)["Training"]["batch"].tolist() == ["16", "4"] and len(tables(both)["Counts"]) == 1
    assert "batch" not in tables(both[:1])["Training"]
    assert parse_batch_sizes("64, 256") == [64, 256] and parse_batch_sizes("") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch-size", "0"), "--batch-size '0' is no list of numbers from 1 to 1,000,000"),
        (("--batch-size", "8,8"), "--batch-size '8,8' has a number twice"),
        (("--real-loss",), "--real-loss is that of a track: name one with --track"),
        (("--precision", "tf32", "--device", "cpu"), "--precision 'tf32' is of CUDA's GPUs: device 'cpu' has none"),
        (("--seconds", "0"), "--seconds': Input should be greater than or equal to 1"),
    ],
)
def test_how_to_time_is_checked(ditbench, arguments, message):
    assert message in " ".join(ditbench("profile", "dit:nano", *arguments, code=2).split())


def test_who_takes_longer_than_allowed_is_stopped(toy):
    registry = Registry.installed()
    selections = [select(registry, "toy:nano+fault=slow")]
    tasks = plan_profiles(registry, selections, [HOW.model_copy(update={"steps": 10**6})], 0, None, vars(DIGITS_SPEC))
    (found,) = run_profiles(tasks, seconds=1)
    assert found.reason == "stopped, as it took longer than `seconds` 1"
    assert as_flags(found.reason).endswith("--seconds 1")


@pytest.mark.parametrize("name", ["dit", "diffit", "mdt", "uvit"])
def test_no_gradient_of_a_timed_step_is_zero(name):
    """Networks that start as the zero function would be timed on zeros."""
    denoiser = build_denoiser(Registry.installed().architectures[name])
    perturb(denoiser)
    x, t, y = example_batch(DIGITS_SPEC, 4)
    training_step(denoiser, stand_in_loss(denoiser, x, t, y), nullcontext())()
    assert all(p.grad.abs().sum() > 0 for p in denoiser.parameters() if p.requires_grad)
