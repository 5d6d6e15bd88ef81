"""ditbench's own components, which come in by the door that plugins use; metrics stand in `builtin_metrics`."""

from collections.abc import Iterable
from pathlib import Path

from .builtin_metrics import EXTRACTORS, METRICS
from .components import Autoencoder, Dataset, Executor, Extractor, Metric, Objective, Sampler
from .hookspecs import hookimpl

REFERENCE_ARCHITECTURES = ("dit", "uvit", "mdt", "diffit")  # what a run compares unless told otherwise
_ALONG_PATHS = ("flow", "x-pred")
SHIPPED_PLUGINS = (  # of a clone
    *REFERENCE_ARCHITECTURES,
    *("jit", "lightningdit", "ddt", "maskdit", "dico", "hdit"),
    *("latte", "dit3d"),
)
_DISCRETE = ("iddpm", "ddpm", "ddpm-sd")
_TRACKS = Path(__file__).parent / "tracks"

DATASETS = (
    Dataset(
        name="digits",
        load="ditbench.datasets.bundled:load_digits",
        description="1,797 handwritten digits, 8x8 grey, 10 classes; ships with scikit-learn",
    ),
    Dataset(
        name="moving-digits",
        load="ditbench.datasets.moving:load_moving_digits",
        description="4,000 clips of a digit that bounces about, 8 frames of 16x16 grey; made of digits",
    ),
    Dataset(
        name="fashion-mnist",
        load="ditbench.datasets.fashion:load_fashion_mnist",
        place="optional",
        description="70,000 pictures of clothes, 28x28 grey, 10 classes; Debian's dataset-fashion-mnist",
    ),
    Dataset(
        name="cifar10",
        load="ditbench.datasets.cifar:load_cifar10",
        place="optional",
        description="60,000 pictures of things and animals, 32x32, 10 classes; downloaded, or a local copy",
    ),
    Dataset(
        name="image-folder",
        load="ditbench.datasets.prepared:load_folder",
        place="required",
        description="one folder per class, images of any size, centre-cropped as ADM and DiT do",
    ),
    Dataset(
        name="clips",
        load="ditbench.datasets.prepared:load_clips",
        place="required",
        description="one folder per class, videos of any size, of each its middle, cropped likewise (the extra video)",
    ),
    Dataset(
        name="hf",
        load="ditbench.datasets.prepared:load_hub",
        place="required",
        description="hf:NAME, images from Hugging Face datasets, by their name there or in a local folder",
    ),
    Dataset(
        name="hf-stream",
        load="ditbench.datasets.prepared:load_stream",
        place="required",
        description="hf-stream:NAME, the same as a stream, of which no copy is kept",
    ),
    Dataset(
        name="latents",
        load="ditbench.datasets.prepared:load_latents",
        place="required",
        description="latents that `ditbench data prepare` wrote",
    ),
    Dataset(
        name="synthetic",
        load="ditbench.datasets.bundled:load_synthetic",
        description="noise in the shape of the track's data, for rehearsals and timing; never ranked",
    ),
)

AUTOENCODERS = (
    Autoencoder(
        name="kl",
        open="ditbench.datasets.diffusers_autoencoders:open_kl",
        licence="Apache-2.0",
        description="diffusers' AutoencoderKL: a posterior for each image; Stable Diffusion's, FLUX's",
    ),
    Autoencoder(
        name="dc",
        open="ditbench.datasets.diffusers_autoencoders:open_dc",
        licence="Apache-2.0",
        description="diffusers' AutoencoderDC: deterministic, with a large factor; DC-AE",
    ),
    Autoencoder(
        name="rae",
        open="ditbench.datasets.diffusers_autoencoders:open_rae",
        licence="Apache-2.0",
        description="diffusers' AutoencoderRAE: features of a trained encoder, and a decoder of them (the extra rae)",
    ),
    Autoencoder(
        name="identity",
        open="ditbench.datasets.identity:open_identity",
        place="none",
        licence="Apache-2.0",
        description="pixels as latents, with a factor of 1: to compare with, and for tests",
    ),
)

OBJECTIVES = (
    Objective(
        name="flow",
        make="ditbench.training.objectives:Flow",
        description="path from data to noise, straight (rectified flow) or SiT's, velocity regressed",
    ),
    Objective(
        name="x-pred",
        make="ditbench.training.objectives:ImagePrediction",
        description="straight path, image predicted, its velocity's error regressed (JiT)",
    ),
    Objective(
        name="iddpm",
        make="ditbench.training.discrete:Noise",
        settings={"schedule": "linear", "learn_variance": True},
        description="noise regressed, variance learned by the variational bound, linear betas (iDDPM; DiT, MDT)",
    ),
    Objective(
        name="ddpm",
        make="ditbench.training.discrete:Noise",
        settings={"schedule": "linear"},
        description="noise regressed, linear betas (DDPM)",
    ),
    Objective(
        name="ddpm-sd",
        make="ditbench.training.discrete:Noise",
        settings={"schedule": "scaled-linear"},
        description="noise regressed, scaled-linear betas (Stable Diffusion; U-ViT-H)",
    ),
    Objective(
        name="edm",
        make="ditbench.training.objectives:EDM",
        description="preconditioned denoiser, log-normal noise levels (EDM; DiffiT on pixels)",
    ),
)

