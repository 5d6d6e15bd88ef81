"""Budgets parse, and the clock stops at the first step that reaches them."""

import pytest

from ditbench.budget import Budget, BudgetClock
from ditbench.errors import BadValue


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("2000-steps", Budget(2000, "steps")),
        ("50k-images", Budget(50_000, "images")),
        ("1.5M-images", Budget(1_500_000, "images")),
        ("90s", Budget(90, "seconds")),
        ("10min", Budget(600, "seconds")),
        ("2h", Budget(7200, "seconds")),
    ],
)
def test_a_budget_parses(text, budget):
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["", "2000", "0-steps", "-5s", "1e3-steps", "2000 steps", "90seconds", "1.5-steps"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(BadValue, match=r"is no (budget|whole number)"):
        Budget.parse(text)


def test_the_clock_stops_at_the_first_step_that_reaches_the_budget():
    for text, steps in [("5-steps", 5), ("100-images", 4), ("1s", 3)]:
        clock = BudgetClock(Budget.parse(text))
        while not clock.done:
            clock.tick(32, 0.4)
        assert clock.steps == steps and clock.progress == 1


def test_the_clock_survives_a_resume():
    whole, first = BudgetClock(Budget.parse("1s")), BudgetClock(Budget.parse("1s"))
    first.tick(8, 0.3)
    second = BudgetClock(Budget.parse("1s"))
    second.restore(first.state())
    for clock in (whole, second):
        while not clock.done:
            clock.tick(8, 0.3)
    assert whole.state() == second.state()


def test_time_left_is_in_proportion():
    clock = BudgetClock(Budget.parse("10-steps"))
    assert clock.seconds_left == 0
    clock.tick(1, 2.0)
    assert clock.seconds_left == pytest.approx(18)
