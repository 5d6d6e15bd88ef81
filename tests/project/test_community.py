"""What people read before they write to us: the forms as GitHub checks them, the checklist, the changelog."""

import re
import shlex
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import typer
import yaml

from ditbench.cli import app

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
FORMS = [path for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]
PAGES = [
    ROOT / "CHANGELOG.md",
    ROOT / "CODE_OF_CONDUCT.md",
    ROOT / "CONTRIBUTING.md",
    GITHUB / "PULL_REQUEST_TEMPLATE.md",
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# what GitHub knows, and what each must have, docs.github.com: "Syntax for GitHub's form schema"
ATTRIBUTES = {
    "markdown": {"value"},
    "input": {"label"},
    "textarea": {"label"},
    "dropdown": {"label", "options"},
    "checkboxes": {"label", "options"},
}
TOP = {"name", "description", "body", "title", "labels", "assignees", "projects", "type"}


def name(path):
    return path.name


def faults(form):
    """Why GitHub would not show this form."""
    if missing := {"name", "description", "body"} - {key for key, value in form.items() if value}:
        return [f"no {key}" for key in sorted(missing)]
    found = [f"unknown key {key}" for key in sorted(form.keys() - TOP)]
    fields = [element for element in form["body"] if element.get("type") != "markdown"]
    for element in form["body"]:
        found += element_faults(element)
    for what, values in {
        "id": [field["id"] for field in fields if "id" in field],
        "label": [field["attributes"]["label"] for field in fields if "label" in field.get("attributes", {})],
    }.items():
        found += [f"{what} {value!r} twice" for value, times in Counter(values).items() if times > 1]
    return found if fields else [*found, "asks nothing"]


def element_faults(element):
    kind = element.get("type")
    if kind not in ATTRIBUTES:
        return [f"unknown type {kind}"]
    given = {key for key, value in element.get("attributes", {}).items() if value}
    found = [f"{element.get('id', kind)}: no {key}" for key in sorted(ATTRIBUTES[kind] - given)]
    if kind != "markdown" and not re.fullmatch(r"[A-Za-z0-9_-]+", element.get("id", "")):
        found.append(f"{kind} without a usable id")
    return found


@pytest.mark.parametrize("path", FORMS, ids=name)
def test_a_form_is_one_that_github_shows(path):
    assert faults(yaml.safe_load(path.read_text(encoding="utf-8"))) == []


def test_forms_have_names_of_their_own():
    names = [yaml.safe_load(path.read_text(encoding="utf-8"))["name"] for path in FORMS]
    assert len(set(names)) == len(names) == 3


@pytest.mark.parametrize(
    "body, fault",
    [
        ([{"type": "markdown", "attributes": {"value": "Hello"}}], "asks nothing"),
        ([{"type": "text", "id": "a", "attributes": {"label": "A"}}], "unknown type text"),
        ([{"type": "input", "id": "a", "validations": {"required": True}}], "a: no label"),
        ([{"type": "dropdown", "id": "a", "attributes": {"label": "A"}}], "a: no options"),
        ([{"type": "input", "attributes": {"label": "A"}}], "input without a usable id"),
        ([{"type": "input", "id": "a", "attributes": {"label": label}} for label in "AB"], "id 'a' twice"),
        ([{"type": "input", "id": id_, "attributes": {"label": "A"}} for id_ in "ab"], "label 'A' twice"),
    ],
)
def test_a_faulty_form_would_be_noticed(body, fault):
    assert fault in faults({"name": "Form", "description": "A form", "body": body})


def test_a_form_needs_a_name_a_description_and_a_body():
    assert faults({"name": "Form", "body": []}) == ["no body", "no description"]


def test_the_bug_form_asks_for_what_a_run_left():
    form = (GITHUB / "ISSUE_TEMPLATE" / "bug.yml").read_text(encoding="utf-8")
    for wanted in ("`ditbench env`", "label: The command", "label: log.txt", "label: record.json"):
        assert wanted in form


def test_config_says_no_more_than_github_knows():
    config = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / "config.yml").read_text(encoding="utf-8"))
    assert config.keys() <= {"blank_issues_enabled", "contact_links"}


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation.keys() >= {"cff-version", "message", "title", "authors"}  # the schema's required keys
    versions = re.findall(r"^## \[(.+?)\] - ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert citation["version"] == versions[0] == PROJECT["project"]["version"]
    assert citation["license"] == PROJECT["project"]["license"]


def test_the_changelog_has_the_sections_of_its_form():
    sections = re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(sections) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Known limits"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page):
    for target, anchor in re.findall(r"\]\((?!https:)([^)#]+)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
        assert not anchor or anchor in anchors(page.parent / target), anchor


def anchors(page):
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}


def test_files_that_forms_and_checklist_name_exist():
    # by their paths from the root: relative links in an issue or a pull request lead elsewhere
    for page in [*FORMS, GITHUB / "PULL_REQUEST_TEMPLATE.md"]:
        for path in re.findall(r"`((?:ditbench|tests|leaderboard)/[\w/.]+)`", page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def commands():
    """All that starts with `ditbench` or `uv run` in these files, in a line of a shell block or in backticks."""
    for page in [*PAGES, *FORMS]:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        lines = [line.strip() for block in blocks for line in block.splitlines()]
        for line in lines + re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text):
            if re.match(r"(uv run|ditbench) ", line):
                yield f"{page.name}: {line}"


@pytest.mark.parametrize("case", sorted(set(commands())))
def test_every_command_parses(case):
    words = shlex.split(case.partition(": ")[2].removeprefix("uv run "))
    {"ditbench": parse_ditbench, "pytest": parse_pytest}.get(words[0], known_tool)(words)


def parse_ditbench(words):
    command, rest = typer.main.get_command(app), words[1:]
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        command, rest = command.commands[rest[0]], rest[1:]
    if rest:  # else it is a mention of the command
        command.make_context(command.name, rest)


def parse_pytest(words):
    markers = {marker.partition(":")[0] for marker in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    if "-m" in words:
        assert set(words[words.index("-m") + 1].split()) - {"not", "or", "and"} <= markers
    for path in [word for word in words[1:] if word.endswith(".py")]:
        assert (ROOT / path).exists(), path


def known_tool(words):
    wanted = [requirement.split(">")[0] for requirement in PROJECT["dependency-groups"]["dev"] if ">" in requirement]
    assert words[0] in wanted


@pytest.mark.parametrize(
    "words", ["ditbench chek dit", "ditbench check --reprot a.md dit", "ditbench records verify A"]
)
def test_a_command_that_does_not_exist_would_be_noticed(words):
    with pytest.raises(Exception, match=r"chek|No such option|Missing"):
        parse_ditbench(words.split())
