"""What a study of scale says, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .isoflop import FEWEST, Missing
from .laws import Ahead, Crossing, Interval, Optimum, Result, Scaling, Test
from .points import EPOCHS, Setting

WHY: Mapping[Missing, str] = {
    "few": f"fewer than {FEWEST} sizes",
    "first": "the best size is the smallest",
    "last": "the best size is the largest",
    "flat": "the errors have no bottom",
}

_UNITS = (("T", 1e12), ("G", 1e9), ("M", 1e6))  # of multiply-accumulates


def sentence(setting: Setting, result: Result) -> str:
    """All that the study says, each architecture and each pair in a clause of its own."""
    budgets = sorted({of.budget for one in result.architectures for of in one.optima})
    span = f"{flops(budgets[0])} to {flops(budgets[-1])} FLOPs" if len(budgets) > 1 else f"{flops(budgets[0])} FLOPs"
    clauses = [*map(_scaling, result.architectures), *map(_crossing, result.crossings)]
    said = f"On {setting.track} v{setting.version}, {span}, by {result.metric}: {'. '.join(clauses)}."
    return said + "".join(f" {more}" for more in remarks(result))


def remarks(result: Result) -> Iterator[str]:
    """What a reader must know of the runs."""
    if result.repeated:
        runs = "1 run" if result.repeated == 1 else f"{result.repeated} runs"
        yield f"{runs} saw the data more than {EPOCHS:g} times: there it measures repetition, too."


def flops(amount: float) -> str:
    """An amount of compute, e.g. ``1e12`` or ``2.58e12``."""
    mantissa, _, power = f"{amount:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(power)}"


def figures(number: float) -> str:
    """Four of them, as tables of errors have."""
    return f"{number:#.4g}"


def macs(count: float) -> str:
    """Multiply-accumulates, e.g. ``12.3 M``."""
    unit, scale = next((unit for unit in _UNITS if count >= unit[1]), _UNITS[-1])
    return f"{count / scale:.3g} {unit}"


def _scaling(of: Scaling) -> str:
    if of.laws is None:
        return _no_law(of)
    size, error, test = of.laws.size, of.laws.error, of.laws.test
    return (
        f"{of.architecture}'s best size grows as C^{size.exponent:.2f}{_exponents(size.interval)} and its error as "
        f"C^{error.exponent:.3f}{_exponents(error.interval, 3)}; {_tested(test, of.optima)}"
    )


def _tested(test: Test, optima: Sequence[Optimum]) -> str:
    found = next(of for of in optima if of.budget == test.budget)
    assert found.error is not None and found.size is not None
    return (
        f"at {flops(test.budget)} FLOPs, held out, its error was foretold as {figures(test.error)}"
        f"{_between(test.error_interval)} and found as {figures(found.error)}{_between(found.error_interval)}, and its "
        f"size as {macs(test.size)} MACs and found as {macs(found.size)}"
    )


def _no_law(of: Scaling) -> str:
    lacking: dict[Missing, list[str]] = {}
    for one in of.optima:
        if one.missing is not None:
            lacking.setdefault(one.missing, []).append(flops(one.budget))
    if not lacking:
        return f"{of.architecture} has {len(of.optima)} budgets, and a law with its test needs {FEWEST}"
    why = ", ".join(f"at {', '.join(budgets)} {WHY[missing]}" for missing, budgets in lacking.items())
    there = len(of.optima) - sum(map(len, lacking.values()))
    told = f"{of.architecture} has a minimum at {there} of {len(of.optima)} budgets ({why})"
    return f"{told}, so no law, which needs {FEWEST}"


def _crossing(of: Crossing) -> str:
    pair = f"{of.one} and {of.other}"
    if len(of.ahead) < 2:
        return f"Whether {pair} cross is not known: fewer than two budgets have a minimum of both"
    if of.compute is None:
        return f"{pair} cross nowhere in range ({_who(of)})"
    later, sooner = (of.one, of.other) if of.ahead[-1].ratio < of.ahead[0].ratio else (of.other, of.one)
    if of.low is None and of.high is None:
        return f"{pair} can't be told apart in range"
    first, last = of.ahead[0].budget, of.ahead[-1].budget
    low = flops(of.low) if of.low else f"below {flops(first)}"
    high = flops(of.high) if of.high else f"above {flops(last)}"
    return f"{later} overtakes {sooner} above {flops(of.compute)} FLOPs ({low} to {high})"


def _who(of: Crossing) -> str:
    """Which of two is ahead where they do not cross."""
    apart = [one for one in of.ahead if _told_apart(one)]
    if not apart:
        return "they can't be told apart at any budget"
    better = of.one if apart[-1].ratio < 1 else of.other
    where = "every budget" if len(apart) == len(of.ahead) else f"{len(apart)} of {len(of.ahead)} budgets"
    return f"{better} is better at {where}"


def _told_apart(of: Ahead) -> bool:
    return of.interval is not None and not of.interval[0] <= 1 <= of.interval[1]


def _exponents(interval: tuple[float, float] | None, digits: int = 2) -> str:
    return f" ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})" if interval else ""


def _between(interval: Interval | None) -> str:
    return f" ({figures(interval[0])} to {figures(interval[1])})" if interval else ""
