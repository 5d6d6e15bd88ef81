"""The arrows between packages, held. Which package may import which is the architecture."""

import ast
from graphlib import TopologicalSorter

import pytest
from import_graph import API, CORE, MODULES, ROOT, graph, imports, name_of, ours, place

# package (or module of the root) -> the packages that it may import. A new arrow is a decision, written down here.
ARROWS = {
    "storage": set(),
    "tracks": {"storage"},
    "records": {"storage", "tracks"},
    "runtime": {"records"},
    "denoiser": {"records", "storage"},
    "datasets": {"runtime", "storage", "tracks"},
    "training": {"datasets", "denoiser", "records", "runtime", "storage", "tracks"},
    "metrics": {"datasets", "records", "runtime", "storage"},
    "sampling": {"datasets", "records", "runtime", "storage", "tracks", "training"},
    "benchmark": {
        "datasets", "denoiser", "metrics", "records", "runtime", "sampling", "storage", "tracks", "training",
    },
    "executors": {"benchmark", "records", "runtime", "storage", "tracks"},
    "leaderboard": {"records", "storage", "tracks"},
    "profiling": {"denoiser", "records", "runtime", "sampling", "storage", "tracks", "training"},
    "campaign": {"executors", "leaderboard", "metrics", "records", "storage", "tracks"},
    "testing": {"denoiser"},
    "__init__": {  # the names that it lends, on first use
        "campaign", "datasets", "denoiser", "executors", "leaderboard", "metrics", "profiling", "records", "sampling",
        "tracks", "training",
    },
    "cli": {
        "benchmark", "campaign", "datasets", "denoiser", "executors", "leaderboard", "metrics", "profiling", "records",
        "runtime", "storage", "tracks",
    },
    "__main__": {"cli"},
}  # fmt: skip
LATE_IMPORTS = "cli"  # the only package that may import inside functions
HEAVY = {"torch", "diffusers", "matplotlib", "torchmetrics", "sklearn", "safetensors", "PIL"}
LIGHT = {
    "__init__",
    "campaign",
    "cli",
    "leaderboard",
    "records",
    "storage",
    "tracks",
    *API - {"layers"},
}  # whole packages
BY_NAME = {
    ("executors", "runtime"),
    ("executors", "training"),
    ("runtime", "benchmark"),
}  # beside ARROWS, when it is needed
PLUGIN_DOORS = {"ditbench", "ditbench.layers", "ditbench.testing"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_arrows_of_the_core(path):
    here, found = place(name_of(path)), list(imports(path))
    assert here in API or here in ARROWS, f"{here} is new: write its arrows down"
    allowed = API if here in API else API | ARROWS[here]
    assert ours(path) <= allowed
    assert not [module for module, _ in found if module.startswith("ditbench_")], "the core imports no plugin"
    if here != LATE_IMPORTS:
        assert not [module for module, inside in found if inside], "imports stand at the top"
    if here in LIGHT:
        assert not {module.partition(".")[0] for module, _ in found} & HEAVY


def test_no_arrow_is_allowed_that_nobody_needs():
    needed = graph()
    assert {here: needed[here] - API for here in ARROWS} == ARROWS


def test_the_arrows_run_one_way():
    tuple(TopologicalSorter(ARROWS).static_order())  # `CycleError` names the circle


def test_what_is_named_by_a_string_is_there_and_on_the_way_down():
    for path in MODULES:
        here = place(name_of(path))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("ditbench."):
                module = node.value.removeprefix("ditbench.").partition(":")[0]
                if " " in node.value or not (CORE / module.replace(".", "/")).with_suffix(".py").exists():
                    continue
                there = place(module)
                known = here in ("builtins", "__init__") or there in ARROWS[here] | {here} or (here, there) in BY_NAME
                assert known, f"{name_of(path)} names {node.value}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "plugins").glob("*/ditbench_*/*.py")), ids=lambda p: f"{p.parent.name}.{p.stem}"
)
def test_plugins_import_the_public_doors_and_never_each_other(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and not n.level]
    modules += [alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names]
    for module in modules:
        top = module.partition(".")[0]
        assert top != "ditbench" or module in PLUGIN_DOORS, module
        assert not top.startswith("ditbench_") or top == path.parent.name, module
    if path.stem == "__init__":
        assert not {module.partition(".")[0] for module in modules} & HEAVY


@pytest.mark.parametrize("path", sorted([*CORE.rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]), ids=lambda p: p.name)
def test_files_stay_readable_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
