"""What commands give with --json: each declares its shape, gives that and nothing else, or the fault.

The fixture `ditbench` holds every answer of every test against its shape; the whole way of a run is in test_agent.
"""

import json
import subprocess
import sys

import pytest
from answered import COMMANDS, check_answer, named_in
from pydantic import ValidationError
from records import finished

from ditbench import cli
from ditbench.cli.answers import schema
from ditbench.cli.app import EXIT_CODES
from ditbench.cli.output import gives, needs_torch
from ditbench.records.record import write_record

WITHOUT = {"leaderboard serve"}  # commands that have no result: one goes on until Ctrl-C


def flags(command):
    return {option for parameter in command.params for option in parameter.opts}


def test_a_command_with_a_result_declares_it_and_takes_json():
    assert {name for name, command in COMMANDS.items() if not gives(command)} == WITHOUT
    assert {name for name, command in COMMANDS.items() if "--json" not in flags(command)} == WITHOUT


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - WITHOUT))
def test_a_shape_says_what_each_key_is(name):
    text = json.dumps(schema(gives(COMMANDS[name])))
    assert '"type": "object"' in text and '"description"' in text


def test_all_commands_are_listed_from_the_command_line_itself(ditbench):
    told = json.loads(ditbench("commands", "--json"))
    assert told["exit_codes"] == EXIT_CODES and "error" in told["error_schema"]["properties"]
    found = {one["name"]: one for one in told["commands"]}
    assert found.keys() == COMMANDS.keys()
    for name, one in found.items():
        typed = [*(option["name"] for option in one["options"]), *(argument["name"] for argument in one["arguments"])]
        assert set(typed) == {parameter.opts[0] for parameter in COMMANDS[name].params if parameter.name != "help"}
        assert one["summary"] and one["needs_torch"] == needs_torch(COMMANDS[name])
        assert one["takes_json"] == (one["json_schema"] is not None) == (name not in WITHOUT)
        assert one["examples"] or name == "plugins"  # a group, whose own example is its help's


def test_a_parameter_is_described_as_it_is_typed(ditbench):
    (run, show) = json.loads(ditbench("commands", "run", "track show", "--json"))["commands"]
    options = {option["name"]: option for option in run["options"]}
    assert options["--out"]["type"] == "path" and options["--out"]["default"] == "runs"
    assert options["--compile"]["choices"] == ["on", "off", "blocks"]
    assert options["--with"]["repeated"] and not options["--track"]["repeated"]
    assert (options["--nproc"]["type"], options["--nproc"]["least"]) == ("integer", 1)
    (name,) = show["arguments"]
    assert (name["name"], name["required"], name["type"]) == ("name", True, "text")
    listed = json.loads(ditbench("commands", "leaderboard", "--json"))["commands"]
    assert {one["name"].split()[0] for one in listed} == {"leaderboard"} and len(listed) > 2
    assert "Did you mean 'runs list'" in ditbench("commands", "runs lst", code=2)
    assert "leaderboard serve" in ditbench("commands")


@pytest.fixture
def both(monkeypatch, capsys):
    """A function that runs a command and gives its exit code, what it answered, and what it said beside that."""

    def both(*arguments):
        monkeypatch.setattr(sys, "argv", ["ditbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, errors = capsys.readouterr()
        return ended.value.code, json.loads(out), errors

    return both


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (("track", "show", "digts", "--json"), "UnknownName", "Did you mean 'digits'"),
        (("list", "colours", "--json"), "WrongUse", "list --help"),
        (("nonsense", "--json"), "WrongUse", "nonsense"),
        (("runs", "list", "--runs", "nowhere", "--json"), "BadFile", "--runs names another"),
        (("leaderboard", "--json"), "WrongUse", "--json"),
    ],
)
def test_a_fault_is_an_object_in_the_answers_place(both, arguments, kind, words):
    code, answer, errors = both(*arguments)
    assert code == answer["error"]["exit_code"] == 2 and answer["error"]["kind"] == kind
    assert words in answer["error"]["message"]
    assert errors == f"ditbench: {answer['error']['message']}\n", "and a person reads the same"


def test_a_bug_is_told_and_keeps_its_traceback(monkeypatch, capsys):
    def broken(*arguments):
        raise ValueError("oh\nno")

    monkeypatch.setattr(cli.inspect, "installed", broken)
    monkeypatch.setattr(sys, "argv", ["ditbench", "list", "--json"])
    with pytest.raises(ValueError, match="oh"):
        cli.main()
    told = json.loads(capsys.readouterr().out)
    assert told == {"error": {"kind": "ValueError", "message": "oh no", "exit_code": 1}}


