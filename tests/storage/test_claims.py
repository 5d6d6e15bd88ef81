"""One writer per directory, also where machines share it: who is believed, who is dead, and that one takes over."""

import errno
import json
import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress

import pytest

from ditbench.errors import DitbenchError, RunBusy
from ditbench.storage import claims
from ditbench.storage.claims import CLAIMS, Claim, Contender, refuse_held, sole_writer, waiting_for

pytestmark = pytest.mark.timeout(120)
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def quick(monkeypatch):
    """Machines that are believed for less than a second."""
    for name, seconds in {"BEAT": 0.05, "STALE": 0.6, "POLL": 0.02}.items():
        monkeypatch.setattr(claims, name, seconds)


@pytest.fixture
def elsewhere(monkeypatch):
    """A function that takes a directory's claim on another machine; it beats from this process."""

    def take(directory):
        with monkeypatch.context() as patch:
            patch.setattr(claims, "machine", lambda: "another machine")
            return Contender(directory / CLAIMS).take()

    return take


def frozen(claim):
    """The claim, which beats no more, as that of a machine without power."""
    claim._released.set()
    time.sleep(2 * claims.BEAT)
    return claim


def hold(folder, ready, machine=None, beat=claims.BEAT, stale=claims.STALE):
    claims.BEAT, claims.STALE = beat, stale
    if machine:
        claims.machine = lambda: machine
    with sole_writer(folder) as claim:
        ready.send(True)
        while not claim.lost:
            time.sleep(0.02)
    ready.send("lost")


def holder(*of):
    """A process that holds a folder, and the end of a pipe that hears of it."""
    inbox, outbox = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=hold, args=(of[0], outbox, *of[1:]), daemon=True)
    process.start()
    assert inbox.poll(30) and inbox.recv()
    return process, inbox


def files(directory):
    return {path.name: path.read_text() for path in (directory / CLAIMS).iterdir()}


def test_the_second_writer_is_told_and_a_claim_dies_with_its_holder(tmp_path):
    process, _ = holder(tmp_path)
    for _ in range(2):
        with pytest.raises(RunBusy, match=rf"written by another .*\(process {process.pid} on "), sole_writer(tmp_path):
            pass
    with pytest.raises(RunBusy):
        refuse_held([tmp_path])
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # still a zombie
    with sole_writer(tmp_path) as claim:
        assert not claim.lost
    process.join()


def test_what_was_released_is_free_and_leaves_one_empty_file(tmp_path):
    (tmp_path / ".lock").touch()  # of an earlier version
    for number in (1, 2, 3):
        with sole_writer(tmp_path):
            assert list(files(tmp_path)) == [str(number)]
            with pytest.raises(RunBusy), sole_writer(tmp_path):
                pass
        assert files(tmp_path) == {str(number): ""}
    with pytest.raises(KeyError), sole_writer(tmp_path):
        raise KeyError
    with sole_writer(tmp_path):
        pass


def test_a_process_of_the_same_number_is_not_the_holder(tmp_path):
    for change, dead in (({"started": "1"}, True), ({"machine": "another boot"}, False), ({}, False)):
        contender = Contender(tmp_path / str(dead) / str(len(change)) / CLAIMS)
        claim = contender.take()
        claim._path.write_text(json.dumps(json.loads(claim._path.read_text()) | change))
        assert (contender.take() is not None) == dead, change
        claim.release()


def test_another_machine_is_believed_while_it_beats(tmp_path, elsewhere, quick):
    with elsewhere(tmp_path), pytest.raises(RunBusy, match="another ditbench command"), sole_writer(tmp_path):
        pass
    with sole_writer(tmp_path):
        pass


