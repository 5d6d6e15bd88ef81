"""Runs of the tuned ruleset: the trials of their search, and the runs with what it has chosen."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import BadValue
from .config import RunConfig
from .deviation import Deviation
from .options import SAMPLES
from .search import CHOOSES, SEED, Point, Study
from .track import Track


def check_search(track: Track, ruleset: str, trials: int | None, seeds: Sequence[int]) -> None:
    """`BadValue` for what can't be searched, or a number of trials without a search."""
    if ruleset != "tuned":
        if trials is not None:
            raise BadValue(f"`trials` {trials} is of a search, which `ruleset` tuned makes, not {ruleset!r}.")
        return
    if track.search is None:
        raise BadValue(f"Track {track.name!r} declares no [search], so there is no `ruleset` tuned on it.")
    if CHOOSES not in track.evaluation.metrics:
        raise BadValue(f"`ruleset` tuned chooses by the metric {CHOOSES}, which is not measured here.")
    if SEED in seeds:
        raise BadValue(f"Seed {SEED} is that of the search, which no run of `ruleset` tuned may have.")


def trial_of(config: RunConfig, point: Point) -> RunConfig:
    """A trial of a run: the same network, data, budget and device with a point's recipe and the search's seed.

    All that is measured of it is what chooses: as few samples as can be are drawn.
    """
    track = config.track
    fewest = {"samples": SAMPLES[0], "metrics": (CHOOSES,), "denoised_on_the_way": 0}
    evaluation = track.evaluation.model_copy(update=fewest)
    changes = {
        "ruleset": "trial",
        "track": track.model_copy(update={"evaluation": evaluation}),
        "recipe": point.recipe(config.recipe),
        "seed": SEED,
        "study": None,
        "deviations": (*config.deviations, str(Deviation("trial"))),
        "eval_at": (),
        "keep_samples": False,
        "raw_weights": False,
    }
    return config.model_copy(update=changes)


def tuned(config: RunConfig, study: Study) -> RunConfig:
    """A run of the tuned ruleset with the recipe that its search has chosen, and with the search itself."""
    return config.model_copy(update={"recipe": study.best.point.recipe(config.recipe), "study": study})
