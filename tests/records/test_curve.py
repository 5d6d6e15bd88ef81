"""What is kept of training's course."""

import pytest

from ditbench.records.curve import MAX_STEP_TIMES, Curve, StepTimes
from ditbench.tracks.budget import Budget, BudgetClock


def test_raw_step_times_stay_few_and_evenly_spaced():
    times = StepTimes()
    for step in range(10_000):
        times.add(step, float(step))
    assert len(times.seconds) <= MAX_STEP_TIMES
    assert times.seconds == [float(step) for step in range(0, 10_000, times.stride)]


def test_a_curve_has_the_mean_loss_and_rate_of_each_interval():
    clock, curve = BudgetClock(Budget.parse("200-steps")), Curve()
    assert curve.last_loss is None
    closed = []
    for step in range(200):
        clock.tick(8, 0.5)
        curve.losses.append(float(step))
        closed.append(curve.is_due(clock))
        if closed[-1]:
            curve.close(clock)
    assert closed[:8] == [False, True] * 4 and sum(closed) == 100
    assert curve.points[3] == {"step": 8, "images": 64, "seconds": 4.0, "loss": 6.5, "images_per_second": 16.0}
    assert curve.last_loss == pytest.approx(198.5)