def test_an_interruption_is_told(monkeypatch, both):
    def pressed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.inspect, "installed", pressed)
    code, answer, _ = both("list", "--json")
    assert code == answer["error"]["exit_code"] == 130 and answer["error"]["kind"] == "Interrupted"


def test_a_fault_behind_an_answer_gives_no_second_document(monkeypatch, both):
    monkeypatch.setattr(cli.inspect, "show", lambda *arguments: said_and_broken())

    def said_and_broken():
        from ditbench.cli.output import tell_json
        from ditbench.errors import BadFile

        tell_json([])
        raise BadFile("the disk is full")

    code, answer, errors = both("list", "metrics", "--json")
    assert (code, answer, errors) == (2, [], "ditbench: the disk is full\n")


def test_what_people_read_is_beside_the_answer(both, monkeypatch):
    monkeypatch.setattr("ditbench.extras.is_light", lambda: True)  # torch takes seconds
    code, answer, errors = both("track", "check", "digits", "fashion32", "--json")
    assert code in (None, 0) and [one["track"] for one in answer] == ["digits", "fashion32"]
    assert all(one["published"] and not one["made"] for one in answer)
    *lines, last = errors.splitlines()
    assert lines == [f"{one['track']} {one['version']} {one['hash']} as published" for one in answer]
    assert last.startswith("not checked: that their components can be made")


def test_who_asks_for_no_json_gets_none(ditbench, capsys):
    ditbench("track", "show", "digts", code=2)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        *(("list", kind) for kind in cli.inspect.Listing),
        ("plugins",),
        ("plugins", "doctor"),
        ("track", "show", "imagenet256"),
        ("fetch", "digits-cnn"),
        ("records", "schema"),
    ],
    ids=" ".join,
)
def test_what_is_installed_is_told_in_its_shape(ditbench, arguments):
    assert json.loads(ditbench(*arguments, "--json"))


def test_a_new_package_tells_its_files_and_what_is_next(ditbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = json.loads(ditbench("new", "my-arch", "--json"))
    assert (made["component"], made["kind"], made["folder"]) == ("my_arch", "architecture", str(tmp_path / "my-arch"))
    assert all((tmp_path / "my-arch" / file).is_file() for file in made["files"])
    assert "./my-arch" in made["next"][0] and made["next"][1].endswith("ditbench check my_arch")


def test_a_report_has_its_boards(ditbench, tmp_path):
    for seed in (0, 1, 2):
        for name, value in (("a:b", 10.0), ("c:d", 20.0)):
            record = finished(name, fid=value + seed, seed=seed)
            write_record(record, tmp_path / f"{record.run_id}.json")
    told = json.loads(ditbench("leaderboard", "report", str(tmp_path), "--json"))
    (board,) = told["boards"]
    assert told["records"] == 6 and told["markdown"].startswith("# ") and told["base"] is None
    assert [row["architecture"] for row in board["rows"]] == ["a:b", "c:d"]
    assert board["rows"][0]["quality"][board["ranks_by"]]["mean"] == 11.0


def test_where_runs_stand_is_told_in_its_shape(ditbench, tmp_path):
    record = finished()
    (tmp_path / "digits" / record.run_id).mkdir(parents=True)
    write_record(record, tmp_path / "digits" / record.run_id / "record.json")
    (row,) = json.loads(ditbench("status", str(tmp_path), "--json"))
    assert (row["run"], row["record"]) == (record.run_id, "finished")


def test_an_answer_of_another_shape_would_be_found():
    assert named_in(["plugins", "doctor", "--json"]) == "plugins doctor" and named_in(["plugins"]) == "plugins"
    check_answer(["list", "metrics"], '[{"name": "fid", "description": "x"}]', 0)
    for wrong in ('[{"name": "fid"}]', '[{"name": "fid", "description": "x", "more": 1}]', "{}"):
        with pytest.raises(ValidationError):
            check_answer(["list", "metrics"], wrong, 0)
    with pytest.raises(AssertionError):
        check_answer(["list"], '{"error": {"kind": "BadFile", "message": "x", "exit_code": 2}}', 0)


def test_listing_all_commands_loads_no_torch():
    code = "import sys; sys.argv = ['ditbench', 'commands', '--json']; from ditbench.cli import app; "
    code += "app(standalone_mode=False); print('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "False\n" and json.loads(done.stdout)["commands"]
