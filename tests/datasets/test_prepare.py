import json
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import prepare_slowly, write_autoencoder, write_pictures

from ditbench.datasets import shards
from ditbench.datasets.autoencoder import load_autoencoder
from ditbench.datasets.crop import crop_of, hash_images
from ditbench.datasets.folder import list_folder
from ditbench.datasets.prepare import prepare
from ditbench.datasets.shards import AUTOENCODER, MANIFEST, PARTS, PLAN, PreparationPlan, open_prepared
from ditbench.datasets.worker import ShardWorker
from ditbench.errors import BadFile, BadValue, DitbenchError

SIDE, IN_SHARD, OF_CLASS = 16, 8, 9


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """27 pictures in four shards."""
    home = tmp_path_factory.mktemp("prepare")
    write_pictures(home / "pictures", OF_CLASS)
    write_autoencoder(home / "vae")
    return home


@pytest.fixture(scope="module")
def autoencoder(home):
    return load_autoencoder(str(home / "vae"))


@pytest.fixture(scope="module")
def raw(home):
    return list_folder(home / "pictures")


@pytest.fixture(scope="module")
def whole(home, raw, autoencoder):
    """Prepared without a break, in one process."""
    prepare(raw, home / "whole", SIDE, autoencoder, shard_size=IN_SHARD)
    return open_prepared(home / "whole")


@pytest.fixture
def pictures(home, tmp_path):
    return shutil.copytree(home / "pictures", tmp_path / "pictures")


def crops(raw):
    return np.stack([crop_of(raw.read(n), raw.title(n), SIDE) for n in range(len(raw))])


def contents(folder):
    """What was made, byte by byte."""
    return {path.name: path.read_bytes() for path in [*sorted(folder.glob("shard-*")), folder / MANIFEST]}


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*")}


def test_what_no_memory_holds_is_refused_before_anything_is_made(tmp_path, raw, monkeypatch):
    monkeypatch.setattr(shards, "capacity", lambda device: 2**30)
    words = (
        rf"^A shard of {len(raw)} images of 16,384 pixels takes [\d.]+ GiB of memory, and .* has 1\.0 GiB; choose a "
    )
    with pytest.raises(BadValue, match=words):
        prepare(raw, tmp_path / "out", 16_384)
    assert not (tmp_path / "out").exists()


def test_image_and_mirror_image_are_encoded(whole, raw, autoencoder):
    pixels = crops(raw)
    everything = whole.rows[np.arange(2 * len(raw))]
    assert everything.dtype == np.float16
    for view, images in enumerate((pixels, pixels[..., ::-1].copy())):
        expected = torch.stack(autoencoder.encode(torch.from_numpy(images)), dim=1).numpy()
        np.testing.assert_allclose(everything[view::2], expected, rtol=2e-3, atol=1e-4)
    assert not np.array_equal(everything[0], everything[1])
    np.testing.assert_array_equal(whole.labels, raw.labels)


def test_statistics_are_those_of_scaled_latents(whole):
    rows = whole.rows[np.arange(whole.rows.shape[0])].astype(np.float64)
    mean, std = rows[:, 0], rows[:, 1]
    first, second = mean.mean((0, 2, 3)), (mean**2 + std**2).mean((0, 2, 3))
    np.testing.assert_allclose(whole.manifest.mean, 0.18215 * first, rtol=1e-9)
    np.testing.assert_allclose(whole.manifest.std, 0.18215 * np.sqrt(second - first**2), rtol=1e-9)


def test_the_folder_knows_where_it_came_from(whole, raw, autoencoder, home):
    manifest = whole.manifest
    assert manifest.plan.source.place == str(home / "pictures")
    assert manifest.source_sha256 == hash_images(raw, np.arange(len(raw)))
    assert [shard.count for shard in manifest.shards] == [8, 8, 8, 3]
    assert manifest.plan.class_names == raw.class_names
    sha256 = load_autoencoder(str(whole.folder / AUTOENCODER)).facts.sha256
    assert sha256 == autoencoder.facts.sha256 == manifest.plan.autoencoder.sha256
    maker = json.loads((whole.folder / PLAN).read_text(encoding="utf-8"))["autoencoder"]
    assert [*maker.items()] == [("name", "vae"), ("sha256", sha256), ("scale", 0.18215), ("factor", 4), ("channels", 4)]


