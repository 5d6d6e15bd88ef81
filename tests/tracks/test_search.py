"""The space that a track declares, its points, and the runs that they make."""

import pytest
from searches import SEARCH, loaded, searched

from ditbench.cli.plan import _trials
from ditbench.errors import BadFile, BadValue, DitbenchError
from ditbench.registry import Registry
from ditbench.tracks import points
from ditbench.tracks.ledger import is_published
from ditbench.tracks.lookup import resolve_track
from ditbench.tracks.plan import make_plan
from ditbench.tracks.points import draw
from ditbench.tracks.recipe import Recipe
from ditbench.tracks.search import SEED, Point, Search
from ditbench.tracks.tuning import trial_of, tuned

pytestmark = pytest.mark.usefixtures("toy")
WHOLE = Search(learning_rate=(1e-4, 1e-2), weight_decay=(0.0, 0.1), beta2=(0.9, 0.95, 0.99), warmup=(0.02, 0.2))


def plan(track="digits", **options):
    (config,) = make_plan(Registry.installed(), str(track), ["toy"], **{"device": "cpu", **options})
    return config


@pytest.fixture
def config(tmp_path):
    loaded(tmp_path)
    return plan(tmp_path / "searched.toml", ruleset="tuned")


def test_points_are_the_same_for_all_begin_with_the_tracks_own_and_few_begin_more(tmp_path):
    track = loaded(tmp_path)
    found = draw(track)
    assert len(found) == 3 and found == draw(track, 8)[:3] and len(set(draw(track, 64))) == 64
    assert found[0] == Point(learning_rate=2e-3, beta2=0.99), "the recipe's, though beta2 is no choice"
    assert found[1:] == (Point(learning_rate=0.00529, beta2=0.999), Point(learning_rate=0.00175, beta2=0.95))


def test_coordinates_become_values_evenly_in_what_each_range_says():
    assert WHOLE.at((0.0, 0.0, 0.0, 0.0)) == Point(learning_rate=1e-4, weight_decay=0.0, beta2=0.9, warmup=0.02)
    assert WHOLE.at((0.5, 0.5, 0.5, 0.5)) == Point(learning_rate=1e-3, weight_decay=0.1, beta2=0.95, warmup=0.11)
    assert WHOLE.at((1.0, 1.0, 1.0, 1.0)) == Point(learning_rate=1e-2, weight_decay=0.1, beta2=0.99, warmup=0.2)
    assert Search(warmup=(0.1234, 0.5)).at((0.0,)).warmup == 0.1234, "rounding leaves no range"


