"""The options of a run: each is named, typed, defaulted and explained here, and nowhere else.

`ditbench.run`, the plan that it makes, what an executor is asked and the command line all take them from here. The
texts are read in an editor and in a terminal, so they name no flags.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, ParamSpec, TypedDict, TypeVar, get_args, get_type_hints

P = ParamSpec("P")
R = TypeVar("R")
Options = TypeVar("Options")

TRIALS = (2, 256)  # the least and the most of one search
SAMPLES, IMAGES, PROCESSES, SNAPSHOTS = (
    (20, 10_000_000),
    (1, 1_000_000),
    (1, 10_000),
    (0, 100),
)  # the least and the most: of a batch, at once, of a run


class About(NamedTuple):
    """What an option is where a call leaves it out, what it means, and how far its numbers go."""

    default: Any
    text: str
    least: float | None = None  # of a number
    most: float | None = None


class PlaceOptions(TypedDict, total=False):
    """Where a run finds what it works with."""

    data: Annotated[str, About("", "Where the track's data is, or another data set: NAME[:PLACE].")]
    reference: Annotated[str, About("", "Real images, or an .npz of their moments, in place of the training images.")]
    device: Annotated[str, About("auto", "auto, cpu, cuda, cuda:N, or mps (untried).")]
    offline: Annotated[bool, About(False, "Never touch the network; what is missing is an error.")]


class RunOptions(PlaceOptions, total=False):
    """What a run is made of, beside its track, its architecture and its seed."""

    budget: Annotated[
        str | None,
        About(None, "2000-steps, 50k-images, 90s, 2gpu-hours, 1e17-flops, or the track's name of one; else its own."),
    ]
    ruleset: Annotated[
        str,
        About(
            "matched",
            "matched: the track's recipe for all; native: each paper's own; tuned: each one's best of a search; "
            "speedrun: one network, any recipe, the fastest to the targets. Ranked apart.",
        ),
    ]
    trials: Annotated[
        int | None, About(None, "Recipes that the tuned ruleset tries; the track's number, if not given.", *TRIALS)
    ]
    recipe: Annotated[str, About("", "Of a speedrun: a TOML file with its recipe, and in words what is new in it.")]
    parametrization: Annotated[
        Literal["standard", "mup"] | None,
        About(None, "mup: start and rates scaled by the width of a ladder's size; not the track's choice: unranked."),
    ]
    skip_bad: Annotated[bool, About(False, "Leave unreadable images out, and count them.")]
    eval_at: Annotated[Sequence[float], About((), "Shares of the budget at which to measure the EMA weights, too.")]
    samples: Annotated[int | None, About(None, "Images to measure; not the track's number: unranked.", *SAMPLES)]
    features: Annotated[str, About("", "Extractor of the metrics; not the track's: unranked.")]
    metrics: Annotated[
        Sequence[str], About((), "Metrics in place of the track's, measured at the end alone: unranked.")
    ]
    micro_batch: Annotated[
        int | None, About(None, "Images in one pass, where a batch does not fit the device.", *IMAGES)
    ]
    checkpointing: Annotated[bool, About(False, "Recompute activations in the backward pass: less memory, more time.")]
    compile: Annotated[
        Literal["on", "off", "blocks"] | None,
        About(
            None,
            "Compile the network whole, not at all, or its repeated blocks; not the track's choice: unranked "
            "where the budget is a time.",
        ),
    ]
    keep_samples: Annotated[bool, About(False, "Also write each run's samples.npz (ADM layout).")]
    raw_weights: Annotated[bool, About(False, "Measure the weights as training left them, too, beside their EMA.")]
    ema_snapshots: Annotated[
        int,
        About(
            0,
            "Snapshots that a run keeps of two more averages of its weights, such as 16, so that `ditbench ema` can "
            "measure other lengths.",
            *SNAPSHOTS,
        ),
    ]
    checkpoint_seconds: Annotated[float, About(20.0, "Seconds of training between checkpoints.")]


class EngineOptions(TypedDict, total=False):
    """How an executor carries the runs out."""

    processes: Annotated[int, About(1, "Processes that carry out each run together, one GPU each.", *PROCESSES)]
    shard: Annotated[bool, About(False, "A run's weights and optimiser in shards over its processes (FSDP2).")]
    parallel: Annotated[
        int | None,
        About(
            None,
            "Runs at a time; on this machine they share GPUs or cores, and the threads. If not given, one; on a CPU as "
            "many small runs as there are cores.",
            *PROCESSES,
        ),
    ]
    address: Annotated[str, About("", "Ray's cluster: HOST:PORT, or auto; if not given, one is started here.")]
    options: Annotated[
        Sequence[str],
        About(
            (),
            "KEY=VALUE for the executor. Slurm: partition, time (min), gpus, cpus, memory (GB), or any option of "
            "sbatch; Ray: gpus, cpus, memory (GB), accelerator, retries.",
        ),
    ]
    wait: Annotated[bool, About(False, "With Slurm: wait for all runs to end.")]
    dry_run: Annotated[bool, About(False, "With Slurm: make the script, submit nothing.")]


class CampaignOptions(RunOptions, EngineOptions, total=False):
    """All that `ditbench.run` can be told."""

    out: Annotated[str | Path, About("runs", "Folder for runs and leaderboard.")]
    force: Annotated[bool, About(False, "Start finished and interrupted runs over.")]
    strict: Annotated[bool, About(False, "A faulty plugin is an error.")]
    executor: Annotated[str, About("process", "process, slurm, ray, a plugin's, or inline for debugging.")]
    log: Annotated[Sequence[str], About((), "Trackers of the runs: tensorboard, wandb.")]


def described(options: type) -> dict[str, tuple[Any, About]]:
    """The type of each option of a kind, and what there is to say about it."""
    hints = get_type_hints(options, include_extras=True)
    return {name: (get_args(hint)[0], get_args(hint)[1]) for name, hint in hints.items()}


def only(options: type[Options], given: Mapping[str, Any]) -> Options:
    """Those of the given options that are of this kind."""
    return {name: given[name] for name in described(options) if name in given}  # type: ignore[return-value]


def takes(options: type) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """For a function of ``**options``: the defaults of those that a call leaves out.

    Its signature has every option, and its docstring explains each, as if they stood there. An unknown
    name is a `TypeError`, as of any other function.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = _with_options(inspect.signature(function), options)

        @wraps(function)
        def filled(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return function(*bound.args, **bound.kwargs)

        filled.__signature__ = signature  # type: ignore[attr-defined]
        named = {name: kind for name, kind in function.__annotations__.items() if name != _rest(function)}
        filled.__annotations__ = {**named, **{name: kind for name, (kind, _) in described(options).items()}}
        filled.__doc__ = _with_texts(function.__doc__, options)
        return filled

    return decorate


def _rest(function: Callable[..., Any]) -> str:
    """The name of its ``**options``."""
    return next(one.name for one in inspect.signature(function).parameters.values() if one.kind is one.VAR_KEYWORD)


def _with_options(signature: inspect.Signature, options: type) -> inspect.Signature:
    """The signature with the options in place of its ``**options``."""
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=about.default, annotation=kind)
        for name, (kind, about) in described(options).items()
    ]
    return signature.replace(parameters=[*own, *more])


def _with_texts(docstring: str | None, options: type) -> str | None:
    if docstring is None:  # python -OO
        return None
    lines = [f"    {name}: {about.text}" for name, (_, about) in described(options).items()]
    return "\n".join([inspect.cleandoc(docstring), "", "Keyword Args:", *lines])
