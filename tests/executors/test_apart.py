"""A plugin's network lives in a process of its own: what it does there changes no measurement and no other run."""

import os
import signal
import sys
from multiprocessing import Pipe, get_context
from types import SimpleNamespace

import psutil
import pytest
from test_campaign import run

from ditbench.errors import BadFile, DitbenchError, brief
from ditbench.executors.apart import FILE, Failed, Killed, apart, found_in, outcome_of, pass_on, tell
from ditbench.executors.stopwatch import SLACK, Stopwatch
from ditbench.runtime.progress import Diverged, Interrupted, Progress, Watch

APART = ("checkpoint_seconds", "compile_seconds", "evaluation_seconds", "paused_seconds")
ILL = """
import os, signal, subprocess, sys, threading, time
import ditbench, toy, toy_net

def better(*arguments, **more):
    raise AssertionError("measured by a patched metric")

class Ill(toy_net.Toy):
    def __init__(self, spec, *, harm, **settings):
        super().__init__(spec, **settings)
        self.harm = harm

    def forward(self, x, t, y):
        if self.training and x.device.type != "meta":  # not while it is only looked at
            getattr(self, self.harm)()
            self.harm = "nothing"
        return super().forward(x, t, y)

    def nothing(self):
        pass

    def patch(self):
        from ditbench.benchmark import judge, run
        from ditbench.metrics import quality, scoring
        judge.Judge.measure = scoring.measure_all = quality.measure_all = run.judge = better
        sys.modules["ditbench.executors.jobs"].write_record = better

    def quit(self):
        sys.exit("I quit")

    def exit(self):
        os._exit(0)

    def crash(self):
        os.kill(os.getpid(), signal.SIGSEGV)

    def linger(self):
        threading.Thread(target=time.sleep, args=(600,)).start()
        subprocess.Popen(["sleep", "601.5"])
        subprocess.run("sleep 601.5 &", shell=True)  # whose parent ends first

@ditbench.hookimpl
def ditbench_architectures():
    harm = ditbench.Option(default="nothing", choices=("nothing", "patch", "quit", "exit", "crash", "linger"))
    build = f"{__name__}:Ill"
    return [ditbench.Architecture(name="ill", build=build, sizes={"nano": {"width": 16}}, options={"harm": harm})]
"""


def asleep():
    return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "601.5"]]


@pytest.mark.timeout(120)
def test_what_a_network_does_to_its_process_stays_there(toy, install, tmp_path):
    install("ditbench-ill", "ill", ILL)
    harms = ("nothing", "quit", "exit", "crash", "patch", "linger")
    records = run(tmp_path, *(f"ill+harm={harm}" for harm in harms), budget="5-steps")
    plain, quits, exits, crashes, patched, lingers = records
    assert [(one.status, one.reason) for one in (quits, exits, crashes)] == [
        ("failed", "SystemExit: I quit"),
        ("failed", "its process ended with exit code 0 before its work was done"),
        ("failed", "killed by SIGSEGV"),
    ]
    for one in (patched, lingers):
        assert one.status == "finished" and one.metrics == plain.metrics and one.floors == plain.floors
    assert not asleep()


@pytest.mark.slow  # 20 s; faster: the one above, of a run in one process
@pytest.mark.timeout(120)
def test_what_ranks_have_started_ends_with_them(toy, install, tmp_path):
    install("ditbench-ill", "ill", ILL)
    (record,) = run(tmp_path, "ill+harm=linger", processes=2)
    assert record.status == "finished" and not asleep()


@pytest.mark.parametrize(
    ("error", "raised", "reason"),
    [
        (Diverged("the loss became nan"), Diverged, "the loss became nan"),
        (Interrupted("stopped on request"), Interrupted, "stopped on request"),
        (KeyboardInterrupt(), Interrupted, "stopped by Ctrl-C"),
        (BadFile("no such weights"), BadFile, "no such weights"),
        (DitbenchError("no such thing"), DitbenchError, "no such thing"),
        (ValueError("x" * 10_000), Failed, f"ValueError: {brief('x' * 10_000)}"),
        (SystemExit(0), Failed, "SystemExit: 0"),
    ],
)
def test_how_work_ends_is_told_as_it_was(tmp_path, error, raised, reason):
    def fail():
        raise error

    tell(tmp_path, outcome_of(fail))
    with pytest.raises(raised) as told:
        found_in(tmp_path).taken()
    assert type(told.value) is raised and str(told.value) == reason


