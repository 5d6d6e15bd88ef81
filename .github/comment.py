"""Put the report that a run of leaderboard.yml left under its pull request: what comment.yml runs, on main's own copy.

The report is a stranger's text, since a pull request can change what its own run leaves. So it is never written to
disk, no more than its beginning is read, and nothing in it can notify or hide anything. It can load only grids of
samples of the very commit, and link only to runs' pages of the repository's own site. Which pull request it belongs to
is what GitHub says of the run's branch and commit, never what the report says. Whatever becomes of the report, the
comment says how the last checks ended: what it said of others before never stays.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import re
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from itertools import count
from typing import Any

ARTIFACT, FILE = "leaderboard-report", "report.md"
MARK = "<!-- ditbench leaderboard report -->"
MAX_DOWNLOAD, MAX_COMMENT, TIMEOUT = 2**20, 65_536, 60  # a comment holds so many characters; here, bytes of UTF-8
BOT = "github-actions[bot]"
# Where GitHub's Markdown starts a mention, HTML, an entity, a reference, a link, an image or a footnote.
ACTIVE = re.compile(r"[@<&$]|#(?=\d)|\bGH-(?=\d)|\bwww(?=\.)|:(?=//)|\](?=[(\[:])", re.IGNORECASE)
WORD = r"[A-Za-z0-9][A-Za-z0-9._-]*"  # a name of a record or a track: no separator, nothing that ends an address
APART = "\u200b"  # a space of no width, which keeps two characters from meaning anything together
MORE = "\n\nThe report goes on; the run's artifact has all of it.\n"


def main() -> None:
    """Comment on the pull request of the run that the environment names, or say why not."""
    run, commit = int(os.environ["RUN_ID"]), os.environ["HEAD_SHA"]
    number = pull_request(f"{os.environ['HEAD_OWNER']}:{os.environ['HEAD_BRANCH']}", commit)
    if number is None:
        print(f"No open pull request on main has {commit} as its head: it is closed, or has moved on.")
        return
    ours = f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}"
    passed = "passed" if os.environ["CONCLUSION"] == "success" else "did not pass"
    head = f"{MARK}\nThe [checks of the records]({ours}/actions/runs/{run}) at {commit[:10]} {passed}."
    told = "Below is what they found; a pull request that changes the workflows can change it, too."
    try:
        publish(number, cut(f"{head} {told}\n\n{tame(report(run), allowed(ours, commit))}\n"))
    except urllib.error.HTTPError as error:
        publish(number, f"{head} Their report can't be shown: GitHub answers {error.code}.\n")
        raise


def pull_request(head: str, commit: str) -> int | None:
    """The open pull request on main of a branch, ``owner:branch``, if the commit is still its head."""
    found = call("GET", "pulls?" + urllib.parse.urlencode({"state": "open", "base": "main", "head": head}))
    return next((int(pull["number"]) for pull in found if pull["head"]["sha"] == commit), None)


def report(run: int) -> str:
    """The beginning of the report that a run left, or why there is none."""
    try:
        found = call("GET", f"actions/runs/{run}/artifacts?name={ARTIFACT}")["artifacts"]
        if not found:
            return "The run left no report."
        packed = fetch("GET", f"actions/artifacts/{int(found[0]['id'])}/zip", limit=MAX_DOWNLOAD)
        with zipfile.ZipFile(io.BytesIO(packed)) as archive, archive.open(FILE) as file:
            text, more = file.read(MAX_COMMENT).decode("utf-8", "replace"), file.read(1)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, LookupError, RuntimeError) as error:
        return f"The report can't be read: {type(error).__name__}."
    except ValueError as error:
        return f"The report can't be read: {error}."
    return text + MORE if more else text


def allowed(repository: str, commit: str) -> re.Pattern[str]:
    """A grid of samples that lies in the commit, or a run that leads to its page on the repository's site."""
    owner, name = repository.split("/")[-2:]
    grids = re.escape(f"{repository}/raw/{commit}/leaderboard/samples/")
    pages = re.escape(f"https://{owner}.github.io/{name}/runs/")
    return re.compile(rf"!\[samples of {WORD}\]\({grids}{WORD}/{WORD}\.png\)|\[`{WORD}`\]\({pages}{WORD}\.html\)")


def tame(text: str, kept: re.Pattern[str]) -> str:
    """The text as it was to the eye, but inert: only tables, headings, lists, code and what is `kept` mean anything."""
    lines = ("".join(c if c.isprintable() else " " for c in line) for line in text.splitlines())
    plain, found = "\n".join(lines), 0
    parts = []
    for one in kept.finditer(plain):
        parts += [ACTIVE.sub(rf"\g<0>{APART}", plain[found : one.start()]), one[0]]
        found = one.end()
    return "".join([*parts, ACTIVE.sub(rf"\g<0>{APART}", plain[found:])])


def cut(text: str) -> str:
    """As much of a text as a comment holds, in whole lines if there are any. Nothing may make it longer after."""
    content = text.encode()
    if len(content) <= MAX_COMMENT:
        return text
    kept = content[: MAX_COMMENT - len(MORE)].decode("utf-8", "ignore")
    return kept[: kept.rfind("\n") if "\n" in kept[len(kept) // 2 :] else None] + MORE


def publish(number: int, text: str) -> None:
    """Create the comment, or renew the one that is there."""
    for page in count(1):
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
    """What the repository's API answers; `ValueError` if that is more than `limit` bytes."""
    url = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/{path}"
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, method=method)
    request.add_header("Accept", "application/vnd.github+json")
    request.add_unredirected_header("Authorization", f"Bearer {os.environ['GITHUB_TOKEN']}")  # not to where files lie
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        content: bytes = answer.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path} is larger than {limit} bytes")
    return content


if __name__ == "__main__":
    main()
