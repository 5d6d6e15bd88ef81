"""Plugins come in by entry point; a faulty one is named and leaves the others working."""

import hashlib
import math
import sys

import pytest

from ditbench import Architecture, answers
from ditbench.errors import PluginFault, UnknownName
from ditbench.executors.jobs import PRELOAD
from ditbench.registry import Registry, pick
from ditbench.runtime.processes import answer_of

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
        ("raise KeyboardInterrupt", "KeyboardInterrupt: no message"),
        ("import os; os._exit(0)", "its process ended with exit code 0 before it had answered"),
        (
            "import faulthandler, os; faulthandler.disable(); os.kill(os.getpid(), 11)",
            "killed by SIGSEGV before it had answered",
        ),
        (
            GOOD.format(name="mine").replace('"nowhere:net"', "lambda spec: None"),
            "the architecture 'mine': 'broken:ditbench_architectures.<locals>.<lambda>' does not lead to what",
        ),
        (GOOD.format(name="mine").replace("{}", "{'width': 1j}"), "it answers with a builtins.complex, and may with"),
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


@pytest.mark.parametrize(
    ("source", "trouble"),
    [
        ("import os; os._exit(0)", "died at import"),
        ("import time; time.sleep(60)", "stuck at import"),
        ("raise SystemExit", "broken at import"),
        ("class Odd(BaseException): ...\nraise Odd", "broken at import"),
    ],
)
def test_each_way_not_to_answer_has_its_own_way_out(install, monkeypatch, source, trouble):
    monkeypatch.setattr(answers, "SECONDS", 1.0 if "sleep" in source else 60.0)
    install("ditbench-x-broken", "broken", source)
    (plugin,) = Registry.installed().faults
    assert plugin.trouble == trouble and "broken" in plugin.way_out


CHANGING = "import math, sys; math.pi = 3; sys.path.clear(); sys.setrecursionlimit(99)\n"


def test_a_plugin_changes_nothing_where_it_is_registered(install):
    install("ditbench-x-changing", "changing", CHANGING + GOOD.format(name="mine").replace('"nowhere:net"', "math.sin"))
    before = math.pi, list(sys.path), sys.getrecursionlimit()
    assert Registry.installed().architectures["mine"].build == "math:sin"
    assert (math.pi, sys.path, sys.getrecursionlimit()) == before and "changing" not in sys.modules


COUNTING = "open(__file__ + '.imports', 'a').write('x')\n"


def _serve_names(outbox, task):
    outbox.send(sorted(Registry.installed().architectures))


def test_a_plugin_is_asked_once_by_a_process_and_what_it_starts(install, tmp_path):
    install("ditbench-counted", "counted", COUNTING + GOOD.format(name="mine"))
    assert "mine" in Registry.installed().architectures and "mine" in Registry.installed().architectures
    assert "mine" in answer_of(_serve_names, None, preload=PRELOAD)
    assert (tmp_path / "site" / "counted.py.imports").read_text() == "x"


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
        pick(
            "architecture", "dti", dict.fromkeys(("uvit", "dit"), Architecture(name="x", build="x:y", sizes={"S": {}}))
        )


def test_a_papers_other_name_for_a_network_is_answered_with_how_to_have_it(ditbench):
    told = ditbench("run", "sit", code=2)
    assert "No architecture named 'sit'" in told and "choose dit, on a track whose objective is flow" in told
    assert told.count("\n") == 1
    assert "\nsit: SiT (arXiv:2401.08740) is dit's network" in ditbench("list")


def test_line_ends_of_a_checkout_are_no_part_of_the_hash(install, tmp_path):
    source = GOOD.format(name="mine").replace("nowhere:net", "mine:net")
    install("ditbench-mine", "mine", source)
    hashes = []
    for ends in ("\n", "\r\n"):
        (tmp_path / "site" / "mine.py").write_bytes(source.replace("\n", ends).encode())
        hashes.append(Registry.installed().source_sha256("mine"))
    assert hashes == [hashlib.sha256(b"mine.py\0" + source.encode()).hexdigest()] * 2
