"""A run on another machine than the one that planned it: what hands it over, what that machine is, whether it fits."""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from ..asking import end_with_parent
from ..errors import DitbenchError
from ..extras import install
from ..records.facts import Environment
from ..runtime.processes import answer_of
from .jobs import PRELOAD, Job


def library_of(executor: str, needs: str) -> Any:
    """What an executor hands runs over by: the top package of ``needs``; a `DitbenchError` if it is not installed."""
    try:
        pkgutil.resolve_name(needs)
    except (ModuleNotFoundError, AttributeError):  # AttributeError: a mere folder of the library's name
        extra = install(f"ditbench[{executor}]")
        raise DitbenchError(f"`executor` {executor} needs the extra: {extra}") from None
    return pkgutil.resolve_name(needs.partition(":")[0])


def of_this_machine(job: Job, giver: str, way_out: str) -> Job:
    """The job with this machine for its environment; a `DitbenchError` if its run is named for other hardware.

    Of more threads than it was planned with it takes as many as that.
    `giver` is who gave the machine, and `way_out` how to get another. It also starts the server that forks runs.
    """
    found: Environment = answer_of(_serve_environment, job.config.device, preload=PRELOAD)
    asked = job.environment
    found = found.model_copy(update={"threads": min(found.threads, asked.threads), "parallel": asked.parallel})
    if found.hardware != job.config.hardware:
        raise DitbenchError(
            f"{job.config.run_id!r} was planned for {job.config.hardware}, and {giver} gave {found.hardware}: {way_out}"
        )
    return replace(job, environment=found.model_copy(update={"processes": job.processes}))


def _serve_environment(outbox: Connection, device: str) -> None:
    """In a forked process: what this machine is."""
    end_with_parent()
    try:
        found = pkgutil.resolve_name("ditbench.runtime.environment:find_device")(device)
        outbox.send(pkgutil.resolve_name("ditbench.runtime.environment:describe")(found))
    except DitbenchError as error:
        outbox.send(error)
