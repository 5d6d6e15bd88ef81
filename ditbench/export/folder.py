"""A folder that diffusers loads: network, sampler, weights, the code of both, licence and citation. No pickle.

It is written beside its place, tried, and then renamed: whole or absent.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any
from uuid import uuid4

import diffusers

from ..discovery import editable_folder, readable, version
from ..errors import BadFile
from ..leaderboard.latex import escape
from ..storage.files import (
    as_the_umask_says,
    check_folder,
    is_file,
    is_taken,
    make_writable,
    sha256_of,
    write_text,
    writing,
)
from ..storage.schema import Frozen, read_checked
from . import pipeline
from .sources import Sources, carried, distributions
from .subject import Subject, spec_fields
from .trial import check

MANIFEST = "ditbench-export.json"  # by which a folder is known as ours, and may be replaced


class _Manifest(Frozen):
    of: str
    ditbench: str
    files: dict[str, str]  # sha256 of each but itself, by its way from the folder


_LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")
_PART = {"transformer": ("denoiser", "Denoiser"), "scheduler": ("sampler", "Sampler")}


def write_diffusers(subject: Subject, out: Path, force: bool = False, more: Mapping[str, str | bytes] = {}) -> None:
    """Export a subject as a folder for diffusers, with `more` files by their names; tried before it is in its place."""

    def fill(folder: Path) -> None:
        fill_diffusers(subject, folder)
        for name, content in more.items():
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        check(folder, subject)

    write_folder(out, fill, subject.name, force)


def write_folder(out: Path, fill: Callable[[Path], None], of: str, force: bool) -> None:
    """Have a new folder filled and put in its place, with a manifest: of what it is, and its files.

    `BadFile` if there is something of that name, unless `force` is given and an export has written it.
    """
    check_target_folder(out, force)
    out = out.absolute()
    make_writable(out.parent)
    with _beside(out) as folder, writing(out):
        folder.mkdir()
        fill(folder)
        as_the_umask_says(folder)
        write_text(folder / MANIFEST, _json(_manifest(of, folder)))
        check_target_folder(out, force)  # minutes later
        _put(folder, out)


def _manifest(of: str, folder: Path) -> dict[str, Any]:
    return _Manifest(of=of, ditbench=version("ditbench"), files=_hashes(folder)).model_dump()


def _hashes(folder: Path) -> dict[str, str]:
    """sha256 of each file below a folder, by its way from there."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / MANIFEST)
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def check_target_folder(out: Path, force: bool) -> None:
    """`BadFile` if a folder must not be written there."""
    check_folder(out)
    if not is_taken(out):
        return
    if not force:
        raise BadFile(f"{str(out)!r} exists: choose another folder, or replace an export by `force`.")
    if out.is_symlink() or not is_file(out / MANIFEST):
        raise BadFile(f"{str(out)!r} is no folder that an export has written, so it is not replaced; choose another.")
    written = read_checked(_Manifest, out / MANIFEST, kind="manifest").files
    mine = next((name for name, sha256 in _hashes(out).items() if written.get(name) != sha256), "")
    if mine:
        raise BadFile(f"{str(out / mine)!r} is not as an export wrote it, so the folder is not replaced; move it away.")


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A name for a hidden folder beside another, removed at the end if it is still there."""
    folder = _hidden(out, "new")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _hidden(out: Path, kind: str) -> Path:
    return out.with_name(f".{out.name[:100]}.{kind}.{uuid4().hex}.tmp")


def _put(folder: Path, out: Path) -> None:
    """Rename a folder into its place; what was there is removed once it is."""
    old = _hidden(out, "old")
    try:
        if is_taken(out):
            out.rename(old)
        folder.rename(out)
    except BaseException:
        with suppress(OSError):
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def fill_diffusers(subject: Subject, folder: Path) -> None:
    """All that `DiffusionPipeline.from_pretrained` needs."""
    roots = [part.partition(":")[0] for part in subject.code.values()]
    sources = carried([*roots, pipeline.__name__], subject.packages)
    for name, text in sources.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "pipeline.py").write_text(_pipeline(subject, sources), encoding="utf-8")
    _write_components(subject, folder)
    for component, (module, kind) in _PART.items():
        (folder / component / f"{module}.py").write_text(_component(kind), encoding="utf-8")
    (folder / "model_index.json").write_text(_json(_index(subject)), encoding="utf-8")
    (folder / "requirements.txt").write_text("\n".join([*_libraries(sources), ""]), encoding="utf-8")
    (folder / "LICENSE").write_text(licence(subject), encoding="utf-8")
    (folder / "CITATION.bib").write_text(citation(subject), encoding="utf-8")


def _libraries(sources: Sources) -> list[str]:
    return distributions({*sources.libraries, "safetensors"})


def _write_components(subject: Subject, folder: Path) -> None:
    """Configs and weights, as diffusers writes them."""
    built: Any = type("Denoiser", (pipeline.Denoiser,), {"build": staticmethod(lambda *_, **__: subject.network)})
    sampler: Any = type("Sampler", (pipeline.Sampler,), {})
    built(spec_fields(subject.spec), subject.config.settings).save_pretrained(folder / "transformer")
    sampler(**subject.scheduler).save_pretrained(folder / "scheduler")
    if subject.autoencoder is not None:
        subject.autoencoder.save(folder / "vae")


def _index(subject: Subject) -> dict[str, Any]:
    vae = {"vae": ["diffusers", subject.vae]} if subject.vae else {}
    return {
        "_class_name": ["pipeline", "DitbenchPipeline"],
        "_diffusers_version": diffusers.__version__,
        **{component: list(part) for component, part in _PART.items()},
        **vae,
    }


def _pipeline(subject: Subject, sources: Sources) -> str:
    """The folder's ``pipeline.py``. It names every file beside it: diffusers copies those, and no others."""
    own, code = sources.names[pipeline.__name__], subject.code
    found = {part: (sources.names[one.partition(":")[0]], one.partition(":")[2]) for part, one in code.items()}
    imports = [
        *(f"from .{module} import {name.partition('.')[0]} as _{part}" for part, (module, name) in found.items()),
        f"from .{own} import Denoiser as _Denoiser",
        f"from .{own} import DitbenchPipeline",
        f"from .{own} import Sampler as _Sampler",
        "",
        "# All else that these import: diffusers copies what is named here.",
        *(f"from .{name} import __name__ as _name" for name in sorted(sources.names.values())),
    ]
    whole = {part: f"_{part}{name[len(name.partition('.')[0]) :]}" for part, (_, name) in found.items()}
    return _PIPELINE.format(
        name=_quoted(subject.name),
        label=_quoted(subject.config.label),
        track=_quoted(subject.config.track.name),
        imports="\n".join(imports),
        **whole,
    )


