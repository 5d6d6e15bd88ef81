"""The points of a search, drawn by Optuna: an extra, imported here alone, when points are asked for."""

from __future__ import annotations

import pkgutil
import warnings
from typing import Any

from ..errors import BadValue
from ..extras import install
from .search import Point, Search
from .track import Track

SAMPLER, SAMPLER_SEED = "optuna QMCSampler, scrambled Sobol sequence", 0


def draw(track: Track, trials: int | None = None) -> tuple[Point, ...]:
    """So many points, by default as many as the track says. `BadValue` if Optuna is not installed.

    The first is the track's own recipe; the others are quasi-random, and fill the space that the track declares. They
    follow from the space alone, so that every architecture gets the same ones; few of them begin more of them.
    """
    assert track.search is not None
    return (track.search.own(track.recipe), *drawn(track.search, (trials or track.search.trials) - 1))


def drawn(space: Search, number: int) -> list[Point]:
    """So many quasi-random points: Optuna draws in the unit cube, so that what a range means is said here alone."""
    optuna = library()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the sampler is experimental
        cube = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in space.searched}
        sampler = optuna.samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=SAMPLER_SEED)
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # or it tells of the study that it makes
        study = optuna.create_study(sampler=sampler)
        corner = optuna.trial.create_trial(params=dict.fromkeys(cube, 0.0), distributions=cube, value=0.0)
        study.add_trial(corner)  # the sampler takes its space from a trial that was
        asked = [study.ask(cube).params for _ in range(number)]
    return [space.at([params[name] for name in space.searched]) for params in asked]


def library() -> Any:
    """Optuna; `BadValue` with the way out if it is not installed."""
    try:
        return pkgutil.resolve_name("optuna")
    except ModuleNotFoundError as error:
        raise BadValue(f"`ruleset` tuned needs {error.name!r}: {install('ditbench[tuned]')}.") from None
