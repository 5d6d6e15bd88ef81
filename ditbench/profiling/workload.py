"""What a run asks of a machine, counted without memory and without data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..asking import ask_of
from ..components import load
from ..denoiser.bounds import without_memory
from ..denoiser.cost import cost_of, recomputed_macs
from ..denoiser_spec import DenoiserSpec
from ..records.facts import Cost
from ..registry import Registry
from ..runtime import precision
from ..runtime.compiling import way_of
from ..sampling.chosen import make_sample
from ..sampling.generate import generate
from ..sampling.walking import SamplingPlan
from ..tracks.config import RunConfig
from ..tracks.track import Track
from ..training.objectives import DiffusionObjective
from ..training.spec import make_objective, spec_of
from .speed import Workload

# Multiply-accumulates to make an image of a latent, by the autoencoder's name and the latent's cells per side, as torch
# counts them of diffusers' `AutoencoderKL` (test_estimate.py does).
_OF_STABLE_DIFFUSION = {32: 311_093_641_216, 64: 1_257_259_466_752}
DECODERS = {
    "stabilityai/sd-vae-ft-mse": _OF_STABLE_DIFFUSION,
    "stabilityai/sd-vae-ft-ema": _OF_STABLE_DIFFUSION,
}


def count(configs: Sequence[RunConfig], registry: Registry, on_gpu: bool) -> list[Workload]:
    """Of each run; networks that differ in their seeds alone are counted once, each in a process of its own."""
    known: dict[str, Workload] = {}
    for config in configs:
        if config.label not in known:
            asked = (_count, config, registry, on_gpu)
            known[config.label] = ask_of(config.label, *asked, kinds=(Workload, Cost))
    return [known[config.label] for config in configs]


def _count(config: RunConfig, registry: Registry, on_gpu: bool) -> Workload:
    torch.set_num_threads(1)  # a fork has no other, and would wait for them
    track, recipe = config.track, config.recipe
    device = torch.device("cuda" if on_gpu else "cpu")  # only its kind is looked at
    spec = spec_of(track.model_copy(update={"objective": config.objective}), registry)
    build = load(registry.architectures[config.architecture].build)
    with without_memory(config.label):
        network = build(spec, **config.build_settings)
        cost = cost_of(network, spec)
        recomputed = recomputed_macs(network, spec) if recipe.checkpointing else 0
    latent = spec.space == "latent"
    side = track.data.resolution
    return Workload(
        spec=spec,
        cost=cost,
        recomputed_macs=recomputed,
        evaluations=_evaluations(config, spec, registry),
        image_shape=(*spec.shape[:-3], 3 if latent else spec.channels, side, side),
        decoder_macs=_decoder_macs(track, spec),
        precision=precision.resolve(recipe.precision, device),
        compiled=way_of(recipe.compile, device) != "off",
    )


def _decoder_macs(track: Track, spec: DenoiserSpec) -> int | None:
    """To make an image of a latent, or all frames of a clip; None: not known."""
    if spec.space == "pixel":
        return 0
    of_image = DECODERS.get(track.data.autoencoder or "", {}).get(spec.resolution)
    return None if of_image is None else spec.frames * of_image


class _Silent(nn.Module):
    """A denoiser that costs nothing."""

    def __init__(self, spec: DenoiserSpec) -> None:
        super().__init__()
        self.shape = spec.out_shape

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(len(x), *self.shape)


def _evaluations(config: RunConfig, spec: DenoiserSpec, registry: Registry) -> int:
    """How often the track's sampler asks the denoiser for one image: one of a single pixel is sampled."""
    choice = config.track.sampler
    objective: DiffusionObjective = make_objective(config.objective, config.track.name, registry)
    plan = SamplingPlan(
        sample=make_sample(choice, config.track.name, registry),
        objective=objective,
        steps=choice.steps,
        seed=0,
        guidance=choice.guidance,
    )
    pixel = DenoiserSpec(**{**vars(spec), "resolution": 1})
    (batch,) = generate(_Silent(pixel), pixel, plan, range(1), 1, torch.device("cpu"))
    return batch.evaluations
