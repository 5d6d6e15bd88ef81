"""What is exported: a run's weights, or a file of them, with the track that says how they are sampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..asking import name_of
from ..benchmark.reevaluation import check_plugin, check_weights
from ..benchmark.setup import load_weights
from ..components import Architecture, ObjectReference, Sampler, load, module_of
from ..datasets.autoencoder import Codec, choose, load_autoencoder
from ..denoiser_spec import DenoiserSpec
from ..errors import BadFile, BadValue
from ..records.files import FILE_NAME, WEIGHTS_FILE
from ..records.record import Record, config_of, read_record
from ..registry import Registry, pick
from ..runtime.precision import resolve
from ..sampling.chosen import make_sample
from ..sampling.walking import SamplingPlan
from ..storage.files import is_file, is_folder, whole_path
from ..tracks.config import RunConfig
from ..tracks.lookup import resolve_track
from ..tracks.plan import make_plan
from ..tracks.settings import checked
from ..tracks.track import Track
from ..training.spec import make_objective, spec_of

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Subject:
    """Weights, what they are of, and how they are sampled."""

    registry: Registry
    config: RunConfig
    spec: DenoiserSpec
    weights: Path
    record: Record | None  # None: of a file of weights, nothing was measured
    autoencoder: Codec | None  # of latents

    @property
    def architecture(self) -> Architecture:
        """As its plugin registers it."""
        return self.registry.architectures[self.config.architecture]

    @property
    def sampler(self) -> Sampler:
        """The track's."""
        return pick("sampler", self.config.track.sampler.name, self.registry.samplers)

    @property
    def name(self) -> str:
        """The run's, or the network's where there is no run."""
        return self.record.run_id if self.record else self.config.label

    @property
    def code(self) -> dict[str, str]:
        """What builds the network, samples it and says what it was trained for: ``package.module:name`` each."""
        objective = pick("objective", self.config.objective.name, self.registry.objectives)
        found: Mapping[str, ObjectReference] = {
            "build": self.architecture.build,
            "sample": self.sampler.sample,
            "make_objective": objective.make,
        }
        return {part: one if isinstance(one, str) else name_of(one) for part, one in found.items()}

    @property
    def packages(self) -> set[str]:
        """The top-level packages whose code is its own."""
        modules = (module_of(one) for one in self.code.values())
        return {*self.registry.packages(self.config.architecture), *(name.partition(".")[0] for name in modules)}

    @cached_property
    def network(self) -> nn.Module:
        """The denoiser with its weights, on a CPU; `BadFile` if they are not its own."""
        torch.manual_seed(self.config.seed)
        network: nn.Module = load(self.architecture.build)(self.spec, **self.config.build_settings)
        load_weights(network, self.weights, self.config.label, self.spec)
        return network.eval()

    @property
    def scheduler(self) -> dict[str, Any]:
        """How it is sampled, as JSON has it: the arguments of an exported folder's `Sampler`."""
        choice, objective = self.config.track.sampler, self.registry.objectives[self.config.objective.name]
        of_objective = {**objective.settings, **self.config.objective.settings}
        sample = make_sample(choice, self.config.track.name, self.registry)
        return {
            "steps": choice.steps,
            "batch_size": choice.batch_size,
            "seed": self.config.seed,
            "labels": self.config.track.evaluation.labels,
            "precision": self.config.recipe.precision,
            "decoding_precision": self.config.track.evaluation.precision,
            "guidance": choice.guidance and choice.guidance.model_dump(mode="json"),
            "sampler_settings": sample.keywords,  # type: ignore[attr-defined]
            "objective_settings": checked(load(objective.make), of_objective),
            **self._latents(),
        }

    @property
    def vae(self) -> str:
        """diffusers' class of the autoencoder; empty: there is none."""
        return "" if self.autoencoder is None else _CARRIED[self.autoencoder.facts.kind]

    def _latents(self) -> dict[str, Any]:
        if self.autoencoder is None:
            return {}
        seen = self.autoencoder.latent_map
        return {"latent_factor": list(seen.factor), "latent_shift": list(seen.shift)}

    def plan(self, steps: int) -> SamplingPlan:
        """How ditbench samples it on a CPU, in so many steps."""
        choice, track, coder = self.config.track.sampler, self.config.track.name, self.autoencoder
        decoding = resolve(self.config.track.evaluation.precision, CPU)
        return SamplingPlan(
            sample=make_sample(choice, track, self.registry),
            objective=make_objective(self.config.objective, track, self.registry),
            steps=steps,
            seed=self.config.seed,
            guidance=choice.guidance,
            labels=self.config.track.evaluation.labels,
            decode=(lambda x: x) if coder is None else replace(coder, precision=decoding).decode,
            precision=resolve(self.config.recipe.precision, CPU),
        )


