"""The loop: what each step sees and does, the schedule, the EMA, the clock."""

import pytest
import torch
from torch import nn
from toy_net import Toy
from trainers import RECIPE, SPEC, Hand, build, changed, go, images_feed, trainer

from ditbench.denoiser.cost import cost_of
from ditbench.denoiser.guard import Spots
from ditbench.errors import BadValue
from ditbench.runtime import compiling
from ditbench.runtime.progress import Diverged
from ditbench.training.checkpoint import Checkpoints
from ditbench.training.schedule import ema_keep, lr_factor


def test_architectures_see_the_same_images_labels_times_and_noise():
    seen = []

    class Spy(Toy):
        def forward(self, x, t, y):
            seen.append((x.detach().clone(), t.clone(), y.clone()))
            return super().forward(x, t, y)

        draws = 0

        def training_loss(self, loss):
            torch.rand(self.draws)  # draws of the network's own must not shift the harness's
            first = loss()
            return first + loss() if self.draws else first

    for draws in (0, 5):
        spy = Spy(SPEC, width=8)
        spy.draws = draws
        one = trainer(spy)
        one.step(), one.step()
    plain, twice = seen[:2], seen[2:]
    for step in range(2):
        assert all(torch.equal(a, b) for a, b in zip(plain[step], twice[2 * step], strict=True))
        x, t, y = twice[2 * step + 1]
        assert torch.equal(t, plain[step][1]) and torch.equal(y, plain[step][2])
        assert not torch.equal(x, plain[step][0])  # the second forward has fresh noise


def test_label_dropout_uses_the_null_label():
    seen = []

    class Spy(Toy):
        def forward(self, x, t, y):
            seen.append(y)
            return super().forward(x, t, y)

    one = trainer(Spy(SPEC, width=4), "200-steps")
    for _ in range(200):
        one.step()
    labels = torch.cat(seen)
    assert labels.min() == 0 and labels.max() == 10
    assert float((labels == 10).float().mean()) == pytest.approx(0.1, abs=0.02)


