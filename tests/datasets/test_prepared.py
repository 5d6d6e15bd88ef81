import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from pictures import CLASSES, picture, write_autoencoder, write_pictures

from ditbench.datasets import prepared
from ditbench.datasets.autoencoder import load_autoencoder
from ditbench.datasets.crop import crop_of, hash_images
from ditbench.datasets.examples import Request
from ditbench.datasets.folder import list_folder
from ditbench.datasets.prepare import prepare
from ditbench.datasets.prepared import compare_source, load_folder, load_hub, load_latents, load_stream, made_of, verify
from ditbench.datasets.shards import AUTOENCODER, MANIFEST
from ditbench.errors import BadFile, DitbenchError

SIDE = 16


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return load_autoencoder(str(write_autoencoder(tmp_path_factory.mktemp("vae") / "small")))


@pytest.fixture
def pictures(tmp_path):
    write_pictures(tmp_path / "pictures" / "val", 2)
    return write_pictures(tmp_path / "pictures" / "train", 4).parent


@pytest.fixture
def latents(pictures, vae, tmp_path):
    prepare(list_folder(pictures), tmp_path / "latents", SIDE, vae)
    return tmp_path / "latents"


def ask(place, resolution=SIDE, **more):
    return Request(resolution=resolution, place=str(place), **more)


def crops(pictures):
    raw = list_folder(pictures)
    return np.stack([crop_of(raw.read(n), raw.title(n), SIDE) for n in range(len(raw))])


def all_of(images, size=5):
    return np.concatenate(list(images.batches(size)))


def test_latents(latents, pictures, vae):
    data = load_latents(ask(latents))
    assert (data.space, data.examples.shape, data.examples.views, len(data.examples)) == ("latent", (4, 4, 4), 2, 12)
    assert (data.name, data.class_names, data.latent_map) == ("pictures", CLASSES, vae.facts.latent_map)
    assert data.autoencoder == vae.facts and vae.facts.name == "small"
    assert load_autoencoder(str(data.autoencoder_folder)).facts.sha256 == vae.facts.sha256
    np.testing.assert_array_equal(all_of(data.images), crops(pictures))
    assert data.held_out.count == 6


def test_latents_outlive_their_images(latents, pictures):
    before = load_latents(ask(latents))
    (pictures / "train" / "fish" / "000.png").unlink()
    after = load_latents(ask(latents))
    shutil.rmtree(pictures)
    gone = load_latents(ask(latents))
    assert gone.images is after.images is after.held_out is None
    assert after.sha256 == gone.sha256 == before.sha256
    assert (before.images_gone, "other files" in after.images_gone) == ("", True)
    assert "No such file" in gone.images_gone


def test_images_of_latents_that_changed_under_their_names_are_refused(latents, pictures):
    before, path = load_latents(ask(latents)).images.hash(), pictures / "train" / "fish" / "000.png"
    os.utime(path, (1, 1))
    assert load_latents(ask(latents)).images.hash() == before
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadFile, match=r"changed since .*latents' was prepared"):
        load_latents(ask(latents)).images.hash()


def test_damaged_held_out_images_are_never_left_out(pictures):
    (pictures / "val" / "fowl" / "002.png").write_bytes(b"none")
    held_out = load_folder(ask(pictures, skip_bad=True)).held_out
    with pytest.raises(BadFile, match=r"002\.png.*held-out images are never left out"):
        all_of(held_out)


