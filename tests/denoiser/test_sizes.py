"""The table of sizes. The plugins' own tests hold its numbers against the papers."""

from dataclasses import replace

import pytest

from ditbench import BadValue, DenoiserSpec
from ditbench.builtins import REFERENCE_ARCHITECTURES
from ditbench.denoiser.cost import TrainingMacs
from ditbench.denoiser.sizes import Unfit, count_sizes
from ditbench.errors import UnknownName
from ditbench.registry import Registry
from ditbench.tracks.track import load_track
from ditbench.training.spec import spec_of

REGISTRY = Registry.installed()


@pytest.fixture(autouse=True)
def forward_alone(monkeypatch):
    """No test here asks what training costs, which takes longest to count; test_cost.py does."""
    monkeypatch.setattr("ditbench.denoiser.cost.training_macs", lambda denoiser, spec: TrainingMacs(0, 1, 0))


def few_layers(name):
    """What is installed, but for the depth of an architecture's sizes, which is the time that they take to count."""
    registry = Registry.installed()
    architecture, plugin = registry._items["ditbench_architectures"][name]
    sizes = {size: {**settings, "depth": 3} for size, settings in architecture.sizes.items()}
    registry._items["ditbench_architectures"][name] = (replace(architecture, sizes=sizes), plugin)
    return registry


def test_all_sizes_of_an_architecture_each_on_its_own_input():
    found = {size.label: size for size in count_sizes(few_layers("uvit"), "uvit")}
    assert list(found) == [f"uvit:{size}" for size in REGISTRY.architectures["uvit"].sizes]
    assert str(found["uvit:S/2"].spec) == "32x32x3 pixel, no classes"
    assert found["uvit:S/2"].cost.parameters < found["uvit:L/2"].cost.parameters < found["uvit:H/4"].cost.parameters
    assert str(found["uvit:H/4"].spec) == "64x64x4 latent, 1000 classes"


def test_one_size_with_options_on_another_input():
    (found,) = count_sizes(REGISTRY, "dit:XL/2+conditioning=in-context", {"resolution": 64})
    assert found.label == "dit:XL/2+conditioning=in-context"
    assert str(found.spec) == "64x64x4 latent, 1000 classes, learned variance"
    assert found.cost.parameters == 449_162_528 + 1024 * 1152  # the position table is not in the printed count


def test_every_size_of_the_reference_architectures_knows_its_input():
    for architecture in REGISTRY.architectures.values():
        assert architecture.specs.keys() == architecture.sizes.keys()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("cifar10", None),
        ("fashion32", None),
        pytest.param("fashion32", "S/2", marks=pytest.mark.slow),  # faster: cifar10, whose size is S/2
        pytest.param("imagenet64", None, marks=pytest.mark.slow),  # faster: the other tracks; the plugins count S/4
    ],
)
def test_one_size_name_fits_a_track_of_pixels_in_all_reference_architectures(name, size):
    track = load_track(REGISTRY.tracks[name])
    spec = vars(spec_of(track, REGISTRY))
    found = {
        architecture: count_sizes(REGISTRY, f"{architecture}:{size or track.size}", spec)[0].cost.macs_per_image
        for architecture in REFERENCE_ARCHITECTURES
    }
    equal = {architecture: macs / found["dit"] for architecture, macs in found.items() if architecture != "uvit"}
    assert equal == pytest.approx(dict.fromkeys(equal, 1), abs=0.02)  # U-ViT's S is larger as published


def test_a_size_that_was_made_for_nothing_needs_an_input(toy):
    registry = Registry.installed()
    with pytest.raises(BadValue, match="toy:nano was made for no particular input; give its channels, resolution"):
        list(count_sizes(registry, "toy:nano", {"classes": 3}))
    spec = DenoiserSpec(channels=3, resolution=16, classes=3, space="pixel")
    nano, big = count_sizes(registry, "toy", vars(spec))
    assert nano.spec == spec and big.cost.parameters > nano.cost.parameters


def test_sizes_that_do_not_fit_are_rows_unless_one_was_asked_for(toy):
    found = list(count_sizes(few_layers("dit"), "dit+conditioning=adaln", {"resolution": 12}))
    unfit = {size.label: size.reason for size in found if isinstance(size, Unfit)}
    assert unfit.keys() == {f"dit:{size}/8+conditioning=adaln" for size in ("S", "B", "L", "XL")}
    assert len(found) == 14 and "patch size 8 does not divide the resolution 12" in unfit["dit:S/8+conditioning=adaln"]
    with pytest.raises(BadValue, match="patch size 8 does not divide"):
        list(count_sizes(REGISTRY, "dit:S/8", {"resolution": 12}))
    assert all(isinstance(size, Unfit) for size in count_sizes(Registry.installed(), "toy"))


def test_what_is_not_there_is_named():
    with pytest.raises(UnknownName, match=r"No size of dit named 'XL/3'. Did you mean"):
        list(count_sizes(REGISTRY, "dit:XL/3"))
    with pytest.raises(UnknownName, match="No architecture named 'dti'"):
        list(count_sizes(REGISTRY, "dti+conditioning=adaln"))
