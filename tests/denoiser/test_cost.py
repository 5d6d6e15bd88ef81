"""Parameters and multiply-accumulates against closed forms."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toy_net import Toy

from ditbench import Architecture, DenoiserSpec
from ditbench.components import load
from ditbench.denoiser.cost import activation_bytes, check_counted, cost_of, macs, recomputed_macs, training_macs
from ditbench.denoiser.interface import DIGITS_SPEC, build_denoiser, example_batch
from ditbench.errors import BadValue
from ditbench.registry import Registry
from ditbench.testing import latent_spec, parameters_and_macs

ARCHITECTURES = Registry.installed().architectures
MAIN_JOB = ("dit", "uvit", "mdt", "diffit")


def build(architecture: Architecture, spec: DenoiserSpec, size: str) -> nn.Module:
    with torch.device("meta"):
        return load(architecture.build)(spec, **architecture.settings(size, {}))


class OneOfEach(nn.Module):
    train_only = ("extra",)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)  # 60 parameters, 8*8*6*9 MACs
        self.linear = nn.Linear(6, 6, bias=False)  # 36 parameters, 64*36 MACs
        self.extra = nn.Linear(5, 5)  # 30 parameters, training only
        self.extras = nn.Linear(2, 2)  # not part of `extra`
        self.register_buffer("table", torch.zeros(7))
        self.register_buffer("index", torch.zeros(100, dtype=torch.long))
        self.register_buffer("angles", torch.zeros(13), persistent=False)  # follows from the settings
        self.fixed = nn.Parameter(torch.zeros(11), requires_grad=False)

    def forward(self, x, t, y):
        tokens = self.linear(self.conv(x).flatten(2).transpose(1, 2))[:, None]
        return F.scaled_dot_product_attention(tokens, tokens, tokens)  # 2 * 64*64*6 MACs


def test_counts_match_hand_arithmetic():
    cost = cost_of(OneOfEach(), DIGITS_SPEC)
    assert cost.parameters == 60 + 36 + 30 + 6 + 7 + 11
    assert cost.trainable_parameters == 60 + 36 + 30 + 6
    assert cost.train_only_parameters == 30
    forward = 64 * 6 * 9 + 64 * 36 + 2 * 64 * 64 * 6
    assert cost.macs_per_image == forward
    # backward: the convolution's weights, the linear's both sides, and attention's four products for its two
    assert cost.training_macs_per_image == forward + 64 * 6 * 9 + 2 * 64 * 36 + 4 * 64 * 64 * 6


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_gradients_of_a_convolution_with_groups_cost_a_forward_each(kind, groups):
    class Convolutions(nn.Sequential):
        def forward(self, x, t, y):
            return super().forward(x)

    first, second = nn.Conv2d(1, 6, 3, padding=1), kind(6, 12, 3, stride=2, padding=1, groups=groups)
    ahead = 64 * 6 * 9
    taps = {nn.Conv2d: 16, nn.ConvTranspose2d: 64}[kind] * 9 * 6 * 12 // groups
    assert macs(Convolutions(first, second), DIGITS_SPEC) == ahead + taps
    assert training_macs(Convolutions(first, second), DIGITS_SPEC)[0] == 2 * ahead + 3 * taps  # x has no gradient


def test_training_counts_every_forward_of_the_denoisers_own_loss():
    class Twice(OneOfEach):
        def training_loss(self, loss):
            return loss() + loss()

    once, twice = training_macs(OneOfEach(), DIGITS_SPEC), training_macs(Twice(), DIGITS_SPEC)
    assert twice[:2] == (2 * once[0], 2) and once[1] == 1


@pytest.mark.parametrize("learn_variance", [False, True])
def test_a_forward_that_is_weighed_counts_as_one_whose_mean_is_taken(learn_variance):
    """And its parts are those of the stand-in's loss, on the meta device, too."""

    class ByItsParts(Toy):
        def training_loss(self, loss):
            first, seen = loss(), loss.forward()
            whole = seen.error.mean() + seen.rest.mean()
            assert whole.is_meta or torch.allclose(whole, first)
            return first + whole

    spec = replace(DIGITS_SPEC, learn_variance=learn_variance)
    once = training_macs(Toy(spec, width=8), spec)
    for device in ("cpu", "meta"):
        with torch.device(device):
            network = ByItsParts(spec, width=8)
        network.drop.p = 0.0
        assert training_macs(network, spec)[:2] == (2 * once[0], 2)
    assert activation_bytes(network, spec) > activation_bytes(Toy(spec, width=8), spec)


