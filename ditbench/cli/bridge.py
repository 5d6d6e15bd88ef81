"""`ditbench bridge`: one set of samples against several references, so that papers' references can be told apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BadValue
from . import completion
from .app import SCORE, app, fetch_weights, installed
from .evaluate import EXTRACTOR, progress, shown_number
from .options import AsJson, Device, Offline
from .output import tell_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from ..records.evaluation import Evaluation


@app.command(
    needs_torch=True,
    gives="ditbench.cli.answers.images:BridgeAnswer",
    rich_help_panel=SCORE,
    epilog="Example: ditbench bridge SAMPLES.npz jit_in256_stats.npz VIRTUAL_imagenet256_labeled.npz",
)
def bridge(
    samples: Annotated[Path, typer.Argument(help="Folder of PNGs, or .npz with arr_0.")],
    references: Annotated[
        list[str], typer.Argument(help="Two or more: .npz (arr_0, or mu and sigma), folders, data sets.")
    ],
    features: Annotated[
        str, typer.Option(help="Extractor; see `ditbench list extractors`.", autocompletion=completion.extractors)
    ] = EXTRACTOR,
    metrics: Annotated[str, typer.Option(help="Metrics, separated by commas; the extractor's own if not said.")] = "",
    weights: Annotated[Path | None, typer.Option(help="The extractor's file of weights, if not in the cache.")] = None,
    offline: Offline = False,
    allow_jpeg: Annotated[bool, typer.Option("--allow-jpeg", help="Score lossy images, and mark them.")] = False,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(min=1, max=1_000_000, help="Images in one pass of the extractor.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Score the same samples against several references: how much of a FID is the reference's."""
    from ..registry import pick
    from ..runtime.devices import refuse_absent
    from ..tracks.plan import check_device
    from .console import make_console

    registry, console = installed(), make_console()
    extractor = pick("extractor", features, registry.extractors)
    chosen = tuple(pick("metric", name, registry.metrics) for name in metrics.split(",")) if metrics else ()
    check_device(device)
    refuse_absent(device)
    if not all(references):
        raise BadValue("The reference '' is empty: name a file, a folder or a data set.")
    if len(references) < 2:
        raise BadValue(
            f"One reference, {references[0]!r}, bridges nothing: name two or more, or use ditbench evaluate."
        )
    if twice := [name for name in references if references.count(name) > 1]:
        raise BadValue(f"The reference {twice[0]!r} stands twice: name each once.")

    from ..benchmark.evaluation import EvaluationRequest, evaluate_against
    from ..datasets.image_sets import open_images

    request = EvaluationRequest(
        samples=open_images(samples),
        reference="",
        extractor=extractor,
        metrics=chosen,
        device=device,
        weights=weights or fetch_weights(console, extractor, offline),
        floors=False,
        allow_jpeg=allow_jpeg,
        batch_size=batch_size,
        offline=offline,
    )
    with progress(console) as report:
        found = evaluate_against(references, request, registry, report)
    if as_json:
        _tell(found)
    else:
        _show(console, found)


def _tell(found: Sequence[Evaluation]) -> None:
    from .answers.images import BridgeAnswer, ReferenceScores

    first = found[0]
    scores = [ReferenceScores(reference=one.reference, metrics=one.metrics, left_out=one.left_out) for one in found]
    tell_json(
        BridgeAnswer(
            samples=first.samples,
            extractor=first.extractor,
            extractor_sha256=first.extractor_sha256,
            resize=first.resize,
            device=first.device,
            references=scores,
        )
    )


def _show(console: Console, found: Sequence[Evaluation]) -> None:
    """A row for each reference; a metric that this one can't give is a dash."""
    from .console import make_table, plain

    names = {metric.protocol: metric for one in found for metric in one.metrics}
    heads = [f"{name} {'↑' if metric.higher_is_better else '↓'}" for name, metric in names.items()]
    title = f"{found[0].samples.name}: {found[0].samples.count:,} samples, by {found[0].extractor}"
    table = make_table("reference", "sha256", "images", *heads, title=plain(title))
    for one in found:
        values = {metric.protocol: shown_number(metric.value) for metric in one.metrics}
        of = one.reference
        cells = (of.name, (of.sha256 or "")[:12], _images(one), *(values.get(name, "-") for name in names))
        table.add_row(*map(plain, cells))
    console.print(table)
    if any(one.left_out for one in found):
        console.print("A dash: the reference can't give that metric; --json says why.", highlight=False, soft_wrap=True)


def _images(one: Evaluation) -> str:
    """Of how many images the moments are, and how many are there themselves."""
    counts = dict.fromkeys(
        "not stated" if metric.reference_samples is None else f"{metric.reference_samples:,}"
        for metric in one.metrics
        if metric.reference_sha256 is not None
    )
    return " / ".join(counts)
