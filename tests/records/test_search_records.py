"""What a search found: how it is chosen, that it stands in every record of its row, and that a forger is told."""

import pydantic
import pytest
from records import ENVIRONMENT
from searches import loaded, record_of, searched, tuned_record

from ditbench.leaderboard import notes
from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.export import csv, json_text
from ditbench.leaderboard.tables import table
from ditbench.records.record import Record, config_of
from ditbench.records.search import told
from ditbench.records.submission import _records_of
from ditbench.records.validation.known import Known
from ditbench.records.validation.rows import _searches
from ditbench.records.validation.tuning import search_of
from ditbench.registry import Registry
from ditbench.tracks import points
from ditbench.tracks.plan import make_plan
from ditbench.tracks.search import SEED
from ditbench.tracks.tuning import trial_of

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def config(tmp_path):
    loaded(tmp_path)
    return planned(tmp_path / "searched.toml")


def planned(track):
    (config,) = make_plan(Registry.installed(), str(track), ["toy"], device="cpu", ruleset="tuned")
    return config.model_copy(update={"hardware": ENVIRONMENT.hardware})


def faults(record):
    known = Known(Registry.installed())
    return list(search_of(record, known)), known.unchecked


def changed(record, **changes):
    return record.model_copy(update={"study": record.study.model_copy(update=changes)})


def test_the_lowest_of_the_finished_trials_is_chosen_and_the_others_are_told(config):
    _, study = searched(config, ("diverged", 2.0, "failed", 1.0, 1.0))
    assert study.chosen == 3 and [trial.status for trial in study.trials] == [
        "diverged", "finished", "failed", "finished", "finished"
    ]  # fmt: skip
    assert [trial.value for trial in study.trials] == [None, 2.0, None, 1.0, 1.0]
    assert (study.seconds, study.seed, study.metric) == (pytest.approx(3 * 10.3), SEED, "denoise30/digits-cnn")
    assert told(study, "toy:nano").startswith(
        "toy:nano: trial 4 of 5 (2 diverged/failed), learning_rate 0.000997, beta2 0.999; 3 TFLOPs, 31 s"
    )
    assert "the track's own recipe of 2, learning_rate 0.002" in told(searched(config, (1.0, 2.0))[1], "x")


@pytest.mark.parametrize("values", [(1.0, "interrupted"), ("diverged", "failed")])
def test_nothing_is_chosen_before_all_have_ended_nor_if_none_finished(config, values):
    assert searched(config, values)[1] is None


def test_a_tuned_record_is_refused_without_its_study_and_with_another_recipe_or_seed(config):
    good = tuned_record(config)
    content = good.model_dump()
    assert Record.model_validate(content) == good
    for change, words in (
        ({"study": None}, "needs its study"),
        ({"ruleset": "matched"}, "a study is of the tuned ruleset alone"),
        ({"recipe": good.track.recipe.model_dump()}, "recipe is the one that its study has chosen"),
        ({"seed": SEED}, f"seed {SEED} is that of a search's trials"),
        ({"study": {**content["study"], "chosen": 3}}, "chosen is 3, and there are 3 trials"),
    ):
        with pytest.raises(pydantic.ValidationError, match=words):
            Record.model_validate({**content, **change})


