"""What runs will take: the arithmetic by hand, a real profile of an H100, and the command."""

import itertools
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from records import finished
from torch.utils.flop_counter import FlopCounterMode

from ditbench.denoiser.cost import TrainingMacs
from ditbench.denoiser_spec import DenoiserSpec
from ditbench.errors import BadFile, BadValue
from ditbench.profiling.attainable import ATTAINABLE
from ditbench.profiling.estimate import (
    MFU,
    Machine,
    add,
    check_profiles,
    ended,
    estimate,
    makespan,
    misfit,
    nearest,
)
from ditbench.profiling.hardware import MEMORY, PEAKS, near
from ditbench.profiling.rates import (
    DENOISING_MACS,
    TRAINING_MACS,
    denoising_rate,
    of_processors,
    training_rate,
)
from ditbench.profiling.speed import Workload
from ditbench.profiling.workload import DECODERS, _evaluations, count
from ditbench.records.facts import Cost
from ditbench.records.profile import read_profile
from ditbench.records.record import config_of, read_records
from ditbench.records.validation.sizes import read_shipped
from ditbench.registry import Registry
from ditbench.tracks.guidance import Guidance
from ditbench.tracks.plan import make_plan
from ditbench.training.spec import spec_of

PROFILES = Path(__file__).parents[1] / "profiles"
PLANNING = Path(__file__).parents[2] / "docs" / "planning.md"
PROFILE = read_profile(PROFILES / "dit-S-2-h100.profile.json")  # measured: bfloat16, batch 64, eager
H100 = "NVIDIA H100 80GB HBM3"
REGISTRY = Registry.installed()
SPEC = PROFILE.setup.spec
COST = Cost(
    parameters=1_000_000, trainable_parameters=900_000, train_only_parameters=0, macs_per_image=10**9,
    training_macs_per_image=4 * 10**9, training_forwards=1,
)  # fmt: skip
LOAD = Workload(
    spec=SPEC, cost=COST, recomputed_macs=0, evaluations=250, image_shape=(3, 256, 256), decoder_macs=10**11,
    precision="tf32", compiled=True,
)  # fmt: skip
ONE = Machine(H100, mfu=0.5, memory=MEMORY[H100])


def a_run(budget="400k-steps", architecture="dit:S/2", **changes):
    (config,) = make_plan(REGISTRY, "imagenet256", [architecture], data="synthetic", budget=budget, **changes)
    return config.model_copy(update={"data": ""})


def test_hours_from_macs_and_the_peak():
    found = estimate(a_run(), LOAD, ONE, [])
    images = 400_000 * 256
    assert (found.steps, found.images) == (400_000, images)
    assert found.training_gpu_hours == pytest.approx(images * 2 * 4e9 / (494.7e12 * 0.5) / 3600)
    denoising = 50_000 * 250 * 2 * 1e9 / (494.7e12 * 0.5)
    decoding = 50_000 * 2 * 1e11 / (66.9e12 * 0.5)  # in float32
    assert found.sampling_gpu_hours == pytest.approx((denoising + decoding) / 3600)
    assert found.training_flops == images * 2 * 4 * 10**9  # as budgets count
    assert found.sampling_flops == 2 * 50_000 * (250 * 10**9 + 10**11)
    assert found.speed.source == "estimated" and found.speed.by == "MFU 0.5 of 494.7 TFLOP/s (tf32)"
    eight = replace(ONE, gpus=8)
    assert estimate(a_run(), LOAD, eight, []).hours(8) == pytest.approx(found.hours(1) / 8)


