"""Folders of videos as data sets of clips: prepared as images are, shard by shard, in pixels or latents."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pictures import write_autoencoder, write_pictures
from videos import CLASSES, encoded, frames_of, song, write_videos

from ditbench.benchmark.setup import open_data
from ditbench.datasets.autoencoder import load_autoencoder
from ditbench.datasets.examples import Request
from ditbench.datasets.folder import list_folder
from ditbench.datasets.held_out import prepare
from ditbench.datasets.loading import Feed
from ditbench.datasets.prepare import _joiner
from ditbench.datasets.prepared import compare_source, load_clips, load_folder, load_latents, made_of, verify
from ditbench.datasets.raw import Cut
from ditbench.datasets.shards import MANIFEST, PLAN, PreparationPlan, open_prepared
from ditbench.datasets.sources import list_source
from ditbench.errors import BadFile, BadValue
from ditbench.registry import Registry
from ditbench.tracks.track import DataChoice, load_track

SIDE, OF_CLASS, FRAMES = 16, 5, 4
CUT = Cut(frames=FRAMES, interval=2)
IN_SHARD = 4 * FRAMES  # frames of four clips


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Ten videos in three shards."""
    home = tmp_path_factory.mktemp("clips")
    write_videos(home / "videos", OF_CLASS)
    write_autoencoder(home / "vae")
    return home


@pytest.fixture(scope="module")
def raw(home):
    return list_folder(home / "videos", CUT)


@pytest.fixture(scope="module")
def autoencoder(home):
    return load_autoencoder(str(home / "vae"), offline=True)


@pytest.fixture(scope="module")
def latents(home, raw, autoencoder):
    prepare(raw, home / "latents", SIDE, autoencoder, shard_size=IN_SHARD)
    return open_prepared(home / "latents")


@pytest.fixture
def videos(home, tmp_path):
    return shutil.copytree(home / "videos", tmp_path / "videos")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DITBENCH_CACHE", str(tmp_path / "cache"))


def clips(raw):
    return np.stack([raw.crop(raw.read(n), raw.title(n), SIDE) for n in range(len(raw))])


def ask(place, **more):
    return Request(**{"resolution": SIDE, "place": str(place), "frames": FRAMES, "interval": 2} | more)


def all_of(images, size=3):
    return np.concatenate(list(images.batches(size)))


def contents(folder):
    return {path.name: path.read_bytes() for path in [*sorted(folder.glob("shard-*")), folder / MANIFEST]}


def test_latents_are_made_frame_by_frame_of_clips_and_of_their_mirror_images(latents, raw, autoencoder):
    pixels, everything = clips(raw), latents.rows[np.arange(2 * len(raw))]
    assert everything.shape == (20, 2, FRAMES, 4, 4, 4) and everything.dtype == np.float16
    for view, of in enumerate((pixels, pixels[..., ::-1].copy())):
        for frame in range(FRAMES):
            moments = torch.stack(autoencoder.encode(torch.from_numpy(of[:, frame])), dim=1).numpy()
            np.testing.assert_allclose(everything[view::2, :, frame], moments, rtol=2e-3, atol=1e-4)
    mean, std = everything[:, 0].astype(np.float64), everything[:, 1].astype(np.float64)
    first, second = mean.mean((0, 1, 3, 4)), (mean**2 + std**2).mean((0, 1, 3, 4))
    np.testing.assert_allclose(latents.manifest.mean, 0.18215 * first, rtol=1e-9)
    np.testing.assert_allclose(latents.manifest.std, 0.18215 * np.sqrt(second - first**2), rtol=1e-9)


def test_the_folder_says_how_clips_were_cut_out(latents):
    plan = json.loads((latents.folder / PLAN).read_bytes())
    assert plan["cut"] == {"frames": FRAMES, "interval": 2, "part": "middle"} and plan["shard_size"] == 4
    assert [shard.count for shard in latents.manifest.shards] == [4, 4, 2]
    of_images = {key: value for key, value in plan.items() if key != "cut"}
    images = PreparationPlan.model_validate(of_images)
    assert images.frames == 1 and images.model_dump(mode="json") == of_images, "plans of images stay as they are"


