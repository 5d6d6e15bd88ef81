"""A folder in which everything that the documents' commands name is there, by that very name, real and tiny."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import tomli_w
import torch
from pictures import picture, write_autoencoder, write_pictures
from snippets import ROOT
from videos import write_videos

import ditbench
from ditbench.datasets.autoencoder import load_autoencoder
from ditbench.datasets.folder import list_folder
from ditbench.datasets.held_out import prepare
from ditbench.denoiser.interface import build_denoiser
from ditbench.records.submission import submit
from ditbench.registry import Registry
from ditbench.tracks.track import load_track

SMALL = {"samples": 20, "device": "cpu", "executor": "inline", "metrics": ["kid", "is"]}
DRAW = np.random.default_rng(0)
WIDTH = 1280  # of EfficientNet-Lite0's features
SIDE = 64  # of the images of the small latent tracks, so that they have 8x8 latents
VAE = "stabilityai/sd-vae-ft-mse"  # a folder of this name is found before the hub's
PLACES = {"fashion32": "data/fashion-mnist", "cifar10": "data"}  # of the made-up data sets
EIGHTFOLD = {
    "block_out_channels": (8,) * 4,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}


def write_folder(folder: Path) -> str:
    """Make it all below `folder`, which is like a clone of the repository; the id of its run."""
    for name in ("plugins", "examples", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    _write_leaderboard(folder)
    run_id = _write_runs(folder)
    _write_images(folder)
    _write_data(folder / "data")
    _write_tracks(folder)
    spec = ditbench.DenoiserSpec(channels=4, resolution=8, classes=3, space="latent", learn_variance=True)
    network = build_denoiser(Registry.installed().architectures["dit"], spec=spec)
    torch.save({"ema": network.state_dict()}, folder / "CHECKPOINT.pt")
    return run_id


def _write_leaderboard(folder: Path) -> None:
    """Committed records, in a repository of their own, so that there is a branch to compare with."""
    few = shutil.ignore_patterns("site", "*-seed[2-9]-*")  # two seeds of a row: the commands read them all, many times
    shutil.copytree(ROOT / "leaderboard", folder / "leaderboard", ignore=few)
    for name in ("README.md", "CITATION.cff"):
        shutil.copy(ROOT / name, folder)
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org")
    for words in (["init", "-q", "-b", "main"], ["add", "leaderboard", "README.md"], ["commit", "-q", "-m", "records"]):
        subprocess.run([*git, *words], cwd=folder, check=True)


def _write_runs(folder: Path) -> str:
    """A run in runs/, and another one twice, which is in the leaderboard as Ada's; the other's id.

    Its weights are at the top, too.
    """
    ditbench.run("digits", ["dit"], budget="4-steps", out=folder / "runs", **SMALL)
    for place in ("first", "again"):
        (record,) = ditbench.run("digits", ["dit"], budget="3-steps", out=folder / place, ema_snapshots=2, **SMALL)
    run = folder / "first" / "digits" / record.run_id
    submit(run, "Ada", folder / "leaderboard", registry=Registry.installed())
    shutil.copy(run / "ema.safetensors", folder)
    shutil.copytree(run, folder / "ONE")
    shutil.copytree(folder / "again" / "digits" / record.run_id, folder / "OTHER")
    return record.run_id


def _write_images(folder: Path) -> None:
    for name in ("SAMPLES", "FOLDER"):
        (folder / name).mkdir()
    generated, real = ([picture(number, (32, 32)) for number in range(start, start + 24)] for start in (0, 100))
    for number, (one, other) in enumerate(zip(generated, real, strict=True)):
        one.save(folder / "SAMPLES" / f"{number}.png")
        other.save(folder / "FOLDER" / f"{number}.png")
    np.savez(folder / "SAMPLES.npz", np.stack(generated))
    np.savez(folder / "REAL.npz", np.stack(real))
    np.savez(folder / "jit_in256_stats.npz", mu=np.zeros(WIDTH), sigma=np.eye(WIDTH))
    (folder / "evaluator.txt").write_text("Inception Score: 278.24\nFID: 2.27\n")
    (folder / "results.csv").write_text("step,dataset,model,fid,inception_score\n400000,imagenet,ddt,5.25,180.1\n")
    np.savez(
        folder / "VIRTUAL_imagenet256_labeled.npz", np.stack([picture(number, (SIDE, SIDE)) for number in range(24)])
    )
    write_pictures(folder / "IMAGENET", 8)
    write_videos(folder / "VIDEOS", 1, frames=46)
    autoencoder = load_autoencoder(str(write_autoencoder(folder / VAE, **EIGHTFOLD)), offline=True)
    prepare(list_folder(folder / "IMAGENET"), folder / "LATENTS", SIDE, autoencoder)
    for split in ("train", "val"):
        write_pictures(folder / "PHOTOS" / split, 2)
    identity = load_autoencoder("", kind="identity")
    prepare(list_folder(folder / "PHOTOS"), folder / "PHOTO-LATENTS", 16, identity)


def _write_data(folder: Path) -> None:
    """Fashion-MNIST and CIFAR-10 of 30 and 100 images, in the form of their files."""
    fashion, cifar = folder / "fashion-mnist", folder / "cifar-10-batches-bin"
    for place in (fashion, cifar):
        place.mkdir(parents=True)
    for split in ("train", "t10k"):
        _write_idx(fashion / f"{split}-images-idx3-ubyte", DRAW.integers(0, 256, (30, 28, 28), np.uint8))
        _write_idx(fashion / f"{split}-labels-idx1-ubyte", np.arange(30, dtype=np.uint8) % 10)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        labels, pixels = np.arange(20, dtype=np.uint8) % 10, DRAW.integers(0, 256, (20, 3072), np.uint8)
        (cifar / f"{name}.bin").write_bytes(np.column_stack([labels, pixels]).tobytes())


def _write_idx(path: Path, array: np.ndarray) -> None:
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes())


def _write_tracks(folder: Path) -> None:
    """A user's copy of the digits track, and small copies of those that need a GPU, each with a name of its own."""
    for name, path in Registry.installed().tracks.items():
        track = load_track(path).model_dump(mode="json", exclude_none=True)
        if name == "digits":
            (folder / "mine.toml").write_text(tomli_w.dumps({**track, "name": "mine", "version": 1}))
            continue
        if track["space"] == "latent":
            track["data"]["resolution"] = SIDE
        elif name in PLACES:
            track["data"]["dataset"] += f":{PLACES[name]}"
        track |= {"name": f"small-{name}", "size": "nano" if track["space"] == "latent" else "nano/4"}
        track["recipe"] |= {"batch_size": 4, "precision": "float32", "compile": "off"}
        track["sampler"] |= {"steps": 2, "batch_size": 20}
        track["evaluation"] |= {"metrics": ["kid", "is"]}
        if track["evaluation"]["features"] == "inception-v3-compat":
            track["evaluation"]["features"] = "efficientnet-lite0"
        (folder / f"small-{name}.toml").write_text(tomli_w.dumps(track))
