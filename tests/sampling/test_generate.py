"""One random stream per image, balanced labels, guidance, and samplers that do what their papers say.

`test_goldens.py` has whole trajectories of the published iDDPM, and MDT's guidance weights.
"""

import multiprocessing
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import nn
from torch._dynamo.testing import CompileCounter
from toy_net import Toy

from ditbench.builtins import ditbench_samplers
from ditbench.components import load
from ditbench.denoiser.interface import build_denoiser, perturb
from ditbench.denoiser_spec import DenoiserSpec
from ditbench.errors import BadValue
from ditbench.executors.jobs import PRELOAD
from ditbench.registry import Registry
from ditbench.runtime import compiling
from ditbench.sampling.generate import generate
from ditbench.sampling.samplers import Walk, ddim, dpm_solver_fast, euler, fast_orders, heun, sde
from ditbench.sampling.schedulers import ancestral, ddpm, dpm_solver, edm_heun
from ditbench.sampling.walking import (
    GuidedDenoiser,
    SamplingPlan,
    balanced_labels,
    initial_noise,
    labels_sha256,
    streams,
)
from ditbench.tracks.guidance import Guidance
from ditbench.training.discrete import Noise
from ditbench.training.objectives import EDM, Flow, ImagePrediction

LEARNED = DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel", learn_variance=True)
SPEC = DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")


def test_an_image_starts_from_the_same_bits_in_any_batch():
    whole = initial_noise(7, np.arange(64), (1, 8, 8))
    for batch in (np.array([17]), np.arange(17, 24), np.array([40, 17, 3])):
        noise = initial_noise(7, batch, (1, 8, 8))
        assert torch.equal(noise, whole[batch])


def test_streams_differ_between_images_and_seeds():
    noise = torch.cat([initial_noise(seed, np.arange(500), (1, 8, 8)) for seed in (0, 1)])
    assert len({row.numpy().tobytes() for row in noise}) == 1000
    assert abs(float(noise.mean())) < 0.02 and abs(float(noise.std()) - 1) < 0.02


def test_streams_on_the_way_differ_between_images_and_seeds():
    draws = [s.initial_seed() for seed in (0, 1) for s in streams(seed, np.arange(2000))]
    assert len(set(draws)) == 4000
    again = streams(1, np.array([17]))[0]
    assert torch.equal(torch.randn(3, generator=again), torch.randn(3, generator=streams(1, np.arange(64))[17]))


def test_labels_are_balanced_and_fixed():
    assert np.bincount(balanced_labels(np.arange(1000), 10)).tolist() == [100] * 10
    assert balanced_labels(np.array([17, 3, 20]), 10).tolist() == [7, 3, 0]
    assert balanced_labels(np.arange(3), 0).tolist() == [0, 0, 0]
    assert labels_sha256(balanced_labels(np.arange(10), 10)) != labels_sha256(balanced_labels(np.arange(10), 5))


def walk(denoise, noise, steps, objective=None):
    return Walk(denoise, objective or Flow(), noise, steps, lambda: streams(0, np.arange(len(noise))))


@pytest.mark.parametrize("sampler", [euler, heun])
def test_a_constant_velocity_is_followed_exactly_in_any_number_of_steps(sampler):
    noise, velocity = torch.randn(2, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    for steps in (2, 7, 25):
        torch.testing.assert_close(sampler(walk(lambda x, t: velocity, noise, steps)), noise - velocity)


def test_euler_is_diffusers_own_to_the_bit():
    """Of a network that is no straight line, at step counts whose parts are no round numbers."""
    noise = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))

    def denoise(x, t):
        return (3 * x + t / 300).sin()

    for steps, shift in ((1, 1.0), (7, 1.0), (25, 1.0), (7, 3.0)):
        scheduler, x = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift), noise
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist())
        for t in scheduler.timesteps:
            x = scheduler.step(denoise(x, t), t, x).prev_sample
        assert torch.equal(euler(walk(denoise, noise, steps), shift), x)


def test_euler_visits_equally_spaced_times_from_noise_to_image():
    times = []

    def denoise(x, t):
        times.append(float(t))
        return torch.zeros_like(x)

    euler(walk(denoise, torch.zeros(1, 1, 2, 2), 4))
    assert times == pytest.approx([1000, 750, 500, 250])


