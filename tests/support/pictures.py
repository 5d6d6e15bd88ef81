"""Folders of small made-up pictures, and an autoencoder of the real one's kind that is small and knows nothing."""

import importlib.util
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderRAE
from PIL import Image

from ditbench.datasets.autoencoder import choose, load_autoencoder
from ditbench.datasets.folder import list_folder
from ditbench.datasets.prepare import prepare
from ditbench.registry import Registry

# The extra rae is not in the clone's environment: with transformers there, each process takes seconds more to start.
RAE_IS_HERE = importlib.util.find_spec("transformers") is not None
NEEDS_RAE = pytest.mark.skipif(not RAE_IS_HERE, reason="the extra rae is not installed: uv sync --extra rae")
CLASSES = ("fish", "fowl", "frog")


def picture(number, size=(20, 18)):
    """Blobs of colour, different for every number; size: width, height."""
    few = np.random.default_rng(number).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(few).resize(size, Image.Resampling.BICUBIC)


def write_pictures(folder, count, classes=CLASSES, suffix=".png"):
    """`count` pictures of each class, in its folder; without classes, in the folder itself."""
    number = 0
    for name in classes or ("",):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            picture(number, (16 + number % 5, 24)).save(folder / name / f"{number:03d}{suffix}")
            number += 1
    return folder


def write_autoencoder(folder, seed=0, **changes):
    """A randomly initialised AutoencoderKL with a factor of 4, as diffusers saves it."""
    config = {
        "block_out_channels": (8, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "layers_per_block": 1,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "sample_size": 16,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        AutoencoderKL(**(config | changes)).save_pretrained(folder)
    return folder


DC = {  # a factor of 4, and 8 channels
    "latent_channels": 8, "attention_head_dim": 4, "encoder_block_types": "ResBlock",
    "decoder_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"), "encoder_block_out_channels": (8, 8, 16),
    "decoder_block_out_channels": (8, 8, 16), "encoder_layers_per_block": (1, 1, 1),
    "decoder_layers_per_block": (1, 1, 1), "encoder_qkv_multiscales": ((), (), ()),
    "decoder_qkv_multiscales": ((), (), (5,)), "scaling_factor": 0.5,
}  # fmt: skip
RAE = {  # images of 16 pixels, and 2 x 2 features of 64 channels
    "encoder_hidden_size": 64, "encoder_num_hidden_layers": 1, "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 32, "patch_size": 8,
    "encoder_input_size": 28,
}  # fmt: skip


def write_kind(kind, folder, seed=0, **changes):
    """A small, randomly initialised autoencoder of one of the kinds; what `--autoencoder` calls it."""
    if kind == "identity":
        return kind
    if kind == "kl":
        return f"kl:{write_autoencoder(folder, seed, **changes)}"
    make, config = {"dc": (AutoencoderDC, DC), "rae": (AutoencoderRAE, RAE)}[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make(**(config | changes)).save_pretrained(folder)
    return f"{kind}:{folder}"


def of_kinds(names):
    """Parameters of tests; that of rae is skipped where it is not installed."""
    return [pytest.param(name, marks=NEEDS_RAE) if name == "rae" else name for name in names]


def opened(text):
    """The autoencoder that `--autoencoder` calls so."""
    kind, place = choose(text, Registry.installed())
    return load_autoencoder(place, offline=True, kind=kind)


def prepare_slowly(place, folder, autoencoder, resolution, shard_size):
    """For a process that is to be killed: each picture takes a while."""
    raw = list_folder(place)

    def read(number):
        time.sleep(0.05)
        return raw.read(number)

    network = opened(str(autoencoder))
    prepare(replace(raw, read=read), folder, resolution, network, shard_size=shard_size)
