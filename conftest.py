"""Tests run side by side, so torch gets one thread: two that use all cores slow each other ten-fold.

By themselves (``-n 0``), too: commands run in the tests' own process, and what these fork would wait for its threads.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch
