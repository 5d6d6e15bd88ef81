"""Bad distributions beside good ones: what stands in their metadata, and what their entry points name."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from judge import Case

from ditbench import cli

_META = "Metadata-Version: 2.1\nName: ditbench-{name}\nVersion: 0.1\n"
_GOOD = "import ditbench\n"
_HOOK = "import ditbench, pathlib\n@ditbench.hookimpl\ndef ditbench_{kind}():\n    {what}\n"
_ARCHITECTURE = "return [ditbench.Architecture(name={name!r}, build='a:b', sizes={sizes})]"
_MODULES = {  # what a plugin's module can be
    "a syntax error": "def (:\n",
    "an import that is not here": "import no_such_module\n",
    "an exit": "raise SystemExit(3)\n",
    "an exception": "raise ValueError('so')\n",
    "no text": "\0",
    "a wrong hook": _HOOK.format(kind="nonsense", what="return []"),
    "an unmarked hook": "def ditbench_architectures():\n    return []\n",
    "a hook that raises": _HOOK.format(kind="architectures", what="raise ValueError('so')"),
    "a hook of text": _HOOK.format(kind="architectures", what="return 'text'"),
    "a hook of nothing": _HOOK.format(kind="architectures", what="return None"),
    "a hook of numbers": _HOOK.format(kind="architectures", what="return [7]"),
    "a track that is not there": _HOOK.format(kind="tracks", what="return [pathlib.Path('/nowhere/x.toml')]"),
    "a track of text": _HOOK.format(kind="tracks", what="return ['x']"),
    "a name taken": _HOOK.format(kind="architectures", what=_ARCHITECTURE.format(name="dit", sizes={"nano": {}})),
    "a wrong name": _HOOK.format(kind="architectures", what=_ARCHITECTURE.format(name="A B", sizes={"nano": {}})),
    "no size": _HOOK.format(kind="architectures", what=_ARCHITECTURE.format(name="zz", sizes={})),
}
_METADATA = {  # what the file can be; None: there is none
    "none": None,
    "nothing": "",
    "no name": "Metadata-Version: 2.1\nVersion: 0.1\n",
    "no version": "Metadata-Version: 2.1\nName: ditbench-{name}\n",
    "requirements that can't be read": _META + "Requires-Dist: ===nonsense;;\n",
    "an odd marker": _META + "Requires-Dist: torch; nonsense == 'x'\n",
    "an odd version asked": _META + "Requires-Dist: torch>=not.a.version\n",
    "a version that is none": "Metadata-Version: 2.1\nName: ditbench-{name}\nVersion: not-a-version\n",
    "bytes": "\udcff\udcfe",
    "too new": _META + "Requires-Dist: ditbench>=99\n",
}
_ENTRIES = {  # the entry points' file
    "no object": "[ditbench]\n{name} =\n",
    "an odd object": "[ditbench]\n{name} = not a module\n",
    "a missing module": "[ditbench]\n{name} = no_such_module_at_all\n",
    "a missing attribute": "[ditbench]\n{name} = {module}:nothing\n",
    "dots": "[ditbench]\n{name} = ...\n",
    "a lone colon": "[ditbench]\n{name} = :\n",
    "no equals": "[ditbench]\n{name}\n",
    "twice": "[ditbench]\n{name} = {module}\n{name} = {module}\n",
    "an open section": "[ditbench\n{name} = {module}\n",
    "no section": "{name} = {module}\n",
    "brackets": "[ditbench]\n{name} = {module} [extra]\n",
    "bytes": "[ditbench]\n\udcff = {module}\n",
}
_ORIGINS = {
    "cut off": '{"url": "file:///x", "dir_',
    "a list": "[]",
    "a number": "7",
    "nothing": "",
    "no url": '{"dir_info": {"editable": true}}',
    "a number for a url": '{"url": 7, "dir_info": {"editable": true}}',
    "bytes": "\udcff",
}
_FAULTS = {
    "too new",
    "a missing module",
    "a missing attribute",
    *(set(_MODULES) - {"a hook of nothing", "a track that is not there"}),
}  # that are told of by name


def cases(base: Path) -> Iterator[Case]:
    """All of them: whatever lies there, every listing comes, and doctor tells of what is left out."""
    for what, source in _MODULES.items():
        yield from _three(f"module: {what}", _META, "[ditbench]\n{name} = {module}\n", source, told=what in _FAULTS)
    for what, metadata in _METADATA.items():
        yield from _three(f"METADATA: {what}", metadata, "[ditbench]\n{name} = {module}\n", _GOOD, told=what in _FAULTS)
    for what, entry in _ENTRIES.items():
        yield from _three(f"entry points: {what}", _META, entry, _GOOD, told=what in _FAULTS)
    for what, origin in _ORIGINS.items():
        yield from _three(f"direct_url.json: {what}", _META, "[ditbench]\n{name} = {module}\n", _GOOD, origin=origin)
    yield from _three("a leftover", None, "", _GOOD, folder="~itbench-0.1.dist-info")
    yield from _three("an empty folder", None, None, _GOOD, folder="ditbench_empty-0.1.dist-info")


def _three(
    what: str,
    metadata: str | None,
    entries: str | None,
    source: str,
    told: bool = False,
    origin: str | None = None,
    folder: str = "",
) -> Iterator[Case]:
    number = sum(map(ord, what))
    name = f"bad{number}"
    texts = {"METADATA": metadata, "entry_points.txt": entries, "direct_url.json": origin}
    files = {
        file: text.format(name=name, module=f"{name}_module") if "{name}" in text or "{module}" in text else text
        for file, text in texts.items()
        if text is not None
    }
    site = folder or f"ditbench_{name}-0.1.dist-info"
    make = partial(_install, site=site, files=files, module=f"{name}_module", source=source)
    words = (name,) if told else ()
    for command, code in ((("list",), 0), (("plugins", "doctor"), 1 if told else -1), (("track", "check", "tiny"), 0)):
        call = partial(_with_site, command=command, any_of=(0, 1) if code < 0 else (code,))
        yield Case("packages", f"{what}, {' '.join(command)}", culprits=words, make=make, call=call, code=0)


def _install(folder: Path, site: str, files: dict[str, str], module: str, source: str) -> None:
    (folder / "site" / site).mkdir(parents=True)
    for file, text in files.items():
        (folder / "site" / site / file).write_bytes(text.encode(errors="surrogateescape"))
    (folder / "site" / f"{module}.py").write_text(source)


def _with_site(command: tuple[str, ...], any_of: tuple[int, ...]) -> None:
    """The command with the case's distributions beside those that are installed; its right exit codes become 0."""
    sys.path.insert(0, str(Path("site").resolve()))
    importlib.invalidate_caches()
    before, sys.argv = sys.argv, ["ditbench", *command]
    try:
        cli.main()
    except SystemExit as ended:
        sys.exit(0 if (ended.code or 0) in any_of else ended.code)
    finally:
        sys.argv, sys.path[:] = before, sys.path[1:]
        with contextlib.suppress(KeyError):
            for name in [name for name in sys.modules if name.startswith("bad") and name.endswith("_module")]:
                del sys.modules[name]
