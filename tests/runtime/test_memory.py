"""Peak memory against a known allocation, and GPUs that can't be used, by stand-ins."""

import pytest
import torch

from ditbench.errors import BadValue
from ditbench.runtime.memory import capacity, peak_resident, reset_peak, resident

GPU = torch.device("cuda:0")
OLD = "The NVIDIA driver on your system is too old (found version 11040).\nPlease update your GPU driver."


def test_peak_resident_sees_an_allocation():
    before = peak_resident()
    assert before >= resident() * 0.9
    block = torch.ones(max(0, before - resident()) // 4 + 25_000_000)  # 100 MB beyond the peak
    assert peak_resident() - before > 80_000_000
    del block


def test_a_gpu_that_can_not_be_used_is_one_line(monkeypatch):
    def fails(device):
        raise RuntimeError(OLD)

    monkeypatch.setattr(torch.cuda, "mem_get_info", fails)
    with pytest.raises(BadValue) as told:
        capacity(GPU)
    assert str(told.value).startswith("Device 'cuda:0' can't be used: The NVIDIA driver on your system is too old")
    assert str(told.value).endswith("Try `device` cpu.") and "\n" not in str(told.value)


def test_a_gpu_that_others_fill_is_told_before_anything_begins(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**28, 80 * 2**30))
    with pytest.raises(BadValue, match=r"'cuda:0' is full: 79\.8 of 80\.0 GiB are in use; `nvidia-smi` shows by whom"):
        capacity(GPU)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**32, 80 * 2**30))
    assert capacity(GPU) == 80 * 2**30


def test_cuda_is_initialised_before_its_peaks_are_reset(monkeypatch):
    """Before that, torch knows no GPU by its number."""
    seen = []
    for name in ("init", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *device, name=name: seen.append(name))
    reset_peak(GPU)
    assert seen == ["init", "empty_cache", "reset_peak_memory_stats"]
