"""How many threads a run has on a CPU: a rule of what the run computes, not of the machine that it is on."""

from __future__ import annotations

ONE_THREAD = 10_000_000_000  # training MACs of a step: below it a second thread saves little; see bench_threads.py


def has_one_thread(macs: int | None) -> bool:
    """Whether a run whose step takes so many training MACs has one thread on a CPU; None: nobody could count them.

    It has one on any number of cores, so that its bits and its hash are the same on all of them.
    """
    return macs is not None and macs < ONE_THREAD
