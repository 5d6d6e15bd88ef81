"""Who may write a directory: claims that hold on shared storage, where a file lock may not (NFS, Lustre, GPFS).

A claim is a file in a folder of claims, named by the next number; a hard link gives each number once, and the highest
counts. Its holder touches it every few seconds. An empty one has been released, one whose file is gone has been lost.
A holder on this machine is looked up among the processes. One on another machine is believed as long as its file
changes under the eyes of whoever wants the claim, so no two clocks are compared.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from ..errors import DitbenchError, RunBusy
from .reading import open_regular

CLAIMS = ".claims"  # the folder of them in a run's directory
BEAT = 5.0  # seconds between two signs of life
STALE = 60.0  # seconds without one after which a holder on another machine has lost its claim
POLL = 0.2  # seconds until a held claim is looked at again
_LONGEST = 2**16  # bytes that are read of a claim
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_GONE = (errno.ENOENT, errno.ESTALE)  # ESTALE: NFS's word for a file that another machine has removed


@contextmanager
def sole_writer(directory: Path) -> Iterator[Claim]:
    """Hold the directory, or raise `RunBusy`: at once, or when a holder on another machine has given a sign of life.

    A holder of this machine that was killed holds nothing; one of another is waited for, until it counts as dead.
    """
    contender = Contender(directory / CLAIMS)
    while (claim := _take(directory, contender)) is None:
        time.sleep(POLL)
    with claim:
        yield claim


def refuse_held(directories: Iterable[Path]) -> None:
    """`RunBusy` if one of them is being written. Those that dead holders left are waited for together."""
    left = [(directory, Contender(directory / CLAIMS)) for directory in directories]
    while left := [one for one in left if not _could_have(*one)]:
        time.sleep(POLL)


def _could_have(directory: Path, contender: Contender) -> bool:
    claim = _take(directory, contender)
    if claim is not None:
        claim.release()
    return claim is not None


def _take(directory: Path, contender: Contender) -> Claim | None:
    """The directory's claim, None if its holder must be watched for longer; `RunBusy` if that one is alive."""
    try:
        claim = contender.take()
    except OSError as error:
        raise DitbenchError(f"The run directory {str(directory)!r} can't be written ({error.strerror}).") from None
    if claim is None and contender.believed:
        raise RunBusy(
            f"The run directory {str(directory)!r} is being written by another ditbench command "
            f"({contender.holder}). Wait for it, stop it, or choose another folder with `out`."
        )
    return claim


@contextmanager
def waiting_for(folder: Path, patience: float) -> Iterator[Claim]:
    """Hold the folder's claim once it is free; `RunBusy` after `patience` seconds. Raises `OSError`."""
    contender, until = Contender(folder), time.monotonic() + patience
    while (claim := contender.take()) is None:
        if time.monotonic() > until:
            raise RunBusy(f"{contender.holder} has held {str(folder)!r} for {patience:.0f} s. Stop it.")
        time.sleep(POLL)
    with claim:
        yield claim


class Claim:
    """A claim that is held, and beats until it is released. A forked process neither beats nor releases it."""

    def __init__(self, path: Path) -> None:
        self._path, self._process = path, os.getpid()
        self._beaten, self._gone, self._released = _now(), False, threading.Event()
        threading.Thread(target=self._keep_beating, daemon=True).start()

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    @property
    def lost(self) -> bool:
        """Whether another may have it, for no sign of life was given for so long. A forked process can't tell."""
        if os.getpid() != self._process:
            return False
        if _now() - self._beaten > 2 * BEAT:  # this process was frozen, or the storage was away
            self._beat()
        return self._gone or _now() - self._beaten > STALE

    def check(self) -> None:
        """`RunBusy` if it is lost."""
        if self.lost:
            raise RunBusy(
                f"{str(self._path.parent.parent)!r} is no longer this command's: its claim is gone, as after "
                f"{STALE:.0f} s without a sign of life. Another command may write there now."
            )

    def release(self) -> None:
        """Let the next one have it. The number stays taken."""
        self._released.set()
        if os.getpid() == self._process:
            with suppress(OSError):  # it is gone, or the storage is: then its beats end, and that says the same
                os.truncate(self._path, 0)

    def _keep_beating(self) -> None:
        while not self._gone and not self._released.wait(BEAT):
            self._beat()

    def _beat(self) -> None:
        try:
            os.utime(self._path)
        except OSError as error:  # of other errors only their duration tells
            self._gone = self._gone or error.errno in _GONE
        else:
            self._beaten = _now()


