"""A published track never changes under its version, and has the data that it was published with."""

from dataclasses import replace

import pytest

from ditbench.benchmark.deviations import other_images
from ditbench.datasets.bundled import load_digits
from ditbench.datasets.examples import Request
from ditbench.errors import BadFile, BadValue
from ditbench.registry import Registry
from ditbench.tracks.ledger import (
    DATA_FILE,
    LEDGER_FILE,
    check_ledger,
    data_of,
    is_published,
    read_data_hashes,
    read_ledger,
    shipped,
)
from ditbench.tracks.track import load_track

SHIPPED = Registry.installed().tracks["digits"].parent


def test_every_shipped_track_is_published_as_it_is():
    """A changed hash means a changed protocol: raise the track's version, then write the new hash down there."""
    files = [path for path in SHIPPED.glob("*.toml") if path.name not in (LEDGER_FILE, DATA_FILE)]
    assert len(files) >= 6 and all(check_ledger(load_track(path), path) for path in files)


def test_what_was_published_once_stays_in_the_ledger():
    assert read_ledger(SHIPPED)["digits"]["2"] == "9440123cefd9"


DIGITS = load_track(SHIPPED / "digits.toml")


def test_hashes_of_data_are_of_tracks_that_were_published():
    tracks = read_ledger(SHIPPED)
    for name, hashes in read_data_hashes(SHIPPED).items():
        assert hashes.keys() <= tracks[name].keys()
    assert data_of(load_track(SHIPPED / "fashion32.toml")) and not data_of(load_track(SHIPPED / "imagenet256.toml"))


def test_the_digits_are_those_that_the_track_was_published_with():
    data = load_digits(Request(resolution=8, space="pixel"))
    assert data.sha256 == data.images.hash() == data_of(DIGITS)
    assert other_images(DIGITS, data, data.sha256) == ()
    own = other_images(DIGITS, data, "0" * 64)
    assert [*map(str, own)] == ["compared with images of sha256 000000000000, not with the training images"]
    found = other_images(DIGITS, replace(data, sha256="1" * 64), "1" * 64)
    assert [*map(str, found)] == ["data of sha256 111111111111, not the track's e2dc3485ee1c"]
    assert len(other_images(DIGITS, replace(data, sha256="1" * 64), data.sha256)) == 2
    assert other_images(DIGITS, replace(data, sha256="1" * 64, synthetic=True), "") == ()


def test_another_track_of_that_name_or_version_is_bound_to_no_data():
    changed = DIGITS.model_copy(update={"evaluation": DIGITS.evaluation.model_copy(update={"samples": 20})})
    for track in (changed, DIGITS.model_copy(update={"version": 2}), DIGITS.model_copy(update={"name": "mine"})):
        assert not data_of(track) and not is_published(track) and shipped(track) is None
        assert other_images(track, load_digits(Request(resolution=8, space="pixel")), "0" * 64) == ()
    assert shipped(DIGITS.model_copy(update={"target": 99.0})) == DIGITS  # the target is not hashed


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text((SHIPPED / "digits.toml").read_text().replace('name = "digits"', 'name = "mine"'))
    return path


def test_a_changed_track_needs_a_new_version(mine):
    track = load_track(mine)
    assert not check_ledger(track, mine)  # no ledger
    ledger = mine.with_name(LEDGER_FILE)
    ledger.write_text(f'[mine]\n{track.version} = "{track.hash}"\n')
    assert check_ledger(track, mine)
    mine.write_text(mine.read_text().replace("steps = 25", "steps = 26"))
    with pytest.raises(BadValue, match=rf"Track 'mine' has changed: its version 4 .*{track.hash}.*raise its version"):
        check_ledger(load_track(mine), mine)
    mine.write_text(mine.read_text().replace("version = 4", "version = 5"))
    assert not check_ledger(load_track(mine), mine)  # new, and not published yet


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[mine", "can't be read"),
        ('[mine]\n1 = "short"', "mine.1: String should match"),
        ('[mine]\nv1 = "0123456789ab"', "is wrong: mine.v1"),
        ("mine = 3", "is wrong: mine: "),
    ],
)
def test_a_damaged_ledger_is_named(mine, text, fault):
    mine.with_name(LEDGER_FILE).write_text(text)
    with pytest.raises(BadFile, match=fault) as caught:
        check_ledger(load_track(mine), mine)
    assert LEDGER_FILE in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"), [("[mine", "can't be read"), ('[mine]\n1 = "0123456789ab"', "mine.1: String should match")]
)
def test_damaged_hashes_of_data_are_named(tmp_path, text, fault):
    assert read_data_hashes(tmp_path) == {}
    (tmp_path / DATA_FILE).write_text(text)
    with pytest.raises(BadFile, match=fault) as caught:
        read_data_hashes(tmp_path)
    assert DATA_FILE in str(caught.value) and "\n" not in str(caught.value)
