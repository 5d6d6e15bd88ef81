"""The acceptance run on a machine with a GPU: steps of a few seconds, most important first, each result kept at once.

    python tests/gpu/acceptance.py OUT [--only NAMES] [--work WORK] [--fashion FOLDER] [--seconds 480]

Standard library only. Each step is a process group that is ended at its limit. After each, OUT gets a line in
``steps.jsonl``, the end of what it said in ``log.txt``, and ``records.tar.gz`` anew: so a run that is cut off loses
nothing but the step it was in, and ``--only`` goes on. OUT may be copied from machine to machine: three files, each
below 16 MiB. What the steps write in full lies in WORK.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TOTAL = 480.0  # seconds of all steps together, unless told otherwise
GRACE = 3.0  # seconds from the request to end to the end by force
LARGEST = 15 * 2**20  # bytes of each file in OUT, and a little more
LOG_SHARE = 2**16  # bytes of what a step said last that are kept
KEPT = (".json", ".jsonl", ".md", ".txt", ".xml")  # what the archive has of WORK: records and reports, no weights
PYTHON = sys.executable
DITBENCH = (PYTHON, "-m", "ditbench")
Command = tuple[str, ...]
READY: Command = (PYTHON, str(HERE / "ready.py"))


@dataclass(frozen=True)
class Step:
    """Commands one after the other, and the seconds that they may take together. {work}, {fashion} are folders."""

    name: str
    seconds: float
    commands: tuple[Command, ...]
    default: bool = True  # whether it runs when no step is named


def _profile(*words: str) -> Command:
    """bf16 and compiled, with the track's loss: the speeds that a budget buys."""
    how = ("--track", "imagenet256", "--real-loss", "--precision", "bfloat16", "--device", "cuda", "--steps", "12")
    return (*DITBENCH, "profile", *words, *how, "--warmup", "3", "--out", "{work}/profiles")


def _run(*words: str) -> Command:
    return (*DITBENCH, "run", *words, "--device", "cuda", "--offline", "--out")


_TESTS = (PYTHON, "-m", "pytest", "-n", "0", "-q", "-rA", "-m", "gpu")
_NETWORKS = ("dit", "uvit", "mdt", "diffit")
_FASHION = ("--track", "fashion32", "--data", "{fashion}", "--seeds", "0")
_SAME = ("dit", "--track", "digits", "--budget", "200-steps", "--samples", "20")
_LARGE = ("mdt:XL/2", "mdtv2:XL/2", "diffit:XL/2", "uvit:L/2", "uvit:H/2")

STEPS = (
    Step("machine", 20, (("nvidia-smi", "-q"), (*DITBENCH, "env", "--json"))),
    Step("ceilings", 25, ((PYTHON, str(HERE / "ceilings.py"), "{work}/ceilings.json"),)),
    Step(
        "tests",
        60,
        ((*_TESTS, str(HERE), "--needs-gpu", "--junitxml", "{work}/tests.xml"),),
    ),
    Step("profile-xl", 60, (_profile("dit:XL/2", "--batch-size", "256", "--compile"),)),
    Step(
        "profile-s",
        75,
        (_profile("dit:S/2", "uvit:S/2", "mdt:S/2", "diffit:S/2", "--batch-size", "256", "--compile"),),
    ),
    Step("profile-large", 90, (_profile(*_LARGE, "--batch-size", "128", "--compile", "--seconds", "40"),)),
    Step(
        "fashion32",
        100,
        (
            (*_run(*_NETWORKS, *_FASHION, "--budget", "short"), "{work}/runs"),
            (*_run("dit:S/2", *_FASHION, "--budget", "15s"), "{work}/runs"),
        ),
    ),
    Step(
        "same",
        40,
        (
            (*_run(*_SAME), "{work}/plain"),
            (PYTHON, "-m", "torch.distributed.run", "--nproc-per-node", "1", *_run(*_SAME)[1:], "{work}/torchrun"),
            (*_run(*_SAME, "--nproc", "1", "--shard"), "{work}/sharded"),
            (PYTHON, str(HERE / "same_curve.py"), "{work}/plain", "{work}/torchrun", "{work}/sharded"),
        ),
    ),
    Step(
        "profile-rest",
        120,
        (
            _profile("dit:B/2", "dit:L/2", "--batch-size", "256", "--compile"),
            _profile("dit:S/2", "--batch-size", "64"),  # eager: what the host costs
        ),
        default=False,
    ),
    Step(
        "sharded",
        60,
        (
            (
                *_run("dit:XL/2", "--track", "imagenet256", "--data", "synthetic", "--budget", "6-steps", "--shard"),
                "{work}/sharded-xl", "--samples", "20", "--features", "efficientnet-lite0", "--micro-batch", "64",
            ),
        ),
        default=False,
    ),
    Step("rates", 25, ((PYTHON, str(HERE / "rates.py"), "{work}/rates.json"),), default=False),
    Step("killed", 30, ((PYTHON, str(HERE / "killed.py"), "{work}/killed"),), default=False),
)  # fmt: skip