def test_heun_is_of_second_order():
    """A velocity that depends on x: halving the step quarters the error."""

    def error(steps):
        x = heun(walk(lambda x, t: x, torch.ones(1, 1, 1, 1, dtype=torch.float64), steps))
        return abs(float(x) - np.exp(-1))

    assert error(10) / error(20) == pytest.approx(4, rel=0.25)


IDDPM = Noise(learn_variance=True)


def analytic(x, t):
    """A denoiser of known shape, with a variance."""
    rest = (1 - IDDPM.alpha_bars[int(t)].float()).sqrt()
    return torch.cat([0.9 * rest * x + 0.05 * x.tanh(), 0.3 * x.tanh()], dim=1)


@pytest.mark.parametrize(("objective", "denoise"), [(IDDPM, analytic), (Noise(), lambda x, t: analytic(x, t)[:, :1])])
def test_ddpm_is_diffusers_own_to_the_bit(objective, denoise):
    """With noise from each image's stream, which is drawn ahead."""
    noise = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for steps in (2, 21):
        ours = walk(denoise, noise, steps, objective)
        scheduler, drawn, x = ancestral(objective, steps), ours.streams(), noise
        for t in scheduler.timesteps:
            x = scheduler.step(denoise(x, t), t, x, generator=drawn).prev_sample
        assert torch.equal(ddpm(ours), x)


def far(ours, theirs):
    return float((ours - theirs).double().norm() / theirs.double().norm())


@pytest.mark.parametrize("sampler", [ddpm, ddim])
@pytest.mark.parametrize(("steps", "middle"), [(3, [500]), (4, [666, 333]), (21, [549, 499, 450])])
def test_steps_are_respaced_as_iddpm_does(sampler, steps, middle):
    """Of 21 steps the middle one is at 499.5, to which iDDPM comes by adding 49.95 ten times: a little less."""
    times = []

    def denoise(x, t):
        times.append(int(t))
        return analytic(x, t)

    sampler(walk(denoise, torch.zeros(1, 1, 2, 2), steps, IDDPM))
    half = (steps - len(middle)) // 2
    assert len(times) == steps and (times[0], times[-1]) == (999, 0) and times[half : half + len(middle)] == middle


def test_dpm_solver_reaches_the_image_of_ddim_in_fewer_steps():
    noise = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    target = ddim(walk(analytic, noise, 1000, IDDPM))
    assert far(dpm_solver(walk(analytic, noise, 50, IDDPM)), target) < 3e-3
    assert far(ddim(walk(analytic, noise, 50, IDDPM)), target) > 3e-3


def level_of(objective, t):
    """log(alpha / sigma) at a fraction of the times, log alpha linear in between."""
    log_alpha = np.interp(float(t), np.arange(1000), 0.5 * objective.alpha_bars.log().numpy())
    return float(log_alpha - 0.5 * np.log(-np.expm1(2 * log_alpha)))


def spread_at(level, spread=0.5):
    """Standard deviation of x where log(alpha / sigma) is `level`, of normal data of this one; and sigma there."""
    alpha, sigma = (1 + np.exp(-2 * level)) ** -0.5, (1 + np.exp(2 * level)) ** -0.5
    return float(np.hypot(alpha * spread, sigma)), float(sigma)


