"""In what a run is not as its track says: found as data, told in words that records have held since they were first."""

from dataclasses import replace

import numpy as np
from records import TRACK

from ditbench.benchmark.deviations import deviations
from ditbench.datasets.examples import AutoencoderFacts, Data, Examples
from ditbench.tracks.deviation import Deviation

LATENTS = TRACK.model_copy(
    update={
        "data": TRACK.data.model_copy(
            update={
                "dataset": "latents", "resolution": 64, "downsampling": 8, "images": 9, "classes": 3, "channels": 4,
                "autoencoder": "stabilityai/sd-vae-ft-mse",
            }
        )
    }
)  # fmt: skip


def made(count=9, channels=4, side=8, classes=3, autoencoder="sd-vae-ft-mse", **more):
    rows = np.zeros((count, 2, channels, side, side), np.float16)
    names = tuple("abcdef"[:classes])
    facts = autoencoder and AutoencoderFacts(name=autoencoder, sha256="0" * 64, scale=1, factor=8, channels=4)
    return Data("made", "0" * 64, Examples(rows, np.zeros(count, np.int64)), names, None, autoencoder=facts, **more)


def test_what_is_not_as_the_track_says_is_found_and_told():
    assert deviations(LATENTS, made(), "latents") == ()
    assert deviations(LATENTS, made(autoencoder="stabilityai/sd-vae-ft-mse"), "latents") == ()
    found = deviations(LATENTS, made(8, 3, 4, 2, skipped=1, autoencoder="mine"), "hf")
    assert found[1] == Deviation("images", 8, 9) and found[4] == Deviation("size", (4, 4))
    assert [*map(str, found)] == [
        "the data set hf, not latents",
        "8 training images, not 9",
        "2 classes, not 3",
        "3 channels, not 4",
        "examples of 4 x 4",
        "latents of 'mine', not 'stabilityai/sd-vae-ft-mse'",
        "1 unreadable images left out",
    ]
    noise = deviations(LATENTS, made(synthetic=True, autoencoder=None), "synthetic")
    assert [*map(str, noise)] == [
        "synthetic noise in place of data",
        "latents of '', not 'stabilityai/sd-vae-ft-mse'",
    ]
    pictures = TRACK.model_copy(update={"data": LATENTS.data.model_copy(update={"dataset": "hf:name"})})
    assert deviations(pictures, made(), "image-folder") == ()  # another way to the same images


def test_features_of_another_network_must_be_those_that_the_track_names():
    data = made()
    helped = replace(data, autoencoder=data.autoencoder.model_copy(update={"trained_with": ("dinov2-vit-b-14",)}))
    assert [*map(str, deviations(LATENTS, helped, "latents"))] == [
        "latents that are features of dinov2-vit-b-14, not of none"
    ]
    naming = LATENTS.model_copy(update={"trained_with": ("dinov2-vit-b-14",)})
    assert deviations(naming, helped, "latents") == ()
    assert [*map(str, deviations(naming, data, "latents"))] == [
        "latents that are features of none, not of dinov2-vit-b-14"
    ]


def test_what_was_chosen_is_told_as_in_published_records():
    assert str(Deviation("samples", 200, 1000)) == "200 samples, not 1000"
    assert str(Deviation("features", "dinov2-vit-l-14", "digits-cnn")) == "features of dinov2-vit-l-14, not digits-cnn"
