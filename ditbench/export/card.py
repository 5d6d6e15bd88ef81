"""A model repository's card: what was measured of a run, how, and how to get it again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from ..errors import BadFile, BadValue, in_markdown
from ..leaderboard.boards import Row, boards
from ..leaderboard.intervals import Estimate
from ..leaderboard.site.reproduction import reproduction
from ..leaderboard.tables import interval
from ..records.files import GRID_FILE
from ..records.record import Record, read_runs
from ..storage.files import is_file, sha256_of
from .subject import Subject

CARD_FILE = "README.md"
_TASK = "unconditional-image-generation"  # the hub's, of images made without a prompt; it has none for clips
_USE = """\
```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("{name}", trust_remote_code=True)
images = pipeline(num_images=16).images{each}
```

`{name}` stands for this folder, or for the repository's name on the hub. ditbench need not be installed;
`requirements.txt` has what must be. Image number i of a seed starts from the same noise whoever draws it, and without a
seed the pipeline draws the images that were measured. Bytes can depend on which images share a batch.
Read the code before you trust it: it is in this folder.
"""


def card_files(subject: Subject, folder: Path) -> dict[str, str | bytes]:
    """The card and the grid of samples of a run, whose folder is given; `DitbenchError` if it lacks either."""
    record = subject.record
    if record is None:
        raise BadValue("A model repository shows what was measured: give a run's folder, not a file of weights.")
    grid = folder / GRID_FILE
    if not is_file(grid) or sha256_of(grid) != record.files.get(GRID_FILE):
        raise BadFile(f"{str(folder)!r} has no {GRID_FILE} that is its record's, and the card shows it.")
    return {CARD_FILE: card(subject, record, _row(record, folder)), GRID_FILE: grid.read_bytes()}


def _row(record: Record, folder: Path) -> Row:
    """The run's row on a board of all runs beside it, which may be other seeds of the same."""
    beside = [other for other in read_runs(folder.absolute().parent) if other.run_id != record.run_id]
    rows = (row for board in boards([record, *beside]) for row in board.rows)
    return next(row for row in rows if any(one.run_id == record.run_id for one in row.records))


def card(subject: Subject, record: Record, row: Row) -> str:
    """The card as Markdown, with its metadata as YAML at the top."""
    of, track = subject.architecture, record.track
    parts = [
        f"---\n{_data(subject, record).to_yaml()}\n---\n",
        f"# {in_markdown(record.architecture.label)} on {in_markdown(track.name)}\n",
        f"{in_markdown(of.description or of.name)}. Paper: {in_markdown(of.paper or 'none is named')}.\n",
        f"![samples]({GRID_FILE})\n",
        "## Use\n",
        _USE.format(name=record.run_id, each="  # each a list of frames" if _makes_clips(record) else ""),
        "## Results\n",
        _table(("metric", "this run", f"its row, {_seeds(row)}"), _results(record, row)),
        _status(row),
        "## Protocol\n",
        _table(("", ""), _protocol(record)),
        "## Reproduce\n",
        _command(record),
        "## Licence and citation\n",
        f"Code of the network: {in_markdown(of.licence or 'not stated')}; see LICENSE. Cite the papers in "
        "CITATION.bib.\n",
    ]
    return "\n".join(parts)


def _data(subject: Subject, record: Record) -> ModelCardData:
    return ModelCardData(
        license=(subject.architecture.licence or "unknown").lower(),
        library_name="diffusers",
        pipeline_tag=None if _makes_clips(record) else _TASK,
        tags=["ditbench", record.architecture.name],
        model_name=record.architecture.label,
        eval_results=list(_evaluations(record)),
    )


def _evaluations(record: Record) -> Iterator[EvalResult]:
    """The metadata's form of each number, under its full name."""
    for found in record.metrics:
        yield EvalResult(
            task_type="other" if _makes_clips(record) else _TASK,
            dataset_type=record.track.data.dataset.partition(":")[0],
            dataset_name=f"{record.track.name} v{record.track.version}",
            metric_type=found.metric,
            metric_name=found.protocol,
            metric_value=found.value,
            dataset_args={"track_hash": record.track_hash, "budget": record.budget},
        )


def _makes_clips(record: Record) -> bool:
    return record.track.data.frames > 1


def _seeds(row: Row) -> str:
    count = len(row.seeds)
    return f"{count} seed{'' if count == 1 else 's'}"


def _results(record: Record, row: Row) -> Iterator[Sequence[object]]:
    for found in record.metrics:
        arrow = "↑" if found.higher_is_better else "↓"
        yield f"{found.protocol} {arrow}", interval(Estimate((found.value,))), interval(row.quality[found.protocol])
    cost = record.cost
    if cost is not None:
        yield "parameters (M)", f"{cost.parameters / 1e6:.4g}", ""
        yield "MACs of a forward pass (M)", f"{cost.macs_per_image / 1e6:.4g}", ""


def _status(row: Row) -> str:
    told = "The row's numbers are means over its seeds, ± half of the 95 % interval. Ranks are on the leaderboard"
    return f"{told}; this row is {in_markdown(row.status)}.\n"


def _protocol(record: Record) -> Iterator[Sequence[object]]:
    track, data, training = record.track, record.data, record.training
    guidance = track.sampler.guidance
    yield "track", f"{track.name} v{track.version}, hash {record.track_hash}"
    if record.deviations:
        yield "not as the track says", "; ".join(record.deviations)
    if data is not None:
        yield "data", f"{data.name}: {data.examples:,} examples of {_shape(data.shape)}, {data.classes} classes"
    yield "ruleset", record.ruleset
    yield "objective", _settings(record.objective.name, record.objective.settings)
    yield "optimiser", f"{record.recipe.optimizer}, learning rate {record.recipe.learning_rate:g}"
    if training is not None:
        yield "training", f"{record.budget}: {training.steps:,} steps of {training.batch_size:,} images, EMA weights"
    yield "sampler", f"{_settings(track.sampler.name, track.sampler.settings)}, {track.sampler.steps} steps"
    yield "guidance", "none" if guidance is None else f"{guidance.scale:g} as {guidance.formula}, {guidance.schedule}"
    yield "samples", f"{track.evaluation.samples:,}, labels {track.evaluation.labels}"
    yield "seed", record.seed
    yield "hardware", record.hardware
    if record.environment is not None:
        yield "software", f"ditbench {record.environment.ditbench}, torch {record.environment.torch}"


def _shape(shape: Sequence[int]) -> str:
    return f"{'x'.join(map(str, shape))} ({math.prod(shape):,} numbers)"


def _settings(name: str, settings: dict[str, object] | dict[str, str | int | float | bool]) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in settings.items())])


def _command(record: Record) -> str:
    found = reproduction(record)
    lines = ["```sh", *found.lines, "```", "", *(in_markdown(line) for line in found.caveats), ""]
    return "\n".join(lines)


def _table(header: Sequence[str], rows: Iterator[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *([in_markdown(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
