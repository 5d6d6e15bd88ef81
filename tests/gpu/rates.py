"""Images per second of what follows training: sampling steps, features, decoding. python rates.py OUT.json [DEVICE]

Networks have random weights: their speed is the same.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from ditbench.denoiser.interface import build_denoiser, example_batch
from ditbench.metrics.features import extract, load_extractor
from ditbench.registry import Registry
from ditbench.runtime.compiling import compile_network
from ditbench.runtime.precision import autocast, computing, placed
from ditbench.tracks.track import load_track
from ditbench.training.spec import spec_of

REGISTRY = Registry.installed()


def rate(call, images, calls):
    """Images per second over some calls, after one that is not counted; each ends on the host."""
    call()
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return images * calls / (time.perf_counter() - began)


def sampling(device, compiled, size, images):
    """Forward passes under inference mode and bfloat16, as samplers ask for them."""
    spec = spec_of(load_track(REGISTRY.tracks["imagenet256"]), REGISTRY)
    network = build_denoiser(REGISTRY.architectures["dit"], size, spec).to(device).eval()
    compile_network(network, "blocks" if compiled else "off")
    x, t, y = (part.to(device) for part in example_batch(spec, images))

    def call():
        with torch.inference_mode(), autocast("bfloat16", device):
            network(x, t, y).sum().item()

    return rate(call, images, 10)


def features(device, precision, images):
    """The extractor whose weights come with its package, on 256 px."""
    network = load_extractor(REGISTRY.extractors["efficientnet-lite0"], device=device)
    pixels = np.random.default_rng(0).integers(0, 256, (images, 3, 256, 256), np.uint8)
    return rate(lambda: extract(network, [pixels], ("features",), device=device, precision=precision), images, 3)


def decoding(device, precision, images, side, widths):
    """A decoder of Stable Diffusion's form."""
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    network = placed(AutoencoderKL(block_out_channels=widths, layers_per_block=2, **blocks).eval(), device)
    latents = torch.randn(images, 4, side, side, device=device)

    def call():
        with torch.inference_mode(), computing(precision, device):
            network.decode(latents).sample.sum().item()

    return rate(call, images, 3)


def main(path, device="cuda", size="S/2", images="256"):
    where, many = torch.device(device), int(images)
    few = max(2, many // 8)
    form = (32, (128, 256, 512, 512)) if where.type == "cuda" else (4, (32, 32, 32, 32))  # Stable Diffusion's own
    figures = {
        "sampler's forward, eager": lambda: sampling(where, False, size, many),
        "sampler's forward, compiled": lambda: sampling(where, True, size, many),
    }
    for precision in ("float32", "tf32", "bfloat16"):
        figures[f"features, {precision}"] = partial(features, where, precision, few)
        figures[f"decoding, {precision}"] = partial(decoding, where, precision, few, *form)
    found = {}
    for name, measure in figures.items():
        found[name] = round(measure(), 2)
        print(f"{name}: {found[name]} images/s", flush=True)
        Path(path).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
