"""muP: what of a network is scaled by its width and by how much, and a check that its layers then keep their size."""

import math
from dataclasses import replace

import pytest
import torch
from test_scaling import LADDER, TOY
from torch import nn
from toy_net import Toy

from ditbench import BadValue, Option
from ditbench.components import Selection
from ditbench.denoiser.conformance.coordinates import grown, outputs
from ditbench.denoiser.conformance.subject import subject_of
from ditbench.denoiser.conformance.suite import examine
from ditbench.denoiser.interface import DIGITS_SPEC
from ditbench.denoiser.parametrization import in_groups, scales_of, start_as_scaled, widths_of
from ditbench.registry import Registry, select


class Mixed(nn.Module):
    """Every kind of parameter, each of which starts in its own way. It is never called."""

    def __init__(self, spec, *, width, depth=1):
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2)
        self.table = nn.Embedding(11, width)
        self.rows = nn.Parameter(torch.randn(11, width))
        self.fixed = nn.Parameter(torch.randn(width, width), requires_grad=False)
        self.hidden = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(depth))
        self.constant = nn.Linear(4 * width, width, bias=False)
        self.of_both = nn.Linear(2 * width, width, bias=False)
        self.raw = nn.Parameter(torch.randn(width, width) / width)
        self.depthwise = nn.Conv2d(width, width, 3, groups=width)
        self.kernel = nn.Conv2d(width, width, 3, bias=False)
        self.up = nn.ConvTranspose2d(width, 2 * width, 2, bias=False)
        self.norm = nn.LayerNorm(width)
        self.scores = nn.Parameter(torch.zeros(9, width // 8))  # of heads, whose number grows
        self.zero = nn.Linear(width, 6 * width, bias=False)
        self.outward = nn.Linear(width, 4)
        self.last = nn.Conv2d(1, 1, 3)
        nn.init.normal_(self.constant.weight, std=0.02)
        nn.init.zeros_(self.zero.weight)


MIXED = replace(TOY, build=Mixed, options={})
HIDDEN = {
    "hidden.0.weight", "constant.weight", "of_both.weight", "raw", "kernel.weight", "up.weight", "zero.weight",
}  # fmt: skip


def chosen(architecture=MIXED, size="nano-wide", **options):
    return Selection(architecture=architecture, size=size, options=options)


def started(selection, seed=0):
    """A network as the plugin has it, and the same as muP has it."""
    networks = []
    for scales in ({}, scales_of(selection, DIGITS_SPEC)):
        torch.manual_seed(seed)
        networks.append(selection.build(DIGITS_SPEC))
        start_as_scaled(networks[-1], scales, selection, DIGITS_SPEC, seed)
    return [dict(network.named_parameters()) for network in networks]


def size_of(parameter):
    return float(parameter.detach().double().square().mean().sqrt())


def test_a_parameter_is_scaled_by_the_number_of_its_inputs_if_that_grows():
    """nano-wide is 24 wide, and nano 16. Table 3 of Yang et al.: rates of matrices by 1 / inputs."""
    scales = scales_of(chosen(), DIGITS_SPEC)
    assert {name for name, scale in scales.items() if scale.rate != 1} == {*HIDDEN, "outward.weight"}
    assert all(scales[name].rate == pytest.approx(2 / 3) for name in (*HIDDEN, "outward.weight"))
    assert all(scales[name].start == pytest.approx(math.sqrt(2 / 3)) for name in HIDDEN)
    assert scales["outward.weight"].start == pytest.approx(2 / 3) and "fixed" not in scales


def test_a_start_is_measured_so_it_does_not_matter_how_a_plugin_scales_it():
    """Both by fan-in (torch's own) and by a number of the paper: what is asked of the wide one is of the base's."""
    selection = chosen()
    (plain, scaled), (base, same) = started(selection), started(chosen(size="nano"))
    assert all(torch.equal(base[name], same[name]) for name in base), "at the base width nothing is scaled"
    for name, inputs in (
        ("constant.weight", 0.5),
        ("hidden.0.weight", 0.5),
        ("outward.weight", 1),
        ("table.weight", 0),
    ):
        assert size_of(scaled[name]) / size_of(base[name]) == pytest.approx((2 / 3) ** inputs, rel=1e-6), name
    assert size_of(plain["constant.weight"]) > 1.1 * size_of(scaled["constant.weight"])
    unscaled = ("norm.weight", "zero.weight", "fixed", "last.weight", "last.bias", "outward.bias")
    assert all(torch.equal(plain[name], scaled[name]) for name in unscaled)
    for name, parameter in plain.items():  # one factor for all of a parameter
        torch.testing.assert_close(parameter * (size_of(scaled[name]) / (size_of(parameter) or 1)), scaled[name])


def test_measuring_draws_nothing_from_the_runs_generator():
    selection = chosen()
    network = selection.build(DIGITS_SPEC)
    before = torch.get_rng_state()
    start_as_scaled(network, scales_of(selection, DIGITS_SPEC), selection, DIGITS_SPEC, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_rung_of_another_depth_is_held_against_itself_at_the_base_width():
    rung = select(Registry.installed(), "dit:nano-x4+conditioning=adaln")
    base = widths_of(rung).base
    assert (base["depth"], base["width"], base["heads"], base["conditioning"]) == (7, 96, 4, "adaln")
    scales = scales_of(rung, rung.made_for)
    assert (
        scales["blocks.6.mlp.fc1.weight"].rate == pytest.approx(96 / 144) and scales["x_embedder.proj.weight"].rate == 1
    )


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        (chosen(size="big"), "grown:big has no ladder of sizes"),
        (
            chosen(replace(MIXED, options={"width": Option(default=16)}), width=9),
            r"grown:nano-wide\+width=9: width says how wide it is",
        ),
        (chosen(replace(MIXED, ladder={"nano": replace(LADDER, wide={"width": 8})})), "nothing grows"),
        (
            chosen(replace(MIXED, ladder={"nano": replace(LADDER, wide={"width": 24, "depth": 2})}), "nano-narrow"),
            "grown:nano-narrow has other layers at the widths",
        ),
    ],
)  # fmt: skip
def test_what_can_not_be_scaled_is_told_in_one_line(selection, told):
    with pytest.raises(BadValue, match=told) as caught:
        scales_of(selection, DIGITS_SPEC)
    assert "\n" not in str(caught.value)


def test_what_a_step_takes_from_a_weight_is_the_same_at_any_width():
    parameters = [nn.Parameter(torch.zeros(n)) for n in (1, 2, 3)]
    groups = in_groups(parameters, [1.0, 0.25, 1.0], 0.1, 0.02)
    assert [len(group["params"]) for group in groups] == [2, 1]
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.025])
    assert [group["lr"] * group["weight_decay"] for group in groups] == pytest.approx([0.002, 0.002])


