"""Studies of scale: made-up runs of a known law give it back, what has no minimum says so, files are made again."""

import json
import math
import random
from datetime import date
from xml.etree import ElementTree

import pytest

from ditbench.errors import BadFile, BadValue
from ditbench.records.facts import Cost
from ditbench.records.files import STUDIES
from ditbench.records.record import read_record
from ditbench.registry import Registry
from ditbench.scaling.isoflop import Bottom, bottom_of, line_through
from ditbench.scaling.laws import analyse
from ditbench.scaling.pages import shown
from ditbench.scaling.plan import check_budgets, selections, sensible
from ditbench.scaling.plot import picture
from ditbench.scaling.points import Point, Setting, collect
from ditbench.scaling.resampling import interval, log_means
from ditbench.scaling.study import joined, read_study, studies_beside, study_of, write_study
from ditbench.scaling.tables import markdown
from ditbench.tracks.plan import make_plan
from ditbench.tracks.track import load_track

SIZES, BUDGETS, BATCH = (15_000_000, 31_000_000, 60_000_000, 124_000_000, 250_000_000), (1e12, 2e12, 4e12, 8e12), 32
SETTING = Setting(
    track="fashion32", version=2, ruleset="matched", precision="float32", examples=60_000, data_sha256="0" * 64,
    protocols={"denoise": "denoise256/logsnr16"}, trained_as="0" * 12,
)  # fmt: skip
REGISTRY = Registry.installed()
DIGITS = load_track(REGISTRY.tracks["digits"])


def runs(name, best=3e7, grows=0.5, error=3.0, falls=0.1, seeds=3, budgets=BUDGETS):
    """Runs whose errors follow a law, with 0.3 % of noise."""
    draw = random.Random(name)
    for budget in budgets:
        middle = math.log(best * (budget / 1e12) ** grows)
        for size in SIZES:
            steps = math.ceil(budget / (2 * size * BATCH))
            for seed in range(seeds):
                shape = 0.05 * (math.log(size) - middle) ** 2 + draw.gauss(0, 0.003)
                yield Point(
                    architecture=name, size=f"{size}", parameters=1, macs=size // 3, training_macs=size, budget=budget,
                    seed=seed, steps=steps, images=steps * BATCH, hardware="a processor, 1 thread",
                    errors={"denoise": error * (budget / 1e12) ** -falls * math.exp(shape)}, source_sha256="0" * 64,
                    run_id=f"{name}-{size}-{budget:.0f}-{seed}", run_hash="0" * 12,
                )  # fmt: skip


def made(*points):
    return study_of(SETTING, points, [], "denoise", date(2026, 1, 1), "ditbench scaling")


def test_a_known_law_is_found_tested_and_crossed():
    study = made(*runs("a"), *runs("b", error=3.3, falls=0.2, best=4e7))
    one, other = study.result.architectures
    assert one.laws.size.exponent == pytest.approx(0.5, abs=0.03) and one.laws.error.exponent == pytest.approx(
        -0.1, abs=0.003
    )
    assert other.laws.error.exponent == pytest.approx(-0.2, abs=0.003)
    low, high = one.laws.size.interval
    assert low < one.laws.size.exponent < high < low + 0.2
    assert one.laws.test.budget == 8e12 and one.laws.test.error == pytest.approx(3 * 8**-0.1, rel=0.01)
    assert one.optima[-1].error == pytest.approx(one.laws.test.error, rel=0.01)
    (crossing,) = study.result.crossings
    assert crossing.compute == pytest.approx(1.1**10 * 1e12, rel=0.05)
    assert 1e12 < crossing.low < crossing.compute < crossing.high < 8e12
    assert "b overtakes a above" in study.sentence and "a's best size grows as C^0." in study.sentence


def test_what_has_no_minimum_says_so_and_has_no_law():
    study = made(*runs("a"), *runs("edge", best=1e7, grows=0.1))
    _, edge = study.result.architectures
    assert {of.missing for of in edge.optima} == {"first"} and edge.laws is None
    assert all(of.size is None and of.best == f"{SIZES[0]}" for of in edge.optima)
    assert (
        "edge has a minimum at 0 of 4 budgets" in study.sentence and "the best size is the smallest" in study.sentence
    )
    assert "Whether a and edge cross is not known" in study.sentence
    few = made(*runs("a", budgets=BUDGETS[:2]))
    assert few.result.architectures[0].laws is None and "needs 3" in few.sentence


