"""Put the report that a run of leaderboard.yml left under its pull request: what comment.yml runs, on main's own copy.

The report is a stranger's text, since a pull request can change what its own run leaves. So it is never written to
disk, no more than its first characters are read, and nothing in it can notify, link, load or hide anything. Which pull
request it belongs to is what GitHub says of the run's branch and commit, never what the report says.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import re
import sys
import urllib.parse
import urllib.request
import zipfile
import zlib
from typing import Any

ARTIFACT, FILE = "leaderboard-report", "report.md"
MARK = "<!-- ditbench leaderboard report -->"
MAX_DOWNLOAD, MAX_CHARACTERS, TIMEOUT = 2**20, 50_000, 60  # a comment holds 65,536 characters
BOT = "github-actions[bot]"
# Where GitHub's Markdown starts a mention, HTML, an entity, a reference, a link, an image or a footnote.
ACTIVE = re.compile(r"[@<&$]|#(?=\d)|\bGH-(?=\d)|\bwww(?=\.)|:(?=//)|\](?=[(\[:])", re.IGNORECASE)
APART = "\u200b"  # a space of no width, which keeps two characters from meaning anything together


def main() -> None:
    """Comment on the pull request of the run that the environment names, or say why not."""
    run, commit = int(os.environ["RUN_ID"]), os.environ["HEAD_SHA"]
    number = pull_request(f"{os.environ['HEAD_OWNER']}:{os.environ['HEAD_BRANCH']}", commit)
    if number is None:
        sys.exit(f"No open pull request on main has {commit} as its head: it is closed, or has moved on.")
    where = f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}/actions/runs/{run}"
    passed = "passed" if os.environ["CONCLUSION"] == "success" else "did not pass"
    text = (
        f"{MARK}\nThe [checks of the records]({where}) at {commit[:10]} {passed}. What follows is what they printed; "
        f"a pull request that changes the workflows can change it, too.\n\n{tame(report(run))}\n"
    )
    publish(number, text)


def pull_request(head: str, commit: str) -> int | None:
    """The open pull request on main of a branch, ``owner:branch``, if the commit is still its head."""
    found = call("GET", "pulls?" + urllib.parse.urlencode({"state": "open", "base": "main", "head": head}))
    return next((int(pull["number"]) for pull in found if pull["head"]["sha"] == commit), None)


def report(run: int) -> str:
    """The first characters of the report that a run left."""
    found = call("GET", f"actions/runs/{run}/artifacts?name={ARTIFACT}")["artifacts"]
    if not found:
        return "The run left no report."
    packed = fetch("GET", f"actions/artifacts/{int(found[0]['id'])}/zip", limit=MAX_DOWNLOAD)
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive, archive.open(FILE) as file:
            text = file.read(4 * MAX_CHARACTERS + 4).decode("utf-8", "replace")
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, KeyError, RuntimeError) as error:
        return f"The report can't be read: {type(error).__name__}."
    if len(text) <= MAX_CHARACTERS:
        return text
    return text[:MAX_CHARACTERS].rpartition("\n")[0] + "\n\nThe report goes on; the run's artifact has all of it."


def tame(text: str) -> str:
    """The text as it was to the eye, but inert: only tables, headings, lists and code keep their meaning."""
    lines = ("".join(c if c.isprintable() else " " for c in line) for line in text.splitlines())
    return ACTIVE.sub(rf"\g<0>{APART}", "\n".join(lines))


def publish(number: int, text: str) -> None:
    """Create the comment, or renew the one that is there."""
    for page in range(1, 31):
        comments = call("GET", f"issues/{number}/comments?per_page=100&page={page}")
        for comment in comments:
            if comment["user"]["login"] == BOT and comment["body"].startswith(MARK):
                call("PATCH", f"issues/comments/{int(comment['id'])}", {"body": text})
                return
        if len(comments) < 100:
            break
    call("POST", f"issues/{number}/comments", {"body": text})


def call(method: str, path: str, body: dict[str, str] | None = None) -> Any:
    """What the repository's API answers, as JSON."""
    return json.loads(fetch(method, path, body))


def fetch(method: str, path: str, body: dict[str, str] | None = None, limit: int = 2**25) -> bytes:
    """What the repository's API answers; it ends the program if that is more than `limit` bytes."""
    url = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/{path}"
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, method=method)
    request.add_header("Accept", "application/vnd.github+json")
    request.add_unredirected_header("Authorization", f"Bearer {os.environ['GITHUB_TOKEN']}")  # not to where files lie
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        content: bytes = answer.read(limit + 1)
    if len(content) > limit:
        sys.exit(f"{path} is larger than {limit} bytes.")
    return content


if __name__ == "__main__":
    main()