def test_hours_from_a_profile_of_the_same_network_input_and_device():
    load = replace(LOAD, cost=PROFILE.cost, precision="bfloat16", compiled=False, decoder_macs=0)
    run = a_run(micro_batch=64).model_copy(update={"source_sha256": PROFILE.architecture.source_sha256})
    found = estimate(run, load, ONE, [PROFILE])
    assert found.speed.source == "measured" and not found.notes
    assert found.speed.by == "NVIDIA H100 80GB HBM3, bfloat16, batch 64, eager"
    step, evaluation = median(PROFILE.training.step_seconds), median(PROFILE.inference.step_seconds)
    assert found.training_gpu_hours == pytest.approx(400_000 * 256 / 64 * step / 3600)
    assert found.sampling_gpu_hours == pytest.approx(50_000 / 64 * 250 * evaluation / 3600)
    for other in (replace(ONE, device="NVIDIA H200"), replace(ONE, device="Somebody's GPU")):
        assert estimate(run, load, other, [PROFILE]).speed.source != "measured"
    for other in (a_run(architecture="dit:B/2"), a_run(architecture="dit:S/2+conditioning=adaln")):
        assert estimate(other, load, ONE, [PROFILE]).speed.source == "estimated"
    assert nearest([PROFILE], a_run(checkpointing=True), load, ONE) is None  # its steps take longer
    other_input = replace(load, spec=replace(SPEC, resolution=64))
    assert estimate(run, other_input, ONE, [PROFILE]).speed.source == "estimated"


def test_in_what_a_profile_is_not_of_the_run_is_told():
    notes = estimate(a_run(), replace(LOAD, cost=PROFILE.cost), replace(ONE, gpus=8), [PROFILE]).notes
    assert "measured in bfloat16, but the run is in tf32" in notes
    assert "measured eager, but the run is compiled" in notes
    assert "measured at batch 64, but the run has 32 images in a pass" in notes


def test_of_several_profiles_the_one_most_like_the_run_counts():
    def of(**changes):
        return PROFILE.model_copy(update={"setup": PROFILE.setup.model_copy(update=changes)})

    load = replace(LOAD, precision="bfloat16", compiled=False)
    small, large, tf32, compiled = of(batch_size=16), of(batch_size=512), of(precision="tf32"), of(compile=True)
    every = [large, tf32, small, compiled, PROFILE]
    for order in itertools.permutations(every):
        assert nearest(order, a_run(micro_batch=64), load, ONE) is PROFILE
    assert nearest(every, a_run(micro_batch=8), load, ONE) is small
    assert nearest(every, a_run(), load, ONE) is large
    assert nearest(every, a_run(), replace(load, precision="tf32"), ONE) is tf32
    assert nearest(every, a_run(), replace(load, compiled=True), ONE) is compiled


def test_a_device_that_is_nowhere_has_no_hours():
    found = estimate(a_run(), LOAD, Machine("Somebody's GPU"), [])
    assert found.speed.source == "unknown" and found.hours(1) is None
    assert (found.training_gpu_hours, found.sampling_gpu_hours) == (None, None)
    assert found.steps == 400_000 and found.training_flops and found.memory.bytes and misfit(found, ONE) is None
    timed = estimate(a_run("2h"), LOAD, Machine("Somebody's GPU"), [])
    assert timed.training_gpu_hours == 2 and (timed.steps, timed.images, timed.training_flops) == (None, None, None)


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        ("1000-steps", 1000),
        ("256k-images", 1000),
        ("256001-images", 1001),  # the step that reaches it is the last
        ("2.048e15-flops", 1000),
    ],
)
def test_budgets_that_count_give_steps(budget, steps):
    found = estimate(a_run(budget), LOAD, replace(ONE, gpus=8), [])
    assert (found.steps, found.images) == (steps, steps * 256)


@pytest.mark.parametrize(("budget", "hours"), [("1800s", 4), ("30min", 4), ("1h", 8), ("4gpu-hours", 4)])
def test_budgets_of_time_are_exact_and_give_the_steps_that_fit(budget, hours):
    found = estimate(a_run(budget), LOAD, replace(ONE, gpus=8), [])
    assert found.training_gpu_hours == hours
    assert found.steps == pytest.approx(hours * 3600 * 494.7e12 * 0.5 / 8e9 / 256, abs=1)


