"""Tests that need a CUDA device: skipped, with the reason, where there is none."""

import pytest
import torch


def pytest_addoption(parser):
    parser.addoption("--needs-gpu", action="store_true", help="fail, and do not skip, without a CUDA device")


def pytest_collection_modifyitems(config, items):
    if torch.cuda.is_available() or config.getoption("--needs-gpu", default=False):
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
