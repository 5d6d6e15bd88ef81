"""The source files that some modules need, found by their static imports, as modules of one flat folder.

diffusers copies a folder's own code file by file: ``pipeline.py`` and what it imports from beside it. So the files lie
side by side, and only their import lines are written anew; all else is as it was, to the letter. Their names end with a
hash of them all: diffusers keeps the code of every folder in one place, where those of two must not meet.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..discovery import owners, version
from ..errors import BadFile, one_line

ROOT = "ditbench"  # it lends names of its modules, so in a folder it has but those that are asked for
_TYPES_ALONE = "TYPE_CHECKING"


@dataclass(frozen=True)
class Sources:
    """What is carried: the text of each file by its name, and the name that each module has now."""

    files: dict[str, str]
    names: dict[str, str]
    libraries: tuple[str, ...]  # the packages that they import beside, but for Python's own


@dataclass(frozen=True)
class _Module:
    name: str
    package: bool  # whether it is a package's __init__
    text: str
    tree: ast.Module

    @property
    def parent(self) -> str:
        """What its relative imports start from."""
        return self.name if self.package else self.name.rpartition(".")[0]


def carried(roots: Iterable[str], packages: Iterable[str]) -> Sources:
    """The modules `roots` and all that they import from ditbench and from these packages of a plugin.

    `BadFile` names a module that has no source, or an import whose files can't be told.
    """
    finder = _Finder({ROOT, *packages})
    modules = finder.closure(roots)
    digest = hashlib.sha256()
    for name, module in sorted(modules.items()):
        digest.update(f"{name}\0{module.text}\0".encode())
    names = {name: f"{flat}_{digest.hexdigest()[:8]}" for name, flat in _flat((*modules, ROOT)).items()}
    files = {f"{names[name]}.py": _rewritten(module, finder, names) for name, module in modules.items()}
    if finder.lent:
        files[f"{names[ROOT]}.py"] = _door(finder, names)
    return Sources(files, {name: names[name] for name in (*modules, *([ROOT] if finder.lent else []))}, finder.others)


def _flat(names: Sequence[str]) -> dict[str, str]:
    """Names of modules without dots, no two alike."""
    plain = {name: name.replace(".", "_") for name in names}
    if len(set(plain.values())) == len(plain):
        return plain
    return {name: name.replace("_", "__").replace(".", "_") for name in names}


def distributions(libraries: Iterable[str]) -> list[str]:
    """What pip is asked for to have these packages, as they are here: ``name==version``, but for a local part of it.

    What is not installed here is not needed: its import is in a ``try``.
    """
    known = owners()
    found = {min(known.get(library, {library})) for library in libraries if find_spec(library)}
    return [f"{name}=={version(name).partition('+')[0]}" for name in sorted(found, key=str.lower)]


class _Finder:
    """Where modules are, and what they import of those that are carried."""

    def __init__(self, packages: set[str]) -> None:
        self._packages = packages
        self._known: dict[str, _Module | None] = {}
        self._homes = dict(_homes(_read(ROOT) or _no_source(ROOT)))
        self.lent: set[str] = set()  # names that the root must have
        self._others: set[str] = set()

    @property
    def others(self) -> tuple[str, ...]:
        """The packages of others that were met."""
        return tuple(sorted(self._others - sys.stdlib_module_names))

    def closure(self, roots: Iterable[str]) -> dict[str, _Module]:
        """All modules that these need, by name; themselves, too."""
        found: dict[str, _Module] = {}
        waiting = list(roots)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = self.module(name) or _no_source(name)
                waiting += self._needs(found[name])
        return found

    def module(self, name: str) -> _Module | None:
        """A module that is carried; None: there is none of that name, or it is somebody else's."""
        if name.partition(".")[0] not in self._packages:
            return None
        if name not in self._known:
            self._known[name] = _read(name)
        return self._known[name]

    def home(self, name: str) -> str:
        """The module that has what the root lends by this name."""
        if name not in self._homes:
            raise BadFile(f"The root of {ROOT} has no {name!r}, which a network's source imports from there.")
        return self._homes[name]

    def base(self, module: _Module, node: ast.ImportFrom) -> str:
        """The module that a ``from ... import`` names, in full."""
        if not node.level:
            return node.module or ""
        above = module.parent.split(".")[: len(module.parent.split(".")) - node.level + 1]
        return ".".join([*above, *([node.module] if node.module else [])])

    def is_ours(self, name: str) -> bool:
        """Whether a module's package is carried."""
        return name.partition(".")[0] in self._packages

    def _needs(self, module: _Module) -> Iterator[str]:
        for node in _imports(module.tree):
            if isinstance(node, ast.Import):
                yield from self._imported(module, node)
                continue
            base = self.base(module, node)
            if not self.is_ours(base):
                self._others.add(base.partition(".")[0])
            elif base == ROOT:
                yield from (self._lend(alias.name) for alias in node.names)
            else:
                whole = (f"{base}.{alias.name}" for alias in node.names)
                yield from (name if self.module(name) else base for name in whole)

    def _imported(self, module: _Module, node: ast.Import) -> Iterator[str]:
        for alias in node.names:
            if not self.is_ours(alias.name):
                self._others.add(alias.name.partition(".")[0])
            elif alias.name == ROOT:
                yield from (self._lend(name) for name in sorted(_attributes(module.tree, alias.asname or ROOT)))
            elif alias.asname is None and "." in alias.name:
                raise BadFile(
                    f"{module.name!r} has 'import {alias.name}', which can't be carried; write 'from ... import' there."
                )
            else:
                yield alias.name

    def _lend(self, name: str) -> str:
        self.lent.add(name)
        return self.home(name)


