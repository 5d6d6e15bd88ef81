"""Tests run side by side, so each worker's torch gets one thread: two that use all cores slow each other ten-fold."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores: tests wait a third of the time, for processes of their own."""
    return (os.cpu_count() or 1) + 1
