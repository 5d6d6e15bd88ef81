"""Published checkpoints come in whole, renamed and unharmed, or not at all."""

import argparse
import json
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ditbench import BadValue
from ditbench.components import Selection
from ditbench.denoiser.interface import DIGITS_SPEC, build_denoiser, example_batch, perturb
from ditbench.denoiser.pretrained import import_checkpoint, read_published
from ditbench.errors import BadFile
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


@pytest.mark.parametrize(
    "start", [b"torn", b"PK\3\4torn", b"\x20\0\0\0\0\0\0\0{torn"], ids=["torn", "zip", "safetensors"]
)
def test_a_damaged_file(tmp_path, start):
    path = tmp_path / "published"
    path.write_bytes(start)
    with pytest.raises(BadFile, match=r"can't be read safely: it is damaged|is no whole safetensors file"):
        read_published(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadFile, match="gone' can't be read: No such file"):
        read_published(tmp_path / "gone")
    with pytest.raises(BadFile, match="can't be read: Is a directory"):
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


def test_an_architecture_without_a_converter(net, tmp_path):
    architecture = replace(DIT.architecture, convert_reference=None)
    with pytest.raises(BadValue, match="dit can't import: its plugin names no convert_reference"):
        bring_in(save(tmp_path / "published.pt", net.state_dict()), Selection(architecture=architecture, size="nano"))
