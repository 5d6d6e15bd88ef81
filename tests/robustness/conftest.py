"""The bad inputs' world, made once; and the counts, told at the end."""

import resource

import pytest
from world import make_world

COUNTS = pytest.StashKey[list[str]]()
_ROOM = 24 * 2**30  # bytes that a case may address beyond which it fails, instead of the machine
_LARGEST = 2**31  # bytes of a file that a case may write


def pytest_configure(config):
    config.stash[COUNTS] = []


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash[COUNTS]:
        terminalreporter.write_line(line)


@pytest.fixture
def tell(request):
    """A function whose lines stand at the end of the session."""
    return request.config.stash[COUNTS].append


@pytest.fixture
def limits():
    """No case takes the machine's memory or disk."""
    before = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE)}
    for kind, most in zip(before, (_ROOM, _LARGEST), strict=True):
        resource.setrlimit(kind, (most, before[kind][1]))
    yield
    for kind, old in before.items():
        resource.setrlimit(kind, old)


@pytest.fixture
def world(toy, tmp_path, limits):
    """Good files."""
    base = tmp_path / "world"
    base.mkdir()
    make_world(base)
    return base
