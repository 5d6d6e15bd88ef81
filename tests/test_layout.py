"""The arrows between packages, held. Which package may import which is the architecture."""

import ast
import pkgutil
import re
import subprocess
import sys
import tokenize
from graphlib import TopologicalSorter

import pytest
from import_graph import API, CORE, MODULES, ROOT, TEMPLATES, graph, imports, name_of, ours, place
from snippets import DOCUMENTS, blocks

import ditbench

# package (or module of the root) -> the packages that it may import. A new arrow is a decision, written down here.
ARROWS = {
    "storage": set(),
    "tracks": {"storage"},
    "records": {"storage", "tracks"},
    "runtime": {"records"},
    "denoiser": {"records", "storage"},
    "datasets": {"records", "runtime", "storage", "tracks"},
    "training": {"datasets", "denoiser", "records", "runtime", "storage", "tracks"},
    "metrics": {"datasets", "records", "runtime", "storage"},
    "sampling": {"datasets", "denoiser", "records", "runtime", "storage", "tracks", "training"},
    "benchmark": {
        "datasets", "denoiser", "metrics", "records", "runtime", "sampling", "storage", "tracks", "training",
    },
    "executors": {"benchmark", "records", "runtime", "storage", "tracks"},
    "leaderboard": {"records", "storage", "tracks"},
    "profiling": {"denoiser", "records", "runtime", "sampling", "storage", "tracks", "training"},
    "campaign": {"executors", "leaderboard", "metrics", "records", "storage", "tracks"},
    "scaling": {"leaderboard", "records", "storage", "tracks"},
    "testing": {"denoiser"},
    "__init__": {  # the names that it lends, on first use
        "campaign", "datasets", "denoiser", "executors", "leaderboard", "metrics", "profiling", "records", "runtime",
        "sampling", "tracks", "training",
    },
    "cli": {
        "benchmark", "campaign", "datasets", "denoiser", "executors", "leaderboard", "metrics", "profiling", "records",
        "runtime", "scaling", "storage", "tracks",
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
    "scaling",
    "tracks",
    *API - {"layers"},
}  # whole packages
BY_NAME = {("executors", "runtime"), ("executors", "training")}  # beside ARROWS, when it is needed
DOORS = {"ditbench", "ditbench.errors", "ditbench.layers", "ditbench.testing"}  # for all who stand outside
DOTTED = re.compile(r"ditbench(\.\w+)+(:\w+)?")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
TYPED = re.compile(r"`ditbench [^`]*`")  # a whole command that a message tells a person to type
SHELL = {"leaderboard.site.reproduction", "leaderboard.speeds"}  # they write the command lines that measure again
OTHERS_FLAGS = {  # module -> flags of programs that are not ours
    "executors.ray_cluster": {"--address", "--skip-version-check"},  # ray health-check
    "executors.slurm": {"--cpus-per-task"},  # srun
    "executors.slurm_queue": {"--array", "--format", "--jobs", "--noheader", "--states"},  # squeue
    "extras": {"--editable"},  # uv
    "leaderboard.commits": {"--batch", "--quiet", "--verify"},  # git
    "answers": {"--force-reinstall", "--upgrade"},  # pip
    "runtime.environment": {  # git, and nvidia-smi
        "--exclude-standard",
        "--format",
        "--others",
        "--porcelain",
        "--query-gpu",
        "--untracked-files",
    },
}


def test_arrows_of_the_core():
    for path in MODULES:
        name = name_of(path)
        here, found = place(name), list(imports(path))
        assert here in API or here in ARROWS, f"{here} is new: write its arrows down"
        allowed = API if here in API else API | ARROWS[here]
        assert ours(path) <= allowed, name
        assert not [module for module, _ in found if module.startswith("ditbench_")], f"{name}: the core needs a plugin"
        if here != LATE_IMPORTS:
            assert not [module for module, inside in found if inside], f"{name}: imports stand at the top"
        if here in LIGHT:
            assert not {module.partition(".")[0] for module, _ in found} & HEAVY, name


def test_no_arrow_is_allowed_that_nobody_needs():
    needed = graph()
    assert {here: needed[here] - API for here in ARROWS} == ARROWS


def test_the_arrows_run_one_way():
    tuple(TopologicalSorter(ARROWS).static_order())  # `CycleError` names the circle


def named_by_strings(path):
    """The dotted names of ours that stand in a file as strings."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and DOTTED.fullmatch(node.value):
            yield node.value


def test_what_is_named_by_a_string_is_there_and_on_the_way_down():
    for path in MODULES:
        here = place(name_of(path))
        for name in named_by_strings(path):
            pkgutil.resolve_name(name)  # an error names what is not there
            there = place(name.removeprefix("ditbench.").partition(":")[0])
            known = (
                here in ("builtins", "builtin_metrics", "__init__")
                or there in ARROWS[here] | {here}
                or (here, there) in BY_NAME
            )
            assert known, f"{name_of(path)} names {name}"


def test_what_needs_no_torch_loads_without():
    """A module may import what loads it, which the imports of its file don't show."""
    light = [name_of(path) for path in MODULES if place(name_of(path)) in LIGHT]
    names = [f"ditbench.{name}".removesuffix(".__init__") for name in light if name != "__main__"]
    code = f"import importlib, sys; [importlib.import_module(n) for n in {names}]; print({HEAVY} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def imported(text):
    """The modules that code outside of the package imports; a name of the root that is none of its own is a module."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module
            if node.module == "ditbench":
                yield from (f"ditbench.{alias.name}" for alias in node.names if alias.name not in ditbench.__all__)


def words(path):
    """Every string, docstring and comment of a file; an f-string is one, with its values left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    pieces = {piece for f in ast.walk(tree) if isinstance(f, ast.JoinedStr) for piece in f.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in pieces:
            yield node.value
    with path.open("rb") as file:
        yield from (token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT)


def test_libraries_name_options_and_the_command_line_flags():
    """A caller from Python never reads `--nproc`; `cli.options.as_flags` says so in a terminal."""
    libraries = {name_of(path): path for path in MODULES if place(name_of(path)) != "cli"}
    found = {
        name: flags
        for name, path in libraries.items()
        if name not in SHELL and (flags := {flag for text in words(path) for flag in FLAG.findall(TYPED.sub("", text))})
    }
    assert found == OTHERS_FLAGS


@pytest.mark.parametrize("plugin", sorted((ROOT / "plugins").glob("*/ditbench_*")), ids=lambda path: path.name)
def test_plugins_import_the_public_doors_and_never_each_other(plugin):
    for path in plugin.glob("*.py"):
        modules = list(imported(path.read_text(encoding="utf-8")))
        for module in modules:
            top = module.partition(".")[0]
            assert top != "ditbench" or module in DOORS, (path.name, module)
            assert not top.startswith("ditbench_") or top == plugin.name, (path.name, module)
        if path.stem == "__init__":
            assert not {module.partition(".")[0] for module in modules} & HEAVY


def code_of_others():
    """Where, and the text: what is shown to others, what is made for them, and what is tested in their way."""
    for folder in (TEMPLATES, ROOT / "examples", *sorted((ROOT / "plugins").glob("*/tests"))):
        for path in sorted(folder.rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    for document in DOCUMENTS:
        for block in blocks(document):
            if block.language == "python":
                yield f"{document.relative_to(ROOT)}:{block.line}", block.text


def test_others_import_the_public_doors_alone():
    for where, text in code_of_others():
        assert {module for module in imported(text) if module.partition(".")[0] == "ditbench"} <= DOORS, where
        said = {n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        assert not {word for word in said if word.startswith("ditbench.") and " " not in word}, f"{where} names a place"


def test_the_root_lends_what_it_says():
    tree = ast.parse((CORE / "__init__.py").read_text(encoding="utf-8"))
    tables = {n.targets[0].id: n.value for n in tree.body if isinstance(n, ast.Assign)}
    lent, public = (ast.literal_eval(tables[name]) for name in ("_ON_FIRST_USE", "__all__"))
    (for_types,) = [node.body for node in tree.body if isinstance(node, ast.If)]
    assert lent == {alias.name: node.module for node in for_types for alias in node.names}
    at_once = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.level]
    assert set(public) == {*lent, *(alias.name for node in at_once for alias in node.names)}
    assert len(public) == len(set(public)) and all(getattr(ditbench, name, None) is not None for name in public)


def test_importing_the_root_is_light():
    code = "import sys, ditbench; print({'torch', 'pandas', 'pydantic'} & sys.modules.keys() or 'light')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "light\n", done.stdout + done.stderr


def test_files_stay_readable_in_one_sitting():
    files = [*CORE.rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    assert {
        str(path): count for path in files if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400
    } == {}
