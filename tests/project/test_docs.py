"""Every command and every snippet that README and documents show is run, as printed but for what snippets.py lists."""

import contextlib
import fcntl
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import typer.main
from snippets import (
    CHANGES,
    CI,
    DOCUMENTS,
    EXPECTED,
    NOT_RUN,
    QUICK,
    ROOT,
    SLOW,
    blocks,
    changed,
    check_in,
    left_out,
    lines,
    spans,
    split,
    steps,
)
from stand_ins import write_folder

import ditbench as library
from ditbench.builtins import REFERENCE_ARCHITECTURES
from ditbench.cli import app, check
from ditbench.cli.options import parse_architectures, parse_seeds
from ditbench.leaderboard.site import serve
from ditbench.registry import Registry, select
from ditbench.tracks.plan import make_plan
from ditbench.tracks.track import load_track

EVERY_COMMAND = ROOT / "docs" / "commands.md"
LINES = [line for document in DOCUMENTS for line in lines(document)]
NAMES = [str(document.relative_to(ROOT)) for document in DOCUMENTS]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """The folder that has everything, and the id of the run in its leaderboard; each document gets a copy.

    The first of pytest's processes that needs it makes it for all.
    """
    of_all = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        of_all = of_all.parent
    folder, run_id = of_all / "clone", of_all / "clone.id"
    with (of_all / "clone.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not run_id.exists():
            folder.mkdir()
            run_id.write_text(write_folder(folder))
    return folder, run_id.read_text()


@pytest.fixture
def shell(prepared, tmp_path, monkeypatch, ditbench, install):
    """Somebody at work in a copy of the folder."""
    folder, run_id = prepared
    shutil.copytree(folder, tmp_path / "clone", symlinks=True)
    monkeypatch.chdir(tmp_path / "clone")
    monkeypatch.setenv("WANDB_MODE", "offline")
    yield Shell(run_id, monkeypatch, ditbench, install)
    for name, module in list(sys.modules.items()):
        if str(tmp_path) in (getattr(module, "__file__", None) or ""):
            del sys.modules[name]


class Shell:
    """Runs lines of commands and snippets in one folder, in the order in which a document has them."""

    def __init__(self, run_id, monkeypatch, ditbench, install):
        self.run_id, self.monkeypatch, self.ditbench, self.install = run_id, monkeypatch, ditbench, install
        self.names = {"__name__": "__main__"}  # snippets of one document go on where the one before ended
        self.programs = {"ditbench": self.benchmark, "pip": self.pip, "cd": monkeypatch.chdir, "pytest": self.pytest}

    def line(self, line, quick):
        variables, (program, *words), target = split(changed(line, quick).replace("{run_id}", self.run_id))
        assert program in self.programs, f"nobody knows how to run {program!r}: NOT_RUN is for what can't be run"
        with self.monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            out = self.programs[program](*words)
        if target:
            Path(target).write_text(out)

    def benchmark(self, *words):
        code, told = next((EXPECTED[of] for of in EXPECTED if re.match(of, " ".join(("ditbench", *words)))), (0, ""))
        with self.monkeypatch.context() as patch:
            patch.setattr(serve.ThreadingHTTPServer, "serve_forever", interrupted)
            patch.setattr(check, "_ended", forked)
            out = self.ditbench(*words, code=code)
        assert told in out, out
        return out

    def pip(self, command, *words):
        """An editable install as pip leaves it, but without pip; ditbench itself is here, and knows the extras."""
        assert command == "install", command
        editable = False
        for word in words:
            if word == "-e":
                editable = True
            elif editable:
                self.install_from(Path(word))
                editable = False
            else:
                name, _, extras = word.removesuffix("]").partition("[")
                assert name == "ditbench", word
                known = project(ROOT)["optional-dependencies"]
                assert all(extra in known for extra in filter(None, extras.split(",")))

    def install_from(self, folder):
        about = project(folder)
        for name, module in about.get("entry-points", {}).get("ditbench", {}).items():
            if name not in {plugin.name for plugin in Registry.installed().plugins}:
                self.install(about["name"], module, version=about["version"], entry=name)
                self.monkeypatch.syspath_prepend(str(folder.resolve()))
                self.monkeypatch.setenv(
                    "PYTHONPATH", os.pathsep.join([str(folder.resolve()), os.environ["PYTHONPATH"]])
                )

    def pytest(self, *words):
        command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def python(self, block):
        def few(*arguments, **options):
            return run(
                *arguments, **{**options, "seeds": [0], "budget": "4-steps", "samples": 20, "metrics": ["kid", "is"]}
            )

        run = library.run
        with self.monkeypatch.context() as patch, contextlib.redirect_stdout(None):
            patch.setattr(library, "run", few)
            exec(compile(block.text, f"snippet, line {block.line}", "exec"), self.names)


def interrupted(server):
    """What a server does if Ctrl-C comes at once."""
    raise KeyboardInterrupt


def forked(command, log, now):
    """The clean process of `ditbench check`, forked from the server of the runs: that saves 7 s of imports."""
    asked = (os.environ["PYTHONPATH"], *command[-3:])
    process = multiprocessing.get_context("forkserver").Process(target=check_in, args=asked)
    process.start()
    process.join()
    return process.exitcode, "", ""


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def read_toml(text, place):
    if {"name", "space", "data", "recipe"} <= tomllib.loads(text).keys():
        place.write_text(text)
        load_track(place)


def work(shell, document, quick, tmp_path):
    """Everything in a document; the seconds that each thing took, and the faults."""
    took, faults, done = [], [], set(before(document, quick))

    def attempt(what, number, action, *arguments):
        start = time.perf_counter()
        try:
            action(*arguments)
        except (Exception, pytest.fail.Exception, SystemExit) as fault:
            faults.append(f"{document.name}:{number}: {what}\n{type(fault).__name__}: {fault}")
        took.append((time.perf_counter() - start, what))

    for block in blocks(document):
        for number, line in block.commands if block.language == "sh" else ():
            if not left_out(line, quick) and changed(line, quick) not in done:
                attempt(line, number, shell.line, line, quick)
                done |= {changed(line, quick)} if line.startswith("ditbench") else set()
        if block.language in READ:
            attempt(f"{block.language} snippet", block.line, READ[block.language], shell, block, tmp_path)
    return took, faults


READ = {
    "python": lambda shell, block, place: shell.python(block),
    "toml": lambda shell, block, place: read_toml(block.text, place / "snippet.toml"),
    "json": lambda shell, block, place: json.loads(block.text),
    "bash": lambda shell, block, place: subprocess.run(["bash", "-n"], input=block.text, text=True, check=True),
}


def before(document, quick):
    """Commands of documents before this one, which are run with these, but for those that others build upon."""
    for earlier in DOCUMENTS[: DOCUMENTS.index(document)] if document in DOCUMENTS else ():
        found = () if quick and earlier == EVERY_COMMAND else (changed(line, quick) for line in lines(earlier))
        yield from (line for line in found if re.match("ditbench (?!new|import)", line))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["quick", "all"])
