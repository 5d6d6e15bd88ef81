"""What processes inherit: no folder is searched for modules because somebody stands there."""

import os
import sys
from pathlib import Path

import pytest

from ditbench.runtime.inheritance import brief_waits, clean, leave_out


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    return tmp_path


def test_where_we_stand_is_on_the_path_only_by_name(here, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{here}{os.pathsep}")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    before = list(sys.path)
    with clean():
        assert "" not in sys.path and str(here) in sys.path
        assert os.environ["PYTHONPATH"] == str(here) and os.environ["PYTHONSAFEPATH"] == "1"
        assert "NVIDIA_TF32_OVERRIDE" not in os.environ
    assert sys.path == before and os.environ["NVIDIA_TF32_OVERRIDE"] == "1"
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}{here / 'elsewhere'}")
    with clean():
        assert str(here) not in sys.path


def test_what_ray_puts_on_the_path_is_left_out_once(here):
    leave_out(Path(here, "nowhere"))
    sys.path.append(str(here))  # an editable installation's
    del sys.path[0]
    leave_out(here)
    assert sys.path.count(str(here)) == 1 and sys.path[-1] == str(here)


def test_how_threads_wait_is_ours_to_say_unless_the_user_does(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    assert brief_waits() == {"GOMP_SPINCOUNT": "1000"}
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert brief_waits() == {}
