"""Records to boards and rows: what may be compared, and how it is ranked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain, count
from statistics import fmean

from ..errors import brief
from ..records.facts import Measurement
from ..records.profile import Profile
from ..records.record import Record
from ..records.rows import rows_of
from ..records.verification import TIERS, Tier, Verification, doubts_of, is_of, tier_of
from ..storage.schema import digest
from .intervals import Estimate, Pair, Values, compare, ranking
from .labels import labels
from .protocol import Clock, Protocol, hardware_of, protocol_of

_Checked = Mapping[str, list[Verification]]  # by run id
MISSED = ("failed", "diverged")  # a run that ended so counts, as infinitely bad; an interrupted one has not ended


@dataclass(frozen=True)
class Row:
    """One architecture on one class of hardware, as one version of its plugin has it: its runs over all seeds."""

    label: str  # as the command line spells it, and the plugin's version where two rows would be called alike
    hardware: str
    records: tuple[Record, ...]  # by seed
    verifications: tuple[Verification, ...] = ()  # what others found of its runs
    rank: int | None = None
    tied: bool = False  # whether others have that rank
    profile: Profile | None = None  # its network measured alone, as `speeds.py` finds it
    remark: str = ""  # what else a reader must know, as `remarks.py` finds it

    @cached_property
    def finished(self) -> tuple[Record, ...]:
        """The runs that have numbers."""
        return tuple(record for record in self.records if record.status == "finished")

    @cached_property
    def missed(self) -> tuple[Record, ...]:
        """The runs that failed or diverged."""
        return tuple(record for record in self.records if record.status in MISSED)

    @cached_property
    def clocks(self) -> list[Clock]:
        """Of its runs that have numbers; one that others ran beside last."""
        return sorted({Clock.of(record) for record in self.records if record.training})

    def by(self, clock: Clock) -> Row:
        """The same with its runs of one clock alone; those that have no numbers count for each."""
        timed = [record for record in self.records if record.status != "finished" or Clock.of(record) == clock]
        return replace(self, records=tuple(timed))

    def by_seed(self, read: Callable[[Record], float]) -> dict[int, float]:
        """What `read` finds in the finished runs. A seed that was run twice is still one: the mean of both."""
        found: dict[int, list[float]] = defaultdict(list)
        for record in self.finished:
            found[record.seed].append(read(record))
        return {seed: fmean(values) for seed, values in found.items()}

    def estimate(self, read: Callable[[Record], float]) -> Estimate:
        """What `read` finds in the finished runs, of which there must be one."""
        return Estimate(tuple(self.by_seed(read).values()))

    @cached_property
    def metrics(self) -> dict[str, dict[int, float]]:
        """Protocol -> seed -> value, the metric that ranks first. All runs of a board have the same metrics."""
        return {of.protocol: self.by_seed(partial(_metric, place)) for place, of in enumerate(self.measurements)}

    @cached_property
    def quality(self) -> dict[str, Estimate]:
        """The same over the seeds."""
        return {protocol: Estimate(tuple(values.values())) for protocol, values in self.metrics.items()}

    @cached_property
    def measurements(self) -> tuple[Measurement, ...]:
        """Those of the first finished run, which say how to read the others'."""
        return tuple(self.finished[0].metrics) if self.finished else ()

    @cached_property
    def sample_noise(self) -> dict[str, float]:
        """By protocol, the mean of the runs' standard errors over their samples, where all of them have one."""
        found = {}
        for place, of in enumerate(self.measurements):
            errors = [error for r in self.finished if (error := r.metrics[place].sample_error) is not None]
            if len(errors) == len(self.finished):
                found[of.protocol] = fmean(errors)
        return found

    @cached_property
    def values(self) -> Values:
        """The metric that ranks, by seed."""
        return next(iter(self.metrics.values()), {})

    @cached_property
    def seeds(self) -> frozenset[int]:
        """Of the runs that count: finished, failed, diverged."""
        return frozenset(record.seed for record in (*self.finished, *self.missed))

    @property
    def provisional(self) -> str:
        """Why the row has not the runs that its track asks for a rank; empty if it has them.

        Whoever could add seeds until a test agrees would find differences between equal models.
        """
        asked = self.asked_seeds
        if len(self.seeds) < asked:
            return f"{len(self.seeds)} of {asked} seeds"
        gap = next((seed for seed in range(asked) if seed not in self.seeds), None)
        if gap is not None:
            return f"seed {gap} is missing, and seeds count from 0"
        return f"{len(self.seeds)} seeds, and the track asks for {asked}" if len(self.seeds) > asked else ""

    @cached_property
    def asked_seeds(self) -> int:
        """How many the track asks for; the newest record's tells."""
        newest = max(self.records, key=lambda record: (record.created, record.run_id))
        return newest.track.seeds_of(newest.ruleset)

    @cached_property
    def tier(self) -> Tier:
        """The least of its runs'."""
        return min((tier_of(record, self.verifications) for record in self.records), key=TIERS.index)

    @property
    def doubts(self) -> list[Verification]:
        """Those that do not agree with their record."""
        return [found for record in self.records for found in doubts_of(record, self.verifications)]

    @cached_property
    def unfinished(self) -> tuple[Record, ...]:
        """The runs without numbers."""
        return tuple(record for record in self.records if record.status != "finished")

    @property
    def missing(self) -> str:
        """How many runs did not finish; empty if all did."""
        return f"{len(bad)} of {len(self.records)} {bad[0].status}" if (bad := self.unfinished) else ""

    @property
    def misses(self) -> str:
        """The same, and why the first of them did not."""
        return f"{self.missing}: {brief(self.unfinished[0].reason or '')}" if self.unfinished else ""

    @property
    def paused(self) -> str:
        """How long and how often its training was stopped from outside, which is in none of its times; empty: never."""
        facts = [record.training for record in self.finished if record.training and record.training.pauses]
        times, seconds = (sum(getattr(one, name) for one in facts) for name in ("pauses", "paused_seconds"))
        return f"paused {seconds:,.0f} s in {times} {'pause' if times == 1 else 'pauses'}" if facts else ""

    @property
    def set_back(self) -> str:
        """How often its training went on from the checkpoint before a damaged one; empty: never."""
        times = sum(record.training.damaged_checkpoints for record in self.finished if record.training)
        return f"{times} damaged {'checkpoint' if times == 1 else 'checkpoints'} left out" if times else ""

    @property
    def status(self) -> str:
        """What a reader must know of the row: runs that did not finish, too few seeds, pauses, damage."""
        provisional = self.provisional and f"provisional: {self.provisional}"
        return "; ".join(filter(None, (self.misses, provisional, self.paused, self.set_back))) or "finished"


