"""The classes of an exported folder: diffusers' components around the walk that runs are sampled by.

They are carried into the folder with all that they import. What is the folder's own, the network and the sampler, its
``pipeline.py`` binds to subclasses of these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from PIL import Image
from torch import Tensor, nn

from ..datasets.decoder import decode
from ..datasets.latent_map import LatentMap
from ..datasets.pixels import Bytes
from ..denoiser_spec import DenoiserSpec
from ..runtime.precision import resolve
from ..sampling.walking import GuidedDenoiser, SamplingPlan, labels_of, pixels_of, walked
from ..tracks.guidance import Guidance


class Denoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The network, its weights and the input that it was made for."""

    build: Callable[..., nn.Module]  # of a folder's own class
    _supports_gradient_checkpointing = False

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, spec: dict[str, Any], settings: dict[str, Any]) -> None:
        """spec: fields of a `DenoiserSpec`. settings: what else the network is built with."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.spec = DenoiserSpec(**spec)
        self.network = type(self).build(self.spec, **settings)

    @classmethod
    def from_pretrained(cls, *place: Any, **options: Any) -> Any:
        """As diffusers loads it, built whole: on no device, a network's fixed tables would be left empty."""
        load: Any = super().from_pretrained
        return load(*place, **{**options, "low_cpu_mem_usage": False})

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """The output at x (N, C, H, W), of clips (N, F, C, H, W), at times t (N,) in [0, 1000], with labels y (N,)."""
        out: Tensor = self.network(x, t, y)
        return out


class Sampler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """How the run was sampled: sampler and objective with their settings, steps, guidance, labels, batches, seed."""

    sample: Callable[..., Tensor]  # both of a folder's own class
    make_objective: Callable[..., Any]
    config: Any  # what `__init__` was given

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        steps: int,
        batch_size: int,
        seed: int,
        labels: Any,
        precision: Any,
        decoding_precision: Any,
        guidance: dict[str, Any] | None,
        sampler_settings: dict[str, Any],
        objective_settings: dict[str, Any],
        latent_factor: Sequence[float] = (1.0,),
        latent_shift: Sequence[float] = (),
    ) -> None: ...

    def plan(
        self, device: torch.device, vae: Any, seed: int | None, steps: int | None, scale: float | None
    ) -> SamplingPlan:
        """The run's plan, or what is asked for in its place. vae: of latents."""
        asked = self.config
        guidance = {**(asked.guidance or {}), **({} if scale is None else {"scale": scale})}

        def sample(walk: Any) -> Tensor:
            return type(self).sample(walk, **asked.sampler_settings)

        decoding = resolve(asked.decoding_precision, device)
        seen = LatentMap(tuple(asked.latent_factor), tuple(asked.latent_shift))

        def decoded(x: Tensor) -> Tensor:
            return x if vae is None else decode(lambda z: vae.decode(z).sample, x, seen, vae.device, decoding)

        return SamplingPlan(
            sample=sample,
            decode=decoded,
            objective=type(self).make_objective(**asked.objective_settings),
            steps=asked.steps if steps is None else steps,
            seed=asked.seed if seed is None else seed,
            guidance=Guidance.model_validate_json(json.dumps(guidance)) if guidance else None,
            labels=asked.labels,
            precision=resolve(asked.precision, device),
        )


class DitbenchPipeline(DiffusionPipeline):
    """Images of the run's own stream: number i of a seed is the same image whoever draws it."""

    _optional_components = ["vae"]

    transformer: Denoiser
    scheduler: Sampler
    vae: Any

    def __init__(self, transformer: Denoiser, scheduler: Sampler, vae: Any = None) -> None:
        super().__init__()
        self.register_modules(transformer=transformer, scheduler=scheduler, vae=vae)  # type: ignore[no-untyped-call]

    def __call__(
        self,
        num_images: int = 1,
        seed: int | None = None,
        first: int = 0,
        class_labels: Sequence[int] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        batch_size: int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> Any:
        """Draw the images of the numbers `first`, `first + 1`, ...; what is not given is as in the run.

        Bytes can depend on which images share a batch: the run's are those of its own `batch_size` from number 0 on.
        class_labels: one for each image, in place of the run's; the number of classes means no label.
        output_type: "pil", or "np" for uint8 (N, H, W, C). Of clips: lists of frames, or (N, F, H, W, C).
        """
        classes = self.transformer.spec.classes
        if num_images < 1:
            raise ValueError(f"num_images is {num_images}, and at least 1 is drawn.")
        if class_labels is not None and len(class_labels) != num_images:
            raise ValueError(f"There are {len(class_labels)} class_labels for {num_images} images: give one for each.")
        if wrong := [label for label in class_labels or () if not 0 <= label <= classes]:
            raise ValueError(f"The class label {wrong[0]} is none from 0 to {classes - 1}, nor {classes}, no label.")
        drawn = np.concatenate(
            list(self._drawn(num_images, first, class_labels, seed, num_inference_steps, guidance_scale, batch_size))
        )
        pixels = np.ascontiguousarray(np.moveaxis(drawn, -3, -1))
        images = pixels if output_type == "np" else [_picture(one) for one in pixels]
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _drawn(
        self,
        count: int,
        first: int,
        chosen: Sequence[int] | None,
        seed: int | None,
        steps: int | None,
        scale: float | None,
        size: int | None,
    ) -> Iterator[Bytes]:
        network, spec = self.transformer.eval(), self.transformer.spec
        plan = self.scheduler.plan(self.device, self.vae, seed, steps, scale)
        size = size or self.scheduler.config.batch_size
        for start in self.progress_bar(range(0, count, size)):
            indices = np.arange(first + start, first + min(start + size, count))
            labels = labels_of(plan, indices, spec.classes)
            if chosen is not None:
                labels = np.asarray(chosen, dtype=np.int64)[start : start + len(indices)]
            y = torch.from_numpy(labels).to(self.device)
            guided = GuidedDenoiser(network, spec, y, plan.guidance, plan.precision)
            yield pixels_of(walked(guided, plan, indices, self.device), plan.decode, spec)


def _picture(pixels: Bytes) -> Any:
    """(H, W, C) as an image; (F, H, W, C) as a list of them."""
    if pixels.ndim > 3:
        return [_picture(frame) for frame in pixels]
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
