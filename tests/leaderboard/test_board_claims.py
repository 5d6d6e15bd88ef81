"""What a whole board claims: at most one in twenty divides equal models, wherever they stand."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.special import stdtr

from ditbench.leaderboard.intervals import ERROR, level_for, ranking

ROOT = Path(__file__).parents[2]
FAR = 1e3  # deviations, between sets of equal models
QUICK = [([2], 3, "alike"), ([2, 2, 2], 3, "alike"), ([3, 2, 1, 4], 5, "unlike"), ([2] * 10, 10, "alike")]
MIXED = [[2], [3], [6], [10], [20], [2, 2, 2], [2] * 5, [2] * 10, [3] * 4, [3, 2, 2], [5, 5], [1, 2, 1, 2], [10, 10]]


def positions(rng, sizes, seeds, spread, boards, gap):
    """Values (boards, rows, seeds) in order of their means, and which set each row is of (boards, rows)."""
    sets = np.repeat(np.arange(len(sizes)), sizes)
    deviations = np.ones(len(sets)) if spread == "alike" else np.where(np.arange(len(sets)) % 2, 1.0, 7.0)
    values = rng.standard_normal((boards, len(sets), seeds)) * deviations[:, None] + gap * sets[:, None]
    order = values.mean(-1).argsort(1)
    return np.take_along_axis(values, order[:, :, None], 1), sets[order]


def boundaries(values):
    """The largest p across each boundary between neighbours: (boards, rows - 1). It is claimed if that is small."""
    differences = values[:, :, None] - values[:, None]
    seeds = values.shape[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(differences.mean(-1)) / (differences.std(-1, ddof=1) / math.sqrt(seeds))
    p = 2 * stdtr(seeds - 1, -t)
    rows = values.shape[1]
    return np.stack([p[:, : i + 1, i + 1 :].reshape(len(p), -1).max(1) for i in range(rows - 1)], 1)


def claimed(largest):
    """`ranking`'s boundaries, of one board."""
    rows = len(largest) + 1
    level = level_for([rows])
    while True:
        cuts = np.flatnonzero(largest <= level) + 1
        higher = level_for(np.diff([0, *cuts, rows]))
        if higher <= level:
            return cuts
        level = higher


def wrong(sizes, seeds, spread, boards, gap=FAR):
    """The share of boards that divide a set of equal models."""
    rng = np.random.default_rng([*sizes, seeds])
    values, sets = positions(rng, sizes, seeds, spread, boards, gap)
    divided = 0
    for largest, of in zip(boundaries(values), sets, strict=True):
        divided += any(np.intersect1d(of[:cut], of[cut:]).size for cut in claimed(largest))
    return divided / boards


def allowed(boards):
    """5 %, and what a simulation of so many may miss it by."""
    return ERROR + 4 * math.sqrt(ERROR * (1 - ERROR) / boards)


def test_the_levels_are_those_of_the_sets_of_equals_that_there_can_be():
    assert [level_for([rows]) for rows in (1, 2, 3, 4, 12, 20)] == [0.05, 0.05, 0.05, 0.025, 0.05 / 6, 0.005]
    assert level_for([1, 1, 2, 1]) == level_for([1, 1]) == 0.05 and level_for([3, 5]) == pytest.approx(0.05 / 3)


def test_the_simulation_ranks_as_the_board_does():
    rng = np.random.default_rng(0)
    for gap in (0.5, 2.0, 5.0):
        values, _ = positions(rng, [1] * 6, 5, "unlike", 20, gap)
        for of, largest in zip(values, boundaries(values), strict=True):
            found = ranking([dict(enumerate(map(float, row))) for row in of]).ranks
            assert [i for i in range(1, 6) if found[i] != found[i - 1]] == claimed(largest).tolist()


@pytest.mark.parametrize(("sizes", "seeds", "spread"), QUICK)
def test_few_boards_divide_equal_models(sizes, seeds, spread):
    assert wrong(sizes, seeds, spread, 2000) <= allowed(2000)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("gap", [1.0, 3.0, FAR])
@pytest.mark.parametrize("spread", ["alike", "unlike"])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_of_every_kind_of_board_few_divide_equal_models(seeds, spread, gap):
    """Of 2 to 20 rows, in sets that are far apart or hardly."""
    found = {str(sizes): wrong(sizes, seeds, spread, 10_000, gap) for sizes in MIXED}
    assert max(found.values()) <= allowed(10_000), found


def test_adding_seeds_until_a_test_agrees_finds_what_is_not_there():
    """As the rules say: from three seeds to ten, at 5 % each time."""
    differences = np.random.default_rng(0).standard_normal((20_000, 10))
    found = np.zeros(len(differences), bool)
    for seeds in range(3, 11):
        some = differences[:, :seeds]
        t = np.abs(some.mean(1)) / (some.std(1, ddof=1) / math.sqrt(seeds))
        found |= 2 * stdtr(seeds - 1, -t) <= ERROR
    assert found.mean() == pytest.approx(0.17, abs=0.01)
    assert "17 % of cases" in (ROOT / "ditbench" / "leaderboard" / "rules.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_page_has_the_power_that_simulations_have():
    page = (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d+) \|((?: \d+ % \|){6})$", page, re.MULTILINE)
    assert len(rows) == 9
    for count, seeds, told in rows:
        for gap, share in zip((1, 2, 3, 4, 6, 10), re.findall(r"\d+", told), strict=True):
            values, _ = positions(np.random.default_rng(1), [1] * int(count), int(seeds), "alike", 1000, float(gap))
            found = np.mean([len(claimed(largest)) / (int(count) - 1) for largest in boundaries(values)])
            assert found == pytest.approx(int(share) / 100, abs=0.03), (count, seeds, gap)
