"""Small natural images for tests: crops of the two photographs that ship with scikit-learn."""

import io

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images


def crops(count, size, seed, noise=0.0):
    """Random crops (count, size, size, 3) uint8, with normal noise of that standard deviation."""
    photos, draw = load_sample_images().images, np.random.default_rng(seed)
    found = []
    for index in range(count):
        photo = photos[index % 2]
        top, left = draw.integers(0, photo.shape[0] - size), draw.integers(0, photo.shape[1] - size)
        crop = photo[top : top + size, left : left + size] + noise * draw.standard_normal((size, size, 3))
        found.append(np.clip(np.rint(crop), 0, 255).astype(np.uint8))
    return np.stack(found)


def write_folder(folder, images, suffix=".png"):
    """One file per image, named by its place."""
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:05d}{suffix}")
    return folder


def encoded(image, kind="PNG", **options):
    """The file that Pillow makes of an image, as bytes."""
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()