class RawHead(Toy):
    """Its last layer is no layer of torch's, so that muP takes it for a table, by its shape."""

    def __init__(self, spec, *, width, depth=1, bias=True):
        super().__init__(spec, width=width, depth=depth, bias=bias)
        self.outward, self.head = nn.Identity(), nn.Parameter(torch.zeros(spec.out_channels, width))

    def forward(self, x, t, y):
        return torch.einsum("nwij,cw->ncij", super().forward(x, t, y), self.head)


def found(network):
    ladder = replace(LADDER, narrow={"width": 32}, wide={"width": 96})
    architecture = replace(TOY, build=network, sizes={"nano": {"width": 64}}, ladder={"nano": ladder})
    return examine(subject_of(architecture, "nano", DIGITS_SPEC, None), ["coord-check"]).findings[0]


def test_the_check_finds_where_mup_does_not_hold():
    healthy, broken = found(Toy), found(RawHead)
    assert healthy.status == "passed", healthy.seen
    assert broken.status == "failed" and broken.mend and "(the output)" in broken.seen, broken.seen


@pytest.mark.parametrize(("scaled", "least", "most"), [(True, 0, 2), (False, 2, 5)])
def test_without_mup_what_dit_puts_out_grows_with_its_width(scaled, least, most):
    """Which the check would find: it is none of a measure that nothing can move."""
    dit = Registry.installed().architectures["dit"]
    narrow, wide = (
        outputs(chosen(dit, f"nano-{width}"), DIGITS_SPEC, 0, scaled=scaled) for width in ("narrow", "wide")
    )
    assert least < math.exp(max(grown(narrow, wide).values())) < most
