"""No honest run is accused, whatever its budget and length; and what only long runs can get wrong is found."""

import random

import pytest
import torch
from records import ENVIRONMENT, computed, sound
from torch import nn

from ditbench.components import load
from ditbench.denoiser_spec import DenoiserSpec
from ditbench.records.curve import Curve, StepTimes
from ditbench.records.derived import training_rate
from ditbench.records.facts import CurvePoint, Measurement, Memory, Milestone, PeakMemory, TrainingFacts
from ditbench.records.validation.known import Known
from ditbench.records.validation.run import faults_of
from ditbench.records.validation.sampling import evaluations
from ditbench.records.validation.training import training_of
from ditbench.registry import Registry
from ditbench.sampling.samplers import Walk
from ditbench.sampling.walking import GuidedDenoiser
from ditbench.tracks.budget import Budget, BudgetClock
from ditbench.tracks.guidance import Guidance

GOOD = sound()
FLOPS, BATCH = GOOD.cost.training_flops(1), GOOD.recipe.batch_size


def run(budget, draw, shares=(), device="cpu"):
    """A record of a run on a clock by hand, kept as `trainer.Trainer` keeps it."""
    clock = BudgetClock(Budget.parse(budget), FLOPS, gpus=int(device == "cuda"))
    times, curve, marks, ahead = StepTimes(), Curve(), [], list(shares)
    while not clock.done:
        seconds = draw()
        times.add(clock.steps, seconds)
        clock.tick(BATCH, seconds)
        curve.losses.append(1 / clock.steps)
        if curve.is_due(clock):
            curve.close(clock)
        while ahead and clock.progress >= ahead[0]:
            at, spent = ahead.pop(0), {"steps": clock.steps, "images": clock.images, "seconds": clock.seconds}
            marks.append(Milestone(at=at, **spent, flops=clock.flops, metrics=[]))
    step_seconds = [round(seconds, 6) for seconds in times.seconds]
    points = [{name: point[name] for name in CurvePoint.model_fields} for point in curve.points]
    facts = TrainingFacts(
        batch_size=BATCH, steps=clock.steps, images=clock.images, seconds=clock.seconds, curve=points,
        final_loss=curve.last_loss, step_seconds=step_seconds, step_stride=times.stride, flops=clock.flops, resumed=0,
        images_per_second=training_rate(BATCH, step_seconds), precision="float32",
    )  # fmt: skip
    changes = {"budget": str(Budget.parse(budget)), "training": facts, "milestones": marks, "device": device}
    return GOOD.model_copy(update=changes)


def told(record):
    return "\n".join(training_of(record))


