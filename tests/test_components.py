"""Records check themselves where they are built."""

import pytest

from ditbench import Architecture, DenoiserSpec, Option
from ditbench.components import load
from ditbench.errors import BadValue


def architecture(**changes):
    return Architecture(**{"name": "mine", "build": "os.path:join", "sizes": {"nano": {"width": 8}}, **changes})


@pytest.mark.parametrize("name", ["", "Mine", "a/b", "..", "-x", "a b", "a\n", "x" * 65, 3])
def test_a_bad_name_is_refused(name):
    with pytest.raises(BadValue, match="can't be the name"):
        architecture(name=name)


@pytest.mark.parametrize("change", [{"build": "no colon"}, {"build": 3}, {"sizes": {}}, {"sizes": {"S 2": {}}}])
def test_a_bad_architecture_is_refused(change):
    with pytest.raises(BadValue):
        architecture(**change)


def test_settings_are_defaults_then_size_then_choice():
    mine = architecture(
        sizes={"nano": {"width": 8, "conv": False}},
        options={"conv": Option(default=True), "depth": Option(default=2)},
    )
    assert mine.settings("nano", {}) == {"conv": False, "depth": 2, "width": 8}
    assert mine.settings("nano", {"conv": True})["conv"] is True


def test_an_option_that_came_later_is_a_setting_only_where_it_is_used():
    mine = architecture(options={"conv": Option(default=True), "route": Option(default="none", later=True)})
    assert mine.settings("nano", {}) == {"conv": True, "width": 8}  # as before, and so is a run's hash
    assert mine.settings("nano", {"route": "all"})["route"] == "all"


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        (Option(default=3), "4", 4),
        (Option(default=0.5), "0.25", 0.25),
        (Option(default=True), "off", False),
        (Option(default="a", choices=("a", "b")), "b", "b"),
        (Option(default=None, choices=(1, 2)), "2", 2),
    ],
)
def test_an_option_parses_its_own_kind(option, text, value):
    assert option.parse(text) == value


@pytest.mark.parametrize(
    ("option", "text"),
    [(Option(default=3), "x"), (Option(default=True), "true"), (Option(default="a", choices=("a",)), "b")],
)
def test_an_option_refuses_another_kind(option, text):
    with pytest.raises(BadValue, match=repr(text)):
        option.parse(text)


def test_a_contradictory_option_is_refused():
    with pytest.raises(BadValue):
        Option(default="c", choices=("a", "b"))
    with pytest.raises(BadValue):
        Option(default=None)


def test_learned_variance_doubles_the_output():
    spec = DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent", learn_variance=True)
    assert spec.out_channels == 8


def test_a_reference_is_imported_on_use():
    assert load("os.path:join") is load("posixpath:join")
    with pytest.raises(BadValue, match="not callable"):
        load("os.path:sep")
