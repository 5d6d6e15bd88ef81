"""The workflows and the action: that strangers' code and text get no rights there, and that what they run exists."""

import importlib.util
import io
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.error
import zipfile
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
import typer
import yaml
from markdown_it import MarkdownIt
from records import unfinished

from ditbench.cli import app
from ditbench.records.record import write_record

ROOT = Path(__file__).parents[2]
PATHS = [*sorted((ROOT / ".github" / "workflows").glob("*.yml")), ROOT / "action.yml"]
FILES = {path.name: yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader) for path in PATHS}
JOBS = {(name, job): body for name, file in FILES.items() for job, body in file.get("jobs", {}).items()}
STEPS = [
    (name, step)
    for name, file in FILES.items()
    for body in [*file.get("jobs", {}).values(), file.get("runs")]
    if body
    for step in body["steps"]
]
SCRIPTS = [pytest.param(step["run"], id=f"{name}: {step['name']}") for name, step in STEPS if "run" in step]
WRITES = {  # all that may be written anywhere, and by which job
    ("comment.yml", "comment", "pull-requests"),
    ("leaderboard.yml", "publish", "pages"),
    ("leaderboard.yml", "publish", "id-token"),
}


def script(name, start):
    (found,) = [step["run"] for file, step in STEPS if file == name and step.get("name", "").startswith(start)]
    return found


def run(*command, **options):
    return subprocess.run(command, check=False, capture_output=True, text=True, **options)


def bash(code, folder, **environment):
    """Run a step as GitHub does."""
    options = ["--noprofile", "--norc", "-eo", "pipefail", "-c", code]
    return run("bash", *options, cwd=folder, env=dict(os.environ) | environment)


# Rights


def test_nothing_may_be_written_but_what_is_listed():
    assert {name for name, _ in JOBS} == {"ci.yml", "comment.yml", "docs.yml", "leaderboard.yml"}
    assert all(file["permissions"] == {} for name, file in FILES.items() if name != "action.yml")
    given = {(*place, scope): right for place, job in JOBS.items() for scope, right in job["permissions"].items()}
    assert set(given.values()) == {"read", "write"}
    assert {place for place, right in given.items() if right == "write"} == WRITES


def test_who_writes_never_runs_on_a_pull_request_or_with_its_files():
    assert not [name for name, file in FILES.items() if "pull_request_target" in file.get("on", {})]
    assert list(FILES["comment.yml"]["on"]) == ["workflow_run"]
    assert JOBS["leaderboard.yml", "publish"]["needs"] == "site"
    assert JOBS["leaderboard.yml", "site"]["if"] == "github.event_name == 'push'"
    (checkout,) = [step["with"] for step in JOBS["comment.yml", "comment"]["steps"] if "uses" in step]
    assert checkout["ref"] == "${{ github.event.repository.default_branch }}"
    assert not [step for step in JOBS["leaderboard.yml", "publish"]["steps"] if "run" in step]


