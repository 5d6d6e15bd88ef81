"""The metrics against closed forms and against torch-fidelity, on the digits' own features."""

import numpy as np
import pytest
import torch
import torch_fidelity
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from ditbench import manifold, quality
from ditbench.components import Metric
from ditbench.datasets import load_digits
from ditbench.digits_cnn import SEEN, DigitsCNN
from ditbench.errors import BadFile, BadValue, UnknownName
from ditbench.features import EXTRACTORS, Features, extract, find_extractor

EXTRACTOR = EXTRACTORS["digits-cnn"]


@pytest.fixture(scope="module")
def halves():
    """Features of the digits that the extractor was trained on, and of the unseen ones."""
    digits = load_digits()
    real = extract(EXTRACTOR.load(), digits.pixels, digits.labels, batch_size=200)
    return real.subset(np.arange(SEEN)), real.subset(np.arange(SEEN, len(digits)))


def given(features):
    """Evidence with these features alone."""
    pixels = np.zeros((len(features), 1, 1, 1), np.uint8)
    return Features(pixels, np.zeros(len(features), np.int64), features, torch.zeros(len(features), 2))


def test_the_classifier_reads_unseen_digits(halves):
    unseen = halves[1]
    assert len(unseen) == 599
    assert np.mean(unseen.logits.argmax(1).numpy() == unseen.labels) >= 0.97
    assert EXTRACTOR.weights.stat().st_size <= 300_000


