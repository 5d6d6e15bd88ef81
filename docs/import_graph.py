"""What imports what in ditbench, read from its files: for the picture of the house, and for the test that holds it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
CORE = ROOT / "ditbench"
TEMPLATES = CORE / "cli" / "scaffold" / "templates"  # plugins, not modules of ours
MODULES = sorted(path for path in CORE.rglob("*.py") if TEMPLATES not in path.parents)
# The floor that everything may stand on: what a plugin registers, and what is installed.
API = {
    *(
        "answers",
        "asking",
        "builtin_metrics",
        "builtins",
        "components",
        "denoiser_spec",
        "discovery",
        "errors",
        "extras",
        "hookspecs",
        "imported",
        "ladder",
        "layers",
        "names",
        "registry",
    )
}


def name_of(path: Path) -> str:
    """A file's module, without ``ditbench.``: ``cli.run``, ``cli.__init__``."""
    return ".".join(path.relative_to(CORE).with_suffix("").parts)


def place(module: str) -> str:
    """The package of a module, or the module itself where it stands at the root."""
    return module.split(".")[0]


def _is_ours(name: str) -> bool:
    """Whether a dotted name is a module or a package of ours."""
    file = CORE.parent / name.replace(".", "/")
    return file.with_suffix(".py").exists() or (file / "__init__.py").exists()


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(module, whole and absolute, or what it is called outside; inside a function) of every import of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {n for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)}
    package = name_of(path).split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = ".".join(["ditbench", *package[: len(package) + 1 - node.level], *filter(None, [node.module])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield whole if _is_ours(whole) else base, node in inside
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node in inside
        elif isinstance(node, ast.Import):
            yield from ((alias.name, node in inside) for alias in node.names)


def ours(path: Path) -> set[str]:
    """The packages and modules of the root that a file imports, its own place left out."""
    found = {module.removeprefix("ditbench.") for module, _ in imports(path) if module.startswith("ditbench.")}
    return {place(module) for module in found} - {place(name_of(path))}


@cache
def graph() -> dict[str, set[str]]:
    """Package, or module of the root -> those that it imports."""
    found: dict[str, set[str]] = {}
    for path in MODULES:
        found.setdefault(place(name_of(path)), set()).update(ours(path))
    return found


def job(name: str) -> str:
    """The first sentence of a package's docstring, or of a module's of the root: what it is for."""
    path = CORE / name / "__init__.py" if (CORE / name).is_dir() else CORE / f"{name}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split()).partition(". ")[0].rstrip(".") + "."
