"""One command: plan, skip what is finished, execute the rest, write the leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .builtins import REFERENCE_ARCHITECTURES
from .components import load
from .executors import torchrun
from .executors.engine import Engine, Wishes
from .executors.jobs import Job
from .executors.listeners import Silent, Together
from .executors.trackers import start
from .leaderboard.build import write_run_tables
from .metrics.weights import has_weights, require_weights
from .records.record import Record, read_runs
from .registry import Registry, pick
from .storage.files import make_writable
from .tracks.plan import find_dataset, make_plan


def run(
    track: str = "digits",
    architectures: Sequence[str] = REFERENCE_ARCHITECTURES,
    seeds: Sequence[int] = (0,),
    *,
    budget: str | None = None,
    ruleset: str = "matched",
    data: str = "",
    reference: str = "",
    skip_bad: bool = False,
    eval_at: Sequence[float] = (),
    samples: int | None = None,
    features: str = "",
    micro_batch: int | None = None,
    checkpointing: bool = False,
    device: str = "auto",
    out: str | Path = "runs",
    checkpoint_seconds: float = 20.0,
    keep_samples: bool = False,
    raw_weights: bool = False,
    force: bool = False,
    strict: bool = False,
    offline: bool = False,
    executor: str = "process",
    processes: int = 1,
    shard: bool = False,
    parallel: int | None = None,
    address: str = "",
    options: Sequence[str] = (),
    wait: bool = False,
    dry_run: bool = False,
    log: Sequence[str] = (),
    listener: Silent | None = None,
) -> list[Record]:
    """Benchmark architectures on a track and return one record per architecture and seed.

    Args:
        track: name of the track, e.g. ``"digits"``, or its file.
        architectures: selections ``name[:size][+option=value]...``.
        seeds: distinct whole numbers; each is a run of its own.
        budget: ``"2000-steps"``, ``"50k-images"``, ``"90s"``, ``"2gpu-hours"``, ``"1e17-flops"`` or one that the track
            names; by default the track's.
        ruleset: ``"matched"`` (the track's recipe) or ``"native"`` (that of each architecture's paper).
        data: where the track's data is: a folder, ``"hf:NAME"``. Runs on other data than the track's are not ranked.
        reference: folder or ``.npz`` to compare samples with; by default the training images.
        skip_bad: leave unreadable images out, and count them.
        eval_at: shares of the budget, in (0, 1), at which to measure the EMA weights, too.
        samples: how many images to measure in place of the track's number; such runs are not ranked.
        features: the extractor in place of the track's; such runs are not ranked.
        micro_batch: images in one pass, where a whole batch does not fit the device; gradients add up.
        checkpointing: recompute activations in the backward pass, to save memory.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
        out: folder for ``<track>/<run-id>/`` and ``<track>/leaderboard.{md,csv}``.
        checkpoint_seconds: training time between two checkpoints.
        keep_samples: also write each run's samples as ``samples.npz``.
        raw_weights: also sample and measure the weights as training left them, beside their EMA.
        force: start finished and interrupted runs over.
        strict: a faulty plugin is an error.
        offline: fetch no weights and no data; what is missing is an error.
        executor: ``"process"`` (a clean process per run), ``"inline"``, ``"slurm"`` (an array job), ``"ray"``, or a
            plugin's.
        processes: that carry out each run together, one GPU each; the result does not depend on how many, but for
            rounding and for what a network draws at random by itself.
        shard: weights, gradients, EMA and optimiser of a run over its processes (FSDP2), where they don't fit one GPU.
        parallel: how many runs at a time; by default one, and on a cluster as many as it takes. On this machine each
            has its own GPUs, or its own cores, and its share of the threads.
        address: of a Ray cluster, ``"HOST:PORT"`` or ``"auto"``; empty: ``"ray"`` starts one on this machine.
        options: of the executor, as ``"KEY=VALUE"``. ``"slurm"`` has ``"partition=gpu"``, ``"time=1440"`` (minutes),
            ``"gpus=1"``, ``"cpus=8"``, ``"memory=64"`` (GB), ``"account=..."``, ``"constraint=..."``, or any other
            option of sbatch; ``"ray"`` has ``"gpus"``, ``"cpus"``, ``"memory"`` (GB), ``"accelerator=H100"`` and
            ``"retries=3"`` of what a node or a worker took along.
        wait: of ``"slurm"``: return when all runs have ended. Otherwise `ditbench.executors.slurm.NoRecordsYet` is
            raised once they are submitted.
        dry_run: likewise: submit nothing; the text of `NoRecordsYet` is the script that sbatch would get.
        log: trackers that follow the runs: ``"tensorboard"`` (event files in each run's directory), ``"wandb"``.
            Each needs the extra of its name. One that breaks later is reported by `logging`, and the runs go on.
        listener: hears of the runs while they go.

    Finished runs are skipped and interrupted ones resumed, so calling again is free. A run that fails has a
    record that says so. Raises `DitbenchError` for any mistake in the arguments, before training.
    Under torchrun, the processes other than rank 0's carry out what it says, and get no records.
    A script that calls this needs the ``if __name__ == "__main__":`` guard, since runs are processes.
    """
    if torchrun.launched():
        executor = torchrun.instead_of(executor)
    if torchrun.follows():
        torchrun.follow()
        return []
    registry = Registry.installed(strict=strict)
    chosen = pick("executor", executor, registry.executors)
    plan = make_plan(
        registry,
        track,
        architectures,
        seeds,
        budget=budget,
        ruleset=ruleset,
        data=data,
        reference=reference,
        skip_bad=skip_bad,
        eval_at=eval_at,
        samples=samples,
        features=features,
        micro_batch=micro_batch,
        checkpointing=checkpointing,
        device=device,
        offline=offline,
        keep_samples=keep_samples,
        raw_weights=raw_weights,
        checkpoint_seconds=checkpoint_seconds,
    )
    folder = Path(out) / plan[0].track.name
    wishes = Wishes(
        folder,
        processes=processes,
        shard=shard,
        parallel=parallel,
        address=address,
        options=tuple(options),
        wait=wait,
        dry_run=dry_run,
    )
    engine: Engine = load(chosen.make)(wishes)
    trackers = Together(*start(log))
    listener = Together(listener or Silent(), trackers)
    make_writable(folder)
    read_runs(folder)  # a damaged record is found now, not after hours of training
    rehearsal = find_dataset(registry, plan[0].track, data)[0].name == "synthetic"  # nothing will be measured
    _fetch_weights([] if rehearsal else plan[0].track.evaluation.choices, registry, offline, listener)
    listener.preparing(registry.faults)
    configs, environment = engine.preflight(plan, listener.checking)
    jobs = [Job(config, folder / config.run_id, environment, force, environment.processes, shard) for config in configs]
    engine.refuse_busy(jobs)
    settled = {job.config.run_id: record for job in jobs if (record := job.settled()) is not None}
    for job in jobs:
        if job.config.run_id in settled:
            job.check_milestones(settled[job.config.run_id])
    listener.planned(jobs, list(settled.values()))
    waiting = [job for job in jobs if (done := settled.get(job.config.run_id)) is None or job.lacks(done)]
    records = dict(settled)
    try:
        for record in engine.execute(waiting, listener):
            records[record.run_id] = record
            listener.ended(record)
    finally:
        trackers.close()
        write_run_tables(read_runs(folder), folder)
    return [records[job.config.run_id] for job in jobs]


def _fetch_weights(choices: Sequence[tuple[str, str]], registry: Registry, offline: bool, listener: Together) -> None:
    """Have the extractors' weights here before any work; a `DitbenchError` if they can't be."""
    for name in dict.fromkeys(name for _, name in choices):
        extractor = registry.extractors[name]
        if not offline and not has_weights(extractor):
            listener.fetching(extractor)
        require_weights(extractor, offline)
