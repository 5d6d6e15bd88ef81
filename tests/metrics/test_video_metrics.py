"""Distances of clips: FVD notices motion, frame-wise FID can't; settings say all that such a number hangs on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ditbench.components import Extractor
from ditbench.datasets.examples import Request
from ditbench.datasets.image_sets import in_memory
from ditbench.datasets.moving import load_moving_digits
from ditbench.errors import BadFile, BadValue
from ditbench.metrics import quality
from ditbench.metrics.features import Clips, check_shape, extract, load_extractor, moments_of
from ditbench.metrics.frechet import frechet_distance, jackknife
from ditbench.metrics.reference import source_of
from ditbench.registry import Registry

REGISTRY = Registry.installed()
METRICS, EXTRACTORS = REGISTRY.metrics, REGISTRY.extractors
MOTION, FRAME = EXTRACTORS["motion-cnn"], EXTRACTORS["frame-cnn"]
DATA = load_moving_digits(Request(resolution=16, frames=8))
HELD_OUT = next(DATA.held_out.batches(500))


@pytest.fixture(scope="module")
def see():
    """A function that gives the features of clips, by the network of clips or by that of frames."""
    networks = {of.name: load_extractor(of) for of in (MOTION, FRAME)}

    def see(extractor, clips, outputs=("features",)):
        found = extract(networks[extractor.name], in_memory("", clips, "").batches(100), outputs)
        return replace(found, clips=Clips(8, 1, "training"))

    return see


@pytest.fixture(scope="module")
def real(see):
    """Of 1,000 training clips, by the extractor's name."""
    return {of.name: see(of, DATA.examples.rows[:1000], of.outputs[:1]) for of in (MOTION, FRAME)}


def shuffled(clips):
    draw = np.random.default_rng(0)
    return np.stack([clip[draw.permutation(8)] for clip in clips])


def test_fvd_notices_motion_and_frame_fid_can_not(see, real):
    changed = {
        "shuffled": shuffled(HELD_OUT), "frozen": HELD_OUT[:, :1].repeat(8, axis=1), "reversed": HELD_OUT[:, ::-1],
        "joined": np.concatenate([HELD_OUT[:, :4], np.roll(HELD_OUT, 10, axis=0)[:, 4:]], axis=1),
    }  # fmt: skip
    fvd = {name: frechet_distance(see(MOTION, clips), real["motion-cnn"]).value for name, clips in changed.items()}
    floor = frechet_distance(see(MOTION, HELD_OUT), real["motion-cnn"])
    assert 0 < floor.value < 4 and 0 < floor.spread < floor.value
    assert fvd["shuffled"] > 50 * floor.value and min(fvd["frozen"], fvd["joined"]) > 10 * floor.value
    assert fvd["reversed"] == pytest.approx(floor.value, abs=3 * floor.spread)  # of the same digits, as likely
    by_frames = [frechet_distance(see(FRAME, changed[name]), real["frame-cnn"]) for name in ("shuffled", "reversed")]
    of_frames = frechet_distance(see(FRAME, HELD_OUT), real["frame-cnn"])
    assert [one.value for one in by_frames] == pytest.approx([of_frames.value] * 2, rel=1e-3)


def test_an_extractor_of_images_sees_each_frame_as_one(see):
    network, clips = load_extractor(FRAME), HELD_OUT[:20]
    found = see(FRAME, clips, ("features", "logits"))
    alone = extract(network, [clips.reshape(-1, 1, 16, 16)], ("features",))
    assert (found.count, len(found), alone.count) == (20, 20, 160)
    assert found.outputs["features"].shape == (20, 8, 64) and found.outputs["logits"].shape == (20, 8, 10)
    torch.testing.assert_close(found.outputs["features"].flatten(0, 1), alone.outputs["features"])
    ours, theirs = found.moments["features"], alone.moments["features"]
    assert (ours.count, theirs.count) == (20, 160)
    torch.testing.assert_close((ours.mean, ours.covariance), (theirs.mean, theirs.covariance), rtol=1e-7, atol=1e-6)


def test_the_jackknife_leaves_out_whole_clips(see, real):
    features = see(FRAME, HELD_OUT[:50]).outputs["features"]
    against = real["frame-cnn"].moments_of("features")
    found = jackknife(features, against)
    order = np.random.default_rng(quality.SEED).permutation(50)
    rest = features[torch.from_numpy(np.setdiff1d(order, np.array_split(order, 10)[0]))]
    kept = replace(real["frame-cnn"], outputs={"features": rest}, moments={"features": moments_of([rest])})
    assert len(found) == 10 and found[0] == pytest.approx(frechet_distance(kept, real["frame-cnn"]).value, rel=1e-6)


