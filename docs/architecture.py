"""The house in a picture and a table, drawn from what imports what: `uv run python docs/architecture.py`.

It writes architecture.svg and the table in architecture.md. A test says when they are stale.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path

from import_graph import API, CORE, graph, job

FOLDER = Path(__file__).parent
PICTURE, PAGE = FOLDER / "architecture.svg", FOLDER / "architecture.md"

# What is drawn as one box, though it is several modules of the root: its name -> the modules, what they are for.
TOGETHER = {
    "Python API": ({"__init__", "testing"}, "import ditbench: names that are imported on first use."),
    "cli": ({"cli", "__main__"}, job("cli")),
    "plugins' API": (API, f"For all: {', '.join(sorted(API))}."),
}
WAY = ("cli", "campaign", "executors", "benchmark", "training", "sampling", "metrics", "records", "leaderboard")
ON_THE_LEFT = {"Python API", "profiling", "sampling", "training", "denoiser"}
ON_THE_RIGHT = {"leaderboard", "scaling"}  # all others stand in the middle
RAISED = {"scaling": "campaign"}  # boxes that stand as high as another, since below there is no room for them

BOX, HIGH, SLAB = 236, 64, 38  # pixels: a box's width and height; the height of one that is as wide as the picture
GAP, ASIDE, EDGE = 32, 24, 20  # between floors, between columns, around all
WIDTH = 2 * EDGE + 3 * BOX + 2 * ASIDE
LETTERS = 32  # in a line of a box, which has two

STYLE = """
  text { font: 12.5px system-ui, sans-serif; fill: #525c66 }
  .card { fill: #ffffff; stroke: #d0d7de }
  .box { fill: #f6f8fa; stroke: #b6bec8 }
  .name { font-size: 15px; font-weight: 600; fill: #1f2328 }
  .arrow { fill: none; stroke: #87909a; stroke-width: 1.5 }
  .head { fill: #87909a }
  .way .box { fill: #e8eaf6; stroke: #3f51b5; stroke-width: 1.5 }
  .way .arrow { stroke: #3f51b5; stroke-width: 2.5 }
  .way .head, .badge circle { fill: #3f51b5 }
  .badge text { font-size: 12px; font-weight: 700; fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #a9b2bd }
    .card { fill: #14161d; stroke: #3d444d }
    .box { fill: #1f232c; stroke: #4b535e }
    .name { fill: #eceff4 }
    .arrow { stroke: #78818c }
    .head { fill: #78818c }
    .way .box { fill: #232a4d; stroke: #8c9eff }
    .way .arrow { stroke: #8c9eff }
    .way .head, .badge circle { fill: #8c9eff }
    .badge text { fill: #14161d }
  }
  @media (max-width: 560px) { /* a phone: the names alone, and larger */
    .job, .key { display: none }
    .name { font-size: 26px; transform: translate(8px, 15px) }
    .badge { transform: translate(6px, 11px) scale(1.5) }
    .slab .name { transform: translate(8px, 4px) }
    .slab .badge { transform: translate(6px, 0) scale(1.5) }
  }
"""


def boxes() -> dict[str, set[str]]:
    """Box of the picture -> the boxes that it imports."""
    box_of = {module: box for box, (modules, _) in TOGETHER.items() for module in modules}
    found: dict[str, set[str]] = {}
    for module, imported in graph().items():
        box = box_of.get(module, module)
        found.setdefault(box, set()).update({box_of.get(other, other) for other in imported} - {box})
    return found


def purpose(box: str) -> str:
    """What a box is for, in a sentence."""
    return TOGETHER[box][1] if box in TOGETHER else job(box)


def floors(imported: Mapping[str, set[str]]) -> dict[str, int]:
    """Box -> its floor: on 0 is what imports nothing, and all others stand above everything that they import."""
    found: dict[str, int] = {}
    for box in TopologicalSorter(imported).static_order():
        found[box] = 1 + max((found[other] for other in imported[box]), default=-1)
    return found


def without_what_follows(imported: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same but for arrows that follow from others: with A -> B and B -> C, there is no A -> C."""
    below: dict[str, set[str]] = {}
    for box in TopologicalSorter(imported).static_order():
        below[box] = imported[box].union(*(below[other] for other in imported[box]))
    return {box: {to for to in all_ if not any(to in below[via] for via in all_)} for box, all_ in imported.items()}


class Picture:
    """Where every box stands, and the SVG that shows it. `ValueError` where a new box or arrow has no room."""

    def __init__(self) -> None:
        imported = boxes()
        self.floor = floors(imported)
        self.floor |= {box: self.floor[beside] for box, beside in RAISED.items()}
        self.order = sorted(imported, key=lambda box: (-self.floor[box], box))  # from above
        self.arrows = [(box, to) for box in self.order for to in sorted(without_what_follows(imported)[box])]
        self.slabs = {box for box in self.order if self._alone(box)}
        self.top, down = dict[int, int](), EDGE
        for box in self.order:
            if self.floor[box] not in self.top:
                self.top[self.floor[box]] = down
                down += self.high(box) + GAP
        self.height = down - GAP + EDGE
        self._check()

    def _alone(self, box: str) -> bool:
        """Whether nothing stands beside a box, and no arrow passes it by: then it is as wide as the picture."""
        floor = self.floor[box]
        passed = any(self.floor[above] > floor > self.floor[below] for above, below in self.arrows)
        return not passed and list(self.floor.values()).count(floor) == 1

    def _check(self) -> None:
        """No name of a box that there is not, no two boxes at one place, and no arrow through a box."""
        if unknown := {*WAY, *ON_THE_LEFT, *ON_THE_RIGHT} - self.floor.keys():
            raise ValueError(f"There is no {', '.join(sorted(unknown))} any more: mend WAY, ON_THE_LEFT, ON_THE_RIGHT.")
        place: dict[tuple[int, int], str] = {}
        for box in self.order:
            if (other := place.setdefault((self.floor[box], self.column(box)), box)) != box:
                raise ValueError(f"{other} and {box} stand at one place: move one, by ON_THE_LEFT or ON_THE_RIGHT.")
        for box, to in self.arrows:
            for floor in range(self.floor[to] + 1, self.floor[box]):
                if between := place.get((floor, self.column(to))):
                    raise ValueError(f"{box} -> {to} passes through {between}: move one, by ON_THE_LEFT or ...RIGHT.")

    def column(self, box: str) -> int:
        """0 to 2, from the left."""
        return 0 if box in ON_THE_LEFT else 2 if box in ON_THE_RIGHT else 1

    def high(self, box: str) -> int:
        """The height of a box, in pixels."""
        return SLAB if box in self.slabs else HIGH

    def middle(self, box: str) -> int:
        """The middle of a box, in pixels from the left."""
        return EDGE + self.column(box) * (BOX + ASIDE) + BOX // 2

    def svg(self) -> str:
        """The whole picture."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" '
            f'height="{self.height}" role="img">'
        )
        card = f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{self.height - 1}" rx="10"/>'
        lines = [head, "<title>The packages of ditbench, and which imports which</title>", f"<style>{STYLE}</style>"]
        lines += [card, *(self._arrow(box, to) for box, to in self.arrows)]
        lines += [line for box in self.order for line in self._box(box)]
        return "\n".join([*lines, *self._key(), "</svg>\n"])

    def _box(self, box: str) -> Iterator[str]:
        on_the_way, slab, text = box in WAY, box in self.slabs, purpose(box)
        left, width = (EDGE, WIDTH - 2 * EDGE) if slab else (self.middle(box) - BOX // 2, BOX)
        kind = f"{'way' if on_the_way else 'aside'}{' slab' if slab else ''}"
        yield f'<g class="{kind}" transform="translate({left} {self.top[self.floor[box]]})">'
        yield f'<rect class="box" width="{width}" height="{self.high(box)}" rx="7"/>'
        if on_the_way:
            yield _badge(WAY.index(box) + 1, 22, 19 if slab else 18)
        yield f'<text class="name" x="{40 if on_the_way else 13}" y="{24 if slab else 23}">{escape(box)}</text>'
        for number, line in enumerate([text] if slab else _lines(box, text)):
            at = 'x="150" y="24"' if slab else f'x="13" y="{41 + 14 * number}"'
            yield f'<text class="job" {at}>{escape(line)}</text>'
        yield "</g>"

    def _arrow(self, box: str, to: str) -> str:
        """Down; to another column at once, then straight down, so that it passes no box but those of that column."""
        start, end = self.top[self.floor[box]] + self.high(box), self.top[self.floor[to]]
        kind = "way" if {box, to} <= set(WAY) else "aside"
        if self.slabs & {box, to} or self.column(box) == self.column(to):
            x = self.middle(to if box in self.slabs else box)
            return _line(kind, f"M{x} {start}", x, end)
        side = 1 if self.column(to) > self.column(box) else -1
        turn = start + GAP // 2 + (1 if side > 0 else -7)  # those to the left turn above those to the right
        x, bend = self.middle(to) - 24 * side, 8 * side
        across = f"V{turn - 8}q0 8 {bend} 8H{x - bend}q{bend} 0 {bend} 8"
        return _line(kind, f"M{self.middle(box) + 56 * side} {start}{across}", x, end)

    def _key(self) -> Iterator[str]:
        """What numbers and arrows mean, above on the right, where no box stands."""
        yield f'<g class="key way" transform="translate({EDGE + 2 * (BOX + ASIDE)} {EDGE})">'
        yield f'{_badge(1, 14, 11)}<text x="32" y="15">to 9: the way of a run</text></g>'
        yield f'<g class="key" transform="translate({EDGE + 2 * (BOX + ASIDE)} {EDGE + 30})">'
        yield _line("aside", "M14 0", 14, 25)
        yield '<text x="32" y="9">imports; what follows from</text>'
        yield '<text x="32" y="24">other arrows is left out</text></g>'


def _badge(number: int, x: int, y: int) -> str:
    circle = f'<g class="badge"><circle r="10"/><text y="4" text-anchor="middle">{number}</text></g>'
    return f'<g transform="translate({x} {y})">{circle}</g>'


def _line(kind: str, path: str, x: int, end: int) -> str:
    """An arrow along a path, then down to its point."""
    head = f'<path class="head" d="M{x - 5} {end - 9}h10l-5 9z"/>'
    return f'<g class="{kind}"><path class="arrow" d="{path}V{end - 6}"/>{head}</g>'


def _lines(box: str, text: str) -> list[str]:
    found = textwrap.wrap(text, LETTERS)
    if len(found) > 2:
        raise ValueError(f"The first sentence of {box} takes {len(found)} lines of {LETTERS} letters; its box has two.")
    return found


def table() -> str:
    """A row of Markdown for each package, in the order of the picture."""
    picture, imported = Picture(), graph()
    rows = ["| package | its job | it may import |", "|---|---|---|"]
    for box in picture.order:
        if (CORE / box).is_dir():
            below = ", ".join(other for other in picture.order if other in imported[box] - API)
            rows.append(f"| `{box}` | {job(box)} | {below or 'no other'} |")
    return "\n".join(rows)


def page(text: str) -> str:
    """The page, with the table as it should be."""
    return re.sub(r"(?s)(<!-- packages, .*? -->\n).*?(?=<!-- end of)", lambda found: f"{found[1]}\n{table()}\n\n", text)


if __name__ == "__main__":
    PICTURE.write_text(Picture().svg(), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
