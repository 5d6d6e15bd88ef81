"""The command line as a person meets it: the whole tiny run, lists, bad input, exit codes, no torch."""

import argparse
import getpass
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from records import ENVIRONMENT, unfinished
from rich.console import Console
from safetensors.torch import load_file

from ditbench.cli.display import Live
from ditbench.denoiser.interface import build_denoiser
from ditbench.executors.jobs import Job
from ditbench.registry import Plugin, Registry
from ditbench.runtime.progress import Progress
from ditbench.tracks.plan import make_plan

pytestmark = pytest.mark.timeout(240)
DITBENCH = [sys.executable, "-m", "ditbench"]


FOUR = pytest.param(("diffit", "dit", "mdt", "uvit"), marks=pytest.mark.slow)  # faster: two, and test_contract


@pytest.mark.parametrize("names", [("dit", "mdt"), FOUR], ids=["two", "four"])
def test_the_whole_tiny_run_of_the_architectures(toy, ditbench, tmp_path, monkeypatch, names):
    """In this process, whose server has the libraries; test_a_signal_saves_and_says_how_to_resume has a whole one."""
    monkeypatch.chdir(tmp_path)
    asked = ("--plugins", ",".join(names), "--track", "tiny", "--budget", "3-steps", "--keep-samples")
    arguments = ("run", *asked)
    out = ditbench(*arguments, "--device", "cpu")
    folder = tmp_path / "runs" / "tiny"
    records = {path.parent.name: path for path in folder.glob("*/record.json")}
    assert sorted(name.split("-")[0] for name in records) == list(names)
    for path in records.values():
        text = path.read_text()
        assert json.loads(text)["status"] == "finished"
        for secret in (str(tmp_path), socket.gethostname(), f'"{getpass.getuser()}"', "/home/"):
            assert secret not in text
        with Image.open(path.parent / "samples.png") as grid:
            assert grid.width > 300 and grid.height > 600
    assert {path.name for path in folder.iterdir() if path.is_file()} == {"leaderboard.md", "leaderboard.csv"}
    number = len(names)
    for word in (f"[{number}/{number}] {names[-1]}:nano seed 0: training", "images/s", "loss", "fid40/", "Real images"):
        assert word in out
    assert "\x1b" not in out  # plain lines when the output is no terminal
    page = (folder / "leaderboard.md").read_text()
    assert all(f"{name}:nano" in page for name in names)

    again = ditbench(*arguments, "--device", "cpu", "--quiet")
    assert "training" not in again and "dit:nano" in again
    shown = ditbench("leaderboard", "build", str(folder), "--out", str(tmp_path / "board"))
    assert f"{number} records" in shown and (tmp_path / "board" / "README.md").read_text() == page


def test_the_live_display_shows_bars_and_escapes_names(tmp_path):
    console = Console(width=100, force_terminal=True, file=io.StringIO(), color_system=None)
    display = Live(console)
    (config,) = make_plan(Registry.installed(), "digits", ["dit"], device="cpu")
    job = Job(config, tmp_path / "runs" / config.run_id, ENVIRONMENT)
    display.left_out([Plugin("bad", "ditbench-bad", "1", fault="[bold]oh[/bold]")])
    display.preparing()
    display.planned([job], [])
    display.started(config)
    display.progress(config, Progress("train", 0.5, 250, 1234.5, 0.4321, 61))
    display.bars.refresh()
    display.ended(unfinished().model_copy(update={"run_id": config.run_id}))
    display.close()
    shown = console.file.getvalue()
    for words in ("[bold]oh[/bold]", "dit:nano seed 0", "step 250  1,234 images/s  loss 0.4321  1:01 left", "diverged"):
        assert words in shown, words


def test_runs_at_the_same_time_have_a_bar_each_and_those_that_are_done_make_room(tmp_path):
    console = Console(width=100, height=4, force_terminal=True, file=io.StringIO(), color_system=None)
    display = Live(console)
    configs = make_plan(Registry.installed(), "digits", ["dit"], [0, 1, 2, 3], device="cpu")
    display.planned([Job(config, tmp_path / "runs" / config.run_id, ENVIRONMENT) for config in configs], [])
    for config in configs[:2]:
        display.started(config)
        display.progress(config, Progress("train", 0.5, 100 + config.seed))
    assert [task.fields["facts"] for task in display.bars.tasks] == ["training  step 100", "training  step 101"]
    display.ended(unfinished().model_copy(update={"run_id": configs[0].run_id}))
    for config in configs[2:]:
        display.started(config)
    display.ended(unfinished().model_copy(update={"run_id": configs[1].run_id}))
    display.close()
    shown = [task.description for task in display.bars.tasks]
    assert shown == [f"[{number}/4] dit:nano seed {number - 1}" for number in (1, 3, 4)]
    assert "[2/4] dit:nano seed 1: diverged" in console.file.getvalue()


