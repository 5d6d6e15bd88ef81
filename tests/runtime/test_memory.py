"""Peak memory against a known allocation."""

import torch

from ditbench.runtime.memory import peak_resident, reset_peak, resident


def test_peak_resident_sees_an_allocation():
    before = peak_resident()
    assert before >= resident() * 0.9
    block = torch.ones(max(0, before - resident()) // 4 + 25_000_000)  # 100 MB beyond the peak
    assert peak_resident() - before > 80_000_000
    del block


def test_peaks_are_reset_before_anything_ran_on_a_gpu(monkeypatch):
    """As torch has it: a GPU with a number is none until CUDA is initialised."""
    ready, done = [], []

    def reset(device):
        if not ready:
            raise RuntimeError(f"Invalid device argument {device.index}: did you call init?")
        done.append(device)

    monkeypatch.setattr(torch.cuda, "init", lambda: ready.append(True))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    reset_peak(torch.device("cuda:1"))
    reset_peak(torch.device("cpu"))
    assert done == [torch.device("cuda:1")]
