"""Benchmarks, examples and scripts, which no other test imports whole: what they name is there. What a run loads."""

import ast
import runpy
from pathlib import Path
from types import ModuleType

import pytest
from import_graph import CORE, imports

from ditbench.executors.jobs import preload
from ditbench.registry import Registry
from ditbench.tracks.plan import make_plan

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "two_architectures.py"  # it would train
FILES = sorted(
    [
        *(ROOT / "tests" / "benchmarks").glob("*.py"),
        *(ROOT / "tests" / "gpu").glob("*.py"),
        *(ROOT / "examples").rglob("*.py"),
    ]
)


def names_of(path):
    """What a file has when it is imported; of the notebook its imports alone."""
    if path != NOTEBOOK:
        return runpy.run_path(str(path))
    tree, found = ast.parse(path.read_text(encoding="utf-8")), {}
    tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(tree, str(path), "exec"), found)
    return found


def absent(text, names):
    """``module.name`` where the module, one of the names, has no such name."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = names.get(node.value.id)
            if isinstance(module, ModuleType) and not hasattr(module, node.attr):
                yield ast.unparse(node)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_imports_and_names_what_is_there(path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "ditbench-unet"))
    assert not list(absent(path.read_text(encoding="utf-8"), names_of(path)))


def test_what_is_not_there_is_found(tmp_path):
    (tmp_path / "moved.py").write_text("from ditbench.training.trainer import SAVING_SECONDS\n")
    with pytest.raises(ImportError, match="SAVING_SECONDS"):
        names_of(tmp_path / "moved.py")
    (tmp_path / "gone.py").write_text("import ditbench\n\ndef late():\n    return ditbench.no_such(ditbench.run)\n")
    names = names_of(tmp_path / "gone.py")
    assert list(absent((tmp_path / "gone.py").read_text(), names)) == ["ditbench.no_such"]


def loaded(module, seen):
    """The libraries that a module of ours imports, and those that these of ours import in turn."""
    path = CORE.joinpath(*module.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if module in seen:
        return set()
    seen.add(module)
    found = {name for name, _ in imports(path)}
    ours = {name for name in found if name.startswith("ditbench.")}
    return {name.partition(".")[0] for name in found - ours}.union(*(loaded(name, seen) for name in ours))


def test_a_run_loads_what_it_needs_and_no_more():
    """The rest is loaded by the one component that needs it: each takes one to three seconds."""
    seen = set()
    heavy = {"diffusers", "matplotlib", "pandas", "sklearn", "timm", "torchmetrics", "torchvision", "scipy"}
    found = loaded("ditbench.benchmark.run", seen)
    assert {"torch", "torch_fidelity"} <= found and not found & heavy
    assert {"ditbench.sampling.samplers", "ditbench.metrics.quality"} <= seen
    assert "sklearn" in loaded("ditbench.metrics.neighbours", set())


def test_the_server_loads_what_the_runs_of_a_plan_need():
    registry = Registry.installed()
    plan = make_plan(registry, "digits", ["dit"])
    assert set(preload(plan, registry)) == {
        "ditbench.benchmark.run", "torch._dynamo", "ditbench.datasets.bundled", "ditbench.sampling.samplers",
        "ditbench.metrics.frechet", "ditbench.metrics.quality", "ditbench.metrics.neighbours",
        "ditbench.metrics.denoising", "ditbench.metrics.memorisation", "ditbench.metrics.extractors.small_cnn",
    }  # fmt: skip
