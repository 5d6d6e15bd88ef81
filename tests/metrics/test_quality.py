"""The metrics against closed forms and against torchmetrics, on the digits' own features."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance

from ditbench.datasets.bundled import digits
from ditbench.datasets.image_sets import in_memory
from ditbench.errors import BadValue
from ditbench.metrics import manifolds, quality
from ditbench.metrics.extractors.train_small_cnn import SEEN
from ditbench.metrics.features import Features, extract, load_extractor, moments_of
from ditbench.metrics.frechet import frechet_distance, frechet_infinity, jackknife
from ditbench.metrics.neighbours import class_accuracy
from ditbench.records.derived import of_raw
from ditbench.registry import Registry

REGISTRY = Registry.installed()
EXTRACTOR, METRICS = REGISTRY.extractors["digits-cnn"], REGISTRY.metrics


@pytest.fixture(scope="module")
def halves():
    """Features of the digits that the extractor was trained on, and of the unseen ones."""
    pixels, labels = digits()
    batches = in_memory("digits", pixels, "").batches(200)
    found = extract(load_extractor(EXTRACTOR), batches, ("features", "logits"))
    real = replace(found, pixels=pixels, labels=labels)
    return real.subset(np.arange(SEEN)), real.subset(np.arange(SEEN, len(labels)))


def given(features):
    """A set of images with these features alone."""
    moments = moments_of(features.split(100))
    return Features(
        len(features), {"features": features, "spatial": features}, dict.fromkeys(("features", "spatial"), moments)
    )


def one(metric, fake, real, sha256=None, marks=""):
    (found,) = quality.measure_all([metric], fake, real, EXTRACTOR, sha256, marks)
    return found


def test_fid_of_gaussians_is_the_closed_form():
    one, other = torch.randn(2, 40_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()
    scale, shift = torch.tensor([2.0, 0.5, 1.0]), torch.tensor([1.0, 0.0, -2.0])
    expected = float((shift**2).sum() + ((scale - 1) ** 2).sum())  # both covariances are diagonal
    fid = frechet_distance(given(other * scale + shift), given(one))
    assert fid.value == pytest.approx(expected, rel=0.02)
    assert frechet_distance(given(one), given(one)).value == pytest.approx(0, abs=1e-6)


def test_fid_of_infinitely_many_samples_has_no_bias():
    draw = torch.Generator().manual_seed(0)
    samples = given(torch.randn(500, 16, generator=draw, dtype=torch.float64))
    reference = given(torch.randn(200_000, 16, generator=draw, dtype=torch.float64))
    finite, infinite = frechet_distance(samples, reference), frechet_infinity(samples, reference)
    assert finite.value > 0.1 and abs(infinite.value) < finite.value / 3
    assert infinite.settings == {"sizes": 15, "smallest": 50}
    assert frechet_infinity(samples, reference) == infinite


def test_a_line_that_ends_below_zero_says_so():
    drawn = [torch.randn(60, 8, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(13)]
    real = given(torch.cat(drawn[1:]))
    found = [one(METRICS["fid-infinity"], given(some), real) for some in drawn]
    below = [of for of in found if of.value < 0]
    assert 0 < len(below) < len(found)
    for of in found:
        assert ("below_zero" in of.settings) == bool(of.remark) == (of.value < 0)
    assert below[0].remark == (
        "fid-infinity60/digits-cnn is below 0 by the noise of the line: no distance is negative; read it as about 0"
    )


@pytest.mark.parametrize("count", [599, 30], ids=["more", "fewer"])
def test_the_jackknife_leaves_out_each_tenth_of_the_samples(halves, count):
    """The short ways, with more samples than features and with fewer, give what starting over gives."""
    one, other = halves[0], halves[1].subset(np.arange(count))
    found = jackknife(other.outputs["features"], one.moments_of("features"))
    order = np.random.default_rng(quality.SEED).permutation(len(other))
    for without, left_out in zip(found, np.array_split(order, 10), strict=True):
        rest = other.subset(np.setdiff1d(order, left_out))
        assert without == pytest.approx(frechet_distance(given(rest.outputs["features"]), one).value, rel=1e-6)
    assert jackknife(other.outputs["features"][:19], one.moments_of("features")) == []


def test_the_spread_of_fid_is_what_other_samples_would_change():
    """Against the standard deviation over 60 sets of samples, which the jackknife estimates from one alone."""
    draw = torch.Generator().manual_seed(0)
    real = given(torch.randn(20_000, 4, generator=draw, dtype=torch.float64))
    sets = [given(0.5 + torch.randn(300, 4, generator=draw, dtype=torch.float64)) for _ in range(60)]
    scores = [frechet_distance(fake, real) for fake in sets]
    seen = np.std([score.value for score in scores], ddof=1)
    assert np.mean([score.spread for score in scores]) == pytest.approx(seen, rel=0.3)


@pytest.mark.parametrize("name", ["fid", "kid", "is", "precision", "recall", "knn"])
def test_value_and_spread_follow_from_the_raw_numbers(halves, name):
    found = one(METRICS[name], halves[1], halves[0])
    assert (found.value, found.spread) == of_raw(found.raw)
    assert found.raw.keys() - {"jackknife"} == {METRICS[name].raw}


def test_kid_and_is_are_torch_fidelitys_own(halves, monkeypatch):
    real, fake = halves
    settings = {"kid_subsets": 100, "kid_subset_size": 599, "rng_seed": 2020, "verbose": False}
    features = fake.outputs["features"], real.outputs["features"]
    theirs = kid_features_to_metric(*(one.double() for one in features), **settings)
    ours = quality.kernel_distance(fake, real)  # all with all, once
    assert (ours.value, ours.spread) == pytest.approx(tuple(theirs.values()), rel=1e-11)
    monkeypatch.setattr(quality, "KID_SUBSET_SIZE", 100)
    theirs = kid_features_to_metric(*features, **settings | {"kid_subset_size": 100})
    ours = quality.kernel_distance(fake, real)  # each subset by itself, with kernels in float32
    assert (ours.value, ours.spread) == pytest.approx(tuple(theirs.values()), rel=1e-4)
    theirs = isc_features_to_metric(fake.outputs["logits"], splits=10, shuffle=True, rng_seed=2020)
    ours = quality.inception_score(fake, real)
    assert (ours.value, ours.spread) == pytest.approx(tuple(theirs.values()), rel=1e-12)


def test_precision_and_recall_are_torch_fidelitys_own(halves):
    real, fake = halves
    settings = {"prc_neighborhood": 3, "prc_batch_size": 1000, "save_cpu_ram": True, "verbose": False}
    theirs = prc_features_to_metric(fake.outputs["features"], real.outputs["features"], **settings)
    for name, of in (("precision", fake), ("recall", real)):
        ours = getattr(quality, name)(fake, real)
        assert ours.raw["counts"] == [round(theirs[name] * len(of)), len(of)] and 0.5 < ours.value < 1


def test_a_gpu_compares_by_itself(halves, monkeypatch):
    """Precision by the same steps, KID by kernels of ours: torch-fidelity's arrays are a CPU's. To move takes CUDA."""
    fake, real = halves
    monkeypatch.setattr(quality, "KID_SUBSET_SIZE", 100)  # each subset by itself
    kid, precision, moved = quality.kernel_distance(fake, real), quality.precision(fake, real), []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: moved.append(str(device)) or tensor)
    fake = replace(fake, device=torch.device("cuda"))
    assert quality.precision(fake, real) == precision and moved == ["cuda", "cuda"]
    found = quality.kernel_distance(fake, real)
    assert found.value == pytest.approx(kid.value, rel=1e-4) and found.raw != kid.raw


def test_raw_numbers_that_are_none_are_refused():
    for raw in ({}, {"counts": [3, 2]}, {"counts": [1]}, {"values": []}, {"terms": [1.0], "counts": [1, 2]}):
        with pytest.raises(ValueError, match="neither terms, values"):
            of_raw(raw)


def test_precision_and_recall():
    """Samples in one of two far clusters: all of them real, half of the real ones reached."""
    draw = torch.Generator().manual_seed(0)
    near, far = torch.randn(2, 300, 4, generator=draw)
    real = given(torch.cat([near, far + 100]))
    samples = given(torch.randn(300, 4, generator=draw))
    assert quality.precision(samples, real).value > 0.8
    assert 0.4 < quality.recall(samples, real).value < 0.5
    assert quality.precision(real, real).value == quality.recall(real, real).value == 1
    nowhere = given(near - 1000)
    assert quality.precision(nowhere, real).value == quality.recall(nowhere, real).value == 0


def test_kid_and_is_are_seeded(halves):
    for metric in (METRICS["kid"], METRICS["is"]):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = one(metric, halves[0], halves[1])
        assert torch.equal(before, torch.get_rng_state())
        torch.manual_seed(2)
        assert one(metric, halves[0], halves[1]) == first
        assert first.spread is not None and first.spread > 0


def test_sets_that_a_kid_subset_holds_whole_are_compared_once(halves):
    one, other = (half.subset(np.arange(300)) for half in halves)
    found = quality.kernel_distance(one, other)
    assert found.spread is None and found.settings == {"subsets": 1, "subset_size": 300}
    assert found.value == pytest.approx(
        quality.kernel_distance(one.subset(np.arange(300)[::-1].copy()), other).value, rel=1e-4
    )
    unequal = quality.kernel_distance(halves[0], other)  # 1,198 against 300
    assert unequal.spread > 0 and unequal.settings == {"subsets": 100, "subset_size": 300}
    assert quality.kernel_distance(other, halves[0].subset(np.arange(301))).settings["subsets"] == 100


def test_precision_does_not_depend_on_how_many_rows_are_held(halves, monkeypatch):
    whole = one(METRICS["precision"], *halves)
    monkeypatch.setattr(manifolds, "ROWS", 70)
    assert one(METRICS["precision"], *halves) == whole


def test_measurements_carry_their_full_name(halves):
    found = one(METRICS["fid"], halves[1], halves[0], "ab" * 32)
    assert found.protocol == "fid599/digits-cnn" and (found.samples, found.reference_samples) == (599, 1198)
    assert (found.features_sha256, found.reference_sha256) == (EXTRACTOR.weights.sha256, "ab" * 32)
    found = one(METRICS["is"], halves[1], halves[0], "ab" * 32, "-jpeg")
    assert found.protocol == "is599-jpeg/digits-cnn" and found.reference_sha256 is found.reference_samples is None
    found = one(METRICS["knn"], halves[1], halves[0])
    assert found.protocol == "knn599/raw-pixels" and found.features_sha256 is None
    assert quality.protocol("fid", 50_000, "inception-v3-compat") == "fid50k/inception-v3-compat"


def test_the_floor_is_a_mean_over_random_halves(halves):
    metrics = [METRICS["fid"], METRICS["kid"], METRICS["precision"]]
    fid, kid, precision = found = quality.floors(metrics, halves[0], EXTRACTOR, "ab" * 32)
    assert fid.protocol == "fid599/digits-cnn" and (fid.reference_samples, fid.reference_sha256) == (599, "ab" * 32)
    assert 0 < fid.value < 2 and 0 < fid.spread < fid.value and fid.settings["random_halves"] == 5
    assert kid.settings == {"subsets": 1, "subset_size": 599, "random_halves": 5} and precision.value > 0.5
    assert quality.floors(metrics, halves[0], EXTRACTOR, "ab" * 32) == found


def test_neighbours_tell_digits_and_are_not_fooled(halves):
    one, other = halves
    assert class_accuracy(other, one).value > 0.9
    wrong = replace(other, labels=(other.labels + 1) % 10)
    assert class_accuracy(wrong, one).value < 0.05


def test_torchmetrics_agrees_on_fid(halves):
    one, other = halves
    identity = nn.Identity()
    identity.__dict__["num_features"] = 64
    theirs = FrechetInceptionDistance(feature=identity)
    theirs.update(other.outputs["features"].double(), real=False)
    theirs.update(one.outputs["features"].double(), real=True)
    assert frechet_distance(other, one).value == pytest.approx(float(theirs.compute()), rel=1e-9)


def test_a_metric_asks_for_an_output_that_the_extractor_has():
    METRICS["sfid"].check_fits(REGISTRY.extractors["inception-v3-compat"])
    METRICS["knn"].check_fits(REGISTRY.extractors["dinov2-vit-l-14"])
    with pytest.raises(BadValue, match="Metric 'sfid' needs spatial, which extractor 'digits-cnn' does not have"):
        METRICS["sfid"].check_fits(EXTRACTOR)
    assert quality.outputs_for([METRICS[name] for name in ("kid", "fid", "is", "knn")]) == ("features", "logits")


def test_every_extractors_own_metrics_fit_it():
    for extractor in REGISTRY.extractors.values():
        for name in extractor.metrics:
            METRICS[name].check_fits(extractor, 1 if METRICS[name].of == "images" or not sees_clips(extractor) else 16)


def sees_clips(extractor):
    """Whole, or frame by frame."""
    return extractor.clips or extractor.metrics == ("frame-fid",)
