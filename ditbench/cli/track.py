"""`ditbench track`: what a track says, and whether it may be used."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from .app import LOOK, app, installed
from .options import AsJson
from .output import Commands, tell, tell_exactly, tell_json

if TYPE_CHECKING:
    from ..registry import Registry
    from ..tracks.budget import Budget
    from ..tracks.track import Track

track_app = Commands(no_args_is_help=True, help="Show and check tracks.")
app.add_typer(track_app, name="track", rich_help_panel=LOOK)

NAME_OR_FILE = "Name of an installed track, or a TOML file."


@track_app.command(gives="ditbench.cli.answers.installed:TrackFacts", epilog="Example: ditbench track show digits")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME_OR_FILE", help=NAME_OR_FILE)],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with the hash.")] = False,
) -> None:
    """Print a track with every default written out: a file that `--track` takes."""
    import tomli_w

    from ..tracks.lookup import resolve_track

    track = resolve_track(installed(), name)
    resolved = track.model_dump(mode="json", exclude_none=True)
    if as_json:
        tell_json({**resolved, "hash": track.hash}, indent=2)
        return
    comments = [f"{track.name}, version {track.version}, hash {track.hash}", _default_budget(track)]
    comments += [f"--budget {name}: {_meaning(track, track.amount(name))}" for name in track.budgets]
    head = "".join(f"# {' '.join(comment.split())}\n" for comment in comments)
    tell_exactly(_printable(f"{head}\n{tomli_w.dumps(resolved)}"), nl=False)


@track_app.command(
    gives="ditbench.cli.answers.installed:CheckedTracks", epilog="Example: ditbench track check mine.toml"
)
def check(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME_OR_FILE]...", help=NAME_OR_FILE)] = None,
    as_json: AsJson = False,
) -> None:
    """Check tracks: form, components, and that none has changed under a version that was published.

    All that are installed, unless some are named. Every component is made, without data, where torch is installed.
    Exit code 2 at the first fault.
    """
    from ..extras import install, is_light
    from ..tracks.lookup import check_size, open_track, resolve_track
    from .answers.installed import CheckedTrack

    registry, light, checked = installed(), is_light(), []
    for name in names or registry.tracks:
        track = resolve_track(registry, name)
        check_size(registry, track)
        if not light:
            _make(track, registry)
        published = open_track(registry, name).published
        tell(f"{track.name} {track.version} {track.hash} {'as published' if published else 'in no ledger'}")
        about = CheckedTrack(
            track=track.name, version=track.version, hash=track.hash, published=published, made=not light
        )
        checked.append(about)
    if light:
        tell(f"not checked: that their components can be made, which takes torch: {install('ditbench[run]')}")
    if as_json:
        tell_json(checked)


def _make(track: Track, registry: Registry) -> None:
    """Every component of a track, made and let go."""
    from ..benchmark.making import check_extractors, make_components

    make_components(track, registry)
    check_extractors(track, registry)


def _default_budget(track: Track) -> str:
    """The default budget, by its name if it has one."""
    named = f"{track.budget}, " if track.budget in track.budgets else ""
    return f"default budget: {named}{_meaning(track, track.amount(None))}"


def _meaning(track: Track, budget: Budget) -> str:
    """E.g. ``400k-steps = 102,400,000 images = 79.9 epochs``; what depends on the machine or network stays as it is."""
    batch = track.recipe.batch_size
    if budget.unit == "steps":
        images = int(budget.amount) * batch
        parts = [str(budget), f"{images:,} images"]
    elif budget.unit == "images":
        images = int(budget.amount)
        parts = [str(budget), f"{math.ceil(images / batch):,} steps of {batch}"]
    else:
        return str(budget)
    if track.data.images:
        epochs = images / track.data.images
        parts.append(f"{epochs:,.0f} epochs" if epochs >= 100 else f"{epochs:.3g} epochs")
    return " = ".join(parts)


def _printable(toml: str) -> str:
    """What a terminal might obey, as TOML escapes it."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\U{ord(c):08x}" for c in toml)
