"""DINOv2's features equal those of the published definition, written out here a second time, on random weights."""

import math
import sys

import pytest
import torch
from torch.nn import functional as F
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from ditbench.errors import BadValue
from ditbench.metrics.extractors.dinov2 import DINOv2
from ditbench.metrics.features import load_extractor
from ditbench.registry import Registry

WIDTH, DEPTH, HEADS, GRID = 384, 12, 6, 37  # ViT-S/14, trained on 518 pixels


@pytest.fixture(scope="module")
def weights():
    """Random weights under the published names."""
    draw = torch.Generator().manual_seed(0)
    shapes = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 1 + GRID**2, WIDTH), "mask_token": (1, WIDTH)}
    shapes |= {"patch_embed.proj.weight": (WIDTH, 3, 14, 14), "patch_embed.proj.bias": (WIDTH,)}
    shapes |= {f"norm.{part}": (WIDTH,) for part in ("weight", "bias")}
    for i in range(DEPTH):
        for name, wide, long in [
            ("attn.qkv", 3 * WIDTH, WIDTH), ("attn.proj", WIDTH, WIDTH), ("mlp.fc1", 4 * WIDTH, WIDTH),
            ("mlp.fc2", WIDTH, 4 * WIDTH),
        ]:  # fmt: skip
            shapes |= {f"blocks.{i}.{name}.weight": (wide, long), f"blocks.{i}.{name}.bias": (wide,)}
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            shapes[f"blocks.{i}.{name}"] = (WIDTH,)
    return {name: 0.1 * torch.randn(shape, generator=draw) for name, shape in shapes.items()}


def published(weights, pixels):
    """Images to class tokens: DINOv2's vision transformer with its own interpolation of the positions."""
    x = interpolate_bilinear_2d_like_tensorflow1x(pixels.float(), size=(224, 224), align_corners=False) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean[:, None, None]) / std[:, None, None]
    x = F.conv2d(x, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=14)
    x = torch.cat([weights["cls_token"].expand(len(x), -1, -1), x.flatten(2).mT], dim=1)
    side = weights["pos_embed"][:, 1:].reshape(1, GRID, GRID, WIDTH).permute(0, 3, 1, 2)
    scale = float(16.1 / math.sqrt(GRID**2))
    side = F.interpolate(side, scale_factor=(scale, scale), mode="bicubic").permute(0, 2, 3, 1).reshape(1, -1, WIDTH)
    x = x + torch.cat([weights["pos_embed"][:, :1], side], dim=1)
    for i in range(DEPTH):
        w = {k.removeprefix(f"blocks.{i}."): v for k, v in weights.items() if k.startswith(f"blocks.{i}.")}
        h = F.layer_norm(x, (WIDTH,), w["norm1.weight"], w["norm1.bias"], 1e-6)
        q, k, v = F.linear(h, w["attn.qkv.weight"], w["attn.qkv.bias"]).unflatten(-1, (3, HEADS, -1)).unbind(2)
        logits = torch.einsum("nqhd,nkhd->nhqk", q, k) / math.sqrt(WIDTH // HEADS)
        h = torch.einsum("nhqk,nkhd->nqhd", logits.softmax(-1), v).flatten(2)
        x = x + w["ls1.gamma"] * F.linear(h, w["attn.proj.weight"], w["attn.proj.bias"])
        h = F.layer_norm(x, (WIDTH,), w["norm2.weight"], w["norm2.bias"], 1e-6)
        h = F.gelu(F.linear(h, w["mlp.fc1.weight"], w["mlp.fc1.bias"]))
        x = x + w["ls2.gamma"] * F.linear(h, w["mlp.fc2.weight"], w["mlp.fc2.bias"])
    return F.layer_norm(x, (WIDTH,), weights["norm.weight"], weights["norm.bias"], 1e-6)[:, 0]


@torch.inference_mode()
def test_the_features_are_those_of_the_published_definition(weights):
    pixels = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    network = DINOv2("vit_small_patch14_dinov2", weights).eval()
    found, expected = network(pixels)["features"], published(weights, pixels)
    assert found.shape == (2, WIDTH) and expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_weights_of_another_size_are_refused(weights):
    with pytest.raises(RuntimeError, match="size mismatch"):
        DINOv2("vit_large_patch14_dinov2", weights)


def test_without_timm_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.delitem(sys.modules, "ditbench.metrics.extractors.dinov2", raising=False)
    monkeypatch.setattr("ditbench.metrics.features.check_weights", lambda *_: None)
    file = tmp_path / "weights.pth"
    file.write_bytes(b"")
    with pytest.raises(BadValue, match=r"needs 'timm': (uv )?pip install 'ditbench\[dinov2\]'"):
        load_extractor(Registry.installed().extractors["dinov2-vit-l-14"], file)