def test_memory_without_a_profile_is_what_the_parameters_take():
    load = replace(LOAD, cost=COST.model_copy(update={"trainable_parameters": COST.parameters}))
    memory = estimate(a_run(), load, ONE, []).memory
    assert memory.bytes == memory.fixed == 20 * COST.parameters and not memory.whole


def test_memory_of_a_profile_grows_with_the_images_of_a_pass():
    load = replace(LOAD, cost=PROFILE.cost)
    at_64 = estimate(a_run(micro_batch=64), load, ONE, [PROFILE]).memory
    assert at_64.whole and at_64.bytes == PROFILE.training.peak.reserved + 4 * PROFILE.cost.parameters  # and the EMA
    whole, eighth = (estimate(a_run(), load, replace(ONE, gpus=n), [PROFILE]).memory for n in (1, 8))
    assert whole.bytes - whole.fixed == pytest.approx(8 * (eighth.bytes - eighth.fixed))
    assert at_64.fixed == whole.fixed == pytest.approx(20 * PROFILE.cost.parameters, rel=0.01)


def test_shards_divide_what_is_kept_and_samples_take_a_copy():
    load = replace(LOAD, cost=COST.model_copy(update={"trainable_parameters": COST.parameters}))
    memory = estimate(a_run(), load, replace(ONE, gpus=4, shard=True), []).memory
    assert (memory.fixed, memory.bytes) == (5 * COST.parameters, 9 * COST.parameters)


def test_a_run_that_will_not_fit_is_told_with_the_way_out():
    load = replace(LOAD, cost=PROFILE.cost)
    small = replace(ONE, memory=8 * 2**30)
    found = estimate(a_run(), load, small, [PROFILE])
    told = misfit(found, small)
    assert told.startswith("dit:S/2 will not fit: about 15.2 GiB on each GPU, and NVIDIA H100 80GB HBM3 has 8.0 GiB.")
    assert told.endswith("Try `micro_batch` 128, `checkpointing`, or more `gpus`.") and "\n" not in told
    for way in (a_run(micro_batch=128), a_run()):
        machine = small if way.recipe.micro_batch else replace(small, gpus=2)
        assert misfit(estimate(way, load, machine, [PROFILE]), machine) is None
    assert misfit(estimate(a_run(), load, ONE, [PROFILE]), ONE) is None
    tiny = replace(ONE, memory=0.5 * 2**30)
    told = misfit(estimate(a_run(), load, tiny, [PROFILE]), tiny)
    assert told.endswith("too large as they are: `shard` spreads them; take 2 GPUs at least.")
    two = replace(tiny, gpus=2, shard=True)
    assert misfit(estimate(a_run(micro_batch=1), load, two, [PROFILE]), two) is None
    assert "Try `micro_batch`" in misfit(estimate(a_run(), load, two, [PROFILE]), two)
    none = replace(ONE, memory=0.01 * 2**30)
    assert "take GPUs with more memory" in misfit(estimate(a_run(), load, none, [PROFILE]), none)
    unknown = replace(ONE, memory=None)
    assert misfit(estimate(a_run(), load, unknown, [PROFILE]), unknown) is None


def test_disk_is_two_checkpoints_both_weights_and_the_samples():
    found = estimate(a_run(), LOAD, ONE, [])
    assert found.disk.checkpoints == 2 * 4 * (2 * 1_000_000 + 2 * 900_000)
    assert found.disk.weights == found.kept == 4 * 2 * 1_000_000
    assert found.disk.samples == 50_000 * 256 * 256 * 3
    averaged = estimate(a_run(ema_snapshots=8), LOAD, ONE, [])
    assert averaged.disk.snapshots == 8 * 2 * 4 * 1_000_000 == averaged.kept - found.kept
    assert averaged.disk.checkpoints - found.disk.checkpoints == 2 * 2 * 4 * 1_000_000
    assert averaged.memory.bytes - found.memory.bytes == 2 * 4 * 1_000_000
    assert estimate(a_run(keep_samples=True), LOAD, ONE, []).kept == found.disk.weights + found.disk.samples


