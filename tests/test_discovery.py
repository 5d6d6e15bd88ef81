"""What installers left is read one distribution at a time; what can't be read is named, and hides nothing else."""

import importlib.metadata
import json
import subprocess
import sys

import pytest
from broken_metadata import KINDS, LEFT_OUT, LOADED, NO_PLUGIN, NOTED, lay
from test_registry import GOOD

from ditbench.discovery import damaged, spare_libraries, version, version_or_none
from ditbench.errors import DitbenchError
from ditbench.profiling.shipped import ARCHITECTURES
from ditbench.registry import Registry

REFERENCE = set(ARCHITECTURES)


@pytest.fixture
def odd(install, tmp_path, monkeypatch):
    """A function that installs a module `odd` with metadata of a kind."""
    monkeypatch.setattr(importlib.metadata.Distribution, "discover", importlib.metadata.Distribution.discover)
    (tmp_path / "site" / "odd.py").write_text(GOOD.format(name="odd"))
    return lambda kind: lay(tmp_path / "site", kind)


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_hides_another_plugin_or_goes_unnamed(odd, kind):
    place = odd(kind)
    registry = Registry.installed()
    assert registry.architectures.keys() >= REFERENCE
    assert ("odd" in registry.architectures) == (kind in LOADED or kind in NOTED)
    assert [bool(plugin.trouble) for plugin in registry.faults] == [True] * (kind in LEFT_OUT)
    for plugin in registry.faults:
        assert plugin.trouble in ("unreadable", "broken at import", "too new")
        assert plugin.trouble != "unreadable" or str(place) == plugin.place
        assert (plugin.label + plugin.fault + plugin.way_out).isprintable()
    (found,) = [plugin for plugin in registry.plugins if "odd" in plugin.name] or [None]
    if kind in NOTED:
        assert "can't be read" in found.place + "".join(found.unmet)
    if kind in NO_PLUGIN:
        assert [stray.place for stray in damaged()] == [str(place)]


def test_every_listing_works_beside_all_kinds_at_once(odd, install, tmp_path, ditbench):
    site = tmp_path / "site"
    for number, kind in enumerate(KINDS):
        lay(site, kind, number)
        (site / f"odd{number}.py").write_text(GOOD.format(name=f"odd{number}"))
    working = {f"odd{number}" for number, kind in enumerate(KINDS) if kind in LOADED or kind in NOTED}
    assert {row["architecture"] for row in json.loads(ditbench("list", "--json"))} == REFERENCE | working
    rows = json.loads(ditbench("plugins", "--json"))
    assert len([row for row in rows if row["trouble"]]) == len(LEFT_OUT)
    out = ditbench("plugins", "doctor", code=1)
    assert out.count("unreadable: ") + out.count("broken at import: ") + out.count("too new: ") == len(LEFT_OUT)
    assert "plugin dit" in ditbench("env") and "No fault found." not in out
    assert len(damaged()) >= len(NO_PLUGIN)


@pytest.mark.parametrize("kind", [kind for kind in LEFT_OUT if not kind.startswith("a requirement")])
def test_a_choice_of_plugins_leaves_it_out_without_a_word(odd, monkeypatch, kind):
    odd(kind)
    monkeypatch.setenv("DITBENCH_PLUGINS", "dit")
    assert not Registry.installed(strict=True).faults


@pytest.mark.parametrize(
    "kind", ["entry_points.txt is binary", "an entry point without =", "entry_points.txt is a link to itself"]
)
def test_libraries_are_spared_what_would_break_them(odd, kind):
    odd(kind)
    with pytest.raises((ValueError, TypeError, OSError)):
        importlib.metadata.entry_points()
    spare_libraries()
    assert "dit" in importlib.metadata.entry_points(group="ditbench").names


def test_libraries_look_for_extensions_where_that_works(odd):
    odd("METADATA is missing")
    before = importlib.metadata.Distribution.discover
    spare_libraries()
    assert importlib.metadata.Distribution.discover == before


def test_a_whole_command_works_beside_what_breaks_libraries(odd):
    odd("entry_points.txt is binary")
    command = [sys.executable, "-m", "ditbench", "env", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and json.loads(done.stdout)["plugin ditbench_odd"] == "ditbench_odd ?, unreadable"


def distribution(site, folder, name, number):
    (site / folder).mkdir()
    (site / folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")


@pytest.mark.parametrize("name", ["ditbench", "diffusers"])
def test_an_empty_leftover_hides_no_installation(odd, tmp_path, ditbench, name):
    before = version(name)
    place = tmp_path / "site" / f"{name}-0.0.1.dist-info"
    place.mkdir()
    assert version(name) == before and version_or_none(name) == before
    assert json.loads(ditbench("env", "--json"))[name] == before
    assert f"{name} at {place}: its METADATA is missing" in " ".join(ditbench("plugins", "doctor").split())


def test_an_installation_that_is_a_leftover_alone_is_told_as_what_it_is(odd, tmp_path, monkeypatch):
    site = tmp_path / "site"
    monkeypatch.setattr(sys, "path", [str(site)])
    with pytest.raises(DitbenchError, match=r"^The version of ditbench .* can't be told, and .* Install"):
        version("ditbench")
    place = site / "ditbench-0.1.0.dist-info"
    place.mkdir()
    with pytest.raises(DitbenchError) as told:
        version("ditbench")
    assert f"({str(place)!r}: its METADATA is missing, empty" in str(told.value) and "Remove that" in str(told.value)
    (builtin,) = Registry.installed().plugins
    assert (builtin.version, builtin.fault) == ("?", "")


def test_two_distributions_of_one_name_are_told(odd, tmp_path):
    for number in ("1.0", "2.0"):
        distribution(tmp_path / "site", f"twin-{number}.dist-info", "twin", number)
    assert [stray.why.split(",")[0] for stray in damaged()] == ["it is installed more than once in one folder"] * 2
    assert version("twin") in ("1.0", "2.0")


def test_what_hides_another_further_down_the_path_is_no_fault(odd, tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, *2 * [str(tmp_path / "below")]])
    for place, number in (("site", "2.0"), ("below", "1.0")):
        distribution(tmp_path / place, f"twin-{number}.dist-info", "twin", number)
    assert version("twin") == "2.0" and not damaged()


def test_a_plugin_twice_is_loaded_once(odd, tmp_path):
    odd("METADATA has CRLF")
    folder = tmp_path / "site" / "ditbench_odd-0.2.dist-info"
    folder.mkdir()
    (folder / "entry_points.txt").write_text("[ditbench]\nodd = odd\n")  # and no METADATA
    registry = Registry.installed()
    assert registry.provider("odd").version == "0.1" and not registry.faults
    assert [stray.place for stray in damaged()] == [str(folder)]
