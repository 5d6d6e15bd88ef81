"""What `ditbench evaluate` says of images: as torch-fidelity, and one line for what it can't score."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from extractors import Tiny, calibrated_inception, tiny_extractor
from photos import crops, write_folder
from safetensors.torch import load_file, save_file
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from ditbench import campaign
from ditbench.benchmark import evaluation
from ditbench.benchmark.evaluation import EvaluationRequest, evaluate
from ditbench.benchmark.generation import open_checkpoint
from ditbench.datasets.image_sets import in_memory, open_images
from ditbench.errors import BadFile, BadValue, DitbenchError
from ditbench.metrics import reference
from ditbench.metrics.features import extract, load_extractor
from ditbench.metrics.reference import open_source
from ditbench.records.evaluation import Evaluation, write_evaluation
from ditbench.records.files import EVALUATION_SUFFIX
from ditbench.records.record import read_records
from ditbench.registry import Registry
from ditbench.storage.files import temporary_folder
from ditbench.storage.schema import read_checked

pytestmark = pytest.mark.timeout(300)
REGISTRY = Registry.installed()
LITE, DIGITS = REGISTRY.extractors["efficientnet-lite0"], REGISTRY.extractors["digits-cnn"]
COUNT, SIZE = 24, 48


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """PNGs of real crops, and of noisy ones."""
    folder = tmp_path_factory.mktemp("images")
    real = write_folder(folder / "real", crops(COUNT, SIZE, seed=0))
    return write_folder(folder / "fake", crops(COUNT, SIZE, seed=1, noise=8)), real


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    return calibrated_inception(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_extractor(tmp_path_factory.mktemp("weights"))


def score(samples, real, extractor, *metrics, **settings):
    if metrics and isinstance(metrics[0], Path):
        settings["weights"], *metrics = metrics
    chosen = tuple(REGISTRY.metrics[name] for name in metrics)
    settings = {"device": "cpu", "floors": False, **settings}
    return evaluate(EvaluationRequest(open_images(samples), str(real), extractor, chosen, **settings), REGISTRY)


def values(evaluation):
    return {metric.metric: metric.value for metric in evaluation.metrics}


class Lite(FeatureExtractorBase):
    """The same network, as torch-fidelity wants it."""

    def __init__(self, name, features_list, **kwargs):
        super().__init__(name, features_list)
        self.network = load_extractor(LITE)

    def forward(self, pixels):
        found = self.network(pixels)
        return tuple(found[name] for name in self.features_list)

    get_provided_features_list = staticmethod(lambda: ("features", "logits"))
    get_default_feature_layer_for_metric = staticmethod(lambda metric: "logits" if metric == "isc" else "features")
    can_be_compiled = staticmethod(lambda: False)


def theirs(fake, real, **settings):
    found = torch_fidelity.calculate_metrics(
        input1=str(fake), input2=str(real), fid=True, kid=True, isc=True, prc=True, kid_subset_size=COUNT,
        cuda=False, cache=False, verbose=False, batch_size=10, **settings,
    )  # fmt: skip
    names = {
        "fid": "frechet_inception_distance", "kid": "kernel_inception_distance_mean", "is": "inception_score_mean",
        "precision": "precision", "recall": "recall",
    }  # fmt: skip
    return {ours: found[name] for ours, name in names.items()}


@pytest.mark.filterwarnings("ignore")  # torch-fidelity's own
def test_torch_fidelity_says_the_same_with_efficientnet(folders):
    torch_fidelity.register_feature_extractor("lite", Lite)
    found = score(*folders, LITE)
    assert [metric.protocol for metric in found.metrics] == [
        f"{name}24/efficientnet-lite0" for name in ("fid", "kid", "is", "precision", "recall")
    ]
    assert values(found) == pytest.approx(theirs(*folders, feature_extractor="lite"), rel=1e-4)
    assert found.bytes_per_image == 4 * (1280 + 1000) and values(found)["fid"] > 1


def test_inceptions_features_are_torch_fidelitys_own(folders, inception):
    extractor, weights = inception
    pixels = torch.from_numpy(next(open_images(folders[0]).batches(3)))
    names = ["2048", "logits_unbiased"]
    network = FeatureExtractorInceptionV3(
        "inception-v3-compat", names, feature_extractor_weights_path=str(weights)
    ).eval()
    with torch.inference_mode():
        theirs, ours = network(pixels), load_extractor(extractor, weights)(pixels)
    for found, expected in zip((ours["features"], ours["logits"]), theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        assert expected.std() > 0.01


# slow: 40 s. test_torch_fidelity_says_the_same_with_efficientnet stays, and the test above: the same way, the network's
# part of it with three images
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torch_fidelity_says_the_same_with_inception(folders, inception):
    extractor, weights = inception
    found = score(*folders, extractor, weights, "fid", "kid", "is", "precision", "recall")
    settings = {"feature_extractor": "inception-v3-compat", "feature_extractor_weights_path": str(weights)}
    assert values(found) == pytest.approx(theirs(*folders, **settings), rel=1e-4)
    assert found.bytes_per_image == 4 * (2048 + 1008) and values(found)["fid"] > 1


def test_sfid_sees_7_channels_of_a_map_with_the_channels_last(folders, inception):
    """17 x 17, as ADM's evaluator flattens them. That this layer is TensorFlow's mixed_6/conv is read, not run."""
    extractor, weights = inception
    network = FeatureExtractorInceptionV3("inception-v3-compat", ["768"], feature_extractor_weights_path=str(weights))
    maps = []
    network.Mixed_6d.branch1x1.register_forward_hook(lambda module, x, out: maps.append(out[:, :7]))
    pixels = next(open_images(folders[0]).batches(4))
    network(torch.from_numpy(pixels))
    ours = extract(load_extractor(extractor, weights), [pixels], ("spatial",)).outputs["spatial"]
    assert torch.equal(ours.reshape(4, 17, 17, 7), maps[0].permute(0, 2, 3, 1)) and ours.std() > 0


def test_moments_of_a_file_give_what_its_images_give(folders, tiny, tmp_path):
    """ADM's reference files: moments of more images than the file holds, which precision and recall compare."""
    extractor, weights = tiny
    fake, real = folders
    network = load_extractor(extractor, weights)
    seen = extract(network, open_images(real).batches(8), ("features", "spatial")).moments
    names = {"mu": seen["features"].mean, "sigma": seen["features"].covariance}
    names |= {"mu_s": seen["spatial"].mean, "sigma_s": seen["spatial"].covariance}
    arrays = {name: moment.numpy() for name, moment in names.items()}
    np.savez(tmp_path / "moments.npz", **arrays)
    images = crops(COUNT, SIZE, seed=5)
    np.savez(tmp_path / "both.npz", images, **arrays)
    np.savez(tmp_path / "images.npz", images)

    whole = score(fake, real, extractor, weights, "fid", "sfid")
    bare = score(fake, tmp_path / "moments.npz", extractor, weights)
    assert [metric.metric for metric in bare.metrics] == ["fid", "sfid", "is"]
    assert bare.left_out[0] == "kid compares images, and the reference 'moments.npz' has only their moments"
    assert {name: values(bare)[name] for name in values(whole)} == pytest.approx(values(whole), rel=1e-6)
    assert bare.metrics[0].reference_samples is None and bare.reference.kind == "moments"
    assert bare.metrics[0].reference_sha256 == bare.reference.sha256

    both = score(fake, tmp_path / "both.npz", extractor, weights)
    assert {name: values(both)[name] for name in values(whole)} == pytest.approx(values(whole), rel=1e-6)
    others = score(fake, tmp_path / "images.npz", extractor, weights, "kid", "precision")
    assert {name: values(both)[name] for name in values(others)} == values(others)
    with pytest.raises(BadValue, match="kid compares images"):
        score(fake, tmp_path / "moments.npz", extractor, weights, "kid")
    with pytest.raises(BadValue, match="moments of 16 features, but 'efficientnet-lite0' puts out 1280"):
        score(fake, tmp_path / "moments.npz", LITE, "fid")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(3), "sigma": np.zeros((2, 2))}, r"mu and sigma have shapes \(3,\) and \(2, 2\)"),
        ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, "with F from 1 to 16,384"),
        ({"mu": np.zeros(2**14 + 1), "sigma": np.broadcast_to(np.float32(0), 9)}, "with F from 1 to 16,384"),
        ({"mu": np.array([np.nan]), "sigma": np.eye(1)}, "mu and sigma are not finite"),
        ({"mu": np.zeros(2), "sigma": np.full((2, 2), np.inf)}, "mu and sigma are not finite"),
        ({"mu": np.array([{}]), "sigma": np.eye(1)}, "mu is object .* Python objects, which are not read"),
        ({"mu": np.zeros(2, int), "sigma": np.eye(2)}, "mu and sigma hold int64; moments are float64"),
        ({"mu": np.zeros(2), "sigma": np.eye(2, dtype=bool)}, "mu and sigma hold bool"),
        ({"mu": np.zeros(2), "sigma": np.eye(2) + 0j}, "mu and sigma hold complex128"),
        ({"mu": np.zeros(2), "sigma": np.eye(2, dtype=np.float16)}, "mu and sigma hold float16"),
        ({"mu": np.zeros(2), "sigma": -np.eye(2)}, "a variance below 0"),
        ({"mu": np.zeros(2), "sigma": np.zeros((2, 2))}, "no variance above 0"),
        ({"mu": np.zeros(2), "sigma": np.array([[1, 0.5], [0, 1]])}, "the covariance is not symmetric"),
        ({"mu": np.zeros(2), "sigma": np.array([[1, 2.0], [2, 1]])}, "the covariance has an eigenvalue below 0"),
        ({"mu": np.zeros(2), "sigma": 1e300 * np.eye(2)}, r"numbers above 1e\+12, which no network puts out"),
        ({"mu": np.zeros(2)}, "has mu alone; moments are mu and sigma"),
        ({"arr_0": np.zeros((9, 8, 8, 3), np.uint8), "sigma_s": np.eye(2)}, "has sigma_s alone; moments are mu_s and"),
        (
            {"images": np.zeros((9, 8, 8, 3), np.uint8), "y": np.zeros(9)},
            r"'images' \(uint8 \(9, 8, 8, 3\)\), 'y",
        ),
    ],
)
def test_bad_moments_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.NPZ", **arrays)
    with pytest.raises(BadFile, match=message) as fault:
        open_source((tmp_path / "bad.NPZ.npz").rename(tmp_path / "bad.NPZ"))
    assert "\n" not in str(fault.value)


