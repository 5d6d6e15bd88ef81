"""What seeds allow to be said: known intervals and tests, and a ranking that does not overclaim."""

import math

import numpy as np
import pytest
from scipy import stats

from ditbench.leaderboard.intervals import ERROR, Estimate, compare, paired_p, ranking

RUNS = 1000  # of a simulation


def ranks(*models, **how):
    return ranking(*models, **how).ranks


def models(rows):
    return [dict(enumerate(map(float, row))) for row in rows]


def test_the_interval_is_students():
    of = Estimate((1.0, 2.0, 3.0))
    assert (of.mean, of.deviation) == (2.0, 1.0)
    assert of.half_width == pytest.approx(4.302652729911275 / math.sqrt(3))  # t of 2 degrees of freedom, 97.5 %
    values = (0.31, 0.29, 0.35, 0.33, 0.30)
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    of = Estimate(values)
    assert (of.mean - of.half_width, of.mean + of.half_width) == pytest.approx((low, high), rel=1e-12)


def test_one_seed_has_no_interval_and_equal_seeds_have_one_of_no_width():
    assert Estimate((7.0,)).half_width is None and Estimate((7.0,)).deviation is None
    assert Estimate((7.0, 7.0, 7.0)).half_width == 0


@pytest.mark.parametrize("seeds", [3, 4, 5, 12])
def test_p_is_that_of_the_paired_t_test(seeds):
    one, other = np.random.default_rng(seeds).normal(size=(2, seeds))
    assert paired_p(list(one - other)) == pytest.approx(stats.ttest_rel(one, other).pvalue, rel=1e-9)


def test_too_few_seeds_prove_nothing_nor_do_differences_that_never_vary():
    assert paired_p([5.0, 5.1]) == 1 and paired_p([]) == 1
    assert paired_p([0.0, 0.0, 0.0]) == 1 and paired_p([0.1, 0.1, 0.1]) == 1
    assert paired_p([1e-200, 3e-200, 2e-200]) == pytest.approx(paired_p([1, 3, 2]))


def test_pairs_are_of_the_seeds_that_both_have():
    first, second, third = compare([{0: 1.0, 1: 2.0, 2: 3.0, 3: 9.0}, {0: 0.0, 1: 1.5, 2: 2.25}, {7: 1.0}])
    assert first.seeds == (0, 1, 2) and first.difference == pytest.approx(2.25 / 3)
    assert first.p == pytest.approx(stats.ttest_rel([1, 2, 3], [0, 1.5, 2.25]).pvalue)
    assert second.seeds == third.seeds == () and second.difference is None
    assert (third.p, third.told_apart) == (1, False)


def test_a_rank_never_contradicts_the_test_of_the_shared_seeds():
    """Where both were run the second is better by a little, but a bad seed of its own makes its mean the worse."""
    one, other = {0: 1.0, 1: 1.05, 2: 1.101}, {0: 0.97, 1: 1.02, 2: 1.07, 3: 1.3}
    (pair,) = compare([one, other])
    assert pair.p < 0.05 and pair.difference > 0 and not pair.told_apart and ranks([one, other]) == [1, 1]


def test_a_seeds_own_luck_cancels_in_pairs():
    luck = np.array([0.0, 5.0, -3.0, 1.0])
    jitter = np.array([0.01, -0.01, 0.0, 0.01])
    (pair,) = compare(models([luck, luck + 0.5 + jitter]))
    assert pair.told_apart and stats.ttest_ind(luck, luck + 0.5 + jitter).pvalue > 0.8


def test_ranks_are_shared_by_those_that_can_not_be_told_apart_and_by_all_between():
    apart = models([[1, 1.1, 1.2], [3, 3.3, 3.1], [2, 2.1, 2.3]])
    assert ranks(apart) == [1, 3, 2] and ranks(apart, higher_is_better=True) == [3, 1, 2]
    assert ranks(models([[1.0, 1.2, 1.1], [1.1, 1.1, 1.1], [5, 5.2, 5.1]])) == [1, 1, 3]
    assert ranks([]) == [] and ranks(models([[1, 2, 3]])) == [1]


def test_ties_chain():
    """The first and the last are told apart, but each of them is level with the one between."""
    chain = models([[1.0, 1.1, 1.2], [1.0, 1.4, 1.6], [1.5, 1.6, 1.71]])
    told = {(pair.one, pair.other): pair.told_apart for pair in compare(chain)}
    assert told == {(0, 1): False, (0, 2): True, (1, 2): False}
    assert ranks(chain) == [1, 1, 1]


def test_noise_between_does_not_break_a_tie_around_it():
    """The steady one in the middle differs from both; the two around it can't be told apart, so all are level."""
    around = models([[0.0, 2.0, 1.0], [1.20, 1.21, 1.22], [3.1, -0.4, 1.2]])
    assert not next(pair for pair in compare(around) if (pair.one, pair.other) == (0, 2)).told_apart
    assert ranks(around) == [1, 1, 1]


NOISES = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "shared": lambda rng, shape: rng.normal(size=shape) + 3 * rng.normal(size=(1, shape[1])),  # by the seed
    "skewed": lambda rng, shape: rng.lognormal(size=shape),
    "unlike": lambda rng, shape: rng.normal(size=shape) * np.arange(1, shape[0] + 1)[:, None],  # some models noisier
}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_equal_models_tie(count, seeds, noise):
    """At least 95 % of the time. Two models do so in exactly 95 % (that is what 5 % means), here with normal noise.

    So there the simulation itself may err by three standard errors; with three models or more there is no allowance.
    """
    rng = np.random.default_rng([count, seeds, len(noise)])
    boards = (models(NOISES[noise](rng, (count, seeds))) for _ in range(RUNS))
    ties = sum(set(ranks(board)) == {1} for board in boards)
    allowance = 3 * math.sqrt(ERROR * (1 - ERROR) / RUNS) if count == 2 else 0
    assert ties / RUNS >= 1 - ERROR - allowance


@pytest.mark.parametrize(("seeds", "gap", "power"), [(3, 10, 0.95), (5, 4, 0.9), (10, 2, 0.9)])
def test_a_true_difference_is_found(seeds, gap, power):
    """`gap` in standard deviations of a run: with three seeds only large ones are found, and that is the price."""
    rng, found = np.random.default_rng(gap), 0
    for _ in range(200):
        better, *others = ranks(models(NOISES["shared"](rng, (3, seeds)) - np.array([[gap], [0], [0]])))
        found += better == 1 and min(others) > 1
    assert found / 200 >= power
