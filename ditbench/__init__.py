"""Benchmark diffusion transformers that plug in.

These names are the public API, together with `ditbench.layers` and `ditbench.testing` for architectures. A plugin of
another kind also uses what it is given or returns: `Request`, `Data` and `from_arrays` of `ditbench.datasets.examples`,
`Walk` of `ditbench.samplers`, `Features` of `ditbench.features`, `Score` of `ditbench.quality`.
Importing this package does no work and imports no torch.
"""

import pkgutil
from typing import TYPE_CHECKING, Any

from .components import (
    Architecture,
    Dataset,
    DenoiserSpec,
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
from .errors import BadValue, DitbenchError
from .hookspecs import hookimpl

if TYPE_CHECKING:
    from .campaign import run
    from .leaderboard.tables import tables
    from .record import Record, read_record

__all__ = [
    "Architecture",
    "BadValue",
    "Dataset",
    "DenoiserSpec",
    "DitbenchError",
    "Executor",
    "Extractor",
    "Metric",
    "Native",
    "Objective",
    "Option",
    "Record",
    "Sampler",
    "Value",
    "Weights",
    "hookimpl",
    "read_record",
    "run",
    "tables",
]

_ON_FIRST_USE = {
    "run": "ditbench.campaign:run",
    "tables": "ditbench.leaderboard.tables:tables",
    "Record": "ditbench.record:Record",
    "read_record": "ditbench.record:read_record",
}


def __getattr__(name: str) -> Any:
    """Plugins import this package to register themselves; they should not pay for pandas and pydantic."""
    if name in _ON_FIRST_USE:
        return pkgutil.resolve_name(_ON_FIRST_USE[name])
    raise AttributeError(f"module 'ditbench' has no attribute {name!r}")
