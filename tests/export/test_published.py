"""Weights of ours under published names: the inverse of every plugin's `convert_reference`, found without a table."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ditbench.components import load
from ditbench.denoiser.interface import DIGITS_SPEC, build_denoiser, perturb
from ditbench.errors import BadFile, BadValue
from ditbench.export.published import WEIGHTS, fill_published, published
from ditbench.registry import Registry

ARCHITECTURES = Registry.installed().architectures
GOLDENS = Path(__file__).parents[1] / "goldens"
NETWORKS = sorted(path.stem for path in GOLDENS.glob("*.safetensors") if path.stem != "diffusion_visible")
QUICK = ("ddt_one_encoder", "dico_small", "dit_small", "mdtv2_small_masked", "uvit_small")  # joined, renamed, as ours
COMPUTED = ("hdit_global", "hdit_neighborhood")  # of these a conversion adds numbers up


def of_golden(path):
    """A network of ours, as a subject, and the tensors of the published one that it stands for."""
    with safe_open(path, "pt") as file:
        about = file.metadata()
        tables = {name.removeprefix("fixed."): file.get_tensor(name) for name in file.keys() if name[:6] == "fixed."}  # noqa: SIM118
    theirs = {**tables, **{name: torch.zeros(shape) for name, shape in json.loads(about["seeded"]).items()}}
    architecture = ARCHITECTURES[about["architecture"]]
    build = load(architecture.build)
    reference = import_module(build.__module__.partition(".")[0] + ".reference")
    spec, settings = reference.from_reference_config(json.loads(about["config"]), about["architecture"])
    network = build(spec, **settings)
    perturb(network)
    return subject_of(architecture, network), theirs


def subject_of(architecture, network):
    config = SimpleNamespace(label=f"{architecture.name}:nano", architecture=architecture.name)
    return SimpleNamespace(architecture=architecture, network=network, config=config)


@pytest.mark.parametrize(
    "golden",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in NETWORKS
        if name not in COMPUTED
    ],
)
def test_names_are_the_published_ones_and_come_back_to_the_bit(golden, tmp_path):
    subject, theirs = of_golden(GOLDENS / f"{golden}.safetensors")
    save_file(theirs, tmp_path / "like.safetensors")
    fill_published(subject, tmp_path, tmp_path / "like.safetensors")
    written = load_file(tmp_path / WEIGHTS)
    assert {name: tensor.shape for name, tensor in written.items()} == {name: t.shape for name, t in theirs.items()}
    back, ours = load(subject.architecture.convert_reference)(written), subject.network.state_dict()
    assert back.keys() == ours.keys() and all(torch.equal(back[name], ours[name]) for name in ours)


@pytest.mark.parametrize("golden", COMPUTED)
def test_what_is_computed_has_no_published_form(golden, tmp_path):
    subject, theirs = of_golden(GOLDENS / f"{golden}.safetensors")
    save_file(theirs, tmp_path / "like.safetensors")
    with pytest.raises(BadValue, match=r"hdit:nano: 'mapping.time.bias' \(our name\) is computed from several numbers"):
        published(subject, tmp_path / "like.safetensors")


def dit():
    network = build_denoiser(ARCHITECTURES["dit"])
    perturb(network)
    return subject_of(ARCHITECTURES["dit"], network)


def test_where_the_names_are_ours_nothing_more_is_needed():
    subject = dit()
    found = published(subject, None)
    assert found.keys() == subject.network.state_dict().keys()


def test_where_they_are_not_a_published_file_is_asked_for():
    subject = subject_of(ARCHITECTURES["uvit"], build_denoiser(ARCHITECTURES["uvit"]))
    with pytest.raises(BadValue, match=r"uvit:nano: \d+ of \d+ tensors, such as 'out_blocks.* by `like`"):
        published(subject, None)


def test_a_published_file_of_another_size(tmp_path):
    other = build_denoiser(ARCHITECTURES["dit"], "nano", replace(DIGITS_SPEC, classes=3))
    save_file(other.state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(BadFile, match=r"is not of dit:nano: 'y_embedder.embedding_table.weight' .* has shape"):
        published(dit(), tmp_path / "other.safetensors")
    state = dict(build_denoiser(ARCHITECTURES["dit"]).state_dict())
    del state["pos_embed"]
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(BadFile, match=r"has nothing for 'pos_embed' \(our name\) of dit:nano"):
        published(dit(), tmp_path / "less.safetensors")
    save_file({"head": torch.ones(1)}, tmp_path / "odd.safetensors")
    with pytest.raises(BadFile, match="has not the names of a published dit: dit: 'head' is no parameter"):
        published(dit(), tmp_path / "odd.safetensors")


def test_an_architecture_that_names_no_published_one():
    subject = dit()
    subject.architecture = SimpleNamespace(convert_reference=None)
    with pytest.raises(BadValue, match="dit has no published names: its plugin names no convert_reference"):
        published(subject, None)


def test_a_form_that_loses_something_is_refused(tmp_path):
    """What a conversion rounds can't come back."""

    def rounded(state):
        counted = {tensor.dtype for tensor in state.values()} == {torch.float64}
        return dict(state) if counted else {name: tensor.half().float() for name, tensor in state.items()}

    subject = dit()
    save_file(subject.network.state_dict(), tmp_path / "like.safetensors")
    subject.architecture = SimpleNamespace(convert_reference=rounded)
    with pytest.raises(BadValue, match="dit:nano: the published form can't hold"):
        fill_published(subject, tmp_path, tmp_path / "like.safetensors")
