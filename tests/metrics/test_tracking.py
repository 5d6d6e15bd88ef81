"""The tracker passes real motion, and nothing else: no shuffled, standing, jumping, fading or doubled digit."""

import numpy as np
import pytest

from ditbench.datasets.examples import Request
from ditbench.datasets.moving import load_moving_digits
from ditbench.errors import BadValue
from ditbench.metrics.features import Features
from ditbench.metrics.tracking import moves, tracked

DATA = load_moving_digits(Request(resolution=16, frames=8))
REAL = next(DATA.held_out.batches(500))
OTHERS = REAL[np.random.default_rng(1).permutation(len(REAL))]


def share(clips):
    return moves(Features(len(clips), {}, pixels=clips.astype(np.uint8)), Features(0, {})).value


def shuffled(clips):
    draw = np.random.default_rng(0)
    return np.stack([clip[draw.permutation(8)] for clip in clips])


def with_later(clips, later):
    return np.concatenate([clips[:, :4], later], axis=1)


FALSE = {
    "shuffled": shuffled(REAL),
    "stands": REAL[:, :1].repeat(8, axis=1),
    "stops": with_later(REAL, REAL[:, 3:4].repeat(4, axis=1)),
    "becomes another": with_later(REAL, OTHERS[:, 4:]),
    "jumps": with_later(REAL, np.roll(REAL[:, 4:], 2, axis=-1)),
    "goes back": with_later(REAL, REAL[:, 3::-1]),
    "fades": REAL * np.linspace(1, 0.5, 8)[:, None, None, None],
    "is two": np.maximum(REAL, OTHERS),
    "is gone": REAL * 0,
    "is noise": np.random.default_rng(0).integers(0, 256, REAL.shape),
    "two steps change places": REAL[:, [0, 1, 2, 3, 4, 5, 7, 6]],
}


def test_real_clips_pass():
    assert share(REAL) == 1 and share(DATA.examples.rows[:1000]) >= 0.998
    assert share(REAL[:, ::-1]) == 1  # the same motion, backwards


def test_a_little_noise_is_no_fault():
    noise = np.random.default_rng(0).normal(0, 8, REAL.shape)
    assert share(np.clip(REAL + noise, 0, 255)) >= 0.98


@pytest.mark.parametrize("name", FALSE)
def test_what_moves_otherwise_falls(name):
    most = {"jumps": 0.1, "goes back": 0.15}.get(name, 0.03)  # a jump or a turn at a border may be a bounce
    assert share(FALSE[name]) <= most


def test_a_digit_may_not_bounce_before_the_border():
    digit = np.full((8, 8), 200)
    clips = np.zeros((1, 8, 1, 16, 16), int)
    for frame, place in enumerate((0, 2, 4, 4, 2, 0, 2, 4)):
        clips[0, frame, 0, 4:12, place : place + 8] = digit
    assert not tracked(clips.astype(np.uint8))
    clips[:] = 0
    for frame, place in enumerate((2, 4, 6, 8, 6, 4, 2, 0)):
        clips[0, frame, 0, 4:12, place : place + 8] = digit
    assert tracked(clips.astype(np.uint8))


def test_hits_and_tries_are_kept_with_the_tolerances():
    found = moves(Features(500, {}, pixels=np.concatenate([REAL[:200], shuffled(REAL[:300])])), Features(0, {}))
    assert found.raw["counts"] == [200, 500]
    assert found.settings == {"threshold": 32, "one": 0.95, "mass": 0.15, "pixels": 0.25}


def test_other_clips_are_refused():
    with pytest.raises(BadValue, match=r"'moves' tracks clips of \(8, 1, 16, 16\)"):
        moves(Features(20, {}, pixels=REAL[:20, :6]), Features(0, {}))