def test_fid_of_gaussians_is_the_closed_form():
    one, other = torch.randn(2, 40_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()
    scale, shift = torch.tensor([2.0, 0.5, 1.0]), torch.tensor([1.0, 0.0, -2.0])
    expected = float((shift**2).sum() + ((scale - 1) ** 2).sum())  # both covariances are diagonal
    fid = quality.frechet_distance(given(other * scale + shift), given(one))
    assert fid.value == pytest.approx(expected, rel=0.02)
    assert quality.frechet_distance(given(one), given(one)).value == pytest.approx(0, abs=1e-6)


def test_fid_of_infinitely_many_samples_has_no_bias():
    draw = torch.Generator().manual_seed(0)
    samples = given(torch.randn(500, 16, generator=draw, dtype=torch.float64))
    reference = given(torch.randn(200_000, 16, generator=draw, dtype=torch.float64))
    finite, infinite = quality.frechet_distance(samples, reference), quality.frechet_infinity(samples, reference)
    assert finite.value > 0.1 and abs(infinite.value) < finite.value / 3
    assert infinite.settings == {"sizes": 15, "smallest": 50}
    assert quality.frechet_infinity(samples, reference) == infinite


def test_precision_and_recall():
    """Samples in one of two far clusters: all of them real, half of the real ones reached."""
    draw = torch.Generator().manual_seed(0)
    near, far = torch.randn(2, 300, 4, generator=draw)
    real = given(torch.cat([near, far + 100]))
    samples = given(torch.randn(300, 4, generator=draw))
    assert manifold.precision(samples, real).value > 0.8
    assert 0.4 < manifold.recall(samples, real).value < 0.5
    assert manifold.precision(real, real).value == manifold.recall(real, real).value == 1
    nowhere = given(near - 1000)
    assert manifold.precision(nowhere, real).value == manifold.recall(nowhere, real).value == 0


def test_kid_and_is_are_seeded(halves):
    for name, measure in [("kid", "kernel_distance"), ("is", "inception_score")]:
        metric = Metric(name=name, measure=f"ditbench.quality:{measure}", higher_is_better=False, sees="features")
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = quality.measure(metric, halves[0], halves[1], EXTRACTOR)
        assert torch.equal(before, torch.get_rng_state())
        torch.manual_seed(2)
        assert quality.measure(metric, halves[0], halves[1], EXTRACTOR) == first
        assert first.spread is not None and first.spread > 0


def test_measurements_carry_their_full_name(halves):
    metric = Metric(name="fid", measure="ditbench.quality:frechet_distance", higher_is_better=False, sees="features")
    found = quality.measure(metric, halves[1], halves[0], EXTRACTOR)
    assert found.protocol == "fid599/digits-cnn" and (found.samples, found.reference_samples) == (599, 1198)
    assert found.features_sha256 == EXTRACTOR.sha256
    assert quality.protocol("fid", 50_000, "inception-v3-compat") == "fid50k/inception-v3-compat"


def test_the_floor_is_a_mean_over_random_halves(halves):
    metric = Metric(name="fid", measure="ditbench.quality:frechet_distance", higher_is_better=False, sees="features")
    found = quality.floor(metric, halves[0], EXTRACTOR, splits=3)
    assert found.protocol == "fid599/digits-cnn" and found.reference_samples == 599
    assert 0 < found.value < 2 and 0 < found.spread < found.value and found.settings["random_halves"] == 3
    assert quality.floor(metric, halves[0], EXTRACTOR, splits=3) == found


def test_neighbours_tell_digits_and_are_not_fooled(halves):
    one, other = halves
    assert quality.class_accuracy(other, one).value > 0.9
    wrong = Features(other.pixels, (other.labels + 1) % 10, other.features, other.logits)
    assert quality.class_accuracy(wrong, one).value < 0.05


class TorchFidelityDigits(FeatureExtractorBase):
    """The same extractor, as torch-fidelity wants it."""

    def __init__(self, name, features_list, **kwargs):
        super().__init__(name, features_list)
        self.network = EXTRACTOR.load()

    def forward(self, pixels):
        features, logits = self.network(pixels)
        outputs = {"features": features, "logits": logits}
        return tuple(outputs[name] for name in self.features_list)

    @staticmethod
    def get_provided_features_list():
        return "features", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled():
        return False

    @staticmethod
    def get_dummy_input_for_compile():
        return torch.zeros(2, 1, 8, 8, dtype=torch.uint8)


class Pixels(torch.utils.data.Dataset):
    def __init__(self, evidence):
        self.pixels = torch.from_numpy(evidence.pixels)

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        return self.pixels[index]


@pytest.mark.filterwarnings("ignore")  # torch-fidelity's own
def test_torch_fidelity_agrees(halves, monkeypatch):
    one, other = halves[0].subset(np.arange(599)), halves[1]  # of one size, so that KID's one subset is everything
    monkeypatch.setattr(quality, "KID_SUBSETS", 1)
    monkeypatch.setattr(quality, "KID_SUBSET_SIZE", 599)
    torch_fidelity.register_feature_extractor("digits-cnn", TorchFidelityDigits)
    theirs = torch_fidelity.calculate_metrics(
        input1=Pixels(other), input2=Pixels(one), fid=True, kid=True, isc=True, feature_extractor="digits-cnn",
        kid_subsets=1, kid_subset_size=599, cuda=False, cache=False, verbose=False, batch_size=100,
        isc_splits=quality.IS_SPLITS,
    )  # fmt: skip
    assert quality.frechet_distance(other, one).value == pytest.approx(theirs["frechet_inception_distance"], rel=1e-5)
    kid = theirs["kernel_inception_distance_mean"]
    assert quality.kernel_distance(other, one).value == pytest.approx(kid, rel=1e-4)
    score = theirs["inception_score_mean"]  # its splits are shuffled otherwise
    assert quality.inception_score(other, one).value == pytest.approx(score, rel=0.05)


def test_weights_are_pinned(tmp_path):
    forged = tmp_path / "digits-cnn.safetensors"
    content = bytearray(EXTRACTOR.weights.read_bytes())
    content[-1] ^= 1
    forged.write_bytes(content)
    changed = type(EXTRACTOR)(EXTRACTOR.name, DigitsCNN, forged, EXTRACTOR.sha256, EXTRACTOR.image_shape)
    with pytest.raises(BadFile, match="sha256"):
        changed.load()
    forged.unlink()
    with pytest.raises(BadFile, match="can't be read"):
        changed.load()


def test_an_extractor_refuses_images_it_does_not_know():
    with pytest.raises(BadValue, match=r"takes images of \(1, 8, 8\), not \(3, 32, 32\)"):
        find_extractor("digits-cnn", (3, 32, 32))
    with pytest.raises(UnknownName, match="digits-cnn"):
        find_extractor("inception", (1, 8, 8))