def test_measuring_on_the_way_and_raw_weights_are_sampled_for():
    once = estimate(a_run(), LOAD, ONE, [])
    often = estimate(a_run(eval_at=(0.25, 0.5), raw_weights=True), LOAD, ONE, [])
    assert often.sampling_gpu_hours == pytest.approx(4 * once.sampling_gpu_hours)
    assert often.sampling_flops == 4 * once.sampling_flops


def test_decoding_that_can_not_be_counted_is_told():
    unknown = estimate(a_run(), replace(LOAD, decoder_macs=None), ONE, [])
    assert "decoding latents is not counted: this autoencoder's cost is not known" in unknown.notes
    nowhere = estimate(a_run(), LOAD, Machine("Somebody's GPU"), [])
    assert "decoding latents is not in its hours: the device is not in the table of peaks" in nowhere.notes


def a_record(config, **changes):
    """As a run of the config leaves it."""
    record = finished().model_copy(
        update={
            "track": config.track,
            "track_hash": config.track.hash,
            "architecture": finished().architecture.model_copy(
                update={
                    **{name: getattr(config, name) for name in ("size", "options", "settings", "label")},
                    "name": config.architecture,
                    "source_sha256": config.source_sha256,
                    "distribution": config.distribution,
                    "distribution_version": config.distribution_version,
                }
            ),
            **{name: getattr(config, name) for name in ("recipe", "objective", "budget", "seed", "ruleset")},
            **changes,
        }
    )
    return record.model_copy(update={"run_hash": config_of(record).hash})


def test_a_small_run_has_one_thread_of_a_processor():
    """A record of it is of that class, and a profile of more threads is told as what it is."""
    (config,) = make_plan(REGISTRY, "digits", ["dit"])
    record = a_record(config, environment=finished().environment.model_copy(update={"threads": 1}))
    machine, cost = Machine("A processor, 2 threads"), COST.model_copy(update={"training_macs_per_image": 10**7})
    small, profile = replace(LOAD, cost=cost), PROFILE.model_copy(update={"environment": finished().environment})
    assert machine.given_to(config, LOAD) == machine and machine.given_to(config, small).device == record.hardware
    assert estimate(config, small, machine, [], [record]).status == "finished"
    assert machine.given_to(config, small).timed(profile) and not Machine("Another, 1 thread").timed(profile)


def test_a_run_that_has_ended_here_costs_nothing():
    (config, other) = make_plan(REGISTRY, "digits", ["dit"], [0, 1])
    record = a_record(config)
    machine = Machine(record.hardware)
    assert machine.is_cpu and ended(config, [record], machine) == "finished"
    found = estimate(config, LOAD, machine, [], [record])
    assert found.status == "finished" and found.hours(1) == 0 and found.disk.peak == found.kept == 0
    assert found.training_flops == found.sampling_flops == 0 and misfit(found, replace(machine, memory=1.0)) is None
    assert not ended(other, [record], machine) and not ended(config, [record], Machine(H100))
    assert ended(config, [a_record(config, status="diverged", reason="loss")], machine) == "diverged"
    assert not ended(config, [a_record(config, status="failed", reason="oh")], machine)
    on_noise = a_record(config, deviations=["synthetic noise in place of data"])
    assert not ended(config, [on_noise], machine)
    assert ended(config.model_copy(update={"data": "synthetic"}), [on_noise], machine)
    changed = config.model_copy(update={"source_sha256": "0" * 64})  # the plugin was edited since
    assert not ended(changed, [record], machine)


def test_the_longest_runs_are_packed_first():
    assert makespan([3, 3, 2, 2, 2], 2) == 7  # the best is 6
    assert makespan([5, 1, 1, 1, 1, 1], 2) == 5
    assert makespan([4, 2], 64) == 4 and makespan([4, 2, 1], 1) == 7 and makespan([], 3) == 0
    assert makespan([1, 1, 1, 1, 1, 5], 2) == 5  # in whatever order they are given


def test_a_sum_with_an_unknown_part_is_unknown():
    assert add([1.0, 2.5]) == 3.5 and add([1.0, None]) is None and add([]) == 0


