"""The energy of a GPU, as NVML counts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pynvml

Joules = Callable[[], float | None]  # used by the whole GPU since its driver was loaded; None: not told this time


def energy_counter(uuid: str, nvml: Any = pynvml) -> Joules | None:
    """The energy counter of the GPU that torch knows by this UUID; None where NVML gives none.

    By UUID, because NVML numbers the GPUs in its own order and does not heed ``CUDA_VISIBLE_DEVICES``. There is
    no NVML without NVIDIA's driver, and no counter of GPUs before Volta or of slices of a GPU (MIG).
    """
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError:
        return None

    def read() -> float | None:
        try:
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000  # it counts millijoules
        except nvml.NVMLError:
            return None

    return read
