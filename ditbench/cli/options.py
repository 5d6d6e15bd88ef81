"""Options that several commands share, and how their text is read."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ..errors import BadValue

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


# What differs from the input that a size was made for; shared by `sizes`, `import` and `profile`.
Resolution = Annotated[int | None, typer.Option(min=1, help="Pixels or latent cells per side.")]
Channels = Annotated[int | None, typer.Option(min=1, help="Channels of the image or latent.")]
Classes = Annotated[int | None, typer.Option(min=0, help="Classes, the null label not counted; 0: unconditional.")]
SpaceOption = Annotated[Literal["pixel", "latent"] | None, typer.Option(help="Where the denoiser works.")]
LearnVariance = Annotated[bool | None, typer.Option(help="Whether the output has the variance's channels, too.")]


def installed_architectures(incomplete: str) -> list[str]:
    """For the shell: the last of several architectures, completed."""
    from ..registry import Registry

    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in Registry.installed().architectures if name.startswith(last)]


def installed_tracks(incomplete: str) -> list[str]:
    """For the shell: the tracks whose names begin so."""
    from ..registry import Registry

    return [name for name in Registry.installed().tracks if name.startswith(incomplete)]


def spec_changes(
    resolution: int | None, channels: int | None, classes: int | None, space: str | None, learn_variance: bool | None
) -> dict[str, int | str]:
    """What is said of a spec, without what is not."""
    given = {
        "resolution": resolution,
        "channels": channels,
        "classes": classes,
        "space": space,
        "learn_variance": learn_variance,
    }
    return {name: value for name, value in given.items() if value is not None}


def parse_shares(text: str) -> list[float]:
    """``25%,50%`` or ``0.25,0.5``."""
    try:
        return [_share(part.strip()) for part in text.split(",")] if text else []
    except ValueError:
        raise BadValue(f"--eval-at {text!r} is no list of shares of the budget such as 25%,50%.") from None


def _share(text: str) -> float:
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def parse_seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise BadValue(f"--seeds {text!r} is no list of whole numbers such as 0,1,2.") from None
