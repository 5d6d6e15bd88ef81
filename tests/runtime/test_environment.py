"""The facts about the machine that stand beside a number."""

import importlib.metadata
import subprocess

import pytest
import torch

from ditbench.runtime import environment
from ditbench.runtime.environment import describe

CPU = torch.device("cpu")


def commit(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_text(text)
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for words in (("init", "-q"), ("add", "."), (*identity, "commit", "-q", "-m", text), ("rev-parse", "HEAD")):
        done = subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """ditbench as it would lie in a checkout of one commit, which it gives."""
    found = commit(tmp_path / "ours", "ours")
    (tmp_path / "ours" / "ditbench" / "runtime").mkdir(parents=True)
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "ours" / "ditbench" / "runtime" / "environment.py"))
    return found


def test_no_repository_but_ours_decides_the_commit(checkout, tmp_path, monkeypatch):
    other = commit(tmp_path / "other", "other")
    assert other != checkout
    for name in ("GIT_DIR", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "other" / ".git" / ("objects" if "OBJECT" in name else "")))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other" / ".git" / "no-index"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path / "ours"))
    found = describe(CPU)
    assert (found.git_commit, found.git_dirty) == (checkout, False)
    (tmp_path / "ours" / "file").write_text("changed")
    assert describe(CPU).git_dirty is True


def test_without_git_there_is_no_commit(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe(CPU).git_commit is None and importlib.metadata.version("ditbench") == describe(CPU).ditbench