def test_every_device_of_the_table_has_all_precisions_and_a_memory():
    assert PEAKS.keys() == MEMORY.keys()
    assert all(
        peaks.keys() == {"bfloat16", "tf32", "float32"}
        and peaks["bfloat16"] > peaks["tf32"] >= peaks["float32"]
        and 20e9 < MEMORY[device] < 200e9
        for device, peaks in PEAKS.items()
    )


def test_the_shares_of_the_peak_are_what_was_published_and_measured():
    """The multiply-accumulates per training image, in 10^9, are those that tests of the plugins hold."""
    peak = PEAKS["NVIDIA A100-SXM4-80GB"]["bfloat16"]
    of_dit_xl = 2 * 355.859e9 * 256 * 1.71 / 8 / peak
    assert of_dit_xl == pytest.approx(MFU, abs=0.005)
    of_uvit_h = 2 * 399.599e9 * 128 * 1.14 / peak
    assert of_uvit_h == pytest.approx(0.37, abs=0.005)  # docs/planning.md has it


def test_what_may_be_attained_is_what_the_page_says_and_a_profile_takes_its_place():
    """Each share of the table, from its row's images/s, and so the MACs of the network."""
    rows = re.findall(r"^\| (\w+:[\w/]+) \| (\d+) \| ([\d,]+) \| (\d+)", PLANNING.read_text(), re.MULTILINE)
    assert {name: float(share) / 100 for name, _, _, share in rows} == ATTAINABLE
    for name, _, speed, share in rows:
        macs = counted(name).training_macs_per_image
        images = float(speed.replace(",", ""))
        assert 2 * macs * images / 989.4e12 == pytest.approx(float(share) / 100, rel=0.12), name
    unmeasured = replace(ONE, mfu=None)
    found = estimate(a_run(architecture="dit:XL/2"), LOAD, unmeasured, [])
    assert found.speed.by == "MFU 0.46 of 494.7 TFLOP/s (tf32), what it may attain"
    assert found.speed.training == pytest.approx(0.46 * 494.7e12 / 8e9)
    by_macs = "MFU 0.12 of 494.7 TFLOP/s (tf32)"
    for run, load in (
        (a_run(), replace(LOAD, compiled=False)), (a_run(architecture="dit:S/4"), LOAD),
        (a_run(architecture="dit:S/2+conditioning=adaln"), LOAD),
        (a_run(), replace(LOAD, spec=replace(SPEC, resolution=64))),
    ):  # fmt: skip
        assert estimate(run, load, unmeasured, []).speed.by == by_macs
    assert estimate(a_run(), LOAD, unmeasured, [PROFILE]).speed.source == "measured"


def counted(label):
    """The cost of a shipped size on 32x32 latents, from the committed table."""
    name, _, size = label.partition(":")
    (row, *_) = (
        row for row in read_shipped().rows
        if (row.architecture, row.size, row.resolution, row.space) == (name, size, 32, "latent")
    )  # fmt: skip
    return row.cost


def test_sampling_goes_by_the_steps_of_the_runs_own_sampler():
    """Where a profile has timed them; else by forward passes."""
    run = a_run()
    slower = PROFILE.inference.model_copy(update={"step_seconds": [0.1] * 20})
    setup = PROFILE.setup.model_copy(update={"sampler": run.track.sampler})
    timed = PROFILE.model_copy(update={"setup": setup, "sampling": slower})
    assert estimate(run, LOAD, ONE, [timed]).speed.denoising == pytest.approx(64 / 0.1)
    other = setup.model_copy(update={"sampler": run.track.sampler.model_copy(update={"name": "ddim"})})
    forward = estimate(run, LOAD, ONE, [PROFILE]).speed.denoising
    assert estimate(run, LOAD, ONE, [timed.model_copy(update={"setup": other})]).speed.denoising == forward > 2000


