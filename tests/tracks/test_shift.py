"""The shift of time, of numbers and of tensors, against what papers do with it."""

import pytest
import torch

from ditbench.tracks.shift import factor_of, shifted


def test_a_factor_moves_times_towards_noise_and_leaves_the_ends():
    s = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert torch.equal(shifted(s, 1.0), s)
    moved = shifted(s, 3.0)
    assert moved[[0, -1]].tolist() == [0, 1] and (moved[1:-1] > s[1:-1]).all()
    assert shifted(0.5, 3.0) == 0.75 and float(moved[50]) == 0.75


def test_lightningdits_factor_counts_from_the_image():
    """Theirs is of tau = 1 - s: tau -> 0.3 tau / (1 - 0.7 tau)."""
    tau = torch.linspace(0, 1, 250, dtype=torch.float64)
    torch.testing.assert_close(1 - shifted(1 - tau, 1 / 0.3), 0.3 * tau / (1 + (0.3 - 1) * tau))


def test_the_factor_by_dimension_is_raes():
    assert factor_of(1.0, 16 * 16 * 768) == pytest.approx(6.93, abs=2e-3)
    assert factor_of(1.0, 4096) == 1 and factor_of(2.5, 0) == 2.5


def test_two_shifts_are_one_after_the_other():
    assert shifted(shifted(0.3, 2.0), 2.0) == pytest.approx(shifted(0.3, factor_of(2.0, 4 * 4096)))