@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_everything_in_it_runs(document, quick, request, tmp_path):
    if quick and document == EVERY_COMMAND:
        pytest.skip("its lines are parsed here, and other documents run most; the slow tests run them all")
    shell = request.getfixturevalue("shell")
    took, faults = work(shell, document, quick, tmp_path)
    print(*(f"{seconds:6.2f} s  {what}" for seconds, what in sorted(took, reverse=True)), sep="\n")
    assert not faults, "\n\n".join(faults)


def test_what_does_not_work_is_told(shell, tmp_path):
    wrong = {
        "sh": "ditbench list colours\nditbench list | head\nmake it\npip install ditbench[nothing]",
        "python": "assert ditbench",
        "toml": "a = b",
        "bash": "if",
    }
    document = tmp_path / "wrong.md"
    document.write_text("".join(f"```{language}\n{text}\n```\n" for language, text in wrong.items()))
    _, faults = work(shell, document, True, tmp_path)
    assert [fault.partition(": ")[0] for fault in faults] == [f"wrong.md:{line}" for line in (2, 3, 4, 5, 8, 11, 14)]


PRINTED = sorted({line.rpartition("uv run ")[2] for line in LINES if re.match("(.*uv run )?ditbench ", line)})


def parsed(arguments):
    """What the command line makes of these: the command's parameters."""
    group = typer.main.get_command(app)
    context = group.make_context("ditbench", arguments)
    while hasattr(group, "resolve_command") and not (group.invoke_without_command and not context._protected_args):
        name, group, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        context = group.make_context(name, rest, parent=context)
    return context.params


