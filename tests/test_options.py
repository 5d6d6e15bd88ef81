"""An option of a run is named, typed, defaulted and explained once: Python, plan, records and command line agree."""

import inspect
from dataclasses import fields

import pytest
import typer.main

import ditbench
from ditbench.benchmark.generation import open_checkpoint
from ditbench.benchmark.reevaluation import re_evaluate
from ditbench.cli import app
from ditbench.cli.options import flag
from ditbench.cli.plan import OPTIONS as PLANNED
from ditbench.executors.engine import Wishes
from ditbench.options import CampaignOptions, EngineOptions, PlaceOptions, RunOptions, described, only, takes
from ditbench.tracks.config import RunConfig
from ditbench.tracks.plan import make_plan

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
    assert set(run) - {"plugins", "quiet", "help"} == python - {"architectures"}
    for name, (_, about) in described(CampaignOptions).items():
        assert run[name] == ([flag(name)], about.text)
        assert name not in PLANNED or plan[name] == run[name]
    assert set(PLANNED) <= set(plan)


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
