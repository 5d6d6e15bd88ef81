"""Networks for clips beside each other, and beside those for images."""

from dataclasses import replace

import pytest
import torch

from ditbench import BadValue
from ditbench.denoiser.interface import DIGITS_SPEC, build_denoiser, example_batch, perturb
from ditbench.registry import Registry, select
from ditbench.testing import parameters_and_macs

REGISTRY = Registry.installed()
DIT, LATTE, DIT3D = (REGISTRY.architectures[name] for name in ("dit", "latte", "dit3d"))


@pytest.mark.parametrize(
    ("name", "frames", "told"),
    [
        ("latte", 1, "latte:nano takes clips, not images: choose another, or a track of clips."),
        ("dit3d", 1, "dit3d:nano takes clips, not images: choose another, or a track of clips."),
        ("dit", 8, "dit:nano takes images, not clips of 8 frames: choose another, or a track of images."),
    ],
)
def test_clips_and_images_are_not_taken_for_each_other(name, frames, told):
    selection = select(REGISTRY, f"{name}:nano")
    for refused in (selection.check_takes, lambda frames: selection.build(replace(DIGITS_SPEC, frames=frames))):
        with pytest.raises(BadValue) as error:
            refused(frames)
        assert str(error.value) == told
    selection.check_takes(9 - frames)


def test_the_small_sizes_cost_the_same():
    latte, dit3d = (parameters_and_macs(one, "nano", one.specs["nano"]).macs_per_image for one in (LATTE, DIT3D))
    assert LATTE.specs["nano"] == DIT3D.specs["nano"]
    assert latte == pytest.approx(dit3d, rel=0.02) and 60e6 < dit3d < 65e6


def test_dit3d_is_dit_on_the_tokens_of_all_frames():
    """Four frames of 2x2 patches are the rows of an image of 4x4, but for their positions."""
    small = {"depth": 2, "width": 32, "heads": 2, "patch_size": 2}
    plane, film = (
        build_denoiser(replace(of, sizes={"nano": small}, specs={}, ladder={}), "nano", spec)
        for of, spec in ((DIT, DIGITS_SPEC), (DIT3D, replace(DIGITS_SPEC, resolution=4, frames=4)))
    )
    perturb(plane)
    positions = film.pos_embed
    film.load_state_dict(plane.state_dict())
    plane.pos_embed.data.copy_(positions), film.pos_embed.data.copy_(positions)
    x, t, y = example_batch(DIGITS_SPEC, 3)
    torch.testing.assert_close(as_frames(plane(x, t, y)), film(as_frames(x), t, y))


def as_frames(images):
    """Rows of patches (N, C, 8, 8) as frames (N, 4, C, 4, 4), four patches of a row two by two."""
    patches = images.unflatten(2, (4, 2)).unflatten(4, (2, 2, 2))  # N, C, frame, i, row, column, j
    return patches.permute(0, 2, 1, 4, 3, 5, 6).flatten(3, 4).flatten(4, 5)
