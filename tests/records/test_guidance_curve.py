"""A curve of guidance is of one run's weights, its points differ in the scale alone, and all of it is checked."""

import json

import pytest
from guided import curve, point
from records import sound, unfinished
from tampering import SUBMISSION, to

from ditbench.errors import BadFile, BadValue
from ditbench.records.guidance import (
    check_guidable,
    check_scales,
    curve_beside,
    file_name,
    guided,
    is_of,
    new_curve,
    read_curves,
    with_axes,
    write_curve,
)
from ditbench.records.record import seal, write_record
from ditbench.records.validation.files import validate
from ditbench.registry import Registry
from ditbench.tracks.guidance import Guidance

RECORD = sound(submission=SUBMISSION)


def faults(folder):
    return "\n".join(line for one in validate([folder], Registry.installed()) for line in one.lines)


@pytest.fixture
def board(tmp_path):
    """A leaderboard with a record, and a curve of it."""
    place = tmp_path / "records" / "digits"
    place.mkdir(parents=True)
    write_record(RECORD, place / f"{RECORD.run_id}.json")
    write_curve(curve(RECORD, {1.0: 1.25, 1.5: 1.0, 3.0: 2.0}), place)
    return place


def test_points_stand_by_scale_whatever_came_first(board):
    found = new_curve(RECORD).and_also(point(RECORD, 3.0)).and_also(point(RECORD, 0.0)).and_also(point(RECORD, 1.0))
    assert found.scales == [0.0, 1.0, 3.0] and found.at(2.0) is None
    again = found.and_also(point(RECORD, 1.0, fid=9.0))
    assert again.scales == found.scales and again.at(1.0).metrics[0].value == 9.0
    assert [one.scales for one in read_curves(board)] == [[1.0, 1.5, 3.0]]
    assert faults(board.parents[1]) == ""


def test_what_was_measured_otherwise_is_no_point_of_the_curve():
    other = point(RECORD, 2.0)
    fewer = other.model_copy(update={"metrics": other.metrics[:2]})
    with pytest.raises(BadFile, match=r"measured otherwise than is done now\. Remove '.*guidance\.json'"):
        curve(RECORD, {1.0: 1.0}).and_also(fewer)


def test_a_curve_is_of_the_weights_as_they_are(board):
    found = curve_beside(RECORD, board)
    assert is_of(found, RECORD) and found.scales == [1.0, 1.5, 3.0]
    trained_again = RECORD.model_copy(update={"files": {"ema.safetensors": "0" * 64}})
    assert not is_of(found, trained_again) and curve_beside(trained_again, board).points == []
    (board / file_name(RECORD.run_id)).write_text("{}")
    with pytest.raises(BadFile, match=r"guidance curve .* is wrong"):
        curve_beside(RECORD, board)


def test_a_track_keeps_its_schedule_and_the_scale_is_w():
    own = Guidance(scale=0.5, formula="c + s(c - u)", schedule="interval", interval=(100.0, 700.0), channels=1)
    track = RECORD.track.model_copy(update={"sampler": RECORD.track.sampler.model_copy(update={"guidance": own})})
    found = guided(track, 3, ["fid", "recall"])
    assert found.sampler.guidance == Guidance(scale=3.0, schedule="interval", interval=(100.0, 700.0), channels=1)
    assert found.evaluation.metrics == ("fid", "recall") and guided(track, 1, ["fid"]).sampler.guidance.weight(500) == 1
    assert with_axes(["kid"]) == ["kid", "fid", "recall", "precision"]
    assert with_axes(["fd/a", "recall/b"]) == ["fd/a", "recall/b", "precision"]


@pytest.mark.parametrize(
    ("scales", "words"),
    [
        ([], "there is one at least"),
        ([-1.0], "numbers from 0 to 1000"),
        ([float("nan")], "numbers from 0 to 1000"),
        ([float("inf")], "numbers from 0 to 1000"),
        ([1001.0], "numbers from 0 to 1000"),
        ([2.0, 1.0], "'2,1': give each scale once, in ascending order"),
        ([1.0, 1.0], "give each scale once"),
        ([float(i) for i in range(51)], "51 scales are too many for a curve, which has 50 at most"),
    ],
)
def test_scales_that_are_no_grid(scales, words):
    with pytest.raises(BadValue, match=words):
        check_scales(scales)


def test_what_can_not_be_guided():
    check_guidable(RECORD)
    recipe, data = RECORD.recipe.model_copy(update={"label_dropout": 0.0}), RECORD.data
    with pytest.raises(BadValue, match=r"never saw the null label \(its recipe has label_dropout = 0\)"):
        check_guidable(RECORD.model_copy(update={"recipe": recipe}))
    with pytest.raises(BadValue, match="data without classes"):
        check_guidable(RECORD.model_copy(update={"data": data.model_copy(update={"classes": 0})}))
    with pytest.raises(BadFile, match="has no numbers that guidance could change: it is diverged"):
        check_guidable(unfinished())
    with pytest.raises(BadFile, match=r"has no sha256 of ema\.safetensors"):
        check_guidable(RECORD.model_copy(update={"files": {}}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (to("points.0.metrics.0.value", 0.5), "points.0: metrics.0.value is 0.5, should be 1.25 (fid by"),
        (to("points.1.sampling.evaluations", 25), "points.1: sampling.evaluations is 25, should be 50"),
        (to("points.2.created", "2999-01-01T00:00:00Z"), "should not be yet to come"),
        (to("points.0.guidance.scale", 2.0), "scales 2 and 1.5 are not in ascending order"),
        (to("points.0.guidance.power", 3.0), "differ in more than the scale"),
        (to("points.0.device", "cpu /home/ada"), "holds an absolute path"),
        (to("weights_sha256", "0" * 64), "the record's weights"),
        (to("run_hash", "0" * 12), "run_hash is"),
        (to("run_id", "dit-nano-seed9-00000000"), "there is no such record beside it"),
        (to("surprise", 1), "surprise is 1, should not be there"),
    ],
)  # fmt: skip
def test_a_curve_that_was_tampered_with_is_found(board, change, words):
    path = board / file_name(RECORD.run_id)
    content = json.loads(path.read_text())
    changed = change(content) or content
    path.write_text(json.dumps({**changed, "sha256": seal(changed)}))
    assert words in faults(board.parents[1])


def test_a_seal_that_does_not_hold_is_found(board):
    path = board / file_name(RECORD.run_id)
    path.write_text(path.read_text().replace('"scale": 3.0', '"scale": 4.0'))
    assert "the seal over all else" in faults(board.parents[1])
