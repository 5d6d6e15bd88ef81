"""Whole runs on the latents of every kind of autoencoder, normalised by channel."""

import json

import numpy as np
import pytest
import torch
from pictures import of_kinds, opened, write_kind, write_pictures
from small_tracks import track

from ditbench import campaign
from ditbench.datasets.folder import list_folder
from ditbench.datasets.held_out import prepare
from ditbench.datasets.identity import Identity
from ditbench.datasets.prepare import keep_reconstruction
from ditbench.datasets.shards import read_manifest
from ditbench.leaderboard.protocol import protocol_of
from ditbench.records.facts import Reconstruction
from ditbench.records.record import read_record
from ditbench.records.validation.known import Known
from ditbench.records.validation.metrics import metrics_of
from ditbench.registry import Registry

pytestmark = [pytest.mark.usefixtures("toy"), pytest.mark.timeout(240)]
FACTORS = {"dc": 4, "rae": 8, "identity": 1}  # test_runs_on_data has kl
FLOOR = Reconstruction(
    features="efficientnet-lite0", features_sha256="0" * 64, rfid=9.5, psnr=20.5, images=6, images_sha256="1" * 64
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    place = tmp_path_factory.mktemp("latents")
    write_pictures(place / "pictures" / "train", 7)
    write_pictures(place / "pictures" / "val", 7)
    return place


def run(file, out, data):
    return campaign.run(file, ["toy"], out=out, device="cpu", executor="inline", data=str(data), keep_samples=True)


@pytest.mark.parametrize("kind", of_kinds(FACTORS))
def test_a_run_on_latents_of_every_kind_decodes_its_samples(kind, tmp_path, pictures, monkeypatch):
    seen = []
    monkeypatch.setattr(Identity, "decode", lambda self, latents: seen.append(latents.clone()) or latents)
    codec = opened(write_kind(kind, tmp_path / kind))
    prepare(list_folder(pictures / "pictures"), tmp_path / "prepared", 16, codec)
    keep_reconstruction(tmp_path / "prepared", FLOOR)
    head = f"trained_with = {json.dumps(list(codec.facts.trained_with))}"
    about = {"resolution": 16, "downsampling": FACTORS[kind], "flip": True, "normalise": "channel"}
    file = track(tmp_path, kind, "latent", head=head, dataset="latents", **about)
    (record,) = run(file, tmp_path / "out", tmp_path / "prepared")
    assert record.status == "finished" and not record.deviations
    assert record.data.autoencoder_sha256 == codec.facts.sha256 and record.data.reconstruction == (FLOOR,)
    assert record.data.shape == (codec.facts.channels, 16 // FACTORS[kind], 16 // FACTORS[kind])
    assert read_record(tmp_path / "out" / kind / record.run_id / "record.json") == record
    assert not list(metrics_of(record, Known(Registry.installed())))
    with np.load(tmp_path / "out" / kind / record.run_id / "samples.npz") as samples:
        assert samples["arr_0"].shape == (20, 16, 16, 3) and samples["arr_0"].std() > 1
    with_help = "matched, trained with dinov2-vit-64-14" if kind == "rae" else "matched"
    assert protocol_of(record).ruleset == with_help
    assert read_manifest(tmp_path / "prepared").reconstruction == (FLOOR,)
    if kind == "identity":  # what is decoded has the scale of pictures: nearly noise, it would have that of noise
        assert torch.cat(seen).std() < 0.8