@pytest.mark.parametrize(
    ("budget", "device"),
    [
        ("1-steps", "cpu"), ("7-steps", "cpu"), ("1024-steps", "cpu"), ("1025-steps", "cpu"), ("5000-steps", "cuda"),
        ("1000-images", "cpu"), ("64k-images", "cuda"), ("2s", "cpu"), ("3min", "cuda"), ("0.05gpu-hours", "cuda"),
        ("1e13-flops", "cpu"), (f"{FLOPS * 64000}-flops", "cuda"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shares", [(), (0.001, 0.25, 0.251, 0.999)], ids=["plain", "milestones"])
def test_an_honest_run_passes_under_every_budget(budget, device, shares):
    draw = random.Random(f"{budget} {shares}")
    for hiccups in (0.0, 0.01):  # one step in a hundred takes twenty times as long
        record = run(
            budget, lambda h=hiccups: draw.lognormvariate(-2.5, 0.3) * (20 if draw.random() < h else 1), shares, device
        )
        assert told(record) == ""


@pytest.mark.parametrize(
    ("budget", "change", "words"),
    [
        ("5000-steps", {"images_per_second": 2e3}, "training.images_per_second is 2000.0, should be from 320 to 1280"),
        ("5000-steps", {"images_per_second": 2e2}, "training.images_per_second is 200.0, should be from 320 to 1280"),
        ("5000-steps", {"seconds": 650.0}, "training.seconds is 650.0, should be about 500, by every 8th step"),
        ("900-steps", {"images_per_second": 2000.0}, "should be from 320 to 1280, by all 900 steps"),
        ("5000-steps", {"step_stride": 4}, "training.step_stride is 4, should be 8 (of 5000 steps)"),
        ("5000-steps", {"step_seconds": [0.001] * 625}, "training.seconds is 500.0"),
        ("5000-steps", {"seconds": 10.0}, "training.seconds is 10.0, should be about 500"),
        ("60s", {"seconds": 70.0}, "training.seconds is 70.0, which is more than a step beyond the budget of 60s"),
        ("60s", {"seconds": 59.0}, "training.seconds is 59.0, should be at least 60.0"),
    ],
)  # fmt: skip
def test_a_long_run_that_was_tampered_with_is_found(budget, change, words):
    record = run(budget, lambda: 0.1)
    facts = record.training.model_copy(update=change)
    if "seconds" in change:  # the forger moves the end of the curve, too
        facts = facts.model_copy(
            update={"curve": [*facts.curve[:-1], facts.curve[-1].model_copy(update={"seconds": facts.seconds})]}
        )
    assert words in told(record.model_copy(update={"training": facts}))


def test_flops_are_checked_by_the_rule_that_the_record_names():
    by_old = run("1e13-flops", lambda: 0.1)
    newer = by_old.model_copy(update={"flops_rule": 2})
    assert told(by_old) == "" and "(2 x training MACs x images)" in told(newer)
    cost = by_old.cost.model_copy(update={"training_macs_per_image": FLOPS // 2})
    assert told(newer.model_copy(update={"cost": cost})) == "", "the budget, too, is held against that rule"


def test_where_the_last_step_was_not_kept_the_curve_bounds_it():
    facts = run("300s", lambda: 0.1).training
    late = [point.model_copy(update={"seconds": point.seconds + 10}) for point in facts.curve]
    changes = {"training": facts.model_copy(update={"seconds": facts.seconds + 10, "curve": late}), "budget": "300s"}
    assert "which is more than a step beyond the budget of 300s" in told(GOOD.model_copy(update=changes))


def test_the_steps_that_were_kept_fit_between_the_points_of_the_curve():
    record = run("5000-steps", lambda: 0.1)
    first, *others = record.training.curve
    early = first.model_copy(update={"seconds": 0.5})  # seven of its fifty steps were kept
    facts = record.training.model_copy(update={"curve": [early, *others]})
    found = told(record.model_copy(update={"training": facts}))
    assert "training.curve.0.seconds is 0.5, should be 0.7 or more after the start, by the step_seconds in" in found


def test_a_first_step_that_warms_up_stands_for_itself():
    times = iter([60.0])
    assert told(run("20000-steps", lambda: next(times, 0.1))) == ""


def test_steps_that_wait_for_data_are_no_usual_steps():
    draw = random.Random(0)
    record = run("5000-steps", lambda: 3.0 if draw.random() < 0.1 else 0.1)
    assert "should be from" in told(record)
    waited = 0.9 * (record.training.seconds - 500)
    assert (
        told(record.model_copy(update={"training": record.training.model_copy(update={"loading_seconds": waited})}))
        == ""
    )


class Asked(nn.Module):
    """A denoiser that puts out nothing."""

    def forward(self, x, t, y):
        return torch.zeros_like(x)


GUIDANCE = [
    None, Guidance(scale=1.0), Guidance(scale=0.0, formula="c + s(c - u)"), Guidance(scale=3.0),
    Guidance(scale=3.8, schedule="power-cosine"), Guidance(scale=3.8, schedule="power-cosine", power=1.0),
    Guidance(scale=2.0, schedule="interval", interval=(200, 400)),
    Guidance(scale=2.0, schedule="interval", interval=(333.3, 1000)),
]  # fmt: skip


@pytest.mark.parametrize("name", ["euler", "heun", "sde", "ddpm", "ddim", "dpm-solver++", "edm-heun"])
@pytest.mark.parametrize("steps", [1, 2, 7, 25, 250])
def test_evaluations_are_those_of_the_sampler(name, steps):
    registry, spec = Registry.installed(), DenoiserSpec(channels=1, resolution=1, classes=10, space="pixel")
    sampler = registry.samplers[name]
    objective = load(registry.objectives[sampler.objectives[0]].make)()
    for guidance in GUIDANCE:
        guided = GuidedDenoiser(Asked(), spec, torch.zeros(1, dtype=torch.int64), guidance)
        walk = Walk(guided, objective, torch.zeros(1, 1, 1, 1), steps, lambda: [torch.Generator()])
        with torch.inference_mode():
            load(sampler.sample)(walk)
        least, most = evaluations(load(sampler.times)(steps), guidance)
        assert least <= guided.evaluations <= most, guidance
        beside_bounds = guidance is None or (guidance.interval != (200, 400) and guidance.power != 1)
        assert not beside_bounds or least == most, guidance


def test_a_budget_of_gpu_hours_needs_a_gpu():
    record = run("0.001gpu-hours", lambda: 0.1, device="cuda")
    assert told(record) == ""
    assert "needs a GPU, and none trains here" in told(record.model_copy(update={"device": "cpu"}))


def everything(record):
    return "\n".join(faults_of(record, Known(Registry.installed())))


def test_a_run_on_a_gpu_names_it_and_its_peaks():
    environment = ENVIRONMENT.model_copy(update={"gpu": "A GPU", "cuda": "13.2"})
    peak = PeakMemory(allocated=2**30, reserved=2**31)
    on_gpu = {"device": "cuda:1", "environment": environment}
    on_gpu["memory"] = Memory(resident_at_start=2**29, training=peak, sampling=peak)
    assert everything(sound(**on_gpu)) == ""
    assert "environment.gpu is none, should be one" in everything(sound(**{**on_gpu, "environment": ENVIRONMENT}))
    swapped = Memory(resident_at_start=1, training=PeakMemory(allocated=2, reserved=1), sampling=peak)
    assert "memory.training.allocated is 2, should be part of" in everything(sound(**{**on_gpu, "memory": swapped}))


def test_a_rehearsal_samples_one_batch_and_measures_nothing():
    sampling = GOOD.sampling.model_copy(
        update={
            "batch_images": [250], "batch_seconds": [1.0], "images_per_second": 250.0,
            "labels_sha256": "98f2ddf5a3b0bc0a6f4ba8d7ea3e5dcd66fbc7f5ba2a4ff3b8e2a4f2eb5ff5e1",
        }
    )  # fmt: skip
    changes = {"metrics": [], "floors": [], "milestones": [], "left_out": ["noise"], "deviations": ["noise"]}
    told = everything(sound(sampling=sampling, **changes))
    assert told.startswith("sampling.labels_sha256 is") and "\n" not in told


def test_a_plugins_metric_may_lack_raw_numbers_unless_it_ranks():
    mine = Measurement(protocol="mine1k/digits-cnn", metric="mine", value=2.0, higher_is_better=True, samples=1000,
                       reference_samples=1541, features_sha256=GOOD.metrics[0].features_sha256)  # fmt: skip
    for metrics, words in (([*GOOD.metrics, mine], ""), ([mine, *GOOD.metrics], "metrics.0.raw is empty, should hold")):
        asked = GOOD.track.evaluation.model_copy(update={"metrics": tuple(one.metric for one in metrics)})
        track = GOOD.track.model_copy(update={"name": "another", "evaluation": asked})
        told = everything(sound(track=track, track_hash=track.hash, metrics=metrics, milestones=[]))
        assert told == words if not words else words in told


def test_floors_between_random_halves_are_means_of_five():
    halves = {"samples": 770, "random_halves": 5, "subsets": 1, "subset_size": 770}
    kid, of = GOOD.metrics[1], ("reference_samples", "reference_sha256", "features_sha256")
    floor = computed("kid", {"values": [0.1] * 5}, **{name: getattr(kid, name) for name in of}, **halves)
    assert everything(sound(floors=[floor.model_copy(update={"reference_samples": 1541})])) == ""
    four = floor.model_copy(update={"raw": {"values": [0.1] * 4}})
    assert 'floors.0.raw is {"values": 4}, should be {"values": 5}' in everything(sound(floors=[four]))
    assert 'metrics.1.raw is {"values": 5}' in everything(sound(metrics=[GOOD.metrics[0], floor, *GOOD.metrics[2:]]))
