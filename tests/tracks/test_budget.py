"""Budgets parse, and the clock stops at the first step that reaches them."""

import pytest

from ditbench.errors import BadValue
from ditbench.tracks.budget import Budget, BudgetClock

NAMED = {"smoke": "2k-images", "short": "50k-images"}


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("2000-steps", Budget(2000, "steps")),
        ("400k-steps", Budget(400_000, "steps")),
        ("50k-images", Budget(50_000, "images")),
        ("1.5M-images", Budget(1_500_000, "images")),
        ("90s", Budget(90, "seconds")),
        ("10min", Budget(600, "seconds")),
        ("2h", Budget(7200, "seconds")),
        ("1.1h", Budget(3960, "seconds")),
        ("2gpu-hours", Budget(2, "gpu_hours")),
        ("0.5gpu-hours", Budget(0.5, "gpu_hours")),
        ("1e17-flops", Budget(1e17, "flops")),
        ("2.5e18-flops", Budget(2.5e18, "flops")),
    ],
)
def test_a_budget_parses(text, budget):
    assert Budget.parse(text) == budget


@pytest.mark.parametrize(
    ("texts", "canonical"),
    [
        (("2000-steps", "2k-steps", "0.002M-steps"), "2k-steps"),
        (("1541-images", "1.541k-images"), "1541-images"),
        (("7M-steps",), "7000k-steps"),
        (("1.5h", "90min", "5400s"), "5400s"),
        (("0.1s",), "0.1s"),
        (("2gpu-hours", "2.0gpu-hours"), "2gpu-hours"),
        (("1e17-flops", "10e16-flops", "1e+17-flops"), "1e17-flops"),
        (("2.5e18-flops",), "2.5e18-flops"),
        (("5-flops",), "5e0-flops"),
        (("1234567890s",), "1234567890s"),
        (("123456789012345-images",), "123456789012345-images"),
    ],
)
def test_equal_budgets_have_one_spelling_that_parses(texts, canonical):
    assert {str(Budget.parse(text)) for text in texts} == {canonical}
    assert Budget.parse(canonical) == Budget.parse(texts[0])


@pytest.mark.parametrize(
    "text",
    ["", "2000", "0-steps", "-5s", "1e3-steps", "2000 steps", "90seconds", "1.5-steps", "kM-images", "0gpu-hours",
     "2gpu", "1e-17-flops", "nan-flops", "1e999-flops", "9" * 400 + "s", "²s",
     "1e300-flops", "1000000000001-steps", "99999999999999999999-images"],
)  # fmt: skip
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(BadValue, match=r"is no (budget|whole number)"):
        Budget.parse(text)


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(BadValue) as caught:
        Budget.parse("shrot", NAMED)
    told = "'shrot' is no budget. Did you mean 'short'? Named: smoke (2k-images), short (50k-images). Write 400k-steps,"
    assert str(caught.value).startswith(told)


def test_the_clock_stops_at_the_first_step_that_reaches_the_budget():
    for text, steps in [
        ("5-steps", 5),
        ("100-images", 4),
        ("1s", 3),
        ("0.001gpu-hours", 5),  # 3.6 s, two GPUs: 0.8 s a step
        ("1e5-flops", 4),  # 32 images of 1000
    ]:
        clock = BudgetClock(Budget.parse(text), flops_per_image=1000.0, gpus=2)
        while not clock.done:
            clock.tick(32, 0.4)
        assert clock.steps == steps and clock.progress == 1, text


@pytest.mark.parametrize("text", ["1s", "0.0005gpu-hours", "1e5-flops"])
def test_the_clock_survives_a_resume(text):
    def clock():
        return BudgetClock(Budget.parse(text), flops_per_image=2000.0, gpus=1)

    whole, first, second = clock(), clock(), clock()
    first.tick(8, 0.3)
    second.restore(first.state())
    assert second.spent == first.spent > 0
    for going in (whole, second):
        while not going.done:
            going.tick(8, 0.3)
    assert whole == second


def test_what_can_not_be_counted_is_refused_before_training():
    with pytest.raises(BadValue, match="The budget 2gpu-hours needs a GPU"):
        BudgetClock(Budget.parse("2gpu-hours"), flops_per_image=1.0)
    with pytest.raises(BadValue, match="The budget 1e17-flops needs the FLOPs of a training image"):
        BudgetClock(Budget.parse("1e17-flops"), gpus=1)


def test_time_left_is_in_proportion():
    clock = BudgetClock(Budget.parse("10-steps"))
    assert clock.seconds_left == 0
    clock.tick(1, 2.0)
    assert clock.seconds_left == pytest.approx(18)
    clock.tick(1)
    clock.charge(1.0)  # known late
    assert (clock.steps, clock.seconds) == (2, 3.0) and clock.seconds_left == pytest.approx(12)