_PIPELINE = '''"""{name}: {label} on the track {track}, sampled as ditbench samples it.

    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)
    images = pipeline(num_images=16).images

The files beside this one are ditbench's own and the network's, to the letter but for their import lines.
"""

{imports}

__all__ = ["Denoiser", "DitbenchPipeline", "Sampler"]


class Denoiser(_Denoiser):
    build = staticmethod({build})


class Sampler(_Sampler):
    sample = staticmethod({sample})
    make_objective = staticmethod({make_objective})
'''


def _component(kind: str) -> str:
    """diffusers looks for a component's class in a file of its folder, and loads ``pipeline.py`` before."""
    return (
        f'"""{kind}: see pipeline.py, which diffusers has loaded before."""\n\n'
        f'from importlib import import_module\n\n{kind} = import_module(".pipeline", __package__).{kind}\n'
    )


def licence(subject: Subject) -> str:
    """The licence of the network's code, as its distribution has it; where it has none, what the plugin says of it."""
    name = subject.config.distribution
    of = next((dist for dist in readable() if dist.name.lower() == name.lower()), None)
    text = None if of is None else _licence_of(of)
    return text or f"{name}: {subject.architecture.licence or 'no licence is stated'}\n"


def _licence_of(of: Distribution) -> str | None:
    folder = editable_folder(of)
    its_own = sorted(of.files or (), key=lambda file: ".dist-info" not in str(file))  # others' code may lie in it
    listed = [Path(str(of.locate_file(file))) for file in its_own if file.name in _LICENCES]
    places = [*listed, *([] if folder is None else [folder / name for name in _LICENCES])]
    found = next((path for path in places if is_file(path)), None)
    return None if found is None else found.read_text(encoding="utf-8", errors="replace")


def citation(subject: Subject) -> str:
    """BibTeX of the architecture's paper, as far as its plugin names it, and of ditbench."""
    of, paper = subject.architecture, subject.architecture.paper
    number = paper.removeprefix("arXiv:")
    about = _in_bibtex(of.description or of.name)
    entries = [f"@software{{ditbench,\n  title = {{ditbench}},\n  version = {{{version('ditbench')}}}\n}}\n"]
    if paper.startswith("arXiv:"):
        where = f"  eprint = {{{number}}},\n  archivePrefix = {{arXiv}},\n  url = {{https://arxiv.org/abs/{number}}}"
    else:
        where = f"  note = {{{_in_bibtex(paper or 'no paper is named')}}}"
    return "\n".join([f"@misc{{{of.name},\n  title = {{{about}}},\n{where}\n}}\n", *entries])


def _in_bibtex(text: str) -> str:
    """BibTeX counts braces, escaped or not."""
    return escape(text.replace("{", "(").replace("}", ")"))


def _json(content: Any) -> str:
    return json.dumps(content, indent=2) + "\n"


def _quoted(text: str) -> str:
    """Text for a docstring: names have no quotes or backslashes, and a track's might."""
    return text.replace("\\", "/").replace('"', "'").replace("\n", " ")