def test_lines_that_do_not_cross_and_seeds_too_few_for_intervals():
    apart = made(*runs("a"), *runs("b", error=3.5))
    assert apart.result.crossings[0].compute is None and "a is better at every budget" in apart.sentence
    alike = made(*runs("a", seeds=2), *runs("b", error=3.5, seeds=2))
    assert alike.result.architectures[0].laws.size.interval is None
    assert "they can't be told apart at any budget" in alike.sentence
    repeated = analyse(list(runs("a")), "denoise", examples=1000).repeated
    assert repeated == sum(point.images > 10_000 for point in runs("a"))


def test_two_studies_are_joined_and_the_newer_counts():
    whole = list(runs("a"))
    small, large = ([point for point in whole if (point.budget > 2e12) == big] for big in (False, True))
    worse = [point.model_copy(update={"errors": {"denoise": 9.0}}) for point in small]
    lost = ["a:15000000 at 2e+12 FLOPs, seed 0: diverged", "a:15000000 at 2e+12 FLOPs, seed 7: diverged"]
    older = made(*worse).model_copy(update={"lost": lost})
    points, left = joined(made(*small[-1:], *large), made(*small).model_copy(update={"lost": lost}))
    assert made(*points) == made(*whole) and left == lost[1:]
    assert joined(made(*whole), older) == (points, lost[1:]), "the newer study's runs count"
    other = older.model_copy(update={"setting": SETTING.model_copy(update={"version": 1})})
    with pytest.raises(BadFile, match="of two settings and can't be one: version 1 and 2"):
        joined(made(*large), other)


@pytest.mark.parametrize(
    ("errors", "found"),
    [
        ((3, 2), "few"),
        ((1, 2, 3), "first"),
        ((3, 2, 1), "last"),
        ((5, 1, 4, 4), None),
        ((3.0, 1, 1, 3), Bottom(1.5, 0.75)),
    ],
)
def test_the_bottom_of_a_parabola(errors, found):
    bottom = bottom_of([float(place) for place in range(len(errors))], [float(error) for error in errors])
    if isinstance(found, Bottom):
        assert (bottom.log_size, bottom.log_error) == pytest.approx((found.log_size, found.log_error))
    else:
        assert bottom == found if found else isinstance(bottom, Bottom)


def test_draws_are_the_same_again_and_as_wide_as_new_seeds_would_be():
    errors = [1.0, 1.02, 0.98, 1.01]
    assert log_means(errors, "cell") == log_means(errors, "cell") != log_means(errors, "other")
    middle, *drawn = log_means(errors, "cell")
    spread = sum((one - middle) ** 2 for one in drawn) / len(drawn)
    variance = sum((error - 1.0025) ** 2 for error in errors) / 3
    assert spread == pytest.approx(variance / 4, rel=0.15)
    assert log_means(errors[:2], "cell") == [math.log(1.01)]
    assert interval([None, *drawn[:8]]) is None and interval([]) is None
    assert line_through([0.0, 1.0, 2.0], [1.0, 3.0, 5.0]).at(3.0) == pytest.approx(7)


def test_a_study_is_made_again_from_its_file(tmp_path):
    folder = tmp_path / STUDIES
    folder.mkdir()
    study, path = made(*runs("a"), *runs("b", error=3.3, falls=0.2)), folder / "mine.json"
    write_study(study, path)
    assert studies_beside(tmp_path / "records") == {"mine": study} and studies_beside(tmp_path / "other") == {}
    assert ElementTree.fromstring(picture(study)).tag.endswith("svg")
    assert markdown(study).count("\n| a | 1e12") == 1 + len(SIZES)
    assert shown("mine", study).href == "studies/mine.svg"
    good = json.loads(path.read_text())
    for change, said in [
        (lambda of: of["points"][0]["errors"].update(denoise=2.0), "does not follow from its points"),
        (lambda of: of["points"][0].update(images=9), "which is not its budget"),
        (lambda of: of["points"].append(of["points"][0]), "stands twice"),
        (lambda of: of.update(sentence="b is best."), "its sentence does not follow"),
        (
            lambda of: of["result"]["architectures"][0]["laws"]["size"].update(exponent=0.9),
            "laws.size.exponent does not",
        ),
    ]:
        wrong = json.loads(json.dumps(good))
        change(wrong)
        path.write_text(json.dumps(wrong))
        with pytest.raises(BadFile, match=said):
            read_study(path)


