"""The example of a plugin that others own installs from its folder, is seen, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from ditbench.testing import check_architecture

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "ditbench-unet"


@pytest.fixture
def fresh(tmp_path):
    """The python of a new environment that sees this one's libraries, which are too large to install again."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    here = sysconfig.get_path("purelib")
    (site,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    (site / "here.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return python


def quiet(*command, cwd):
    """The stdout of a command that must succeed."""
    done = subprocess.run([str(part) for part in command], check=False, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def plugins(python, cwd):
    """What `ditbench plugins` of an environment shows, by name."""
    found = json.loads(quiet(python, "-m", "ditbench.cli", "plugins", "--json", cwd=cwd))
    return {row["plugin"]: row for row in found}


def test_it_installs_from_its_folder_and_uninstalls(fresh, tmp_path):
    pip = [fresh, "-m", "pip", "--disable-pip-version-check", "-q"]
    # no index: hatchling and all that it depends on are in this environment
    quiet(*pip, "install", "--no-index", "--no-deps", "--no-build-isolation", EXAMPLE, cwd=tmp_path)
    assert plugins(fresh, tmp_path)["unet"]["distribution"] == "ditbench-unet"
    quiet(*pip, "uninstall", "-y", "ditbench-unet", cwd=tmp_path)
    left = plugins(fresh, tmp_path)
    assert "unet" not in left and "dit" in left


def test_its_record_keeps_the_contract(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    from ditbench_unet import ARCHITECTURE

    check_architecture(ARCHITECTURE)  # that it registers lightly takes a process: the plugin's own tests do it
