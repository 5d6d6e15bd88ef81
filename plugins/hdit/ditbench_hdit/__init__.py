"""HDiT (Crowson et al., 2024) for ditbench: an hourglass of neighbourhood attention, global in the middle."""

import ditbench

SIZES: dict[str, dict[str, int | str]] = {
    # for the tracks digits and fashion32, each with as many MACs as dit's of that name
    "nano": {
        "patch_size": 1, "widths": "32,64", "depths": "2,3", "hiddens": "96,192", "kernels": "3,0",
        "head_widths": "16,16", "mapping_width": 96, "mapping_hidden": 288,
    },
    "nano/4": {
        "patch_size": 4, "widths": "80,160", "depths": "2,3", "hiddens": "240,480", "kernels": "3,0",
        "head_widths": "16,16", "mapping_width": 64, "mapping_hidden": 192,
    },
    # the published network for ImageNet 256 in pixels, whose levels are inferred from its number of parameters
    "557M": {
        "patch_size": 4, "widths": "384,768,1536", "depths": "2,2,16", "hiddens": "1024,2048,4096", "kernels": "7,7,0",
        "head_widths": "64,64,64", "mapping_width": 768, "mapping_hidden": 2304,
    },
}  # fmt: skip

DIGITS = ditbench.DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
FASHION_32 = ditbench.DenoiserSpec(channels=1, resolution=32, classes=10, space="pixel")
IMAGENET_256 = ditbench.DenoiserSpec(channels=3, resolution=256, classes=1000, space="pixel")
SPECS = {"nano": DIGITS, "nano/4": FASHION_32, "557M": IMAGENET_256}


def _levels(width: int, mapping: int, **others: str) -> dict[str, int | str]:
    """Two levels in the proportions of nano: the second twice as wide, all that is hidden three times."""
    levels = {"widths": f"{width},{2 * width}", "hiddens": f"{3 * width},{6 * width}"}
    return {**levels, "mapping_width": mapping, "mapping_hidden": 3 * mapping, **others}


# heads are as near to 16 as the width lets them be: it is a multiple of theirs, and theirs of 8
LADDER = {
    "nano": ditbench.Ladder(
        rungs={
            0.125: _levels(16,  48, depths="1,1"),
            0.25:  _levels(16,  48, depths="2,2"),
            0.5:   _levels(24,  72, depths="2,2", head_widths="24,16"),
            2:     _levels(40, 120, depths="3,3", head_widths="8,16"),
            4:     _levels(48, 144, depths="4,5"),
        },
        narrow=_levels(16, 48),
        wide=_levels(48, 144),
    ),
    "nano/4": ditbench.Ladder(
        rungs={
            0.125: _levels( 40,  32, depths="1,1", head_widths="8,16"),
            0.25:  _levels( 48,  40, depths="1,3"),
            0.5:   _levels( 64,  48, depths="1,3"),
            2:     _levels( 96,  80, depths="3,4"),
            4:     _levels(128, 104, depths="3,5"),
        },
        narrow=_levels(48, 40),
        wide=_levels(144, 120),
    ),
}  # fmt: skip

OPTIONS = {
    "skip": ditbench.Option(
        default="lerp",
        choices=("lerp", "add", "concat"),
        doc="how a level's way down joins its way up: by a learned share, as a sum, side by side",
    ),
    "checkpointing": ditbench.Option(default=False, doc="recompute activations in the backward pass"),
}


def native(space: str, resolution: int, size: str) -> ditbench.Native:
    """EDM's objective and the published optimiser; its lower rate for the mapping and its loss weights are left out."""
    return ditbench.Native(
        source="arXiv:2401.11605, Appendix; as in the published code",
        recipe={
            "optimizer": "adamw",
            "learning_rate": 5e-4,
            "betas": (0.9, 0.95),
            "weight_decay": 1e-3,
            "decay": "constant",
        },
        objectives={"edm": {"sigma_data": 0.5}},
    )


ARCHITECTURE = ditbench.Architecture(
    name="hdit",
    build="ditbench_hdit.model:HDiT",
    sizes=SIZES,
    specs=SPECS,
    options=OPTIONS,
    ladder=LADDER,
    convert_reference="ditbench_hdit.reference:convert_reference",
    native=native,
    paper="arXiv:2401.11605",
    licence="Apache-2.0",
    description="HDiT: an hourglass of neighbourhood attention in pixels, global attention in the middle",
)


@ditbench.hookimpl
def ditbench_architectures() -> list[ditbench.Architecture]:
    return [ARCHITECTURE]