def test_counting_leaves_the_denoiser_and_the_generator_alone():
    class Counted(OneOfEach):
        def forward(self, x, t, y):
            self.table += 1
            return super().forward(x, t, y) + torch.rand(1)

    denoiser, before = Counted(), torch.get_rng_state()
    cost_of(denoiser, DIGITS_SPEC)
    assert denoiser.training and not denoiser.table.any() and denoiser.linear.weight.grad is None
    assert torch.equal(before, torch.get_rng_state())


def spec_of(name: str, size: str) -> DenoiserSpec:
    return ARCHITECTURES[name].specs[size]


def dit_macs(spec: DenoiserSpec, depth: int, width: int, patch_size: int, **_: int) -> tuple[int, int]:
    """A forward by hand, and what of it takes no gradient to its input: patches, and the sinusoids of t.

    papers: 12*T*d^2 + 2*T^2*d per block, and 6*d^2 for its adaLN modulation.
    """
    tokens, pixels = (spec.resolution // patch_size) ** 2, patch_size**2
    blocks = depth * (12 * tokens * width**2 + 2 * tokens**2 * width + 6 * width**2)
    head = 2 * width**2 + tokens * width * pixels * spec.out_channels
    patches, sinusoids = tokens * pixels * spec.channels * width, 256 * width
    return blocks + head + patches + sinusoids + width**2, patches + sinusoids


@pytest.mark.parametrize(
    ("size", "resolution"),
    [
        ("nano", None),
        ("S/2", None),
        ("B/8", None),
        pytest.param("L/4", None, marks=pytest.mark.slow),  # faster: of S and B, the same sum with other numbers
        pytest.param("XL/2", None, marks=pytest.mark.slow),  # faster: the same
        ("nano", 64),
    ],
)
def test_dit_matches_the_closed_formula(size, resolution):
    spec = replace(spec_of("dit", size), resolution=resolution or spec_of("dit", size).resolution)
    forward, inputs = dit_macs(spec, **ARCHITECTURES["dit"].sizes[size])
    denoiser = build(ARCHITECTURES["dit"], spec, size)
    assert macs(denoiser, spec) == forward
    # every product has two in the backward pass, attention's included, but for those that only lead to an input
    assert training_macs(denoiser, spec)[0] == 3 * forward - inputs


def uvit_macs(spec: DenoiserSpec, depth: int, width: int, patch_size: int, conv: str = "after", **_: int) -> int:
    """A forward by hand: the time and the label are tokens, and half of the layers join a long skip, 2*T*d^2."""
    patches, pixels = (spec.resolution // patch_size) ** 2, patch_size**2
    tokens = patches + 1 + (spec.classes > 0)
    blocks = depth * (12 * tokens * width**2 + 2 * tokens**2 * width) + depth // 2 * 2 * tokens * width**2
    ends = patches * pixels * width * (spec.channels + spec.out_channels)
    return blocks + ends + (9 * spec.resolution**2 * spec.out_channels**2 if conv == "after" else 0)


# faster: of the small, the same sum with other numbers
LARGE = [pytest.param(size, marks=pytest.mark.slow) for size in ("M/4", "L/2", "H/4")]


@pytest.mark.parametrize("size", ["nano", "S/2", "S/4", *LARGE])
def test_uvit_matches_the_closed_formula(size):
    spec = spec_of("uvit", size)
    expected = uvit_macs(spec, **ARCHITECTURES["uvit"].sizes[size])
    assert macs(build(ARCHITECTURES["uvit"], spec, size), spec) == expected


def test_a_network_with_memory_counts_as_one_without():
    assert (
        macs(build_denoiser(ARCHITECTURES["dit"]), DIGITS_SPEC)
        == dit_macs(DIGITS_SPEC, **ARCHITECTURES["dit"].sizes["nano"])[0]
    )


def test_a_forward_alone_counts_as_much_and_trains_nothing():
    whole = cost_of(build_denoiser(ARCHITECTURES["mdtv2"]), DIGITS_SPEC).model_dump()
    assert vars(parameters_and_macs(ARCHITECTURES["mdtv2"])).items() <= whole.items()

    class Untrainable(OneOfEach):
        def training_loss(self, loss):
            raise AssertionError("it was trained")

    one = Architecture(name="one", build=lambda spec: Untrainable(), sizes={"nano": {}})
    assert parameters_and_macs(one).train_only_parameters == 30


@pytest.mark.parametrize("name", MAIN_JOB)
def test_training_costs_the_same_on_every_device(name):
    on_meta = build(ARCHITECTURES[name], DIGITS_SPEC, "nano")
    assert cost_of(build_denoiser(ARCHITECTURES[name]), DIGITS_SPEC) == cost_of(on_meta, DIGITS_SPEC)


def test_the_four_nano_models_cost_the_same_within_ten_percent():
    counts = {name: macs(build(ARCHITECTURES[name], DIGITS_SPEC, "nano"), DIGITS_SPEC) for name in MAIN_JOB}
    assert max(counts.values()) <= 1.10 * min(counts.values()), counts


@pytest.mark.parametrize("name", MAIN_JOB)
def test_what_checkpointing_computes_again_is_no_training_macs(name):
    plain = build_denoiser(ARCHITECTURES[name])
    again = build_denoiser(ARCHITECTURES[name], checkpointing=True)
    assert cost_of(again, DIGITS_SPEC) == cost_of(plain, DIGITS_SPEC)
    assert recomputed_macs(plain, DIGITS_SPEC) == 0
    forward = macs(plain, DIGITS_SPEC) * (2 if name == "mdt" else 1)
    assert 0.5 * forward < recomputed_macs(again, DIGITS_SPEC) <= 1.1 * forward


@pytest.mark.parametrize(
    ("name", "size", "spec", "before"),
    [
        pytest.param("mdt", "XL/2", latent_spec(), 1.143, marks=pytest.mark.slow),  # faster: of nano
        pytest.param("mdtv2", "XL/2", latent_spec(), 1.186, marks=pytest.mark.slow),  # faster: of mdt's nano
        ("mdt", "nano", DIGITS_SPEC, 0.956),
        ("dit", "nano", DIGITS_SPEC, 1.001),
    ],
    ids=str,
)
def test_flops_are_twice_the_macs_of_training_and_no_longer_three_forwards(name, size, spec, before):
    cost = cost_of(build(ARCHITECTURES[name], spec, size), spec)
    assert cost.training_flops() == cost.training_flops(2) == 2 * cost.training_macs_per_image
    assert cost.training_flops(1) == 6 * cost.macs_per_image * cost.training_forwards
    assert cost.training_flops(1) / cost.training_flops() == pytest.approx(before, abs=5e-4)


@pytest.mark.parametrize("name", [*MAIN_JOB, "mdtv2"])
def test_real_images_take_what_was_counted_of_zeros(name):
    """MDT's masked pass included, whose length v2 draws."""
    denoiser = build_denoiser(ARCHITECTURES[name])
    counted = cost_of(denoiser, DIGITS_SPEC).training_macs_per_image
    check_counted(denoiser, counted, *example_batch(DIGITS_SPEC, 8))
    with pytest.raises(BadValue, match="it computes less while it is counted"):
        check_counted(denoiser, counted - 1000, *example_batch(DIGITS_SPEC, 1))


def test_a_mean_over_draws_that_is_far_from_the_draws_is_told():
    class Modest(OneOfEach):
        def training_loss(self, loss):
            return loss() + loss()

        def training_cost(self, cost):
            return cost()

    counted = training_macs(Modest(), DIGITS_SPEC)[0]
    with pytest.raises(BadValue, match="or by its 'training_cost'"):
        check_counted(Modest(), counted, *example_batch(DIGITS_SPEC, 2))


def test_counting_again_leaves_the_denoiser_its_gradients_and_the_generator_alone():
    class Counted(OneOfEach):
        def forward(self, x, t, y):
            self.table += 1
            return super().forward(x, t, y) + torch.rand(1)

    counted = training_macs(OneOfEach(), DIGITS_SPEC)[0]
    denoiser, before = Counted(), torch.get_rng_state()
    denoiser.conv.weight.grad = torch.ones_like(denoiser.conv.weight)
    check_counted(denoiser.eval(), counted, *example_batch(DIGITS_SPEC, 2))
    assert torch.equal(before, torch.get_rng_state()) and not denoiser.training
    assert not denoiser.table.any() and (denoiser.conv.weight.grad == 1).all()
