"""A run's weights sampled and measured again: the same seed, so the same noise and labels; as it was, or guided."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple, Unpack

from ..errors import BadFile, BadValue
from ..records.facts import Environment, Measurement, SamplingFacts
from ..records.files import WEIGHTS_FILE
from ..records.guidance import GuidancePoint, check_guidable, guided, with_axes
from ..records.record import Record, config_of
from ..records.verification import Verification, check_by, re_evaluated
from ..registry import Registry, pick
from ..runtime.environment import describe
from ..runtime.progress import Diverged, ProgressCallback, Watch
from ..sampling.samples import draw
from ..storage.files import sha256_of, temporary_folder
from ..tracks.config import RunConfig
from ..tracks.options import PlaceOptions, takes
from .denoising import write_errors
from .judge import Judge
from .setup import Parts, drawing_of, load_denoiser, open_data, resolve

Worker = Callable[[Callable[[Watch], None], Path, Watch], object]


class _Found(NamedTuple):
    """What was measured, and where."""

    environment: Environment
    device: str
    sampling: SamplingFacts
    metrics: list[Measurement]


def here(sample: Callable[[Watch], None], folder: Path, watch: Watch) -> None:
    sample(watch)


@takes(PlaceOptions)
def re_evaluate(
    record: Record,
    weights: Path,
    by: str,
    registry: Registry,
    report: ProgressCallback = lambda progress: None,
    work: Worker = here,
    **options: Unpack[PlaceOptions],
) -> Verification:
    """Sample and measure a record's weights again. `work` has the sampling done, which the plugin takes part in.

    Raises `DitbenchError` if the file is not the record's, or if plugin, data or reference here are others.
    """
    check_by(record, by)
    config = config_of(record).model_copy(update=dict(options))
    return re_evaluated(record, by, *_measured(record, config, weights, registry, report, work))


@takes(PlaceOptions)
def measure_guided(
    record: Record,
    weights: Path,
    scale: float,
    registry: Registry,
    report: ProgressCallback = lambda progress: None,
    work: Worker = here,
    **options: Unpack[PlaceOptions],
) -> GuidancePoint:
    """Sample a record's weights at another scale of guidance, and measure that; all else is as in the run.

    Measured is what the track measures of samples with one extractor, and FID, precision and recall in any case. Raises
    what `re_evaluate` does, and `BadValue` if the network can't be guided.
    """
    check_guidable(record)
    track = guided(record.track, scale, _metrics(record, registry))
    assert track.sampler.guidance is not None
    config = config_of(record).model_copy(update={**options, "track": track})
    found = _measured(record, config, weights, registry, report, work)
    now = datetime.now(UTC).replace(microsecond=0)
    return GuidancePoint(guidance=track.sampler.guidance, created=now, **found._asdict())


def _metrics(record: Record, registry: Registry) -> list[str]:
    """The track's own, but for those that guidance does not change, or that are made of several others."""
    asked = record.track.evaluation
    seen = [pick("metric", name, registry.metrics).sees for name, _ in asked.choices]
    told = zip(asked.metrics, seen, strict=True)
    own = [metric for metric, sees in told if sees not in ("denoiser", "distances")]
    return with_axes(own, record.track.data.frames)


def _measured(
    record: Record, config: RunConfig, weights: Path, registry: Registry, report: ProgressCallback, work: Worker
) -> _Found:
    """The samples of a record's weights, drawn and measured as `config` says."""
    check_weights(record, weights)
    check_plugin(record, registry)
    with temporary_folder() as folder:
        sample = partial(_sample, config, registry, weights, folder)
        try:
            work(sample, Path(folder), Watch(report))  # first of all: a process that has computed can't be forked well
        except Diverged as error:
            raise BadFile(f"The weights {str(weights)!r} give no images here: {error}.") from None
        parts = parts_of(config, registry)
        judge = Judge(config, parts, Path(folder), Watch(report))
        sampling, metrics = judge.samples().facts, judge.measure(judge.samples())
    return _Found(describe(parts.device), str(parts.device), sampling, metrics)


def _sample(config: RunConfig, registry: Registry, weights: Path, folder: Path, watch: Watch) -> None:
    """The samples that the weights give, into a folder."""
    parts = parts_of(config, registry)
    denoiser = load_denoiser(config, parts, weights)
    draw(drawing_of(config, parts), denoiser, folder, watch)
    if parts.denoising is not None:
        write_errors(parts.denoising.errors(denoiser), folder, "samples")


def check_weights(record: Record, weights: Path) -> None:
    """The file is the record's EMA weights."""
    if WEIGHTS_FILE not in record.files:
        raise BadFile(f"The record of {record.run_id} has no sha256 of {WEIGHTS_FILE}, so no weights are known as its.")
    try:
        found = sha256_of(weights)
    except OSError as error:
        raise BadFile(f"The weights {str(weights)!r} can't be read ({error.strerror}).") from None
    if found != record.files[WEIGHTS_FILE]:
        expected = record.files[WEIGHTS_FILE]
        raise BadFile(
            f"The weights {str(weights)!r} are not those of {record.run_id}: their sha256 is {found}, the record has "
            f"{expected}."
        )


def check_plugin(record: Record, registry: Registry) -> None:
    """The architecture's code here is that of the record."""
    of = record.architecture
    pick("architecture", of.name, registry.architectures)
    plugin = registry.provider(of.name)
    if (plugin.distribution, plugin.version) != (of.distribution, of.distribution_version):
        raise BadValue(
            f"{record.run_id} was made with {of.distribution} {of.distribution_version}; {of.name!r} comes from "
            f"{plugin.label} here. Install the record's."
        )
    if registry.source_sha256(of.name) != of.source_sha256:
        raise BadValue(
            f"{record.run_id} was made with another source of {of.distribution} {of.distribution_version} than is "
            f"installed here; check out its commit {(record.environment and record.environment.git_commit) or '?'}."
        )


def parts_of(config: RunConfig, registry: Registry) -> Parts:
    """All that the run was made of, if data and reference are the record's."""
    found = open_data(config, registry)
    if found.sha256 != config.data_sha256:
        raise BadFile(
            f"The data {found.name!r} here is not the record's: its sha256 is {found.sha256}, not the record's."
        )
    parts = resolve(config, registry, found)
    if parts.scoring is None or parts.scoring.source.hash() != config.reference_sha256:
        raise BadFile("The record's samples were compared with other real images than are here; see `reference`.")
    return parts