def test_what_is_said_of_the_cache_does_not_name_out(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("DITBENCH_CACHE", str(tmp_path / "cache"))
    load_folder(ask(pictures))
    shards = [shard for folder in (tmp_path / "cache" / "data").iterdir() for shard in folder.glob("shard-*")]
    assert len(shards) == 2  # what is held out has a folder of its own
    for shard in shards:
        os.truncate(shard, 50)
    with pytest.raises(BadFile, match=r"can't be read .* Remove it and give the command again\.$"):
        load_folder(ask(pictures))
    monkeypatch.setenv("DITBENCH_CACHE", "/proc/none")
    with pytest.raises(DitbenchError, match=r"The cache folder .* DITBENCH_CACHE names another"):
        load_folder(ask(pictures))


def test_a_manifest_of_others_is_left_out_and_told(tmp_path, caplog):
    (write_pictures(tmp_path / "pictures", 2) / MANIFEST).write_text("{}")
    assert len(load_folder(ask(tmp_path / "pictures")).examples) == 6
    assert [MANIFEST in said for said in caplog.messages] == [True]


def test_images_are_prepared_once_wherever_they_lie(pictures, tmp_path, monkeypatch):
    heard = []
    data = load_folder(ask(pictures, report=lambda done, of: heard.append((done, of))))
    assert heard[-1] == (18, 18) and len(data.aside) == 6 and data.aside_labelled
    np.testing.assert_array_equal(all_of(data.images), crops(pictures))
    assert (data.space, data.examples.shape, len(data.examples), data.held_out.count) == ("pixel", (3, 16, 16), 12, 6)
    pictures.rename(tmp_path / "moved")
    monkeypatch.setattr("ditbench.datasets.crop.centre_crop", None)
    again = load_folder(ask(tmp_path / "moved"))
    assert (again.sha256, again.images.hash()) == (data.sha256, data.images.hash())
    assert again.name == "moved"


def test_another_resolution_is_prepared_apart(pictures):
    assert load_folder(ask(pictures, 8)).examples.shape == (3, 8, 8)
    assert load_folder(ask(pictures)).examples.shape == (3, 16, 16)


def test_pixels_that_were_prepared(pictures, tmp_path):
    prepare(list_folder(pictures), tmp_path / "pixels", SIDE)
    data = load_folder(ask(tmp_path / "pixels"))
    np.testing.assert_array_equal(all_of(data.images), crops(pictures))
    assert (data.name, data.held_out.count) == ("pictures", 6)


def test_bad_images_are_counted(pictures, tmp_path, vae):
    (pictures / "train" / "fowl" / "005.png").write_bytes(b"none")
    with pytest.raises(BadFile, match=r"005\.png"):
        load_folder(ask(pictures))
    data = load_folder(ask(pictures, skip_bad=True))  # goes on in the same folder
    with pytest.raises(BadFile, match=r"005\.png"):
        load_folder(ask(pictures))
    assert (data.skipped, len(data.examples), data.images.count) == (1, 11, 11)
    prepare(list_folder(pictures), tmp_path / "latents", SIDE, vae, skip_bad=True)
    data = load_latents(ask(tmp_path / "latents"))
    assert (data.skipped, len(data.examples)) == (1, 11)
    assert len(all_of(data.images)) == 11


def test_images_without_classes(tmp_path):
    data = load_folder(ask(write_pictures(tmp_path / "flat", 3, classes=())))
    assert (data.class_names, data.examples.labels.tolist()) == ((), [0, 0, 0])


def test_a_hub_data_set_is_prepared_like_a_folder(pictures, monkeypatch):
    asked = []

    def list_hub(name, skip_bad, offline):
        asked.append((name, skip_bad, offline))
        return replace(list_folder(pictures), name=name, place=name)

    monkeypatch.setattr("ditbench.datasets.sources.list_hub", list_hub)
    data = load_hub(ask("owner/fishes", offline=True))
    load_stream(ask("owner/fishes"))
    assert asked == [("hf:owner/fishes", False, True), ("hf-stream:owner/fishes", False, False)]
    assert data.name == "hf:owner/fishes"
    np.testing.assert_array_equal(all_of(data.images), crops(pictures))


def test_the_wrong_kind_of_folder_is_told_with_the_way_out(latents, pictures, tmp_path):
    prepare(list_folder(pictures), tmp_path / "pixels", SIDE)
    for load, place, fault in (
        (load_latents, pictures, "holds no latents"),
        (load_latents, tmp_path / "pixels", "holds pixels"),
        (load_folder, latents, "holds latents"),
    ):
        with pytest.raises(BadFile, match=f"{fault}.*ditbench data prepare"):
            load(ask(place))
    for load, place in ((load_latents, latents), (load_folder, tmp_path / "pixels")):
        with pytest.raises(BadFile, match="16 pixels, but 32"):
            load(ask(place, 32))


def test_verifying_finds_other_statistics_and_another_autoencoder(latents, tmp_path):
    verify(latents)
    path = latents / MANIFEST
    text = path.read_text()
    path.write_text(text.replace(str(prepared.open_prepared(latents).manifest.std[1]), "1.25"))
    with pytest.raises(BadFile, match="other statistics"):
        verify(latents)
    path.write_text(text)
    shutil.rmtree(latents / AUTOENCODER)
    write_autoencoder(latents / AUTOENCODER, seed=1)
    with pytest.raises(BadFile, match="not the autoencoder"):
        verify(latents)


def swap_classes(train):
    for old, new in (("fish", "x"), ("fowl", "fish"), ("x", "fowl")):
        (train / old).rename(train / new)


def swap_files(train):
    for old, new in (("fish/000", "x"), ("fish/001", "fish/000"), ("x", "fish/001")):
        (train / f"{old}.bmp").rename(train / f"{new}.bmp")


def write_over(train):
    (train / "fish" / "000.bmp").write_bytes((train / "fish" / "001.bmp").read_bytes())
    os.utime(train / "fish" / "000.bmp", (1, 1))


@pytest.fixture
def alike(tmp_path, monkeypatch):
    """Pictures of one size in bytes, with one time, and of the same names in each class; the cache knows none."""
    monkeypatch.setenv("DITBENCH_CACHE", str(tmp_path / "cache"))
    for label, name in enumerate(CLASSES):
        (tmp_path / "alike" / "train" / name).mkdir(parents=True)
        for number in range(2):
            path = tmp_path / "alike" / "train" / name / f"{number:03d}.bmp"
            picture(10 * label + number).save(path)
            os.utime(path, (1, 1))
    return tmp_path / "alike"


@pytest.mark.parametrize("change", [swap_classes, swap_files, write_over])
def test_images_that_changed_and_kept_size_and_time_are_other_data(alike, change):
    before, listed = load_folder(ask(alike)), list_folder(alike)
    change(alike / "train")
    after, again = load_folder(ask(alike)), list_folder(alike)
    assert again.listing == listed.listing
    assert after.sha256 != before.sha256
    np.testing.assert_array_equal(all_of(after.images), crops(alike))


def test_a_copy_is_read_once_and_known_again(alike, tmp_path, monkeypatch):
    before = load_folder(ask(alike))
    shutil.copytree(alike, tmp_path / "copy")
    assert list_folder(tmp_path / "copy").stamp != list_folder(alike).stamp
    monkeypatch.setattr("ditbench.datasets.crop.centre_crop", None)
    assert load_folder(ask(tmp_path / "copy")).sha256 == before.sha256
    monkeypatch.setattr("ditbench.datasets.worker.digests", None)
    for place in (alike, tmp_path / "copy", alike):
        assert load_folder(ask(place)).sha256 == before.sha256


def test_images_of_latents_are_read_once_where_they_may_have_changed(alike, vae, tmp_path, monkeypatch):
    prepare(list_folder(alike), tmp_path / "latents", SIDE, vae)
    before = load_latents(ask(tmp_path / "latents")).images.hash()
    os.utime(alike / "train" / "fish" / "000.bmp", (2, 2))
    assert load_latents(ask(tmp_path / "latents")).images.hash() == before
    monkeypatch.setattr("ditbench.datasets.crop.hash_images", None)
    assert load_latents(ask(tmp_path / "latents")).images.hash() == before
    monkeypatch.setattr("ditbench.datasets.crop.hash_images", hash_images)
    swap_classes(alike / "train")
    with pytest.raises(BadFile, match=r"changed since .*latents' was prepared"):
        load_latents(ask(tmp_path / "latents")).images.hash()


def test_data_are_called_by_the_same_hash_as_ever(alike):
    """Published runs have it in theirs."""
    assert load_folder(ask(alike)).sha256 == "4bd84785d41cffd5fe043640c1ec9c9f45b3249ce02dd6f8a52255024a465a22"


def test_comparing_reads_all_images(alike, tmp_path):
    load_folder(ask(alike))
    prepare(list_folder(alike), tmp_path / "pixels", SIDE)
    for place in (made_of(str(alike)), tmp_path / "pixels"):
        assert "the 6 images in" in compare_source(verify(place))
    write_over(alike / "train")
    with pytest.raises(BadFile, match=r"000\.bmp' is no longer the image that"):
        compare_source(verify(tmp_path / "pixels"))
    with pytest.raises(BadFile, match=r"Nothing is prepared of .*alike' as it is now"):
        made_of(str(alike))
    shutil.rmtree(alike)
    assert "not compared: The folder" in compare_source(verify(tmp_path / "pixels"))
