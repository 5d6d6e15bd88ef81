"""One pass over a stream: nothing of an image stays but its outputs, however the stream is cut."""

import weakref

import numpy as np
import pytest
import torch
from extractors import tiny_extractor
from photos import crops

from ditbench.datasets.image_sets import in_memory
from ditbench.errors import BadFile
from ditbench.metrics.features import Moments, extract, load_extractor, moments_of

PIXELS = np.ascontiguousarray(crops(30, 16, seed=0).transpose(0, 3, 1, 2))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return load_extractor(*tiny_extractor(tmp_path_factory.mktemp("weights")))


def batches(size):
    return in_memory("", PIXELS, "").batches(size)


def test_features_do_not_depend_on_the_batches(network):
    whole = extract(network, batches(30), ("features", "spatial"))
    for size in (1, 7):
        parts = extract(network, batches(size), ("features", "spatial"))
        for name in ("features", "spatial"):
            torch.testing.assert_close(parts.outputs[name], whole.outputs[name])
            torch.testing.assert_close(parts.moments[name].covariance, whole.moments[name].covariance)
    assert whole.count == len(whole) == 30 and whole.outputs["features"].dtype == torch.float32


def test_moments_are_those_of_numpy(network):
    found = extract(network, batches(7), ("features",))
    values = found.outputs["features"].double().numpy()
    mean, covariance = found.moments["features"].mean.numpy(), found.moments["features"].covariance.numpy()
    np.testing.assert_allclose(mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(values, rowvar=False), rtol=1e-9, atol=1e-12)
    part = found.subset(np.array([3, 1, 4, 1, 5]))
    assert len(part) == part.count == 5
    torch.testing.assert_close(
        part.moments_of("features").mean, found.outputs["features"][[3, 1, 4, 1, 5]].double().mean(0)
    )


def test_only_what_is_asked_for_is_kept(network):
    keep = np.array([0, 8, 9, 29])
    found = extract(network, batches(4), ("logits", "features"), keep)
    whole = extract(network, batches(30), ("logits", "features"))
    assert set(found.outputs) == {"logits", "features"} and set(found.moments) == {"features"}
    assert found.count == 30 and len(found) == 4
    torch.testing.assert_close(found.outputs["logits"], whole.outputs["logits"][keep])
    torch.testing.assert_close(found.moments["features"].mean, whole.moments["features"].mean)


def test_batches_go_when_they_have_been_seen(network):
    """Memory stays flat: never more than the batch at hand and the next."""
    alive, most = set(), []

    def stream():
        for place in range(50):
            batch = np.zeros((4, 3, 16, 16), np.uint8)
            alive.add(place)
            weakref.finalize(batch, alive.discard, place)
            most.append(len(alive))
            yield batch
            del batch

    assert extract(network, stream(), ("features",)).count == 200
    assert max(most) <= 2


def test_whole_float32_and_nothing_else_is_changed(network):
    seen = []
    network.register_forward_hook(
        lambda *_: seen.append(
            (torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision())
        )
    )
    torch.set_float32_matmul_precision("high")
    before = torch.backends.cudnn.allow_tf32
    try:
        extract(network, batches(30), ("features",))
        assert set(seen) == {(True, False, "highest")}
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("high", before)
    finally:
        torch.set_float32_matmul_precision("highest")


def test_progress_is_reported_in_images(network):
    told = []
    extract(network, batches(8), ("features",), report=told.append)
    assert told == [8, 16, 24, 30]


def test_fewer_than_two_images_have_no_moments(network):
    for count in (0, 1):
        with pytest.raises(BadFile, match="fewer than two images"):
            extract(network, in_memory("", PIXELS[:count], "").batches(4), ("features",))


def test_sums_of_large_features_lose_nothing_that_matters():
    """Covariances come from sums; a mean a thousand times the spread still leaves nine digits."""
    values = 1000 + torch.randn(2000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found: Moments = moments_of(values.split(64))
    torch.testing.assert_close(found.covariance, values.T.cov(), rtol=1e-8, atol=1e-8)