@pytest.mark.parametrize("cells", [32, 64])
def test_the_decoder_costs_what_torch_counts(cells):
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        )
        network.decode(torch.zeros(1, 4, cells, cells))
    assert {table[cells] for table in DECODERS.values()} == {counter.get_total_flops() // 2}


def test_what_a_run_asks_for_is_counted(monkeypatch):
    monkeypatch.setattr("ditbench.denoiser.cost.training_macs", lambda denoiser, spec: TrainingMacs(0, 1, 0))
    run = a_run()
    load, again = count([run, run.model_copy(update={"seed": 1})], REGISTRY, on_gpu=True)
    assert load is again and load.spec == SPEC and load.cost.parameters == PROFILE.cost.parameters
    assert load.evaluations == 250 and load.image_shape == (3, 256, 256)
    assert load.decoder_macs == 311_093_641_216 and (load.precision, load.compiled) == ("tf32", True)
    guided = run.track.sampler.model_copy(update={"name": "dpm-solver++", "steps": 20, "guidance": Guidance(scale=4.0)})
    track = run.track.model_copy(update={"sampler": guided})
    assert count([run.model_copy(update={"track": track})], REGISTRY, True)[0].evaluations == 40
    (digits,) = make_plan(REGISTRY, "digits", ["dit"])
    (load,) = count([digits], REGISTRY, on_gpu=False)
    assert load.spec == DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
    assert load.image_shape == (1, 8, 8) and load.decoder_macs == 0 and (load.precision, load.compiled) == (
        "float32", False,
    )  # fmt: skip


def test_the_usual_speed_of_a_processor_is_that_of_the_committed_records_of_digits():
    found = of_processors(read_records(Path(__file__).parents[2] / "leaderboard" / "records" / "digits"))
    training = median(training_rate(one) * one.cost.training_macs_per_image for one in found)
    denoising = median(denoising_rate(one) * one.cost.macs_per_image for one in found)
    assert (training, denoising) == pytest.approx((TRAINING_MACS, DENOISING_MACS), rel=0.05)


def test_on_a_processor_a_plan_goes_by_records_and_names_no_gpu(ditbench, monkeypatch, tmp_path):
    monkeypatch.chdir(Path(__file__).parents[2])
    out = ditbench("plan", "dit", "--device", "Any processor, 2 threads", "--out", str(tmp_path))
    assert "GPU" not in out and "recorded (1)" in out and re.search(r"\(1\) \d+ records of it on AMD EPYC", out)
    row = next(line for line in out.splitlines() if line.startswith(" dit:nano")).split()
    assert 0.005 < float(row[4]) < 0.05  # hours of training
    monkeypatch.chdir(tmp_path)
    out = ditbench("plan", "dit", "--device", "Any processor, 2 threads")
    assert "estimated (1)" in out and "22 billion multiply-accumulates a second" in out and "MFU" not in out


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("NVIDIA H100", [H100]),
        ("h200", ["NVIDIA H200"]),
        ("a100 pcie", ["NVIDIA A100 80GB PCIe"]),
        ("NVIDIA RTX 4090", ["NVIDIA GeForce RTX 4090"]),
        ("NVIDIA Geforce4090", ["NVIDIA GeForce RTX 4090"]),
        (H100, []),
        ("abacus", []),
    ],
)
def test_a_name_beside_one_in_the_table_is_hinted_at(name, meant):
    assert near(name) == meant


PLAN = ("plan", "--track", "imagenet256", "--plugins", "dit:S/2", "--device", H100, "--profiles", str(PROFILES))