def _read(name: str) -> _Module | None:
    """A module's source; None where there is no module of that name. `BadFile` if it has none."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    path = Path(spec.origin or "")
    if path.suffix != ".py":
        return None if spec.origin is None else _no_source(name)
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except (OSError, ValueError, SyntaxError) as error:
        raise BadFile(f"The source of {name!r}, {str(path)!r}, can't be read: {one_line(error)}.") from None
    return _Module(name, path.stem == "__init__", text, tree)


def _no_source(name: str) -> _Module:
    raise BadFile(f"The source of the module {name!r} can't be found, and a folder without it would not run.")


def _homes(root: _Module) -> Iterator[tuple[str, str]]:
    """Which of its modules the root has each of its names from, by its own imports, those for types alone too."""
    for node in ast.walk(root.tree):
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            yield from ((alias.asname or alias.name, f"{ROOT}.{node.module}") for alias in node.names)


def _attributes(tree: ast.Module, name: str) -> set[str]:
    """What a file takes of a module that it has by this name."""
    taken = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in taken if isinstance(node.value, ast.Name) and node.value.id == name}


def _imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """All imports of a file that may be carried out, wherever they stand."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif not _for_types(node):
            yield from _imports(node)


def _for_types(node: ast.AST) -> bool:
    if not isinstance(node, ast.If) or node.orelse:
        return False
    return isinstance(node.test, ast.Name) and node.test.id == _TYPES_ALONE


def _rewritten(module: _Module, finder: _Finder, names: dict[str, str]) -> str:
    """The text with its import lines leading to the files beside it; what is imported for types alone is left out."""
    tree, lines = module.tree, re.split(r"(?<=\n)", module.text)  # Python's grammar knows no other end of a line
    changes: list[tuple[ast.stmt, list[str]]] = []
    for node in _imports(tree):
        told = _lines(module, node, finder, names)
        if told is not None:
            changes.append((node, told))
    for block in ast.walk(tree):
        if isinstance(block, ast.If) and _for_types(block):
            changes.append((block, [f"if {_TYPES_ALONE}:\n    pass  # imports for types alone"]))
    for old, _ in changes:
        _check_alone(module, old, lines)
    for old, told in sorted(changes, key=lambda change: change[0].lineno, reverse=True):
        indent = " " * old.col_offset
        text = "".join(f"{indent}{line}\n" for one in told for line in one.split("\n"))
        lines[old.lineno - 1 : old.end_lineno] = [text]
    return "".join(lines)


def _check_alone(module: _Module, node: ast.stmt, lines: Sequence[str]) -> None:
    """`BadFile` if there is more than an import on its lines, which are replaced."""
    assert node.end_lineno is not None
    before = lines[node.lineno - 1].encode()[: node.col_offset].strip()
    after = lines[node.end_lineno - 1].encode()[node.end_col_offset :].strip()
    if before or (after and not after.startswith(b"#")):
        raise BadFile(
            f"{module.name!r}, line {node.lineno}: an import that shares its line with something else can't be "
            "carried; give it a line of its own."
        )


def _lines(
    module: _Module, node: ast.Import | ast.ImportFrom, finder: _Finder, names: dict[str, str]
) -> list[str] | None:
    """An import as it must be now, a line for each name; None: as it was."""
    if isinstance(node, ast.Import):
        if not any(finder.is_ours(alias.name) for alias in node.names):
            return None
        return [
            f"from . import {names[alias.name]} as {alias.asname or alias.name}"
            if finder.is_ours(alias.name)
            else f"import {alias.name}{f' as {alias.asname}' if alias.asname else ''}"
            for alias in node.names
        ]
    base = finder.base(module, node)
    if not finder.is_ours(base):
        return None
    told = []
    for alias in node.names:
        whole = f"{base}.{alias.name}"
        if base != ROOT and finder.module(whole):
            told.append(f"from . import {names[whole]} as {alias.asname or alias.name}")
        else:
            told.append(f"from .{names[base]} import {alias.name}{f' as {alias.asname}' if alias.asname else ''}")
    return told


def _door(finder: _Finder, names: dict[str, str]) -> str:
    """The root in the folder: the names that are taken of it."""
    lines = (f"from .{names[finder.home(name)]} import {name}" for name in sorted(finder.lent))
    return "\n".join(['"""What the network takes of ditbench\'s root."""\n', *lines, ""])
