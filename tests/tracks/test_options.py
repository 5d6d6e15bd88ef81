"""An option of a run is named, typed, defaulted and explained once: Python, plan, records and command line agree."""

import ast
import inspect
import pickle
import re
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest
import typer.main
from records import unfinished

import ditbench
from ditbench import campaign
from ditbench.benchmark.generation import open_checkpoint
from ditbench.benchmark.reevaluation import re_evaluate
from ditbench.cli import app
from ditbench.cli.display import verdict
from ditbench.cli.options import FLAGS, as_flags, flag
from ditbench.cli.plan import OPTIONS as PLANNED
from ditbench.errors import BadValue, NoRecordsYet, UnknownName, one_line
from ditbench.executors.engine import Wishes
from ditbench.tracks.config import RunConfig
from ditbench.tracks.options import CampaignOptions, EngineOptions, PlaceOptions, RunOptions, described, only, takes
from ditbench.tracks.plan import make_plan

PACKAGE = Path(ditbench.__file__).parent
COMMANDS = typer.main.get_command(app).commands


def flags_of(command):
    """option's name -> (flags, help)"""
    return {option.name: (option.opts, getattr(option, "help", "")) for option in command.params}


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (ditbench.run, CampaignOptions),
        (make_plan, RunOptions),
        (open_checkpoint, RunOptions),
        (re_evaluate, PlaceOptions),
    ],
    ids=lambda one: one.__name__,
)
def test_signature_and_docstring_have_every_option(function, options):
    parameters = inspect.signature(function).parameters
    for name, (kind, about) in described(options).items():
        parameter = parameters[name]
        assert (parameter.annotation, parameter.default) == (kind, about.default)
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert f"    {name}: {about.text}" in function.__doc__
    assert not [one for one in parameters.values() if one.kind is one.VAR_KEYWORD]


def test_the_command_line_offers_all_that_python_does():
    run, plan = flags_of(COMMANDS["run"]), flags_of(COMMANDS["plan"])
    python = set(inspect.signature(ditbench.run).parameters) - {"listener"}
    assert "architectures" in python
    assert set(run) - {"plugins", "quiet", "as_json", "help"} == python
    for name, (_, about) in described(CampaignOptions).items():
        assert run[name][0] == [flag(name)] and run[name][1].startswith(about.text)
        assert name not in PLANNED or (plan[name][0] == run[name][0] and plan[name][1].startswith(about.text))
    assert set(PLANNED) <= set(plan)
    hinted = {name: plan[name][1] for name in ("out", "data")} | {name: run[name][1] for name in ("log", "options")}
    assert [text.rpartition(". ")[2] for text in hinted.values()] == [
        "Runs that have ended there cost nothing.", "It is not opened, and need not be there.", "May be given twice.",
        "May be given several times.",
    ]  # fmt: skip


def test_type_hints_have_every_option_too():
    hints = get_type_hints(ditbench.run)
    assert {name: hints[name] for name in described(CampaignOptions)} == {
        name: kind for name, (kind, _) in described(CampaignOptions).items()
    }
    assert "options" in hints and hints["options"] == described(CampaignOptions)["options"][0]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"checkpointing": "x"}, "`checkpointing` 'x': Input should be a valid boolean"),
        ({"micro_batch": "x"}, "`micro_batch` 'x': Input should be a valid integer"),
        ({"micro_batch": 0}, "`micro_batch` 0: choose from 1 to 1,000,000"),
        ({"samples": True}, "`samples` True: Input should be a valid integer"),
        ({"samples": 10**12}, "`samples` 1000000000000: choose from 20 to 10,000,000"),
        ({"options": ""}, "`options` ''"),
        ({"options": iter(["gpus=1"])}, "`options` <list_iter"),
        ({"log": "wandb"}, "`log` 'wandb'"),
        ({"eval_at": 0.5}, "`eval_at` 0.5"),
        ({"device": 0}, "`device` 0: Input should be a valid string"),
        ({"processes": 0}, "`processes` 0: choose from 1 to 10,000"),
        ({"parallel": 10**9}, "`parallel` 1000000000: choose from 1 to 10,000"),
        ({"out": 3}, "`out` 3"),
        ({"track": Path("digits")}, "`track`"),
        ({"architectures": "dit"}, "`architectures` 'dit'"),
        ({"budget": ""}, "'' is no budget"),
        ({"device": "cuda:99999999999999999999"}, "No device named 'cuda:99999999999999999999'"),
        ({"device": "\x1b[31mcpu"}, r"No device named '\x1b[31mcpu'"),
        (
            {"seeds": list(range(10_001))},
            "4 architectures with 10,001 seeds are 40,004 runs; a plan has at most 10,000",
        ),
        ({"seeds": range(10**9)}, "Seeds range(0, 1000000000) are no list"),
        ({"checkpoint_seconds": 1e300}, "`checkpoint_seconds` is 1e+300"),
        ({"checkpoint_seconds": True}, "`checkpoint_seconds` True"),
    ],
)
def test_a_wrong_value_of_any_option_is_one_line(tmp_path, wrong, told):
    with pytest.raises(BadValue) as caught:
        ditbench.run(**{"out": tmp_path / "runs", **wrong})
    assert told in str(caught.value) and str(caught.value).isprintable() and not (tmp_path / "runs").exists()