def run_steps(steps: Sequence[Step], out: Path, work: Path, fashion: str = "", total: float = TOTAL) -> bool:
    """Run them in turn while there is time; whether all ended well. One that does not is told, and the next begins."""
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    if (out / "records.tar.gz").exists() and not any(work.iterdir()):
        with tarfile.open(out / "records.tar.gz") as archive:  # of an earlier machine: the next archive has it, too
            archive.extractall(work, filter="data")
    until, well = time.monotonic() + total, True
    for step in steps:
        left = until - time.monotonic()
        found = _carry_out(step, min(step.seconds, left), work, fashion) if left > 1 else _not_begun(step)
        well = well and found["result"] == "done"
        _keep(found, out, work)
        print(f"{step.name}: {found['result']} in {found['seconds']:.0f} s", flush=True)
    return well


def _carry_out(step: Step, limit: float, work: Path, fashion: str) -> dict[str, object]:
    began, log = time.time(), work / f"{step.name}.log.txt"
    until, codes = time.monotonic() + limit, []
    with log.open("wb") as output:
        for command in step.commands:
            words = [word.format(work=work, fashion=fashion) for word in command]
            codes.append(_ended(words, output, until))
            if codes[-1] is None:
                break
    late = codes[-1] is None
    result = "out of time" if late else "done" if not any(codes) else "failed"
    return {
        "step": step.name,
        "result": result,
        "codes": codes,
        "began": began,
        "seconds": time.time() - began,
        "limit": limit,
    }


def _not_begun(step: Step) -> dict[str, object]:
    return {
        "step": step.name,
        "result": "no time left",
        "codes": [],
        "began": time.time(),
        "seconds": 0.0,
        "limit": 0.0,
    }


def _ended(words: Sequence[str], output: object, until: float) -> int | None:
    """The exit code of a command in a group of its own; None if it had to be stopped, with all that it had started."""
    try:
        process = subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    except OSError as error:
        output.write(f"{words[0]}: {error.strerror}\n".encode())
        return 127
    with suppress(subprocess.TimeoutExpired):
        return process.wait(max(0.0, until - time.monotonic()))
    os.killpg(process.pid, signal.SIGTERM)  # so that it keeps what it has
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    with suppress(ProcessLookupError):  # all of it has ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return None


def _keep(found: dict[str, object], out: Path, work: Path) -> None:
    """A line, the end of what was said, and the archive, whole or as it was before."""
    log = work / f"{found['step']}.log.txt"
    said = log.read_bytes()[-LOG_SHARE:] if log.exists() else b""
    with (out / "log.txt").open("ab") as file:
        if file.tell() + len(said) < LARGEST:
            file.write(f"\n== {found['step']}: {found['result']}\n".encode() + said)
    left_out = _write_archive(out / "records.tar.gz", work)
    with (out / "steps.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({**found, "left_out": left_out}) + "\n")


def _write_archive(path: Path, work: Path) -> list[str]:
    """The records in WORK, the smallest first; the names of those for which there was no room."""
    left_out: list[str] = []
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as packed, tarfile.open(fileobj=packed, mode="w:gz", compresslevel=6) as archive:
        for file in _records(work):
            name = str(file.relative_to(work))
            if packed.tell() + file.stat().st_size > LARGEST:  # as if it could not be compressed
                left_out.append(name)
            else:
                archive.add(file, name)
    temporary.replace(path)
    return left_out


def _records(work: Path) -> Iterator[Path]:
    """Files of the kinds that are kept, but for what is hidden and checkpoints."""
    found = [file for file in work.rglob("*") if file.suffix in KEPT and file.is_file() and not file.is_symlink()]
    hidden = ("checkpoint", ".")
    whole = [file for file in found if not any(part.startswith(hidden) for part in file.relative_to(work).parts)]
    yield from sorted(whole, key=lambda file: (file.stat().st_size, str(file)))


def chosen(names: str) -> list[Step]:
    """The steps that are named, in their own order, or the default ones; `SystemExit` for a name that is none."""
    asked = [name for name in names.split(",") if name]
    unknown = [name for name in asked if name not in {step.name for step in STEPS}]
    if unknown:
        raise SystemExit(f"There is no step {unknown[0]!r}. Known: {', '.join(step.name for step in STEPS)}.")
    return [step for step in STEPS if (step.name in asked if asked else step.default)]


def refuse_unready(steps: Sequence[Step], fashion: str) -> None:
    """`SystemExit`, with one line, without a GPU or, if a step reads them, Fashion-MNIST's files."""
    reads = any("{fashion}" in command for step in steps for command in step.commands)
    words = (*READY, *([fashion] if reads else []))
    done = subprocess.run(words, check=False, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise SystemExit(f"Nothing is measured: {said[-1]}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Exit code 1 if a step did not end well, or none can."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder for steps.jsonl, log.txt and records.tar.gz")
    parser.add_argument("--only", default="", metavar="NAMES", help=", ".join(step.name for step in STEPS))
    parser.add_argument("--work", type=Path, help="folder for all that the steps write; OUT-work if not given")
    parser.add_argument("--fashion", default="", metavar="FOLDER", help="where Fashion-MNIST's idx files are")
    parser.add_argument("--seconds", type=float, default=TOTAL, help="of all steps together")
    given = parser.parse_args(arguments)
    out = given.out.resolve()
    work = (given.work or out.with_name(f"{out.name}-work")).resolve()
    steps, fashion = chosen(given.only), given.fashion and str(Path(given.fashion).resolve())
    refuse_unready(steps, fashion)
    raise SystemExit(0 if run_steps(steps, out, work, fashion, given.seconds) else 1)


if __name__ == "__main__":
    main()