def test_what_follows_from_a_study_is_made_again(config, monkeypatch):
    record = tuned_record(config)
    study = record.study
    record = changed(record, metric=record.metrics[0].protocol)
    assert faults(record) == ([], [])
    first, best, last = study.trials
    better = (first.model_copy(update={"value": 0.5}), best, last)
    unlike = (first, best, last.model_copy(update={"point": first.point}))
    another = (first, best, last.model_copy(update={"run_id": "mine"}))
    unfinished = (first, best, last.model_copy(update={"status": "diverged"}))
    for change, words in (
        ({"trials": better}, "study.chosen is 1, should be 0 (the trial with the lowest value)"),
        ({"trials": unlike}, "study.trials.2.point is"),
        ({"trials": another}, 'study.trials.2.run_id is "mine"'),
        ({"trials": unfinished}, "study.trials.2 is diverged, should have value"),
        ({"seconds": 1.0}, "study.seconds is 1.0, should be 30.9"),
        ({"flops": 1.0}, "study.flops is 1.0"),
        ({"seed": 7}, "study.seed is 7"),
        ({"sampler_seed": 7}, "study.sampler_seed is 7"),
        ({"metric": "fid"}, 'study.metric is "fid"'),
        ({"space": study.space.model_copy(update={"learning_rate": (1e-4, 1e-2)})}, "study.space is"),
    ):
        assert any(fault.startswith(words) for fault in faults(changed(record, **change))[0]), words

    def missing(name):
        raise ModuleNotFoundError(name="optuna")

    monkeypatch.setattr(points.pkgutil, "resolve_name", missing)
    assert faults(record) == ([], ["search 'searched': its points can't be drawn without Optuna"])


def test_a_published_tracks_search_is_the_published_one():
    config = planned("digits")
    narrow = config.track.search.model_copy(update={"learning_rate": (1e-3, 2e-3)})
    mine = config.model_copy(update={"track": config.track.model_copy(update={"search": narrow})})
    said = [[fault for fault in faults(tuned_record(of))[0] if "track.search" in fault] for of in (config, mine)]
    assert not said[0] and len(said[1]) == 1


def test_a_row_has_one_search_and_its_trials_say_the_same(config):
    trials, _ = searched(config, (3.0, 1.0, 2.0))
    rows = [tuned_record(config.model_copy(update={"seed": seed})) for seed in (0, 1)]
    together = [*trials, *rows]
    assert list(_searches(together, [record.run_id for record in together])) == []
    trial = trials[2].model_copy(update={"metrics": [trials[2].metrics[0].model_copy(update={"value": 0.1})]})
    assert [fault.partition(" is")[0] for _, fault in _searches([trial, *rows], ["a", "b", "c"])] == [
        "study.trials.2", "study.trials.2"
    ]  # fmt: skip
    other = changed(rows[1], seconds=rows[1].study.seconds + 1)
    assert [*_searches([rows[0], other], ["a", "b"])] == [(1, "study is another than in a: a row has one")]


def test_tuned_rows_have_boards_of_their_own_with_the_cost_and_trials_have_none(config):
    matched = record_of(config.model_copy(update={"ruleset": "matched"}), 2.0)
    few, many = tuned_record(config), tuned_record(config, (3.0, 1.0, 2.0, 4.0))
    trials, _ = searched(config, (3.0, 1.0, 2.0))
    found = boards([matched, few, many, *trials])
    assert [board.title.split(", ", 1)[1] for board in found] == [
        "40-steps, cpu", "tuned, 3 trials, 40-steps, cpu", "tuned, 4 trials, 40-steps, cpu"
    ]  # fmt: skip
    assert [len(board.records) for board in found] == [1, 1, 1]
    assert found[1].slug == "searched-v1-tuned-3-trials-40-steps-cpu"
    assert "search TFLOPs" in table(found[1]).columns and "search TFLOPs" not in table(found[0]).columns
    assert notes.searched(found[0]) == [] and notes.searched(found[1])[0].startswith(
        "Searched: toy:nano: trial 2 of 3,"
    )
    assert csv(found[1:]).splitlines()[0].endswith("search TFLOPs") and "search " not in csv(found[:1])
    assert f"3 trials of {few.study.digest}" in json_text(found) and '"search' not in json_text(found[:1]).replace(
        '"searched', ""
    )


def test_trials_are_left_where_they_are_when_runs_are_submitted(config, tmp_path):
    trial = trial_of(config_of(tuned_record(config)), tuned_record(config).study.best.point)
    for run_id in (trial.run_id, config.run_id):
        (tmp_path / "runs" / run_id).mkdir(parents=True)
        (tmp_path / "runs" / run_id / "record.json").write_text("{}")
    assert [path.parent.name for path in _records_of(tmp_path / "runs")] == [config.run_id]
