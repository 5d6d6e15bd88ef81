"""Tests run side by side, so each worker's torch gets one thread: two that use all cores slow each other ten-fold."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch
