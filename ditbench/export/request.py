"""What somebody wants to have exported, and that done."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ..errors import BadFile, BadValue
from ..registry import Registry
from ..storage.files import exists, is_folder
from .card import card_files
from .folder import check_target_folder, citation, licence, write_diffusers, write_folder
from .published import fill_published
from .subject import Subject, of_run, of_weights

Form = Literal["diffusers", "hub", "safetensors"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is exported, where to, and in which form."""

    source: Path  # a run's folder, or a file of weights
    out: Path
    to: Form
    architecture: str = ""  # of a file of weights, as its track
    track: str = ""
    seed: int | None = None  # of its images; 0 if not given
    autoencoder: str = ""  # of latents: its folder
    like: Path | None = None  # of safetensors: a published file
    force: bool = False  # replace what an export has written

    def check(self) -> None:
        """`DitbenchError` for what can't be asked, before anything is computed."""
        if not exists(self.source):
            raise BadFile(f"There is nothing of the name {str(self.source)!r}: give a run's folder, or its weights.")
        a_run = is_folder(self.source)
        if a_run and (self.architecture or self.track or self.seed is not None):
            raise BadValue(
                f"{str(self.source)!r} is a folder: `architecture`, `track` and `seed` are of weights; a run says all."
            )
        if not a_run and not (self.architecture and self.track):
            raise BadValue("A file of weights needs `architecture`, what it is of, and `track`, how it is sampled.")
        if self.like is not None and self.to != "safetensors":
            raise BadValue(f"`like` is of safetensors, not of {self.to}.")
        if self.autoencoder and self.to == "safetensors":
            raise BadValue(f"`autoencoder` {self.autoencoder!r} is of diffusers and hub, not of safetensors.")
        check_target_folder(self.out, self.force)


def export(request: Request, registry: Registry) -> str:
    """Export, and tell of what: the run's name or the network's."""
    subject = _subject(request, registry)
    if request.to == "safetensors":
        fill: Any = partial(_fill_safetensors, subject, request.like)
        write_folder(request.out, fill, subject.name, request.force)
    else:
        more = card_files(subject, request.source) if request.to == "hub" else {}
        write_diffusers(subject, request.out, request.force, more)
    return subject.name


def _subject(request: Request, registry: Registry) -> Subject:
    latents = request.autoencoder if request.to != "safetensors" else None
    if is_folder(request.source):
        return of_run(request.source, registry, latents)
    asked = (request.architecture, request.track, request.seed or 0)
    return of_weights(request.source, *asked, registry, latents)


def _fill_safetensors(subject: Subject, like: Path | None, folder: Path) -> None:
    fill_published(subject, folder, like)
    (folder / "LICENSE").write_text(licence(subject), encoding="utf-8")
    (folder / "CITATION.bib").write_text(citation(subject), encoding="utf-8")
