"""The work of outside networks, whose features a loss uses: measured in the loss, or told; never left out unseen."""

import pytest
from records import sound
from torch import nn

from ditbench.denoiser.cost import check_counted, check_outside, cost_of
from ditbench.denoiser.interface import DIGITS_SPEC, example_batch
from ditbench.errors import BadValue
from ditbench.records.validation.cost import cost_of as faults_of
from ditbench.records.validation.known import Known
from ditbench.registry import Registry

CONV, LINEAR = 64 * 9, 64 * 10  # multiply-accumulates


class Aligned(nn.Module):
    """A convolution, and a loss that looks at the image through another network."""

    def __init__(self, *names, kept=0):
        super().__init__()
        self.outside, self.outside_macs = names, kept
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False)

    def forward(self, x, t, y):
        return self.conv(x)

    def training_loss(self, loss):
        seen = loss.forward()
        return seen.error.mean() + self.encoder(seen.x_0).square().mean()


class Drawn(Aligned):
    def training_cost(self, cost):
        return cost()


@pytest.mark.parametrize("kind", [Aligned, Drawn])
@pytest.mark.parametrize(("names", "kept"), [((), 0), (("encoder",), 0), (("encoder",), 1000), ((), 1000)])
def test_what_an_outside_network_computes_is_part_of_training(kind, names, kept):
    cost = cost_of(kind(*names, kept=kept), DIGITS_SPEC)
    outside = LINEAR * len(names) + kept
    unnamed = 0 if names or kind is Drawn else LINEAR
    assert cost.outside_macs_per_image == outside
    assert cost.training_macs_per_image == 2 * CONV + outside + unnamed and cost.training_forwards == 1
    assert cost.macs_per_image == CONV  # inference has none


def test_a_module_within_another_is_counted_once():
    nested = Aligned("encoder")
    nested.layer, nested.outside = nested.encoder[1], ("encoder", "layer")
    assert cost_of(nested, DIGITS_SPEC).outside_macs_per_image == LINEAR


def test_training_on_real_images_takes_what_was_counted():
    network = Aligned("encoder")
    check_counted(network, cost_of(network, DIGITS_SPEC).training_macs_per_image, *example_batch(DIGITS_SPEC, 4))


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (Aligned("nothing"), "Aligned.outside names 'nothing', which is no module of it"),
        (Aligned(kept=-1), "outside_macs is -1: give a whole number"),
        (Aligned(kept=1.5), "outside_macs is 1.5: give a whole number"),
    ],
)
def test_what_can_not_be_counted_is_told(network, told):
    with pytest.raises(BadValue, match=told):
        cost_of(network, DIGITS_SPEC)


def test_names_and_work_come_together():
    with_work, without = cost_of(Aligned("encoder"), DIGITS_SPEC), cost_of(Aligned(), DIGITS_SPEC)
    check_outside(with_work, ["dinov2"], "mine:nano")
    check_outside(without, [], "mine:nano")
    with pytest.raises(BadValue, match=r"^mine:nano is trained with features of dinov2, but no work .*'outside_macs'"):
        check_outside(without, ["dinov2"], "mine:nano")
    with pytest.raises(BadValue, match=r"^mine:nano has 640 multiply-accumulates .*trained_with"):
        check_outside(with_work, [], "mine:nano")


@pytest.mark.parametrize(
    ("names", "work", "told"),
    [
        ((), 5, "is 5, should be 0, for architecture.trained_with names no network"),
        (("dinov2",), 0, "is 0, should be the work of dinov2"),
        (("dinov2",), 10**12, "should be part of the"),
        (("dinov2",), 5, ""),
        ((), 0, ""),
    ],
)
def test_a_record_is_held_to_that(names, work, told):
    good = sound()
    record = good.model_copy(
        update={
            "architecture": good.architecture.model_copy(update={"trained_with": names}),
            "cost": good.cost.model_copy(update={"outside_macs_per_image": work}),
        }
    )
    lines = [line for line in faults_of(record, Known(Registry.installed())) if "outside" in line]
    assert [told in line for line in lines] == [True] * bool(told), lines