def planned(budget, rungs=(), track="digits", batch=64):
    labels = selections(REGISTRY, DIGITS, ["dit"], rungs)
    costs = {"x0.125": 3e6, "x0.25": 6e6, "x0.5": 12e6, "x2": 45e6, "x4": 90e6}
    found = make_plan(REGISTRY, track, labels, (0, 1), budget=f"{budget:.0f}-flops")
    of = {run.label: _cost(costs.get(run.size.rpartition("-")[2], 23e6)) for run in found}
    return [(one.configs[0].size.removeprefix("nano-"), one.repeats) for one in sensible(found, of, bool(rungs))]


def _cost(training):
    macs = {"macs_per_image": int(training / 3), "training_macs_per_image": int(training)}
    return Cost(parameters=1, trainable_parameters=1, train_only_parameters=0, **macs)


def test_sizes_that_make_sense():
    assert planned(1.6e11) == [("x0.125", True), ("x0.25", False), ("x0.5", False)]  # few, so that one may repeat
    assert planned(1e12) == [("x0.125", True), ("x0.25", True), ("x0.5", True), ("nano", True), ("x2", False)]
    assert planned(3e10, ("x0.5", "x1")) == [("x0.5", False), ("nano", False)]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda: check_budgets([2e9, 1e9]), "in ascending order"),
        (lambda: check_budgets([]), "No budget chosen"),
        (lambda: selections(REGISTRY, DIGITS, ["dit:S/2"]), "has no ladder around 'S/2', but around nano, nano/4"),
        (
            lambda: selections(REGISTRY, DIGITS, ["dit"], ["x3"]),
            "no rung of the ladder around 'nano': choose from x0.125",
        ),
        (lambda: selections(REGISTRY, DIGITS, ["dit"], ["x1", "nano"]), "one stands twice"),
        (lambda: planned(1e9), "is 3 steps of dit:nano-x0.125, and a run needs 100: give 3.8e\\+10 or more"),
        (lambda: planned(1e9, ("x0.5", "x0.125")), "and a run needs 10"),
    ],
    ids=["descending", "none", "no-ladder", "no-rung", "twice", "small", "small-and-named"],
)
def test_what_can_not_be_planned(asked, said):
    with pytest.raises(BadValue, match=said):
        asked()


def test_the_whole_command_on_a_tiny_track(toy, ditbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ("scaling", "toy", "--track", "tiny", "--rungs", "nano,big/2", "--flops", "2.5e9", "--seeds", "0")
    planned = json.loads(ditbench(*asked, "--plan", "--json"))["plan"]
    assert [(row["label"], row["flops"], row["seeds"]) for row in planned] == [
        (f"toy:{size}", 2.5e9, [0]) for size in ("nano", "big/2")
    ]
    out = ditbench(*asked, "--device", "cpu", "--executor", "inline")
    assert "2 runs, about" in out and "fewer than 3 sizes" in out and "toy has a minimum at 0 of 1 budgets" in out
    folder = tmp_path / "runs" / "tiny"
    study = read_study(folder / "scaling.json")
    assert {point.size for point in study.points} == {"nano", "big/2"} and study.setting.track == "tiny"
    assert "--flops 2.5e9 --rungs nano,big/2 --seeds 0" in study.command
    again = json.loads(ditbench("scaling", "--from", str(folder), "--metric", "denoise-nats", "--json"))
    assert (
        again["points"] == json.loads(study.model_dump_json())["points"] and again["result"]["metric"] == "denoise-nats"
    )
    one, both = tmp_path / "one.json", tmp_path / "both.json"
    one.write_text("{}")
    assert "is wrong: created" in ditbench("scaling", "--from", str(folder), "--with", str(one), code=2)
    ditbench("scaling", "--from", str(folder), "--with", str(folder / "scaling.json"), "--study", str(both))
    assert read_study(both) == study
    (path, *_) = folder.glob("*/record.json")
    record = read_record(path)
    assert sum(record.sampling.batch_images) == 20 and "the metrics denoise, denoise-image, denoise-nats" in str(
        record.deviations
    )
    other = record.model_copy(update={"track": record.track.model_copy(update={"version": 2})})
    with pytest.raises(BadFile, match="2 settings"):
        collect([record, other])
    lost = record.model_copy(update={"seed": 7, "status": "diverged"})
    setting, points, told = collect([record, record, lost])
    assert (
        len(points) == 1
        and setting == study.setting
        and told == [f"{points[0].label} at 2.5e+09 FLOPs, seed 7: diverged"]
    )