@pytest.mark.parametrize(
    ("code", "ending"), [(0, "Failed"), (3, "Failed"), (-signal.SIGKILL, "Killed"), (-signal.SIGABRT, "Failed")]
)
def test_a_process_that_says_nothing_is_told_by_its_end(tmp_path, code, ending):
    assert found_in(tmp_path, code).ending == ending
    with pytest.raises(Killed if ending == "Killed" else Failed):
        found_in(tmp_path, code).taken()


@pytest.mark.parametrize("text", ["", "{", '{"ending": "done", "work": 1}', '{"ending": "SystemExit"}', "[]"])
def test_what_is_no_outcome_is_a_failure(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    outcome = found_in(tmp_path)
    assert outcome.ending == "Failed" and "outcome of a run's work" in outcome.reason


def doubts(passed, stated, apart=0.0, *, steps=100):
    """What is said of so many steps or images in `passed` seconds, for which `stated` seconds are stated."""
    now = [0.0]
    stopwatch = Stopwatch(lambda progress: None, lambda: now[0])
    for stage in ("train", "sample"):
        stopwatch.hear(Progress(stage, 0.0))
        now[0] += passed
        stopwatch.hear(Progress(stage, 1.0, step=steps))
    told = dict.fromkeys(APART, 0.0) | {"checkpoint_seconds": apart}
    trained = SimpleNamespace(seconds=stated, steps=steps, **told)
    sampled = SimpleNamespace(batch_seconds=[stated], batch_images=[steps], decode_seconds=apart)
    return stopwatch.doubt(trained), stopwatch.doubt_sampling(sampled)


def test_a_time_that_is_far_from_what_has_passed_is_told():
    assert doubts(100, 100) == doubts(100, 40) == doubts(100, 1, apart=40) == ("", "")  # much is not counted
    assert doubts(SLACK, 0.01) == ("", "")  # too short to tell
    train, sample = doubts(100, 1)
    assert train.startswith("its process states 1.0 s of training, for which 100.0 s have passed")
    assert sample.startswith("its process states 1.0 s of sampling")
    assert Stopwatch(print, float).doubt(SimpleNamespace(seconds=0.0, steps=0, **dict.fromkeys(APART, 0.0))) == ""


@pytest.mark.parametrize("before", [[], [("sample", 0), ("sample", 100), ("train", 900)]])
def test_samples_are_timed_by_themselves_whatever_was_drawn_before_and_after(before):
    """On the way, of raw weights: of 100 images in each set, only the first after training counts."""
    now = [0.0]
    stopwatch = Stopwatch(lambda progress: None, lambda: now[0])
    for stage, step in (*before, ("sample", 0), ("sample", 50), ("sample", 100), ("sample", 0), ("sample", 100)):
        stopwatch.hear(Progress(stage, step / 1000, step=step))
        now[0] += 100
    stated = SimpleNamespace(batch_seconds=[200.0], batch_images=[100], decode_seconds=0.0)
    assert stopwatch.doubt_sampling(stated) == ""
    stated.batch_seconds = [2.0]
    assert "states 2.0 s of sampling, for which 200.0 s have passed" in stopwatch.doubt_sampling(stated)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # newer Pythons warn of a fork beside threads
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends when it can look again")
def test_work_that_hears_nothing_ends_with_whoever_asked_for_it(tmp_path):
    ours, theirs = Pipe()

    def hang(watch):
        theirs.send(os.getpid())
        os.kill(os.getpid(), signal.SIGSTOP)  # as native code that gives no thread its turn

    watch = Watch(lambda progress: None, lambda: False)
    asking = get_context("fork").Process(target=apart, args=(hang, tmp_path, watch))
    asking.start()
    working = psutil.Process(ours.recv())
    asking.kill()
    asking.join()
    psutil.wait_procs([working], timeout=10)
    assert not working.is_running() or working.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("left", ["NaN", "Infinity", "1e999"])
def test_what_is_no_progress_is_passed_over(left):
    inbox, outbox = Pipe(duplex=False)
    for seconds in (left, "1.0"):
        outbox.send_bytes(f'{{"stage": "train", "done": 0.5, "seconds_left": {seconds}}}'.encode())
    heard = []
    assert pass_on(inbox, heard.append) and [progress.seconds_left for progress in heard] == [1.0]
