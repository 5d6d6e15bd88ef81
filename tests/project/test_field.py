"""The page of the field has every architecture that ships, at the costs that its plugin's README has."""

import re
from pathlib import Path

from ditbench.profiling.shipped import ARCHITECTURES

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"\| `([\w-]+)` \|.*\| ([\w/]+) \| ([\d,.]+) \| ([\d.]+) \| (\d{4}\.\d{5}) \|")


def test_every_architecture_has_a_row_with_its_costs():
    rows = ROW.findall((ROOT / "docs" / "architectures.md").read_text())
    assert sorted(name for name, *_ in rows) == sorted(ARCHITECTURES)
    readmes = [path.read_text() for path in (ROOT / "plugins").glob("*/README.md")]
    for name, size, millions, gmacs, paper in rows:
        (readme,) = [text for text in readmes if paper in text and re.search(rf"`{name}`", text)]
        counted = re.findall(rf"^\| (?:{name}:)?{size} \|.*$", readme, re.M)
        assert any(costs(row) == (millions, gmacs) for row in counted), f"{name}: {counted}"


def costs(row):
    """Millions of parameters and GMACs of a README's row."""
    cells = [cell.strip() for cell in row.split("|")]
    parameters = next((cell for cell in cells if re.fullmatch(r"[\d,]{9,}", cell)), "0")
    macs = next((cell for cell in cells if re.fullmatch(r"\d+\.\d{3}", cell)), "0")
    return f"{int(parameters.replace(',', '')) / 1e6:,.1f}", f"{float(macs):.1f}"
