"""Trainers for tests: a toy network on made images, clips or latents, and a timer that can be moved."""

from dataclasses import replace

import numpy as np
import torch
from toy_net import Toy

from ditbench.datasets.examples import Data, Examples, from_arrays
from ditbench.datasets.loading import Feed
from ditbench.denoiser_spec import DenoiserSpec
from ditbench.runtime.progress import Watch
from ditbench.tracks.budget import Budget, BudgetClock
from ditbench.tracks.recipe import Recipe
from ditbench.tracks.track import DataChoice
from ditbench.training.loop import train
from ditbench.training.objectives import Flow
from ditbench.training.trainer import Trainer

SPEC = DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
RECIPE = Recipe(
    optimizer="adamw", learning_rate=2e-3, betas=(0.9, 0.99), weight_decay=0.01, batch_size=16, warmup=0.1,
    decay="cosine", label_dropout=0.1, ema_half_life=0.2,
)  # fmt: skip
CPU = torch.device("cpu")
DRAW = np.random.default_rng(0)
PIXELS = (DRAW.normal(128, 40, (100, 1, 8, 8)) // 64 * 64).clip(0, 255).astype(np.uint8)
IMAGES = from_arrays("blobs", PIXELS, np.arange(100) % 10, tuple("0123456789"))
CLIP_SPEC = replace(SPEC, frames=4)
CLIPS = from_arrays("clips", PIXELS.reshape(25, 4, 1, 8, 8), np.arange(25) % 10, tuple("0123456789"))
LATENTS = DRAW.normal(0, 1, (200, 2, 1, 8, 8)).astype(np.float16)


def data_of(kind, folder=None):
    """Images in memory; or latents, streamed from a folder."""
    if kind == "images":
        return IMAGES
    if not (folder / "rows.npy").exists():
        np.save(folder / "rows.npy", LATENTS)
    rows = np.load(folder / "rows.npy", mmap_mode="r")
    return Data("latents", "", Examples(rows, np.arange(100) % 10, views=2), tuple("0123456789"), None)


def choice_of(kind):
    """Latents are mirrored, and drawn from their posteriors."""
    if kind == "images":
        return DataChoice(dataset="blobs", resolution=8)
    return DataChoice(dataset="latents", resolution=64, flip=True)


def images_feed(seed=0):
    return Feed(IMAGES, choice_of("images"), seed, CPU)


def clips_feed(seed=0):
    return Feed(CLIPS, DataChoice(dataset="clips", resolution=8, frames=4), seed, CPU)


def latents_feed(folder, seed=0):
    return Feed(data_of("latents", folder), choice_of("latents"), seed, CPU)


class Hand:
    """A timer that moves when told to, and a little with every look."""

    def __init__(self, tick=0.0):
        self.now, self.tick = 100.0, tick

    def __call__(self):
        self.now += self.tick
        return self.now


def changed(**changes):
    """The recipe with other fields, checked."""
    return Recipe.model_validate({**RECIPE.model_dump(), **changes})


def build(network=Toy):
    """The same weights each time."""
    torch.manual_seed(0)
    return network(SPEC, width=8)


def trainer(denoiser=None, budget="12-steps", seed=0, recipe=RECIPE, feed=None, **how):
    clock = BudgetClock(Budget.parse(budget))
    return Trainer(denoiser or build(), SPEC, Flow(), recipe, clock, feed or images_feed(seed), seed, CPU, **how)


def go(one, folder, watch=None, every=1e9, **measured):
    folder.mkdir(exist_ok=True)
    train(one, folder, "hash", every, watch or Watch(), **measured)
    one.feed.close()
    return one


def stop_after(steps, one):
    return Watch(should_stop=lambda: one.clock.steps >= steps)
