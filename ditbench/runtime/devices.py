"""Whether there can be a GPU at all, told without torch, which takes seconds to load."""

from __future__ import annotations

from pathlib import Path

from ..errors import BadValue

_DRIVERS = ("nvidia*", "kfd", "dxg", "nvhost*", "nvmap")  # in /dev: of NVIDIA, of AMD, in WSL, on Jetson boards


def any_driver(devices: Path = Path("/dev")) -> bool:
    """Whether a GPU has a driver here."""
    return any(any(devices.glob(driver)) for driver in _DRIVERS)


def refuse_absent(device: str, devices: Path = Path("/dev")) -> None:
    """`BadValue` for a GPU that is named where no driver has made one; which ones are there, torch tells later."""
    if device.startswith("cuda") and not any_driver(devices):
        raise BadValue(f"Device {device!r} is not here: no GPU has a driver on this machine. Try `device` cpu.")