def test_a_point_changes_what_it_names_and_the_last_beta():
    recipe = Recipe(
        optimizer="adan", learning_rate=1e-3, betas=(0.98, 0.92, 0.99), weight_decay=0.02, batch_size=8, ema_decay=0.9
    )
    changed = Point(beta2=0.95, warmup=0.1).recipe(recipe)
    assert changed == recipe.model_copy(update={"betas": (0.98, 0.92, 0.95), "warmup": 0.1})
    assert Point(beta2=0.95, warmup=0.1).told == "beta2 0.95, warmup 0.1"


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ("[search]", "search: it names nothing to search; give some of learning_rate, weight_decay, beta2, warmup"),
        ("[search]\nrate = [1e-4, 1e-2]", "search.rate: there is nothing of this name"),
        ("[search]\nlearning_rate = [1e-2, 1e-4]", "learning_rate from 0.01 to 0.0001 is no range"),
        ("[search]\nwarmup = [0.1, 0.1]", "warmup from 0.1 to 0.1 is no range"),
        ("[search]\nlearning_rate = [nan, 1e-4]", "search.learning_rate.0"),
        ("[search]\nlearning_rate = [1e-4]", "search.learning_rate"),
        ("[search]\nbeta2 = [0.9, 0.9]", "beta2 names a choice twice"),
        ("[search]\nbeta2 = [0.9, 1.0]", "search.beta2.1"),
        (f"{SEARCH}trials = 1".replace("trials = 3\n", ""), "search.trials"),
        ("[search]\nlearning_rate = [1e-4, 1.0]\nweight_decay = [0.1, 2.0]", "search: a weight_decay of 2 takes all"),
    ],
)  # fmt: skip
def test_a_bad_search_is_one_line_that_names_it(tmp_path, search, words):
    with pytest.raises(BadFile) as caught:
        loaded(tmp_path, search + "\n")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_search_needs_what_chooses_and_a_warm_up_of_its_kind(tmp_path):
    path, text = tmp_path / "searched.toml", (loaded(tmp_path), (tmp_path / "searched.toml").read_text())[1]
    for old, new, words in (
        ('"denoise", "fid"', '"fid"', "chooses by the metric denoise, which is not measured here"),
        ("warmup = 0.05", "warmup_steps = 3", "warmup is a share of the budget, and the recipe's is a number of steps"),
    ):
        path.write_text(text.replace(old, new).replace("beta2 = [0.95, 0.999]", "warmup = [0.01, 0.1]"))
        with pytest.raises(DitbenchError, match=words):
            plan(path, ruleset="tuned")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trials": 8}, "`trials` 8 is of a search, which `ruleset` tuned makes, not 'matched'."),
        ({"ruleset": "tuned", "trials": 1}, "`trials` 1: choose from 2 to 256"),
        ({"ruleset": "tuned", "trials": 257}, "`trials` 257: choose from 2 to 256"),
        ({"ruleset": "tuned", "seeds": [0, SEED]}, f"Seed {SEED} is that of the search"),
        ({"ruleset": "tuned", "track": "cifar10"}, "Track 'cifar10' declares no [search]"),
        ({"ruleset": "trial"}, "No ruleset named 'trial'. Known: matched, native, tuned, speedrun."),
    ],
)
def test_what_can_not_be_searched_is_one_line(options, words):
    with pytest.raises(BadValue) as caught:
        plan(**options)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'optuna'", name="optuna")

    monkeypatch.setattr(points.pkgutil, "resolve_name", missing)
    with pytest.raises(BadValue, match=r"`ruleset` tuned needs 'optuna': .*'ditbench\[tuned\]'\.$"):
        draw(loaded(tmp_path))


def test_a_search_leaves_the_tracks_hash(tmp_path):
    for name in ("digits", "fashion32"):
        track = resolve_track(Registry.installed(), name)
        assert track.search and is_published(track)
        assert track.model_copy(update={"search": None}).hash == track.hash


def test_a_trial_is_a_run_of_its_own_that_measures_what_chooses_alone(config):
    point = Point(learning_rate=1e-3, beta2=0.95)
    trial = trial_of(config.model_copy(update={"keep_samples": True, "eval_at": (0.5,)}), point)
    assert (trial.ruleset, trial.seed, trial.recipe.learning_rate) == ("trial", SEED, 1e-3)
    asked = trial.track.evaluation
    assert (asked.metrics, asked.samples, trial.eval_at, trial.keep_samples) == (("denoise",), 20, (), False)
    assert trial.deviations == ("a trial of a search, of which only the denoising error is measured",)
    assert trial.told == "toy:nano trial" and config.told == "toy:nano seed 0"
    assert trial_of(config, point).hash == trial.hash != config.hash
    assert trial_of(config.model_copy(update={"seed": 7}), point).hash == trial.hash


def test_a_plan_counts_the_trials_of_each_architecture_once(config):
    seeds = [config.model_copy(update={"seed": seed}) for seed in (0, 1)]
    assert [run.ruleset for run in _trials(seeds, None)] == ["trial"] * 3
    assert len(_trials(seeds, 5)) == 5 and _trials([config.model_copy(update={"ruleset": "matched"})], None) == []


def test_another_number_of_trials_or_another_space_is_another_run(config):
    studies = [searched(config, values)[1] for values in ((2.0, 1.0), (2.0, 1.0, 3.0), (2.0, 1.0, 4.0))]
    wider = studies[0].model_copy(update={"space": WHOLE})
    runs = [tuned(config, study) for study in (*studies, wider)]
    assert len({run.recipe.learning_rate for run in runs}) == 1, "all chose the same"
    assert len({run.hash for run in runs}) == len({run.study.digest for run in runs}) == 3
    assert runs[1].hash == runs[2].hash, "what came of its trials is in no hash"
