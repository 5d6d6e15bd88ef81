"""Other lengths of EMA for a finished run: averages made of its snapshots, measured as the run was."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Unpack

from ..errors import BadFile, BadValue
from ..records.facts import Measurement
from ..records.files import WEIGHTS_FILE
from ..records.lengths import EmaLengths, MeasuredLength, TakenSnapshot, check_lengths, check_run, sealed
from ..records.record import config_of
from ..registry import Registry, pick
from ..runtime.environment import describe
from ..runtime.progress import Diverged, ProgressCallback, Watch
from ..sampling.samples import draw
from ..storage.files import sha256_of, temporary_folder, write_bytes
from ..tracks.config import RunConfig
from ..tracks.options import PlaceOptions, takes
from .denoising import read_errors, write_errors
from .judge import Judge
from .reevaluation import Worker, check_plugin, check_weights, here, parts_of
from .setup import drawing_of, load_denoiser
from .snapshots import Snapshot, combination, reconstruct, snapshots_in


@takes(PlaceOptions)
def measure_lengths(
    run: Path,
    lengths: Sequence[float],
    samples: bool,
    save: Path | None,
    registry: Registry,
    report: ProgressCallback = lambda progress: None,
    work: Worker = here,
    **options: Unpack[PlaceOptions],
) -> EmaLengths:
    """The averages of these relative lengths at the end of a run's training: their denoising errors.

    samples: draw images, too, and measure all of the track's metrics. save: write the one average there. `work` has
    that done which the plugin takes part in. Raises `DitbenchError` if the run keeps no snapshots, or if plugin, data
    or reference here are others.
    """
    asked = check_lengths(lengths)
    if save is not None and len(asked) > 1:
        raise BadValue("`save` writes one average: give one of `lengths`.")
    record = check_run(run)
    check_plugin(record, registry)
    check_weights(record, run / WEIGHTS_FILE)
    found = snapshots_in(run, record.run_hash)
    config = config_of(record).model_copy(update=dict(options))
    metrics = (pick("metric", name, registry.metrics) for name, _ in config.track.evaluation.choices)
    if not samples and not any(metric.sees == "denoiser" for metric in metrics):
        raise BadValue(f"Track {config.track.name!r} measures no denoising error: ask for `samples`.")
    with temporary_folder() as folder:
        make = partial(_make, config, registry, found, asked, run / WEIGHTS_FILE, samples, folder)
        try:
            work(make, folder, Watch(report))
        except Diverged as error:
            raise BadFile(f"An average of {run.name!r} can't be measured: {error}.") from None
        parts = parts_of(config, registry)
        judge = Judge(config, parts, folder, Watch(report))
        measured = [
            MeasuredLength(
                length=length,
                profile_error=combination(found, length).error,
                metrics=_metrics(judge, _stem(length), samples),
            )
            for length in asked
        ]
        if save is not None:
            write_bytes(save, (folder / f"{_stem(asked[0])}.safetensors").read_bytes())
    content = EmaLengths(
        run_id=record.run_id,
        run_hash=record.run_hash,
        weights_sha256=record.files[WEIGHTS_FILE],
        created=datetime.now(UTC).replace(microsecond=0),
        environment=describe(parts.device),
        device=str(parts.device),
        snapshots=[_taken(one) for one in found],
        lengths=measured,
    )
    return sealed(content)


def _stem(length: float) -> str:
    return f"length-{length!r}"


def _make(
    config: RunConfig,
    registry: Registry,
    snapshots: Sequence[Snapshot],
    lengths: Sequence[float],
    ema: Path,
    samples: bool,
    folder: Path,
    watch: Watch,
) -> None:
    """Of each length the weights, what they make of held-out images and, if asked for, samples, into a folder."""
    parts = parts_of(config, registry)
    for length in lengths:
        weights = folder / f"{_stem(length)}.safetensors"
        reconstruct(snapshots, length, ema, weights)
        denoiser = load_denoiser(config, parts, weights)
        if len(lengths) > 1:  # one alone may be saved
            weights.unlink()
        if parts.denoising is not None:
            write_errors(parts.denoising.errors(denoiser), folder, _stem(length))
        if samples:
            draw(drawing_of(config, parts), denoiser, folder, watch, _stem(length))


def _metrics(judge: Judge, stem: str, samples: bool) -> list[Measurement]:
    if samples:
        return judge.measure(judge.samples(stem=stem))
    asked = judge.parts.denoising
    return [] if asked is None else list(asked.measure(read_errors(judge.directory, stem, asked.images)))


def _taken(one: Snapshot) -> TakenSnapshot:
    facts = one.facts
    return TakenSnapshot(time=facts.time, steps=facts.steps, lengths=list(facts.lengths), sha256=sha256_of(one.path))
