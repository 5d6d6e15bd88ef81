"""What must be said below a board: its floor, its ties, what is missing, and what a good number does not mean."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.special import bdtrc

from ..errors import brief
from ..records.facts import Measurement
from ..records.metric_constants import MEMORISED_QUANTILE
from ..records.search import told
from ..records.verification import Verification
from .boards import Board, Row
from .intervals import Pair
from .protocol import BESIDE_OTHERS
from .tables import measurements, name, number

_FLOORS = {"random_parts": "some at random against all others", "random_halves": "a random half against the other"}
_DISTANCES = ("fid", "fd", "sfid", "fvd", "frame-fid")  # whose floor is what real images score
_ALIKE = 0.8  # share of the rows' samples that a floor's must be at least, to be held against them
_CHANCE = 0.01


def floors(board: Board) -> Sequence[Measurement]:
    """The same metrics of real images."""
    return next((record.floors for record in board.records if record.floors), ())


def floor(board: Board) -> str:
    """What real images score: a line of its own, since its protocols have other sample counts."""
    found = floors(board)
    if not found:
        return ""
    parts = [f"{of.protocol} {number(of.value)}" + (f" ± {number(of.spread)}" if of.spread else "") for of in found]
    how = next((words for setting, words in _FLOORS.items() if setting in found[0].settings), "held out")
    return f"Real images, {how}: {', '.join(parts)}."


def saturated(board: Board) -> str:
    """Which rows score no worse than as many real images do: of them the metric tells no more. Empty if none do."""
    found = []
    for of in floors(board):
        ours = next((one for one in measurements(board) if one.metric == of.metric and _compares(one, of)), None)
        if of.metric not in _DISTANCES or ours is None:
            continue
        rows = [row for row in board.rows if row.quality and row.quality[ours.protocol].mean <= of.value]
        if rows:
            names = ", ".join(name(row, board) for row in rows)
            found.append(f"Saturated, as real images score no better ({of.protocol} {number(of.value)}): {names}.")
    return " ".join(found)


def _compares(one: Measurement, floor: Measurement) -> bool:
    """Whether a floor is of the same features, and of about as many images."""
    same = one.protocol.partition("/")[2] == floor.protocol.partition("/")[2]
    return same and floor.samples >= _ALIKE * one.samples


def memorising(board: Board) -> str:
    """Which rows have more samples close to training images than held-out images have by chance; empty if none."""
    of = next((one for one in measurements(board) if one.metric == "memorised"), None)
    rows = [row for row in board.rows if of and row.quality and _memorises(row, of)]
    names = ", ".join(name(row, board) for row in rows)
    return f"Memorised: more samples of {names} lie close to training images than held-out images do." if rows else ""


def _memorises(row: Row, of: Measurement) -> bool:
    """By all of its seeds' samples, against the 1 % that are usual, as exactly as held-out images could tell that."""
    hits, tries = (sum(run.metrics[_place(run.metrics)].raw["counts"][i] for run in row.finished) for i in (0, 1))
    calibrated = max(1, int(of.settings.get("calibrated_on", 1)))
    usual = MEMORISED_QUANTILE + 3 * (MEMORISED_QUANTILE * (1 - MEMORISED_QUANTILE) / calibrated) ** 0.5
    return bool(hits > usual * tries and bdtrc(hits - 1, int(tries), usual) < _CHANCE)


def _place(metrics: Sequence[Measurement]) -> int:
    return next(i for i, one in enumerate(metrics) if one.metric == "memorised")


def unranked(board: Board) -> str:
    """Why the board's runs have no rank; empty if they have."""
    reasons = "; ".join(map(brief, board.protocol.deviations))
    return f"Unranked, because these runs are not what their track says: {reasons}." if reasons else ""


def provisional(board: Board) -> str:
    """Which rows have too few seeds for a rank; empty if all have enough, or none could have one."""
    rows = [row for row in board.rows if row.provisional] if board.ranked else []
    if not rows:
        return ""
    if len(rows) == len(board.rows) and all(len(row.seeds) == 1 for row in rows):
        return f"One seed each: provisional; ranks need {rows[0].asked_seeds}."
    reasons = dict.fromkeys(row.provisional for row in rows)
    told = [f"{', '.join(name(r, board) for r in rows if r.provisional == why)} ({why})" for why in reasons]
    return f"Provisional, without rank: {'; '.join(told)}."


