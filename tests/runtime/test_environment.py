"""The facts about the machine that stand beside a number."""

import importlib.metadata
import subprocess

import pytest
import torch

from ditbench.errors import BadValue
from ditbench.runtime import environment
from ditbench.runtime.environment import describe, find_device

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


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("my-arch/ditbench_my_arch/model.py", False),
        ("board/index.html", False),
        ("ditbench/more.py", True),
        ("plugins/dit/ditbench_dit/more.py", True),
    ],
)
def test_a_new_file_counts_where_ditbench_is_installed_from(checkout, tmp_path, path, counts):
    new = tmp_path / "ours" / path
    new.parent.mkdir(parents=True, exist_ok=True)
    new.touch()
    assert describe(CPU).git_dirty is counts


def test_without_git_there_is_no_commit(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe(CPU).git_commit is None and importlib.metadata.version("ditbench") == describe(CPU).ditbench


def test_a_device_must_be_there(monkeypatch):
    """A named one; auto never takes Apple's."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert str(find_device("auto")) == "cuda" and str(find_device("cuda:0")) == "cuda:0"
    with pytest.raises(BadValue, match=r"^Device 'cuda:7' is not here: torch sees cuda:0\. Try `device` cpu\.$"):
        find_device("cuda:7")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert str(find_device("auto")) == "cpu" and str(find_device("mps")) == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name, told in (("cuda", "torch sees no CUDA device"), ("mps", "torch sees no GPU of Apple's")):
        with pytest.raises(BadValue, match=told):
            find_device(name)


def test_apples_gpu_is_a_class_of_hardware_of_its_own(tmp_path, monkeypatch):
    """By the chip's name, as macOS tells it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "sysctl").write_text("#!/bin/sh\necho 'Apple M9 Max'\n")
    (tmp_path / "sysctl").chmod(0o755)
    found = describe(torch.device("mps"))
    assert found.hardware == found.gpu == "Apple M9 Max GPU (MPS)" and found.cuda is found.gpu_driver is None
    (tmp_path / "sysctl").unlink()
    assert describe(torch.device("mps")).gpu.endswith(" GPU (MPS)")
