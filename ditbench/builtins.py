"""ditbench's own components. They come in by the door that plugins use, and this page lists them all."""

from collections.abc import Iterable
from pathlib import Path

from .components import Dataset, Executor, Metric, Objective, Sampler
from .hookspecs import hookimpl

REFERENCE_ARCHITECTURES = ("dit", "uvit", "mdt", "diffit")  # what a run compares unless told otherwise
_DISCRETE = ("iddpm", "ddpm", "ddpm-sd")
_TRACKS = Path(__file__).parent / "tracks"


@hookimpl
def ditbench_datasets() -> Iterable[Dataset]:
    return [
        Dataset(
            name="digits",
            load="ditbench.datasets:load_digits",
            description="1,797 handwritten digits, 8x8 grey, 10 classes; ships with scikit-learn",
        )
    ]


@hookimpl
def ditbench_objectives() -> Iterable[Objective]:
    return [
        Objective(
            name="flow",
            make="ditbench.objectives:Flow",
            description="straight path from data to noise, velocity regressed (rectified flow)",
        ),
        Objective(
            name="iddpm",
            make="ditbench.objectives:Noise",
            settings={"schedule": "linear", "learn_variance": True},
            description="noise regressed, variance learned by the variational bound, linear betas (iDDPM; DiT, MDT)",
        ),
        Objective(
            name="ddpm",
            make="ditbench.objectives:Noise",
            settings={"schedule": "linear"},
            description="noise regressed, linear betas (DDPM)",
        ),
        Objective(
            name="ddpm-sd",
            make="ditbench.objectives:Noise",
            settings={"schedule": "scaled-linear"},
            description="noise regressed, scaled-linear betas (Stable Diffusion; U-ViT-H)",
        ),
        Objective(
            name="edm",
            make="ditbench.objectives:EDM",
            description="preconditioned denoiser, log-normal noise levels (EDM; DiffiT on pixels)",
        ),
    ]


@hookimpl
def ditbench_samplers() -> Iterable[Sampler]:
    return [
        Sampler(
            name="euler",
            sample="ditbench.samplers:euler",
            objectives=("flow",),
            description="Euler steps along the flow, equally spaced in time",
        ),
        Sampler(
            name="heun",
            sample="ditbench.samplers:heun",
            objectives=("flow",),
            description="Heun steps along the flow, two evaluations each",
        ),
        Sampler(
            name="ddpm",
            sample="ditbench.samplers:ddpm",
            objectives=_DISCRETE,
            max_steps=1000,
            description="ancestral sampling over respaced steps, with the learned variance if there is one",
        ),
        Sampler(
            name="ddim",
            sample="ditbench.samplers:ddim",
            objectives=_DISCRETE,
            max_steps=1000,
            description="deterministic DDIM over respaced steps",
        ),
        Sampler(
            name="dpm-solver++",
            sample="ditbench.samplers:dpm_solver",
            objectives=_DISCRETE,
            max_steps=999,  # 1000 would ask for the same time twice
            description="DPM-Solver++, multistep of order 2",
        ),
        Sampler(
            name="edm-heun",
            sample="ditbench.samplers:edm_heun",
            objectives=("edm",),
            description="Heun steps over EDM's noise levels, two evaluations each",
        ),
    ]


@hookimpl
def ditbench_metrics() -> Iterable[Metric]:
    return [
        Metric(
            name="fid",
            measure="ditbench.quality:frechet_distance",
            higher_is_better=False,
            sees="features",
            description="Fréchet distance between Gaussian fits of the features (Heusel et al., 2017)",
        ),
        Metric(
            name="fid-infinity",
            measure="ditbench.quality:frechet_infinity",
            higher_is_better=False,
            sees="features",
            description="FID extrapolated to infinitely many samples (Chong & Forsyth, 2020)",
        ),
        Metric(
            name="precision",
            measure="ditbench.manifold:precision",
            higher_is_better=True,
            sees="features",
            description="share of samples within the real images' manifold, k = 3 (Kynkäänniemi et al., 2019)",
        ),
        Metric(
            name="recall",
            measure="ditbench.manifold:recall",
            higher_is_better=True,
            sees="features",
            description="share of real images within the samples' manifold, k = 3 (Kynkäänniemi et al., 2019)",
        ),
        Metric(
            name="kid",
            measure="ditbench.quality:kernel_distance",
            higher_is_better=False,
            sees="features",
            description="squared MMD of the features, cubic kernel; unbiased (Binkowski et al., 2018)",
        ),
        Metric(
            name="is",
            measure="ditbench.quality:inception_score",
            higher_is_better=True,
            sees="features",
            description="Inception Score with the extractor's class probabilities (Salimans et al., 2016)",
        ),
        Metric(
            name="knn",
            measure="ditbench.quality:class_accuracy",
            higher_is_better=True,
            sees="pixels",
            description="share of samples that 3 nearest neighbours among the real images give their own class",
        ),
    ]


@hookimpl
def ditbench_tracks() -> Iterable[Path]:
    return sorted(_TRACKS.glob("*.toml"))


@hookimpl
def ditbench_executors() -> Iterable[Executor]:
    return [
        Executor(
            name="process",
            execute="ditbench.executors:execute_in_process",
            description="one clean process per run, in turn, forked from a server that has imported torch once",
        ),
        Executor(
            name="inline",
            execute="ditbench.executors:execute_inline",
            description="in this process, for debugging",
        ),
    ]
