"""`ditbench plugins`, `plugins doctor` and `env`: what is wrong with an installation, and what a bug report needs."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .app import EXIT_BAD_INPUT, EXIT_FAILED, LOOK, app, show
from .options import AsJson
from .output import Commands, apart, tell_json, warn

if TYPE_CHECKING:
    from ..registry import Plugin

plugins_app = Commands(invoke_without_command=True, help="Show installed plugins and what is wrong with them.")
app.add_typer(plugins_app, name="plugins", rich_help_panel=LOOK)


@plugins_app.callback(
    gives="ditbench.cli.answers.installed:Plugins", epilog="Example: DITBENCH_PLUGINS=dit,mine ditbench plugins"
)
def plugins(
    context: typer.Context,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 if any plugin is faulty.")] = False,
    as_json: AsJson = False,
) -> None:
    """List installed plugins, what they provide, and what is wrong with the faulty ones.

    DITBENCH_PLUGINS=a,b loads only these, and the built-ins.
    """
    from ..asking import telling
    from ..registry import Registry

    if context.invoked_subcommand:
        return
    with apart(), telling(warn):  # a group's own part is no command
        registry = Registry.installed()
    show(map(_row, registry.plugins), as_json, "plugin", "distribution", "version", "state", "provides")
    if strict and registry.faults:
        raise typer.Exit(EXIT_BAD_INPUT)


@plugins_app.command(gives="ditbench.cli.answers.installed:Doctor", epilog="Example: ditbench plugins doctor --json")
def doctor(as_json: AsJson = False) -> None:
    """Tell what is wrong with each plugin, where it came from, and the way out. Exit code 1: a plugin is faulty."""
    from ..discovery import damaged, left_out
    from ..registry import Registry

    registry, others = Registry.installed(), left_out()
    with suppress(ImportError, OSError):  # of torch, where who needs it is told below
        from ..runtime import environment  # noqa: F401  (torch, once: plugins' parts are tried in forks of this process)
    known = {plugin.place for plugin in registry.faults}
    strays = [vars(stray) for stray in damaged() if stray.place not in known]
    pairs = zip(registry.plugins, registry.unloadable(), strict=True)
    rows = [{**_row(plugin), "from": plugin.place, "unloadable": lines} for plugin, lines in pairs]
    late = [line for row in rows for line in row["unloadable"]]
    if as_json:
        tell_json({"plugins": rows, "not loaded": others, "damaged": strays})
    else:
        states = (row["trouble"] or ("broken when used" if row["unloadable"] else "ok") for row in rows)
        show(({**row, "state": state} for row, state in zip(rows, states, strict=True)), False, *_DOCTOR)
        _advise(registry.plugins, others)
        for stray in strays:
            _say(f"{stray['distribution']} at {stray['place']}: {stray['why']}.", _NO_PLUGIN)
        for line in late:
            _say(f"Broken when used: {line}")
        if not strays and not late and not any(plugin.fault or plugin.unmet for plugin in registry.plugins):
            _say("No fault found.")
    if registry.faults or late:
        raise typer.Exit(EXIT_FAILED)


_NO_PLUGIN = "No plugin is known to be missing by that. Way out: remove it; if it is wanted, install it again."
_DOCTOR = ("plugin", "distribution", "version", "state", "from")


def _row(plugin: Plugin) -> dict[str, Any]:
    return {
        "plugin": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "state": f"faulty: {plugin.fault}" if plugin.fault else "ok",
        "trouble": plugin.trouble,
        "way out": plugin.way_out,
        "unmet": list(plugin.unmet),
        "provides": list(plugin.provides),
    }


def _advise(plugins: list[Plugin], others: list[str]) -> None:
    from ..extras import install, is_light

    if is_light():
        _say(f"Not looked at: what takes torch, which is not installed: {install('ditbench[run]')}")
    for plugin in plugins:
        if plugin.fault:
            _say(f"{plugin.label}, {plugin.trouble}: {plugin.fault}", f"Way out: {plugin.way_out}.")
        if plugin.unmet:
            _say(f"{plugin.label} asks for what is not here: {'; '.join(plugin.unmet)}.", "It may fail when it runs.")
    if others:
        _say(f"Not loaded, because DITBENCH_PLUGINS names others: {', '.join(others)}.")


def _say(*lines: str) -> None:
    """A line, and what is to be done about it, of text that a plugin may have written."""
    from .console import make_console, plain

    make_console().print("\n  ".join(map(plain, lines)), highlight=False)


@app.command(
    needs_torch=True,
    gives="ditbench.cli.answers.installed:EnvironmentFacts",
    rich_help_panel=LOOK,
    epilog="Example: ditbench env --json",
)
def env(as_json: AsJson = False) -> None:
    """Show versions and machine, for a bug report: no host name, no user name, no path."""
    from ..discovery import ONLY, chosen
    from ..registry import Registry
    from ..runtime.environment import describe, find_device

    facts = describe(find_device("auto")).model_dump(mode="json", exclude_none=True)
    facts |= {f"plugin {p.name}": f"{p.distribution} {p.version}{_trouble(p)}" for p in Registry.installed().plugins}
    if chosen():
        facts[ONLY] = ",".join(chosen())
    if as_json:
        tell_json(facts)
    else:
        show(({"what": name, "value": value} for name, value in facts.items()), False, "what", "value")


def _trouble(plugin: Plugin) -> str:
    return f", {plugin.trouble}" if plugin.trouble else ""
