"""DINOv2's features for FD (Oquab et al., 2023; Stein et al., 2023): timm's network, the published weights.

A module of its own, because timm is an extra. torch-fidelity has this extractor, too, but runs whatever code the
authors' repository holds that day; the network, the preparation of images and the outputs here are the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from ...datasets.pixels import as_rgb

SIZE, PATCH = 224, 14
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


class DINOv2(nn.Module):
    """``features`` (N, F): the class token after the last norm."""

    def __init__(self, architecture: str, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network = timm.create_model(architecture, pretrained=False, num_classes=0, img_size=SIZE)
        self.network.load_state_dict(adapted(weights))
        self.register_buffer("mean", 255 * torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(_STD)[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        x = interpolate_bilinear_2d_like_tensorflow1x(as_rgb(pixels).float(), size=(SIZE, SIZE), align_corners=False)
        return {"features": self.network((x - self.mean) / self.std)}


def adapted(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published weights with the positions of 518 pixels brought to 224, in DINOv2's own way.

    Its bicubic scale is (16 + 0.1) / 37, not 16 / 37, and is not antialiased; the mask token is of training alone.
    """
    positions = weights["pos_embed"]  # (1, 1 + 37 * 37, F)
    side, wanted = round((positions.shape[1] - 1) ** 0.5), SIZE // PATCH
    grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = (wanted + 0.1) / side
    grid = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    moved = torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
    return {**{name: tensor for name, tensor in weights.items() if name != "mask_token"}, "pos_embed": moved}


def dinov2_vit_l_14(weights: Mapping[str, Tensor]) -> DINOv2:
    """DINOv2 ViT-L/14 without registers: 1024 features."""
    return DINOv2("vit_large_patch14_dinov2", weights)
