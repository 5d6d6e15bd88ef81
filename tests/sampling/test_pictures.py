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


def test_clips_move_and_their_still_picture_has_their_frames_side_by_side(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 8, 1, 16, 16), dtype=np.uint8)
    write_grid(tmp_path / "grid.png", pixels, np.arange(30) % 3, ("a", "b", "c"))
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.default_image and grid.n_frames == 1 + 8 and grid.info["loop"] == 0 and grid.mode == "L"
        tiles = [_tiles(grid, frame, rows=3, columns=8) for frame in range(9)]
        assert grid.info["duration"] == 250 and not grid.text
    for row in range(3):
        assert np.array_equal(tiles[0][row], pixels[row, :, 0])  # all frames of its first clip
        for frame in range(8):
            assert np.array_equal(tiles[1 + frame][row], pixels[row::3][:8, frame, 0])


def _tiles(grid, frame, rows, columns):
    grid.seek(frame)
    cells = np.asarray(grid)[4:, -68 * columns :].reshape(rows, 68, columns, 68)[:, :64, :, :64]
    return cells.swapaxes(1, 2)[..., ::4, ::4]


def test_long_and_large_clips_stay_on_a_page(tmp_path):
    """Few of them, smaller, and frames at equal distances; the still picture has as many as fit."""
    pixels = np.zeros((12, 40, 3, 128, 128), dtype=np.uint8)
    pixels += 6 * np.arange(40, dtype=np.uint8)[:, None, None, None]
    write_grid(tmp_path / "grid.png", pixels, np.zeros(12, dtype=np.int64), ())
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (4 * 68 + 4, 3 * 68 + 4)
        shown = [[pixel[0] for pixel in _row(grid, frame)] for frame in range(grid.n_frames)]
    assert shown == [[0, 72, 144, 216], *([18 * step] * 4 for step in range(14))]


def _row(grid, frame):
    grid.seek(frame)
    return [grid.convert("RGB").getpixel((36 + 68 * column, 36)) for column in range(4)]


def test_samples_are_in_the_adm_layout(tmp_path):
    pixels = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    write_samples(tmp_path / "samples.npz", pixels, np.array([5, 7]))
    with np.load(tmp_path / "samples.npz") as file:
        assert file["arr_0"].dtype == np.uint8 and file["arr_0"].shape == (2, 4, 4, 3)
        assert np.array_equal(file["arr_0"][1, 2, 3], pixels[1, :, 2, 3])
        assert file["arr_1"].tolist() == [5, 7]