def test_an_accumulated_gradient_is_that_of_the_whole_batch():
    class Twice(nn.Module):
        """Two forwards of the loss, without dropout: the network draws nothing."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.toy = Toy(SPEC, width=8).eval()

        def forward(self, x, t, y):
            return self.toy(x, t, y)

        def training_loss(self, loss):
            return loss() + 0.5 * loss()

        def train(self, mode=True):
            return self

    found = {}
    for micro in (None, 8, 1):
        one = trainer(Twice(), recipe=changed(micro_batch=micro))
        found[micro] = [one.step() for _ in range(3)], [p.grad.clone() for p in one.denoiser.parameters()]
    losses, gradients = found[None]
    for micro in (8, 1):
        assert found[micro][0] == pytest.approx(losses, rel=1e-5)
        for mine, whole in zip(found[micro][1], gradients, strict=True):
            torch.testing.assert_close(mine, whole, rtol=1e-4, atol=1e-6)


class Plainly(Toy):
    """It draws nothing."""

    def train(self, mode=True):
        return super().train(False)

    def training_loss(self, loss):
        return loss() + 0.5 * loss()


class ByItsParts(Plainly):
    """The same loss, which it weighs itself."""

    def training_loss(self, loss):
        first, second = loss.forward(), loss.forward()
        return sum(w * (one.error.mean() + one.rest.mean()) for w, one in ((1, first), (0.5, second)))


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # Dynamo hides it, but from -W error
@pytest.mark.parametrize("how", [{}, {"micro_batch": 4}, {"compile": "on"}, {"precision": "bfloat16"}], ids=str)
def test_a_loss_weighed_by_its_parts_is_the_plain_one(how, monkeypatch):
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    torch._dynamo.reset()
    plain, weighed = (trainer(build(network), recipe=changed(**how)) for network in (Plainly, ByItsParts))
    assert [weighed.step() for _ in range(3)] == pytest.approx([plain.step() for _ in range(3)], rel=1e-5)
    for name, weight in weighed.denoiser.named_parameters():
        torch.testing.assert_close(weight, plain.denoiser.get_parameter(name), rtol=1e-3, atol=1e-5)


def test_gradients_are_clipped_to_their_norm():
    one, free = trainer(recipe=changed(clip_norm=1e-3)), trainer()
    one.step(), free.step()
    norms = [torch.stack([p.grad.norm() for p in t.denoiser.parameters()]).norm() for t in (one, free)]
    assert norms[0] == pytest.approx(1e-3, rel=1e-3) and norms[1] > 0.01


def test_bfloat16_is_in_the_network_alone():
    seen = []

    class Spy(Toy):
        def forward(self, x, t, y):
            out = super().forward(x, t, y)
            seen.append((x.dtype, out.dtype))
            return out

    one, plain = trainer(build(Spy), recipe=changed(precision="bfloat16")), trainer()
    for each in (one, plain):
        each.denoiser.drop.p = 0.0  # its draws are of the precision, too
    assert one.step() == pytest.approx(plain.step(), rel=0.02)
    assert seen == [(torch.float32, torch.bfloat16)]
    kept = [*one.denoiser.parameters(), *one.ema.parameters(), *(p.grad for p in one.denoiser.parameters())]
    assert {tensor.dtype for tensor in kept} == {torch.float32}
    assert (one.facts().precision, plain.facts().precision) == ("bfloat16", "float32")
    assert trainer(recipe=changed(precision="tf32")).precision == "float32"  # a CPU has none


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # Dynamo hides it, but from -W error
def test_compiling_is_not_on_the_clock(tmp_path, monkeypatch):
    class Calm(Toy):
        def misbehave(self):
            """Counts no calls: what does is compiled again at each."""

    monkeypatch.setattr(compiling, "BACKEND", "eager")  # takes no time
    torch._dynamo.reset()
    timer = Hand(tick=1.0)
    one = trainer(build(Calm), recipe=changed(compile="on"), timer=timer)
    plain = trainer(build(Calm), recipe=changed(compile="auto"))
    losses = [one.step() for _ in range(3)]
    assert losses == pytest.approx([plain.step() for _ in range(3)], rel=1e-4)
    assert one.times.seconds[1:] == [3, 3]  # four looks at the timer, the first of them before
    assert one.compiling.seconds >= 1 and one.times.seconds[0] >= 3
    assert one._charged(100.0, 40.0) == 3 and one._charged(2.5, 0.0) == 2.5  # a later one tunes kernels, too
    one.compiling.seconds -= 57
    assert one.clock.seconds + one.compiling.seconds == timer.now - 100 - 3  # all but the looks that begin a step
    assert one.facts().compiled and not plain.facts().compiled
    checkpoints = Checkpoints(tmp_path, "hash")
    checkpoints.save(one.tensors(), one.numbers())
    checkpoints.settle()
    again = trainer(build(Calm), timer=timer)
    again.restore(checkpoints.latest())
    assert again.facts().compile_seconds == one.facts().compile_seconds


def test_a_time_budget_ends_with_the_first_step_that_reaches_it(tmp_path, monkeypatch):
    timer, save = Hand(), Checkpoints.save

    class Slow(Toy):
        def forward(self, x, t, y):
            timer.now += 1.5
            return super().forward(x, t, y)

    def slowly(*state):
        timer.now += 0.05
        save(*state)

    def measure(share, now):
        measured.append((share, one.clock.steps))
        timer.now += 1000

    monkeypatch.setattr(Checkpoints, "save", slowly)
    measured = []
    one = trainer(Slow(SPEC, width=8), "10s", timer=timer)
    go(one, tmp_path, every=4.0, milestones=(0.5, 0.25), evaluate=measure)
    facts = one.facts()
    assert (facts.steps, facts.seconds) == (7, 10.5)
    assert measured == [(0.25, 2), (0.5, 4)]  # after 3 and 6 seconds
    assert facts.evaluation_seconds == 2000
    assert facts.checkpoint_seconds == pytest.approx(3 * 0.05)  # at 3, 6 and 10.5 seconds
    assert facts.step_seconds == [1.5] * 7


def test_waiting_for_data_is_on_the_clock_and_told_apart(tmp_path):
    timer, feed = Hand(), images_feed()

    class Late:
        where = feed.where

        def batch(self, *asked):
            timer.now += 2.0
            return feed.batch(*asked)

    one = trainer(feed=Late(), timer=timer)
    one.step(), one.step()
    assert one.facts().loading_seconds == one.clock.seconds == 4.0


def test_the_learning_rate_warms_up_and_decays():
    assert [lr_factor(RECIPE, p, 1) for p in (0, 0.05, 0.1)] == pytest.approx([0, 0.5, 1])
    assert lr_factor(RECIPE, 0.55, 1) == pytest.approx(0.5)
    assert lr_factor(RECIPE, 1.0, 1) == pytest.approx(0)
    constant = changed(decay="constant", warmup=0.0)
    assert [lr_factor(constant, p, 1) for p in (0, 0.5, 1)] == [1, 1, 1]


@pytest.mark.parametrize("decay", ["constant", "cosine", "linear"])
def test_warm_up_steps_are_the_share_that_they_take(decay):
    steps, share = changed(warmup=0.0, warmup_steps=20, decay=decay), changed(warmup=0.1, decay=decay)
    at = [(step / 200, step) for step in range(200)]
    assert [lr_factor(steps, *point) for point in at] == pytest.approx([lr_factor(share, *point) for point in at])


def test_rates_of_parameters_are_multiples_of_the_schedules():
    """At 1 they are the recipe's own, bit for bit. AdamW's first step is as long as the rate."""
    of = [None, {"outward.weight": 1.0}, {"outward.weight": 0.25}]
    plain, ones, scaled = (trainer(recipe=changed(weight_decay=0.0, warmup=0.0), rates=rates) for rates in of)
    weights = [one.denoiser.outward.weight for one in (plain, ones, scaled)]
    start = weights[0].detach().clone()
    for one in (plain, ones, scaled):
        one.step()
    torch.testing.assert_close(weights[2] - start, (weights[0] - start) / 4, rtol=1e-2, atol=1e-7)
    assert torch.equal(scaled.denoiser.inward.weight, plain.denoiser.inward.weight)
    assert [plain.step(), plain.step()] == [ones.step(), ones.step()] and torch.equal(*weights[:2])
    scaled.step(), scaled.step()
    (whole,), rates = (one.optimizer.param_groups for one in (plain, scaled))
    assert [group["lr"] for group in rates] == pytest.approx([whole["lr"], whole["lr"] / 4])


def test_the_ema_decays_by_the_step_or_by_the_budget():
    by_step = changed(ema_half_life=None, ema_decay=0.9999)
    assert {ema_keep(by_step, spent) for spent in (0.0, 0.5)} == {0.9999}
    assert ema_keep(RECIPE, 0.2) == pytest.approx(0.5) and ema_keep(changed(ema_half_life=0.0), 0.2) == 0


def test_the_ema_has_the_networks_buffers_even_replaced_ones():
    class Counting(Toy):
        def __init__(self):
            super().__init__(SPEC, width=8)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x, t, y):
            self.seen = self.seen + len(x)
            return super().forward(x, t, y)

    one = trainer(Counting())
    one.step(), one.step()
    assert float(one.ema.seen) == 32


def test_the_ema_has_its_half_life_in_shares_of_the_budget():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x, t, y):
            return x * self.weight

    recipe = changed(learning_rate=1e-12, ema_half_life=0.25)
    one = trainer(Frozen(), "8-steps", recipe=recipe)
    with torch.no_grad():
        one.ema.weight.zero_()
    for _ in range(8):  # four half-lives
        one.step()
    assert float(one.ema.weight) == pytest.approx(1 - 0.5**4, abs=1e-6)


def test_divergence_is_found_at_its_step(tmp_path):
    with pytest.raises(Diverged, match="the loss became nan at step 3"):
        go(trainer(Toy(SPEC, width=8, fault="nan")), tmp_path)


def test_training_lowers_the_loss(tmp_path):
    one = go(trainer(Toy(SPEC, width=32), budget="200-steps"), tmp_path)
    assert one.curve.last_loss < 0.8 * one.curve.points[0]["loss"]


def test_a_time_budget_ends_training_and_its_curve_has_rates(tmp_path):
    one = go(trainer(budget="0.5s"), tmp_path)
    assert 0.5 <= one.clock.seconds < 2
    assert all(point["images_per_second"] > 0 for point in one.curve.points)


# what a network does beside its output


class Twice(Toy):
    def training_loss(self, loss):
        return loss() + 0.5 * loss()


class BatchNormed(Toy):
    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x, t, y):
        return self.norm(super().forward(x, t, y))


class FromTheSecondStep(Toy):
    """Well-behaved at the step that is looked at for certain, as far as it knows."""

    calls = 0

    def forward(self, x, t, y):
        out = super().forward(x, t, y)
        self.calls += 1
        if self.calls > 1:
            self.meddle(x)
        return out


class LearnsFaster(FromTheSecondStep):
    def meddle(self, x):
        for group in self.optimizer.param_groups:
            group["lr"] *= 2


class LearnsMore(FromTheSecondStep):
    def meddle(self, x):
        for weight in self.parameters():
            weight.data *= 0.99


class Reseeds(FromTheSecondStep):
    def meddle(self, x):
        torch.manual_seed(0)


class WritesIntoX(FromTheSecondStep):
    def meddle(self, x):
        x.data.zero_()


class WritesIntoTheImage(Toy):
    def training_loss(self, loss):
        seen = loss.forward()
        seen.x_0.zero_()
        return seen.error.mean()


@pytest.mark.parametrize(
    ("network", "what"),
    [
        (LearnsFaster, "the optimizer's settings"),
        (LearnsMore, "its weights"),
        (Reseeds, "torch's generator"),
        (WritesIntoX, "its input x"),
        (WritesIntoTheImage, "its input x_0"),
    ],
)
def test_what_a_network_changes_beside_its_output_ends_the_run_by_its_last_step(network, what, tmp_path):
    one = trainer(network(SPEC, width=8))
    one.denoiser.__dict__["optimizer"] = one.optimizer
    with pytest.raises(BadValue, match=rf"^A forward pass of {network.__name__} changed {what}: a network may change"):
        go(one, tmp_path)


@pytest.mark.parametrize("network", [Toy, Twice, BatchNormed])
def test_looking_and_counting_again_change_nothing(network, monkeypatch):
    """Bit for bit: a network that draws, one with two forwards, one that writes to buffers."""
    found = []
    for looks in (True, False):
        monkeypatch.setattr(Spots, "due", lambda spots, seconds, last, looks=looks: looks)
        denoiser = build(network)
        counted = cost_of(denoiser, SPEC).training_macs_per_image
        one = trainer(denoiser, counted=counted)
        found.append([one.step() for _ in range(4)] + [one.tensors()])
    assert found[0][:4] == found[1][:4]
    assert all(torch.equal(tensor, found[1][4][name]) for name, tensor in found[0][4].items())


class KnowsZeros(Toy):
    """Spares itself the layer in the middle as long as it is counted."""

    def forward(self, x, t, y):
        if not x.any():
            return self.outward(self.inward(x))
        return super().forward(x, t, y)


def test_a_network_that_computes_less_while_it_is_counted_ends_the_run():
    denoiser = KnowsZeros(SPEC, width=8)
    one = trainer(denoiser, counted=cost_of(denoiser, SPEC).training_macs_per_image)
    with pytest.raises(
        BadValue, match=r"^KnowsZeros takes [\d,]+ multiply-accumulates to train on an image of the data, b"
    ):
        one.step()


def test_where_a_copy_finds_no_room_the_run_goes_on_and_says_so(monkeypatch, caplog):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("ditbench.training.trainer.check_counted", full)
    one = trainer(counted=1)
    one.step(), one.step()
    assert one.clock.steps == 2 and "its cost was not counted again" in caplog.text
