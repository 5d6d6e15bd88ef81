"""What bad inputs are made from: good ones, all small."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
from bad_images import packed, some
from pictures import write_pictures
from records import sound
from safetensors.torch import save_file
from tampering import SUBMISSION, content_of

from ditbench import campaign
from ditbench.datasets.autoencoder import load_autoencoder
from ditbench.datasets.folder import list_folder
from ditbench.datasets.held_out import prepare
from ditbench.denoiser.interface import build_denoiser
from ditbench.metrics.features import load_extractor
from ditbench.metrics.weights import require_weights
from ditbench.registry import Registry


class _Stop(campaign.Silent):
    """Presses Ctrl-C when a run is under way."""

    def progress(self, config: Any, progress: Any) -> None:
        if progress.stage == "train" and progress.step >= 5:
            os.kill(os.getpid(), signal.SIGINT)


_CITATION = "cff-version: 1.2.0\ntitle: T\nversion: 0.1.0\nlicense: Apache-2.0\nauthors: [{name: A}]\n"


def make_world(base: Path) -> None:
    """A finished run and a stopped one, records, weights, samples, moments, pictures, shards and latents."""
    of = {"device": "cpu", "executor": "inline"}
    (record,) = campaign.run("tiny", ["toy"], budget="5-steps", ema_snapshots=1, out=base / "runs", **of)  # type: ignore[arg-type]
    (base / "run").symlink_to(base / "runs" / "tiny" / record.run_id)
    os.link(base / "run" / "ema.safetensors", base / "weights.safetensors")
    with contextlib.suppress(KeyboardInterrupt):
        campaign.run("tiny", ["toy+fault=slow"], budget="40-steps", out=base / "stopped", listener=_Stop(), **of)  # type: ignore[arg-type]
    _write_records(base / "records")
    (base / "CITATION.cff").write_text(_CITATION)
    (base / "evaluator.txt").write_text("Inception Score: 2.5\nFID: 1.25\n")
    (base / "samples.npz").write_bytes(packed(arr_0=some(40)))
    (base / "moments.npz").write_bytes(packed(mu=np.zeros(_width()), sigma=np.eye(_width())))
    save_file(build_denoiser(Registry.installed().architectures["dit"], "nano").state_dict(), base / "dit.safetensors")
    prepare(list_folder(write_pictures(base / "pictures", 4)), base / "shards", 8)
    for split in ("train", "val"):
        write_pictures(base / "split" / split, 2)
    prepare(list_folder(base / "split"), base / "latents", 8, load_autoencoder("", kind="identity"))


def _write_records(folder: Path) -> None:
    (folder / "digits").mkdir(parents=True)
    for seed in (0, 1):
        record = sound(seed=seed, submission=SUBMISSION)
        (folder / "digits" / f"{record.run_id}.json").write_text(json.dumps(content_of(record)))


def _width() -> int:
    extractor = Registry.installed().extractors["digits-cnn"]
    network = load_extractor(extractor, require_weights(extractor, offline=True))
    import torch

    found = network(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    return int((found["features"] if isinstance(found, dict) else found[0]).shape[1])