def test_pixels(raw, tmp_path):
    manifest = prepare(raw, tmp_path / "out", SIDE, shard_size=IN_SHARD)
    prepared, pixels = open_prepared(tmp_path / "out"), crops(raw)
    np.testing.assert_array_equal(prepared.rows[np.arange(len(raw))], pixels)
    seen = pixels / 127.5 - 1
    np.testing.assert_allclose((manifest.mean, manifest.std), (seen.mean((0, 2, 3)), seen.std((0, 2, 3))))
    assert not (tmp_path / "out" / AUTOENCODER).exists()


def test_three_processes_make_what_one_makes(whole, raw, autoencoder, tmp_path):
    heard = []
    out = tmp_path / "out"

    def report(done, of):
        heard.append((done, of))

    prepare(raw, out, SIDE, autoencoder, shard_size=IN_SHARD, processes=3, report=report)
    assert contents(out) == contents(whole.folder)
    assert heard[0] == (0, 27) and heard[-1] == (27, 27)
    assert heard == sorted(heard)


def test_a_killed_preparation_resumes(whole, raw, autoencoder, home, tmp_path):
    out = tmp_path / "out"
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=prepare_slowly, args=(home / "pictures", out, home / "vae", SIDE, IN_SHARD))
    process.start()
    deadline = time.monotonic() + 120
    while len(list(out.glob("parts/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    finished = times(out)
    assert 2 <= len(finished) < 4
    with pytest.raises(BadFile, match="not finished"):
        open_prepared(out)
    (out / ".shard-00003.safetensors.1.tmp").write_bytes(b"half a shard")
    heard = []
    prepare(raw, out, SIDE, autoencoder, shard_size=IN_SHARD, report=lambda done, of: heard.append(done))
    assert contents(out) == contents(whole.folder)
    assert finished.items() <= times(out).items()
    assert heard[0] >= 16
    assert not list(out.glob(".shard*"))


def test_what_is_finished_stays(raw, autoencoder, tmp_path):
    out = tmp_path / "out"
    first = prepare(raw, out, SIDE, autoencoder, shard_size=IN_SHARD)
    before, whole = times(out), contents(out)
    moved = replace(raw, place="/elsewhere", read=None)  # the same files under another name; none is read
    again = prepare(moved, out, SIDE, autoencoder, shard_size=IN_SHARD)
    assert (
        again.plan.source.place
        == PreparationPlan.model_validate_json((out / PLAN).read_bytes()).source.place
        == "/elsewhere"
    )
    assert again.sha256 == first.sha256 and times(out) == before
    assert prepare(raw, out, SIDE, autoencoder, shard_size=IN_SHARD) == first
    (out / "shard-00001.safetensors").unlink()
    prepare(raw, out, SIDE, autoencoder, shard_size=IN_SHARD)
    assert contents(out) == whole
    assert [name for name, time in times(out).items() if time != before[name]] == ["shard-00001.safetensors"]


def test_a_folder_is_of_one_thing(whole, raw, pictures, tmp_path):
    other = load_autoencoder(str(write_autoencoder(tmp_path / "vae", seed=1)))
    ours = load_autoencoder(str(whole.folder / AUTOENCODER))
    (pictures / "frog" / "more.png").write_bytes((pictures / "frog" / "018.png").read_bytes())
    for fault, arguments in {
        "another autoencoder": (raw, whole.folder, SIDE, other),
        "autoencoder, or none": (raw, whole.folder, SIDE),
        "another resolution": (raw, whole.folder, 2 * SIDE, ours),
        "other images": (list_folder(pictures), whole.folder, SIDE, ours),
    }.items():
        with pytest.raises(BadFile, match=fault):
            prepare(*arguments, shard_size=IN_SHARD)
    with pytest.raises(BadFile, match="holds something else"):
        prepare(raw, pictures, SIDE)
    with pytest.raises(BadValue, match="multiple of 4"):
        prepare(raw, tmp_path / "odd", SIDE + 1, ours)
    with pytest.raises(DitbenchError, match="can't be written"):
        prepare(raw, Path("/proc/none"), SIDE)


def test_bad_images_are_named_or_left_out(pictures, autoencoder, tmp_path):
    bad = [pictures / "fish" / "003.png", pictures / "frog" / "020.png"]
    for path in bad:
        path.write_bytes(path.read_bytes()[:60])
    raw = list_folder(pictures)
    for processes in (1, 2):
        with pytest.raises(BadFile, match=r"(003|020)\.png.*`skip_bad`"):
            prepare(raw, tmp_path / "out", SIDE, autoencoder, shard_size=IN_SHARD, processes=processes)
    out = tmp_path / "without"
    manifest = prepare(raw, out, SIDE, autoencoder, skip_bad=True, shard_size=IN_SHARD)
    assert [(one.index, one.file) for one in manifest.skipped] == [(3, str(bad[0])), (20, str(bad[1]))]
    assert [shard.count for shard in manifest.shards] == [7, 8, 7, 3]
    kept = np.delete(np.arange(27), [3, 20])
    np.testing.assert_array_equal(open_prepared(out).labels, raw.labels[kept])
    assert manifest.source_sha256 == hash_images(raw, kept)
    prepare(raw, tmp_path / "out", SIDE, autoencoder, skip_bad=True, shard_size=IN_SHARD)  # after all
    assert contents(tmp_path / "out") == contents(out)
    for folder in (out, tmp_path / "out"):  # what others may leave out, who doesn't say so hears of
        with pytest.raises(BadFile, match=r"003\.png.*`skip_bad`"):
            prepare(raw, folder, SIDE, autoencoder, shard_size=IN_SHARD)
        (folder / MANIFEST).unlink()
        with pytest.raises(BadFile, match=r"003\.png.*`skip_bad`"):
            prepare(raw, folder, SIDE, autoencoder, shard_size=IN_SHARD)


def test_images_that_changed_under_their_names_are_not_mixed_with_what_is_finished(pictures, tmp_path):
    out, path = tmp_path / "out", pictures / "fowl" / "010.png"
    first = prepare(list_folder(pictures), out, SIDE, shard_size=IN_SHARD)
    for picture in pictures.rglob("*.png"):  # as in a copy
        os.utime(picture, (1, 1))
    again = prepare(list_folder(pictures), out, SIDE, shard_size=IN_SHARD)
    assert again.sha256 == first.sha256 and again.plan.source.stamp == list_folder(pictures).stamp
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(BadFile, match=r"010\.png' has changed since .*out' was begun"):
            prepare(list_folder(pictures), out, SIDE, shard_size=IN_SHARD)


@pytest.mark.parametrize("name", [AUTOENCODER, PARTS, MANIFEST])
def test_what_others_have_put_into_a_folder_stays(name, raw, autoencoder, tmp_path):
    path = tmp_path / "out" / name
    path.mkdir(parents=True)
    (path / "mine").write_text("precious")
    with pytest.raises(BadFile, match=f"holds something else, '{name}'.*`out`"):
        prepare(raw, tmp_path / "out", SIDE, autoencoder)
    assert (path / "mine").read_text() == "precious"


def test_an_autoencoder_that_a_killed_process_has_not_saved_is(raw, autoencoder, tmp_path):
    prepare(raw, tmp_path / "out", SIDE, autoencoder)
    shutil.rmtree(tmp_path / "out" / AUTOENCODER)
    prepare(raw, tmp_path / "out", SIDE, autoencoder)
    assert load_autoencoder(str(tmp_path / "out" / AUTOENCODER)).facts.sha256 == autoencoder.facts.sha256


def test_batches_as_on_a_gpu_give_the_same_rows_in_the_same_order(whole, raw, autoencoder, tmp_path, monkeypatch):
    monkeypatch.setattr(ShardWorker, "_encodes_in_threads", False)
    prepare(raw, tmp_path / "out", SIDE, autoencoder, shard_size=IN_SHARD, batch_size=3)
    made, rows = open_prepared(tmp_path / "out"), np.arange(2 * len(raw))
    np.testing.assert_allclose(made.rows[rows], whole.rows[rows], rtol=2e-3, atol=1e-4)
    np.testing.assert_array_equal(made.labels, whole.labels)


def test_too_little_memory_is_one_line(raw, autoencoder, tmp_path, monkeypatch):
    def encode(self, pixels, part):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried")

    monkeypatch.setattr(type(autoencoder), "encode", encode)
    with pytest.raises(DitbenchError, match="smaller `batch_size`"):
        prepare(raw, tmp_path / "out", SIDE, autoencoder)


def test_a_stream_is_not_read_by_several_processes(raw, tmp_path):
    with pytest.raises(BadValue, match="is a stream, which each of 2"):
        prepare(replace(raw, place="hf-stream:a/b"), tmp_path / "out", SIDE, processes=2)


def test_ctrl_c_while_a_process_starts_is_just_that(raw, tmp_path, monkeypatch):
    def start(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", start)
    with pytest.raises(KeyboardInterrupt):
        prepare(raw, tmp_path / "out", SIDE, processes=2)


def test_a_torn_shard_is_named_and_made_again(raw, tmp_path):
    out = tmp_path / "out"
    prepare(raw, out, SIDE, shard_size=IN_SHARD)
    whole, path = contents(out), out / "shard-00001.safetensors"
    os.truncate(path, 50)
    with pytest.raises(BadFile, match=r"shard-00001\.safetensors' can't be read .* Remove it and run the same"):
        prepare(raw, out, SIDE, shard_size=IN_SHARD)
    path.unlink()
    prepare(raw, out, SIDE, shard_size=IN_SHARD)
    assert contents(out) == whole


def test_a_damaged_plan_says_to_remove_the_folder(raw, tmp_path):
    prepare(raw, tmp_path / "out", SIDE)
    (tmp_path / "out" / PLAN).write_text("{}")
    with pytest.raises(BadFile, match="Remove the whole folder"):
        prepare(raw, tmp_path / "out", SIDE)


@pytest.mark.parametrize(
    ("classes", "fault"), [(("frog",), "'frog' has no image"), (("fish", "fowl", "frog"), "None of")]
)
def test_a_class_that_loses_all_its_images(classes, fault, pictures, tmp_path):
    for name in classes:
        for path in (pictures / name).iterdir():
            path.write_bytes(b"no picture")
    with pytest.raises(BadFile, match=fault):
        prepare(list_folder(pictures), tmp_path / "out", SIDE, skip_bad=True, shard_size=OF_CLASS)
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_latents_beyond_half_precision_are_refused(raw, autoencoder, tmp_path):
    loud = replace(autoencoder, network=_Loud(autoencoder.network))
    with pytest.raises(BadFile, match="half precision"):
        prepare(raw, tmp_path / "out", SIDE, loud)
    mute = replace(autoencoder, network=_Loud(autoencoder.network, float("nan")))
    with pytest.raises(BadFile, match=r"^The autoencoder 'vae' makes latents that are not all numbers \(NaN\)\.$"):
        prepare(raw, tmp_path / "again", SIDE, mute)


class _Loud:
    """An autoencoder with an enormous mean, or one that is no number."""

    def __init__(self, network, times=1e9):
        self.facts, self.module, self.save = network.facts, network.module, network.save
        self._network, self._times = network, times

    def encode(self, x):
        mean, std = self._network.encode(x)
        return mean * self._times, std


def test_the_plan_is_written_before_any_image_is_read(raw, tmp_path):
    def read(number):
        assert json.loads((tmp_path / "out" / PLAN).read_text())["resolution"] == SIDE
        return raw.read(number)

    prepare(replace(raw, read=read), tmp_path / "out", SIDE)