def of_run(folder: Path, registry: Registry, autoencoder: str | None = "") -> Subject:
    """A finished run by its folder; `DitbenchError` if it lacks its weights, or its network's code is another here.

    autoencoder: the folder of that of latents; None: nothing is decoded.
    """
    path, weights = folder / FILE_NAME, folder / WEIGHTS_FILE
    if not is_file(path):
        raise BadFile(f"{str(folder)!r} is no finished run's folder: it has no {FILE_NAME}.")
    record = read_record(path)
    if record.status != "finished" or record.data is None:
        raise BadValue(f"{record.run_id} is {record.status}: only a finished run can be exported.")
    if not is_file(weights):
        raise BadFile(f"{str(folder)!r} has no {WEIGHTS_FILE}: a run without its weights can't be exported.")
    check_weights(record, weights)
    check_plugin(record, registry)
    config = config_of(record)
    *frames, channels, resolution, _ = record.data.shape
    spec = DenoiserSpec(
        channels=channels,
        resolution=resolution,
        classes=record.data.classes,
        space=record.track.space,
        learn_variance=make_objective(config.objective, record.track.name, registry).learn_variance,
        frames=frames[0] if frames else 1,
    )
    coder = _autoencoder(record.run_id, config.track, autoencoder, registry)
    if coder is not None and coder.facts.sha256 != record.data.autoencoder_sha256:
        raise BadFile(
            f"The autoencoder {autoencoder!r} is not that of {record.run_id}, {record.data.autoencoder!r}: its sha256 "
            "is another."
        )
    return Subject(registry, config, spec, weights, record, coder)


def of_weights(
    weights: Path, architecture: str, track: str, seed: int, registry: Registry, autoencoder: str | None = ""
) -> Subject:
    """A file of weights, sampled as a track says. `architecture` is ``name[:size][+option=value]...``."""
    dataset = resolve_track(registry, track).data.dataset.partition(":")[0]
    place = "." if pick("dataset", dataset, registry.datasets).place == "required" else ""  # a plan asks; nobody reads
    (config,) = make_plan(registry, track, [architecture], [seed], device="cpu", data=place)
    spec = spec_of(config.track.model_copy(update={"objective": config.objective}), registry)
    coder = _autoencoder(config.label, config.track, autoencoder, registry)
    return Subject(registry, config, spec, weights, None, coder)


_CARRIED = {"kl": "AutoencoderKL", "dc": "AutoencoderDC"}  # kinds -> classes whose `decode` an exported pipeline calls


def _autoencoder(name: str, track: Track, asked: str | None, registry: Registry) -> Codec | None:
    """That of latents, ``[KIND:]FOLDER``: nothing is fetched."""
    if asked is None:
        return None
    if track.space == "pixel":
        if asked:
            raise BadValue(f"`autoencoder` is of latents, and {name} makes pixels; leave it out.")
        return None
    if not asked:
        raise BadValue(f"{name} makes latents: give the folder of their autoencoder by `autoencoder`.")
    if track.data.normalise == "channel":
        raise BadValue(f"{name} makes latents normalised by channel, whose numbers a run does not keep: no export yet.")
    kind, place = choose(asked if ":" in asked else f"kl:{asked}", registry)
    if kind.name not in _CARRIED:
        raise BadValue(f"The autoencoder {kind.name!r} can't be exported; {' and '.join(_CARRIED)} can.")
    if not is_folder(whole_path(place)):
        raise BadFile(f"The autoencoder {place!r} is no folder; give one that holds it, as diffusers saves it.")
    return load_autoencoder(str(whole_path(place)), offline=True, kind=kind)


def spec_fields(spec: DenoiserSpec) -> dict[str, Any]:
    """A spec as JSON has it."""
    return asdict(spec)
