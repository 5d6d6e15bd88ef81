"""MaskDiT (Zheng et al., 2023) for ditbench: a DiT that trains on half of the tokens, and a small decoder of all."""

import ditbench

_SMALL = {"decoder": 2, "decoder_heads": 4}
SIZES: dict[str, dict[str, int]] = {
    # for the tracks digits and fashion32
    "nano":   {"depth": 3, "width":  96, "heads": 4, "patch_size": 2, "decoder_width": 64, **_SMALL},
    "nano/4": {"depth": 2, "width": 128, "heads": 4, "patch_size": 4, "decoder_width": 88, **_SMALL},
    # the published ones: a DiT, and 8 blocks of width 512 with 16 heads; the number behind the slash is the patch size
    "S/2":  {"depth": 12, "width":  384, "heads":  6, "patch_size": 2},
    "B/2":  {"depth": 12, "width":  768, "heads": 12, "patch_size": 2},
    "L/2":  {"depth": 24, "width": 1024, "heads": 16, "patch_size": 2},
    "XL/2": {"depth": 28, "width": 1152, "heads": 16, "patch_size": 2},
    "H/2":  {"depth": 32, "width": 1280, "heads": 16, "patch_size": 2},
}  # fmt: skip

DIGITS = ditbench.DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
FASHION_32 = ditbench.DenoiserSpec(channels=1, resolution=32, classes=10, space="pixel")
IMAGENET_256 = ditbench.DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent")
SPECS = {size: {"nano": DIGITS, "nano/4": FASHION_32}.get(size, IMAGENET_256) for size in SIZES}

# costs are those of training, which hides half of the tokens from the encoder
LADDER = {
    "nano": ditbench.Ladder(
        rungs={
            0.125: {"depth": 2, "width":  44, "heads": 2, "decoder": 1, "decoder_width": 28, "decoder_heads": 2},
            0.25:  {"depth": 2, "width":  60, "heads": 3, "decoder": 1, "decoder_width": 40, "decoder_heads": 2},
            0.5:   {"depth": 2, "width":  80, "heads": 4, "decoder": 2, "decoder_width": 48, "decoder_heads": 3},
            2:     {"depth": 4, "width": 120, "heads": 5, "decoder": 3, "decoder_width": 76, "decoder_heads": 4},
            4:     {"depth": 6, "width": 144, "heads": 6, "decoder": 3, "decoder_width": 96, "decoder_heads": 6},
        },
        narrow={"width": 48, "heads": 2, "decoder_width": 32, "decoder_heads": 2},
        wide={"width": 144, "heads": 6, "decoder_width": 96, "decoder_heads": 6},
    ),
    "nano/4": ditbench.Ladder(
        rungs={
            0.125: {"depth": 1, "width":  64, "heads": 2, "decoder": 1, "decoder_width":  40, "decoder_heads": 2},
            0.25:  {"depth": 2, "width":  72, "heads": 2, "decoder": 1, "decoder_width":  48, "decoder_heads": 2},
            0.5:   {"depth": 2, "width": 104, "heads": 4, "decoder": 1, "decoder_width":  72, "decoder_heads": 3},
            2:     {"depth": 3, "width": 160, "heads": 5, "decoder": 2, "decoder_width": 112, "decoder_heads": 4},
            4:     {"depth": 4, "width": 192, "heads": 6, "decoder": 3, "decoder_width": 132, "decoder_heads": 6},
        },
        narrow={"width": 64, "heads": 2, "decoder_width": 44, "decoder_heads": 2},
        wide={"width": 192, "heads": 6, "decoder_width": 132, "decoder_heads": 6},
    ),
}  # fmt: skip

OPTIONS = {
    "mask": ditbench.Option(default=True, doc="hide tokens from the encoder in training"),
    "mask_ratio": ditbench.Option(default=0.5, doc="the share of the tokens that the encoder does not see"),
    "reconstruction": ditbench.Option(
        default=0.1, doc="the weight of the error by which hidden tokens reconstruct the noisy input"
    ),
    "decoder": ditbench.Option(default=8, doc="how many blocks the decoder has"),
    "checkpointing": ditbench.Option(default=False, doc="recompute activations in the backward pass"),
}


def native(space: str, resolution: int, size: str) -> ditbench.Native:
    """One recipe for all, with EDM's preconditioning."""
    return ditbench.Native(
        source="arXiv:2306.09305 and the published code, without the last steps that hide nothing",
        recipe={
            "optimizer": "adamw",
            "learning_rate": 1e-4,
            "betas": (0.9, 0.999),
            "weight_decay": 0.0,
            "warmup_steps": 0,
            "decay": "constant",
            "clip_norm": None,
        },
        objectives={"edm": {"mean": -1.2, "std": 1.2, "sigma_data": 0.5}},
    )


ARCHITECTURE = ditbench.Architecture(
    name="maskdit",
    build="ditbench_maskdit.model:MaskDiT",
    sizes=SIZES,
    specs=SPECS,
    options=OPTIONS,
    ladder=LADDER,
    convert_reference="ditbench_maskdit.reference:convert_reference",
    native=native,
    paper="arXiv:2306.09305",
    licence="Apache-2.0",
    description="MaskDiT: DiT that trains on a random half of the tokens, and a small decoder that has them all",
)


@ditbench.hookimpl
def ditbench_architectures() -> list[ditbench.Architecture]:
    return [ARCHITECTURE]
