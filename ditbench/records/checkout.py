"""git, asked about the checkout that a folder lies in, and about no other that our surroundings name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# What points git to a repository, or to a part of one, wherever it is called. Hooks and aliases of git set some.
_ELSEWHERE = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CEILING_DIRECTORIES", "GIT_COMMON_DIR", "GIT_DIR", "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
)  # fmt: skip


def ask_git(folder: Path, *arguments: str, stdin: bytes = b"", seconds: float | None = None) -> bytes:
    """What git prints about the checkout that `folder` lies in.

    Raises `FileNotFoundError` without git, and `subprocess.SubprocessError` if it fails or takes longer.
    """
    ours = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=seconds, check=True, env=ours).stdout