SAMPLERS = (
    Sampler(
        name="euler",
        sample="ditbench.sampling.samplers:euler",
        objectives=_ALONG_PATHS,
        times="ditbench.sampling.times:euler",
        description="Euler steps along the path, equally spaced in time or shifted",
    ),
    Sampler(
        name="heun",
        sample="ditbench.sampling.samplers:heun",
        objectives=_ALONG_PATHS,
        times="ditbench.sampling.times:heun",
        description="Heun steps along the path, two evaluations each but in the last",
    ),
    Sampler(
        name="sde",
        sample="ditbench.sampling.samplers:sde",
        objectives=_ALONG_PATHS,
        min_steps=2,  # one with noise, and the last
        times="ditbench.sampling.times:sde",
        description="Euler-Maruyama steps of the path's SDE, without noise in the last (SiT)",
    ),
    Sampler(
        name="ddpm",
        sample="ditbench.sampling.schedulers:ddpm",
        objectives=_DISCRETE,
        min_steps=2,  # from noise to the image
        max_steps=1000,
        times="ditbench.sampling.times:respaced",
        description="ancestral sampling over respaced steps, with the learned variance if there is one",
    ),
    Sampler(
        name="ddim",
        sample="ditbench.sampling.samplers:ddim",
        objectives=_DISCRETE,
        min_steps=2,  # from noise to the image
        max_steps=1000,
        times="ditbench.sampling.times:respaced",
        description="deterministic DDIM over respaced steps",
    ),
    Sampler(
        name="dpm-solver++",
        sample="ditbench.sampling.schedulers:dpm_solver",
        objectives=_DISCRETE,
        max_steps=999,  # 1000 would ask for the same time twice
        times="ditbench.sampling.times:dpm_solver",
        description="DPM-Solver++, multistep of order 2",
    ),
    Sampler(
        name="dpm-solver-fast",
        sample="ditbench.sampling.samplers:dpm_solver_fast",
        objectives=_DISCRETE,
        max_steps=1000,
        description="DPM-Solver-fast, single steps of order 3, 2 and 1: one evaluation for each of the steps",
    ),
    Sampler(
        name="edm-heun",
        sample="ditbench.sampling.schedulers:edm_heun",
        objectives=("edm",),
        times="ditbench.sampling.times:edm_heun",
        description="Heun steps over EDM's noise levels, two evaluations each",
    ),
)

EXECUTORS = (
    Executor(
        name="process",
        make="ditbench.executors.local:InProcess",
        description="one clean process per run, in turn, forked from a server that has imported torch once",
    ),
    Executor(
        name="slurm",
        make="ditbench.executors.slurm:Slurm",
        description="a task of an array job per run, by submitit (the extra slurm)",
    ),
    Executor(
        name="ray",
        make="ditbench.executors.ray_engine:OnRay",
        description="a task of Ray's per run, here or on a cluster (the extra ray)",
    ),
    Executor(
        name="torchrun",
        make="ditbench.executors.torchrun:Torchrun",
        description="the processes of torchrun, on one node or many, for one run after the other; chosen by itself",
    ),
    Executor(
        name="inline",
        make="ditbench.executors.local:Inline",
        description="in this process, for debugging: protects nothing from a plugin's network",
    ),
)


@hookimpl
def ditbench_datasets() -> Iterable[Dataset]:
    return DATASETS


@hookimpl
def ditbench_autoencoders() -> Iterable[Autoencoder]:
    return AUTOENCODERS


@hookimpl
def ditbench_objectives() -> Iterable[Objective]:
    return OBJECTIVES


@hookimpl
def ditbench_samplers() -> Iterable[Sampler]:
    return SAMPLERS


@hookimpl
def ditbench_metrics() -> Iterable[Metric]:
    return METRICS


@hookimpl
def ditbench_extractors() -> Iterable[Extractor]:
    return EXTRACTORS


@hookimpl
def ditbench_tracks() -> Iterable[Path]:
    return sorted(path for path in _TRACKS.glob("*.toml") if path.name not in ("hashes.toml", "data.toml"))


@hookimpl
def ditbench_executors() -> Iterable[Executor]:
    return EXECUTORS
