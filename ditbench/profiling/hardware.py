"""What GPUs could do at most, for the MFU, and hold: dense peaks and memory as the vendors' data sheets state them."""

from __future__ import annotations

import difflib

from ..errors import demand

VERSION = "2026-11.2"  # whoever changes a number below changes this, too: profiles note it

# FLOP/s by torch's name of the device and by precision. Sparsity's doubled figures are not meant. float32 is that of
# the ordinary cores, as torch multiplies matrices unless told otherwise (cuDNN's convolutions may use TF32).
PEAKS: dict[str, dict[str, float]] = {
    "NVIDIA H100 80GB HBM3": {"bfloat16": 989.4e12, "tf32": 494.7e12, "float32": 66.9e12},
    "NVIDIA H200": {"bfloat16": 989.4e12, "tf32": 494.7e12, "float32": 66.9e12},
    "NVIDIA A100-SXM4-40GB": {"bfloat16": 312e12, "tf32": 156e12, "float32": 19.5e12},
    "NVIDIA A100-SXM4-80GB": {"bfloat16": 312e12, "tf32": 156e12, "float32": 19.5e12},
    "NVIDIA A100 80GB PCIe": {"bfloat16": 312e12, "tf32": 156e12, "float32": 19.5e12},
    "NVIDIA L40S": {"bfloat16": 362.05e12, "tf32": 183e12, "float32": 91.6e12},
    "NVIDIA L40": {"bfloat16": 181.05e12, "tf32": 90.5e12, "float32": 90.5e12},
    "NVIDIA A40": {"bfloat16": 149.7e12, "tf32": 74.8e12, "float32": 37.4e12},
    "NVIDIA GeForce RTX 4090": {"bfloat16": 165.2e12, "tf32": 82.6e12, "float32": 82.6e12},
}

# Bytes of memory by torch's name of the device: the gigabytes of its data sheet, read as 10**9 bytes. That is the
# careful reading: drivers show up to 7 % more, of which CUDA's context takes some.
MEMORY: dict[str, float] = {
    "NVIDIA H100 80GB HBM3": 80e9,
    "NVIDIA H200": 141e9,
    "NVIDIA A100-SXM4-40GB": 40e9,
    "NVIDIA A100-SXM4-80GB": 80e9,
    "NVIDIA A100 80GB PCIe": 80e9,
    "NVIDIA L40S": 48e9,
    "NVIDIA L40": 48e9,
    "NVIDIA A40": 48e9,
    "NVIDIA GeForce RTX 4090": 24e9,
}


def near(gpu: str) -> list[str]:
    """The names in the table that a name which is not there may stand for: those with all its words, or alike."""
    words = [word for word in gpu.lower().split() if word != "nvidia"]
    found = [name for name in PEAKS if words and all(word in name.lower() for word in words)]
    return [] if gpu in PEAKS else found or difflib.get_close_matches(gpu, PEAKS, n=1)


def dense_peak(gpu: str | None, precision: str) -> float | None:
    """FLOP/s that the device can't exceed; None if it is not in the table."""
    demand("gpu", gpu, str, type(None))
    demand("precision", precision, str)
    return PEAKS.get(gpu or "", {}).get(precision)