def test_the_command_says_what_was_measured_and_what_was_not(ditbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = ditbench(*PLAN[:4], "dit:S/2,dit:S/4", *PLAN[5:], "--seeds", "0,1", "--gpus", "8", "--on", "8,16,64")
    rows = [line.split() for line in out.splitlines() if line.startswith(" dit:")]
    assert [(row[0], row[1], row[-2]) for row in rows] == [
        ("dit:S/2", "0", "measured"), ("dit:S/2", "1", "measured"),
        ("dit:S/4", "0", "estimated"), ("dit:S/4", "1", "estimated"),
    ]  # fmt: skip
    assert rows[0][2:5] == ["400,000", "102,400,000", "18.3"]
    assert "(1) NVIDIA H100 80GB HBM3, bfloat16, batch 64, eager; measured in bfloat16, but the run is in tf32" in out
    assert "(2) MFU 0.12 of 494.7 TFLOP/s (tf32)." in out and "U-DiT's authors" in out
    hours = [float(line.split()[-2]) for line in out.splitlines() if line.startswith("On ")]
    one, two, many = hours
    assert many < two < one and one == pytest.approx(sum(float(row[6]) for row in rows), rel=0.01)


def test_the_command_as_json(ditbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = json.loads(ditbench(*PLAN, "--budget", "1h", "--memory", "4", "--json"))
    (run,) = found["runs"]
    assert run["speed"] == "measured" and run["training_gpu_hours"] == 1 and run["status"] == "to do"
    assert run["steps"] == pytest.approx(3600 * 1550.36 / 256, abs=2)
    assert found["total"]["training_gpu_hours"] == 1 and found["memory_bytes_per_gpu"] == 4 * 2**30
    (warning,) = found["warnings"]
    assert warning.startswith("dit:S/2 will not fit: about 15.2 GiB on each GPU") and "--micro-batch 32" in warning
    unknown = json.loads(ditbench(*PLAN[:5], "--device", "Somebody's GPU", "--on", "8", "--json"))
    assert unknown["total"]["training_gpu_hours"] is None and unknown["hours_on"] == [{"gpus": 8, "hours": None}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--plugins", "dti"), "No architecture named 'dti'. Did you mean"),
        (("--budget", "soon"), "'soon' is no budget"),
        (("--seeds", "a"), "--seeds 'a' is no list of whole numbers"),
        (("--mfu", "12"), "--mfu 12 is no share of a peak"),
        (("--memory", "-1"), "--memory -1 is no number of GiB above 0"),
        (("--on", "some"), "--on 'some' is no list of numbers of GPUs"),
        (("--on", "12", "--gpus", "8"), "--on 12: clusters hold whole runs, so choose multiples of --gpus 8"),
        (("--profiles", "nowhere"), "The profiles folder 'nowhere' does not exist"),
        (("--track", "nowhere"), "No track named 'nowhere'"),
        (("--micro-batch", "3"), "batch_size 256 is no multiple of micro_batch 3"),
        (("--gpus", "512"), "--gpus 512 are more than the 256 images of a batch"),
    ],
)
def test_bad_input_is_one_line(ditbench, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    errors = ditbench(*PLAN, *arguments, code=2)
    assert errors.startswith("ditbench: ") and message in errors and errors.count("\n") == 1


def test_a_damaged_profile_is_named(tmp_path):
    (tmp_path / "a.profile.json").write_text("{}")
    with pytest.raises(BadFile, match=r"a\.profile\.json"):
        check_profiles(tmp_path)
    assert [profile.label for profile in check_profiles(PROFILES)] == ["dit:S/2"]


def test_more_gpus_than_images_is_refused():
    with pytest.raises(BadValue, match="more than the 256 images of a batch"):
        estimate(a_run(), LOAD, replace(ONE, gpus=257), [])


def test_help_and_mistakes_import_no_torch():
    code = (
        "import sys; from ditbench.cli import app; from ditbench.errors import DitbenchError\n"
        "app(['plan', '--help'], standalone_mode=False)\n"
        "try: app(['plan', '--plugins', 'dit', '--budget', 'soon'], standalone_mode=False)\n"
        "except DitbenchError: pass\n"
        "else: sys.exit('not refused')\n"
        "sys.exit('torch' if 'torch' in sys.modules else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_evaluations_of_clips_whose_variance_is_learned():
    (config,) = make_plan(REGISTRY, "ucf101", ["latte:S/2"], data="synthetic")
    assert _evaluations(config, spec_of(config.track, REGISTRY), REGISTRY) == 250
