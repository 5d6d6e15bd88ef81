"""What a plugin's own tests need. Their whole suite can be one call of `check_architecture`: the denoiser's contract.

The contract: ``net(x, t, y)`` with x (N, channels, resolution, resolution), t (N,) in [0, 1000] and y (N,)
in [0, classes] (`classes` is the null label) gives (N, out_channels, resolution, resolution). Of an architecture of
clips, x and output have an axis of frames after N. Images of a batch do not see each other, nothing is random at
inference, and what training draws at random comes from torch's global generator, which the harness seeds at every step.
A method ``training_loss(loss)``, if there is one, gets a `ditbench.TrainingLoss` and returns a scalar. `ditbench check`
makes the same checks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from .components import Architecture, Selection, Value
from .denoiser.conformance.subject import subject_of
from .denoiser.conformance.suite import examine
from .denoiser.cost import ForwardCost, forward_cost_of_selection
from .denoiser.interface import DIGITS_SPEC, build_denoiser, example_batch, perturb, training_loss
from .denoiser_spec import DenoiserSpec
from .registry import pick

__all__ = [
    "DIGITS_SPEC",
    "ContractBroken",
    "ForwardCost",
    "build_denoiser",
    "check_architecture",
    "example_batch",
    "latent_spec",
    "parameters_and_macs",
    "perturb",
    "training_loss",
]


class ContractBroken(AssertionError):
    """An architecture does not keep the contract; the message names every check that failed."""


def latent_spec(resolution: int = 32, learn_variance: bool = True) -> DenoiserSpec:
    """ImageNet's latents, 4 channels and 1000 classes; `resolution` in latent cells: 32 for images of 256 pixels."""
    return DenoiserSpec(channels=4, resolution=resolution, classes=1000, space="latent", learn_variance=learn_variance)


def parameters_and_macs(
    architecture: Architecture, size: str = "nano", spec: DenoiserSpec = DIGITS_SPEC, **options: Value
) -> ForwardCost:
    """Count parameters, and multiply-accumulates of one image's forward, on the meta device: it takes no memory.

    What training costs is left out, for it takes longest to count: `ditbench.cost_of` has it.
    """
    return forward_cost_of_selection(Selection(architecture=architecture, size=size, options=options), spec)


def check_architecture(
    architecture: Architecture,
    spec: DenoiserSpec = DIGITS_SPEC,
    size: str = "nano",
    options: Mapping[str, Value] | None = None,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    module: str = "",
) -> None:
    """Make every check of the contract, or `only` those of these names, but for those to `skip`.

    `ContractBroken` names all that failed, with how to mend it; `UnknownName` a check, a size or an option that there
    is not.

    `module` is the plugin's, e.g. ``"ditbench_mine"``: with it, registering lightly is checked, too.
    """
    pick(f"size of {architecture.name}", size, architecture.family(size))
    for option in options or {}:
        pick(f"option of {architecture.name}", option, architecture.options)
    report = examine(subject_of(architecture, size, spec, options, module), only, skip)
    if report.failed:
        lines = [
            f"{fault.check}: {fault.seen}. Expected: {fault.expected}. To fix it: {fault.mend}."
            for fault in report.faults
        ]
        raise ContractBroken("\n".join([report.summary, *lines]))
