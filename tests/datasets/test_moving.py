"""The moving digits: the same bytes everywhere, each clip one digit on a straight path that bounces."""

import numpy as np
import pytest

from ditbench.datasets.bundled import digits, held_out_digits
from ditbench.datasets.examples import Request
from ditbench.datasets.moving import UNIT, load_moving_digits, paths, speeds
from ditbench.errors import BadValue


@pytest.fixture(scope="module")
def data():
    return load_moving_digits(Request(resolution=16, frames=8))


def test_content(data):
    assert data.sha256 == "07d13b9f22db473a50af798238649e9e70737893f24c0c97cf9a7ae5125eaf55"
    assert (data.space, data.examples.frames, data.examples.shape) == ("pixel", 8, (8, 1, 16, 16))
    assert (len(data.examples), data.held_out.count, data.held_out.shape) == (4000, 500, (8, 1, 16, 16))
    assert np.bincount(data.examples.labels).tolist() == [400] * 10


def test_no_light_is_lost_and_held_out_clips_show_other_digits(data):
    pixels, aside = digits()[0].reshape(1797, -1).astype(int).sum(1), held_out_digits()
    for clips, known in ((data.examples.rows, pixels[~aside]), (next(data.held_out.batches(500)), pixels[aside])):
        light = clips.reshape(len(clips), 8, -1).astype(int).sum(-1)
        assert np.abs(light[:, :, None] - known).min(-1).max() < 64  # rounding: half a step of 256 a pixel, at most


def test_paths_fold_at_the_borders():
    found = paths(np.array([[0, 7 * UNIT]]), np.array([[UNIT, 2 * UNIT]]))[0] / UNIT
    assert found[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert found[:, 1].tolist() == [7, 7, 5, 3, 1, 1, 3, 5]


def test_speeds_are_of_half_a_pixel_to_two():
    lengths = np.hypot(*speeds().T) / UNIT
    assert (lengths.min(), lengths.max()) == (0.5, 2)


@pytest.mark.parametrize("otherwise", [{"resolution": 8}, {"frames": 1}, {"interval": 2}])
def test_there_are_no_others(otherwise):
    with pytest.raises(BadValue, match="moving-digits has clips of 8 frames of 16 px"):
        load_moving_digits(Request(**{"resolution": 16, "frames": 8, **otherwise}))
