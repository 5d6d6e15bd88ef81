"""Processes forked from the server that has imported everything: heard together, each with its end, fit for a GPU."""

import multiprocessing.forkserver
import os
import signal
import struct
import subprocess
import sys
import time

import pytest

from ditbench.errors import BadValue, DitbenchError
from ditbench.executors.jobs import PRELOAD
from ditbench.runtime.processes import ENDINGS, Expendable, answer_of, ended

SERVING = """
import sys
def serve(outbox, task):
    import torch
    outbox.send((torch.cuda._is_in_bad_fork(), sys.path))
"""
PROBE = """
import os, sys
from serving import serve
from ditbench.executors.jobs import PRELOAD
from ditbench.runtime.processes import answer_of

bad, path = answer_of(serve, None, preload=PRELOAD)
print("bad fork:", bad, os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK"), "here on the path:", os.getcwd() in path)
"""


@pytest.mark.parametrize("of_the_user", [None, pytest.param("0", marks=pytest.mark.slow)])
def test_importing_does_not_bar_forked_processes_from_cuda(tmp_path, of_the_user):
    """Nor does what lies beside the script take a library's place; and the script, without a guard, runs but once."""
    for folder, name, text in (("here", "probe", PROBE), ("there", "serving", SERVING), ("here", "profile", "1 / 0")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.py").write_text(text)
    # without NVML torch asks CUDA after all; it need not ask either if no device may be seen
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": f"{tmp_path / 'there'}:"}
    environment.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    if of_the_user is not None:
        environment["PYTORCH_NVML_BASED_CUDA_CHECK"] = of_the_user
    command = [sys.executable, "probe.py"]
    done = subprocess.run(command, cwd=tmp_path / "here", env=environment, check=False, capture_output=True, text=True)
    assert done.stdout == f"bad fork: False {of_the_user} here on the path: False\n", done.stdout + done.stderr


def _serve_meeting(outbox, task):
    """Come, and answer when the other has come, too."""
    folder, me, other = task
    (folder / me).touch()
    while not (folder / other).exists():
        time.sleep(0.01)
    outbox.send(f"{me} met {other}")


@pytest.mark.timeout(60)
def test_several_are_at_work_at_the_same_time(tmp_path):
    pairs = [("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")]  # one after the other, they would wait for ever
    asked = []

    def workers():
        for me, other in pairs:
            asked.append(me)
            yield Expendable(_serve_meeting, (tmp_path, me, other), preload=PRELOAD)

    answers = []
    for worker in ended(workers(), at_once=2):
        answers += worker.answers
        assert len(asked) - len(answers) < 2  # the next is begun when this one has been seen to
    assert sorted(answers) == [f"{me} met {other}" for me, other in pairs]


def _serve_ends(outbox, how):
    if how == "refused":
        outbox.send(BadValue("no such thing"))
    elif how == "killed in the middle of a word":
        os.write(outbox.fileno(), struct.pack("!i", 100) + b"the first bytes")
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "broken":
        os._exit(3)
    else:
        outbox.send(how)


def test_an_end_is_its_processes_alone():
    ends = ["refused", "killed in the middle of a word", "broken", "well"]
    asked = (Expendable(_serve_ends, how, preload=PRELOAD) for how in ends)
    workers = {worker.task: worker for worker in ended(asked, at_once=4)}
    assert {how: workers[how].how_it_ended for how in ends[1:3]} == {
        "killed in the middle of a word": "killed by SIGKILL",
        "broken": "its process ended with exit code 3",
    }
    assert str(workers["refused"].fault) == "no such thing" and workers["well"].fault is None
    assert [workers[how].answers for how in ends] == [[], [], [], ["well"]]


def _serve_raising(outbox, task):
    raise ZeroDivisionError


def test_a_death_is_one_line_and_a_bug_keeps_its_traceback():
    with pytest.raises(
        DitbenchError, match=r"has died: its process ended with exit code 3\. `ditbench plugins doctor`"
    ):
        answer_of(_serve_ends, "broken", preload=PRELOAD)
    with pytest.raises(DitbenchError, match=r"has died: killed by SIGKILL\. The system may have run out of memory"):
        answer_of(_serve_ends, "killed in the middle of a word", preload=PRELOAD)
    with pytest.raises(RuntimeError, match="whose traceback stands above"):
        answer_of(_serve_raising, None, preload=PRELOAD)


@pytest.mark.parametrize("threads", ["abc", "0", "-2", "2.5"])
def test_a_number_of_threads_that_is_none_is_refused(monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    with pytest.raises(BadValue, match=f"OMP_NUM_THREADS is '{threads}': give a number of threads"):
        answer_of(_serve_ends, "well", preload=PRELOAD)


def test_no_temporary_folder_is_one_line(monkeypatch):
    def no_room():
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(multiprocessing.forkserver, "ensure_running", no_room)
    with pytest.raises(DitbenchError, match=r"no temporary folder to work in: AF_UNIX path too long\. .* by TMPDIR"):
        answer_of(_serve_ends, "well", preload=PRELOAD)


def test_the_server_outlives_the_signals_that_end_a_command():
    answer_of(_serve_ends, "well", preload=PRELOAD)
    server = multiprocessing.forkserver._forkserver._forkserver_pid
    for wish in ENDINGS:
        os.kill(server, wish)
    assert answer_of(_serve_ends, "well", preload=PRELOAD) == "well"
    assert multiprocessing.forkserver._forkserver._forkserver_pid == server


def test_ctrl_c_while_nothing_is_at_work_is_raised_at_once():
    before = signal.getsignal(signal.SIGINT)
    seen = []
    with pytest.raises(KeyboardInterrupt):
        for worker in ended(Expendable(_serve_ends, how, preload=PRELOAD) for how in ("first", "second")):
            seen += worker.answers
            os.kill(os.getpid(), signal.SIGINT)
            seen.append("never")
    assert seen == ["first"] and signal.getsignal(signal.SIGINT) is before


def test_one_that_has_just_gone_needs_no_stopping(monkeypatch):
    """Its end may not have been told yet: it is asked again once a second, and a kill takes a moment."""
    (worker,) = ended([Expendable(_serve_ends, "well", preload=PRELOAD)])
    monkeypatch.setattr(worker._process, "is_alive", lambda: True)
    worker.stop(1)