def test_another_machine_that_falls_silent_has_lost_its_claim_and_learns_it(tmp_path, elsewhere, quick):
    theirs = frozen(elsewhere(tmp_path))
    theirs.check()
    began = time.monotonic()
    with sole_writer(tmp_path) as claim:
        assert time.monotonic() - began >= claims.STALE
        assert theirs.lost
        with pytest.raises(RunBusy, match=r"is no longer this command's"):
            theirs.check()
        theirs.release()
        assert not claim.lost and files(tmp_path)["2"]
        with pytest.raises(RunBusy), sole_writer(tmp_path):
            pass


def test_a_holder_whose_beats_fail_for_long_counts_itself_as_lost(tmp_path, monkeypatch, quick):
    def away(path, *more):
        raise OSError(errno.EIO, "the storage is away")

    with sole_writer(tmp_path) as claim:
        monkeypatch.setattr(claims.os, "utime", away)
        time.sleep(claims.STALE / 2)
        assert not claim.lost
        time.sleep(claims.STALE)
        assert claim.lost
        monkeypatch.undo()
        claim._beat()
        assert not claim.lost  # nobody took it meanwhile


def test_a_stopped_process_of_another_machine_ends_when_it_goes_on(tmp_path, quick):
    process, inbox = holder(tmp_path, "another machine", 0.05, 0.6)
    os.kill(process.pid, signal.SIGSTOP)
    with sole_writer(tmp_path) as claim:
        os.kill(process.pid, signal.SIGCONT)
        assert inbox.poll(30) and inbox.recv() == "lost"
        process.join()
        assert not claim.lost


def test_who_waits_for_a_silent_one_gets_what_it_releases(tmp_path, elsewhere, monkeypatch):
    monkeypatch.setattr(claims, "POLL", 0.02)
    theirs = frozen_forever = elsewhere(tmp_path)
    threading.Timer(0.2, frozen_forever.release).start()
    with sole_writer(tmp_path) as claim:
        assert claim._path.name == "2" and theirs._released.is_set()


def test_a_pause_between_two_looks_proves_nothing(tmp_path, elsewhere, quick):
    """The storage may have been away, for the holder, too."""
    theirs, contender = frozen(elsewhere(tmp_path)), Contender(tmp_path / CLAIMS)
    assert contender.take() is None
    time.sleep(2 * claims.STALE)
    assert contender.take() is None
    theirs._beat()
    assert contender.take() is None and contender.believed
    assert not theirs.lost


def test_silent_machines_are_waited_for_together(tmp_path, elsewhere, quick):
    for name in "abcdef":
        frozen(elsewhere(tmp_path / name))
    began = time.monotonic()
    refuse_held(tmp_path / name for name in "abcdef")
    assert claims.STALE <= time.monotonic() - began < 3 * claims.STALE


def test_a_number_that_was_free_long_ago_is_void(tmp_path):
    folder = tmp_path / CLAIMS
    for _ in range(3):
        with sole_writer(tmp_path):
            pass
    assert claims._publish(folder, 2) is None
    assert files(tmp_path) == {"3": ""}
    with sole_writer(tmp_path) as claim:
        assert claims._publish(folder, 4) is None
        assert claim._path.name == "4" and files(tmp_path)["4"]


def test_an_answer_that_was_lost_on_the_way_is_no_refusal(tmp_path, monkeypatch):
    link = os.link

    def asked_twice(*of):
        link(*of)
        link(*of)

    monkeypatch.setattr(claims.os, "link", asked_twice)
    with sole_writer(tmp_path) as claim:
        assert not claim.lost


def test_without_hard_links_there_is_one_clear_line(tmp_path, monkeypatch):
    def refuse(*of):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(claims.os, "link", refuse)
    with pytest.raises(DitbenchError, match="has no hard links"), sole_writer(tmp_path):
        pass
    assert files(tmp_path) == {}
    (tmp_path / "file").touch()
    with pytest.raises(DitbenchError, match="can't be written"), sole_writer(tmp_path / "file"):
        pass


def test_waiting_has_an_end(tmp_path):
    with waiting_for(tmp_path, 1.0), pytest.raises(RunBusy, match="Stop it"), waiting_for(tmp_path, 0.1):
        pass


