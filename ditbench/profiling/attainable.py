"""What compiled networks may attain on a GPU, where nobody has measured it yet.

Estimates, by counting the kernels of a training step and the bytes that each moves: for an H200 whose plain matrix
products reach 790 TFLOP/s and whose memory gives 4.3 TB/s. docs/planning.md has the table with its batches.
"""

from __future__ import annotations

from ..denoiser_spec import DenoiserSpec
from ..tracks.config import RunConfig

SOURCE = "estimates of kernels and bytes on an H200, bfloat16, compiled, at batch 128 to 256; nobody has measured them"
_INPUT = (4, 32, "latent")  # channels, resolution, space

# The lower end, as a share of the dense peak of bfloat16 (989 TFLOP/s), by architecture and size without options.
ATTAINABLE: dict[str, float] = {
    "dit:S/2": 0.25,
    "dit:B/2": 0.38,
    "dit:L/2": 0.44,
    "dit:XL/2": 0.46,
    "uvit:S/2": 0.33,
    "uvit:L/2": 0.46,
    "uvit:H/2": 0.49,
    "mdt:S/2": 0.21,
    "mdt:XL/2": 0.41,
    "diffit:S/2": 0.21,
    "diffit:XL/2": 0.42,
}


def attainable(config: RunConfig, spec: DenoiserSpec, compiled: bool) -> float | None:
    """The share of the peak that a run may attain; None where there is no estimate.

    Eager networks have none: what they attain depends on the host, which starts their kernels.
    """
    told = compiled and (spec.channels, spec.resolution, spec.space) == _INPUT
    return ATTAINABLE.get(config.label) if told else None
