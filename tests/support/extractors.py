"""Extractors for tests: a tiny one with every output, and Inception with fixed weights that no one trained.

Plain random weights are degenerate: any two sets of images have an FID of about 1e-14. Kaiming's start, with the
batch norms' statistics taken from real images, tells sets apart; the scale of the numbers means nothing.
"""

import io
from dataclasses import replace

import torch
from photos import crops
from torch import nn
from torch.nn import functional as F
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from ditbench.components import Extractor, Weights
from ditbench.registry import Registry
from ditbench.storage.files import sha256_of

INCEPTION = Registry.installed().extractors["inception-v3-compat"]


class Blank(FeatureExtractorInceptionV3):
    """Loads nothing: its weights are those that modules start with."""

    def load_state_dict(self, state_dict):
        assert not state_dict


def calibrated_inception(folder):
    """The extractor's record with such weights, pinned by their hash, and their file."""
    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    torch.manual_seed(0)
    network = Blank("inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=nothing)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    for norm in norms:
        norm.momentum = None  # a plain average
        norm.reset_running_stats()
        norm.train()
    images = torch.from_numpy(crops(16, 48, seed=99)).permute(0, 3, 1, 2)
    with torch.no_grad():
        network(images)
    path = folder / "calibrated.pth"
    torch.save(network.state_dict(), path)
    pin = Weights(file=path.name, sha256=sha256_of(path), url=path.as_uri())
    return replace(INCEPTION, weights=pin), path


class Tiny(nn.Module):
    """One random convolution: 16 features, 5 logits, and a spatial output of 2 x 2 x 7."""

    def __init__(self, weights):
        super().__init__()
        self.kernel, self.head = nn.Parameter(weights["kernel"]), nn.Parameter(weights["head"])

    def forward(self, pixels):
        maps = F.conv2d(pixels.float() / 255 - 0.5, self.kernel, stride=4).relu()
        features = maps.mean((2, 3))
        spatial = F.adaptive_avg_pool2d(maps[:, :7], 2).permute(0, 2, 3, 1).flatten(1)
        return {"features": features, "logits": features @ self.head, "spatial": spatial}


def tiny_extractor(folder):
    """Its record, and the file of its weights."""
    draw = torch.Generator().manual_seed(0)
    path = folder / "tiny.pth"
    torch.save({"kernel": torch.randn(16, 3, 4, 4, generator=draw), "head": torch.randn(16, 5, generator=draw)}, path)
    pin = Weights(file=path.name, sha256=sha256_of(path), url=path.as_uri())
    metrics = ("fid", "sfid", "kid", "is", "precision", "recall")
    return Extractor(
        name="tiny", build=Tiny, weights=pin, outputs=("features", "logits", "spatial"), metrics=metrics
    ), path