def test_a_fork_neither_beats_nor_releases(tmp_path, quick):
    with sole_writer(tmp_path) as claim:
        before = claim._path.stat().st_mtime_ns
        frozen(claim)
        child = multiprocessing.get_context("fork").Process(target=_leave, args=(claim,))
        child.start()
        child.join()
        assert child.exitcode == 0
        assert claim._path.read_text() and claim._path.stat().st_mtime_ns >= before


def _leave(claim):
    before = claim._path.stat().st_mtime_ns
    time.sleep(claims.STALE + 3 * claims.BEAT)
    assert threading.active_count() == 1 and not claim.lost
    claim.release()
    assert claim._path.stat().st_mtime_ns == before


def _contend(folder, started, rounds, wins, machine=None):
    claims.POLL = 0.002
    if machine:
        claims.BEAT, claims.STALE, claims.machine = 0.05, 3.0, lambda: machine
    for number in range(rounds):
        started.wait()
        with suppress(RunBusy), sole_writer(folder / str(number)):
            wins.put(number)
            started.wait()  # nobody lets go before all have tried
            continue
        started.wait()


def test_of_many_that_find_a_dead_holder_one_takes_over(tmp_path):
    rounds, count = 12, 5
    process, _ = holder(tmp_path / "0")
    process.kill()
    process.join()
    text = next(iter(files(tmp_path / "0").values()))
    for number in range(1, rounds):
        (tmp_path / str(number) / CLAIMS).mkdir(parents=True)
        (tmp_path / str(number) / CLAIMS / "7").write_text(text)
    assert winners(tmp_path, rounds, [None] * count) == list(range(rounds))


def test_of_many_machines_that_find_a_silent_one_one_takes_over(tmp_path, elsewhere, quick):
    frozen(elsewhere(tmp_path / "0"))
    assert winners(tmp_path, 1, ["a", "b", "c", "d"]) == [0]


def winners(folder, rounds, machines):
    """The rounds that were won, once for each who won, of a process per machine."""
    started, wins = SPAWN.Barrier(len(machines)), SPAWN.Queue()
    processes = [SPAWN.Process(target=_contend, args=(folder, started, rounds, wins, each)) for each in machines]
    for process in processes:
        process.start()
    won = [wins.get(timeout=60) for _ in range(rounds)]
    for process in processes:
        process.join()
    assert wins.empty()
    return sorted(won)  # what several processes put into a queue comes out in any order


def _write_in_turn(folder):
    claims.POLL = 0.001
    mark = folder / f"{os.getpid()}.inside"
    while not (folder / "stop").exists():
        with suppress(RunBusy), sole_writer(folder):
            mark.touch()
            others = [int(path.stem) for path in folder.glob("*.inside") if path != mark]
            assert not [other for other in others if claims._start_of(other) not in ("", "ended")], "two are inside"
            with (folder / "turns").open("a") as file:
                file.write(f"{os.getpid()}\n")
            mark.unlink()


def test_never_two_inside_while_holders_are_killed(tmp_path):
    processes = [SPAWN.Process(target=_write_in_turn, args=(tmp_path,)) for _ in range(5)]
    for process in processes:
        process.start()
    turns = tmp_path / "turns"
    for process in processes[:3]:
        while not turns.exists() or str(process.pid) not in turns.read_text().split():
            time.sleep(0.02)
        process.kill()
    killed = len(turns.read_text())
    while len(turns.read_text()) < killed + 200:
        time.sleep(0.02)
    (tmp_path / "stop").touch()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == 3 * [-signal.SIGKILL] + 2 * [0]
    with sole_writer(tmp_path):
        assert len(files(tmp_path)) == 1


def test_a_claim_can_be_told_apart_from_runs_and_locks(tmp_path):
    """What a directory holds of claims is one hidden folder, without temporary names that others sweep."""
    with sole_writer(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [CLAIMS]
    assert isinstance(Contender(tmp_path / CLAIMS).take(), Claim)