def error_of_fast(objective, steps):
    """How far it ends from the exact solution of the ODE of normal data: x grows as its standard deviation does."""
    asked = []

    def denoise(x, t):
        asked.append(float(t))
        deviation, sigma = spread_at(level_of(objective, t))
        return sigma / deviation**2 * x

    noise = torch.randn(2, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = dpm_solver_fast(walk(denoise, noise, steps, objective))
    ends = [spread_at(level_of(objective, t))[0] for t in (0, 999)]
    assert len(asked) == steps and asked[0] == 999 and asked == sorted(asked, reverse=True) and asked[-1] >= 0
    return far(found, ends[0] / ends[1] * noise)


@pytest.mark.parametrize("objective", [Noise(), Noise("scaled-linear")], ids=["linear", "scaled-linear"])
def test_dpm_solver_fast_follows_an_exact_solution_with_order_three(objective):
    errors = [error_of_fast(objective, steps) for steps in (71, 143, 287)]  # 24, 48 and 96 steps, the last of order 2
    assert errors[2] < 2e-6 and [one / other for one, other in pairwise(errors)] == pytest.approx([8, 8], rel=0.2)
    assert error_of_fast(objective, 50) < 5e-4 < error_of_fast(objective, 20) < 1e-2


def test_the_orders_of_dpm_solver_fast_are_those_of_the_paper():
    found = {steps: fast_orders(steps) for steps in range(1, 101)}
    assert (found[1], found[2], found[3], found[4]) == ([1], [2], [2, 1], [3, 1])
    assert found[20] == [3] * 6 + [2] and found[21] == [3] * 6 + [2, 1] and found[50] == [3] * 16 + [2]
    assert all(sum(orders) == steps and len(orders) == steps // 3 + 1 for steps, orders in found.items())


@pytest.mark.parametrize("order", [1, 2])
def test_a_single_step_of_dpm_solver_is_the_papers(order):
    """Of order 1 it is DDIM's. Of order 2, as the paper writes it with r = 1/2."""
    noise, bars = torch.randn(1, 1, 3, 3, dtype=torch.float64), IDDPM.alpha_bars
    (a, b), (s, e) = bars[[999, 0]].sqrt(), (1 - bars[[999, 0]]).sqrt()
    first = analytic(noise, torch.tensor(999))[:, :1]
    if order == 1:
        expected = b * (noise - s * first) / a + e * first
    else:
        low, high = (a / s).log(), (b / e).log()
        middle = (low + high) / 2
        alpha, sigma = torch.sigmoid(2 * middle).sqrt(), torch.sigmoid(-2 * middle).sqrt()
        t = np.interp(float(alpha.log()), bars.log().numpy()[::-1] / 2, np.arange(1000)[::-1])
        u = alpha / a * noise - sigma * torch.expm1(middle - low) * first
        expected = b / a * noise - e * torch.expm1(high - low) * analytic(u, t)[:, :1]
    assert far(dpm_solver_fast(walk(analytic, noise, order, IDDPM)), expected) < 1e-9


@pytest.mark.parametrize("sampler", [s for s in ditbench_samplers() if s.max_steps], ids=lambda sampler: sampler.name)
def test_all_the_steps_that_a_sampler_allows(sampler):
    noise = torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    assert load(sampler.sample)(walk(analytic, noise, sampler.max_steps, IDDPM)).isfinite().all()


def test_edm_heun_reaches_normal_data_exactly():
    """Data from N(0, 0.5**2): the best denoiser is c_skip x, so F is 0 and the flow's end is noise / 2."""
    noise = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    times, powers = [], []

    def denoise(x, t):
        times.append(float(t))
        powers.append(float(x.square().mean()))
        return torch.zeros_like(x)

    def error(steps):
        times.clear()
        return far(edm_heun(walk(denoise, noise, steps, EDM())), noise / 2)

    assert error(80) / error(160) == pytest.approx(4, rel=0.1) and error(160) < 1e-3
    assert len(times) == 319 and times[0] == pytest.approx(1000) and times[-1] == pytest.approx(0, abs=1e-2)
    assert max(powers) / min(powers) == pytest.approx(1, rel=0.01)  # the denoiser sees the same variance at all times


SAMPLERS = [
    (euler, Flow(), SPEC),
    (heun, Flow(path="vp"), SPEC),
    (heun, ImagePrediction(noise_scale=2.0), SPEC),
    (sde, Flow(path="gvp"), SPEC),
    (ddpm, Noise(), SPEC),
    (ddpm, IDDPM, LEARNED),
    (ddim, IDDPM, LEARNED),
    (dpm_solver, Noise("scaled-linear"), SPEC),
    (dpm_solver_fast, Noise("scaled-linear"), SPEC),
    (edm_heun, EDM(), SPEC),
]


def sample(sampler, objective, spec, indices, batch_size):
    """Noise, images before rounding, and labels of a perturbed toy."""
    torch.manual_seed(0)
    toy = Toy(spec, width=16)
    perturb(toy)
    noise, images = [], []

    def kept(walk):
        noise.append(walk.noise)
        images.append(sampler(walk))
        return images[-1]

    plan = SamplingPlan(kept, objective, 5, 3, Guidance(scale=2.0))
    batches = list(generate(toy, spec, plan, indices, batch_size, torch.device("cpu")))
    assert all(batch.seconds > 0 for batch in batches)
    return torch.cat(noise).numpy(), torch.cat(images).numpy(), np.concatenate([batch.labels for batch in batches])


def assert_same(one, other):
    """Noise bit for bit, images within 1e-4, the same labels."""
    assert np.array_equal(one[0], other[0]) and np.array_equal(one[2], other[2])
    assert np.abs(one[1] - other[1]).max() < 1e-4 * max(1, np.abs(other[1]).max())


@pytest.mark.parametrize(("sampler", "objective", "spec"), SAMPLERS)
def test_samples_do_not_depend_on_the_batch_size(sampler, objective, spec):
    whole = sample(sampler, objective, spec, range(64), 64)
    assert whole[2].tolist() == balanced_labels(np.arange(64), 10).tolist()
    for batch_size in (1, 7):
        assert_same(sample(sampler, objective, spec, range(64), batch_size), whole)


SHARED = {"euler": (euler, Flow(), SPEC), "ddpm": (ddpm, IDDPM, LEARNED)}  # one draws no noise on the way, one does


def make_share(start, path):
    """What one of two processes does: every second image."""
    torch.set_num_threads(1)
    shares = {name: sample(*made_of, range(start, 64, 2), 5) for name, made_of in SHARED.items()}
    np.savez(path, **{f"{name}{i}": part for name, share in shares.items() for i, part in enumerate(share)})


def test_two_processes_share_the_images_of_one(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))  # a test process has one server, which other tests use too
    paths = [tmp_path / "even.npz", tmp_path / "odd.npz"]
    processes = [context.Process(target=make_share, args=share) for share in enumerate(paths)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    whole = {name: sample(*made_of, range(64), 64) for name, made_of in SHARED.items()}
    for start, path in enumerate(paths):
        with np.load(path) as share:
            for name, parts in whole.items():
                assert_same([share[f"{name}{i}"] for i in range(3)], [part[start::2] for part in parts])


@pytest.mark.parametrize(("sampler", "objective", "spec"), SAMPLERS)
def test_a_step_reads_nothing_back_from_the_device(sampler, objective, spec):
    """It would wait for it. On the meta device numbers have no value, so reading one raises."""
    denoiser = Toy(spec, width=16).to("meta")
    guided = GuidedDenoiser(denoiser, spec, torch.zeros(4, dtype=torch.int64, device="meta"), Guidance(scale=2.0))
    noise = torch.empty(4, 1, 8, 8, device="meta")
    assert sampler(walk(guided, noise, 5, objective)).device == noise.device


class Labelled(nn.Module):
    """Puts out 1 for the null label and 10 for the others, in every channel, and 5 in those of the variance."""

    def forward(self, x, t, y):
        mean = torch.where(y == 10, 1.0, 10.0)[:, None, None, None].expand_as(x)
        return torch.cat([mean, torch.full_like(x, 5.0)], dim=1)


@pytest.mark.parametrize(
    ("guidance", "channels", "evaluations"),
    [
        (None, [10, 10, 10, 10], 1),
        (Guidance(scale=1.0), [10, 10, 10, 10], 1),
        (Guidance(scale=2.0), [19, 19, 19, 19], 2),
        (Guidance(scale=1.0, formula="c + s(c - u)"), [19, 19, 19, 19], 2),
        (Guidance(scale=2.0, channels=3), [19, 19, 19, 10], 2),
        (Guidance(scale=2.0, schedule="interval", interval=(200, 400)), [10, 10, 10, 10], 1),
        (Guidance(scale=2.0, schedule="interval", interval=(400, 600)), [19, 19, 19, 19], 2),
        (Guidance(scale=0.0), [1, 1, 1, 1], 2),
    ],
)
def test_guidance(guidance, channels, evaluations):
    spec = DenoiserSpec(channels=4, resolution=2, classes=10, space="latent", learn_variance=True)
    guided = GuidedDenoiser(Labelled(), spec, torch.zeros(3, dtype=torch.long), guidance)
    out = guided(torch.randn(3, 4, 2, 2), torch.tensor(500))
    assert out[1, :, 0, 0].tolist() == [*channels, 5, 5, 5, 5]
    assert guided.evaluations == evaluations


def test_an_interval_must_make_sense():
    with pytest.raises(ValueError, match=r"interval 500\.0 to 400\.0 does not lie in 0\.\.1000"):
        Guidance(scale=2.0, schedule="interval", interval=(500, 400))


def test_evaluations_are_counted():
    toy = Toy(SPEC, width=16)
    for sampler, objective, expected in ((euler, Flow(), 10), (heun, Flow(), 19), (edm_heun, EDM(), 19)):
        (batch,) = generate(toy, SPEC, SamplingPlan(sampler, objective, 10, 0), range(4), 4, torch.device("cpu"))
        assert batch.evaluations == expected
        guided = SamplingPlan(sampler, objective, 10, 0, Guidance(scale=3))
        (batch,) = generate(toy, SPEC, guided, range(4), 4, torch.device("cpu"))
        assert batch.evaluations == 2 * expected


def test_the_variance_half_of_the_output_is_left_out():
    spec = DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel", learn_variance=True)

    class Double(nn.Module):
        def forward(self, x, t, y):
            return torch.cat([torch.zeros_like(x), torch.full_like(x, torch.nan)], dim=1)

    (batch,) = generate(Double(), spec, SamplingPlan(euler, Flow(), 2, 0), range(4), 4, torch.device("cpu"))
    assert batch.pixels.std() > 10


def plan_of(**changes):
    return SamplingPlan(sample=heun, objective=Flow(), steps=3, seed=0, **changes)


@pytest.mark.parametrize("guidance", [None, Guidance(scale=2.0)], ids=["plain", "guided"])
def test_what_a_network_writes_into_its_input_or_its_last_output_changes_no_sample(guidance):
    """Heun's method goes on from an x and an output that the network has had in its hands."""

    class Honest(Toy):
        def forward(self, x, t, y):
            return super().forward(x, t, y)

    class InPlace(Honest):
        out = None

        def forward(self, x, t, y):
            out = super().forward(x.clone(), t.clone(), y.clone())
            x.mul_(3), t.zero_(), y.zero_()
            if self.out is None or self.out.shape != out.shape:
                self.out = torch.empty_like(out)
            return self.out.copy_(out)  # the same memory each time

    found = []
    for kind in (Honest, InPlace):
        torch.manual_seed(0)
        batches = generate(kind(SPEC, width=8), SPEC, plan_of(guidance=guidance), range(4), 4, torch.device("cpu"))
        found.append(next(batches).pixels)
    assert np.array_equal(*found)


def test_a_network_that_changes_its_weights_while_it_samples_is_told():
    class Learning(Toy):
        def forward(self, x, t, y):
            out = super().forward(x, t, y)
            self.time.weight.data += 1
            return out

    denoiser = Learning(SPEC, width=8)
    with pytest.raises(
        BadValue, match=r"^A forward pass of Learning changed its weights: a network may change nothing"
    ):
        next(generate(denoiser, SPEC, plan_of(), range(4), 4, torch.device("cpu")))


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # Dynamo hides it, but from -W error
def test_compiled_samples_are_the_same_and_their_graphs_are_on_no_clock(monkeypatch):
    torch._dynamo.reset()
    graphs = CompileCounter()
    monkeypatch.setattr(compiling, "BACKEND", graphs)
    dit = build_denoiser(Registry.installed().architectures["dit"])
    perturb(dit)
    found = []
    for compiled in ("off", "blocks"):
        plan = SamplingPlan(euler, Flow(), 2, 0, Guidance(scale=2.0, interval=(0, 600)), compiled=compiled)
        found.append(list(generate(dit, SPEC, plan, range(8), 5, torch.device("cpu"))))
    for plain, same in zip(*found, strict=True):
        assert np.abs(plain.pixels.astype(int) - same.pixels).max() <= 1
    assert graphs.frame_count == 1, "for batches of 5, 10, 3 and 6"
    assert [batch.compile_seconds > 0 for batches in found for batch in batches] == [False, False, True, False]
    assert found[1][0].seconds < found[1][0].compile_seconds
