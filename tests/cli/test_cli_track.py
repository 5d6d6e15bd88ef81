"""`ditbench track`: what is shown can be used, and what is wrong is one line."""

import json
import tomllib

import pytest

import ditbench.cli.track  # noqa: F401
from ditbench.registry import Registry
from ditbench.tracks.track import load_track

DIGITS = Registry.installed().tracks["digits"]


@pytest.mark.parametrize("name", ["digits", "imagenet256"])
def test_what_is_shown_is_the_track(ditbench, tmp_path, name):
    shown = ditbench("track", "show", name)
    path = tmp_path / "copy.toml"
    path.write_text(shown)
    original = load_track(DIGITS.with_name(f"{name}.toml"))
    assert load_track(path) == original
    assert f"# {name}, version {original.version}, hash {original.hash}\n" in shown
    assert ditbench("track", "show", str(path)) == shown


def test_budgets_are_told_in_steps_images_and_epochs(ditbench):
    shown = ditbench("track", "show", "imagenet256")
    assert "# default budget: standard, 400k-steps = 102,400,000 images = 79.9 epochs\n" in shown
    assert "# --budget paper: 7000k-steps = 1,792,000,000 images = 1,399 epochs\n" in shown
    assert "# --budget smoke: 2k-images = 32 steps of 64 = 1.3 epochs\n" in ditbench("track", "show", "digits")


def test_every_default_is_written_out(ditbench):
    shown = tomllib.loads(ditbench("track", "show", "digits"))
    assert shown["recipe"]["checkpointing"] is False and shown["data"]["downsampling"] == 1
    as_json = json.loads(ditbench("track", "show", "digits", "--json"))
    assert as_json.pop("hash") == load_track(DIGITS).hash and as_json == shown


def test_prose_can_not_command_the_terminal_or_leave_its_comment(ditbench, tmp_path):
    path = tmp_path / "mine.toml"
    text = DIGITS.read_text().replace('name = "digits"', 'name = "mine"')
    text = text.replace('description = "1,797', r'description = "\u001b[31m\u009b31m\u202e')
    path.write_text(text)
    shown = ditbench("track", "show", str(path))
    assert not {"\x1b", "\x9b", "\u202e"} & set(shown)
    assert tomllib.loads(shown)["description"].startswith("\x1b[31m\x9b31m\u202e") and "version = 4" in shown
    path.write_text(text.replace("[budgets]", '[budgets]\n"x\\nversion = 9" = "5min"'))
    assert r"budgets.x\nversion = 9.[key]" in ditbench("track", "show", str(path), code=2)


def test_tracks_are_checked(ditbench, toy, tmp_path):
    lines = ditbench("track", "check").splitlines()
    assert [line.split()[0] for line in lines] == list(Registry.installed().tracks)
    digits = load_track(DIGITS)
    assert f"digits 4 {digits.hash} as published" in lines
    assert next(line for line in lines if line.startswith("tiny ")).endswith("in no ledger")
    copy = tmp_path / "copy.toml"
    copy.write_text(DIGITS.read_text())
    assert ditbench("track", "check", str(copy), "tiny").startswith(f"digits 4 {digits.hash} as published\ntiny 1 ")


def test_what_is_wrong_ends_with_2(ditbench, tmp_path):
    assert "No track named 'digit'. Did you mean 'digits'?" in ditbench("track", "show", "digit", code=2)
    assert "can't be read" in ditbench("track", "check", str(tmp_path / "none.toml"), code=2)
    changed = tmp_path / "changed.toml"
    changed.write_text(DIGITS.read_text().replace("steps = 25", "steps = 26"))
    told = ditbench("track", "check", str(changed), code=2)
    assert "calls itself 'digits'" in told and told.count("\n") == 1
