"""The arrows between modules, held. Who may import whom is the architecture."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "ditbench"

# module -> the modules of ours that it may import. A new module is a decision: it is written down here.
ARROWS = {
    "__init__": {"campaign", "components", "errors", "hookspecs", "record"},
    "bench": {
        "budget", "components", "cost", "datasets", "environment", "errors", "features", "image_sets", "images",
        "objectives", "quality", "record", "reference", "registry", "samplers", "sampling", "storage", "track",
        "training", "watch",
    },
    "budget": {"errors"},
    "builtins": {"components", "hookspecs"},
    "campaign": {
        "builtins", "components", "executors", "leaderboard", "listeners", "plan", "record", "registry", "storage",
        "trackers", "weights",
    },
    "checkpoint": {"errors", "storage"},
    "cli.__init__": {
        "cli.app", "cli.evaluate", "cli.inspect", "cli.profile", "cli.records", "cli.run", "cli.weights", "errors",
    },
    "cli.__main__": {"cli.__init__"},
    "cli.app": {"components", "registry", "weights"},
    "cli.evaluate": {
        "cli.app", "console", "errors", "evaluation", "generated", "image_sets", "plan", "record", "registry",
        "storage",
    },
    "cli.inspect": {"cli.app", "components", "console", "errors", "plan", "registry", "sizes", "weights"},
    "cli.profile": {
        "cli.app", "console", "plan", "profile", "profile_plot", "profile_table", "profiling", "storage",
    },
    "cli.records": {"cli.app", "console", "difference", "leaderboard", "record", "storage"},
    "cli.run": {
        "builtins", "campaign", "cli.app", "console", "display", "errors", "leaderboard", "listeners", "record",
    },
    "cli.weights": {"cli.app", "console", "errors", "plan", "published", "registry", "weights"},
    "components": {"errors"},
    "console": set(),
    "cost": {"components", "objectives", "record"},
    "datasets": {"errors"},
    "difference": {"errors", "record"},
    "digits_cnn": {"datasets", "images", "storage"},
    "display": {
        "components", "console", "executors", "leaderboard", "listeners", "record", "registry", "track", "watch",
    },
    "environment": {"errors", "record"},
    "energy": set(),
    "errors": set(),
    "executors": {"errors", "record", "registry", "storage", "track", "watch"},
    "dinov2": {"images"},
    "evaluation": {
        "components", "cost", "environment", "errors", "features", "image_sets", "images", "quality", "record",
        "reference", "registry",
    },
    "extractors": {"images"},
    "features": {"components", "errors", "images", "weights"},
    "image_sets": {"errors", "images", "storage"},
    "generated": {"bench", "errors", "image_sets", "images", "plan", "registry", "storage"},
    "guidance": set(),
    "hookspecs": {"components"},
    "images": {"storage"},
    "layers": {"errors"},
    "leaderboard": {"record", "storage"},
    "listeners": {"components", "executors", "record", "registry", "track", "watch"},
    "objectives": {"errors"},
    "peaks": set(),
    "plan": {"budget", "components", "errors", "registry", "track"},
    "profile": {"components", "record", "storage", "track"},
    "profile_plot": {"components", "profile", "profile_table", "storage"},
    "profile_table": {"profile", "record", "storage"},
    "profiling": {"components", "errors", "executors", "plan", "profile", "record", "registry", "track"},
    "published": {"components", "errors", "storage"},
    "quality": {"components", "features", "record"},
    "reference": {"components", "errors", "features", "image_sets", "images", "quality", "storage", "track"},
    "record": {"components", "errors", "storage", "track"},
    "registry": {"builtins", "components", "errors", "hookspecs"},
    "samplers": {"objectives"},
    "sampling": {"components", "guidance", "images", "objectives", "samplers", "watch"},
    "sizes": {"components", "cost", "errors", "plan", "record", "registry"},
    "stopwatch": {
        "components", "cost", "energy", "environment", "errors", "objectives", "peaks", "profile", "record", "testing",
    },
    "storage": {"errors"},
    "testing": {"components", "objectives"},
    "track": {"budget", "components", "errors", "guidance"},
    "training": {
        "budget", "checkpoint", "components", "images", "objectives", "record", "track", "watch",
    },
    "trackers": {"errors", "executors", "listeners", "record", "registry", "storage", "track", "watch"},
    "watch": set(),
    "weights": {"components", "errors", "storage"},
}  # fmt: skip
LATE_IMPORTS = "cli."  # the only package that may import inside functions
LIGHT = ("__init__", "budget", "builtins", "components", "console", "display", "executors", "leaderboard",
         "plan", "profile", "profiling", "campaign", "record", "watch", "registry", "storage", "track",
         "weights")  # fmt: skip
HEAVY = {"torch", "diffusers", "matplotlib", "torchmetrics", "sklearn", "safetensors", "PIL"}
PLUGIN_DOORS = {"ditbench", "ditbench.layers", "ditbench.testing"}


def imports(path):
    """(module, names, inside a function) of every import in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        node for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(f)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), [alias.name for alias in node.names], node in inside
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, [], node in inside


def name_of(path):
    """``plan``, or ``cli.run`` for a module of a package."""
    return ".".join(path.relative_to(CORE).with_suffix("").parts)


def our_modules(path):
    """What a file imports of ours, by the names of `ARROWS`."""
    package = name_of(path).rpartition(".")[0]
    for module, names, _ in imports(path):
        level = len(module) - len(module.lstrip("."))
        folder = package if level == 1 else ""  # ".x" is a neighbour, from a package "..x" is one floor up
        for name in [module.lstrip(".")] if module.strip(".") else names:
            full = f"{folder}.{name}" if folder else name
            if level:
                yield full if full in ARROWS or not folder else f"{folder}.__init__"


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=name_of)
def test_arrows_of_the_core(path):
    name = name_of(path)
    assert name in ARROWS, f"{path.name} is new: write its arrows down"
    assert set(our_modules(path)) <= ARROWS[name]
    modules = [module for module, _, _ in imports(path)]
    assert not [module for module in modules if module.startswith("ditbench_")], "the core imports no plugin"
    if not name.startswith(LATE_IMPORTS):
        assert not [module for module, _, inside in imports(path) if inside], "imports stand at the top"
    if name in LIGHT or name.startswith(LATE_IMPORTS):
        assert not {module.partition(".")[0] for module in modules} & HEAVY


def test_the_arrows_have_no_cycle():
    done = []
    while len(done) < len(ARROWS):
        free = [m for m, needs in ARROWS.items() if m not in done and needs - {"__init__"} <= set(done)]
        assert free, f"a cycle among {set(ARROWS) - set(done)}"
        done += free


@pytest.mark.parametrize(
    "path", sorted((ROOT / "plugins").glob("*/ditbench_*/*.py")), ids=lambda p: f"{p.parent.name}.{p.stem}"
)
def test_plugins_import_the_public_doors_and_never_each_other(path):
    for module, _, _ in imports(path):
        top = module.partition(".")[0]
        assert top != "ditbench" or module in PLUGIN_DOORS, module
        assert not top.startswith("ditbench_") or top == path.parent.name, module
    if path.stem == "__init__":
        assert not {module.partition(".")[0] for module, _, _ in imports(path)} & HEAVY


@pytest.mark.parametrize("path", sorted([*CORE.rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]), ids=lambda p: p.name)
def test_files_stay_readable_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
