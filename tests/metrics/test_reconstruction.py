"""How close decoded latents are to held-out images: rFID and PSNR."""

import math

import numpy as np
import pytest
import torch
from pictures import opened, picture, write_kind, write_pictures

from ditbench.datasets.crop import crop_of
from ditbench.datasets.examples import Request
from ditbench.datasets.folder import list_folder
from ditbench.datasets.held_out import prepare
from ditbench.datasets.prepare import keep_reconstruction
from ditbench.datasets.prepared import load_latents
from ditbench.datasets.shards import read_manifest
from ditbench.errors import BadFile, BadValue
from ditbench.metrics.features import load_extractor
from ditbench.metrics.reconstruction import check_measurable, measure_reconstruction
from ditbench.registry import Registry

SIDE = 16
EXTRACTOR = Registry.installed().extractors["efficientnet-lite0"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    return load_extractor(EXTRACTOR)


def made(place, kind, held_out=2, **changes):
    """Latents of two pictures of each class, and of so many held-out ones."""
    write_pictures(place / "pictures" / "train", 2)
    if held_out:
        write_pictures(place / "pictures" / "val", held_out)
    codec = opened(write_kind(kind, place / kind, **changes))
    prepare(list_folder(place / "pictures"), place / "latents", SIDE, codec, skip_bad=bool(held_out))
    return place / "latents", codec


def test_the_identity_is_at_the_floor_of_all(tmp_path, network):
    folder, _ = made(tmp_path, "identity")
    heard = []
    found = measure_reconstruction(folder, EXTRACTOR, network, CPU, report=lambda *told: heard.append(told))
    assert abs(found.rfid) < 1e-3 and found.psnr is None and found.images == 6
    assert heard[-1] == (12, 12) and heard == sorted(heard)


def test_what_is_measured_is_what_is_written_down_once_and_carried_along(tmp_path, network):
    folder, codec = made(tmp_path, "kl", scaling_factor=0.7, shift_factor=0.3)
    raw = list_folder(tmp_path / "pictures").held_out
    pixels = torch.from_numpy(np.stack([crop_of(raw.read(n), raw.title(n), SIDE) for n in range(len(raw))]))
    decoded = codec.network.decode(codec.encode(pixels)[0].half().float()).clamp(-1, 1)
    error = (((decoded + 1) * 127.5).round() - pixels).square().mean()
    found = measure_reconstruction(folder, EXTRACTOR, network, CPU, batch_size=4)
    assert found.psnr == pytest.approx(10 * math.log10(255**2 / error), abs=0.01)
    assert found.rfid > 1 and found.features_sha256 == EXTRACTOR.weights.sha256

    before = read_manifest(folder)
    keep_reconstruction(folder, found.model_copy(update={"features": "another"}))
    for psnr in (1.0, found.psnr):
        keep_reconstruction(folder, found.model_copy(update={"psnr": psnr}))
    after = read_manifest(folder)
    assert [one.features for one in after.reconstruction] == ["another", "efficientnet-lite0"]
    assert after.reconstruction[1] == found and after.sha256 == before.sha256
    assert after.model_copy(update={"reconstruction": ()}) == before
    data = load_latents(Request(resolution=SIDE, space="latent", place=str(folder)))
    assert data.reconstruction == after.reconstruction
    codec_again = prepare(list_folder(tmp_path / "pictures"), folder, SIDE, codec, skip_bad=True)
    assert codec_again == after, "preparing again, with nothing to do, forgets nothing"


def test_held_out_images_that_were_left_out_are_left_out_here(tmp_path, network):
    (tmp_path / "pictures" / "val" / "frog").mkdir(parents=True)
    (tmp_path / "pictures" / "val" / "frog" / "bad.png").write_bytes(b"")
    folder, _ = made(tmp_path, "identity")
    found = measure_reconstruction(folder, EXTRACTOR, network, CPU)
    assert found.images == 6 and found.psnr is None, "else images and latents are not of one number"


def test_what_can_not_be_measured_is_one_line(tmp_path, network):
    folder, _ = made(tmp_path / "none", "identity", held_out=0)
    with pytest.raises(BadFile, match=r"has no latents of held-out images: put some into val/ beside train/\.$"):
        check_measurable(folder)
    prepare(list_folder(tmp_path / "none" / "pictures"), tmp_path / "pixels", SIDE)
    with pytest.raises(BadValue, match=r"holds pixels, which no autoencoder has made: there is nothing to measure\.$"):
        check_measurable(tmp_path / "pixels")
    folder, _ = made(tmp_path / "gone", "identity")
    picture(99, (17, 24)).save(tmp_path / "gone" / "pictures" / "val" / "frog" / "more.png")
    with pytest.raises(BadFile, match=r"^The held-out images of .*latents' are gone or changed\.$"):
        measure_reconstruction(folder, EXTRACTOR, network, CPU)
