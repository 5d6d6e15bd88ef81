"""A published track never changes under its version."""

import pytest

from ditbench.errors import BadFile, BadValue
from ditbench.ledger import LEDGER_FILE, check_ledger, read_ledger
from ditbench.registry import Registry
from ditbench.track import load_track

SHIPPED = Registry.installed().tracks["digits"].parent


def test_every_shipped_track_is_published_as_it_is():
    """A changed hash means a changed protocol: raise the track's version, then write the new hash down there."""
    files = [path for path in SHIPPED.glob("*.toml") if path.name != LEDGER_FILE]
    assert len(files) >= 6 and all(check_ledger(load_track(path), path) for path in files)


def test_what_was_published_once_stays_in_the_ledger():
    assert read_ledger(SHIPPED)["digits"]["2"] == "9440123cefd9"


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
    with pytest.raises(BadValue, match=rf"Track 'mine' has changed: its version 3 .*{track.hash}.*raise its version"):
        check_ledger(load_track(mine), mine)
    mine.write_text(mine.read_text().replace("version = 3", "version = 4"))
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