def test_a_run_trains_on_latents_of_clips_and_compares_with_their_pixels(latents, raw):
    data = load_latents(ask(latents.folder))
    assert (data.space, data.examples.shape, data.examples.frames) == ("latent", (FRAMES, 4, 4, 4), FRAMES)
    assert data.images.shape == (FRAMES, 3, SIDE, SIDE) and data.class_names == CLASSES
    np.testing.assert_array_equal(all_of(data.images), clips(raw))
    choice = DataChoice(dataset="latents", resolution=SIDE, frames=FRAMES, interval=2, flip=True, posterior="mean")
    feed = Feed(data, choice, 0, torch.device("cpu"))
    x, y = feed.batch(0, 10, torch.Generator())
    examples, mirrored = feed.order.batch(0, 10)
    feed.close()
    assert set(mirrored) == {0, 1} and y.tolist() == latents.labels[examples].tolist()
    expected = latents.rows[2 * examples + mirrored][:, 0].astype(np.float32) * 0.18215
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-6)


def test_what_is_stopped_goes_on_where_others_join_in(raw, tmp_path, monkeypatch):
    monkeypatch.setattr("ditbench.datasets.prepare._in_processes", lambda count, task, hear: _joiner(task).work(hear))
    prepare(raw, tmp_path / "whole", SIDE, shard_size=IN_SHARD)

    def read(number):
        if number == 8:
            raise KeyboardInterrupt
        return raw.read(number)

    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        prepare(replace(raw, read=read), out, SIDE, shard_size=IN_SHARD)
    times = {path: path.stat().st_mtime_ns for path in out.glob("shard-*")}
    assert len(times) == 2
    prepare(raw, out, SIDE, shard_size=IN_SHARD, processes=2)
    assert contents(out) == contents(tmp_path / "whole") and all(
        path.stat().st_mtime_ns == times[path] for path in times
    )


def test_a_folder_of_videos_is_prepared_once_as_pixels(videos, tmp_path):
    heard = []
    data = load_clips(ask(videos, report=lambda done, of: heard.append((done, of))))
    assert heard[-1] == (10, 10) and data.examples.labels.tolist() == [0] * 5 + [1] * 5
    assert (data.space, data.examples.shape) == ("pixel", (FRAMES, 3, SIDE, SIDE))
    np.testing.assert_array_equal(all_of(data.images), clips(list_folder(videos, CUT)))
    videos.rename(tmp_path / "moved")
    assert load_clips(ask(tmp_path / "moved")).sha256 == data.sha256
    (folder,) = (tmp_path / "cache" / "data").iterdir()
    assert made_of(str(tmp_path / "moved")) == folder
    assert "compared: the 10 videos in" in compare_source(verify(folder))
    for other in ({"interval": 1}, {"frames": 3}):
        assert load_clips(ask(tmp_path / "moved", **other)).sha256 != data.sha256
    with pytest.raises(BadFile, match="Nothing is prepared of"):
        made_of(str(write_pictures(tmp_path / "pictures", 1)))


def test_held_out_videos_are_clips_too(tmp_path):
    for split, count in (("train", 2), ("val", 1)):
        write_videos(tmp_path / "videos" / split, count)
    data = load_clips(ask(tmp_path / "videos"))
    assert len(data.examples) == 4 and len(data.aside) == 2 and data.aside_labelled
    np.testing.assert_array_equal(data.aside.rows[np.arange(2)], all_of(data.held_out))
    assert data.held_out.shape == data.aside.shape == (FRAMES, 3, SIDE, SIDE)


def test_bad_videos_are_named_or_left_out_and_counted(videos):
    bad = {
        "a.mkv": encoded(frames_of(1))[:3000],
        "b.mkv": encoded(frames_of(1, count=6)),
        "c.mkv": encoded(frames_of(1), times=[*range(6), *range(7, 13)]),
        "d.mp4": song(),
    }
    for name, content in bad.items():
        (videos / CLASSES[0] / name).write_bytes(content)
        with pytest.raises(
            BadFile, match=rf"^'.*/jump/{name}' .* Mend it, remove it, or leave it out with `skip_bad`\."
        ):
            load_clips(ask(videos))
        (videos / CLASSES[0] / name).rename(videos / CLASSES[1] / name)
        with pytest.raises(BadFile, match=name):
            load_clips(ask(videos))
        (videos / CLASSES[1] / name).rename(videos / CLASSES[0] / name)
        data = load_clips(ask(videos, skip_bad=True))
        assert data.skipped == 1 and len(data.examples) == 10
        (videos / CLASSES[0] / name).unlink()
    for path in (videos / CLASSES[0]).iterdir():
        path.write_bytes(b"no video")
    with pytest.raises(BadFile, match="without the 5 videos that can't be read: class 'jump' has no video"):
        load_clips(ask(videos, skip_bad=True))


