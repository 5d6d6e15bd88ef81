"""A step whose loss diverged is done again from what was saved, and tried in float32 before it diverges again."""

import pytest
import torch
from toy_net import Toy
from trainers import SPEC, changed, go, trainer

from ditbench.runtime.progress import Diverged, Watch
from ditbench.training.checkpoint import Checkpoints
from ditbench.training.replay import finite_in_float32


class Counting(Toy):
    """Breaks at a call that is counted in its state, so that a checkpoint has it; `factor` says how."""

    def __init__(self, spec, factor=lambda x: 1.0):
        super().__init__(spec, width=8)
        self.register_buffer("seen", torch.zeros(()))
        self.factor = factor

    def forward(self, x, t, y):
        self.seen += 1
        return super().forward(x, t, y) * (self.factor(x) if self.seen > 5 else 1.0)


def rounding(x):
    """1 in float32, 0 / 0 in bfloat16."""
    more = torch.ones(1, 1) @ torch.full((1, 1), 1 + 2**-12) - 1
    return more / more


def rough(factor):
    torch.manual_seed(0)
    return trainer(Counting(SPEC, factor), recipe=changed(precision="bfloat16"))


@pytest.mark.parametrize(
    ("factor", "finite"),
    [(rounding, True), (lambda x: float("nan"), False), (lambda x: 1.0, None)],
    ids=["rounding", "everywhere", "never again"],
)
def test_the_step_that_diverged_is_tried_in_float32(tmp_path, factor, finite):
    with pytest.raises(Diverged, match="at step 6") as told:
        go(rough(lambda x: float("inf")), tmp_path, milestones=(0.25,), evaluate=lambda share, now: None)  # saves it
    saved, again = Checkpoints(tmp_path, "hash").latest(), rough(factor)
    assert told.value.step == 5 and saved.facts.clock["steps"] == 3
    assert finite_in_float32(again, saved, 5, Watch()) is finite
    assert finite_in_float32(rough(factor), None, 5, Watch()) is finite
    assert finite_in_float32(rough(factor), saved, 5, Watch(should_stop=lambda: True)) is None
    assert finite_in_float32(rough(factor), saved, 7, Watch()) is None


def test_a_loss_ahead_is_the_steps_and_changes_no_step(tmp_path):
    one, other = trainer(), trainer()
    for _ in range(3):
        ahead = one.loss_ahead("float32")
        assert one.loss_ahead("bfloat16") != ahead == one.step() == other.step()
    assert all(map(torch.equal, one.tensors().values(), other.tensors().values()))