def test_a_failing_run_ends_with_code_1_and_a_row(toy, ditbench, tmp_path):
    out = ditbench(
        "run", "--plugins", "toy+fault=raise,toy", "--track", "tiny", "--out", str(tmp_path), "--device", "cpu", code=1
    )
    assert "toy:nano+fault=raise: 1 of 1 failed: RuntimeError: the toy broke, as ordered" in out


@pytest.mark.parametrize(("wish", "code"), [pytest.param("SIGINT", 130, marks=pytest.mark.slow), ("SIGTERM", 143)])
def test_a_signal_saves_and_says_how_to_resume(toy, tmp_path, wish, code):
    """Ctrl-C in a terminal, and `timeout`, send theirs to the whole group."""
    arguments = ["run", "--plugins", "toy+fault=slow", "--track", "tiny", "--out", str(tmp_path), "--device", "cpu"]
    command = subprocess.Popen(
        [*DITBENCH, *arguments, "--budget", "4000-steps"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size for path in tmp_path.glob("tiny/*/curve.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(command.pid, signal.Signals[wish])
    _, errors = command.communicate(timeout=60)
    told = "Interrupted. The same command again skips what is finished and resumes runs that have a checkpoint.\n"
    assert command.returncode == code and errors == told + f"ditbench: ended by {wish}.\n" * (wish != "SIGINT")
    (record,) = tmp_path.glob("tiny/*/record.json")
    found = json.loads(record.read_text())
    assert (found["status"], found["reason"]) == ("interrupted", "stopped on request")
    assert (tmp_path / "tiny" / "leaderboard.md").exists()
    with pytest.raises(ProcessLookupError):  # nothing of it is left, after a moment
        for _ in range(200):
            os.killpg(command.pid, 0)
            time.sleep(0.1)
    assert any(record.parent.glob("checkpoints/[0-9]*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--plugins", "dti"), "ditbench: No architecture named 'dti'. Did you mean"),
        (("--plugins", "dit:XXL"), "No size of dit named 'XXL'"),
        (("--plugins", "dit+conditioning=film"), "'film' is none of adaln-zero, adaln, cross-attention, in-context"),
        (("--track", "mnist"), "No track named 'mnist'"),
        (("--device", "tpu"), "No device named 'tpu'"),
        (("--seeds", "0,one"), "--seeds '0,one' is no list of whole numbers"),
        (("--seeds", "0,0"), "one stands twice"),
        (("--seeds", "0..1000000000"), "is no list of whole numbers"),
        (("--seeds", "1_0"), "is no list of whole numbers"),
        (("--seeds", "9" * 5000), "is no list of whole numbers"),
        (("--track", "a\nb"), r"No track named 'a\nb'"),
        (("--plugins", "a\nb"), r"No architecture named 'a\nb'"),
        (("--device", "\x1b[31mcpu"), r"No device named '\x1b[31mcpu'"),
        (("--device", "cuda:99999999999999999999"), "No device named 'cuda:99999999999999999999'"),
        (("--budget", ""), "'' is no budget"),
        (("--budget", "1e300-flops"), "at most 1e+30 flops"),
        (("--plugins", "mdt+decoder=99999999999999999999999999"), "is beyond all measure: at most 2147483647"),
        (("--plugins", "mdt+decoder=-1"), "'-1' is below 0"),
        (("--track", "imagenet512", "--samples", "10000000", "--data", "synthetic"), "GiB left, enough for"),
        (("--budget", "forever"), "'forever' is no budget"),
        (("--out", "/dev/null/runs"), "The output folder '/dev/null/runs/digits' can't be written"),
        (("--executor", "cloud"), "No executor named 'cloud'"),
        (("--nproc", "0"), "ditbench: Invalid value for '--nproc': Input should be greater than or equal to 1. See"),
        (("--nonsense",), "ditbench: No such option: --nonsense. See ditbench run --help."),
        (("--track",), "ditbench: Option '--track' requires an argument. See"),
        (("surplus",), "No architecture named 'surplus'"),
        (("dit", "--plugins", "uvit"), "Architectures are named in plain words or with --plugins, not both"),
        (("--device", "cuda"), "Device 'cuda' is not here: no GPU has a driver on this machine. Try --device cpu."),
    ],
)
def test_bad_input_is_one_line_and_code_2(ditbench, tmp_path, arguments, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    errors = ditbench("run", *arguments, code=2)
    assert message in errors and errors.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_sizes_counts_what_was_asked(ditbench):
    out = ditbench("sizes", "dit:S/2+conditioning=adaln,mdt:nano", "--resolution", "16", "--no-learn-variance")
    assert "dit:S/2+conditioning=adaln  16x16x4 latent, 1000 classes" in out
    assert "16x16x1 pixel, 10 classes" in next(line for line in out.splitlines() if "mdt:nano" in line)


def test_sizes_shows_ladders(ditbench):
    out = ditbench("sizes", "dit:nano", "--ladder", "--json")
    rows = {row["size"]: row for row in json.loads(out)}
    assert rows["dit:nano-x0.5"]["changes"] == {"depth": 3, "width": 80, "heads": 4}
    assert rows["dit:nano"]["times"] == 1 and rows["dit:nano-x2"]["times"] == pytest.approx(2, rel=0.1)
    assert "dit:nano-wide" in ditbench("sizes", "dit:nano", "--ladder")
    errors = ditbench("sizes", "dit:S/2", "--ladder", code=2)
    assert errors == "ditbench: dit:S/2 has no ladder of sizes: of dit, only nano, nano/4.\n"


def test_import_writes_weights_and_says_which(ditbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = build_denoiser(Registry.installed().architectures["dit"])
    torch.save({"ema": network.state_dict(), "args": argparse.Namespace(lr=1)}, tmp_path / "published.pt")
    arguments = ("import", "dit:nano", "published.pt", "--out", "new/weights.safetensors")
    shown = ditbench(*arguments)
    assert shown == "dit:nano: 725,380 numbers, ema weights -> new/weights.safetensors\n"
    told = json.loads(ditbench(*arguments[:-1], "again.safetensors", "--json"))
    assert (told["parameters"], told["weights"]) == (725_380, "ema")
    assert told["file"] == str(tmp_path / "again.safetensors")
    assert load_file(tmp_path / "new" / "weights.safetensors").keys() == network.state_dict().keys()
    errors = ditbench("import", "dit:S/2", "published.pt", "--out", "other.safetensors", code=2)
    assert errors.startswith(
        "ditbench: 'published.pt' is no dit:S/2 for 32x32x4 latent, 1000 classes, learned variance"
    )
    assert errors.count("\n") == 1 and not (tmp_path / "other.safetensors").exists()


def test_evaluate_scores_shows_and_records(ditbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "noise.npz", noise)
    arguments = ("evaluate", "noise.npz", "--reference", "digits", "--features", "digits-cnn")
    out = ditbench(*arguments, "--device", "cpu")
    for words in ("fid40/digits-cnn ↓", "is40/digits-cnn ↑", "(fid770)", "296 bytes kept of an image"):
        assert words in out, words
    assert "\x1b" not in out
    (path,) = (tmp_path / "evaluations").iterdir()
    record = json.loads(path.read_text())
    assert record["reference"]["name"] == "digits" and record["samples"]["count"] == 40
    assert str(tmp_path) not in path.read_text() and socket.gethostname() not in path.read_text()
    (tmp_path / "cut.npz").write_bytes((tmp_path / "noise.npz").read_bytes()[:900])
    errors = ditbench("evaluate", "cut.npz", *arguments[2:], code=2)
    assert errors.startswith("ditbench: 'cut.npz' is no whole .npz") and errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--features", "inception"), "No extractor named 'inception'. Did you mean 'inception-v3-compat'"),
        (("--metrics", "fid,psnr"), "No metric named 'psnr'"),
        (("--device", "tpu"), "No device named 'tpu'"),
        (("--architecture", "dit:nano"), "A checkpoint needs both --architecture and --track"),
        ((), "'digits' are images that are measured with --features digits-cnn; inception-v3-compat is made for"),
        (("--device", "cuda"), "Device 'cuda' is not here: no GPU has a driver on this machine. Try --device cpu"),
        (
            ("--features", "inception-v3-compat", "--offline"),
            "Weights of 'inception-v3-compat' are missing: weights-inception-2015-12-05-6726825d.pth",
        ),
        (("--reference", ""), "Samples are scored against real images: name them with --reference"),
        (("--features", "digits-cnn", "--out", "/dev/null/x"), "The output folder '/dev/null/x' can't be written"),
    ],
)
def test_evaluate_finds_bad_input_before_the_libraries_load(ditbench, tmp_path, arguments, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    errors = ditbench("evaluate", "nowhere", "--reference", "digits", *arguments, code=2)
    assert errors.startswith("ditbench: ") and message in errors and errors.count("\n") == 1
    assert not (tmp_path / "evaluations").exists()


def test_weights_alone_ask_for_their_network_and_track(ditbench):
    errors = ditbench("evaluate", "ema.safetensors", code=2)
    assert errors.startswith("ditbench: 'ema.safetensors' has weights") and errors.count("\n") == 1
    assert "--architecture NAME:SIZE" in errors and "--track" in errors and "--reference" not in errors


def test_fetch_checks_what_is_here_and_offline_fetches_nothing(ditbench, tmp_path):
    assert "digits-cnn.safetensors, sha256 901f43288be1..." in ditbench("fetch", "digits-cnn", "--offline")
    errors = ditbench("fetch", "inception-v3-compat", "--offline", code=2)
    assert "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2" in errors and errors.count("\n") == 1
    forged = tmp_path / "forged.pth"
    forged.write_bytes(b"others")
    errors = ditbench("fetch", "dinov2-vit-l-14", "--weights", str(forged), code=2)
    assert "has sha256" in errors and errors.count("\n") == 1


def test_faulty_plugins_are_reported_and_fatal_only_when_strict(ditbench, install, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    install("ditbench-x-broken", "broken", "raise RuntimeError('oh')")
    errors = subprocess.run([*DITBENCH, "list"], capture_output=True, text=True, check=True).stderr
    told = "left out plugin 'broken' of ditbench-x-broken 0.1: RuntimeError: oh (`ditbench plugins doctor` has the way"
    assert errors.startswith(f"ditbench: {told}") and errors.count("\n") == 1
    said = subprocess.run([*DITBENCH, "run", "broken"], capture_output=True, text=True, check=False)
    assert said.stdout.startswith(told) and "No architecture named 'broken'" in said.stderr
    assert "faulty: RuntimeError: oh" in ditbench("plugins")
    ditbench("plugins", "--strict", code=2)
    assert "fatal because of --strict" in ditbench("run", "--strict", code=2)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("architectures", ["dit", "uvit", "mdt", "mdtv2", "diffit", "nano", "XL/2", "conditioning=", "arXiv:"]),
        ("tracks", ["digits", "56k-images"]),
        ("datasets", ["digits", "1,797"]),
        ("metrics", ["fid", "sfid", "fid-infinity", "kid", "is", "precision", "recall", "knn"]),
        ("extractors", ["inception-v3-compat", "dinov2-vit-l-14", "efficientnet-lite0", "digits-cnn", "6726825d0af5"]),
        ("samplers", ["euler"]),
        ("objectives", ["flow"]),
        ("executors", ["process", "slurm", "ray", "inline"]),
    ],
)
def test_list_shows_what_is_there(ditbench, kind, words):
    out = ditbench("list", kind)
    assert all(word in out for word in words)


def test_plugins_shows_state_and_what_they_provide(ditbench):
    out = ditbench("plugins")
    assert "ditbench-mdt" in out and "architecture mdtv2" in out and "ok" in out


def test_help_and_lists_import_no_torch():
    commands = (["--help"], ["list"], ["list", "tracks"], ["list", "extractors"], ["plugins"], ["run", "--help"])
    code = (
        "import sys; from ditbench.cli import app\n"
        f"for words in {commands}:\n"
        "    app(words, standalone_mode=False)\n"
        "    heavy = {'torch', 'diffusers', 'sklearn', 'pandas'} & set(sys.modules)\n"
        "    assert not heavy, (words, heavy)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
