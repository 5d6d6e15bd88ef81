"""Which sizes to train at which budget, so that the best of them lies inside, and what each run takes."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..components import label
from ..errors import BadValue
from ..records.facts import Cost
from ..registry import Registry, select
from ..tracks.budget import Budget
from ..tracks.config import RunConfig
from ..tracks.track import Track
from .isoflop import FEWEST
from .points import EPOCHS

STEPS = 100  # of a run at least, unless its size was named: its last step goes beyond the budget by 1 % at most
_FEWEST_STEPS = 10  # of one that was named
_ENOUGH = FEWEST + 1  # sizes of a budget: fewer are no reason to leave out those that see their data too often
_MOST = 1e30  # FLOPs, as of any budget
_RUNG = re.compile(r"x(\d+(\.\d+)?)")


@dataclass(frozen=True)
class Planned:
    """The runs of one size at one budget, one for each seed."""

    configs: tuple[RunConfig, ...]
    cost: Cost
    budget: float
    of_step: int  # FLOPs

    @property
    def steps(self) -> int:
        """The step that reaches the budget is the last."""
        return math.ceil(self.budget / self.of_step)

    @property
    def label(self) -> str:
        """As the command line spells it."""
        return self.configs[0].label

    @property
    def epochs(self) -> float | None:
        """How often it sees its data; None: the track does not say of how many images that is."""
        first = self.configs[0]
        examples = first.track.data.images
        return self.steps * first.recipe.batch_size / examples if examples else None

    @property
    def repeats(self) -> bool:
        """Whether it measures repetition, too."""
        return self.epochs is not None and self.epochs > EPOCHS


def check_budgets(budgets: Sequence[float]) -> None:
    """`BadValue` unless they ascend."""
    if not budgets:
        raise BadValue("No budget chosen: name some with `flops`, as 1e12,2e12,4e12.")
    for budget in budgets:
        if not 0 < budget <= _MOST:
            raise BadValue(f"`flops` {budget:g} is no amount of compute: choose from above 0 to {_MOST:g}.")
    if any(later <= earlier for earlier, later in pairwise(budgets)):
        raise BadValue(f"`flops` {', '.join(f'{one:g}' for one in budgets)}: name each once, in ascending order.")


def selections(registry: Registry, track: Track, architectures: Sequence[str], rungs: Sequence[str] = ()) -> list[str]:
    """Architectures with the sizes to choose from: the rungs of the ladder around the size named, or the track's.

    `rungs` names some, as x0.5, x1 and x2 of that ladder, or sizes by their own names.
    """
    found = [one for text in architectures for one in _of(registry, track, text, rungs)]
    if len(set(found)) < len(found):
        raise BadValue(f"`rungs` {','.join(rungs)}: one stands twice." if rungs else "An architecture stands twice.")
    return found


def _of(registry: Registry, track: Track, text: str, rungs: Sequence[str]) -> list[str]:
    chosen = select(registry, text, track.size)
    architecture, base = chosen.architecture, chosen.size
    ladder = architecture.ladder.get(base)
    if ladder is None and (not rungs or any(map(_RUNG.fullmatch, rungs))):
        there = ", ".join(architecture.ladder) or "none of its sizes"
        raise BadValue(
            f"Architecture {architecture.name!r} has no ladder around {base!r}, but around {there}; name sizes with "
            "`rungs`, as S/2,B/2,L/2, or the size in the middle, as "
            f"{architecture.name}:{next(iter(architecture.ladder), base)}."
        )
    usual = [] if ladder is None else [f"x{factor:g}" for factor in sorted([1.0, *ladder.rungs])]
    names = [_size(rung, base, usual) for rung in rungs or usual]
    return [select(registry, label(architecture.name, size, chosen.options)).label for size in names]


def _size(rung: str, base: str, usual: Sequence[str]) -> str:
    factor = _RUNG.fullmatch(rung)
    if factor is None:
        return rung
    name = f"x{float(factor[1]):g}"
    if name not in usual:
        raise BadValue(f"`rungs` {rung!r} is no rung of the ladder around {base!r}: choose from {', '.join(usual)}.")
    return base if name == "x1" else f"{base}-{name}"


def sensible(runs: Sequence[RunConfig], costs: Mapping[str, Cost], named: bool) -> list[Planned]:
    """Of the runs of all sizes and budgets those that make sense.

    A run has `STEPS` steps at least. One that sees its data more than `EPOCHS` times is left out where enough others of
    its architecture and budget remain. Of sizes that were named all are kept, but for runs of hardly any step.
    """
    together: dict[tuple[str, str], dict[str, list[RunConfig]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        together[label(run.architecture, "", run.options), run.budget][run.label].append(run)
    found = []
    for sizes in together.values():
        planned = [_planned(of_size, costs[name]) for name, of_size in sizes.items()]
        enough = [one for one in planned if one.steps >= (_FEWEST_STEPS if named else STEPS)]
        _refuse_few(planned, enough, named)
        fresh = [one for one in enough if not one.repeats]
        found += fresh if len(fresh) >= _ENOUGH and not named else enough
    return found


def _refuse_few(planned: Sequence[Planned], enough: Sequence[Planned], named: bool) -> None:
    if enough and (not named or len(enough) == len(planned)):
        return
    short = min(planned, key=lambda one: one.steps) if named else max(planned, key=lambda one: one.steps)
    least = short.of_step * (_FEWEST_STEPS if named else STEPS)
    raise BadValue(
        f"`flops` {short.budget:g} is {short.steps} steps of {short.label}, and a run needs "
        f"{_FEWEST_STEPS if named else STEPS}: give {least:.2g} or more, or smaller sizes."
    )


def _planned(runs: Sequence[RunConfig], cost: Cost) -> Planned:
    first = runs[0]
    budget, batch = Budget.parse(first.budget).amount, first.recipe.batch_size
    return Planned(tuple(runs), cost, budget, batch * cost.training_flops(first.flops_rule))
