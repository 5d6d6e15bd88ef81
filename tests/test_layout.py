"""The arrows between modules, held. Who may import whom is the architecture."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "ditbench"
TEMPLATES = CORE / "scaffold" / "templates"  # plugins, not modules of ours
MODULES = sorted(path for path in CORE.rglob("*.py") if TEMPLATES not in path.parents)

# module -> the modules of ours that it may import. A new module is a decision: it is written down here.
ARROWS = {
    "__init__": {"campaign", "components", "errors", "hookspecs", "leaderboard.tables", "record"},
    "autoencoder": {"errors", "images", "precision", "storage"},
    "bench": {
        "budget", "cost", "datasets.examples", "datasets.loading", "errors", "images", "loop", "parts", "record",
        "registry", "samples", "scoring", "sharding", "storage", "track", "training", "watch", "world",
    },
    "budget": {"errors"},
    "builtins": {"components", "hookspecs"},
    "campaign": {
        "builtins", "components", "jobs", "leaderboard.build", "listeners", "plan", "record", "registry", "storage",
        "executors.torchrun", "trackers", "weights",
    },
    "checkpoint": {"curve", "errors", "record", "storage", "track", "world"},
    "checks": {"faults", "ledger", "metric_checks", "record", "sampling_checks", "track", "training_checks"},
    "claims": {"errors"},
    "classifiers": {"datasets.bundled", "datasets.examples", "datasets.fashion", "images", "storage"},
    "cli.__init__": {
        "cli.app", "cli.check", "cli.data", "cli.doctor", "cli.evaluate", "cli.inspect", "cli.leaderboard",
        "cli.new", "cli.plan", "cli.profile", "cli.records", "cli.run", "cli.status", "cli.track", "cli.weights",
        "errors",
    },
    "__main__": {"cli.__init__"},
    "cli.app": {"components", "console", "registry", "weights"},
    "cli.check": {"cli.app", "conformance.findings", "console", "plan", "storage"},
    "cli.data": {
        "autoencoder", "cli.app", "console", "datasets.prepare", "datasets.prepared", "datasets.shards",
        "environment", "plan", "storage",
    },
    "cli.doctor": {"cli.app", "console", "discovery", "environment", "registry"},
    "cli.evaluate": {
        "cli.app", "console", "errors", "evaluation", "generated", "image_sets", "plan", "record", "registry",
        "storage",
    },
    "cli.inspect": {"cli.app", "components", "console", "errors", "plan", "registry", "sizes", "weights"},
    "cli.leaderboard": {
        "cli.app", "leaderboard.boards", "leaderboard.build", "leaderboard.report", "leaderboard.reported",
        "leaderboard.serve", "leaderboard.site.pages", "record", "storage", "verification",
    },
    "cli.new": {"cli.app", "scaffold.names", "scaffold.packages"},
    "cli.plan": {
        "cli.app", "cli.run", "components", "console", "environment", "errors", "estimate", "peaks", "plan", "record",
        "registry", "track", "workload",
    },
    "cli.profile": {"cli.app", "console", "plan", "profile", "profile_plot", "profile_table", "profiling", "storage"},
    "cli.records": {
        "cli.app", "console", "difference", "errors", "plan", "record", "reevaluation", "registry",
        "submission", "validation", "verification",
    },
    "cli.run": {
        "builtins", "campaign", "cli.app", "console", "display", "errors", "leaderboard.boards", "listeners",
        "record", "executors.slurm",
    },
    "cli.status": {"cli.app", "executors.slurm_queue"},
    "cli.track": {"budget", "cli.app", "plan", "track"},
    "cli.weights": {"cli.app", "console", "errors", "plan", "published", "registry", "weights"},
    "committed": {"faults", "ledger", "png", "privacy", "record", "verification"},
    "components": {"errors"},
    "conformance.__init__": set(),
    "conformance.building": {"components", "conformance.subject", "cost"},
    "conformance.findings": set(),
    "conformance.output": {"components", "conformance.subject", "errors"},
    "conformance.running": {"conformance.subject"},
    "conformance.subject": {"components", "objectives"},
    "conformance.suite": {
        "conformance.building", "conformance.findings", "conformance.output", "conformance.running",
        "conformance.subject", "plan", "registry", "storage",
    },
    "console": set(),
    "conventions": set(),
    "cost": {"components", "objectives", "record"},
    "curve": {"budget"},
    "datasets.__init__": set(),
    "datasets.bundled": {"components", "datasets.examples", "errors", "images"},
    "datasets.cifar": {"claims", "datasets.examples", "errors", "images", "storage"},
    "datasets.crop": {"datasets.raw", "errors", "image_sets", "images"},
    "datasets.examples": {"components", "errors", "image_sets", "images"},
    "datasets.fashion": {"datasets.examples", "errors", "images"},
    "datasets.folder": {"datasets.raw", "errors", "image_sets", "storage"},
    "datasets.hub": {"datasets.examples", "datasets.raw", "errors", "storage"},
    "datasets.loading": {"datasets.examples", "errors", "images", "track"},
    "datasets.prepare": {
        "autoencoder", "claims", "datasets.examples", "datasets.folder", "datasets.hub", "datasets.raw",
        "datasets.shards", "datasets.worker", "errors", "processes", "storage",
    },
    "datasets.prepared": {
        "autoencoder", "datasets.crop", "datasets.examples", "datasets.prepare", "datasets.raw",
        "datasets.shards", "errors", "image_sets", "images", "storage", "track",
    },
    "datasets.raw": {"datasets.examples"},
    "datasets.shards": {"datasets.examples", "errors", "storage", "track"},
    "datasets.worker": {
        "autoencoder", "claims", "datasets.crop", "datasets.raw", "datasets.shards", "errors", "images",
        "storage", "track",
    },
    "derived": set(),
    "difference": {"errors", "reading", "record"},
    "dinov2": {"images"},
    "discovery": {"builtins", "errors"},
    "display": {
        "components", "console", "jobs", "leaderboard.boards", "leaderboard.tables", "listeners", "record",
        "registry", "track", "watch",
    },
    "energy": set(),
    "environment": {"errors", "record", "slots"},
    "errors": set(),
    "estimate": {"budget", "components", "errors", "peaks", "profile", "record", "track"},
    "evaluation": {
        "components", "conventions", "cost", "datasets.examples", "environment", "errors", "features",
        "image_sets", "images", "quality", "record", "reference", "registry",
    },
    "executors.__init__": set(),
    "executors.local": {
        "claims", "errors", "executors.slurm_queue", "jobs", "processes", "record", "registry", "slots", "track",
        "watch",
    },
    "executors.nodes": {"errors", "jobs", "processes", "record"},
    "executors.ranks": {
        "bench", "errors", "executors.local", "executors.seat", "jobs", "processes", "record", "registry", "watch",
        "world",
    },
    "executors.ray_cluster": {"components", "discovery", "errors", "executors.nodes", "registry", "slots"},
    "executors.ray_engine": {
        "claims", "errors", "executors.local", "executors.ray_cluster", "executors.ray_task", "jobs", "processes",
        "record", "track", "watch",
    },
    "executors.ray_task": {
        "claims", "errors", "executors.local", "executors.nodes", "jobs", "listeners", "record", "track", "watch",
    },
    "executors.seat": set(),
    "executors.slurm": {
        "claims", "errors", "executors.local", "executors.slurm_queue", "executors.slurm_task", "jobs", "record",
        "storage", "track", "watch",
    },
    "executors.slurm_queue": {"claims", "errors", "jobs", "reading", "record", "storage", "track"},
    "executors.slurm_task": {
        "errors", "executors.local", "executors.nodes", "executors.slurm_queue", "jobs", "listeners", "record", "track",
    },
    "executors.torchrun": {"errors", "executors.local", "jobs", "processes", "record", "track", "watch"},
    "extractors": {"images"},
    "faults": set(),
    "features": {"components", "errors", "images", "precision", "weights", "world"},
    "generated": {"errors", "image_sets", "images", "parts", "plan", "reference", "registry", "samples", "storage"},
    "guidance": set(),
    "hookspecs": {"components"},
    "image_sets": {"errors", "images", "storage"},
    "images": {"storage"},
    "json_files": {"faults"},
    "layers": {"errors"},
    "leaderboard.__init__": set(),
    "leaderboard.boards": {"budget", "leaderboard.intervals", "record", "track", "verification"},
    "leaderboard.build": {
        "errors", "leaderboard.boards", "leaderboard.export", "leaderboard.latex", "leaderboard.markdown",
        "leaderboard.reported", "record", "storage",
    },
    "leaderboard.curves": {"leaderboard.boards", "leaderboard.intervals", "record"},
    "leaderboard.export": {
        "leaderboard.boards", "leaderboard.curves", "leaderboard.facts", "leaderboard.intervals",
        "leaderboard.reported", "leaderboard.tables", "record", "verification",
    },
    "leaderboard.facts": {"derived", "leaderboard.boards", "leaderboard.intervals", "record"},
    "leaderboard.intervals": set(),
    "leaderboard.latex": {"leaderboard.boards", "leaderboard.reported", "leaderboard.tables"},
    "leaderboard.markdown": {"leaderboard.boards", "leaderboard.reported", "leaderboard.tables"},
    "leaderboard.report": {
        "difference", "errors", "leaderboard.boards", "leaderboard.tables", "record", "track", "verification",
    },
    "leaderboard.reported": {
        "budget", "errors", "leaderboard.boards", "leaderboard.intervals", "leaderboard.tables", "track",
    },
    "leaderboard.serve": {"errors", "leaderboard.site.folder"},
    "leaderboard.site.__init__": set(),
    "leaderboard.site.architectures": {
        "components", "leaderboard.boards", "leaderboard.facts", "leaderboard.site.contents",
        "leaderboard.tables", "record",
    },
    "leaderboard.site.assets": {"errors"},
    "leaderboard.site.command": {"record"},
    "leaderboard.site.contents": {
        "leaderboard.boards", "leaderboard.reported", "leaderboard.site.pictures", "record", "track",
        "verification",
    },
    "leaderboard.site.folder": {"errors", "storage"},
    "leaderboard.site.pages": {
        "leaderboard.boards", "leaderboard.markdown", "leaderboard.reported", "leaderboard.site.architectures",
        "leaderboard.site.assets", "leaderboard.site.contents", "leaderboard.site.folder",
        "leaderboard.site.pictures", "leaderboard.site.plots", "leaderboard.site.rules",
        "leaderboard.site.runs", "leaderboard.site.tracks", "verification",
    },
    "leaderboard.site.pictures": {"record", "storage"},
    "leaderboard.site.plots": {
        "leaderboard.boards", "leaderboard.curves", "leaderboard.facts", "leaderboard.intervals",
        "leaderboard.site.contents", "leaderboard.tables",
    },
    "leaderboard.site.rules": set(),
    "leaderboard.site.runs": {
        "difference", "leaderboard.curves", "leaderboard.facts", "leaderboard.site.command",
        "leaderboard.site.contents", "leaderboard.site.pictures", "leaderboard.site.plots", "leaderboard.tables",
        "record", "verification",
    },
    "leaderboard.site.tracks": {
        "leaderboard.boards", "leaderboard.intervals", "leaderboard.reported", "leaderboard.site.contents",
        "leaderboard.site.pictures", "leaderboard.site.plots", "leaderboard.tables", "record",
    },
    "leaderboard.tables": {
        "leaderboard.boards", "leaderboard.curves", "leaderboard.facts", "leaderboard.intervals", "record",
        "verification",
    },
    "ledger": {"errors", "track"},
    "jobs": {"claims", "errors", "record", "registry", "storage", "track", "watch"},
    "listeners": {"components", "jobs", "record", "registry", "track", "watch"},
    "loop": {"checkpoint", "curve", "training", "watch"},
    "metric_checks": {"builtins", "conventions", "derived", "faults", "record"},
    "migrations": {"derived", "track"},
    "objectives": {"errors"},
    "optimizers": {"components", "errors", "track"},
    "parts": {
        "autoencoder", "components", "datasets.examples", "environment", "errors", "ledger", "objectives",
        "plan", "record", "reference", "registry", "samplers", "sampling", "scoring", "track", "watch",
    },
    "peaks": set(),
    "plan": {"components", "errors", "ledger", "registry", "track"},
    "png": set(),
    "precision": set(),
    "privacy": set(),
    "processes": {"errors", "watch"},
    "profile": {"components", "reading", "record", "storage", "track"},
    "profile_plot": {"components", "profile", "profile_table", "storage"},
    "profile_table": {"profile", "record", "storage"},
    "profiling": {"components", "errors", "plan", "processes", "profile", "record", "registry", "track"},
    "published": {"components", "errors", "storage"},
    "quality": {"components", "conventions", "derived", "features", "record"},
    "reading": {"errors", "track"},
    "record": {"components", "derived", "errors", "migrations", "reading", "storage", "track"},
    "reevaluation": {
        "bench", "environment", "errors", "parts", "record", "registry", "samples", "storage", "track",
        "verification", "watch",
    },
    "reference": {"components", "conventions", "errors", "features", "image_sets", "quality", "storage", "track"},
    "registry": {"components", "discovery", "errors", "hookspecs"},
    "row_checks": {"faults", "record", "track", "verification"},
    "samplers": {"objectives"},
    "samples": {
        "datasets.loading", "derived", "images", "parts", "precision", "record", "sampling", "storage",
        "track", "watch", "world",
    },
    "sampling": {"components", "guidance", "images", "objectives", "precision", "samplers", "watch"},
    "sampling_checks": {"derived", "faults", "guidance", "record"},
    "scaffold.__init__": set(),
    "scaffold.names": {"discovery", "errors", "registry"},
    "scaffold.packages": {"errors", "registry", "scaffold.names"},
    "scoring": {
        "components", "datasets.examples", "features", "images", "quality", "record", "reference", "watch", "world",
    },
    "sizes": {"components", "cost", "errors", "plan", "record", "registry"},
    "sharding": set(),
    "slots": set(),
    "stopwatch": {
        "components", "cost", "energy", "environment", "errors", "objectives", "peaks", "precision", "profile",
        "record", "testing",
    },
    "storage": {"errors"},
    "submission": {
        "committed", "errors", "faults", "ledger", "privacy", "record", "row_checks", "storage", "validation",
        "verification",
    },
    "testing": {"components", "conformance.subject", "conformance.suite", "registry"},
    "track": {"budget", "components", "errors", "guidance"},
    "trackers": {"errors", "jobs", "listeners", "record", "registry", "storage", "track", "watch"},
    "training": {
        "budget", "checkpoint", "components", "cost", "curve", "datasets.loading", "derived", "objectives",
        "optimizers", "precision", "record", "track", "watch", "world",
    },
    "training_checks": {"budget", "curve", "derived", "errors", "faults", "record"},
    "validation": {
        "checks", "committed", "errors", "faults", "json_files", "metric_checks", "profile", "reading",
        "record", "row_checks", "storage", "track", "training_checks", "verification",
    },
    "verification": {"errors", "reading", "record", "storage", "track"},
    "watch": set(),
    "weights": {"components", "errors", "storage"},
    "workload": {
        "components", "cost", "estimate", "objectives", "parts", "precision", "registry", "sampling", "track",
    },
    "world": {"datasets.loading", "sharding"},
}  # fmt: skip
LATE_IMPORTS = "cli."  # the only package that may import inside functions
LIGHT = ("__init__", "budget", "builtins", "campaign", "checks", "claims", "committed", "components",
         "conformance.findings", "console", "conventions", "derived", "discovery", "display", "estimate",
         "executors.local", "executors.ray_cluster", "executors.ray_engine", "executors.ray_task", "executors.slurm",
         "executors.slurm_queue", "executors.slurm_task", "executors.torchrun", "faults", "jobs", "json_files",
         "metric_checks", "plan", "png", "privacy", "profile", "profiling", "reading", "record", "registry",
         "row_checks", "sampling_checks", "scaffold.names", "scaffold.packages", "slots", "storage", "submission",
         "track", "training_checks", "validation", "verification", "watch", "weights")  # fmt: skip
LIGHT_PACKAGES = ("cli.", "leaderboard.")
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
    package = name_of(path).split(".")[:-1]
    for module, names, _ in imports(path):
        level = len(module) - len(module.lstrip("."))
        if level:
            above = package[: len(package) + 1 - level]  # "." is the package itself, ".." the one around it
            for name in [module.lstrip(".")] if module.strip(".") else names:
                full = ".".join([*above, name])
                place = CORE / full.replace(".", "/")
                if place.with_suffix(".py").exists():
                    yield full
                elif module.strip(".") and place.is_dir():
                    yield from (f"{full}.{name if (place / f'{name}.py').exists() else '__init__'}" for name in names)
                else:
                    yield ".".join([*above, "__init__"])


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_arrows_of_the_core(path):
    name = name_of(path)
    assert name in ARROWS, f"{path.name} is new: write its arrows down"
    assert set(our_modules(path)) <= ARROWS[name]
    modules = [module for module, _, _ in imports(path)]
    assert not [module for module in modules if module.startswith("ditbench_")], "the core imports no plugin"
    if not name.startswith(LATE_IMPORTS):
        assert not [module for module, _, inside in imports(path) if inside], "imports stand at the top"
    if name in LIGHT or name.startswith(LIGHT_PACKAGES):
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
