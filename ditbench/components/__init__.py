"""The frozen records that plugins return from their hooks. A record checks itself where it is built."""

from .architecture import LARGEST, NATIVE_FIELDS, Architecture, Native, Option, Selection, Value, label, spell
from .autoencoder import Autoencoder
from .measuring import Extractor, Metric, Output, RawKind, Weights
from .references import ObjectReference, load, module_of
from .running import Dataset, Executor, Objective, Sampler

__all__ = [
    "LARGEST",
    "NATIVE_FIELDS",
    "Architecture",
    "Autoencoder",
    "Dataset",
    "Executor",
    "Extractor",
    "Metric",
    "Native",
    "ObjectReference",
    "Objective",
    "Option",
    "Output",
    "RawKind",
    "Sampler",
    "Selection",
    "Value",
    "Weights",
    "label",
    "load",
    "module_of",
    "spell",
]
