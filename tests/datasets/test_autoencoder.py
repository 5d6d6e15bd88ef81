import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from pictures import write_autoencoder
from safetensors.torch import load_file, save_file

from ditbench.datasets.autoencoder import load_autoencoder
from ditbench.errors import BadFile, BadValue

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_autoencoder(tmp_path_factory.mktemp("vae") / "small")


@pytest.fixture(scope="module")
def autoencoder(folder):
    return load_autoencoder(str(folder))


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, 16, 16), dtype=np.uint8))


@torch.inference_mode()
def test_it_encodes_and_decodes_as_diffusers_does(folder, autoencoder):
    plain = AutoencoderKL.from_pretrained(folder, low_cpu_mem_usage=False).eval()
    posterior = plain.encode(PIXELS.float() / 127.5 - 1).latent_dist
    mean, std = autoencoder.encode(PIXELS)
    assert torch.equal(mean[:1], plain.encode(PIXELS[:1].float() / 127.5 - 1).latent_dist.mean)
    torch.testing.assert_close(mean, posterior.mean)
    torch.testing.assert_close(std, posterior.std)
    latents = torch.randn(3, 4, 4, 4) * 0.2
    torch.testing.assert_close(autoencoder.decode(latents), plain.decode(latents / 0.18215).sample.clamp(-1, 1))
    assert (autoencoder.facts.name, autoencoder.facts.factor, autoencoder.facts.channels) == ("small", 4, 4)
    assert autoencoder.facts.scale == 0.18215


def test_pixels_stay_in_range(autoencoder):
    assert autoencoder.decode(torch.randn(2, 4, 4, 4) * 1e3).abs().max() == 1


def test_precision_is_not_the_callers(autoencoder):
    mean, _ = autoencoder.encode(PIXELS)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(autoencoder.encode(PIXELS)[0], mean)
        assert autoencoder.decode(mean).dtype == torch.float32


def test_decoding_has_a_precision_and_encoding_has_not(autoencoder):
    rough, latents = replace(autoencoder, precision="bfloat16"), torch.randn(3, 4, 4, 4)
    assert all(map(torch.equal, rough.encode(PIXELS), autoencoder.encode(PIXELS)))
    found, exact = rough.decode(latents), autoencoder.decode(latents)
    assert found.dtype == torch.float32 and 0 < (found - exact).abs().max() < 0.1


def test_loading_leaves_the_generator_alone(folder):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load_autoencoder(str(folder))
    assert torch.equal(torch.rand(3), expected)


def test_its_hash_is_of_what_it_computes(autoencoder, copy, tmp_path):
    autoencoder.save(tmp_path / "saved")
    assert load_autoencoder(str(tmp_path / "saved")).facts.sha256 == autoencoder.facts.sha256
    weights = load_file(copy / WEIGHTS)
    save_file(weights, copy / WEIGHTS, {"written": "anew"})
    assert load_autoencoder(str(copy)).facts.sha256 == autoencoder.facts.sha256
    weights["decoder.conv_in.bias"][0] += 1e-3
    save_file(weights, copy / WEIGHTS)
    assert load_autoencoder(str(copy)).facts.sha256 != autoencoder.facts.sha256
    other = write_autoencoder(tmp_path / "other", scaling_factor=0.3)
    assert load_autoencoder(str(other)).facts.sha256 != autoencoder.facts.sha256


def test_images_must_divide(autoencoder):
    with pytest.raises(BadValue, match="multiple of 4"):
        autoencoder.encode(PIXELS[..., :14, :14])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"in_channels": 1}, "RGB"),
        ({"shift_factor": 0.1, "latents_mean": (0.5,) * 4, "latents_std": (1.0,) * 4}, "both shift_factor"),
        ({"latents_mean": (0.5,) * 4}, "latents_std that is not a number for each"),
        ({"latents_mean": (0.5,) * 3, "latents_std": (1.0,) * 3}, "latents_mean that is not a number for each"),
        ({"latents_mean": (0.5,) * 4, "latents_std": (0.0,) * 4}, "latents_std that is not above 0"),
        ({"shift_factor": "much"}, "shift_factor of 'much', no number"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_what_is_not_supported_is_refused(changes, fault, tmp_path):
    with pytest.raises(BadFile, match=fault):
        load_autoencoder(str(write_autoencoder(tmp_path / "vae", **changes)))


def test_a_shift_of_zero_is_none(tmp_path):
    assert load_autoencoder(str(write_autoencoder(tmp_path / "vae", shift_factor=0.0))).facts.channels == 4


def damage(folder):
    with (folder / WEIGHTS).open("r+b") as file:
        file.truncate(1000)


def lose_a_weight(folder):
    weights = load_file(folder / WEIGHTS)
    del weights["decoder.conv_in.bias"]
    save_file(weights, folder / WEIGHTS)


def pickle(folder):
    torch.save(load_file(folder / WEIGHTS), folder / "diffusion_pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def rename_its_kind(folder):
    config = folder / "config.json"
    config.write_text(config.read_text().replace("AutoencoderKL", "VQModel"))


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (damage, "can't be read"),
        (lose_a_weight, "decoder.conv_in.bias"),
        (pickle, "can't be read"),
        (rename_its_kind, "VQModel"),
        (lambda folder: (folder / "config.json").write_text("{"), "can't be read"),
    ],
)
def test_a_bad_folder_is_one_line(harm, fault, copy):
    harm(copy)
    with pytest.raises(BadFile, match=fault) as error:
        load_autoencoder(str(copy))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "fault"), [("./nowhere", "no folder"), ("owner/name", "without `offline`")])
def test_a_missing_one_is_one_line(name, fault):
    with pytest.raises(BadFile, match=fault):
        load_autoencoder(name, offline=True)


@pytest.mark.parametrize("scale", [-0.18215, "0.18215", True, [0.5], 1e400])
def test_a_scaling_factor_that_is_no_number_above_0_is_one_line(tmp_path, scale):
    folder = write_autoencoder(tmp_path / "autoencoder")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "scaling_factor": scale}))
    with pytest.raises(BadFile, match=r"has a scaling_factor of .*, no number above 0"):
        load_autoencoder(str(folder))
