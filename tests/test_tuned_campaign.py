"""Whole commands of the tuned ruleset: trials first, then the runs, by whatever executor; the same again is free."""

import pytest
from records import ENVIRONMENT
from searches import record_of, track_file

from ditbench import campaign
from ditbench.errors import BadValue, NoRecordsYet
from ditbench.executors.engine import Ready
from ditbench.records.record import read_record, write_record
from ditbench.records.validation.files import validate
from ditbench.registry import Registry

pytestmark = [pytest.mark.usefixtures("toy"), pytest.mark.timeout(240)]


class Elsewhere:
    """An engine that trains nothing: each run ends as `values` says, by its place among all that it was given."""

    waits_for_others = True

    def __init__(self, values, waits=True):
        self.values, self.waits, self.given = iter(values), waits, []

    def preflight(self, configs, hear):
        hardware = {"hardware": ENVIRONMENT.hardware}
        return [Ready(config.model_copy(update=hardware), ENVIRONMENT) for config in configs]

    def execute(self, jobs, listener):
        self.given.append([job.config.told for job in jobs])
        for job in jobs:
            job.directory.mkdir(parents=True, exist_ok=True)
            record = write_record(record_of(job.config, next(self.values)), job.directory / "record.json")
            if self.waits:
                yield record
        if jobs and not self.waits:
            raise NoRecordsYet("Submitted.")


class Ears(campaign.Silent):
    def __init__(self):
        self.told = []

    def searched(self, told):
        self.told.append(told)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that gives the command, with an engine in place of the executor."""
    track, out = str(track_file(tmp_path)), tmp_path / "out"
    monkeypatch.setattr(campaign, "write_run_tables", lambda records, folder: None)

    def run(engine, *architectures, **more):
        monkeypatch.setattr(campaign, "load", lambda made: lambda wishes: engine)
        return campaign.run(track, architectures or ["toy"], out=out, device="cpu", ruleset="tuned", **more)

    return run


def test_every_architecture_has_the_same_trials_and_its_own_choice(run):
    engine, ears = Elsewhere([3.0, 1.0, 2.0, 1.0, 2.0, 3.0, *[0.5] * 4]), Ears()
    records = run(engine, "toy", "toy+depth=2", seeds=(0, 1), listener=ears)
    trials = [f"{label} trial" for label in ("toy:nano", "toy:nano+depth=2") for _ in range(3)]
    assert engine.given[0] == trials and len(engine.given[1]) == 4
    assert [record.study.chosen for record in records] == [1, 1, 0, 0]
    assert [record.recipe.learning_rate for record in records] == [0.00529, 0.00529, 0.002, 0.002]
    points = {record.study.points for record in records}
    assert len(points) == 1 and [line.partition(",")[0] for line in ears.told] == [
        "toy:nano: trial 2 of 3", "toy:nano+depth=2: the track's own recipe of 3"
    ]  # fmt: skip
    again = Elsewhere([])
    assert run(again, "toy", "toy+depth=2", seeds=(0, 1)) == records and again.given == [[], []]
    more = Elsewhere([4.0, 0.5])
    (longer,) = run(more, trials=4)
    assert more.given == [["toy:nano trial"], ["toy:nano seed 0"]], "three of the four trials are known"
    assert longer.study.chosen == 1 and longer.recipe == records[0].recipe and longer.run_id != records[0].run_id


def test_an_architecture_without_a_finished_search_has_no_runs(run):
    engine = Elsewhere(["diverged", "failed", "diverged", 1.0, "interrupted", 2.0, 3.0, 2.0, 1.0, 0.5])
    records = run(engine, "toy", "toy+depth=2", "toy+depth=3")
    assert engine.given[1] == ["toy:nano+depth=3 seed 0"]
    assert [(record.ruleset, record.status) for record in records] == [
        ("tuned", "finished"), *[("trial", status) for status in ("diverged", "failed", "diverged", "interrupted")]
    ]  # fmt: skip
    nothing = Elsewhere(["failed"])
    left = run(nothing)
    assert nothing.given == [["toy:nano trial"], []] and len(left) == 3, "and who waits for an engine hears its end"


def test_who_does_not_wait_is_told_to_give_the_command_again(run):
    with pytest.raises(NoRecordsYet, match=r"Submitted\.\nThese are the trials of the search\. When they have ended"):
        run(Elsewhere([1.0, 2.0, 3.0], waits=False))
    second = Elsewhere([0.5], waits=False)
    with pytest.raises(NoRecordsYet, match=r"^Submitted\.$"):
        run(second)
    assert second.given == [[], ["toy:nano seed 0"]]
    assert run(Elsewhere([]))[0].study.chosen == 0


def test_noise_is_nothing_to_choose_by(run):
    with pytest.raises(BadValue, match="`data` synthetic is noise"):
        run(Elsewhere([]), data="synthetic")


def test_a_real_search_gives_records_that_hold(tmp_path, ditbench):
    track, out = track_file(tmp_path), tmp_path / "out"
    track.write_text(track.read_text().replace('"denoise", "fid"', '"denoise"'))
    command = ("run", "toy", "--track", str(track), "--ruleset", "tuned", "--budget", "blink", "--device", "cpu")
    told = ditbench(*command, "--trials", "2", "--executor", "inline", "--out", str(out))
    assert "searched v1, tuned, 2 trials, 8-steps, cpu" in told and "Searched: toy:nano: " in told
    paths = sorted((out / "searched").glob("*/record.json"))
    records = [read_record(path) for path in paths]
    assert [record.ruleset for record in records].count("trial") == 2
    (final,) = [record for record in records if record.ruleset == "tuned"]
    values = {record.run_id: record.metrics[0].value for record in records if record.ruleset == "trial"}
    assert {trial.run_id: trial.value for trial in final.study.trials} == values
    assert final.study.best.value == min(values.values()) and final.study.flops > 0
    assert [fault for one in validate([out], Registry.installed()) for fault in one.faults] == []
