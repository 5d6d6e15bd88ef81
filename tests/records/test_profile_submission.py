"""A profile put forward for the leaderboard is sound, has its place there by hardware, and is checked there again."""

import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest

from ditbench.errors import BadFile, BadValue, DitbenchError
from ditbench.records.profile import file_name, read_profile, write_profile
from ditbench.records.profile_submission import submit_profiles
from ditbench.records.validation.files import validate
from ditbench.registry import Registry

ROOT = Path(__file__).parents[2]
REGISTRY = Registry.installed()
PROFILE = read_profile(ROOT / "tests" / "profiles" / "dit-S-2-h100.profile.json")
DAY = date(2026, 3, 1)


@pytest.fixture
def board(tmp_path):
    """A leaderboard's folder with one record."""
    folder = tmp_path / "leaderboard"
    for name in ("records", "samples"):
        shutil.copytree(ROOT / "leaderboard" / name, folder / name)
    for record in sorted((folder / "records" / "digits").glob("*.json"))[1:]:
        record.unlink()
        (folder / "samples" / "digits" / f"{record.stem}.png").unlink()
    return folder


def faults_of(*paths):
    return [line for one in validate(paths, REGISTRY) for line in one.lines]


def changed(**changes):
    return PROFILE.model_copy(update=changes)


def phase(**changes):
    return changed(training=PROFILE.training.model_copy(update=changes))


def test_it_goes_to_its_hardware_and_holds_there(board, tmp_path, ditbench, monkeypatch):
    (tmp_path / "profiles").mkdir()
    write_profile(PROFILE, tmp_path / "profiles")
    write_profile(
        changed(**dict.fromkeys(("cost", "training", "inference", "environment")), reason="no"), tmp_path / "profiles"
    )
    monkeypatch.chdir(tmp_path)
    out = ditbench("records", "submit", "profiles", "--by", "Ada")
    path = board / "profiles" / "nvidia-h100-80gb-hbm3" / file_name(PROFILE)
    assert "1 profile in leaderboard/profiles" in out and read_profile(path).submission.by == "Ada"
    assert faults_of(board / "records") == faults_of(board) == faults_of(path) == []
    assert "no fault" in ditbench("records", "validate", "leaderboard/records")
    assert "--weights-url is of a run" in ditbench(
        "records", "submit", "profiles", "--by", "Ada", "--weights-url", "https://a.org", code=2
    )


def test_what_lies_among_the_profiles_is_as_it_was_submitted(board, tmp_path):
    ((_, path),) = submit_profiles(write_profile(PROFILE, tmp_path), "Ada", board, DAY, registry=REGISTRY)
    (path.parent / "notes.txt").write_text("mine")
    assert "it is no profile, should be profiles/HARDWARE/NAME.profile.json" in faults_of(board / "records")[0]
    (path.parent / "notes.txt").unlink()
    path.rename(path.with_name("fast.profile.json"))
    assert [line.split(": ")[1] for line in faults_of(board)] == [
        f'the file\'s name is "fast.profile.json", should be "{file_name(PROFILE)}" (of its content)'
    ]
    path.with_name("fast.profile.json").unlink()
    elsewhere = board / "profiles" / "nvidia-h200"
    elsewhere.mkdir()
    write_profile(changed(submission=None), elsewhere)
    told = faults_of(board)
    assert 'the folder\'s name is "nvidia-h200", should be "nvidia-h100-80gb-hbm3"' in told[0]
    assert "submission is none, should say who put the profile forward" in told[1]


@pytest.mark.parametrize(
    ("profile", "fault"),
    [
        (phase(step_seconds=[1e-6] * 50), "the median of training.step_seconds is 1e-06, should be"),
        (phase(step_seconds=[0.0] * 50), "training.step_seconds.0 is 0.0, should be above 0"),
        (phase(step_seconds=[0.05] * 6), "the length of training.step_seconds is 6, should be"),
        (changed(peak_flops=1e9), "peak_flops is 1000000000.0, should be more: training would take"),
        (changed(created=PROFILE.created + timedelta(days=9999)), "should not be yet to come"),
        (changed(setup=PROFILE.setup.model_copy(update={"device": "cpu"})), "environment.gpu is"),
        (changed(environment=PROFILE.environment.model_copy(update={"parallel": 2})), "a profile is measured alone"),
        (
            changed(cost=PROFILE.cost.model_copy(update={"macs_per_image": 10**6})),
            "cost.macs_per_image is 1000000, should be about",
        ),
        (
            phase(peak=PROFILE.training.peak.model_copy(update={"allocated": 10**12})),
            "training.peak.allocated is 1000000000000, should be part of the reserved",
        ),
    ],
)
def test_what_no_machine_can_have_measured_is_told(tmp_path, board, profile, fault):
    path = write_profile(profile, tmp_path)
    assert any(fault in line for line in faults_of(path)), faults_of(path)
    with pytest.raises(BadFile, match="See `ditbench records validate`"):
        submit_profiles(path, "Ada", board, DAY, registry=REGISTRY)
    assert not (board / "profiles").exists()


def test_a_newer_one_is_not_overwritten_and_nothing_is_no_submission(board, tmp_path):
    path = write_profile(PROFILE, tmp_path)
    ((_, there),) = submit_profiles(path, "Ada", board, DAY, registry=REGISTRY)
    newer = changed(created=PROFILE.created + timedelta(hours=1))
    submit_profiles(write_profile(newer, tmp_path), "Eve", board, DAY, registry=REGISTRY)
    assert read_profile(there).submission.by == "Eve"
    with pytest.raises(DitbenchError, match="is in the leaderboard, and newer"):
        submit_profiles(write_profile(PROFILE, tmp_path), "Ada", board, DAY, registry=REGISTRY)
    with pytest.raises(BadValue, match="there is nothing to submit"):
        submit_profiles(tmp_path / "none", "Ada", board, DAY, registry=REGISTRY)
    with pytest.raises(BadFile, match="There is no leaderboard"):
        submit_profiles(path, "Ada", tmp_path / "none", DAY, registry=REGISTRY)
