"""What is told of others' words: printable, in one line, and no longer than anybody reads."""

import re

import pytest

from ditbench.errors import brief, for_a_line, printable, printable_lines


@pytest.mark.parametrize("text", ["\x1b[31m", "\x9b31m", "a\rb", "\u202ea", "\ud800", "\x00\x7f"])
def test_what_a_terminal_would_obey_is_spelled_out(text):
    assert printable(text).isprintable() and printable(text).isascii()
    assert printable_lines(f"{text}\nb") == f"{printable(text)}\nb"


@pytest.mark.parametrize(
    "text", ["::error::a", "x::Error file=a,line=1::b", "a ##[group]b", "##vso[task.x]", "::stop-commands::x"]
)
def test_what_a_workflow_would_obey_is_taken_apart(text):
    told = printable(text)
    assert told.replace(" ", "") == text.replace(" ", "") and not re.search(r"::\w+( .*)?::|##\w*\[", told)


@pytest.mark.parametrize("text", ["c10::Error: no", "test.py::TestA::test_b", "## a [b]", "a::b", "std::group"])
def test_what_only_looks_like_it_stays(text):
    assert printable(text) == text


def test_plain_text_of_any_language_stays_as_it_is():
    assert printable("ü 中 ±") == "ü 中 ±" and printable_lines("a\nb\n") == "a\nb\n"


def test_of_what_is_too_long_both_ends_are_told():
    long = f"first {'word ' * 1_000_000}last"
    for cut, longest in ((brief(long), 1_000), (brief(long, 120), 120), (for_a_line(long), 4_000)):
        assert len(cut) == longest and cut.startswith("first word") and "..." in cut and cut.endswith("word last")
    assert brief("x" * 1_000) == "x" * 1_000 and for_a_line("x" * 399) == "x" * 399
