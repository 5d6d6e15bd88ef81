"""The U-Net of diffusion's first years, as diffusers has it, behind the contract of `ditbench.testing`.

Letters in shapes: N images, C channels, H = W the resolution.
"""

from __future__ import annotations

from diffusers import UNet2DModel
from torch import Tensor, nn

from ditbench import DenoiserSpec
from ditbench.errors import BadValue


class UNet(nn.Module):
    """diffusers' `UNet2DModel`, convolutions only: net(x (N, C, H, W), t (N,), y (N,)) -> (N, out_channels, H, W).

    t is in [0, 1000]; y is in [0, classes], and `classes` is the null label. ``channels`` are each level's,
    the finest first, and every level has half the resolution of the one before; ``blocks`` are a level's
    residual blocks on the way down, and one more on the way up; ``groups`` are those of every group norm.
    `BadValue` if the resolution can't be halved so often, or the channels can't be parted into the groups.
    """

    def __init__(self, spec: DenoiserSpec, *, channels: str, blocks: int, groups: int) -> None:
        super().__init__()
        widths = tuple(int(width) for width in channels.split(","))
        _check(spec.resolution, widths, groups)
        self.labelled = spec.classes > 0
        self.unet = UNet2DModel(
            sample_size=spec.resolution,
            in_channels=spec.channels,
            out_channels=spec.out_channels,
            block_out_channels=widths,
            down_block_types=("DownBlock2D",) * len(widths),
            up_block_types=("UpBlock2D",) * len(widths),
            layers_per_block=blocks,
            norm_num_groups=groups,
            add_attention=False,  # the bias of its keys has no effect, so no gradient: softmax ignores a shift
            resnet_time_scale_shift="scale_shift",  # ADM's adaptive group norm
            num_class_embeds=spec.classes + 1 if self.labelled else None,
        )

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """x (N, C, H, W), t (N,) in [0, 1000], y (N,), which is ignored without classes."""
        return self.unet(x, t, y if self.labelled else None, return_dict=False)[0]


def _check(resolution: int, widths: tuple[int, ...], groups: int) -> None:
    factor = 2 ** (len(widths) - 1)
    if resolution % factor:
        raise BadValue(f"unet has {len(widths)} levels: resolution {resolution} is no multiple of {factor}.")
    for width in widths:
        if width % groups:
            raise BadValue(f"unet: {width} channels can't be parted into {groups} groups.")
