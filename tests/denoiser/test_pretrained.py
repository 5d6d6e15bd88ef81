"""Published checkpoints come in whole, renamed and unharmed, or not at all."""

import argparse
import json
import os
import pickle
import sys
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ditbench import BadValue
from ditbench.components import Selection
from ditbench.denoiser.interface import DIGITS_SPEC, build_denoiser, example_batch, perturb
from ditbench.denoiser.pretrained import import_checkpoint, read_published
from ditbench.errors import BadFile, DitbenchError
from ditbench.registry import Registry, select

REGISTRY = Registry.installed()
DIT = select(REGISTRY, "dit:nano")


@pytest.fixture
def net():
    net = build_denoiser(DIT.architecture)
    perturb(net)
    return net


def bring_in(path, selection=DIT, spec=DIGITS_SPEC, weights=None):
    out = path.with_name("out.safetensors")
    return out, import_checkpoint(selection, spec, path, out, weights)


def save(path, content):
    torch.save(content, path)
    return path


def test_a_bare_state_dict(net, tmp_path):
    out, done = bring_in(save(tmp_path / "bare.pt", net.state_dict()))
    fresh = build_denoiser(DIT.architecture)
    fresh.load_state_dict(load_file(out), strict=True)
    batch = example_batch(DIGITS_SPEC, 3)
    assert torch.equal(fresh(*batch), net(*batch))
    assert done.weights == "unstated" and done.parameters == 725_380
    with safe_open(out, "pt") as file:
        metadata = file.metadata()
    assert metadata["architecture"] == "dit:nano" and metadata["weights"] == "unstated"
    assert json.loads(metadata["spec"])["resolution"] == 8 and len(metadata["source_sha256"]) == 64


def test_safetensors(net, tmp_path):
    save_file(net.state_dict(), tmp_path / "published.safetensors")
    out, done = bring_in(tmp_path / "published.safetensors", weights="ema")
    assert done.weights == "ema"
    assert load_file(out).keys() == net.state_dict().keys()


def test_a_file_of_before_zip(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    bring_in(tmp_path / "old.pt")


@pytest.mark.parametrize(("weights", "stated", "factor"), [(None, "ema", 2), ("ema", "ema", 2), ("raw", "raw", 1)])
def test_a_training_checkpoint(net, tmp_path, weights, stated, factor):
    """As DiT's training script leaves it: both sets of weights, the optimiser, the arguments."""
    raw = net.state_dict()
    ema = {name: 2 * tensor for name, tensor in raw.items()}
    optimiser = torch.optim.AdamW(net.parameters()).state_dict()
    content = {"model": raw, "ema": ema, "opt": optimiser, "args": argparse.Namespace(model="DiT-XL/2")}
    out, done = bring_in(save(tmp_path / "0400000.pt", content), weights=weights)
    assert done.weights == stated
    assert torch.equal(load_file(out)["pos_embed"], factor * raw["pos_embed"])


def changed(change):
    def content(net):
        state = dict(net.state_dict())
        change(state)
        return state

    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(lambda s: s.pop("blocks.2.mlp.fc1.bias")), r"'blocks.2.mlp.fc1.bias' \(our name\) is missing"),
        (changed(lambda s: s.update({"blocks.4.mlp.fc1.bias": torch.ones(1)})), "'blocks.4.mlp.fc1.bias' is one too m"),
        (changed(lambda s: s.update(head=torch.ones(1))), "dit: 'head' is no parameter of a published DiT"),
        (
            changed(lambda s: s.update(pos_embed=torch.ones(1, 64, 96))),
            r"for 8x8x1 pixel, 10 classes: 'pos_embed' has shape \(1, 64, 96\), not \(1, 16, 96\). .*`resolution`",
        ),
        (changed(lambda s: s["blocks.0.mlp.fc1.bias"].fill_(torch.nan)), "'blocks.0.mlp.fc1.bias' is not finite"),
        (
            changed(lambda s: s.update({"blocks.0.mlp.fc1.bias": torch.full((384,), 1e300, dtype=torch.float64)})),
            "'blocks.0.mlp.fc1.bias' has a number too large for the network's torch.float32",
        ),
        (
            changed(lambda s: s.update({"blocks.0.mlp.fc1.bias": torch.ones(384, dtype=torch.int8)})),
            "'blocks.0.mlp.fc1.bias' is torch.int8",
        ),
        (
            lambda net: {"model": net.state_dict(), "opt": {}},
            "holds 'model', 'opt': no ema weights",
        ),
        (lambda net: [1, 2], "holds no state dict"),
        (lambda net: {}, "holds no state dict"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_written(net, tmp_path, content, message):
    path = save(tmp_path / "published.pt", content(net))
    with pytest.raises((BadFile, BadValue), match=message):
        import_checkpoint(DIT, DIGITS_SPEC, path, tmp_path / "new" / "out.safetensors")
    assert list(tmp_path.iterdir()) == [path]


def under(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("entry", "prefix"),
    [
        *(
            ("", begin)
            for begin in ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "a.b.")
        ),
        *((entry, "module.") for entry in ("state_dict", "model_state_dict", "module", "ema", "state_dict_ema")),
        ("state_dict", "model."),
    ],
)
def test_what_wraps_weights_is_taken_off(net, tmp_path, prefix, entry):
    state = under(prefix, net.state_dict())
    out, done = bring_in(save(tmp_path / "it.pt", {entry: state, "epoch": 3} if entry else state))
    assert done.weights == ("ema" if "ema" in entry else "unstated")
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in load_file(out).items())


