"""The acceptance run, with a stand-in for every step: what is kept, when, and what stops what."""

import json
import re
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from gpu import acceptance, rates, ready
from gpu.acceptance import STEPS, Step, chosen, run_steps
from gpu.conftest import pytest_collection_modifyitems
from gpu.same_curve import main as same_curve

from ditbench.runtime import compiling

WRITE = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.parent.mkdir(exist_ok=True); p.write_text(sys.argv[2])"


def python(code, *words):
    return (sys.executable, "-S", "-c", code, *words)


def writes(name):
    return python(WRITE, f"{{work}}/{name}/record.json", name)


def lines(out):
    return [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]


def archive(out):
    with tarfile.open(out / "records.tar.gz") as found:
        return {name: found.extractfile(name).read().decode() for name in found.getnames()}


def test_each_step_leaves_its_result_at_once(tmp_path):
    """Also when those after it fail, are unknown to the machine, or never come."""
    out, work = tmp_path / "out", tmp_path / "work"
    stand_ins = [replace(step, commands=(writes(step.name),)) for step in STEPS]
    seen = (out / "steps.jsonl", out / "records.tar.gz", out / "log.txt")
    looks = python("import sys; sys.exit(not all(map(__import__('os').path.exists, sys.argv[1:])))", *map(str, seen))
    stand_ins[1] = replace(stand_ins[1], commands=(looks, writes("ceilings")))
    stand_ins[2] = replace(stand_ins[2], commands=(python("print('said'); raise SystemExit(3)"), writes("tests")))
    stand_ins[3] = replace(stand_ins[3], commands=(("no-such-program",),))
    assert not run_steps(stand_ins, out, work)
    assert [line["step"] for line in lines(out)] == [step.name for step in STEPS]
    assert [line["codes"] for line in lines(out)[:5]] == [[0], [0, 0], [3, 0], [127], [0]]
    assert [line["result"] for line in lines(out)[:5]] == ["done", "done", "failed", "failed", "done"]
    assert archive(out)["killed/record.json"] == "killed" and "no-such-program" in (out / "log.txt").read_text()
    assert sorted(path.name for path in out.iterdir()) == ["log.txt", "records.tar.gz", "steps.jsonl"]


def test_a_step_is_ended_at_its_limit_with_all_that_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(acceptance, "GRACE", 0.2)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(99)"
    starts = (
        "import subprocess, sys, time; "
        f"print(subprocess.Popen([sys.executable, '-S', '-c', {deaf!r}]).pid, flush=True); time.sleep(99)"
    )
    slow = Step("slow", 0.5, (python(starts), writes("never")))
    assert not run_steps([slow, Step("next", 9, (writes("next"),))], tmp_path / "out", tmp_path / "work")
    assert [line["result"] for line in lines(tmp_path / "out")] == ["out of time", "done"]
    pid, *_ = (tmp_path / "work" / "slow.log.txt").read_text().split()
    until = time.monotonic() + 5
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not alive(pid) and set(archive(tmp_path / "out")) == {"slow.log.txt", "next.log.txt", "next/record.json"}


