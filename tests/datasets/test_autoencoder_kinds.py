"""Every kind of autoencoder, small and untrained: what it makes, how it is kept, and what is refused."""

import importlib.util
import multiprocessing
import re
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pictures import NEEDS_RAE, RAE_IS_HERE, of_kinds, opened, prepare_slowly, write_kind, write_pictures
from safetensors.torch import load_file, save_file

from ditbench import Autoencoder, AutoencoderFacts
from ditbench.datasets.autoencoder import choose, load_again, load_autoencoder
from ditbench.datasets.crop import crop_of
from ditbench.datasets.examples import Data, Examples, Request
from ditbench.datasets.folder import list_folder
from ditbench.datasets.latent_map import LatentMap
from ditbench.datasets.loading import Feed
from ditbench.datasets.prepare import _joiner, _Task, prepare
from ditbench.datasets.prepared import load_latents, verify
from ditbench.datasets.shards import AUTOENCODER, MANIFEST, open_prepared
from ditbench.errors import BadFile, BadValue, DitbenchError, PluginFault, UnknownName
from ditbench.registry import Registry
from ditbench.tracks.track import DataChoice

SIDE, IN_SHARD = 16, 4
SHAPES = {"kl": (2, 4, 4, 4), "dc": (8, 4, 4), "rae": (64, 2, 2), "identity": (3, 16, 16)}
WEIGHTS = "diffusion_pytorch_model.safetensors"
PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, SIDE, SIDE), dtype=np.uint8))


@pytest.fixture(scope="module", params=of_kinds(SHAPES))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Nine pictures, and one autoencoder of each kind as `--autoencoder` calls it."""
    place = tmp_path_factory.mktemp("kinds")
    write_pictures(place / "pictures", 3)
    texts = {kind: write_kind(kind, place / kind) for kind in SHAPES if kind != "rae" or RAE_IS_HERE}
    return place, list_folder(place / "pictures"), texts


@pytest.fixture(scope="module")
def codec(home, kind):
    return opened(home[2][kind])


@pytest.fixture(scope="module")
def whole(home, kind, codec):
    """Prepared without a break."""
    prepare(home[1], home[0] / f"whole-{kind}", SIDE, codec, shard_size=IN_SHARD)
    return open_prepared(home[0] / f"whole-{kind}")


def contents(folder):
    return {path.name: path.read_bytes() for path in [*sorted(folder.glob("shard-*")), folder / MANIFEST]}


def test_rows_are_what_it_encodes(home, kind, codec, whole):
    raw = home[1]
    pixels = np.stack([crop_of(raw.read(n), raw.title(n), SIDE) for n in range(len(raw))])
    rows = whole.rows[np.arange(2 * len(raw))]
    assert rows.shape == (2 * len(raw), *SHAPES[kind]) and rows.dtype == np.float16
    for view, images in enumerate((pixels, pixels[..., ::-1].copy())):
        found = codec.encode(torch.from_numpy(images))
        expected = torch.stack(found, dim=1) if len(found) > 1 else found[0]
        np.testing.assert_allclose(rows[view::2], expected.numpy(), rtol=2e-3, atol=2e-3)
    assert whole.manifest.plan.autoencoder == codec.facts and codec.facts.kind == kind
    assert (codec.facts.statistics == "posterior") == (kind == "kl")


def test_what_is_kept_opens_again_and_is_the_same(kind, codec, whole):
    again = load_again(whole.folder / AUTOENCODER, codec.facts)
    latents = codec.latent_map.apply(codec.encode(PIXELS)[0])
    assert torch.equal(again.decode(latents), codec.decode(latents))
    assert codec.decode(latents).shape == PIXELS.shape
    verify(whole.folder)
    if kind != "identity":
        with pytest.raises(BadFile, match="is not the autoencoder that made the latents"):
            load_again(whole.folder / AUTOENCODER, codec.facts.model_copy(update={"sha256": "0" * 64}))


def test_another_seed_is_another_autoencoder(kind, codec, tmp_path):
    other = opened(write_kind(kind, tmp_path / "other", seed=1))
    assert (other.facts.sha256 == codec.facts.sha256) == (kind == "identity")


def test_what_was_interrupted_resumes(home, kind, codec, whole, tmp_path):
    raw, out, read = home[1], tmp_path / "out", []

    def stop(number):
        if number == 6:
            raise KeyboardInterrupt
        read.append(number)
        return raw.read(number)

    with pytest.raises(KeyboardInterrupt):
        prepare(replace(raw, read=stop), out, SIDE, codec, shard_size=IN_SHARD)
    finished = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*")}
    assert list(finished) == ["shard-00000.safetensors"] and not (out / MANIFEST).exists()
    prepare(raw, out, SIDE, codec, shard_size=IN_SHARD)
    assert contents(out) == contents(whole.folder)
    assert finished.items() <= {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*")}.items()


@pytest.mark.slow
def test_what_was_killed_resumes(home, kind, codec, whole, tmp_path):
    out = tmp_path / "out"
    asked = (home[0] / "pictures", out, home[2][kind], SIDE, IN_SHARD)
    process = multiprocessing.get_context("forkserver").Process(target=prepare_slowly, args=asked)
    process.start()
    while process.is_alive() and len(list(out.glob("parts/*.json"))) < 2:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL and not (out / MANIFEST).exists()
    prepare(home[1], out, SIDE, codec, shard_size=IN_SHARD)
    assert contents(out) == contents(whole.folder)


def test_another_process_opens_the_same(home, codec, whole):
    raw = home[1]
    joined = _joiner(_Task(whole.folder, raw.place, raw.stamp, False, True, "cpu", None, 1))
    assert joined.autoencoder.facts == codec.facts
    assert torch.equal(joined.autoencoder.encode(PIXELS)[0], codec.encode(PIXELS)[0])


def test_latents_normalised_by_channel_have_mean_0_and_deviation_1_and_decode_as_ever(kind, codec, whole):
    data = load_latents(Request(resolution=SIDE, space="latent", place=str(whole.folder)))
    seen = data.normalise().latent_map
    rows = torch.from_numpy(whole.rows[np.arange(whole.rows.shape[0])]).float()
    means = rows[:, 0] if kind == "kl" else rows
    x = seen.apply(means)
    if kind == "kl":  # what is drawn is wider than its means
        variance = (x.var((0, 2, 3), correction=0) + (rows[:, 1] * torch.tensor(seen.factor)[:, None, None]).square()
                    .mean((0, 2, 3)))  # fmt: skip
    else:
        variance = x.var((0, 2, 3), correction=0)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(x.shape[1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(variance, torch.ones(x.shape[1]), atol=1e-4, rtol=0)
    plain = codec.decode(codec.latent_map.apply(means[:2]))
    torch.testing.assert_close(replace(codec, seen=seen).decode(x[:2]), plain, atol=1e-4, rtol=0)
    feed = Feed(data.normalise(), DataChoice(dataset="latents", resolution=SIDE, flip=True), 0, torch.device("cpu"))
    batch, _ = feed.batch(0, len(data.examples), torch.Generator().manual_seed(0))
    feed.close()
    assert batch.shape[1:] == data.examples.shape and 0.5 < batch.std() < 1.5


def test_channels_that_never_change_or_are_not_known_can_not_be_normalised():
    made = Data(
        "made", "0" * 64, Examples(np.zeros((2, 3, 1, 1), np.float16), np.zeros(2, np.int64), drawn=False), (), None
    )
    assert made.examples.shape == (3, 1, 1)
    with pytest.raises(BadFile, match=r"^'made' does not tell mean and deviation of its latents' channels\.$"):
        made.normalise()
    with pytest.raises(BadFile, match=r"^Channel 1 of the latents of 'made' never changes"):
        replace(made, mean=(0.0,) * 3, std=(1.0, 0.0, 1.0)).normalise()


@torch.inference_mode()
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"shift_factor": 0.2}, lambda z: (z - 0.2) * 0.18215),  # as FLUX's pipeline undoes it
        (
            {"latents_mean": (0.1, 0.2, 0.3, 0.4), "latents_std": (1.0, 2.0, 3.0, 4.0)},  # as SDXL's does
            lambda z: (
                (z - torch.tensor([0.1, 0.2, 0.3, 0.4])[:, None, None])
                * 0.18215
                / torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None]
            ),
        ),
    ],
)
def test_shifts_of_an_autoencoder_kl_are_made_and_undone(changes, expected, tmp_path):
    codec, z = opened(write_kind("kl", tmp_path / "kl", **changes)), torch.randn(2, 4, 4, 4)
    x = codec.latent_map.apply(z)
    torch.testing.assert_close(x, expected(z))
    torch.testing.assert_close(codec.latent_map.undo(x), z)
    torch.testing.assert_close(codec.decode(x), codec.network.decode(z).clamp(-1, 1))
    mean, std = codec.latent_map.statistics(np.zeros(4), np.ones(4))
    np.testing.assert_allclose(mean, expected(torch.zeros(1, 4, 1, 1)).flatten(), atol=1e-7)
    np.testing.assert_allclose(std, np.broadcast_to(codec.latent_map.factor, 4))


def test_the_identity_loses_no_byte():
    codec = load_autoencoder("", kind="identity")
    x = codec.encode(PIXELS)[0].half().float()
    assert torch.equal(((codec.decode(x) + 1) * 127.5).round().to(torch.uint8), PIXELS)
    assert codec.latent_map == LatentMap()


def test_a_name_or_a_place():
    registry = Registry.installed()
    assert choose("stabilityai/sd-vae-ft-mse", registry) == (registry.autoencoders["kl"], "stabilityai/sd-vae-ft-mse")
    assert choose("C:\\vae", registry)[1] == "C:\\vae" and choose("~/vae", registry)[1] == "~/vae"
    assert choose("dc:/a:b", registry) == (registry.autoencoders["dc"], "/a:b")
    assert choose("identity", registry) == (registry.autoencoders["identity"], "")


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("ident", UnknownName, "No autoencoder named 'ident'. Did you mean 'identity'?"),
        ("nonesuch:/weights", UnknownName, "No autoencoder named 'nonesuch'"),
        ("dc", BadValue, "Where are the weights of the autoencoder 'dc'? Write dc:PLACE, a folder or a name."),
        ("kl:", BadValue, "Write kl:PLACE"),
        ("identity:here", BadValue, "The autoencoder 'identity' has no weights; leave out 'here'."),
        ("dc:./nowhere", BadFile, "There is no folder './nowhere'"),
    ],
)
def test_what_is_no_autoencoder_is_one_line(text, error, told):
    with pytest.raises(error, match=re.escape(told)) as raised:
        opened(text)
    assert "\n" not in str(raised.value)


def damage(folder):
    with (folder / WEIGHTS).open("r+b") as file:
        file.truncate(1000)


def lose_a_weight(folder):
    weights = load_file(folder / WEIGHTS)
    weights.pop("decoder.conv_in.bias", None) is None and weights.pop("decoder.decoder_embed.bias")
    save_file(weights, folder / WEIGHTS)


@pytest.mark.parametrize("of", of_kinds(["dc", "rae"]))
@pytest.mark.parametrize(("harm", "told"), [(damage, "can't be read"), (lose_a_weight, r"don't fit its config\.json")])
def test_bad_weights_are_one_line(of, harm, told, tmp_path):
    text = write_kind(of, tmp_path / of)
    harm(tmp_path / of)
    with pytest.raises(BadFile, match=told) as raised:
        opened(text)
    assert "\n" not in str(raised.value) and str(tmp_path / of) in str(raised.value)


def test_an_autoencoder_of_grey_images_is_refused(tmp_path):
    with pytest.raises(BadFile, match=r"grey' is for images of \(1,\) channels, not RGB\.$"):
        opened(write_kind("dc", tmp_path / "grey", in_channels=1))


def test_the_wrong_kind_is_told_with_the_right_one(tmp_path):
    write_kind("dc", tmp_path / "dc")
    with pytest.raises(
        BadFile, match=rf"is diffusers' AutoencoderDC, not its AutoencoderKL: write dc:{tmp_path}/dc\.$"
    ):
        opened(str(tmp_path / "dc"))


def test_weights_that_are_no_numbers_are_found_with_one_image(tmp_path):
    text = write_kind("dc", tmp_path / "dc")
    weights = load_file(tmp_path / "dc" / WEIGHTS)
    weights["encoder.conv_in.weight"][:] = float("nan")
    save_file(weights, tmp_path / "dc" / WEIGHTS)
    with pytest.raises(BadFile, match=r"^The autoencoder 'dc' makes latents that are not all numbers \(NaN\)\.$"):
        opened(text).check(SIDE)


def test_images_of_other_sizes_are_refused(home):
    with pytest.raises(BadValue, match=r"don't divide into the latent cells of 'dc': give a multiple of 4\.$"):
        opened(home[2]["dc"]).check(18)


@NEEDS_RAE
def test_one_that_takes_images_of_one_size_refuses_others(home):
    with pytest.raises(BadValue, match=r"^'rae' takes images of 16 pixels alone, not of 32\.$"):
        opened(home[2]["rae"]).check(32)


def test_without_transformers_the_extra_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else found(name))
    with pytest.raises(BadValue, match=r"^The autoencoder 'rae' needs 'transformers': .*'ditbench\[rae\]'\.$"):
        load_autoencoder("/nowhere", kind="rae")


FACTS = AutoencoderFacts(name="halves", sha256="1" * 64, scale=1.0, factor=2, channels=3)


class Halves:
    """A plugin's: the mean of each 2 x 2 pixels, and what a test makes wrong of it."""

    module = torch.nn.Identity()

    def __init__(self, facts=FACTS, encoded=lambda means: (means, means * 0)):
        self.facts, self._encoded = facts, encoded

    def encode(self, images):
        return self._encoded(torch.nn.functional.avg_pool2d(images, 2))

    def decode(self, latents):
        return latents.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def save(self, folder):
        folder.mkdir()


