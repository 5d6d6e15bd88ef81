"""Time and memory of denoisers: exact with a fake clock, whole with real processes."""

import json
from contextlib import nullcontext
from dataclasses import replace
from statistics import median

import pytest
import torch
from records import ENVIRONMENT, finished

from ditbench.errors import BadFile, BadValue
from ditbench.plan import select
from ditbench.profile import Phase, Profile, Setup, read_profile, run_profiles, table, write_profile, write_table
from ditbench.record import PeakMemory, read_records
from ditbench.registry import Registry
from ditbench.stopwatch import time_steps, training_step
from ditbench.testing import DIGITS_SPEC, build_denoiser, example_batch, perturb

SETUP = Setup(spec=DIGITS_SPEC, batch_size=8, steps=4, warmup=1, precision="float32", compile=False, device="cpu")


def phase(*seconds, mebibytes=100):
    return Phase(first_seconds=2.0, warmup_seconds=1.0, step_seconds=seconds, peak=PeakMemory(resident=mebibytes << 20))


def profile(label="dit:nano", seconds=(0.5, 0.5, 0.5, 0.5), **changes):
    whole = {"setup": SETUP, "environment": ENVIRONMENT, "cost": finished().cost}
    phases = {"inference": phase(*seconds), "training": phase(*seconds)}
    return Profile(label=label, **{**whole, **phases, **changes})


def test_a_known_step_time_gives_the_exact_speed():
    times = iter([0.0, 7.0, 7.0, 8.5, 8.5, 10.0, 10.0, 10.2, 10.2, 10.4, 10.4, 10.8, 10.8, 11.0])
    steps = []
    found = time_steps(lambda: steps.append(1), torch.device("cpu"), warmup=2, count=4, clock=lambda: next(times))
    assert found.first_seconds == 7 and found.warmup_seconds == 3
    assert found.step_seconds == pytest.approx([0.2, 0.2, 0.4, 0.2]) and len(steps) == 7
    assert found.images_per_second(8) == pytest.approx((8 / 0.25, 40, 40))  # median of 0.2, 0.2, 0.2, 0.4


def test_utilisation_is_the_share_of_the_data_sheet_peak():
    on = ENVIRONMENT.model_copy(update={"gpu": "NVIDIA H200"})
    flops = 2 * 22_000_000 * 8 / 0.5
    assert profile(environment=on).utilisation() == pytest.approx(flops / 66.9e12)
    half = SETUP.model_copy(update={"precision": "bfloat16"})
    assert profile(environment=on, setup=half).utilisation() == pytest.approx(flops / 989.4e12)
    assert profile().utilisation() is None  # an unknown device has none


def test_the_table_ranks_by_training_speed_and_keeps_failures(tmp_path):
    failed = Profile(label="uvit:nano", setup=SETUP, reason="OutOfMemoryError: too much")
    slow, fast = profile("dit:nano", (1.0, 1.0, 1.0, 1.0)), profile("mdt:nano")
    frame = table([failed, slow, fast])
    assert frame["architecture"].tolist() == ["mdt:nano", "dit:nano", "uvit:nano"]
    assert frame["train img/s"].tolist() == ["16 (16 to 16)", "8 (8 to 8)", ""]
    assert frame["without train-only (M)"][0] == "1.50" and frame["train MiB"][0] == "100" and "MFU" not in frame
    assert frame["note"].tolist() == ["", "", "OutOfMemoryError: too much"]
    for one in (failed, slow, fast):
        write_profile(one, tmp_path)
    write_profile(profile("diffit:nano", setup=SETUP.model_copy(update={"compile": True})), tmp_path)
    write_table(tmp_path, SETUP)
    page = (tmp_path / "profile-cpu-b8-float32-eager.md").read_text()
    assert "# Profile: cpu, b8, float32, eager" in page and "A processor, torch 2.15.0" in page
    assert "mdt:nano" in page and "OutOfMemoryError" in page and "diffit:nano" not in page
    assert read_records(tmp_path) == []  # a leaderboard's folder may hold profiles


def test_a_profile_is_read_as_it_was_written(tmp_path):
    one = profile("dit:S/2+conditioning=adaln")
    path = write_profile(one, tmp_path)
    assert path.name.startswith("dit-S-2-conditioning=adaln-8x8x1-") and read_profile(path) == one
    assert path.name.endswith("-cpu-b8-float32-eager.profile.json")
    content = json.loads(path.read_text())
    content["training"]["step_seconds"] = [0.1]
    path.write_text(json.dumps(content))
    with pytest.raises(BadFile, match=r"training\.step_seconds"):
        read_profile(path)
    with pytest.raises(ValueError, match="either all of its measurements or a reason"):
        Profile(label="dit:nano", setup=SETUP)


@pytest.mark.timeout(240)
def test_each_is_timed_in_a_process_of_its_own(toy):
    registry = Registry.installed()
    names = ("mdt:nano", "toy:nano+fault=raise", "toy:nano+fault=kill")
    setups = [SETUP.model_copy(update={"precision": "bfloat16"}), SETUP, SETUP]
    found = {profile.label: profile for profile in run_profiles([select(registry, name) for name in names], setups)}
    assert sorted(profile.position for profile in found.values()) == [0, 1, 2]
    assert found["toy:nano+fault=raise"].reason == "RuntimeError: the toy broke, as ordered"
    assert found["toy:nano+fault=kill"].reason == "killed by SIGKILL"
    mdt = found["mdt:nano"]
    assert mdt.reason is None and len(mdt.training.step_seconds) == 4
    assert median(mdt.training.step_seconds) > median(mdt.inference.step_seconds) > 0
    assert mdt.training.peak.resident >= mdt.inference.peak.resident > 1 << 20
    assert mdt.cost.train_only_parameters > 0 and mdt.resident_at_start < mdt.inference.peak.resident


def test_what_can_not_be_timed_is_said_before_anything_is(toy):
    selection = select(Registry.installed(), "dit:S/8")
    with pytest.raises(BadValue, match="Device 'cuda:99' is not here"):
        next(run_profiles([selection], [SETUP.model_copy(update={"device": "cuda:99"})]))
    spec = replace(DIGITS_SPEC, resolution=12)
    with pytest.raises(BadValue, match="patch size 8 does not divide the resolution 12"):
        next(run_profiles([selection], [SETUP.model_copy(update={"spec": spec})]))


@pytest.mark.parametrize("name", ["dit", "diffit", "mdt", "uvit"])
def test_no_gradient_of_a_timed_step_is_zero(name):
    """Networks that start as the zero function would be timed on zeros."""
    denoiser = build_denoiser(Registry.installed().architectures[name])
    perturb(denoiser)
    x, t, y = example_batch(DIGITS_SPEC, 4)
    training_step(denoiser, x, t, y, nullcontext())()
    assert all(p.grad.abs().sum() > 0 for p in denoiser.parameters() if p.requires_grad)