def test_a_measurement_says_what_an_fvd_hangs_on(see, real):
    names = ("fvd", "kid", "precision", "recall")
    fake = see(MOTION, HELD_OUT[:200], ("features", "logits"))
    found = quality.measure_all([METRICS[name] for name in names], fake, real["motion-cnn"], MOTION, "ab" * 32)
    about = {"frames": 8, "interval": 1, "resize": "none", "split": "training"}
    assert found[0].protocol == "fvd200/motion-cnn" and found[0].settings == about
    assert (found[0].samples, found[0].reference_samples) == (200, 1000)
    assert (found[0].reference_sha256, found[0].features_sha256) == ("ab" * 32, MOTION.weights.sha256)
    assert all(about.items() <= one.settings.items() for one in found)
    (alone,) = quality.measure_all([METRICS["is"]], fake, real["motion-cnn"], MOTION)
    assert alone.settings == {"splits": 10, "frames": 8, "interval": 1, "resize": "none"} and alone.value > 3
    floor, _ = quality.floors([METRICS["fvd"], METRICS["recall"]], real["motion-cnn"], MOTION, samples=200)
    assert 0 < floor.value < 10 and floor.settings == {**about, "random_parts": 5}
    (by_frames,) = quality.measure_all([METRICS["frame-fid"]], see(FRAME, HELD_OUT[:200]), real["frame-cnn"], FRAME)
    assert by_frames.protocol == "frame-fid200/frame-cnn" and by_frames.reference_samples == 1000
    assert by_frames.settings["frames"] == 8 and by_frames.value < 3


@pytest.mark.parametrize(
    ("metric", "extractor", "frames", "fault"),
    [
        ("fvd", "motion-cnn", 1, "needs clips, and these are images"),
        ("frame-fid", "frame-cnn", 1, "needs clips, and these are images"),
        ("moves", "motion-cnn", 1, "needs clips, and these are images"),
        ("fid", "motion-cnn", 8, "needs images, and these are clips"),
        ("fid", "motion-cnn", 1, "needs an extractor of images here; 'motion-cnn' sees clips"),
        ("kid", "motion-cnn", 1, "needs an extractor of images here; 'motion-cnn' sees clips"),
        ("fvd", "frame-cnn", 8, "needs an extractor of clips here; 'frame-cnn' sees images"),
        ("memorised", "frame-cnn", 8, "needs an extractor of clips here; 'frame-cnn' sees images"),
        ("frame-fid", "motion-cnn", 8, "needs an extractor of images here; 'motion-cnn' sees clips"),
    ],
)
def test_what_does_not_fit_is_told_in_a_line(metric, extractor, frames, fault):
    with pytest.raises(BadValue, match=f"Metric '{metric}' {fault}"):
        METRICS[metric].check_fits(EXTRACTORS[extractor], frames)


@pytest.mark.parametrize(
    ("metric", "extractor"),
    [("fvd", MOTION), ("kid", MOTION), ("memorised", MOTION), ("moves", FRAME), ("knn", FRAME), ("frame-fid", FRAME)],
    ids=lambda one: getattr(one, "name", one),
)
def test_what_fits(metric, extractor):
    METRICS[metric].check_fits(extractor, 8)


def test_shapes_that_an_extractor_does_not_understand(tmp_path):
    check_shape(MOTION, (8, 1, 16, 16))
    check_shape(FRAME, (5, 1, 16, 16))
    with pytest.raises(BadValue, match=r"takes clips of \(8, 1, 16, 16\), not \(16, 1, 16, 16\)"):
        check_shape(MOTION, (16, 1, 16, 16))
    with pytest.raises(BadValue, match=r"takes images of \(1, 16, 16\), not \(1, 8, 8\)"):
        check_shape(FRAME, (8, 1, 8, 8))
    with pytest.raises(BadValue, match="is no \\(C, H, W\\), or of clips"):
        replace(MOTION, frames=1)
    with pytest.raises(BadFile, match=r"8 x 1 x 16 x 16 \(frames, channels, height, width\)"):
        source_of(DATA.images).check_shape((4, 1, 16, 16))
    assert isinstance(MOTION, Extractor) and MOTION.clips and not FRAME.clips
