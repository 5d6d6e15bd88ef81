"""The LaTeX table: what a paper can include as it is, and nothing of a record's that is a command."""

import re

from records import finished, unfinished
from test_tables import BAD, GOOD, OTHER_MACHINE, SAME, part, seeds

from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.latex import escape, latex


def parts(page):
    """Each table's column specification and rows of cells."""
    for body in re.findall(r"\\begin\{tabular\}(.*?)\\end\{tabular\}", page, re.DOTALL):
        align, *lines = body.strip().splitlines()
        rows = [line.strip() for line in lines if not re.fullmatch(r"\s*\\(top|mid|bottom)rule\s*|\s*", line)]
        assert all(row.endswith(r" \\") for row in rows)
        yield align.strip("{}"), [re.split(r"(?<!\\)&", row.removesuffix(r"\\")) for row in rows]


def balanced(text):
    depth = 0
    for brace in re.findall(r"(?<!\\)(?:\\\\)*([{}])", text):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    return depth == 0


def test_latex_is_a_booktabs_table_per_board():
    found = boards(
        [*seeds("a:b", *GOOD), *seeds("c:d", *BAD), finished("e:f"), *seeds("g:h", *GOOD, budget="1k-images")]
    )
    page = latex(found)
    assert r"% needs \usepackage{booktabs}" in page and balanced(page)
    assert len(list(parts(page))) == page.count(r"\begin{table*}") == page.count(r"\caption{") == 2
    for align, rows in parts(page):
        assert set(align) <= set("lr") and {len(cells) for cells in rows} == {len(align)}
    assert [page.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [2, 2, 2]
    assert all(rf"\label{{tab:{board.slug}}}" in page for board in found)
    for words in (
        "digits v3, 64k-images, cpu",
        "1 to 3 seeds",
        r"95 \% t-interval",
        r"$\downarrow$",
        r"1.10 \textpm{} 0.25",
    ):
        assert words in page
    assert page.isascii()


def test_latex_points_out_the_best_unless_all_tie():
    assert latex(boards([*seeds("a:b", *GOOD), *seeds("c:d", *BAD)])).count(r"\textbf{") == 1
    leaders = [*seeds("a:b", *GOOD), *seeds("c:d", *SAME)]
    assert latex(boards([*leaders, *seeds("e:f", *BAD)])).count(r"\textbf{") == 2
    for records in (leaders, seeds("a:b", *GOOD), [finished("a:b"), finished("c:d", 2.0)]):
        assert r"\textbf{" not in latex(boards(records))


def test_nothing_in_a_record_is_latex():
    assert escape(r"a_b%c#{}~^\$&[x]") == (
        r"a\_b\%c\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}\$\&{[}x{]}"
    )
    assert escape("ü 中\n\0x") == "ü U+4E2D x"
    hostile = r"\input{/etc/passwd}%" + "}{$&#_^~ \\\\[9em]\n\\end{tabular}"
    labelled = finished("a:b", deviations=[hostile])
    labelled = part(labelled, "architecture", label=hostile)
    page = latex(boards([labelled]))
    assert r"\input" not in page and page.count(r"\end{tabular}") == 1 and balanced(page)
    ((align, rows),) = parts(page)
    assert {len(cells) for cells in rows} == {len(align)}


def test_latex_leaves_out_what_does_not_compare_and_tells_of_misses():
    board = boards([*seeds("a:b", *GOOD), *seeds("a:b", *BAD, environment=OTHER_MACHINE), unfinished("a:b", seed=3)])
    page = latex(board)
    assert "img/s" not in page and "left out" in page and "failed or diverged" in page and "3 of 4" in page