class Contender:
    """Who wants the claim of a folder. `take` never waits, but remembers what it saw the last time."""

    def __init__(self, folder: Path) -> None:
        self.believed = False  # the holder was alive when last looked at, or has given a sign of life since
        self.holder = "another process"
        self._folder = folder
        self._seen: _Seen | None = None
        self._looked = self._quiet = 0.0  # when; and seconds without a sign of life

    def take(self) -> Claim | None:
        """The claim, if it is free or its holder dead. Raises `OSError`, and `DitbenchError` without hard links."""
        self._folder.mkdir(parents=True, exist_ok=True)
        number = _newest(self._folder)
        if number and not self._is_free(self._folder / str(number)):
            return None
        return _publish(self._folder, number + 1)

    def _is_free(self, path: Path) -> bool:
        seen = _look(path)
        if seen is None:  # a newer one has come
            return False
        if not seen.text:
            return True
        holder = _Holder.read(seen.text)
        self.holder = f"process {holder.process} on {holder.host}"
        if holder.is_of_this_machine:
            self.believed = holder.runs
            return not self.believed
        return self._has_fallen_silent(seen)

    def _has_fallen_silent(self, seen: _Seen) -> bool:
        """Whether a holder on another machine was looked at for long enough without a sign of life.

        A long pause between two looks counts as a short one: the storage may have been away for both sides.
        """
        before, self._seen = self._seen, seen
        pause, self._looked = time.monotonic() - self._looked, time.monotonic()
        if before is None or before.text != seen.text:
            self.believed, self._quiet = False, 0.0
        elif before.beat != seen.beat:
            self.believed, self._quiet = True, 0.0
        else:
            self._quiet += min(pause, BEAT)
        return self._quiet >= STALE


@dataclass(frozen=True)
class _Seen:
    text: str
    beat: int  # when it was touched, by whatever clock


@dataclass(frozen=True)
class _Holder:
    process: int
    started: str  # when, in the system's words
    machine: str
    host: str
    token: str

    @classmethod
    def here(cls) -> _Holder:
        return cls(os.getpid(), _start_of(os.getpid()), machine(), platform.node(), secrets.token_hex(8))

    @classmethod
    def read(cls, text: str) -> _Holder:
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError):  # whoever wrote it, it is believed as long as it changes
            return cls(0, "", "", "unknown", "")

    @property
    def is_of_this_machine(self) -> bool:
        return bool(self.machine) and self.machine == machine()

    @property
    def runs(self) -> bool:
        """Whether that very process is there, not another one of its number. What can't be seen is believed."""
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # somebody else's
            pass
        return _start_of(self.process) in (self.started, "")


def machine() -> str:
    """What all processes have in common that know each other by number; empty if that can't be told.

    A name is not enough, for containers may share it, nor is the boot, for they share that, too.
    """
    if sys.platform != "linux":
        return f"{platform.node()} {uuid.getnode():x}"
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{platform.node()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _start_of(process: int) -> str:
    """When a process started, "ended" if it has, or nothing if that can't be seen.

    On Linux in ticks since the boot: psutil's answer moves when the clock is set.
    """
    try:
        if sys.platform != "linux":
            return str(psutil.Process(process).create_time())
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (OSError, psutil.Error):
        return ""
    return "ended" if fields[0] in "ZX" else fields[19]  # a zombie is still listed


def _publish(folder: Path, number: int) -> Claim | None:
    """Give out a number. A claim is written before it has its name, so that it is never seen half."""
    mine, new, text = folder / str(number), folder / f"new-{secrets.token_hex(8)}", json.dumps(asdict(_Holder.here()))
    try:
        new.write_text(text, encoding="utf-8")
        _link(new, mine)
    finally:
        new.unlink(missing_ok=True)
    if (seen := _look(mine)) is None or seen.text != text:
        return None
    if _newest(folder) != number:  # what was free when this began is long past
        mine.unlink(missing_ok=True)
        return None
    for path in folder.iterdir():  # whoever held an older one learns of it so
        if not path.name.isdecimal() or int(path.name) < number:
            path.unlink(missing_ok=True)
    return Claim(mine)


def _link(new: Path, mine: Path) -> None:
    """Link it, if the name is free. Who has the name shows when it is read: NFS may lose an answer and ask again."""
    try:
        os.link(new, mine)
    except (FileExistsError, FileNotFoundError):  # not found: the winner has tidied up
        pass
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise DitbenchError(
            f"The file system of {str(mine.parent)!r} has no hard links, by which ditbench keeps two commands apart. "
            "Choose another folder."
        ) from None


def _newest(folder: Path) -> int:
    """The highest number that was given out, or 0."""
    return max((int(path.name) for path in folder.iterdir() if path.name.isdecimal()), default=0)


def _look(path: Path) -> _Seen | None:
    """A claim as it is on the server: NFS asks for that when a file is opened, not when it is stat'ed."""
    try:
        with open_regular(path) as file:
            text = file.read(_LONGEST).decode("utf-8", errors="replace")
            return _Seen(text, os.fstat(file.fileno()).st_mtime_ns)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise


def _now() -> float:
    """Seconds; those that the machine slept through count, where the system can tell."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
