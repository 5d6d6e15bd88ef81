"""Held-out images prepared beside the training images, so that a denoiser can be shown them: in a folder of their own.

Training reads none of them, and the hash of the data knows nothing of them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.progress import CountCallback
from ..storage.files import exists
from .autoencoder import Codec
from .examples import Examples
from .prepare import prepare as prepare_images
from .raw import UNKNOWN, RawImages
from .shards import MANIFEST, Manifest, open_prepared

FOLDER = "held-out"


def prepare(
    raw: RawImages,
    folder: Path,
    resolution: int,
    autoencoder: Codec | None = None,
    *,
    apart: Path | None = None,
    processes: int = 1,
    report: CountCallback = lambda done, of: None,
    **how: Any,
) -> Manifest:
    """As `prepare.prepare`, and what is held out, too, by this process alone: the manifest of the training images.

    apart: where that goes, by default below the folder.
    """
    aside = held_out_of(raw)
    total = len(raw) + (0 if aside is None else len(aside))
    about, how = (resolution, autoencoder), {key: value for key, value in how.items() if value is not None}
    manifest = prepare_images(raw, folder, *about, processes=processes, report=_of(total, report), **how)
    if aside is not None:
        prepare_images(aside, apart or folder / FOLDER, *about, report=_of(total, report, len(raw)), **how)
    return manifest


def held_out_examples(folder: Path | None) -> tuple[Examples | None, bool]:
    """What is prepared there of held-out images, if anything is, and whether their labels are known."""
    if folder is None or not exists(folder / MANIFEST):
        return None, False
    found = open_prepared(folder)
    plan = found.manifest.plan
    return Examples(found.rows, found.labels, plan.views, plan.moments), bool(plan.class_names)


def _of(total: int, report: CountCallback, before: int = 0) -> CountCallback:
    return lambda done, of: report(before + done, total)


def held_out_of(raw: RawImages) -> RawImages | None:
    """The held-out images, if there are any; those that do not tell their classes, or lack some, without classes."""
    aside = raw.held_out
    if aside is None:
        return None
    told = set(aside.labels.tolist())
    if UNKNOWN not in told and len(told) >= len(aside.class_names):
        return aside
    return replace(aside, labels=np.zeros(len(aside), np.int64), class_names=())
