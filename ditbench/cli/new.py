"""`ditbench new`: the package of a new plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..extras import install, is_uv_project, prefix
from .app import ADD, app, installed
from .output import tell
from .scaffold.names import PluginKind, component_name


@app.command(rich_help_panel=ADD, epilog="Example: ditbench new my-arch")
def new(
    name: Annotated[str, typer.Argument(help="Its name, and the folder's, which must not exist.")],
    kind: Annotated[PluginKind, typer.Option(help="What the plugin brings.")] = "architecture",
) -> None:
    """Write a small package, here, that installs, is tested and runs as it stands: a plugin to put yours in."""
    from .scaffold.packages import create

    files = create(name, kind, Path(), installed())
    component = component_name(name)
    for path in files:
        tell(f"{name}/{path.as_posix()}")
    tell("\nIt works as it stands; its README says what to replace. Next:\n")
    run = f"--plugins {component}" if kind == "architecture" else f"--track {component} --plugins dit"
    check = f"check {component}" if kind == "architecture" else f"track check {component}"
    installing, typed = install(f"./{name}", editable=True), f"{prefix()}ditbench"
    for command in (installing, f"{typed} {check}", f"{typed} run {run} --budget smoke"):
        tell(f"  {command}")
    if is_uv_project() and installing.startswith("uv pip"):
        tell("\n`uv sync` removes it from this environment again; `uv run` leaves it.")
