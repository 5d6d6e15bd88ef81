"""A classifier of pixels as the judge of samples. A module of its own: scikit-learn takes two seconds to load."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from ..records.metric_constants import NEIGHBOURS
from .features import Features
from .quality import Score


def class_accuracy(fake: Features, real: Features) -> Score:
    """Share of the fake images to which 3-NN on the real images' raw pixels gives their own label."""
    judge = KNeighborsClassifier(n_neighbors=NEIGHBOURS)
    judge.fit(_rows(real), real.labels)
    told = judge.predict(_rows(fake))
    return Score.of({"counts": [int(np.sum(told == fake.labels)), len(told)]}, neighbours=NEIGHBOURS)


def _rows(images: Features) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    assert images.pixels is not None
    return images.pixels.reshape(len(images.pixels), -1).astype(np.float32)
