"""Benchmark diffusion transformers that plug in.

All that a plugin, a notebook or a script uses has its name here, or in `ditbench.layers` (network parts),
`ditbench.testing` (the contract) or `ditbench.errors`. Importing this package does no work and imports no torch.
"""

import sys

# ruff: noqa: E402  (``python -m ditbench`` searches the working directory first, where a module may pose as a library's)
_BY_NAME = sys.argv[:1] == ["-m"] and " -m ditbench " in f"{' '.join(sys.orig_argv)} "
del sys.path[: int(_BY_NAME and not sys.flags.safe_path)]

import pkgutil
from typing import TYPE_CHECKING, Any

from .components import (
    Architecture,
    Autoencoder,
    Dataset,
    Executor,
    Extractor,
    Metric,
    Native,
    Objective,
    Option,
    Sampler,
    Value,
    Weights,
)
from .denoiser_spec import DenoiserSpec
from .errors import BadValue, DitbenchError
from .hookspecs import hookimpl
from .ladder import Ladder

if TYPE_CHECKING:
    from .campaign import run
    from .datasets.autoencoder import AutoencoderNetwork
    from .datasets.examples import AutoencoderFacts, Data, Examples, Request, from_arrays
    from .denoiser.cost import cost_of
    from .denoiser.interface import Forward, TrainingLoss
    from .executors.engine import Engine, Listener, Ready, Wishes
    from .executors.jobs import Job, carry_out
    from .executors.listeners import Silent
    from .executors.local import preflight
    from .leaderboard.tables import tables
    from .metrics.denoising import Denoised
    from .metrics.features import Features, Moments
    from .metrics.quality import Score
    from .profiling.estimate import makespan
    from .profiling.hardware import dense_peak
    from .records.facts import Environment
    from .records.record import Record, read_record
    from .registry import Registry
    from .runtime.progress import Progress, Watch
    from .sampling.samplers import Walk
    from .tracks.config import RunConfig
    from .tracks.track import Track, load_track
    from .training.objectives import TIME_SCALE, DiffusionObjective, Level, LossParts

__version__: str  # read when it is asked for

_ON_FIRST_USE = {  # name -> module: a plugin that registers itself should not pay for torch, pandas and pydantic
    "run": "campaign",
    "AutoencoderNetwork": "datasets.autoencoder",
    "AutoencoderFacts": "datasets.examples",
    "Data": "datasets.examples",
    "Examples": "datasets.examples",
    "Request": "datasets.examples",
    "from_arrays": "datasets.examples",
    "cost_of": "denoiser.cost",
    "Forward": "denoiser.interface",
    "TrainingLoss": "denoiser.interface",
    "Engine": "executors.engine",
    "Listener": "executors.engine",
    "Ready": "executors.engine",
    "Wishes": "executors.engine",
    "Job": "executors.jobs",
    "carry_out": "executors.jobs",
    "Silent": "executors.listeners",
    "preflight": "executors.local",
    "tables": "leaderboard.tables",
    "Denoised": "metrics.denoising",
    "Features": "metrics.features",
    "Moments": "metrics.features",
    "Score": "metrics.quality",
    "makespan": "profiling.estimate",
    "dense_peak": "profiling.hardware",
    "Environment": "records.facts",
    "Record": "records.record",
    "read_record": "records.record",
    "Registry": "registry",
    "Progress": "runtime.progress",
    "Watch": "runtime.progress",
    "Walk": "sampling.samplers",
    "RunConfig": "tracks.config",
    "Track": "tracks.track",
    "load_track": "tracks.track",
    "DiffusionObjective": "training.objectives",
    "Level": "training.objectives",
    "LossParts": "training.objectives",
    "TIME_SCALE": "training.objectives",
}

__all__ = [
    "TIME_SCALE",
    "Architecture",
    "Autoencoder",
    "AutoencoderFacts",
    "AutoencoderNetwork",
    "BadValue",
    "Data",
    "Dataset",
    "Denoised",
    "DenoiserSpec",
    "DiffusionObjective",
    "DitbenchError",
    "Engine",
    "Environment",
    "Examples",
    "Executor",
    "Extractor",
    "Features",
    "Forward",
    "Job",
    "Ladder",
    "Level",
    "Listener",
    "LossParts",
    "Metric",
    "Moments",
    "Native",
    "Objective",
    "Option",
    "Progress",
    "Ready",
    "Record",
    "Registry",
    "Request",
    "RunConfig",
    "Sampler",
    "Score",
    "Silent",
    "Track",
    "TrainingLoss",
    "Value",
    "Walk",
    "Watch",
    "Weights",
    "Wishes",
    "carry_out",
    "cost_of",
    "dense_peak",
    "from_arrays",
    "hookimpl",
    "load_track",
    "makespan",
    "preflight",
    "read_record",
    "run",
    "tables",
]


def __getattr__(name: str) -> Any:
    if name in _ON_FIRST_USE:
        return _lent(name)
    if name == "__version__":
        return pkgutil.resolve_name(f"{__name__}.discovery:version")(__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _lent(name: str) -> Any:
    try:
        return pkgutil.resolve_name(f"{__name__}.{_ON_FIRST_USE[name]}:{name}")
    except ModuleNotFoundError:  # in the light form, or of a bug
        pkgutil.resolve_name(f"{__name__}.extras:require_run")(f"`{__name__}.{name}`")
        raise


def __dir__() -> list[str]:
    return sorted(__all__)
