"""Track files are checked, and their hash covers all that has a meaning."""

from pathlib import Path

import pytest

from ditbench.errors import BadFile
from ditbench.registry import Registry
from ditbench.track import load_track

DIGITS = Registry.installed().tracks["digits"]

# A changed hash means a changed protocol: bump the track's version, then write the new pair down here.
PUBLISHED = {("digits", 2): "9440123cefd9"}


def test_no_published_track_has_changed_without_a_new_version():
    tracks = [load_track(path) for path in Registry.installed().tracks.values()]
    assert {(track.name, track.version): track.hash for track in tracks} == PUBLISHED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("learning_rate = 2e-3", "learning_rate = 1e-3"),
        ("samples = 1000", "samples = 2000"),
        ("steps = 25", "steps = 50"),
        ("label_dropout = 0.1", "label_dropout = 0.2"),
        ('"logit-normal"', '"uniform"'),
        ("version = 2", "version = 3"),
    ],
)
def test_a_changed_protocol_changes_the_hash(tmp_path, old, new):
    assert edited(tmp_path, old, new).hash != load_track(DIGITS).hash


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('budget = "56k-images"', 'budget = "9k-images"'),
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
        ("batch_size = 64", "batchsize = 128", "recipe.batch_size"),
        ("warmup = 0.05", "warmup = 1.5", "recipe.warmup"),
        ("learning_rate = 2e-3", "learning_rate = nan", "recipe.learning_rate"),
        ('space = "pixel"', 'space = "fourier"', "space"),
        ("version = 2", "version = ", "can't be read"),
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
