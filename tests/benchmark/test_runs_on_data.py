"""Whole runs on data that is not bundled: latents, folders, noise; on another ruleset; measured on the way."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import CLASSES, write_autoencoder, write_pictures
from PIL import Image
from small_tracks import track

from ditbench import campaign
from ditbench.datasets.autoencoder import Codec, load_autoencoder
from ditbench.datasets.folder import list_folder
from ditbench.datasets.prepare import prepare
from ditbench.errors import BadFile, BadValue
from ditbench.leaderboard.boards import boards
from ditbench.records.record import read_record
from ditbench.records.validation.known import Known
from ditbench.records.validation.metrics import metrics_of
from ditbench.registry import Registry
from ditbench.tracks.track import load_track

pytestmark = [pytest.mark.usefixtures("toy"), pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def latents(tmp_path_factory):
    """Pictures in a folder with train and val, and their latents."""
    place = tmp_path_factory.mktemp("latents")
    write_pictures(place / "pictures" / "train", 10)
    write_pictures(place / "pictures" / "val", 8)
    autoencoder = load_autoencoder(str(write_autoencoder(place / "vae")), offline=True)
    prepare(list_folder(place / "pictures"), place / "prepared", 16, autoencoder, shard_size=7)
    return place


def run(file, out, *architectures, **more):
    return campaign.run(file, architectures or ["toy"], out=out, device="cpu", executor="inline", **more)


def test_a_run_on_latents_decodes_its_samples_and_compares_them_with_the_pictures(tmp_path, latents):
    file = track(tmp_path, "small", "latent", dataset="latents", resolution=16, flip=True, downsampling=4)
    (record,) = run(file, tmp_path / "out", data=str(latents / "prepared"), keep_samples=True)
    assert record.status == "finished" and not record.deviations
    assert record.data.shape == (4, 4, 4) and record.data.examples == 30 and record.data.classes == 3
    assert record.data.autoencoder == "vae" and len(record.data.autoencoder_sha256) == 64
    assert record.metrics[0].protocol == "kid20/efficientnet-lite0" and record.metrics[0].reference_samples == 30
    assert record.floors[0].samples == 20 and record.floors[0].settings["random_parts"] == 5  # of 54 pictures
    assert record.sampling.decode_seconds > 0
    folder = tmp_path / "out" / "small" / record.run_id
    with np.load(folder / "samples.npz") as samples:
        assert samples["arr_0"].shape == (20, 16, 16, 3) and samples["arr_0"].std() > 1
    with Image.open(folder / "samples.png") as grid:
        assert grid.height > 3 * 64
    text = (folder / "record.json").read_text()
    assert str(tmp_path) not in text and str(latents) not in text, "no path of the machine"


def test_decoder_and_extractor_compute_in_the_tracks_precision(tmp_path, latents, monkeypatch):
    file = track(tmp_path, "rough", "latent", dataset="latents", resolution=16, downsampling=4)
    exact, decode, seen = load_track(file), Codec.decode, set()
    monkeypatch.setattr(Codec, "decode", lambda coder, x: seen.add(coder.precision) or decode(coder, x))
    Path(file).write_text(Path(file).read_text().replace("samples = 20", 'samples = 20\nprecision = "bfloat16"'))
    (record,) = run(file, tmp_path / "out", data=str(latents / "prepared"))
    assert seen == {"bfloat16"} and record.track_hash != exact.hash
    assert {one.settings["precision"] for one in (*record.metrics, *record.floors)} == {"bfloat16"}
    known = Known(Registry.installed())
    assert not list(metrics_of(record, known))
    track_of_it = {"track": exact, "track_hash": exact.hash}
    (told, *_) = metrics_of(record.model_copy(update=track_of_it), known)
    assert told == 'metrics.0.settings.precision is "bfloat16", should be none (its track\'s)'


def test_what_is_not_the_tracks_data_is_run_and_not_ranked(tmp_path, latents):
    asked = {"images": 1281167, "classes": 1000, "autoencoder": "stabilityai/sd-vae-ft-mse", "channels": 4}
    file = track(tmp_path, "big", "latent", dataset="latents", resolution=16, downsampling=8, **asked)
    (record,) = run(file, tmp_path / "out", data=str(latents / "prepared"))
    assert record.status == "finished"
    told = "; ".join(record.deviations)
    for words in ("30 training images, not 1281167", "3 classes, not 1000", "latents of 'vae'", "examples of 4 x 4"):
        assert words in told
    (board,) = boards([record])
    assert not board.ranked and "unranked" in (tmp_path / "out" / "big" / "leaderboard.md").read_text()


def test_latents_without_their_pictures_need_a_reference(tmp_path, latents):
    file = track(tmp_path, "gone", "latent", dataset="latents", resolution=16, downsampling=4)
    alone = shutil.copytree(latents / "prepared", tmp_path / "alone")
    plan, manifest = alone / "plan.json", alone / "manifest.json"
    for path in (plan, manifest):
        path.write_text(path.read_text().replace(str(latents / "pictures"), str(tmp_path / "nowhere")))
    with pytest.raises(BadFile, match=r"gone or changed.* Give real images.* by `reference`"):
        run(file, tmp_path / "out", data=str(alone))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "real.npz", pixels)
    (record,) = run(file, tmp_path / "out", data=str(alone), reference=str(tmp_path / "real.npz"))
    assert record.metrics[0].reference_samples == 40 and record.reference_sha256 == record.metrics[0].reference_sha256
    np.savez(tmp_path / "wide.npz", pixels[:, :8, :8])
    with pytest.raises(BadFile, match=r"'wide.npz' has images of 3 x 8 x 8.*the samples are of 3 x 16 x 16"):
        run(file, tmp_path / "out", data=str(alone), reference=str(tmp_path / "wide.npz"))


def test_a_folder_of_pictures_is_prepared_once_and_mirrored_at_will(tmp_path, latents):
    file = track(tmp_path, "folder", dataset="image-folder", resolution=8, flip=True)
    heard = []

    class Ears(campaign.Silent):
        def checking(self, progress):
            heard.append(progress.stage)

    (record,) = run(file, tmp_path / "out", data=str(latents / "pictures"), listener=Ears())
    assert record.status == "finished" and record.data.shape == (3, 8, 8) and "data" in heard and "reference" in heard
    (again,) = run(file, tmp_path / "out", data=str(latents / "pictures"))
    assert again == record
    broken = shutil.copytree(latents / "pictures", tmp_path / "broken")
    (broken / "train" / CLASSES[0] / "000.png").write_bytes(b"no picture")
    with pytest.raises(BadFile, match=r"000\.png"):
        run(file, tmp_path / "out", data=str(broken))
    (skipped,) = run(file, tmp_path / "out", data=str(broken), skip_bad=True)
    assert skipped.data.skipped == 1 and "1 unreadable images left out" in skipped.deviations


def test_noise_is_for_rehearsals_and_has_no_quality(tmp_path):
    asked = {"channels": 3, "classes": 5, "images": 100}
    file = track(tmp_path, "noise", dataset="image-folder", resolution=8, **asked)
    (record,) = run(file, tmp_path / "out", data="synthetic", eval_at=[0.5])
    assert record.status == "finished" and not record.metrics and not record.floors and record.left_out
    assert record.deviations[0] == "synthetic noise in place of data"
    assert record.sampling.batch_images and record.training.steps == 3


def test_the_native_ruleset_trains_otherwise_and_stands_on_a_board_of_its_own(tmp_path):
    matched = run("tiny", tmp_path, "dit", budget="2-steps")
    native = run("tiny", tmp_path, "dit", budget="2-steps", ruleset="native")
    assert (native[0].recipe.learning_rate, native[0].recipe.decay) == (1e-4, "constant")
    assert native[0].track == matched[0].track and native[0].metrics[0].value != matched[0].metrics[0].value
    assert [board.protocol.ruleset for board in boards([*matched, *native])] == ["matched", "native"]
    with pytest.raises(BadValue, match="toy"):
        run("tiny", tmp_path, "toy", ruleset="native")


def test_milestones_are_measured_on_the_way_and_change_nothing(tmp_path):
    (plain,) = run("tiny", tmp_path / "plain", budget="8-steps")
    (record,) = run("tiny", tmp_path / "curve", budget="8-steps", eval_at=[0.25, 0.5])
    assert [(m.at, m.steps, m.images) for m in record.milestones] == [(0.25, 2, 32), (0.5, 4, 64)]
    assert record.milestones[0].metrics[0].value != record.milestones[1].metrics[0].value
    assert record.milestones[0].flops == 32 * 2 * record.cost.training_macs_per_image
    assert record.training.evaluation_seconds > 0 == plain.training.evaluation_seconds
    assert [m.value for m in record.metrics] == [m.value for m in plain.metrics]
    folder = tmp_path / "curve" / "tiny" / record.run_id
    assert (folder / "at-25-percent.png").exists() and read_record(folder / "record.json") == record
    assert run("tiny", tmp_path / "curve", budget="8-steps") == [record], "milestones are no other run"
    with pytest.raises(BadValue, match=r"was not measured at 75%; `force` trains it again"):
        run("tiny", tmp_path / "curve", budget="8-steps", eval_at=[0.25, 0.75])


def test_other_samples_or_features_than_the_tracks_are_not_ranked(tmp_path):
    (record,) = run("tiny", tmp_path, budget="2-steps", samples=24, features="digits-cnn")
    assert record.deviations == ["24 samples, not 40"] and record.metrics[0].protocol == "fid24/digits-cnn"
    with pytest.raises(BadValue, match=r"evaluation|samples"):
        run("tiny", tmp_path, budget="2-steps", samples=5)


def test_mup_is_the_plugins_own_at_the_width_that_a_ladder_is_around(tmp_path):
    chosen = ["uvit:nano", "uvit:nano-narrow"]
    plain = run("tiny", tmp_path, *chosen, budget="3-steps")
    scaled = run("tiny", tmp_path, *chosen, budget="3-steps", parametrization="mup")
    losses = [[one.training.final_loss for one in records] for records in (plain, scaled)]
    assert losses[0][0] == losses[1][0] and losses[0][1] != losses[1][1]
    assert all(record.deviations == ["parametrization mup, not standard"] for record in scaled)
    assert len(boards([*plain, *scaled])) == 2
    folder = tmp_path / "tiny" / scaled[1].run_id
    assert read_record(folder / "record.json") == scaled[1]


def test_flops_are_a_budget(tmp_path):
    (record,) = run("tiny", tmp_path, budget="1e9-flops")
    per_step = 16 * 2 * record.cost.training_macs_per_image
    assert record.training.flops == record.training.steps * per_step
    assert record.training.flops >= 1e9 > record.training.flops - per_step
    assert record.budget == "1e9-flops" and torch.isfinite(torch.tensor(record.training.final_loss))


def test_pixels_alone_can_judge_a_folder_without_val(tmp_path):
    """Such a run once trained, and failed at its end: halves of no features have no images."""
    write_pictures(tmp_path / "pictures", 8)
    file = track(tmp_path, "alone", dataset="image-folder", resolution=16)
    text = Path(file).read_text().replace('"kid", "is"]', '"knn"]')
    Path(file).write_text(text.replace("target = 2.0\n", ""))
    (record,) = run(file, tmp_path / "out", data=str(tmp_path / "pictures"))
    assert record.status == "finished", record.reason
    assert [(one.protocol, one.reference_samples) for one in record.metrics] == [("knn20/raw-pixels", 24)]
    (floor,) = record.floors
    assert floor.settings["random_halves"] == 5 and floor.reference_sha256 == record.data_sha256
