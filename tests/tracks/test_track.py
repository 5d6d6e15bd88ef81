"""Track files are checked, and their hash covers all that has a meaning."""

from pathlib import Path

import pytest

from ditbench.errors import BadFile, BadValue
from ditbench.registry import Registry
from ditbench.tracks.track import load_track

DIGITS = Registry.installed().tracks["digits"]

SHIPPED = (
    "cifar10", "digits", "fashion32", "imagenet256", "imagenet256-f16d32", "imagenet256-features", "imagenet512",
    "imagenet64", "moving-digits", "ucf101",
)  # fmt: skip
OPEN = ("imagenet256-f16d32",)  # to any autoencoder of its shape: a board is of one, by the data's hash


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_track_says_all_that_matters(name):
    track = load_track(DIGITS.with_name(f"{name}.toml"))
    assert track.name == name and track.budget in track.budgets
    known = track.data.model_dump(exclude={"autoencoder"})
    assert None not in known.values()
    assert (track.data.autoencoder is None) == (track.space == "pixel" or name in OPEN)
    assert track.recipe.micro_batch is None  # a user's GPU decides


def test_imagenet256_is_the_setting_of_dits_table_4():
    track = load_track(DIGITS.with_name("imagenet256.toml"))
    recipe, sampler, evaluation = track.recipe, track.sampler, track.evaluation
    assert (recipe.optimizer, recipe.learning_rate, recipe.batch_size) == ("adamw", 1e-4, 256)
    assert (recipe.betas, recipe.weight_decay, recipe.decay) == ((0.9, 0.999), 0, "constant")
    assert (recipe.warmup, recipe.warmup_steps, recipe.clip_norm) == (0, 0, None)
    assert (recipe.ema_decay, recipe.label_dropout, recipe.precision) == (0.9999, 0.1, "tf32")
    assert (track.objective.name, track.data.flip, track.data.posterior) == ("iddpm", True, "sample")
    assert (sampler.name, sampler.steps, sampler.guidance) == ("ddpm", 250, None)
    assert (evaluation.samples, evaluation.labels, evaluation.metrics[0]) == (50_000, "random", "fid")
    assert track.amount(None).amount == 400_000 and track.amount("paper").amount == 7_000_000


def test_budgets_have_names():
    track = load_track(DIGITS)
    assert str(track.amount(None)) == str(track.amount("standard")) == "56k-images"
    assert str(track.amount("90s")) == "90s"
    with pytest.raises(BadValue, match=r"'smok' is no budget\. Did you mean 'smoke'"):
        track.amount("smok")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("learning_rate = 2e-3", "learning_rate = 1e-3"),
        ("samples = 1000", "samples = 2000"),
        ("steps = 25", "steps = 50"),
        ("label_dropout = 0.1", "label_dropout = 0.2"),
        ('"logit-normal"', '"uniform"'),
        ("version = 4", "version = 5"),
        ("images = 1541", "images = 1797"),
        ("flip = false", "flip = true"),
        ('"balanced"', '"random"'),
    ],
)
def test_a_changed_protocol_changes_the_hash(tmp_path, old, new):
    assert edited(tmp_path, old, new).hash != load_track(DIGITS).hash


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('budget = "standard"', 'budget = "9k-images"'),
        ('standard = "56k-images"', 'standard = "57k-images"'),
        ('size = "nano"', 'size = "S/2"'),
        ('description = "', 'description = "My '),
        ("# Real", "# Very real"),
    ],
)
def test_prose_and_what_a_run_overrides_stay_out_of_the_hash(tmp_path, old, new):
    assert edited(tmp_path, old, new).hash == load_track(DIGITS).hash


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("batch_size = 64", "batch_size = 0", "recipe.batch_size"),
        ("batch_size = 64", "batchsize = 128", "recipe.batchsize: there is nothing of this name; .*'batch_size'"),
        ("warmup = 0.05", "warmup = 1.5", "recipe.warmup"),
        ("learning_rate = 2e-3", "learning_rate = nan", "recipe.learning_rate"),
        ('space = "pixel"', 'space = "fourier"', "space"),
        ("version = 4", "version = ", "can't be read"),
        ("betas = [0.9, 0.99]", "betas = [0.9, 0.99, 0.9]", "adamw has not 3 betas"),
        ("ema_half_life = 0.05", "", "recipe: .*either ema_half_life or ema_decay"),
    ],
)
def test_a_wrong_file_is_named_with_its_field(tmp_path, old, new, fault):
    with pytest.raises(BadFile, match=fault) as caught:
        edited(tmp_path, old, new)
    assert "mine.toml" in str(caught.value) and "\n" not in str(caught.value)


def edited(folder: Path, old: str, new: str):
    text = DIGITS.read_text()
    assert old in text
    path = folder / "mine.toml"
    path.write_text(text.replace(old, new))
    return load_track(path)


def test_line_ends_stay_out_of_the_hash(tmp_path):
    path = tmp_path / "digits.toml"
    path.write_bytes(DIGITS.read_bytes().replace(b"\n", b"\r\n"))
    assert load_track(path).hash == load_track(DIGITS).hash
