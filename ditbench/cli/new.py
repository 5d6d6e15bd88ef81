"""`ditbench new`: the package of a new plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..extras import install, is_uv_project, prefix
from .app import ADD, app, installed
from .options import AsJson
from .output import tell, tell_json
from .scaffold.names import PluginKind, component_name


@app.command(
    gives="ditbench.cli.answers.plugins:NewPlugin", rich_help_panel=ADD, epilog="Example: ditbench new my-arch"
)
def new(
    name: Annotated[str, typer.Argument(help="Its name, and the folder's, which must not exist.")],
    kind: Annotated[PluginKind, typer.Option(help="What the plugin brings.")] = "architecture",
    as_json: AsJson = False,
) -> None:
    """Write a small package, here, that installs, is tested and runs as it stands: a plugin to put yours in."""
    from .scaffold.packages import create

    files = create(name, kind, Path(), installed())
    component = component_name(name)
    run = f"--plugins {component}" if kind == "architecture" else f"--track {component} --plugins dit"
    check = f"check {component}" if kind == "architecture" else f"track check {component}"
    installing, typed = install(f"./{name}", editable=True), f"{prefix()}ditbench"
    commands = [installing, f"{typed} {check}", f"{typed} run {run} --budget smoke"]
    if as_json:
        from .answers.plugins import NewPlugin

        folder, inside = str(Path(name).absolute()), [path.as_posix() for path in files]
        tell_json(NewPlugin(name=name, component=component, kind=kind, folder=folder, files=inside, next=commands))
        return
    for path in files:
        tell(f"{name}/{path.as_posix()}")
    tell("\nIt works as it stands; its README says what to replace. Next:\n")
    for command in commands:
        tell(f"  {command}")
    if is_uv_project() and installing.startswith("uv pip"):
        tell("\n`uv sync` removes it from this environment again; `uv run` leaves it.")