@dataclass(frozen=True)
class Board:
    """Runs that may be compared, in rows."""

    protocol: Protocol
    rows: tuple[Row, ...]  # by rank, then those without; best first by the first metric, those with failed runs last
    slug: str  # a name for files and anchors: letters, digits and dashes, and no other of the boards has it
    mark: str = ""  # what tells it from others of its title

    @cached_property
    def records(self) -> list[Record]:
        """All runs, row by row."""
        return [record for row in self.rows for record in row.records]

    @property
    def ranked(self) -> bool:
        """Whether the runs are what their track says."""
        return not self.protocol.deviations

    @property
    def title(self) -> str:
        """What the board compares, in one line."""
        of = self.protocol
        ruleset = {"matched": "", "native": ", native recipes"}.get(of.ruleset, f", {of.ruleset.partition(' of ')[0]}")
        unranked = "" if self.ranked else ", unranked"
        return f"{of.track} v{of.version}{ruleset}, {of.budget}, {of.device}{unranked}{self.mark}"

    @cached_property
    def hardware(self) -> list[str]:
        """The classes of hardware its runs were on: speed and memory of two of them do not compare."""
        return sorted({row.hardware for row in self.rows})

    @cached_property
    def clocks(self) -> list[Clock]:
        """Of all its rows."""
        return sorted({clock for row in self.rows for clock in row.clocks})

    @cached_property
    def target(self) -> float | None:
        """The quality that its track asks when it was reached; the newest record's track tells."""
        newest = max(self.records, key=lambda record: (record.created, record.run_id))
        return newest.track.target

    @cached_property
    def pairs(self) -> list[Pair]:
        """What can be said of each two rows, by their places in `comparable`."""
        return compare([row.values for row in self.comparable], self.level)

    @cached_property
    def level(self) -> float:
        """What p two rows need to be told apart, so that at most 5 % of such boards claim too much."""
        higher = bool(self.comparable) and self.comparable[0].measurements[0].higher_is_better
        return ranking([row.values for row in self.comparable], higher).level

    def divides(self, pair: Pair) -> bool:
        """Whether two rows have different ranks: the claim that holds for the whole board."""
        return self.comparable[pair.one].rank != self.comparable[pair.other].rank

    @cached_property
    def comparable(self) -> list[Row]:
        """The rows that have a rank by their values."""
        return [row for row in self.rows if row.rank is not None and not row.missed]


def boards(records: Iterable[Record], verifications: Iterable[Verification] = ()) -> list[Board]:
    """Sort records into boards, and rank their rows; numbers of different protocols or data never share a board.

    `verifications` are what others found of these runs. Those of other records are left out; so are trials.
    """
    groups: dict[Protocol, list[Record]] = defaultdict(list)
    checked: dict[str, list[Verification]] = defaultdict(list)
    for verification in verifications:
        checked[verification.run_id].append(verification)
    for record in _without_copies(records):
        groups[protocol_of(record)].append(record)
    _join_unmeasured(groups)
    slugs = _slugs(sorted(groups))
    found = [Board(of, tuple(_rows(group, checked)), slugs[of]) for of, group in sorted(groups.items())]
    titles = Counter(board.title for board in found)
    return [replace(board, mark=board.protocol.mark) if titles[board.title] > 1 else board for board in found]


