"""What is carried of a source: all that it imports and nothing else, to the letter but for its imports."""

import ast
import compileall
import sys
from pathlib import Path

import pytest

from ditbench.components import module_of
from ditbench.errors import BadFile
from ditbench.export import sources
from ditbench.export.sources import carried, distributions
from ditbench.registry import Registry

INSTALLED = Registry.installed()
QUICK = ("diffit", "dit", "hdit", "maskdit")  # the root by name; the plain case; a number, and a type of the root's


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a package of these files on Python's path, and give its name."""

    def write(name, **files):
        folder = tmp_path / name
        folder.mkdir()
        for stem, text in {"__init__": "", **files}.items():
            (folder / f"{stem}.py").write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        return name

    yield write
    for name in [name for name in sys.modules if name.startswith("carried_")]:
        del sys.modules[name]


def text_of(found, module):
    return found.files[f"{found.names[module]}.py"]


def test_imports_are_followed_and_nothing_else_is_carried(package):
    name = package(
        "carried_one",
        net="import math\nfrom . import parts\nfrom .deep import (\n    Block,  # one\n    other as o,\n)\n"
        "import numpy as np\nX = 1\n",
        parts="from ditbench import BadValue, DenoiserSpec\n",
        deep="def late():\n    from .late import y\n    return y\nBlock = other = late\n",
        late="y = 3\n",
        unused="from .net import X\n",
    )
    found = carried([f"{name}.net"], [name])
    ours = {"carried_one.net", "carried_one.parts", "carried_one.deep", "carried_one.late"}
    assert set(found.names) == {*ours, "ditbench", "ditbench.errors", "ditbench.denoiser_spec"}
    assert found.libraries == ("numpy",) and distributions(found.libraries)[0].startswith("numpy==")
    tail = found.names["ditbench"].removeprefix("ditbench_")
    assert text_of(found, "carried_one.net") == (
        f"import math\nfrom . import carried_one_parts_{tail} as parts\nfrom .carried_one_deep_{tail} import Block\n"
        f"from .carried_one_deep_{tail} import other as o\nimport numpy as np\nX = 1\n"
    )
    assert f"    from .carried_one_late_{tail} import y\n" in text_of(found, "carried_one.deep")
    assert f"from .ditbench_errors_{tail} import BadValue\n" in text_of(found, "ditbench")


def test_another_source_has_other_names(package):
    one = carried([f"{package('carried_a', net='X = 1')}.net"], ["carried_a"])
    other = carried([f"{package('carried_b', net='X = 2')}.net"], ["carried_b"])
    assert one.names["carried_a.net"][-8:] != other.names["carried_b.net"][-8:]


def test_the_root_by_its_name_and_imports_for_types(package):
    types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .gone import T\n"
    text = f"import ditbench\n{types}E = ditbench.BadValue\n"
    found = carried([f"{package('carried_types', net=text)}.net"], ["carried_types"])
    assert set(found.names) == {"carried_types.net", "ditbench", "ditbench.errors"}
    made = text_of(found, "carried_types.net")
    assert "gone" not in made and made.endswith("E = ditbench.BadValue\n")
    assert f"from . import {found.names['ditbench']} as ditbench\n" in made


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import carried_bad.other\n", "'carried_bad.net' has 'import carried_bad.other', which can't be carried"),
        ("from ditbench import nonsense\n", "The root of ditbench has no 'nonsense'"),
        ("from .gone import x\n", "source of the module 'carried_bad.gone' can't be found"),
        ("import os; from .other import x\n", r"line 1: an import that shares its line with something else"),
        ("x = (\n", "source of 'carried_bad.net', .* can't be read"),
    ],
)
def test_what_can_not_be_carried_is_named(package, text, why):
    with pytest.raises(BadFile, match=why):
        carried([f"{package('carried_bad', net=text, other='')}.net"], ["carried_bad"])


def test_what_is_not_installed_is_not_asked_for(package):
    text = "try:\n    import carried_nowhere\nexcept ImportError:\n    carried_nowhere = None\n"
    found = carried([f"{package('carried_tries', net=text)}.net"], ["carried_tries"])
    assert found.libraries == ("carried_nowhere",) and distributions(found.libraries) == []


def test_lines_are_pythons_and_no_two_modules_have_one_name(package):
    odd = "SEP = '\u2028'\nfrom .other import x\n"
    name = package("carried_odd", net=odd, other="x = 1\n", a_b="y = 1\n")
    (folder := Path(sys.path[0]) / name / "a").mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "b.py").write_text("y = 2\n")
    found = carried([f"{name}.net", f"{name}.a_b", f"{name}.a.b"], [name])
    assert text_of(found, f"{name}.net") == f"SEP = '\u2028'\nfrom .{found.names[f'{name}.other']} import x\n"
    assert text_of(found, f"{name}.a_b") == "y = 1\n" and text_of(found, f"{name}.a.b") == "y = 2\n"


def test_compiled_code_has_no_source(tmp_path, package):
    name = package("carried_compiled", net="X = 1\n")
    folder = tmp_path / name
    compileall.compile_file(folder / "net.py", legacy=True, quiet=2)
    (folder / "net.py").unlink()
    with pytest.raises(BadFile, match=r"source of the module 'carried_compiled\.net' can't be found"):
        carried([f"{name}.net"], [name])


class _NoImports(ast.NodeTransformer):
    def visit(self, node):
        types = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return ast.Pass() if types or isinstance(node, (ast.Import, ast.ImportFrom)) else self.generic_visit(node)


def without_imports(text):
    """The lines of a file but for its imports."""
    return [line for line in ast.unparse(_NoImports().visit(ast.parse(text))).splitlines() if line.strip() != "pass"]


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in sorted(INSTALLED.architectures)],
)
def test_every_network_is_carried_as_it_is(name):
    build = module_of(INSTALLED.architectures[name].build)
    found = carried([build, "ditbench.export.pipeline"], INSTALLED.packages(name))
    for module, to in found.names.items():
        made = found.files[f"{to}.py"]
        assert not [n for n in ast.walk(ast.parse(made)) if isinstance(n, ast.ImportFrom) and n.level > 1], module
        assert "from ditbench" not in made and "\nimport ditbench" not in made, module
        if module != "ditbench" and (name == "dit" or not module.startswith("ditbench.")):  # ours once
            assert without_imports(made) == without_imports(sources._read(module).text), module
    assert set(found.libraries) <= {"PIL", "diffusers", "numpy", "pluggy", "pydantic", "pydantic_core", "torch"}
    assert len(found.files) < 34, "what samples imports little"
