"""Processes forked from the server that has imported everything: heard together, each with its end, fit for a GPU."""

import os
import signal
import struct
import subprocess
import sys
import time

import pytest

from ditbench.errors import BadValue
from ditbench.executors.jobs import PRELOAD
from ditbench.runtime.processes import Expendable, ended

PROBE = """
import os
from ditbench.executors.jobs import PRELOAD
from ditbench.runtime.processes import answer_of

def serve(outbox, task):
    import torch
    outbox.send(torch.cuda._is_in_bad_fork())

if __name__ == "__main__":
    print("bad fork:", answer_of(serve, None, preload=PRELOAD), os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK"))
"""


@pytest.mark.parametrize("of_the_user", [None, pytest.param("0", marks=pytest.mark.slow)])
def test_importing_does_not_bar_forked_processes_from_cuda(tmp_path, of_the_user):
    (tmp_path / "probe.py").write_text(PROBE)
    # without NVML torch asks CUDA after all; it need not ask either if no device may be seen
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    if of_the_user is not None:
        environment["PYTORCH_NVML_BASED_CUDA_CHECK"] = of_the_user
    command = [sys.executable, "probe.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
    assert done.stdout == f"bad fork: False {of_the_user}\n", done.stdout + done.stderr


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


def test_ctrl_c_while_nothing_is_at_work_is_raised_at_once():
    before = signal.getsignal(signal.SIGINT)
    seen = []
    with pytest.raises(KeyboardInterrupt):
        for worker in ended(Expendable(_serve_ends, how, preload=PRELOAD) for how in ("first", "second")):
            seen += worker.answers
            os.kill(os.getpid(), signal.SIGINT)
            seen.append("never")
    assert seen == ["first"] and signal.getsignal(signal.SIGINT) is before