def alive(pid):
    """Not gone, and no zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_later_call_goes_on(tmp_path):
    """On another machine, too, which has the folder OUT and no other."""
    first, second = Step("one", 9, (writes("one"),)), Step("two", 9, (writes("two"),))
    assert run_steps([first], tmp_path / "out", tmp_path / "here")
    assert run_steps([second], tmp_path / "out", tmp_path / "there")
    assert [line["step"] for line in lines(tmp_path / "out")] == ["one", "two"]
    assert {"one/record.json", "two/record.json"} <= archive(tmp_path / "out").keys()
    assert not run_steps([first], tmp_path / "out", tmp_path / "there", total=0.5)
    assert lines(tmp_path / "out")[-1]["result"] == "no time left"


def test_the_archive_has_records_and_stays_small(tmp_path, monkeypatch):
    monkeypatch.setattr(acceptance, "LARGEST", 10_000)
    work = tmp_path / "work"
    for name, size in (("a/record.json", 10), ("a/ema.safetensors", 10), ("a/checkpoint-1/facts.json", 10),
                       ("a/.b/c.json", 10), ("large.json", 20_000)):  # fmt: skip
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("x" * size)
    assert run_steps([Step("one", 9, (python("pass"),))], tmp_path / "out", work)
    assert set(archive(tmp_path / "out")) == {"one.log.txt", "a/record.json"}
    assert lines(tmp_path / "out")[0]["left_out"] == ["large.json"]


def test_the_default_steps_fit_eight_minutes_and_name_commands_that_there_are(ditbench, tmp_path):
    default = chosen("")
    assert sum(step.seconds for step in default) <= acceptance.TOTAL == 480
    assert [step.name for step in chosen("same,machine")] == ["machine", "same"]
    with pytest.raises(SystemExit, match=r"There is no step 'all'\. Known: machine, ceilings"):
        chosen("all")
    for step in STEPS:
        for command in step.commands:
            words = [word.format(work=tmp_path, fashion=tmp_path) for word in command]
            for script in (word for word in words if word.endswith(".py")):
                assert Path(script).is_file()
            if "profile" in words or "run" in words:  # every option is known: help ends what would else begin
                at = words.index("ditbench") + 1
                assert "Usage" in ditbench(*words[at:], "--help")
                assert {word for word in words[at:] if word.startswith("--")} <= options(ditbench, words[at])


def options(ditbench, command):
    import typer.main

    from ditbench.cli import app

    found = typer.main.get_command(app).commands[command]
    return {name for parameter in found.params for name in parameter.opts}


def test_what_is_missing_is_told_at_once(tmp_path, monkeypatch):
    """Before a step begins: a GPU, and, where a step reads them, the files of Fashion-MNIST."""
    asked = python("import sys; sys.exit('\\nWarning\\nwith ' + repr(sys.argv[1:]))")
    monkeypatch.setattr(acceptance, "READY", asked)
    monkeypatch.chdir(tmp_path)
    for only, fashion in (("fashion32,same", [str(tmp_path / "f")]), ("same", [])):
        with pytest.raises(SystemExit, match=re.escape(f"Nothing is measured: with {fashion}")):
            acceptance.main(["out", "--only", only, "--fashion", "f"])
    assert not list(tmp_path.iterdir())


def test_without_cuda_or_with_no_data_nothing_is_ready(tmp_path, monkeypatch):
    def no_driver():
        raise RuntimeError("Found no driver.\nMore.")

    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    ready.main()
    with pytest.raises(SystemExit, match=r"^--fashion '.*': Fashion-MNIST .* is not in"):
        ready.main(str(tmp_path))
    monkeypatch.setattr(torch.cuda, "init", no_driver)
    with pytest.raises(SystemExit, match=r"^torch \S+ finds no CUDA device: Found no driver\.$"):
        ready.main()


@pytest.mark.parametrize("needed", [True, False])
def test_skipped_tests_do_not_count_as_done(monkeypatch, needed):
    """In the acceptance run they are asked to fail; elsewhere they are skipped."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    marked = []
    item = SimpleNamespace(get_closest_marker=lambda name: name == "gpu", add_marker=marked.append)
    pytest_collection_modifyitems(SimpleNamespace(getoption=lambda name, default: needed), [item])
    assert bool(marked) is not needed and "--needs-gpu" in chosen("tests")[0].commands[0]


def test_the_runner_needs_nothing_but_python():
    code = (
        "import sys, runpy; runpy.run_path(sys.argv[1], run_name='here'); print({'torch', 'ditbench'} & {*sys.modules})"
    )
    words = [sys.executable, "-S", "-c", code, acceptance.__file__]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "set()\n"


def test_rates_are_measured_one_by_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    rates.main(tmp_path / "rates.json", "cpu", "nano", "2")
    found = json.loads((tmp_path / "rates.json").read_text())
    assert len(found) == 8 == capsys.readouterr().out.count("images/s\n") and min(found.values()) > 0


def test_curves_are_compared(tmp_path, capsys):
    for name, losses in (("a", [1.0, 0.5]), ("b", [1.0, 0.50001]), ("c", [1.0, 0.6])):
        (tmp_path / name / "digits" / "run").mkdir(parents=True)
        record = {"training": {"curve": [{"loss": loss} for loss in losses]}}
        (tmp_path / name / "digits" / "run" / "record.json").write_text(json.dumps(record))
    same_curve([str(tmp_path / "a"), str(tmp_path / "b")])
    with pytest.raises(SystemExit):
        same_curve([str(tmp_path / "a"), str(tmp_path / "c")])
    assert "another curve than" in capsys.readouterr().out
