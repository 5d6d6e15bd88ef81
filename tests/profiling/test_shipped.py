"""The committed table of what shipped sizes cost is that of the installed plugins."""

import pytest

from ditbench.denoiser.cost import cost_of_selection
from ditbench.ladder import names_of
from ditbench.profiling.shipped import ARCHITECTURES
from ditbench.records.validation.sizes import FILE, Row, Settings, Shipped, read_shipped, write_shipped
from ditbench.registry import Registry, select
from ditbench.testing import check_architecture

TABLE, REGISTRY = read_shipped(), Registry.installed()
MADE = "make it anew: python -m ditbench.profiling.shipped"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_table_is_of_the_installed_plugins(name):
    assert TABLE.sources[name][0] == REGISTRY.source_sha256(name), MADE
    architecture = REGISTRY.architectures[name]
    sizes = {*architecture.sizes, *names_of(architecture.ladder)}
    assert {row.size for row in TABLE.rows if row.architecture == name} == sizes, MADE
    assert TABLE.settings[name] == Settings.from_plugin(architecture), MADE
    spec = architecture.specs["nano"]
    row = Row.of(name, "nano", spec, cost_of_selection(select(REGISTRY, f"{name}:nano"), spec))
    assert row in TABLE.rows, MADE


LADDERS = [(name, size) for name in ARCHITECTURES for size in REGISTRY.architectures[name].ladder]


@pytest.mark.parametrize(("name", "size"), LADDERS)
def test_ladders_cost_what_they_say_and_have_a_pair_of_widths(name, size):
    """By the table, which a test above holds to the plugins: counting takes seconds a ladder."""
    architecture = REGISTRY.architectures[name]
    ladder, spec = architecture.ladder[size], architecture.specs[size]
    assert set(ladder.rungs) >= {0.125, 0.25, 0.5, 2, 4}
    of_spec = [row for row in TABLE.rows if (row.architecture, row.resolution) == (name, spec.resolution)]
    macs = {row.size: row.cost.training_macs_per_image for row in of_spec if row.channels == spec.channels}
    found = {factor: macs[f"{size}-x{factor:g}"] / macs[size] for factor in ladder.rungs}
    assert found == pytest.approx({factor: factor for factor in ladder.rungs}, rel=0.1)
    check_architecture(architecture, spec, size, only=["width-pair"])


def test_a_size_of_a_ladder_is_new_to_older_sources_or_as_before():
    old = TABLE.settings["dit"]
    new = Shipped(
        sources={"dit": ("a" * 64,)},
        settings={"dit": old.model_copy(update={"ladder": {**old.ladder, "nano-x8": {"width": 1}}})},
        rows=tuple(row for row in TABLE.rows if row.architecture == "dit"),
    )
    assert new.after(TABLE).sources["dit"] == ("a" * 64, *TABLE.sources["dit"])
    other = {name: {**settings, "depth": 99} for name, settings in old.ladder.items()}
    new.settings["dit"] = old.model_copy(update={"ladder": other})
    assert new.after(TABLE).sources["dit"] == ("a" * 64,)


def test_an_option_that_came_later_leaves_the_settings_of_older_sources():
    dit, sources = TABLE.settings["dit"], TABLE.sources["dit"]
    assert "route" in dit.added and len(sources) > 1  # the committed records are of an older one
    assert (
        dit.of("nano", {}) == select(REGISTRY, "dit:nano").settings == select(REGISTRY, "dit:nano+route=none").settings
    )
    assert "route" not in dit.of("nano", {})
    assert dit.of("nano", {"route": "tread"}) == select(REGISTRY, "dit:nano+route=tread").settings


def test_the_table_is_written_as_it_is_read(tmp_path):
    write_shipped(TABLE, tmp_path / "sizes.json")
    assert (tmp_path / "sizes.json").read_bytes() == FILE.read_bytes()


def test_sources_that_gave_the_same_counts_stay():
    new = TABLE.model_copy(update={"sources": {"dit": ("a" * 64,)}})
    same = new.after(TABLE)
    assert same.sources["dit"] == ("a" * 64, *TABLE.sources["dit"])
    for change in ({"rows": TABLE.rows[:1]}, {"settings": {**TABLE.settings, "dit": TABLE.settings["mdt"]}}):
        assert new.model_copy(update=change).after(TABLE).sources["dit"] == ("a" * 64,)


def test_architectures_that_were_not_counted_stay():
    rows = tuple(row for row in TABLE.rows if row.architecture == "mdt")
    one = TABLE.model_copy(update={"sources": {"mdt": ("a" * 64,)}, "rows": rows[:1]}).after(TABLE)
    assert one.sources == {**TABLE.sources, "mdt": ("a" * 64,)} and one.settings == TABLE.settings
    assert one.rows == tuple(row for row in TABLE.rows if row.architecture != "mdt" or row == rows[0])
