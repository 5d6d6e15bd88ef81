"""A factory's signature is the form of its settings, whoever wrote it."""

import functools
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from pydantic import Field

from ditbench.errors import BadValue
from ditbench.tracks.settings import checked


@dataclass(frozen=True)
class Weighted:
    time: Literal["uniform", "logit-normal"] = "uniform"
    gamma: Annotated[float, Field(ge=0, le=100)] = 5.0
    learn_variance: bool = False


def plain(power=1.0, schema="x", *, steps):
    """Without annotations, and with names that a pydantic model has, too."""


def free(scale: float = 1.0, **more):
    """What takes anything is given anything."""


@pytest.mark.parametrize(
    ("factory", "settings", "found"),
    [
        (Weighted, {}, {"time": "uniform", "gamma": 5.0, "learn_variance": False}),
        (Weighted, {"gamma": 2}, {"time": "uniform", "gamma": 2.0, "learn_variance": False}),
        (plain, {"steps": "any", "schema": "y"}, {"power": 1.0, "schema": "y", "steps": "any"}),
        (functools.partial(plain, steps=3), {"power": 2}, {"power": 2.0, "schema": "x", "steps": 3}),
        (free, {"scale": 2.0, "other": [1]}, {"scale": 2.0, "other": [1]}),
    ],
)
def test_settings_that_fit(factory, settings, found):
    assert checked(factory, settings) == found


@pytest.mark.parametrize(
    ("factory", "settings", "told"),
    [
        (Weighted, {"gama": 5.0}, "gama: there is nothing of this name; did you mean 'gamma'?"),
        (Weighted, {"x": 1}, "x: there is nothing of this name; known: time, gamma, learn_variance"),
        (Weighted, {"gamma": True}, "gamma: Input should be a valid number, not True"),
        (Weighted, {"gamma": "5"}, "gamma: Input should be a valid number, not '5'"),
        (Weighted, {"gamma": 101}, "gamma: Input should be less than or equal to 100, not 101"),
        (Weighted, {"gamma": float("nan")}, "gamma: Input should be a finite number, not nan"),
        (Weighted, {"time": "Uniform"}, "time: Input should be 'uniform' or 'logit-normal', not 'Uniform'"),
        (Weighted, {"learn_variance": "false"}, "learn_variance: Input should be a valid boolean, not 'false'"),
        (Weighted, {"learn_variance": 1}, "learn_variance: Input should be a valid boolean, not 1"),
        (plain, {"power": 1.0}, "steps: Missing required keyword only argument"),
        (plain, {"power": "1", "steps": 1}, "power: Input should be a valid number, not '1'"),
        (free, {"scale": True}, "scale: Input should be a valid number, not True"),
    ],
)
def test_settings_that_do_not(factory, settings, told):
    with pytest.raises(BadValue) as caught:
        checked(factory, settings)
    assert str(caught.value) == told