def test_there_are_no_secrets_and_one_job_has_the_token():
    text = {path.name: path.read_text(encoding="utf-8") for path in PATHS}
    assert not [name for name, of in text.items() if "secrets." in of]
    assert [name for name, of in text.items() if "github.token" in of.lower()] == ["comment.yml"]
    checkouts = [step for _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == 8
    assert all(step["with"]["persist-credentials"] == "false" for step in checkouts)


def test_records_are_judged_by_the_base_branch():
    judge, data, install, *rest = JOBS["leaderboard.yml", "report"]["steps"]
    assert (judge["with"]["ref"], judge["with"]["path"]) == ("${{ github.base_ref }}", "judge")
    assert "ref" not in data["with"] and data["with"]["path"] == "proposed"
    assert install["working-directory"] == "judge" and "uv sync --no-default-groups" in install["run"], "light"
    assert not [step for step in rest if "working-directory" in step or "uv run" in step.get("run", "")]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_and_alike_everywhere(path):
    everywhere = "\n".join(other.read_text(encoding="utf-8") for other in PATHS)
    for action, pin in re.findall(r"uses: (\S+?)(@.*)?$", path.read_text(encoding="utf-8"), re.MULTILINE):
        if action == "./" or "OWNER" in action:
            continue
        assert re.fullmatch(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+", pin), action
        assert len(set(re.findall(rf"{re.escape(action)}@(\S+)", everywhere))) == 1, action


@pytest.mark.parametrize("code", SCRIPTS)
def test_scripts_are_bash_and_no_text_of_others_is_code_in_them(code):
    assert "${{" not in code
    checked = run("bash", "-n", "-c", code)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_every_job_ends_and_every_script_stops_at_the_first_error():
    assert all(int(job["timeout-minutes"]) <= 60 for job in JOBS.values())
    for name, step in STEPS:
        if "run" in step:
            assert step.get("shell") == "bash" or FILES[name]["defaults"]["run"]["shell"] == "bash"


def test_zizmor_finds_nothing():
    found = run(Path(sys.executable).parent / "zizmor", "--offline", "--no-progress", *PATHS)
    assert found.returncode == 0, found.stdout


# Commands


def commands(code):
    """The ditbench commands of a script, as arguments."""
    for line in re.findall(r'(?<!["\w/.-])ditbench ([a-z].*)', code):
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command = []
        for word in words:
            if set(word) <= set("|&;<>()"):
                break
            command.append(word)
        yield command[:-1] if command[-1] == "2" else command  # of 2>&1


COMMANDS = sorted({tuple(command) for _, step in STEPS for command in commands(step.get("run", ""))})


def test_commands_are_found():
    firsts = {command[:2] for command in COMMANDS}
    assert {
        ("records", "validate"),
        ("leaderboard", "build"),
        ("leaderboard", "report"),
        ("run", "--plugins"),
    } == firsts
    assert ("records", "validate", "proposed/leaderboard/records") in COMMANDS


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_exists_with_its_options(command):
    group = typer.main.get_command(app)
    context = group.make_context("ditbench", list(command))
    while hasattr(group, "resolve_command"):
        name, group, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        context = group.make_context(name, rest, parent=context)


def test_ci_runs_what_the_project_calls_ci_on_the_pythons_it_supports():
    assert script("ci.yml", "Tests") == "bash .ci/run"
    pythons = JOBS["ci.yml", "test"]["strategy"]["matrix"]["python"]
    assert pythons[0] == "3.11" and 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text()


# The steps themselves


def test_links_among_the_data_are_refused(tmp_path):
    code = script("leaderboard.yml", "Data has no links")
    folder = tmp_path / "proposed" / "leaderboard"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text("{}")
    assert bash(code, tmp_path).returncode == 0
    (folder / "b.json").symlink_to("/etc/hostname")
    assert bash(code, tmp_path).returncode == 1


def test_nothing_that_a_pull_request_wrote_is_a_command_in_the_log():
    steps = JOBS["leaderboard.yml", "report"]["steps"]
    told = [step["run"] for step in steps if re.search(r"^ditbench ", step.get("run", ""), re.MULTILINE)]
    assert len(told) == 3
    for code in told:
        assert code.index('echo "::stop-commands::$word"') < code.index("ditbench ")


def test_what_commands_said_is_a_block_of_code_in_the_report(tmp_path):
    hostile = "first\n```\n# a heading\r# another <img src=x> @team\n"
    (tmp_path / "validation.txt").write_text(hostile, newline="")
    (tmp_path / "tables.txt").write_text("fine\n")
    (tmp_path / "difference.md").write_text("")
    code, summary = script("leaderboard.yml", "Put the report"), str(tmp_path / "summary")
    done = bash(code, tmp_path, GITHUB_STEP_SUMMARY=summary, RECORDS="failure", TABLES="failure")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report.md").read_text()
    assert text == (tmp_path / "summary").read_text()
    tokens = MarkdownIt("commonmark").parse(text)
    assert [token.type for token in tokens if token.type.endswith("_block")] == ["code_block", "code_block"]
    assert text.startswith("# Not yet: a record does not hold\n") and text.endswith("The records can't be compared.\n")
    assert text.count("<img") == 1
    assert all("<img" not in token.content for token in tokens if token.type != "code_block")
    (tmp_path / "difference.md").write_text("# the verdict\n")
    assert bash(code, tmp_path, GITHUB_STEP_SUMMARY=summary, RECORDS="success", TABLES="success").returncode == 0
    assert (tmp_path / "report.md").read_text() == "# the verdict\n"  # what passed is not repeated


@pytest.mark.parametrize(("status", "reported"), [(0, True), (1, True), (2, False)])
def test_the_action_reports_runs_that_failed_and_takes_no_input_for_code(tmp_path, status, reported):
    tool = tmp_path / "ditbench" / "venv" / "bin" / "ditbench"
    tool.parent.mkdir(parents=True)
    tool.write_text(
        "#!/usr/bin/env bash\n"
        'if [ "$1" = leaderboard ]; then echo "# the report"; exit; fi\n'
        'mkdir -p "${@: -1}"\n'
        f'printf "%s\\n" "$@" > "$RUNNER_TEMP/arguments"; exit {status}\n'
    )
    tool.chmod(0o755)
    evil = '$(touch pwned)"; touch pwned; `touch pwned`'
    inputs = {"ARCHITECTURES": evil, "BASELINES": "dit", "TRACK": evil, "BUDGET": "--help", "SEEDS": "0,1,2"}
    files = {"GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    done = bash(script("action.yml", "Run and report"), tmp_path, RUNNER_TEMP=str(tmp_path), **inputs, **files)
    assert done.returncode == status, done.stderr
    words = (tmp_path / "arguments").read_text().splitlines()
    assert words[words.index("--plugins") + 1] == f"{evil},dit" and words[words.index("--track") + 1] == evil
    assert not list(tmp_path.rglob("pwned"))
    assert (tmp_path / "output").exists() == reported
    if reported:
        outputs = dict(line.split("=", 1) for line in (tmp_path / "output").read_text().splitlines())
        assert Path(outputs["report"]).read_text() == (tmp_path / "summary").read_text() == "# the report\n"
        assert outputs["runs"] == str(tmp_path / "ditbench" / "runs")


def test_the_action_reports_a_run_that_failed_past_its_first_checkpoint(tmp_path):
    """The real report of what such a run leaves."""
    lost, tool = unfinished("toy:nano", status="failed"), tmp_path / "ditbench" / "venv" / "bin" / "ditbench"
    left = tmp_path / "left" / "tiny" / lost.run_id
    (left / "checkpoints" / "000021").mkdir(parents=True)
    (left / "checkpoints" / "000021" / "state.json").write_text("{}")
    write_record(lost, left / "record.json")
    tool.parent.mkdir(parents=True)
    tool.write_text(
        "#!/usr/bin/env bash\n"
        f'if [ "$1" = leaderboard ]; then exec {sys.executable} -m ditbench "$@"; fi\n'
        f'cp -r {tmp_path / "left"} "${{@: -1}}"; exit 1\n'
    )
    tool.chmod(0o755)
    inputs = {"ARCHITECTURES": "toy", "BASELINES": "", "TRACK": "tiny", "BUDGET": "short", "SEEDS": "0"}
    files = {"GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    done = bash(script("action.yml", "Run and report"), tmp_path, RUNNER_TEMP=str(tmp_path), **inputs, **files)
    assert done.returncode == 1, done.stderr
    text = (tmp_path / "summary").read_text()
    assert text.startswith("# 1 board, all rows\n") and "toy:nano" in text and lost.reason in text


# The comment

HOSTILE = """# Report
| a | b |
|---|---|
| `dit:nano` | @team and &#64;team <img src=//x onerror=alert(1)> <!-- |
[link](//x) ![image](//x) ![image][ref] https://evil.example www.evil.example #12 org/repo#12 GH-12 mail@evil.example

[ref]: //x
\u202e\x07\x00 javascript://x
"""


@pytest.fixture(scope="module")
def comment():
    spec = importlib.util.spec_from_file_location("comment", ROOT / ".github" / "comment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_text_is_inert_and_reads_as_before(comment):
    text = comment.tame(HOSTILE, comment.allowed("https://github.com/us/ditbench", "c0ffee"))
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    inner = [child for token in tokens for child in token.children or []]
    kinds = {token.type for token in (*tokens, *inner)}
    assert {"heading_open", "table_open", "code_inline"} <= kinds
    assert not kinds & {"html_block", "html_inline", "link_open", "image"}
    rendered = "".join(child.content for child in inner if child.type == "text")
    assert not re.search(r"@\w|#\d|://|www\.|GH-\d|<\w", rendered)
    assert text.replace("\u200b", "") == "\n".join(re.sub("[\u202e\x07\x00]", " ", HOSTILE).splitlines())
    assert text.isprintable() or set(filter(lambda c: not c.isprintable(), text)) == {"\n", "\u200b"}


GRID = "![samples of a-1](https://github.com/us/ditbench/raw/c0ffee/leaderboard/samples/digits/a-1.png)"
PAGE = "[`a-1`](https://us.github.io/ditbench/runs/a-1.html)"


def test_grids_of_the_commit_and_pages_of_the_site_are_shown_and_no_others(comment):
    kept = comment.allowed("https://github.com/us/ditbench", "c0ffee")
    assert comment.tame(f"| {GRID} | @a |\n{PAGE}", kept) == f"| {GRID} | @\u200ba |\n{PAGE}"
    others = (
        GRID.replace("c0ffee", "0ld"), GRID.replace("us/", "them/"), GRID.replace("a-1.png", "../../a.png"),
        GRID.replace("digits/", "digits/x/"), GRID.replace("github.com", "github.com.evil"), f"[{GRID}](//x)",
        PAGE.replace("us.", "them."), PAGE.replace("runs/", "runs/../"), PAGE.replace("`a-1`", "Approve"),
        GRID.replace("of a-1", "of @team"), PAGE.replace(".html)", '.html "@team")'),
    )  # fmt: skip
    for other in others:
        tokens = MarkdownIt("commonmark").parse(comment.tame(other, kept))
        inner = [child for token in tokens for child in token.children or []]
        assert "link_open" not in {child.type for child in inner}, other
        assert [c.attrs["src"] for c in inner if c.type == "image"] == (
            [GRID.partition("(")[2][:-1]] if GRID in other else []
        ), other


class GitHub(BaseHTTPRequestHandler):
    """As much of GitHub's API as the comment needs."""

    def do_GET(self):
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.server.seen.append((url.path, self.headers.get("Authorization")))
        if url.path == "/repos/us/ditbench/pulls":
            ours = asked == {"state": "open", "base": "main", "head": "them:a/branch&state=all"}
            return self.answer([{"number": 7, "head": {"sha": "c0ffee"}}] if ours else [])
        if url.path == "/repos/us/ditbench/actions/runs/5/artifacts":
            if self.server.refused == "artifacts":
                return self.send_error(502)
            return self.answer({"artifacts": [{"id": 9}] if self.server.report is not None else []})
        if url.path == "/repos/us/ditbench/actions/artifacts/9/zip":
            self.send_response(302)  # to where files lie, as GitHub does
            self.send_header("Location", f"http://localhost:{self.server.server_port}/file")
            return self.end_headers()
        if url.path == "/file":
            return self.answer(self.server.report)
        assert url.path == "/repos/us/ditbench/issues/7/comments"
        start = 100 * (int(asked["page"]) - 1)
        return self.answer(self.server.comments[start : start + 100])

    def do_POST(self):
        assert self.path == "/repos/us/ditbench/issues/7/comments"
        self.server.comments.append({"id": 1000, "user": {"login": "github-actions[bot]"}, **self.body()})
        self.answer({})

    def do_PATCH(self):
        (found,) = [c for c in self.server.comments if self.path == f"/repos/us/ditbench/issues/comments/{c['id']}"]
        body = self.body()
        if self.server.refused == "longer than a line" and len(body["body"]) > 200:
            return self.send_error(422)
        found.update(body)
        return self.answer({})

    def body(self):
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, content):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def github(monkeypatch):
    """GitHub with a run 5 of the open pull request 7, whose report is to be set, and 150 comments of others."""
    with ThreadingHTTPServer(("127.0.0.1", 0), GitHub) as server:
        server.seen, server.report, server.refused = [], None, ""
        server.comments = [
            {"id": n, "user": {"login": "somebody"}, "body": "<!-- ditbench leaderboard report -->"} for n in range(150)
        ]
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        variables = {
            "GITHUB_API_URL": f"http://127.0.0.1:{server.server_port}", "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "us/ditbench", "GITHUB_TOKEN": "token", "RUN_ID": "5", "CONCLUSION": "failure",
            "HEAD_SHA": "c0ffee", "HEAD_OWNER": "them", "HEAD_BRANCH": "a/branch&state=all",
        }  # fmt: skip
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield server
        server.shutdown()


def packed(text, name="report.md"):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return content.getvalue()


def test_one_comment_is_made_and_then_renewed(comment, github):
    github.report = packed("# Report\nfirst @team")
    comment.main()
    *others, ours = github.comments
    assert len(others) == 150 and "did not pass" in ours["body"]
    assert "# Report\nfirst @\u200bteam" in ours["body"] and "/us/ditbench/actions/runs/5)" in ours["body"]
    github.report = packed("second")
    comment.main()
    assert len(github.comments) == 151 and "second" in github.comments[-1]["body"]
    assert dict(github.seen)["/repos/us/ditbench/pulls"] == "Bearer token"
    assert dict(github.seen)["/file"] is None  # the token goes to GitHub's API alone


@pytest.mark.parametrize(
    ("report", "says"),
    [
        (None, "The run left no report."),
        (b"no zip", "The report can't be read: BadZipFile."),
        (packed("x", name="../report.md"), "The report can't be read: KeyError."),
        (packed("a line\n" * 10_000_000), "The report goes on; the run's artifact has all of it."),
        (packed("<@\n" * 16_000), "The report goes on; the run's artifact has all of it."),
        (packed("@" * 65_000), "The report goes on; the run's artifact has all of it."),
        (packed("\U0001f600" * 16_000), "\U0001f600" * 10_000),
        (packed("\u202e" * 60_000), "The report goes on; the run's artifact has all of it."),
        (os.urandom(2**20 + 1), "The report can't be read: actions/artifacts/9/zip is larger than 1048576 bytes."),
    ],
    ids=["none", "no zip", "another file", "70 MB in 70 kB", "all active", "one line", "smileys", "marks", "too large"],
)
def test_whatever_the_run_left_makes_a_comment_that_fits(comment, github, report, says):
    github.report = report
    comment.main()
    assert says in github.comments[-1]["body"] and len(github.comments[-1]["body"].encode()) <= 65_536


@pytest.mark.parametrize("refused", ["longer than a line", "artifacts"])
def test_what_said_passed_is_replaced_though_the_report_can_not_be_shown(comment, github, monkeypatch, refused):
    monkeypatch.setenv("CONCLUSION", "success")
    github.report = packed("all fine")
    comment.main()
    assert " passed." in github.comments[-1]["body"]
    monkeypatch.setenv("CONCLUSION", "cancelled")
    github.refused = refused
    with pytest.raises(urllib.error.HTTPError) if refused != "artifacts" else nullcontext():
        comment.main()
    body = github.comments[-1]["body"]
    assert len(github.comments) == 151 and "c0ffee did not pass." in body and "fine" not in body
    assert "GitHub answers 422" in body or "The report can't be read: HTTPError." in body


def test_a_run_that_is_not_of_the_branchs_head_is_told_to_nobody(comment, github, monkeypatch, capsys):
    github.report = packed("old")
    monkeypatch.setenv("HEAD_SHA", "0ld")
    comment.main()
    assert "No open pull request on main has 0ld" in capsys.readouterr().out and len(github.comments) == 150