@pytest.mark.parametrize("line", PRINTED)
def test_a_command_is_right_as_it_is_printed(line):
    """Before anything in it is made small: options, architectures and their sizes, tracks, budgets, rulesets."""
    registry = Registry.installed()
    _, (_, *arguments), _ = split(line)
    given = parsed(arguments)
    if "my_arch" in line:  # is there when `ditbench new` has made it
        return
    if line.startswith("ditbench run "):
        seeds = parse_seeds(given["seeds"])
        names = ("budget", "ruleset", "data", "samples", "features", "device", "micro_batch", "checkpointing", "recipe")
        asked = {name: given[name] for name in names}
        named = parse_architectures(given["architectures"], given["plugins"]) or REFERENCE_ARCHITECTURES
        assert make_plan(registry, given["track"], named, seeds, **asked)
    named = parse_architectures(given.get("architectures"), given.get("plugins"))
    for name in filter(None, [given.get("architecture"), *named]):
        assert select(registry, name, "nano")


def test_no_list_names_what_is_nowhere():
    """An entry without a line, or a line that CI was said to run and doesn't, would hide something."""
    assert not NOT_RUN.keys() - set(LINES)
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    assert not [line for line, why in NOT_RUN.items() if why == CI and line not in ci]
    assert not [pattern for pattern in SLOW if not any(re.search(pattern, line) for line in LINES)]
    all_steps = [steps(line, quick=True) for line in LINES]
    for number, change in enumerate((*CHANGES, *QUICK)):
        assert any(one[number] != one[number + 1] for one in all_steps), change
    final = [one[-1] for one in all_steps]
    assert not [pattern for pattern in EXPECTED if not any(re.match(pattern, line) for line in final)]


def test_blocks_have_languages_that_are_looked_at():
    for document in DOCUMENTS:
        for block in blocks(document):
            assert block.language in {"sh", "text", "", *READ}, (document.name, block)
    assert len(LINES) > 40 and {"python", "toml", "bash", "sh"} <= {
        block.language for document in DOCUMENTS for block in blocks(document)
    }


SPANS = sorted({span for document in DOCUMENTS for span in spans(document)})


def commands(group, way=("ditbench",)):
    """All commands below a group, by their words."""
    yield way, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*way, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("span", [span for span in SPANS if re.match(r"ditbench [a-z]", span)])
def test_a_command_in_the_prose_exists_and_has_these_options(span):
    words = span.split()
    way = max((way for way in COMMANDS if tuple(words[: len(way)]) == way), key=len)
    assert way != ("ditbench",), span
    assert not hasattr(COMMANDS[way], "commands") or len(words) == len(way), f"no such command: {span}"
    known = {option for parameter in COMMANDS[way].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_every_option_in_the_prose_is_one_of_some_command():
    others = {"--goldens", "--constraint", "--max-restarts", "--help", "--only", "--install-completion"}  # others'
    known = {option for command in COMMANDS.values() for parameter in command.params for option in parameter.opts}
    named = {span.split()[0] for span in SPANS if span.startswith("--")}
    assert named <= known | others, named - known
