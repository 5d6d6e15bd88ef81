"""Checks of what happens before the first forward pass: registration, construction, cost, saving."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from ...components import load
from ...denoiser_spec import DenoiserSpec, Space
from ..cost import forward_cost_of_selection
from .subject import Broken, Check, NotHere, Subject, require

HEAVY = ("torch", "diffusers", "sklearn", "pandas", "transformers", "jax", "tensorflow")
_SECONDS = 1.0  # that registering may take, beyond importing ditbench
_PROBE = """
import importlib, os, sys, time
answer = os.dup(1)  # standard output is ours alone, whatever the module prints
os.dup2(2, 1)
import ditbench.registry
start, module = time.perf_counter(), importlib.import_module(sys.argv[1])
module.ditbench_architectures() if hasattr(module, "ditbench_architectures") else None
seconds, heavy = time.perf_counter() - start, set(sys.argv[2:]) & set(sys.modules)
os.write(answer, " ".join([str(seconds), *sorted(heavy)]).encode())
"""

# MACs of the reference in each size class, on the input it is defined for: DiT's, and U-ViT's for H/2.
_DIGITS: tuple[int, int, Space] = (1, 8, "pixel")
_GREY_32: tuple[int, int, Space] = (1, 32, "pixel")
_LATENT: tuple[int, int, Space] = (4, 32, "latent")
SIZE_CLASSES: dict[str, tuple[tuple[int, int, Space], float]] = {
    "nano": (_DIGITS, 7.560e6),
    "nano/4": (_GREY_32, 41.533e6),
    "S/2": (_LATENT, 6.056e9), "B/2": (_LATENT, 23.005e9), "L/2": (_LATENT, 80.698e9), "XL/2": (_LATENT, 118.621e9),
    "S/4": (_LATENT, 1.413e9), "B/4": (_LATENT, 5.565e9), "L/4": (_LATENT, 19.696e9), "XL/4": (_LATENT, 29.044e9),
    "S/8": (_LATENT, 0.358e9), "B/8": (_LATENT, 1.418e9), "L/8": (_LATENT, 5.011e9), "XL/8": (_LATENT, 7.392e9),
    "H/2": (_LATENT, 133.197e9),
}  # fmt: skip
_CAP = 1.15  # times the reference


def _registers_lightly(subject: Subject) -> str:
    if not subject.module:
        raise NotHere("the architecture comes from no installed plugin")
    command = [sys.executable, "-P", "-c", _PROBE, subject.module, *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise Broken((done.stderr.strip().splitlines() or ["it ended without a word"])[-1])
    seconds, *heavy = done.stdout.split()
    require(not heavy, f"it imports {', '.join(heavy)}")
    require(float(seconds) <= _SECONDS, f"{float(seconds):.1f} s")
    return f"{1000 * float(seconds):.0f} ms"


def _builds_on_meta(subject: Subject) -> str:
    with torch.device("meta"):
        denoiser = subject.build()
    real = [name for name, tensor in denoiser.named_parameters() if not tensor.is_meta]
    require(not real, f"{real[:1]} is made on another device")
    return f"{sum(parameter.numel() for parameter in denoiser.parameters()):,} parameters"


def _builds_alone(subject: Subject) -> str:
    load(subject.selection.architecture.build)  # what importing its module reads is not the network's doing
    with _watching() as seen:  # the first build of this process, so nothing is cached yet
        subject.build()
    require(not seen, "; ".join(dict.fromkeys(seen)))
    return "no file, no socket, no process"


_seen: list[str] | None = None
_hooked: list[bool] = []


@contextmanager
def _watching() -> Iterator[list[str]]:
    """Files opened and connections sought meanwhile. An audit hook can't be removed, so there is one for good."""
    global _seen  # noqa: PLW0603  (the hook outlives everything)
    if not _hooked:
        sys.addaudithook(_note)
        _hooked.append(True)
    found: list[str] = []
    _seen = found
    try:
        yield found
    finally:
        _seen = None


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is None:
        return
    if event == "open" and not _imports(*arguments):
        _seen.append(f"it opens {str(arguments[0])!r}")
    elif event.startswith("socket.") and event != "socket.__new__":
        _seen.append(f"it connects ({event})")
    elif event in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.fork"):
        _seen.append(f"it starts a process ({event})")


def _imports(path: object, mode: str | None, flags: int) -> bool:
    """Whether a file is opened as the import system opens modules: to read code, or to cache it compiled."""
    name = str(path)
    writes = bool(flags & (os.O_WRONLY | os.O_RDWR))
    return ".pyc" in Path(name).name if writes else name.endswith((".py", ".pyc", ".so"))


def _state_dict(subject: Subject) -> str:
    denoiser, fresh = subject.build().train(), subject.build()
    with torch.no_grad():
        denoiser(*subject.batch())  # what a forward pass leaves behind has to be saved, too
        expected = denoiser.eval()(*subject.batch())
        saved = safetensors.torch.save({name: t.contiguous().clone() for name, t in denoiser.state_dict().items()})
        for parameter in fresh.parameters():
            parameter.zero_()
        fresh.load_state_dict(safetensors.torch.load(saved), strict=True)
        same = torch.equal(fresh.eval()(*subject.batch()), expected)
    require(same, "a network rebuilt from the state dict gives another output")
    return f"{len(saved):,} bytes"


def _macs(subject: Subject) -> str:
    size, made_for = subject.selection.size, subject.selection.made_for
    if size not in SIZE_CLASSES:
        raise NotHere(f"{size!r} is no size class")
    if subject.selection.architecture.clips:
        raise NotHere(f"it takes clips, and the class {size!r} is defined on images")
    of_class, reference = SIZE_CLASSES[size]
    made_for = made_for or _input(*of_class)
    if (made_for.channels, made_for.resolution, made_for.space) != of_class:
        raise NotHere(f"it was made for {made_for}, and the class {size!r} is defined on another input")
    share = forward_cost_of_selection(subject.selection, made_for).macs_per_image / reference
    require(share <= _CAP, f"{share:.2f} times the reference's")
    return f"{share:.2f} times the reference's"


def _input(channels: int, resolution: int, space: Space) -> DenoiserSpec:
    """A size class's own input: ImageNet's latents with the variance's channels, or ten classes of small images."""
    latent = space == "latent"
    classes = 1000 if latent else 10
    return DenoiserSpec(channels=channels, resolution=resolution, classes=classes, space=space, learn_variance=latent)


CHECKS = (
    Check(
        "registers-lightly",
        f"importing the plugin takes at most {_SECONDS:g} s and imports none of {', '.join(HEAVY[:3])}, ...",
        "the module must be importable; name `build` as 'package.module:name', so that torch is imported on first use",
        _registers_lightly,
        mends_errors=True,
        needs_output=False,
    ),
    Check(
        "builds-alone",
        "building opens no file and no connection, and starts no process",
        "ship weights through `ditbench import`; a network starts from seed and settings alone",
        _builds_alone,
        needs_output=False,
    ),
    Check(
        "builds-on-meta",
        "it is built on torch's meta device, all of it",
        "make tensors without a fixed device, and compute nothing from their values while building",
        _builds_on_meta,
        mends_errors=True,
        needs_output=False,
    ),
    Check(
        "saves-and-loads",
        "its state dict, as safetensors, gives the same network again",
        "keep what the output depends on in parameters or buffers, and share no storage between them",
        _state_dict,
        mends_errors=True,
    ),
    Check(
        "macs-in-class",
        f"at most {_CAP:g} times the MACs of its size class's reference",
        "make the size smaller, or give it a name that is no size class",
        _macs,
        needs_output=False,
    ),
)