def test_what_torch_wraps_inside_or_averages_is_taken_off(net, tmp_path):
    state = {name.replace("mlp.", "_orig_mod.mlp._fsdp_wrapped_module."): t for name, t in net.state_dict().items()}
    averaged = under("module.", state) | {"n_averaged": torch.tensor(7)}
    _, done = bring_in(save(tmp_path / "it.pt", {"ema": {"state_dict": averaged}}))
    assert done.weights == "ema"
    twice = net.state_dict() | {"blocks.0._orig_mod.mlp.fc1.bias": torch.ones(384)}
    with pytest.raises((BadFile, BadValue), match=r"two tensors that are 'blocks.0.mlp.fc1.bias'"):
        import_checkpoint(DIT, DIGITS_SPEC, save(tmp_path / "twice.pt", twice), tmp_path / "new.safetensors")


@pytest.mark.parametrize(("weights", "stated", "factor"), [(None, "ema", 2), ("ema", "ema", 2), ("raw", "raw", 1)])
def test_several_networks_under_their_names(net, tmp_path, weights, stated, factor):
    """As Lightning leaves them, the EMA beside."""
    raw = net.state_dict()
    ema = {name: 2 * tensor for name, tensor in raw.items()}
    state = under("model.", raw) | under("ema_model.module.", ema) | {"vae.conv.weight": torch.ones(3)}
    content = {"state_dict": state, "global_step": 7, "pytorch-lightning_version": "2.5"}
    out, done = bring_in(save(tmp_path / "last.ckpt", content), weights=weights)
    assert done.weights == stated
    assert torch.equal(load_file(out)["pos_embed"], factor * raw["pos_embed"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda s: under("one.", s) | under("two.", s),
            "2 sets of weights that fit; what fits is named 'one.', 'two.'",
        ),
        (
            lambda s: under("model.", s) | {"model_ema.pos_embed": s["pos_embed"]},
            "no sets of ema that fit; what fits is named 'model.'. Choose `weights`",
        ),
        (lambda s: under("unet.", {"a.b": s["pos_embed"]}), "Names begin with 'unet.'. Save the bare state dict"),
        (lambda s: {"ema": {**s, "decay": 0.999}}, "holds .* under 'ema': 'decay' is float, no tensor"),
        (lambda s: {"ema": {"shadow_params": list(s.values())}}, "holds 'shadow_params' under 'ema': no ema weights"),
        (lambda s: {"state_dict": {"state_dict": {"state_dict": {"state_dict": {"state_dict": s}}}}}, "no ema weights"),
        (lambda s: {**s, "pos_embed": s["pos_embed"].to("meta")}, "'pos_embed' has a shape and no numbers"),
        (lambda s: {"ema": {}}, "holds no state dict under 'ema'"),
        (lambda s: {f"k{'e' * 5000}y": 1}, r"holds 'keee[^']{0,100} *: no ema"),
    ],
)
def test_what_is_uncertain_is_named(net, tmp_path, content, message):
    path = save(tmp_path / "it.pt", content(net.state_dict()))
    with pytest.raises((BadFile, BadValue), match=message) as fault:
        import_checkpoint(DIT, DIGITS_SPEC, path, tmp_path / "out.safetensors")
    assert str(path.name) in str(fault.value) and "\n" not in str(fault.value)


