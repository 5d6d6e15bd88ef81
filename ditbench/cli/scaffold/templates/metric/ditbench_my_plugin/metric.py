"""The metric: an example to put yours in the place of."""

from __future__ import annotations

from sklearn.neighbors import NearestNeighbors

from ditbench import Features, Score

NEIGHBOURS = 5


def measure(fake: Features, real: Features) -> Score:
    """Coverage (Naeem et al., 2020, arXiv:2002.09797): the share of real images whose ball holds a sample.

    A real image's ball reaches to its fifth nearest real image. `outputs["features"]` is (N, F) float32. The record
    keeps the counts, so that the value can be computed again; a plain `Score(value)` will do, too.
    """
    truth, samples = real.outputs["features"].numpy(), fake.outputs["features"].numpy()
    around = NearestNeighbors(n_neighbors=min(NEIGHBOURS + 1, len(truth))).fit(truth)  # an image is its own nearest
    radii = around.kneighbors(truth)[0][:, -1]
    nearest = NearestNeighbors(n_neighbors=1).fit(samples).kneighbors(truth)[0][:, 0]
    return Score.of({"counts": [int((nearest <= radii).sum()), len(truth)]}, neighbours=NEIGHBOURS)
