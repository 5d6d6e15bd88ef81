"""What documents name is there: files of ours in links and between backticks, and names of the package."""

import pkgutil
import re

import pytest
from import_graph import ROOT

PLACES = (
    "*.md",
    "docs/*.md",
    "ditbench/**/*.md",
    ".github/**/*.md",
    ".github/**/*.yml",
    "plugins/*/*.md",
    "examples/*/*.md",
)
DOCUMENTS = sorted(path for place in PLACES for path in ROOT.glob(place))  # leaderboard/ has pages made from records
OURS = re.compile(r"(ditbench|docs|tests|plugins|examples|leaderboard|\.github|\.ci)/[\w./*<>-]*")
OF_OTHERS = {"inference.py"}  # a paper's repository
NAMES = {path.name for folder in ("ditbench", "docs", "tests") for path in (ROOT / folder).rglob("*.py")}


def is_there(path):
    """Of a file also without its ending; <package> is any."""
    pattern = re.sub(r"<\w+>", "*", path)
    return any(ROOT.glob(pattern)) or any(ROOT.glob(f"{pattern}.*"))


def is_a_name(dotted):
    try:
        return pkgutil.resolve_name(dotted) is not None
    except (ImportError, AttributeError):
        return False


def faults(text, folder):
    """What a document in this folder names, and is nowhere."""
    for target in re.findall(r"\]\((?!\w+:|#)([^)#\s]+)[^)]*\)", text):
        if target != "notebook.md" and not (folder / target).exists():  # which the site's build makes
            yield target
    for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text):
        for word in span.split():
            if OURS.fullmatch(word) and not is_there(word):
                yield word
        if re.fullmatch(r"\w+\.py", span) and span not in NAMES | OF_OTHERS:
            yield span
        if re.fullmatch(r"ditbench(\.\w+)+", span) and not is_a_name(span):
            yield span


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_it_names_is_there(path):
    assert not list(faults(path.read_text(encoding="utf-8"), path.parent))


def test_what_is_nowhere_is_found():
    lines = [
        "[The rules](ditbench/nothing.md), [these](README.md#the-house) and [those](https://example.org/nothing.md)",
        "`ditbench/jobs.py` and `ditbench/executors/jobs.py`, `tests/<package>/test_<module>.py`, `jobs.py`, `none.py`",
        "`ditbench.samplers.Walk` and `ditbench.run`; `uv run python docs/nothing.py`",
    ]
    expected = ["ditbench/nothing.md", "ditbench/jobs.py", "none.py", "ditbench.samplers.Walk", "docs/nothing.py"]
    assert list(faults("\n".join(lines), ROOT)) == expected