class AttributeDict(dict):
    """As Lightning calls its own."""


@pytest.mark.parametrize(
    "beside",
    [
        np.float64(1), np.int32(3), np.ones(3), np.array(["a", None], object), Path("a"), datetime.now(UTC),
        AttributeDict(a=AttributeDict(b=1)), argparse.Namespace(a=Path("b")), torch.torch_version.TorchVersion("2.9"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_harmless_things_beside_weights_do_no_harm(net, tmp_path, monkeypatch, beside):
    monkeypatch.setattr(AttributeDict, "__module__", "lightning_fabric.utilities.data")
    for name in ("lightning_fabric", "lightning_fabric.utilities", "lightning_fabric.utilities.data"):
        monkeypatch.setitem(sys.modules, name, sys.modules[__name__])
    before = set(torch.serialization.get_safe_globals())
    _, done = bring_in(save(tmp_path / "it.pt", {"ema": net.state_dict(), "best": beside}))
    assert done.weights == "ema" and set(torch.serialization.get_safe_globals()) == before


def test_another_protocol_of_pickle_is_named(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "it.pt", pickle_protocol=4)
    with pytest.raises(BadFile, match=r"it is not pickled by protocol 2, which is torch.save's own"):
        read_published(tmp_path / "it.pt")


def test_what_is_not_what_its_name_says(net, tmp_path):
    (tmp_path / "lfs.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    with pytest.raises(BadFile, match=r"lfs.pt' is a pointer of Git LFS, not the file\. Fetch that"):
        read_published(tmp_path / "lfs.pt")
    (tmp_path / "page.SAFETENSORS").write_text("<html>")
    with pytest.raises(BadFile, match="it is no safetensors file, or cut off"):
        read_published(tmp_path / "page.SAFETENSORS")
    save(tmp_path / "it.pt", net.state_dict())
    with zipfile.ZipFile(tmp_path / "it.pt") as file, zipfile.ZipFile(tmp_path / "z.pt", "w", 8) as packed:
        for name in file.namelist():
            packed.writestr(name, file.read(name))
    with pytest.raises(BadFile, match=r"'it/data.pkl' in it is compressed, which torch.save does not do"):
        read_published(tmp_path / "z.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(BadFile, match="it is a pipe"):
        read_published(tmp_path / "pipe.pt")


HEADERS = {
    "half": b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8',
    "no JSON": b"{" * 50,
    "text": b'{"a":"b"}',
    "beyond": b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,800]}}',
    "gap": b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[2],"data_offsets":[6,8]}}',
    "another shape": b'{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}',
    "huge": b'{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}}',
    "negative": b'{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}',
    "no such type": b'{"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}',
    "nothing": b"{}",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_odd_headers_of_safetensors(tmp_path, header):
    path = tmp_path / "it.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(BadFile) as fault:
        read_published(path)
    assert "\n" not in str(fault.value) and "it.safetensors" in str(fault.value)


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('the pickle ran')",)


def test_no_code_of_a_checkpoint_runs(tmp_path):
    with pytest.raises(BadFile, match=r"bomb.pt' can't be read safely: it holds exec, which is code\. Get") as fault:
        read_published(save(tmp_path / "bomb.pt", {"ema": Bomb()}))
    assert str(fault.value).isprintable()
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(BadFile, match="can't be read safely"):
        read_published(tmp_path / "plain.pt")


def test_a_name_in_a_pickle_is_told_and_not_obeyed(tmp_path):
    plain, path = save(tmp_path / "plain.pt", {"ema": 1}), tmp_path / "evil.pt"
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            code = b"\x80\x02ce\x1b[31m::error::boo\nvil\n."
            new.writestr(name, code if name.endswith("data.pkl") else old.read(name))
    with pytest.raises(BadFile, match=r"it holds e\\x1b\[31m: :error::boo\.vil, which") as fault:
        read_published(path)
    assert str(fault.value).isprintable() and "::error::" not in str(fault.value)


@pytest.mark.parametrize(
    "start", [b"torn", b"PK\3\4torn", b"\x20\0\0\0\0\0\0\0{torn"], ids=["torn", "zip", "safetensors"]
)
def test_a_damaged_file(tmp_path, start):
    path = tmp_path / "published"
    path.write_bytes(start)
    with pytest.raises(BadFile, match=r"can't be read safely: it is damaged|it is no safetensors file, or cut off"):
        read_published(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadFile, match="gone' can't be read: No such file"):
        read_published(tmp_path / "gone")
    with pytest.raises(BadFile, match="can't be read: it is a folder, no file"):
        read_published(tmp_path)


def test_tied_tensors_are_written_apart(net, tmp_path):
    state = dict(net.state_dict())
    state["blocks.0.mlp.fc1.weight"] = state["blocks.1.mlp.fc1.weight"]
    out, _ = bring_in(save(tmp_path / "tied.pt", state))
    assert torch.equal(load_file(out)["blocks.0.mlp.fc1.weight"], state["blocks.1.mlp.fc1.weight"])


def test_a_fault_is_named_as_the_file_names_it(tmp_path):
    uvit = select(REGISTRY, "uvit:nano")
    state = {
        name.replace(".skip.linear.", ".skip_linear."): tensor
        for name, tensor in build_denoiser(uvit.architecture).state_dict().items()
    }
    bring_in(save(tmp_path / "good.pt", state), uvit)
    (tmp_path / "out.safetensors").unlink()
    state["out_blocks.0.skip_linear.bias"] = torch.ones(3)
    with pytest.raises(BadFile, match=r"'out_blocks.0.skip_linear.bias' has shape \(3,\), not \(104,\)"):
        bring_in(save(tmp_path / "bad.pt", state), uvit)


def test_a_file_that_exists_is_not_overwritten(net, tmp_path):
    path = save(tmp_path / "published.pt", net.state_dict())
    (tmp_path / "out.safetensors").write_text("precious")
    with pytest.raises(BadValue, match=r"out.safetensors' exists; choose another file with `out`"):
        bring_in(path)
    assert (tmp_path / "out.safetensors").read_text() == "precious"
    (tmp_path / "link").symlink_to("nowhere")
    for name, fault in {"link": "exists", "n" * 5000: "File name too long", "n" * 5000 + "/x": "can't be"}.items():
        with pytest.raises(DitbenchError, match=fault):
            import_checkpoint(DIT, DIGITS_SPEC, path, tmp_path / name)


def test_an_architecture_without_a_converter(net, tmp_path):
    architecture = replace(DIT.architecture, convert_reference=None)
    with pytest.raises(BadValue, match="dit can't import: its plugin names no convert_reference"):
        bring_in(save(tmp_path / "published.pt", net.state_dict()), Selection(architecture=architecture, size="nano"))
