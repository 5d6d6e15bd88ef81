"""A ladder of sizes: what it is refused for, and faults in it, each caught by the name of its check."""

from dataclasses import replace

import pytest
from torch import nn
from torch.nn import functional as F
from toy_net import Toy

from ditbench import Architecture, BadValue, Ladder, Option
from ditbench.denoiser.conformance.subject import subject_of
from ditbench.denoiser.conformance.suite import examine
from ditbench.denoiser.interface import DIGITS_SPEC
from ditbench.denoiser.sizes import count_ladders
from ditbench.errors import UnknownName
from ditbench.registry import Registry, select


class Attending(Toy):
    """The toy with attention, which has `heads`."""

    def __init__(self, spec, *, heads, **settings):
        super().__init__(spec, **settings)
        self.heads, self.qkv = heads, nn.Linear(settings["width"], 3 * settings["width"])

    def forward(self, x, t, y):
        q, k, v = self.qkv(self.inward(x).flatten(2).mT).unflatten(-1, (3, self.heads, -1)).unbind(2)
        seen = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return super().forward(x, t, y) + seen.mean((1, 2, 3), keepdim=True)


LADDER = Ladder(rungs={0.5: {"width": 11}, 2: {"width": 23}}, narrow={"width": 8}, wide={"width": 24})
TOY = Architecture(
    name="grown",
    build=Toy,
    sizes={"nano": {"width": 16}, "big": {"width": 64}},
    specs={"nano": DIGITS_SPEC},
    options={"bias": Option(default=True)},
    ladder={"nano": LADDER},
)
BOTH = ["ladder", "width-pair"]


def found(architecture, size="nano", options=None):
    """What both checks find."""
    return {one.check: one for one in examine(subject_of(architecture, size, DIGITS_SPEC, options), BOTH).findings}


def test_a_ladder_passes_also_as_the_ladder_of_its_rungs():
    checks = found(TOY)
    assert [one.status for one in checks.values()] == ["passed", "passed"], checks
    assert "for 0.5, " in checks["ladder"].seen and "7.1 times the parameters, no" in checks["width-pair"].seen
    assert {one.status for one in found(TOY, "nano-x2").values()} == {"passed"}


@pytest.mark.parametrize(
    ("check", "changes", "told"),
    [
        ("ladder", {"rungs": {2: {"width": 32}}}, "nano: 3.8"),
        ("ladder", {"rungs": {2: {"breadth": 32}}}, "unexpected keyword argument 'breadth'"),
        (
            "width-pair",
            {"wide": {"width": 16}},
            "inward.weight is [8, 1, 3, 3] in nano-narrow, [16, 1, 3, 3] in nano-wide",
        ),
        ("width-pair", {"wide": {"width": 24, "depth": 2}}, "one has other layers"),
        ("width-pair", {"wide": {"width": 8}}, "has but 1.0 times the parameters"),
    ],
)
def test_a_planted_fault_is_caught(check, changes, told):
    finding = found(replace(TOY, ladder={"nano": replace(LADDER, **changes)}))[check]
    assert finding.status == "failed" and told in finding.seen, finding.seen
    assert finding.mend


@pytest.mark.parametrize(("heads", "status"), [(3, "passed"), (1, "failed")])
def test_a_pair_has_heads_of_one_width(heads, status):
    ladder = replace(LADDER, narrow={"width": 8, "heads": 1}, wide={"width": 24, "heads": heads})
    attending = Architecture(
        name="a", build=Attending, sizes={"nano": {"width": 16, "heads": 2}}, ladder={"nano": ladder}
    )
    finding = found(attending)["width-pair"]
    assert finding.status == status and "8" in finding.seen, finding.seen


@pytest.mark.parametrize(("size", "options"), [("big", None), ("nano", {"bias": False})])
def test_what_has_no_ladder_is_skipped(size, options):
    assert {one.status for one in found(TOY, size, options).values()} == {"skipped"}


@pytest.mark.parametrize(
    "change",
    [{"rungs": {}}, {"rungs": {1: {}}}, {"rungs": {0: {}}}, {"rungs": {"2": {}}}, {"rungs": {float("nan"): {}}}],
    ids=str,
)
def test_a_bad_ladder_is_refused(change):
    with pytest.raises(BadValue, match="ladder"):
        replace(LADDER, **change)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ladder": {"tiny": LADDER}}, "has a ladder for 'tiny', which is none of its sizes"),
        ({"sizes": {"nano": {"width": 16}, "nano-x2": {}}}, "has a size 'nano-x2', which is a name of its ladder's"),
    ],
)
def test_a_ladder_that_does_not_fit_the_sizes_is_refused(change, told):
    with pytest.raises(BadValue, match=told):
        replace(TOY, **change)


def test_a_size_of_a_ladder_is_named_as_any_other():
    registry = Registry.installed()
    chosen = select(registry, "dit:nano/4-x2+conditioning=adaln")
    assert chosen.settings == {
        **select(registry, "dit:nano/4+conditioning=adaln").settings,
        "depth": 4,
        "width": 160,
        "heads": 5,
    }
    assert chosen.label == "dit:nano/4-x2+conditioning=adaln"
    assert chosen.spec() == select(registry, "dit:nano/4").spec()
    with pytest.raises(
        UnknownName, match=r"No size of dit named 'nano-x3'. Did you mean .* Known: nano-narrow, .*, nano-x4\."
    ):
        select(registry, "dit:nano-x3")
    with pytest.raises(UnknownName, match="No size of dit named 'S/2-x2'"):
        select(registry, "dit:S/2-x2")


def test_a_ladder_is_counted_around_its_size():
    rows = count_ladders(Registry.installed(), "dit:nano-x4+conditioning=adaln")
    assert [row.size.label.removeprefix("dit:nano") for row in rows] == [
        f"{rung}+conditioning=adaln" for rung in ("-x0.125", "-x0.25", "-x0.5", "", "-x2", "-x4", "-narrow", "-wide")
    ]
    assert rows[3].cells[1] == "" and rows[3].cells[-1] == "1.00" and rows[0].cells[1] == "depth 2, width 48, heads 2"
    times = [row.times for row in rows]
    assert times[:6] == sorted(times[:6]) and times[7] > 7 * times[6]
    with pytest.raises(BadValue, match="dit:S/2 has no ladder of sizes: of dit, only nano, nano/4"):
        count_ladders(Registry.installed(), "dit:S/2")
