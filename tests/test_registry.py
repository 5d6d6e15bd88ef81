"""Plugins come in by entry point; a faulty one is named and leaves the others working."""

import hashlib

import pytest

from ditbench.errors import PluginFault, UnknownName
from ditbench.registry import Registry, pick

GOOD = """
import ditbench
@ditbench.hookimpl
def ditbench_architectures():
    return [ditbench.Architecture(name={name!r}, build="nowhere:net", sizes={{"nano": {{}}}})]
"""


def fault_of(module):
    (plugin,) = [plugin for plugin in Registry.installed().plugins if plugin.name == module]
    return plugin.fault


def test_reference_plugins_are_found_by_entry_point():
    registry = Registry.installed()
    assert {"dit", "uvit", "mdt", "mdtv2", "diffit"} <= registry.architectures.keys()
    assert registry.provider("mdtv2").distribution == "ditbench-mdt"
    assert registry.faults == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise RuntimeError('no such\\ncompiler')", "RuntimeError: no such compiler"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("def ditbench_architectures(): return []", "no ditbench hook"),
        ("import ditbench\n@ditbench.hookimpl\ndef ditbench_architectures(): return ['dit']", "is no Architecture"),
        ("import ditbench\n@ditbench.hookimpl\ndef ditbench_architectures(): return 3", "TypeError"),
        ("import ditbench\n@ditbench.hookimpl\ndef ditbench_architectures(spec): return []", "PluginValidationError"),
        ("import ditbench\n@ditbench.hookimpl\ndef ditbench_networks(): return []", "no hook 'ditbench_networks'"),
        (GOOD.format(name="../up"), "be the name of this architecture"),
        (GOOD.format(name="dit"), "already belongs to plugin 'dit' of ditbench-dit"),
    ],
)
def test_a_faulty_plugin_is_named_and_leaves_the_others(install, source, message):
    install("ditbench-x-broken", "broken", source, version="1.2")
    install("ditbench-fine", "fine", GOOD.format(name="fine"))
    registry = Registry.installed()
    (plugin,) = registry.faults
    assert plugin.label == "plugin 'broken' of ditbench-x-broken 1.2"
    assert message in plugin.fault and "\n" not in plugin.fault
    assert {"dit", "fine"} <= registry.architectures.keys()
    with pytest.raises(PluginFault, match="plugin 'broken' of ditbench-x-broken"):
        Registry.installed(strict=True)


def test_of_two_plugins_with_one_name_the_second_is_refused_whole(install):
    install("ditbench-first", "first", GOOD.format(name="mine"))
    both = GOOD.format(name="other").replace("return [", "return [*hers(), ") + (
        'def hers(): return [ditbench.Architecture(name="mine", build="nowhere:net", sizes={"nano": {}})]\n'
    )
    install("ditbench-second", "second", both)
    registry = Registry.installed()
    assert registry.provider("mine").distribution == "ditbench-first"
    assert "other" not in registry.architectures
    assert fault_of("second") == "the architecture 'mine' already belongs to plugin 'first' of ditbench-first 0.1"


def test_one_entry_point_name_in_two_distributions_loads_both(install):
    install("ditbench-first", "first", GOOD.format(name="one"), entry="same")
    install("ditbench-second", "second", GOOD.format(name="two"), entry="same")
    assert {"one", "two"} <= Registry.installed().architectures.keys()


def test_a_name_twice_in_one_plugin_is_refused(install):
    source = GOOD.format(name="twin").replace("return [", "return 2 * [")
    install("ditbench-twin", "twin", source)
    assert fault_of("twin") == "it registers the architecture 'twin' twice"


def test_an_unknown_name_is_answered_with_the_near_miss():
    with pytest.raises(UnknownName, match=r"No architecture named 'dti'. Did you mean 'dit'\? Known: dit, uvit."):
        pick("architecture", "dti", {"uvit": 1, "dit": 2})


def test_line_ends_of_a_checkout_are_no_part_of_the_hash(install, tmp_path):
    source = GOOD.format(name="mine").replace("nowhere:net", "mine:net")
    install("ditbench-mine", "mine", source)
    hashes = []
    for ends in ("\n", "\r\n"):
        (tmp_path / "site" / "mine.py").write_bytes(source.replace("\n", ends).encode())
        hashes.append(Registry.installed().source_sha256("mine"))
    assert hashes == [hashlib.sha256(b"mine.py\0" + source.encode()).hexdigest()] * 2
