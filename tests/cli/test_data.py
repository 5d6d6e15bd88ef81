import json
from pathlib import Path

import pytest
import torch
from pictures import write_autoencoder, write_kind, write_pictures

import ditbench.cli.data  # noqa: F401
from ditbench.datasets.worker import ShardWorker
from ditbench.runtime import environment


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / "pictures", 4)


@pytest.fixture
def command(pictures, tmp_path):
    """Prepare latents of the pictures."""
    vae = write_autoencoder(tmp_path / "vae")
    return ("data", "prepare", str(pictures), "--vae", str(vae), "--resolution", "16", "--out", str(tmp_path / "out"))


def test_prepare_and_stats(command, ditbench, tmp_path):
    out = ditbench(*command)
    assert "latents of 12 images of 16 px, 3 classes" in out
    assert "12 of 12 images" in out
    out = ditbench("data", "stats", str(tmp_path / "out"))
    assert "4 to 4 images of a class" in out and "vae (sha256 " in out and "verified" in out
    facts = json.loads(ditbench("data", "stats", str(tmp_path / "out"), "--json"))
    assert (facts["kind"], facts["count"], len(facts["mean"])) == ("latents", 12, 4)
    assert facts["bytes_per_image"] == round((tmp_path / "out" / "shard-00000.safetensors").stat().st_size / 12)


def test_every_kind_by_its_name_and_the_floor_of_its_latents(ditbench, tmp_path):
    for split in ("train", "val"):
        write_pictures(tmp_path / "pictures" / split, 2)
    text, out = write_kind("dc", tmp_path / "dc"), str(tmp_path / "out")
    command = ("data", "prepare", str(tmp_path / "pictures"), "--autoencoder", text, "--resolution", "16", "--out", out)
    said = ditbench(*command)
    assert "latents of 6 images" in said and "dc (sha256 " in said and "), deterministic, scale 0.5" in said
    assert f"how close the decoded held-out images are: `ditbench data floor {out}`" in " ".join(said.split())
    said = ditbench("data", "floor", out, "--features", "efficientnet-lite0", "--device", "cpu")
    assert "(efficientnet-lite0), PSNR " in said and "of 6 held-out images" in said and "12 of 12 images" in said
    assert "decoded: rFID" in ditbench("data", "stats", out) and "data floor" not in ditbench(*command)
    (floor,) = json.loads(ditbench("data", "stats", out, "--json"))["reconstruction"]
    assert floor["images"] == 6 and 0 < floor["psnr"] < 40 and floor["rfid"] > 0


def test_pixels(pictures, ditbench, tmp_path):
    command = ("data", "prepare", str(pictures), "--resolution", "16", "--out", str(tmp_path / "out"))
    assert "pixels of 12 images" in ditbench(*command)
    made = json.loads(ditbench(*command, "--json"))
    assert (made["kind"], made["count"], made["skipped"]) == ("pixels", 12, [])
    assert Path(made["manifest"]) == tmp_path / "out" / "manifest.json" and Path(made["manifest"]).exists()
    read = json.loads(ditbench("data", "verify", str(tmp_path / "out"), "--json"))
    assert read["sha256"] == made["sha256"] and "the 12 images in" in read["compared"]


def test_verify_reads_the_images_too(pictures, ditbench, tmp_path):
    (pictures / "notes.txt").write_text("no image")
    said = ditbench("data", "prepare", str(pictures), "--resolution", "16", "--out", str(tmp_path / "out"))
    assert "1 file is left out" in said and "notes.txt" in said
    assert "the 12 images in" in ditbench("data", "verify", str(tmp_path / "out"))
    path = pictures / "fish" / "000.png"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert "000.png' is no longer the image" in ditbench("data", "verify", str(tmp_path / "out"), code=2)


def test_shards_among_the_images_are_refused_before_any_work(pictures, ditbench):
    for out in (pictures, pictures / "deep" / "out"):
        errors = ditbench("data", "prepare", str(pictures), "--resolution", "16", "--out", str(out), code=2)
        assert "among the images: choose another with --out" in errors
    assert sorted(path.name for path in pictures.iterdir()) == ["fish", "fowl", "frog"]


def test_home_is_expanded(pictures, ditbench, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_autoencoder(tmp_path / "vae")
    ditbench("data", "prepare", "~/pictures", "--vae", "~/vae", "--resolution", "16", "--out", "~/out")
    assert (tmp_path / "out" / "manifest.json").exists()
    assert "12 of 12 images" in ditbench("data", "stats", "~/out")


def test_skipped_images_are_named(pictures, ditbench, tmp_path):
    (pictures / "frog" / "009.png").write_bytes(b"")
    command = ("data", "prepare", str(pictures), "--resolution", "16", "--out", str(tmp_path / "out"))
    assert "009.png" in ditbench(*command, code=2)
    out = ditbench(*command[:-1], str(tmp_path / "without"), "--skip-bad")
    assert "1 images left out" in out and "009.png" in out


def test_a_damaged_shard_is_named(command, ditbench, tmp_path):
    ditbench(*command)
    shard = tmp_path / "out" / "shard-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[-40] ^= 1
    shard.write_bytes(content)
    errors = ditbench("data", "stats", str(tmp_path / "out"), code=2)
    assert "shard-00000.safetensors" in errors and "damaged" in errors
    shard.unlink()
    ditbench(*command)
    ditbench("data", "stats", str(tmp_path / "out"))


def test_ctrl_c_says_that_the_same_command_resumes(command, monkeypatch, tmp_path, capsys):
    from ditbench import cli

    def interrupted(self, hear):
        raise KeyboardInterrupt

    monkeypatch.setattr(ShardWorker, "work", interrupted)
    monkeypatch.setattr("sys.argv", ["ditbench", *command])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert "same command resumes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        (("--device", "tpu"), "tpu"),
        (("--vae", "./nowhere"), "nowhere"),
        (("--autoencoder", "dcc"), "Did you mean 'dc'"),
        (("--autoencoder", "dc"), "Write dc:PLACE"),
        (("--resolution", "18"), "multiple of 4"),
    ],
)
def test_mistakes_are_one_line(more, fault, command, ditbench):
    errors = ditbench(*command, *more, code=2)
    assert fault in errors and errors.count("\n") == 1


def test_a_gpu_that_can_not_be_used_is_told_before_anything_is_made(command, ditbench, tmp_path, monkeypatch):
    def too_old(device):
        raise RuntimeError("The NVIDIA driver on your system is too old.")

    monkeypatch.setattr(environment, "find_device", lambda name: torch.device("cuda"))
    for found, told in (
        (too_old, "can't be used: The NVIDIA driver on your"),
        (lambda device: (0, 2**34), "is full: 16"),
    ):
        monkeypatch.setattr(torch.cuda, "mem_get_info", found)
        errors = ditbench(*command, code=2)
        assert errors.startswith(f"ditbench: Device 'cuda' {told}") and errors.count("\n") == 1
    assert not (tmp_path / "out").exists()
