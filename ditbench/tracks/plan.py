"""From what the user asked to a list of runs. Every wrong name or value is found here, before any work."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Unpack

import pydantic

from ..answers import SECONDS
from ..asking import ask
from ..components import Dataset, Extractor, Metric, Native, ObjectReference, Selection, load
from ..errors import BadValue, PluginFault
from ..registry import Registry, pick, select
from ..storage.schema import first_fault
from .architecture import facts_of
from .budget import FLOPS_RULE, Budget
from .config import ASKED_FOR, RunConfig, check_seeds
from .deviation import Deviation
from .free import Free, check_network, free_recipe
from .lookup import check_metrics, resolve_track
from .options import RunOptions, takes
from .recipe import ObjectiveChoice, Recipe
from .settings import check_option, check_options
from .track import EvaluationChoice, Track, lacking, panel
from .tuning import check_search

MOST_RUNS = 10_000  # of one plan
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:[0-9]|:[1-9][0-9])?")  # torch counts no further than 127


@takes(RunOptions)
def make_plan(
    registry: Registry,
    track: str,
    architectures: Sequence[str],
    seeds: Sequence[int] = (0,),
    **options: Unpack[RunOptions],
) -> list[RunConfig]:
    """One `RunConfig` for each architecture and seed, in the order given, seeds innermost.

    `track` is a name or a file. Raises `DitbenchError` for an unknown architecture, size, option, track, metric, data
    set, device or a bad value. The device may be ``auto``; the executor's preflight resolves it. Under the tuned
    ruleset they have the track's recipe, until a search has chosen another: see `tuning`.
    """
    check_options(RunOptions, options)
    check_option("track", str, track)
    check_option("architectures", Sequence[str], architectures)
    _check_count(len(architectures), len(check_seeds(seeds)))
    resolved = resolve_track(registry, track)
    measured, deviations = measured_otherwise(
        registry, resolved, options["samples"], options["features"], options["metrics"]
    )
    chosen, scaled = parametrized_otherwise(measured, options["parametrization"])
    deviations += (*scaled, Deviation("mps")) if options["device"] == "mps" else scaled
    budget = _check(registry, chosen, architectures, options)
    check_search(chosen, options["ruleset"], options["trials"], seeds)
    free = free_recipe(chosen, options["ruleset"], options["recipe"], options["compile"])
    common: dict[str, Any] = {
        **{name: value for name, value in options.items() if name in RunConfig.model_fields and name != "recipe"},
        "changed": free.changed if free else "",
        "track": chosen,
        "budget": str(budget),
        "flops_rule": FLOPS_RULE,
        "eval_at": check_shares(options["eval_at"]),
        "deviations": tuple(map(str, (*deviations, *compiled_otherwise(chosen, options["compile"], budget)))),
    }
    built = [_built(registry, select(registry, text, chosen.size), chosen, options, free) for text in architectures]
    runs = [RunConfig(**common, **of, seed=seed) for of in built for seed in check_seeds(seeds)]
    _refuse_twice(runs)
    return runs


def _check(registry: Registry, track: Track, architectures: Sequence[str], options: RunOptions) -> Budget:
    """The budget, if all that is asked of every run can be; else a `DitbenchError`."""
    check_device(options["device"])
    budget = track.amount(options["budget"])
    if budget.unit == "gpu_hours" and options["device"] in ("cpu", "mps"):
        told = f"A budget of {budget} needs a GPU of CUDA's, not device {options['device']!r}"
        raise BadValue(f"{told}; give minutes, steps or images.")
    find_dataset(registry, track, options["data"])
    if not architectures:
        raise BadValue("No architecture chosen. Name some with `architectures` dit,uvit or see ditbench list.")
    if not 0 < (seconds := options["checkpoint_seconds"]) <= 1e7:
        raise BadValue(f"`checkpoint_seconds` is {seconds}: choose a positive number of seconds, up to 1e7.")
    return budget


def _built(
    registry: Registry, selection: Selection, track: Track, options: RunOptions, free: Free | None
) -> dict[str, Any]:
    """What a run is of an architecture: its network, the code that builds it, and how it is trained."""
    selection.check_takes(track.data.frames)
    recipe, objective = train_as(registry, selection, track, options["ruleset"])
    if free is not None:
        check_network(track, selection.label)
        recipe, objective = free.recipe, free.objective
    if recipe.parametrization == "mup":
        _check_ladder(selection)
    recipe = recipe.model_copy(update={"compile": options["compile"] or recipe.compile})
    if options["device"] == "mps" and (
        "bfloat16" in (recipe.precision, track.evaluation.precision) or recipe.compile not in ("off", "auto")
    ):
        asked = f"{recipe.precision}, compile {recipe.compile}, evaluation in {track.evaluation.precision}"
        raise BadValue(f"Device 'mps' computes in float32 and eager; {selection.label} asks for {asked}.")
    return {
        **facts_of(selection, registry).of_run,
        "recipe": fit_memory(selection, recipe, options["micro_batch"], options["checkpointing"]),
        "objective": objective,
    }


def _check_count(architectures: int, seeds: int) -> None:
    if architectures * seeds > MOST_RUNS:
        raise BadValue(
            f"{architectures:,} architectures with {seeds:,} seeds are {architectures * seeds:,} runs; a plan has at "
            f"most {MOST_RUNS:,}, so {MOST_RUNS // architectures:,} seeds."
        )


def _refuse_twice(runs: Sequence[RunConfig]) -> None:
    for (label, _), count in Counter((run.label, run.seed) for run in runs).items():
        if count > 1:
            raise BadValue(f"Architecture {label!r} stands twice in the selection.")


def measured_otherwise(
    registry: Registry, track: Track, samples: int | None, features: str, metrics: Sequence[str] = ()
) -> tuple[Track, tuple[Deviation, ...]]:
    """The track with other samples, another extractor and the metrics that it can give, or metrics; and what changed.

    With other metrics than its own, a run is measured at its end alone: errors on the way are for boards.
    """
    asked, frames, changes, found = track.evaluation, track.data.frames, dict[str, Any](), list[Deviation]()
    if samples is not None and samples != asked.samples:
        changes["samples"] = samples
        found.append(Deviation("samples", samples, asked.samples))
    if features and features != asked.features:
        extractor = pick("extractor", features, registry.extractors)
        fitting = [name for name in asked.metrics if "/" in name or _fits(registry.metrics[name], extractor, frames)]
        changes |= {"features": features, "metrics": _whole(asked, features, fitting)}
        found.append(Deviation("features", features, asked.features))
    if metrics:
        usual = list(changes.get("metrics", asked.metrics))
        for metric in metrics:
            pick("metric", metric.partition("/")[0], registry.metrics)
        chosen = sorted(dict.fromkeys(metrics), key=lambda name: usual.index(name) if name in usual else len(usual))
        if chosen != usual:
            changes |= {"metrics": chosen, "denoised_on_the_way": 0}
            found.append(Deviation("metrics", ", ".join(chosen)))
    try:
        evaluation = EvaluationChoice.model_validate({**asked.model_dump(), **changes})
    except pydantic.ValidationError as error:
        raise BadValue(f"Track {track.name!r} can't be measured so: {first_fault(error)}.") from None
    otherwise = track.model_copy(update={"evaluation": evaluation})
    check_metrics(registry, otherwise)
    return otherwise, tuple(found)


def _whole(asked: EvaluationChoice, features: str, metrics: Sequence[str]) -> list[str]:
    """Of the metrics with this extractor, those whose panel of extractors is measured whole."""
    with_it = asked.model_copy(update={"features": features, "metrics": tuple(metrics)})
    both = zip(metrics, with_it.choices, strict=True)
    return [name for name, (_, of) in both if len(panel(of)) == 1 or not lacking(with_it, of)]


def parametrized_otherwise(track: Track, choice: str | None) -> tuple[Track, tuple[Deviation, ...]]:
    """The track with another parametrization, if one is given, and in what it then differs; `BadValue`."""
    meant = track.recipe.parametrization
    if choice in (None, meant):
        return track, ()
    try:
        recipe = Recipe.model_validate({**track.recipe.model_dump(), "parametrization": choice})
    except pydantic.ValidationError as error:
        raise BadValue(f"Track {track.name!r}: {first_fault(error)}.") from None
    return track.model_copy(update={"recipe": recipe}), (Deviation("parametrization", str(choice), meant),)


def _check_ladder(selection: Selection) -> None:
    """`BadValue` unless the size is of a ladder, whose pair of widths tells muP what to scale."""
    architecture = selection.architecture
    if architecture.base(selection.size) in architecture.ladder:
        return
    known = f"those around {', '.join(architecture.ladder)} have" if architecture.ladder else "none of its sizes has"
    raise BadValue(
        f"{selection.label} can't be trained with `parametrization` mup: it is in no ladder, whose widths tell what to "
        f"scale; of {architecture.name}, {known} one."
    )


def compiled_otherwise(track: Track, choice: str | None, budget: Budget) -> tuple[Deviation, ...]:
    """What compiling otherwise than the track makes of a run: nothing, but where a faster network learns for longer."""
    meant = track.recipe.compile
    differs = choice not in (None, meant) and budget.is_of_time
    return (Deviation("compile", str(choice), meant),) if differs else ()


def _fits(metric: Metric, extractor: Extractor, frames: int) -> bool:
    try:
        metric.check_fits(extractor, frames)
    except BadValue:
        return False
    return True


def check_device(device: str) -> None:
    """Whether it is spelled like one; only the process that computes can tell whether it is there."""
    if not _DEVICE.fullmatch(device):
        raise BadValue(f"No device named {device!r}. Known: auto, cpu, mps, cuda, cuda:0, cuda:1, ...")


def check_shares(shares: Sequence[float]) -> tuple[float, ...]:
    """Shares of a budget at which to measure: distinct, ascending, in (0, 1); or a `BadValue`."""
    told = ", ".join(f"{100 * share:g}%" for share in shares)
    if not all(0 < share < 1 for share in shares):
        raise BadValue(f"Evaluations at {told} of the budget: each must lie between 0% and 100%. The end is measured.")
    if any(later <= earlier for earlier, later in pairwise(shares)):
        raise BadValue(f"Evaluations at {told} of the budget: name each once, in ascending order.")
    return tuple(shares)


def find_dataset(registry: Registry, track: Track, data: str) -> tuple[Dataset, str]:
    """The data set to train on, and where it is, from what `data` says.

    `data` is a place of the track's own data set, or ``NAME[:PLACE]`` of another one; empty: the track's, where it
    usually lies. `BadValue` if the place is missing or goes nowhere.
    """
    name, _, place = track.data.dataset.partition(":")
    head, _, rest = data.partition(":")
    if head in registry.datasets:
        name, place = head, rest
    elif data:
        place = data
    dataset = pick("dataset", name, registry.datasets)
    if place and dataset.place == "none":
        raise BadValue(f"`data` {data!r}: the data set {name!r} is always at hand; it can't be read from {place!r}.")
    if not place and dataset.place == "required":
        raise BadValue(f"Track {track.name!r}: where is the data? {_way_to(track, name)}")
    return dataset, place


def _way_to(track: Track, dataset: str) -> str:
    """How to come by the data that a track needs."""
    if dataset == "latents":
        vae, resolution = track.data.autoencoder or "NAME_OR_PATH", track.data.resolution
        command = f"`ditbench data prepare SOURCE --autoencoder {vae} --resolution {resolution} --out DIR`"
        clips = f" with `frames` {track.data.frames} and `interval` {track.data.interval}"
        return f"Make latents with {command}{clips if track.data.frames > 1 else ''}, then give `data` DIR."
    if dataset == "hf":
        return "Give its name on the Hugging Face hub, or a folder of it: `data` hf:NAME."
    return f"Give its folder with `data` DIR, or other data: `data` {dataset}:DIR."


def train_as(registry: Registry, selection: Selection, track: Track, ruleset: str) -> tuple[Recipe, ObjectiveChoice]:
    """The track's training, or under ``native`` what the architecture's paper makes of it; `BadValue` if that fails."""
    if ruleset not in ASKED_FOR:
        raise BadValue(f"No ruleset named {ruleset!r}. Known: {', '.join(ASKED_FOR)}.")
    return _native(registry, selection, track) if ruleset == "native" else (track.recipe, track.objective)


def fit_memory(selection: Selection, recipe: Recipe, micro_batch: int | None, checkpointing: bool) -> Recipe:
    """The recipe in smaller passes, or with activations recomputed; `BadValue` if that can't be."""
    changes = {"micro_batch": micro_batch or recipe.micro_batch, "checkpointing": checkpointing or recipe.checkpointing}
    if changes["checkpointing"] and "checkpointing" not in selection.architecture.options:
        raise BadValue(f"Architecture {selection.architecture.name!r} has no option 'checkpointing'.")
    try:
        return Recipe.model_validate({**recipe.model_dump(), **changes})
    except pydantic.ValidationError as error:
        raise BadValue(f"`micro_batch` {micro_batch}: {first_fault(error)}.") from None


def _native(registry: Registry, selection: Selection, track: Track) -> tuple[Recipe, ObjectiveChoice]:
    architecture = selection.architecture
    if architecture.native is None:
        raise BadValue(
            f"Architecture {architecture.name!r} declares no native recipe; leave it out of `ruleset` native."
        )
    where = f"The native recipe of {architecture.name!r} ({registry.provider(architecture.name).label})"
    try:
        about = (track.space, track.data.resolution, architecture.base(selection.size))
        native = ask(_declared, architecture.native, *about, seconds=SECONDS)
    except (BadValue, PluginFault) as fault:
        raise BadValue(f"{where} is wrong: {fault}") from None
    if not isinstance(native, Native):
        raise BadValue(f"{where} is {native!r}, no Native.")
    try:
        return track.recipe.with_changes(native.recipe), ObjectiveChoice(
            name=track.objective.name,
            settings={**track.objective.settings, **native.objectives.get(track.objective.name, {})},
        )
    except pydantic.ValidationError as error:
        raise BadValue(f"{where} does not fit track {track.name!r}: {first_fault(error)}.") from None


def _declared(native: ObjectReference, *about: Any) -> Any:
    """What an architecture's paper trains with, in a process of its own."""
    return load(native)(*about)
