"""An exported folder is tried before it is put in its place: it must give ditbench's own bytes without ditbench."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from ..errors import BadFile, BadValue, brief, one_line
from ..sampling.generate import generate
from ..storage.files import temporary_folder
from .subject import CPU, Subject

IMAGES, STEPS = 2, 4  # enough to tell whether the code is all there, and few enough for a large network on a CPU

# Draws images of a folder, where the packages that it must do without can't be imported, and tells their hash.
SCRIPT = """
import hashlib, json, sys

folder, images, asked, packages = json.loads(sys.argv[1])


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
import torch
from diffusers import DiffusionPipeline

torch.set_num_threads(1)
pipeline = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True, local_files_only=True)
pipeline.set_progress_bar_config(disable=True)
drawn = pipeline(images, output_type="np", **asked).images
sys.stdout.write("sha256 " + hashlib.sha256(drawn.tobytes()).hexdigest())
"""


def check(folder: Path, subject: Subject) -> None:
    """`DitbenchError` unless a folder gives the images of its subject, in a process without ditbench and its plugin."""
    steps = min(max(STEPS, subject.sampler.min_steps), subject.config.track.sampler.steps)
    without = {"ditbench", *subject.packages}
    theirs = drawn_by(folder, IMAGES, without, num_inference_steps=steps, batch_size=IMAGES)
    ours = _own(subject, steps)
    if theirs != ours:
        raise BadFile(
            f"The exported {subject.name} draws other images than ditbench does, with one thread each; its network may "
            "not compute the same each time. `ditbench check` looks at it."
        )


def drawn_by(folder: Path, images: int, without: set[str], **asked: int) -> str:
    """sha256 of the first images, uint8 (N, H, W, C), that a folder gives to a process without these packages.

    asked: more of the pipeline's arguments. Raises `BadValue` with the last that the process said if it gives none.
    """
    with temporary_folder() as cache:
        argument = json.dumps([str(folder.absolute()), images, asked, sorted(without)])
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, argument],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
        )
    word, _, found = done.stdout.strip().rpartition("\n")[2].partition(" ")
    if done.returncode or word != "sha256":
        why = brief(one_line(done.stderr.strip().rpartition("\n")[2]), 500)
        raise BadValue(f"The exported folder gives no images without ditbench: {why or 'it says nothing'}.")
    return found


def _own(subject: Subject, steps: int) -> str:
    torch.set_num_threads(1)
    (batch,) = generate(subject.network, subject.spec, subject.plan(steps), range(IMAGES), IMAGES, CPU)
    return hashlib.sha256(np.ascontiguousarray(np.moveaxis(batch.pixels, -3, -1)).tobytes()).hexdigest()