def test_an_autoencoder_of_a_plugin():
    kind = Autoencoder(name="halves", open=lambda place, offline: Halves())
    found = load_autoencoder("", kind=kind)
    found.check(SIDE)
    assert found.facts == FACTS.model_copy(update={"kind": "halves"})


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (Halves(facts=None), "opens Halves, which has no facts"),
        (SimpleNamespace(facts=FACTS, module=Halves.module), "opens SimpleNamespace, which has no encode"),
        (Halves(FACTS.model_copy(update={"sha256": "x"})), "The facts of the autoencoder 'halves' are wrong: sha256"),
        (Halves(FACTS.model_copy(update={"shift": (1.0, 2.0)})), "of 3 channels"),
        (Halves(FACTS.model_copy(update={"channels": 4})), r"gives latents of \(1, 3, 8, 8\), not \(1, 4, 8, 8\)"),
        (Halves(encoded=lambda means: (means,)), "gives 1 tensors: posterior"),
    ],
)
def test_a_plugin_that_does_otherwise_than_it_says_is_one_line(network, told):
    with pytest.raises(PluginFault, match=told) as raised:
        load_autoencoder("", kind=Autoencoder(name="halves", open=lambda place, offline: network)).check(SIDE)
    assert isinstance(raised.value, DitbenchError) and "\n" not in str(raised.value)


def test_a_folder_by_its_bare_name_is_a_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownName, match="No autoencoder named 'my-vae'"):
        choose("my-vae", Registry.installed())
    (tmp_path / "my-vae").mkdir()
    found, place = choose("my-vae", Registry.installed())
    assert (found.name, place) == ("kl", "my-vae")
