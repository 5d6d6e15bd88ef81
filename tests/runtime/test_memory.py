"""Peak memory against a known allocation."""

import torch

from ditbench.runtime.memory import peak_resident, resident


def test_peak_resident_sees_an_allocation():
    before = peak_resident()
    assert before >= resident() * 0.9
    block = torch.ones(max(0, before - resident()) // 4 + 25_000_000)  # 100 MB beyond the peak
    assert peak_resident() - before > 80_000_000
    del block