def test_frames_that_do_not_fit_are_one_line(latents, home, tmp_path):
    place = latents.folder
    with pytest.raises(BadFile, match="as clips of 4 frames, interval 2, but clips of 4 frames, interval 1 are asked"):
        load_latents(ask(place, interval=1))
    with pytest.raises(BadFile, match=r"as clips of 4 frames, interval 2, but images are asked for: .* `frames` 1,"):
        load_latents(ask(place, frames=1, interval=1))
    with pytest.raises(BadFile, match="prepare SOURCE --resolution 16 --out DIR` with `frames` 4 and `interval` 2"):
        load_clips(ask(place))
    with pytest.raises(BadValue, match="has clips of 2 frames or more, and `frames` is 1"):
        load_clips(ask(home / "videos", frames=1, interval=1))
    with pytest.raises(BadFile, match="is of clips that are cut out otherwise, or of images: choose another folder"):
        prepare(list_folder(home / "videos", Cut(frames=3, interval=2)), place, SIDE, shard_size=IN_SHARD)
    with pytest.raises(BadValue, match="'hf:some/where' has images, and clips are cut out of videos"):
        list_source("hf:some/where", cut=CUT)
    with pytest.raises(BadFile, match=r"holds no images \(.*\)\. Of its videos, `frames` above 1 makes clips"):
        load_folder(ask(home / "videos", frames=1, interval=1))
    pictures = write_pictures(tmp_path / "pictures", 1)
    with pytest.raises(BadFile, match=r"holds no videos \(\.mp4, .*\)\.$"):
        load_clips(ask(pictures))


def test_a_track_names_its_clips(home, tmp_path):
    text = (Path(__file__).parents[1] / "tiny.toml").read_text()
    of_digits = 'dataset = "digits"\nresolution = 8\nchannels = 1\nimages = 1541\nclasses = 10\n'
    assert of_digits in text
    of_clips = 'dataset = "clips"\nresolution = 16\nframes = 4\ninterval = 2\n'
    (tmp_path / "mine.toml").write_text(text.replace(of_digits, of_clips).replace('"tiny"', '"mine"'))
    config = SimpleNamespace(track=load_track(tmp_path / "mine.toml"), data="", skip_bad=False, offline=True)
    with pytest.raises(BadValue, match="where is the data"):
        open_data(config, Registry.installed())
    config.data = str(home / "videos")
    assert open_data(config, Registry.installed()).examples.shape == (FRAMES, 3, SIDE, SIDE)


def test_the_command(videos, ditbench, tmp_path):
    (videos / CLASSES[0] / "000.mkv").write_bytes(song())
    (videos / "notes.txt").write_text("no video")
    how = (str(videos), "--frames", "4", "--interval", "2", "--resolution", "16", "--out", str(tmp_path / "out"))
    assert "jump/000.mkv' holds only sound, no video. Mend it" in ditbench("data", "prepare", *how, code=2)
    said = ditbench("data", "prepare", *how, "--skip-bad")
    assert "1 file is left out: it is no video by name (.mp4, " in said and "10 of 10 videos" in said
    assert "pixels of 9 clips of 16 px, 2 classes" in said
    assert "of each clip 4 frames, interval 2, from the middle of its video" in said
    assert "1 videos left out" in said and "jump/000.mkv" in said
    assert "4 to 5 clips of a class" in ditbench("data", "stats", str(tmp_path / "out"))
    assert "the 9 videos in" in ditbench("data", "verify", str(tmp_path / "out"))
    less = ("data", "prepare", str(videos), "--interval", "2", "--resolution", "16", "--out", str(tmp_path / "x"))
    assert "--interval 2 is of clips, and --frames is 1" in ditbench(*less, code=2)
