"""The example of a plugin that others own installs from its folder, is seen, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

from environments import make_environment, pip, quiet

from ditbench.testing import check_architecture

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "ditbench-unet"


def plugins(python, cwd):
    """What `ditbench plugins` of an environment shows, by name."""
    found = json.loads(quiet(python, "-m", "ditbench", "plugins", "--json", cwd=cwd))
    return {row["plugin"]: row for row in found}


def test_it_installs_from_its_folder_and_uninstalls(tmp_path):
    fresh = make_environment(tmp_path / "env")
    pip(fresh, "install", EXAMPLE, cwd=tmp_path)
    assert plugins(fresh, tmp_path)["unet"]["distribution"] == "ditbench-unet"
    pip(fresh, "uninstall", "-y", "ditbench-unet", cwd=tmp_path)
    left = plugins(fresh, tmp_path)
    assert "unet" not in left and "dit" in left


def test_its_record_keeps_the_contract(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    from ditbench_unet import ARCHITECTURE

    check_architecture(ARCHITECTURE, skip=["ladder"])  # this, and that it registers lightly, its own tests check
