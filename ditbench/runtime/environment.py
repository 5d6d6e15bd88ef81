"""The machine: the device that a user names, and the facts that a reader needs beside a number."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import psutil
import torch

from ..discovery import version, version_or_none
from ..errors import BadValue
from ..records.checkout import ask_git
from ..records.facts import Environment
from .affinity import processors

_SOURCES = (":/ditbench", ":/plugins")  # what a checkout is installed from


def find_device(name: str) -> torch.device:
    """``auto`` is the first GPU of CUDA if there is one, else the CPU; a named device must exist."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        there = ", ".join(f"cuda:{number}" for number in range(torch.cuda.device_count())) or "no CUDA device"
        raise BadValue(f"Device {name!r} is not here: torch sees {there}. Try `device` cpu.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise BadValue(f"Device {name!r} is not here: torch sees no GPU of Apple's. Try `device` cpu.")
    return device


def describe(device: torch.device) -> Environment:
    """The environment of a run on `device`, with all threads of this process. No host name, no user name, no path."""
    on_gpu = device.type == "cuda"
    return Environment(
        ditbench=version("ditbench"),
        git_commit=_git("rev-parse", "HEAD"),
        git_dirty=_dirty(),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        torch=torch.__version__,
        diffusers=version("diffusers"),
        torchmetrics=version_or_none("torchmetrics"),
        torch_fidelity=version("torch-fidelity"),
        scikit_learn=version("scikit-learn"),
        numpy=version("numpy"),
        torchvision=version("torchvision"),
        pillow=version("pillow"),
        timm=version_or_none("timm"),
        cuda=torch.version.cuda if on_gpu else None,
        gpu=torch.cuda.get_device_name(device) if on_gpu else _apple_gpu() if device.type == "mps" else None,
        gpu_driver=_driver() if on_gpu else None,
        cpu=_cpu_model(),
        cores=len(processors()),
        threads=torch.get_num_threads(),
        memory_bytes=psutil.virtual_memory().total,
    )


def _dirty() -> bool | None:
    """Whether what ran may be another than the commit's: a tracked file has changed, or code or data were added.

    A new file elsewhere is no part of ditbench: a plugin of somebody's, which has a hash of its own, a page, results.
    """
    changed = _git("status", "--porcelain", "--untracked-files=no")
    added = _git("ls-files", "--others", "--exclude-standard", *_SOURCES)
    return None if changed is None or added is None else bool(changed or added)


def _git(*arguments: str) -> str | None:
    """git's answer about the checkout that this code runs from; None when it runs from no checkout."""
    source = Path(__file__).resolve().parents[1]
    if not (source.parent / ".git").exists():
        return None
    try:
        return ask_git(source, *arguments, seconds=30).decode().strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.splitlines()[0] if answer else None


def _apple_gpu() -> str:
    """The chip, which has the GPU, and how torch computes on it."""
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        chip = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        chip = platform.machine()
    return f"{chip or 'Apple'} GPU (MPS)"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
