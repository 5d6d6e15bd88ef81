"""Grids and sample files that others can read."""

import numpy as np
from PIL import Image

from ditbench.sampling.pictures import write_grid, write_samples


def test_the_grid_has_a_row_per_class_and_is_no_stamp(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 1, 8, 8), dtype=np.uint8)
    write_grid(tmp_path / "grid.png", pixels, np.arange(30) % 3, ("a", "b", "c"))
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width >= 10 * 64 and grid.height >= 3 * 64
        tile = np.asarray(grid.convert("L"))[4:68, -68:-4]
    assert np.array_equal(tile[::8, ::8], pixels[27, 0])


def test_colour_grids_and_missing_classes(tmp_path):
    pixels = np.zeros((2, 3, 32, 32), dtype=np.uint8)
    write_grid(tmp_path / "grid.png", pixels, np.array([0, 0]), ("a", "b"))
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.getpixel((grid.width - 10, 20)) == (0, 0, 0)


def test_of_many_classes_some_are_shown_and_without_classes_the_first_samples(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2000, 3, 64, 64), dtype=np.uint8)
    write_grid(tmp_path / "many.png", pixels, np.arange(2000) % 1000, [f"class {c}" for c in range(1000)])
    write_grid(tmp_path / "none.png", pixels, np.zeros(2000, dtype=np.int64), ())
    with Image.open(tmp_path / "many.png") as grid:
        assert grid.height < 1000
    with Image.open(tmp_path / "none.png") as grid:
        assert grid.width == grid.height == 10 * 68 + 4
        assert np.array_equal(np.asarray(grid)[4 + 68 : 68 + 68, 4:68], pixels[10].transpose(1, 2, 0))


def test_large_images_stay_on_a_page(tmp_path):
    pixels = np.zeros((30, 3, 512, 512), dtype=np.uint8)
    write_grid(tmp_path / "grid.png", pixels, np.arange(30) % 2, ("tabby cat", "x"))
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width < 2400 and grid.height < 1100


def test_samples_are_in_the_adm_layout(tmp_path):
    pixels = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    write_samples(tmp_path / "samples.npz", pixels, np.array([5, 7]))
    with np.load(tmp_path / "samples.npz") as file:
        assert file["arr_0"].dtype == np.uint8 and file["arr_0"].shape == (2, 4, 4, 3)
        assert np.array_equal(file["arr_0"][1, 2, 3], pixels[1, :, 2, 3])
        assert file["arr_1"].tolist() == [5, 7]