def _without_copies(records: Iterable[Record]) -> Iterable[Record]:
    """A record that lies in two folders is one run, and a trial of a search is of no row."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.ruleset != "trial" and record not in found[record.run_id]:
            found[record.run_id].append(record)
    return (record for same in found.values() for record in same)


def _join_unmeasured(groups: dict[Protocol, list[Record]]) -> None:
    """Runs that did not get as far as their metrics stand with those that did."""
    measured = {protocol._replace(metrics=()): protocol for protocol in sorted(groups)}
    for protocol in [protocol for protocol in groups if not protocol.metrics]:
        if measured[protocol].metrics:
            groups[measured[protocol]] += groups.pop(protocol)


def _metric(place: int, record: Record) -> float:
    return record.metrics[place].value


_SLUG = 100  # characters: the text of a record may be of any length, a file's name may not


def headline(boards: Iterable[Board]) -> list[Board]:
    """The boards for a first page: large images before small ones, clips last.

    Of a track's versions it is the newest that has ranked rows, and of that the matched ruleset alone, if it has some.
    """
    ranked = [board for board in boards if any(row.rank for row in board.rows)]
    versions: dict[str, int] = defaultdict(int)
    for of in (board.protocol for board in ranked):
        versions[of.track] = max(of.version, versions[of.track])
    newest = [board for board in ranked if board.protocol.version == versions[board.protocol.track]]
    matched = {board.protocol.track for board in newest if board.protocol.ruleset == "matched"}
    shown = (b for b in newest if b.protocol.ruleset == "matched" or b.protocol.track not in matched)
    return sorted(shown, key=_on_a_page)


def _on_a_page(board: Board) -> tuple[bool, int]:
    track = board.records[0].track
    return track.data.frames > 1, -track.image_bytes


def _slugs(protocols: Sequence[Protocol]) -> dict[Protocol, str]:
    """A slug for each. Where the plain one is taken, by a board that is ranked if there is one, a digest follows it."""
    found: dict[Protocol, str] = {}
    for of in sorted(protocols, key=lambda of: (bool(of.deviations), of)):
        text = f"{of.track}-v{of.version}-{of.ruleset.partition(' of ')[0]}-{of.budget}-{of.device}"
        slug = (
            "-".join("".join(c if c.isalnum() and c.isascii() else " " for c in text).split())
            .lower()[:_SLUG]
            .rstrip("-")
        )
        names = chain([slug], (f"{slug}-{digest([of, attempt], 6)}" for attempt in count()))
        found[of] = next(name for name in names if name not in found.values())
    return found


def _rows(records: Sequence[Record], checked: _Checked) -> list[Row]:
    """One board's rows, ranked and in order."""
    networks, found = rows_of(records), []
    for label, network in zip(labels(networks), networks, strict=True):
        for hardware, runs in _by_hardware(network.records).items():
            ordered = tuple(sorted(runs, key=lambda r: (r.seed, r.run_id)))
            of_runs = tuple(one for run in ordered for one in checked.get(run.run_id, ()) if is_of(one, run))
            found.append(Row(label, hardware, ordered, of_runs))
    ranked = _ranked(found) if not records[0].deviations else found
    return sorted(ranked, key=_order)


def _by_hardware(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Class of hardware -> runs. One that failed and does not say where joins the others: it counts."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: (record.environment is None, hardware_of(record))):
        stray = record.environment is None and found
        found[next(iter(found)) if stray else hardware_of(record)].append(record)
    return found


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """Rows with enough seeds get ranks; those of which a run failed or diverged share the one after all others."""
    able = [row for row in rows if not row.provisional]
    whole = [row for row in able if not row.missed and row.values]
    higher = bool(whole) and whole[0].measurements[0].higher_is_better
    of = dict(zip(map(id, whole), ranking([row.values for row in whole], higher).ranks, strict=True))
    places = {id(row): of.get(id(row), len(whole) + 1) for row in able}
    shared = Counter(places.values())
    return [
        replace(row, rank=places[id(row)], tied=shared[places[id(row)]] > 1) if id(row) in places else row
        for row in rows
    ]


def _order(row: Row) -> tuple[bool, int, bool, bool, float, str, str]:
    """By rank; then those without one."""
    sign = -1 if row.measurements and row.measurements[0].higher_is_better else 1
    mean = sign * Estimate(tuple(row.values.values())).mean if row.values else 0.0
    return row.rank is None, row.rank or 0, not row.values, bool(row.missed), mean, row.label, row.hardware
