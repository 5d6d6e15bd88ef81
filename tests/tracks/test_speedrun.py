"""What a speedrun fixes, the file that brings its recipe, and the runs that they make."""

import pytest
from speedruns import entry

from ditbench.errors import BadFile, BadValue
from ditbench.records.record import Record, config_of
from ditbench.registry import Registry
from ditbench.tracks.free import Free, free_recipe, written
from ditbench.tracks.ledger import is_published
from ditbench.tracks.plan import make_plan
from ditbench.tracks.track import load_track

TRACK = load_track(Registry.installed().tracks["digits"])
FILE = """\
changed = "Muon, small batches"
[recipe]
optimizer = "muon"
matrix_rate = 0.02
batch_size = 32
warmup_steps = 10
ema_decay = 0.9
[objective]
std = 1.5
"""


def saved(folder, text):
    path = folder / "recipe.toml"
    path.write_text(text)
    return str(path)


def plan(recipe, *names, track="digits", **options):
    named = {"device": "cpu", "ruleset": "speedrun", "recipe": recipe, **options}
    return make_plan(Registry.installed(), track, names or ["dit:nano"], (0,), **named)


def test_a_file_changes_the_tracks_recipe_and_its_words_move_no_hash(tmp_path):
    (run,) = plan(saved(tmp_path, FILE))
    assert (run.ruleset, run.changed, run.objective.settings["std"]) == ("speedrun", "Muon, small batches", 1.5)
    recipe = run.recipe
    assert (recipe.optimizer, recipe.matrix_rate, recipe.batch_size) == ("muon", 0.02, 32)
    assert (recipe.warmup, recipe.warmup_steps, recipe.ema_half_life, recipe.ema_decay) == (0.0, 10, None, 0.9)
    assert recipe.learning_rate == TRACK.recipe.learning_rate, "what the file leaves out is the track's"
    (other,) = plan(saved(tmp_path, FILE.replace("small", "smaller")))
    assert other.changed != run.changed and other.hash == run.hash
    (matched,) = plan("", ruleset="matched")
    assert matched.hash != run.hash and "changed" not in matched.model_dump()


def test_a_recipe_is_written_as_a_file_that_gives_it_again(tmp_path):
    free = free_recipe(TRACK, "speedrun", saved(tmp_path, FILE), None)
    again = free_recipe(TRACK, "speedrun", saved(tmp_path, "\n".join(written(free, TRACK))), None)
    assert again == free
    own = Free(TRACK.recipe, TRACK.objective, 'the "own" recipe')
    assert written(own, TRACK) == ['changed = "the \\"own\\" recipe"', "[recipe]"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[recipe]\nlearning_rate = 0.1\n", "changed: Field required"),
        ('changed = ""\n', "changed: String should have at least 1 character"),
        ('changed = "a\\u202eb"\n', "changed: String should match pattern"),
        (f'changed = "{"x" * 201}"\n', "changed: String should have at most 200 characters"),
        ('changed = "x"\nrecipes = 1\n', "recipes: there is nothing of this name; did you mean 'recipe'"),
        ('changed = "x"\n[recipe]\nrate = 0.1\n', "recipe.rate: there is nothing of this name"),
        ('changed = "x"\n[recipe]\nlearning_rate = "1"\n', "recipe.learning_rate: Input should be a valid number"),
        ('changed = "x"\n[recipe]\ncompile = "on"\n', "recipe.compile is not free in a speedrun; leave it out"),
        ('changed = "x"\n[recipe]\nmomentum = 0.9\n', "matrix_rate and momentum are Muon's, and"),
        ('changed = "x"\n[recipe]\noptimizer = "muon"\nbetas = [0.9, 0.9, 0.9]\n', "muon has not 3 betas"),
        ("changed = ", "can't be read: Invalid value"),
    ],
    ids=[
        "no-words", "empty", "unseen", "long", "unknown", "field", "text", "fixed", "momentum", "betas", "torn",
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_with_its_field(tmp_path, text, words):
    with pytest.raises(BadFile) as told:
        plan(saved(tmp_path, text))
    assert words in str(told.value) and "recipe.toml" in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ruleset": "matched"}, "is of `ruleset` speedrun, not 'matched'."),
        ({"recipe": ""}, "`ruleset` speedrun needs a recipe: name its file with `recipe` FILE.toml."),
        ({"track": "cifar10"}, "Track 'cifar10' declares no [speedrun]"),
        ({"compile": "on"}, "`compile` on: in a speedrun it is the track's, off."),
        ({"names": "uvit:nano"}, "The speedrun of track 'digits' is of dit:nano, not of uvit:nano."),
    ],
    ids=["matched", "no-file", "no-speedrun", "compiled", "network"],
)
def test_what_does_not_go_with_it_is_refused(tmp_path, options, words):
    names = [options.pop("names")] if "names" in options else []
    with pytest.raises(BadValue) as told:
        plan(*[options.pop("recipe", saved(tmp_path, FILE)), *names], **options)
    assert words in str(told.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(BadFile, match=r"no\.toml"):
        plan(str(tmp_path / "no.toml"))


def test_the_shipped_speedrun_is_no_part_of_the_tracks_hash():
    assert is_published(TRACK) and TRACK.speedrun is not None
    without = TRACK.model_copy(update={"speedrun": None})
    assert without.hash == TRACK.hash and TRACK.seeds_of("speedrun") == TRACK.speedrun.seeds


def test_a_target_of_what_is_not_measured_is_refused(tmp_path):
    text = Registry.installed().tracks["digits"].read_text()
    path = tmp_path / "digits.toml"
    path.write_text(text.replace("fid = 2.0", "fd = 2.0"))
    track = load_track(path)  # of which other runs need not measure it
    with pytest.raises(BadValue, match="target 'fd' is not among what is measured: denoise, fid"):
        free_recipe(track, "speedrun", saved(tmp_path, FILE), None)


def test_a_record_holds_what_a_speedrun_fixes(tmp_path):
    (record,) = entry(seeds=1)
    assert config_of(record).hash == record.run_hash
    told = {
        "of dit:nano, and the run of dit:S": {
            "architecture": record.architecture.model_copy(update={"label": "dit:S"})
        },
        "precision and compile are the track's": {"recipe": record.recipe.model_copy(update={"compile": "on"})},
        "with any settings": {"objective": record.objective.model_copy(update={"name": "edm"})},
        "says in words": {"changed": ""},
        "changed is of the speedrun": {"ruleset": "matched", "recipe": TRACK.recipe},
    }
    for words, changes in told.items():
        with pytest.raises(ValueError, match=words):
            Record.model_validate(record.model_copy(update=changes).model_dump())