def test_moments_in_float32_are_taken(tmp_path):
    features = np.random.default_rng(0).normal(size=(30, 64)).astype(np.float32)  # fewer images than features
    np.savez(tmp_path / "it.npz", mu=features.mean(0), sigma=np.cov(features.T).astype(np.float32))
    moments = open_source(tmp_path / "it.npz").moments["features"]
    assert moments.mean.dtype == moments.covariance.dtype == torch.float64
    np.testing.assert_allclose(moments.covariance, np.cov(features.T), atol=1e-6)


def test_the_reference_is_computed_once(folders, tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("DITBENCH_CACHE", str(tmp_path))
    passes = []
    monkeypatch.setattr(reference, "extract", lambda *args, **how: passes.append(1) or extract(*args, **how))
    first = score(*folders, *tiny, "fid", "kid")
    assert values(score(*folders, *tiny, "fid", "kid")) == values(first) and len(passes) == 1
    score(*folders, *tiny, "is", "fid")  # another output: another entry
    assert len(passes) == 2
    rough = score(*folders, *tiny, "fid", "kid", precision="bfloat16")  # and so is another precision
    assert len(passes) == 3 and {one.settings["precision"] for one in rough.metrics} == {"bfloat16"}
    assert 0 < abs(values(rough)["fid"] / values(first)["fid"] - 1) < 0.1
    for entry in (tmp_path / "references").iterdir():
        entry.write_bytes(entry.read_bytes()[:1000])
    assert values(score(*folders, *tiny, "fid", "kid")) == values(first) and len(passes) == 4


def test_another_network_on_the_same_weights_has_features_of_its_own(folders, tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("DITBENCH_CACHE", str(tmp_path))
    extractor, weights = tiny
    first = score(*folders, *tiny, "fid")
    other = replace(extractor, name="other", build=Scaled)
    assert values(score(*folders, other, weights, "fid"))["fid"] == pytest.approx(9 * values(first)["fid"], rel=1e-6)


class Scaled(Tiny):
    def forward(self, pixels):
        return {**super().forward(pixels), "features": 3 * super().forward(pixels)["features"]}


def test_a_cache_that_can_not_be_written_loses_nothing(folders, tiny, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    whole = score(*folders, *tiny, "fid")
    monkeypatch.setenv("DITBENCH_CACHE", str(tmp_path / "file" / "cache"))
    assert values(score(*folders, *tiny, "fid")) == values(whole)
    assert "can't be written" in caplog.text and "DITBENCH_CACHE" in caplog.text


def test_a_reference_too_large_to_keep_has_moments_of_all_and_features_of_some(folders, tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("DITBENCH_CACHE", str(tmp_path))
    whole = score(*folders, *tiny, "fid", "kid")
    monkeypatch.setattr(reference, "KEPT", 21)
    part = score(*folders, *tiny, "fid", "kid")
    assert values(part)["fid"] == pytest.approx(values(whole)["fid"], rel=1e-6)
    assert [metric.reference_samples for metric in part.metrics] == [24, 21]


def test_images_that_a_small_file_unpacks_to_never_fill_the_memory(folders, tiny, monkeypatch, tmp_path):
    """Batches are as large as memory allows, which changes no number; too many features are told beforehand."""
    whole, seen = score(*folders, *tiny, "fid"), []
    monkeypatch.setenv("DITBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(evaluation, "_LARGEST_BATCH", 5 * 3 * SIZE * SIZE + 1)
    spy = lambda *of, **how: seen.append([len(b) for b in of[1]]) or extract(*of, **how)  # noqa: E731
    monkeypatch.setattr(evaluation, "extract", spy)
    with pytest.raises(BadFile, match="fewer than two"):  # all have been seen
        score(*folders, *tiny, "fid")
    monkeypatch.setattr(evaluation, "extract", extract)
    assert seen == [[5, 5, 5, 5, 4]] and values(score(*folders, *tiny, "fid")) == pytest.approx(values(whole), rel=1e-6)
    monkeypatch.setattr(evaluation, "capacity", lambda device: 1000)
    with pytest.raises(BadFile, match=r"'fake' holds 24 images, whose features take .* give at most \d+\."):
        score(*folders, *tiny, "fid")


def test_a_device_that_is_no_good_is_told_before_anything_is_on_it(folders, tiny, monkeypatch):
    def full(device):
        raise BadValue(f"Device {str(device)!r} is full.")

    monkeypatch.setattr(evaluation, "capacity", full)
    monkeypatch.setattr(evaluation, "load_extractor", None)
    with pytest.raises(BadValue, match=r"^Device 'cpu' is full\.$"):
        score(*folders, *tiny, "fid")


def test_the_floor_stands_beside(folders, tiny, monkeypatch):
    monkeypatch.setattr("ditbench.benchmark.evaluation.MINIMUM", 10)
    found = score(*folders, *tiny, "fid", "is", floors=True)
    assert [floor.protocol for floor in found.floors] == ["fid12/tiny", "is12/tiny"]
    assert all(floor.spread > 0 and floor.settings["random_halves"] == 5 for floor in found.floors)
    assert score(*folders, *tiny, "fid").floors == []


def test_a_data_set_is_a_reference_by_name_whatever_folders_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "digits", np.zeros((40, 8, 8), np.uint8))
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "noise.npz", draw.integers(0, 256, (40, 8, 8, 1), dtype=np.uint8))
    found = score(tmp_path / "noise.npz", "digits", DIGITS, "fid")
    assert found.metrics[0].reference_samples == 1541 and found.reference.name == "digits"
    assert found.samples.count == 40 and found.samples.shape == (1, 8, 8)


def test_jpegs_are_refused_or_marked(folders, tiny, tmp_path):
    fake = write_folder(tmp_path / "fake", crops(COUNT, SIZE, seed=1), suffix=".jpg")
    with pytest.raises(BadFile, match=r"00000\.jpg' was compressed with loss.*`allow_jpeg`"):
        score(fake, folders[1], *tiny, "fid")
    found = score(fake, folders[1], *tiny, "fid", allow_jpeg=True)
    assert found.samples.jpeg and found.metrics[0].protocol == "fid24-jpeg/tiny"


def test_what_can_not_be_scored_is_said_before_anything_is_computed(folders, tmp_path, monkeypatch):
    fake, real = folders
    monkeypatch.setattr("ditbench.benchmark.evaluation.load_extractor", None)  # nothing gets that far
    small = write_folder(tmp_path / "small", crops(COUNT, 16, seed=1))
    few = write_folder(tmp_path / "few", crops(19, SIZE, seed=1))
    for samples, reference_, extractor, message in [
        (small, real, LITE, "reference 'real' has images of 3 x 48 x 48.*the samples are of 3 x 16 x 16"),
        (few, real, LITE, "'few' holds 19 images; metrics need at least 20"),
        (fake, few, LITE, "'few' holds 19 images; metrics need at least 20"),
        (fake, real, DIGITS, r"'digits-cnn' takes images of \(1, 8, 8\)"),
        (small, "digits", LITE, "'digits' does not fit samples of 16 x 16 pixels: digits has images of 8 px, not 16"),
        (fake, "mnist", LITE, "No file, folder or data set named 'mnist'"),
    ]:
        with pytest.raises(DitbenchError, match=message) as caught:
            score(samples, reference_, extractor)
        assert "\n" not in str(caught.value)


def test_metrics_that_do_not_fit_are_refused(folders):
    with pytest.raises(BadValue, match="Metric 'sfid' needs spatial"):
        score(*folders, LITE, "sfid")
    with pytest.raises(BadValue, match="Metric 'knn' needs labels"):
        score(*folders, LITE, "knn")
    with pytest.raises(BadValue, match="A metric stands twice: fid, is, fid"):
        score(*folders, LITE, "fid", "is", "fid")


def test_grey_images_are_seen_as_rgb():
    grey = crops(4, 32, seed=3)[..., :1].transpose(0, 3, 1, 2)
    network, see = load_extractor(LITE), partial(extract, outputs=("features",))
    one = see(network, in_memory("", grey, "").batches(2)).outputs["features"]
    other = see(network, in_memory("", grey.repeat(3, axis=1), "").batches(4)).outputs["features"]
    torch.testing.assert_close(one, other)


def test_an_evaluation_is_read_as_it_was_written(folders, tiny, tmp_path):
    found = score(*folders, *tiny, "fid")
    path = write_evaluation(found, tmp_path)
    assert path.name.startswith("fake-tiny-") and path.name.endswith(EVALUATION_SUFFIX)
    assert read_checked(Evaluation, path) == found
    assert read_records(tmp_path) == []  # a leaderboard's folder may hold evaluations
    odd = replace_name(found, "../../up\n" + 300 * "x")
    assert write_evaluation(odd, tmp_path).parent == tmp_path


def replace_name(evaluation, name):
    return evaluation.model_copy(update={"samples": evaluation.samples.model_copy(update={"name": name})})


def test_an_extractors_record_is_what_the_network_does(folders, inception):
    extractor, weights = inception
    images = torch.from_numpy(next(open_images(folders[1]).batches(4)))
    for chosen, path in ((extractor, weights), (LITE, None)):
        with torch.inference_mode():
            found = load_extractor(chosen, path)(images)
        assert tuple(found) == chosen.outputs


def test_a_checkpoint_scores_what_its_run_scored(toy, tmp_path):
    """The same images in the same order, so the same numbers, from the weights alone."""
    (record,) = campaign.run("tiny", ["toy"], out=tmp_path, device="cpu", raw_weights=True, executor="inline")
    folder, registry = tmp_path / "tiny" / record.run_id, Registry.installed()
    metrics = tuple(registry.metrics[name] for name in ("fid", "kid", "is"))

    def again(weights, architecture="toy:nano", samples=None):
        with temporary_folder() as drawn:
            of = open_checkpoint(folder / weights, architecture, "tiny", registry, drawn, samples=samples, device="cpu")
            request = EvaluationRequest(of.images, of.reference, DIGITS, metrics, "cpu", generated=of.how)
            return evaluate(request, registry)

    found = again("ema.safetensors")
    scored = {name: value for name, value in values(record).items() if name != "knn"}
    assert values(found) == pytest.approx(scored, rel=1e-6)  # an eigenvalue's last digits depend on the threads
    assert found.samples.sha256 == record.sampling.images_sha256 and found.samples.kind == "generated"
    assert found.generated["architecture"] == "toy:nano" and found.generated["sampler"]["steps"] == 2
    assert values(again("raw.safetensors"))["fid"] == pytest.approx(record.raw.metrics[0].value, rel=1e-6)
    assert record.raw.metrics[0].value != record.metrics[0].value
    assert again("ema.safetensors", samples=60).metrics[0].protocol == "fid60/digits-cnn"
    huge = {key: torch.full_like(of, 3e38) for key, of in load_file(folder / "ema.safetensors").items()}
    save_file(huge, folder / "huge.safetensors")
    with pytest.raises(BadFile, match=r"huge\.safetensors' give no images: "):
        again("huge.safetensors")
    with pytest.raises(
        BadFile, match=r"ema\.safetensors' are not of toy:big/2 .*, 10 classes: 'inward\.bias' is of shape"
    ):
        again("ema.safetensors", "toy:big/2")
    with pytest.raises(BadFile, match=r"lacks 2 of 11 tensors, such as 'middle\.1\..*") as told:
        again("ema.safetensors", "toy+depth=2")
    assert "Missing key" not in str(told.value)
    with pytest.raises(BadFile, match=r"record\.json' can't be read"):
        again("record.json")
