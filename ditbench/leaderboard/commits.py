"""Records as a commit of their repository has them."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ..errors import BadFile, BadValue
from ..records.checkout import ask_git
from ..storage.files import make_folder, temporary_folder, writing


@contextmanager
def folder_at(ref: str, folder: Path) -> Iterator[Path]:
    """A temporary folder with the JSON files below `folder` as a commit had them.

    `BadValue` if there is no git, no repository or no such commit. A `BadFile` that is raised meanwhile names the
    commit instead of the temporary folder.
    """
    if not ref or ref.startswith("-"):  # git would take it for an option
        raise BadValue(f"{ref!r} names no commit.")
    commit = _git(folder, f"find the commit {ref!r}", "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    with temporary_folder() as there:
        for path, content in _files_at(commit.decode().strip(), folder):
            target = there / path
            make_folder(target.parent)
            with writing(target):
                target.write_bytes(content)
        try:
            yield there
        except BadFile as error:
            raise BadFile(str(error).replace(str(there), f"{ref}:{folder.as_posix()}")) from None


def _files_at(commit: str, folder: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The JSON files below a folder in a commit, by their paths from there."""
    listed = _git(folder, "list the records", "ls-tree", "-r", "-z", commit, "--", ".")
    entries = [entry.split("\t", 1) for entry in os.fsdecode(listed).split("\0") if entry.endswith(".json")]
    wanted = "".join(f"{facts.split()[2]}\n" for facts, _ in entries).encode()
    blobs = io.BytesIO(_git(folder, "read the records", "cat-file", "--batch", stdin=wanted))
    for _, path in entries:
        size = int(blobs.readline().split()[-1])
        content = blobs.read(size)
        blobs.readline()  # the line's end after it
        if ".." in PurePosixPath(path).parts:
            raise BadFile(f"The commit has a file {path!r}, which leads out of its folder.")
        yield PurePosixPath(path), content


def _git(folder: Path, purpose: str, *arguments: str, stdin: bytes = b"") -> bytes:
    try:
        return ask_git(folder, *arguments, stdin=stdin)
    except FileNotFoundError:
        raise BadValue(f"git is not installed, so it can't {purpose}.") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().partition("\n")[0]
        hint = said or "a shallow clone may lack it; git fetch gets it"
        raise BadValue(f"git can't {purpose} in {str(folder)!r}: {hint}.") from None