_PAIRS_TOLD = 6  # of one rank


def ties(board: Board) -> list[str]:
    """Which rows share a rank, which pairs of them can't be told apart, a line per shared rank; and what would do."""
    found = []
    for rank in sorted({row.rank for row in board.comparable if row.tied and row.rank}):
        pairs = [p for p in board.pairs if not p.told_apart and board.comparable[p.one].rank == rank]
        told = [_tie(pair, board) for pair in pairs[:_PAIRS_TOLD]]
        more = f"; and {len(pairs) - _PAIRS_TOLD} more pairs" if len(pairs) > _PAIRS_TOLD else ""
        found.append(f"Rank {rank} is shared: {'; '.join(told)}{more}.")
    return [*found, f"On this board a difference needs p ≤ {board.level:.2g}."] if found else []


def _tie(pair: Pair, board: Board) -> str:
    one, other = (name(board.comparable[place], board) for place in (pair.one, pair.other))
    return f"{one} and {other} can't be told apart (p = {pair.p:.2g})"


def checked(board: Board) -> list[str]:
    """Who has checked which runs, and what does not agree with its record, a line each."""
    doubts = [f"Doubt: {_who(one, row, board)}: {_what(one)}." for row in board.rows for one in row.doubts]
    agreed = [_who(one, row, board) for row in board.rows for one in row.verifications if one not in row.doubts]
    return [*doubts, f"Checked: {'; '.join(agreed)}."] if agreed else doubts


def _who(one: Verification, row: Row, board: Board) -> str:
    seed = next(record.seed for record in row.records if record.run_id == one.run_id)
    return f"{name(row, board)}, seed {seed}: {one.tier} by {one.by}, {one.created:%Y-%m-%d}"


def _what(one: Verification) -> str:
    return ", ".join(f"{of.protocol} {number(of.found)}, recorded {number(of.recorded)}" for of in one.compared)


def outside(board: Board) -> str:
    """With whose features the board's rows were trained, in the loss or as latents; empty: with nobody's."""
    record = board.records[0]
    in_loss, latents = (", ".join(of.trained_with) for of in (record.architecture, record.track))
    found = []
    if in_loss:
        found.append(
            f"Trained with features of outside networks ({in_loss}): their forwards are in the FLOPs and train MACs."
        )
    if latents:
        found.append(f"The latents are features of outside networks ({latents}), computed before and in no cost.")
    return " ".join([*found, "No other board compares."]) if found else ""


def searched(board: Board) -> list[str]:
    """What each row's search has chosen and what it cost, a line each; nothing where there was none."""
    studies = [(name(row, board), row.records[0].study) for row in board.rows]
    found = [f"Searched: {told(study, label)}." for label, study in studies if study]
    of = next((study for _, study in studies if study), None)
    return [*found, f"Trials are chosen by {of.metric} of seed {of.seed}, which is in no row."] if of else []


def of_values(board: Board) -> list[str]:
    """What must be known of single values, and whose they are, a line each."""
    found: dict[str, list[str]] = {}
    for row in board.rows:
        for remark in dict.fromkeys(of.remark for run in row.finished for of in run.metrics if of.remark):
            found.setdefault(remark, []).append(name(row, board))
    return [f"{', '.join(names)}: {remark}." for remark, names in found.items()]


def beside_others(board: Board) -> str:
    """That times were measured beside other runs; empty: none were."""
    if not any(clock.beside_others for clock in board.clocks):
        return ""
    return (
        f"{BESIDE_OTHERS.capitalize()}: measured while other runs were at work on the same machine. Such times do not "
        "compare with those of a run that had the machine to itself."
    )


def noise(board: Board) -> str:
    """How much the metric that ranks varies over seeds, which is all of its noise, and the samples' part of that.

    Empty if neither is known.
    """
    of = measurements(board)
    told = [_noise(row, of[0].protocol, name(row, board)) for row in board.rows if of and row.measurements]
    parts = ", ".join(filter(None, told))
    what = "standard deviation over seeds / part of it from the samples of one run"
    return f"Noise of {of[0].protocol} ({what}): {parts}." if parts else ""


def _noise(row: Row, protocol: str, label: str) -> str:
    both = row.quality[protocol].deviation, row.sample_noise.get(protocol)
    return f"{label} {' / '.join('—' if sd is None else number(sd) for sd in both)}" if any(both) else ""
