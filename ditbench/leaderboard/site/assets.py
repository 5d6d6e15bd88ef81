"""The scripts and styles that all pages share: ours, plotly, and DataTables as itables bundles it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from plotly.offline import get_plotlyjs

from ...errors import BadFile

_OWN = ("favicon.svg", "site.css", "theme.js", "tables.js", "plots.js", "difference.js")
_SOCIAL = "social.png"  # made by docs/social.py
_EXPORTS = re.compile(r"export\{([\w$, ]+)\};?")


def assets() -> dict[str, Callable[[], str | bytes]]:
    """Name -> what makes its content."""
    static = files(__package__) / "static"
    own: dict[str, Callable[[], str | bytes]] = {
        name: partial((static / name).read_text, encoding="utf-8") for name in _OWN
    }
    return {**own, _SOCIAL: (static / _SOCIAL).read_bytes, "plotly.min.js": get_plotlyjs, "datatables.js": datatables}


def datatables() -> str:
    """DataTables as a script, since browsers load no module from a file.

    `BadFile` if the installed itables bundles it in a way unknown here.
    """
    package = find_spec("itables")  # its import takes a second
    if package is None or package.origin is None:
        raise BadFile("itables, which has the site's tables, is not installed. Install itables 2.9.1.")
    path = Path(package.origin).parent / "html" / "dt_bundle.js"
    bundle = path.read_text(encoding="utf-8")
    exports = list(_EXPORTS.finditer(bundle))
    names = dict(pair.split(" as ")[::-1] for pair in exports[0][1].split(",")) if len(exports) == 1 else {}
    if "ITable" not in names:
        raise BadFile(f"{str(path)!r} is not DataTables as itables 2.9 bundles it. Install itables 2.9.1.")
    code, rest = bundle[: exports[0].start()], bundle[exports[0].end() :]
    return f'"use strict";\nvar ITable = (() => {{\n{code}\nreturn {names["ITable"]};\n}})();\n{rest}'
