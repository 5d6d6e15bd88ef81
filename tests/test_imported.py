"""What a network is imported from: the libraries that it wraps, and nothing that ditbench requires."""

import json
import sys
from functools import partial

import pytest

from ditbench.asking import ask
from ditbench.components import load
from ditbench.imported import imported_by
from ditbench.registry import Registry

WRAPPER = """
import ditbench
@ditbench.hookimpl
def ditbench_architectures():
    return [ditbench.Architecture(name="mine", build="wrapper:build", sizes={"nano": {}})]
def build(spec):
    import torch, lib.nets
    return lib.nets.Net()
"""
RECORD = "lib/__init__.py,,\nlib/nets.py,,\nlib-1.5.dist-info/METADATA,,\n"


@pytest.fixture
def site(install, tmp_path):
    """Where a plugin lies, and the library that it wraps, as pip installs it."""
    install("ditbench-wrapper", "wrapper", WRAPPER)
    site = tmp_path / "site"
    (site / "lib").mkdir()
    (site / "lib" / "__init__.py").write_text("")
    (site / "lib" / "nets.py").write_text("Net = dict\n")
    info = site / "lib-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lib\nVersion: 1.5\n")
    (info / "RECORD").write_text(RECORD)
    return site


def _build():
    from wrapper import build

    build(None)


def found():
    return ask(imported_by, _build, Registry.installed().packages("mine"))


def test_a_wrapped_library_is_known_by_its_name_its_version_and_its_files(site):
    ((name, version, sha256),) = found()
    assert (name, version, len(sha256)) == ("lib", "1.5", 64) and "lib" not in sys.modules
    (site / "lib" / "nets.py").write_text("Net = list\n")
    ((name, version, patched),) = found()
    assert (name, version) == ("lib", "1.5") and patched != sha256
    (site / "lib" / "nets.py").write_bytes(b"Net = dict\r\n")
    (site / "lib" / "notes.txt").write_text("no code")
    assert found() == [("lib", "1.5", sha256)]


def test_an_editable_library_and_one_that_nobody_installed_are_found_by_their_files(site, tmp_path):
    info = site / "lib-1.5.dist-info"
    (info / "RECORD").write_text("_lib.pth,,\n")
    installed_nowhere = found()
    assert [one[:2] for one in installed_nowhere] == [("lib", "")]
    source = tmp_path / "clone"
    source.mkdir()
    (site / "lib").rename(source / "lib")
    sys.path.append(str(source))  # the fixture puts it back
    (info / "direct_url.json").write_text(json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}}))
    assert found() == [("lib", "1.5", installed_nowhere[0][2])]


def test_what_ditbench_requires_in_any_form_is_no_news(site):
    """By way of an extra and of what that requires."""
    (site / "lib-1.5.dist-info").rename(site / "msgpack-1.5.dist-info")
    (site / "msgpack-1.5.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: msgpack\nVersion: 1.5\n")
    (site / "msgpack-1.5.dist-info" / "RECORD").write_text(RECORD)
    assert found() == []  # of ray, which is an extra


@pytest.mark.parametrize("name", ["dit", "uvit", "mdt", "diffit"])
def test_the_reference_architectures_bring_none(name):
    registry = Registry.installed()
    build = registry.architectures[name].build
    assert ask(imported_by, partial(load, build), registry.packages(name)) == []