def test_what_an_option_becomes_has_its_name_and_default():
    runs, wishes = described(RunOptions), {field.name: field.default for field in fields(Wishes)}
    assert wishes.keys() - {"folder"} == described(EngineOptions).keys()
    assert all(wishes[name] == about.default for name, (_, about) in described(EngineOptions).items())
    shared = {name: field for name, field in RunConfig.model_fields.items() if name in runs and not field.is_required()}
    assert {"data", "reference", "skip_bad", "offline", "keep_samples", "raw_weights"} < shared.keys()
    assert {name: field.default for name, field in shared.items()} == {name: runs[name][1].default for name in shared}


def test_texts_are_for_a_terminal_and_for_an_editor():
    for name, (_, about) in described(CampaignOptions).items():
        assert about.text.endswith(".") and "--" not in about.text, name


def test_defaults_are_filled_in_and_others_names_refused():
    @takes(PlaceOptions)
    def where(track, **options):
        """Its docstring."""
        return track, options

    given = {"data": "there", "reference": "", "device": "auto", "offline": False}
    assert where("digits", data="there") == ("digits", given)
    assert only(PlaceOptions, {**given, "budget": "1-steps"}) == given
    with pytest.raises(TypeError, match="unexpected keyword argument 'dta'"):
        where("digits", dta="there")
    with pytest.raises(TypeError, match="unexpected keyword argument 'raw'"):
        ditbench.run("digits", raw=True)


@pytest.mark.parametrize(
    ("asked", "typed", "said"),
    [
        ({"processes": 2, "executor": "inline"}, ("--nproc", "2", "--executor", "inline"), "has no {processes}; see"),
        ({"dry_run": True}, ("--dry-run",), "The executor 'process' has no {dry_run}; see"),
        ({"data": "digits:there"}, ("--data", "digits:there"), "{data} 'digits:there': the data set 'digits' is"),
        ({"micro_batch": 48}, ("--micro-batch", "48"), "{micro_batch} 48: "),
    ],
)
def test_python_is_told_fields_and_a_terminal_flags(asked, typed, said, tmp_path, monkeypatch, ditbench):
    monkeypatch.chdir(tmp_path)
    names = FLAGS.keys()
    with pytest.raises(BadValue) as raised:
        campaign.run("digits", ["dit"], **asked)
    assert said.format(**{name: f"`{name}`" for name in names}) in str(raised.value) and "--" not in str(raised.value)
    assert said.format(**FLAGS) in ditbench("run", "--plugins", "dit", *typed, code=2)


def test_why_a_run_failed_is_told_in_flags_and_kept_in_fields():
    record = unfinished(status="failed", reason="The checkpoint does not fit its run. Start over with `force`.")
    assert verdict(record) == "failed: The checkpoint does not fit its run. Start over with --force."


def test_nothing_but_options_in_backticks_become_flags():
    assert as_flags("more `gpus`, no `raw_weights`: `architectures`") == "more --gpus, no --raw: --plugins"
    as_it_is = "`ditbench fetch data`, data, `Data`, `depth`, 'out', `out"
    assert as_flags(as_it_is) == as_it_is


def test_backticks_of_others_become_no_flags(install, ditbench):
    error = ditbench("run", "--plugins", "`data`", code=2)
    assert "'`data`'" in error and "--data" not in error
    assert as_flags("the run's `out`, not '`out`' or \"it's `out`\": `force`") == (
        "the run's --out, not '`out`' or \"it's `out`\": --force"
    )
    source = "import ditbench\ndef make(wishes): raise ditbench.BadValue('give `data` and `by`')\n" + (
        "@ditbench.hookimpl\ndef ditbench_executors(): return [ditbench.Executor(name='odd', make=make)]\n"
    )
    install("ditbench-odd", "odd", source)
    assert ditbench("run", "--plugins", "dit", "--executor", "odd", code=2) == "ditbench: give 'data' and 'by'\n"
    assert one_line(ValueError("no `data` here")) == "no 'data' here" and one_line(BadValue("`data`")) == "'data'"


def test_who_made_an_error_is_known_in_another_process_too():
    with pytest.raises(BadValue) as raised:
        campaign.run("digits", ["dit"], micro_batch=48)
    again = pickle.loads(pickle.dumps(raised.value))
    assert type(again) is BadValue and str(again) == str(raised.value) and "`micro_batch`" in str(again)
    for error in (UnknownName("track", "tny", {"tiny"}), NoRecordsYet("later", interrupted=True)):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def options_of(command):
    """name -> flags, of a command's options and of those below it"""
    found = {option.name: set(option.opts) for option in command.params if option.param_type_name == "option"}
    for each in getattr(command, "commands", {}).values():
        found |= {name: found.get(name, set()) | flags for name, flags in options_of(each).items()}
    return found


def named_in_messages():
    """What strings that are no docstrings have in backticks, outside of the command line."""
    for path in PACKAGE.rglob("*.py"):
        if "cli" not in path.relative_to(PACKAGE).parts:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
                    yield from re.findall(r"`([a-z_]+)`", node.value)


def test_what_becomes_a_flag_is_one_and_what_messages_name_becomes_one():
    offered, named = options_of(typer.main.get_command(app)), set(named_in_messages())
    assert set(FLAGS.values()) <= set().union(*offered.values())
    assert {"force", "weights_url", "gpus"} <= named & offered.keys() <= FLAGS.keys()
