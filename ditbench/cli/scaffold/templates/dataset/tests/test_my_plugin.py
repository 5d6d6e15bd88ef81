"""The images are what they are said to be, and the same every time; another size is refused."""

import pytest

from ditbench import BadValue, Request
from ditbench_my_plugin.data import load


def test_the_images():
    data = load(Request(resolution=32))
    assert data.examples.shape == (3, 32, 32) and len(data.examples) == data.images.count == 446
    assert set(data.examples.labels) == {0, 1} and data.held_out.count == 74
    assert data.sha256 == load(Request(resolution=32)).sha256


def test_another_size_is_refused():
    with pytest.raises(BadValue, match="32 px, not 64"):
        load(Request(resolution=64))
