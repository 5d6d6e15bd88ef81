"""One random stream per image, balanced labels, guidance, and samplers that do what their papers say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.schedulers import scheduling_ddpm
from safetensors.torch import load_file
from torch import nn
from toy_net import Toy

from ditbench.components import DenoiserSpec
from ditbench.guidance import Guidance
from ditbench.objectives import EDM, Flow, Noise
from ditbench.samplers import Walk, ddim, ddpm, dpm_solver, edm_heun, euler, heun
from ditbench.sampling import Ask, Plan, balanced_labels, generate, initial_noise, labels_sha256, streams
from ditbench.testing import perturb

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
    assert np.bincount(balanced_labels(1000, 10)).tolist() == [100] * 10
    assert balanced_labels(3, 0).tolist() == [0, 0, 0]
    assert labels_sha256(balanced_labels(10, 10)) != labels_sha256(balanced_labels(10, 5))


def walk(denoise, noise, steps, objective=None):
    return Walk(denoise, objective or Flow(), noise, steps, lambda: streams(0, np.arange(len(noise))))


@pytest.mark.parametrize("sampler", [euler, heun])
def test_a_constant_velocity_is_followed_exactly_in_any_number_of_steps(sampler):
    noise, velocity = torch.randn(2, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    for steps in (2, 7, 25):
        torch.testing.assert_close(sampler(walk(lambda x, t: velocity, noise, steps)), noise - velocity)


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


GOLDEN = load_file(Path(__file__).parent / "goldens" / "diffusion_visible.safetensors")
IDDPM = Noise(learn_variance=True)


def golden_denoiser(x, t):
    """The analytic model of the golden file's metadata."""
    rest = (1 - IDDPM.alpha_bars[int(t)].float()).sqrt()
    return torch.cat([0.9 * rest * x + 0.05 * x.tanh(), 0.3 * x.tanh()], dim=1)


def far(ours, theirs):
    return float((ours - theirs).double().norm() / theirs.double().norm())


@pytest.mark.parametrize(("sampler", "steps"), [(ddpm, 250), (ddpm, 50), (ddim, 50)])
def test_whole_trajectories_equal_the_reference(monkeypatch, sampler, steps):
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, **__: GOLDEN["step_noise"])
    x0 = sampler(walk(golden_denoiser, GOLDEN["xT"], steps, IDDPM))
    assert far(x0, GOLDEN[f"{sampler.__name__}{steps}.x_0"]) < 1e-4


def test_the_respaced_steps_are_those_of_the_reference():
    times = []

    def denoise(x, t):
        times.append(int(t))
        return golden_denoiser(x, t)

    for sampler in (ddpm, ddim):
        times.clear()
        sampler(walk(denoise, GOLDEN["xT"], 250, IDDPM))
        assert times == sorted(GOLDEN["respaced250.timesteps"].tolist(), reverse=True)


def test_dpm_solver_reaches_the_image_of_ddim_in_fewer_steps():
    target = ddim(walk(golden_denoiser, GOLDEN["xT"], 1000, IDDPM))
    assert far(dpm_solver(walk(golden_denoiser, GOLDEN["xT"], 50, IDDPM)), target) < 3e-3
    assert far(ddim(walk(golden_denoiser, GOLDEN["xT"], 50, IDDPM)), target) > 3e-3


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


@pytest.mark.parametrize(
    ("sampler", "objective", "spec"),
    [
        (euler, Flow(), SPEC),
        (heun, Flow(), SPEC),
        (ddpm, Noise(), SPEC),
        (ddpm, IDDPM, LEARNED),
        (ddim, IDDPM, LEARNED),
        (dpm_solver, Noise("scaled-linear"), SPEC),
        (edm_heun, EDM(), SPEC),
    ],
)
def test_samples_do_not_depend_on_the_batch_size(sampler, objective, spec):
    torch.manual_seed(0)
    toy = Toy(spec, width=16)
    perturb(toy)
    noises = {}

    def images(batch_size):
        floats = []

        def kept(walk):
            floats.append(sampler(walk))
            noises.setdefault(batch_size, []).append(walk.noise)
            return floats[-1]

        plan = Plan(kept, objective, 5, 3, Guidance(scale=2.0))
        batches = list(generate(toy, spec, plan, 64, batch_size, torch.device("cpu")))
        assert all(batch.seconds > 0 for batch in batches)
        return torch.cat(floats), np.concatenate([batch.labels for batch in batches])

    whole, labels = images(64)
    assert labels.tolist() == balanced_labels(64, 10).tolist()
    for batch_size in (1, 7):
        floats, same = images(batch_size)
        assert np.array_equal(labels, same)
        assert torch.equal(torch.cat(noises[batch_size]), noises[64][0])  # bit for bit
        assert float((floats - whole).abs().max()) < 1e-4 * max(1, float(whole.abs().max()))


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
    ask = Ask(Labelled(), spec, torch.zeros(3, dtype=torch.long), guidance)
    out = ask(torch.randn(3, 4, 2, 2), torch.tensor(500))
    assert out[1, :, 0, 0].tolist() == [*channels, 5, 5, 5, 5]
    assert ask.evaluations == evaluations


def test_power_cosine_equals_the_reference():
    tables = {name: table for name, table in GOLDEN.items() if name.startswith("power_cosine.scale")}
    assert len(tables) == 3
    for name, table in tables.items():
        scale, power = name.removeprefix("power_cosine.scale").split(".pow")
        guidance = Guidance(scale=float(scale), schedule="power-cosine", power=float(power))
        weights = [guidance.weight(t) for t in GOLDEN["power_cosine.t"].tolist()]
        assert weights == pytest.approx(table.tolist(), abs=1e-6)


def test_an_interval_must_make_sense():
    with pytest.raises(ValueError, match=r"interval 500\.0 to 400\.0 does not lie in 0\.\.1000"):
        Guidance(scale=2.0, schedule="interval", interval=(500, 400))


def test_evaluations_are_counted():
    toy = Toy(SPEC, width=16)
    for sampler, objective, expected in ((euler, Flow(), 10), (heun, Flow(), 19), (edm_heun, EDM(), 19)):
        (batch,) = generate(toy, SPEC, Plan(sampler, objective, 10, 0), 4, 4, torch.device("cpu"))
        assert batch.evaluations == expected
        (batch,) = generate(toy, SPEC, Plan(sampler, objective, 10, 0, Guidance(scale=3)), 4, 4, torch.device("cpu"))
        assert batch.evaluations == 2 * expected


def test_the_variance_half_of_the_output_is_left_out():
    spec = DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel", learn_variance=True)

    class Double(nn.Module):
        def forward(self, x, t, y):
            return torch.cat([torch.zeros_like(x), torch.full_like(x, torch.nan)], dim=1)

    (batch,) = generate(Double(), spec, Plan(euler, Flow(), 2, 0), 4, 4, torch.device("cpu"))
    assert batch.pixels.std() > 10
