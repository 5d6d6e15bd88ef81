"""One random stream per image, balanced labels, and Euler steps that do what Euler's method says."""

import numpy as np
import pytest
import torch
from torch import nn
from toy_net import Toy

from ditbench.components import DenoiserSpec
from ditbench.sampling import balanced_labels, euler, generate, initial_noise, labels_sha256
from ditbench.testing import perturb

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


def test_labels_are_balanced_and_fixed():
    assert np.bincount(balanced_labels(1000, 10)).tolist() == [100] * 10
    assert balanced_labels(3, 0).tolist() == [0, 0, 0]
    assert labels_sha256(balanced_labels(10, 10)) != labels_sha256(balanced_labels(10, 5))


def test_euler_follows_a_constant_velocity_exactly_in_any_number_of_steps():
    noise, velocity = torch.randn(2, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    for steps in (1, 7, 25):
        torch.testing.assert_close(euler(lambda x, t: velocity, noise, steps), noise - velocity)


def test_euler_visits_equally_spaced_times_from_noise_to_image():
    times = []

    def denoise(x, t):
        times.append(float(t))
        return torch.zeros_like(x)

    euler(denoise, torch.zeros(1, 1, 2, 2), 4)
    assert times == pytest.approx([1000, 750, 500, 250])


def test_samples_do_not_depend_on_the_batch_size():
    torch.manual_seed(0)
    toy = Toy(SPEC, width=16)
    perturb(toy)

    def images(batch_size):
        batches = list(generate(toy, SPEC, euler, 5, 64, batch_size, 3, torch.device("cpu")))
        assert all(batch.seconds > 0 for batch in batches)
        return np.concatenate([batch.pixels for batch in batches]), np.concatenate([b.labels for b in batches])

    whole, labels = images(64)
    assert whole.dtype == np.uint8 and labels.tolist() == balanced_labels(64, 10).tolist()
    for batch_size in (1, 7):
        pixels, same = images(batch_size)
        assert np.array_equal(labels, same)
        # 1e-4 of the float range is far less than a byte, so a byte may flip by one where it rounds
        assert np.abs(pixels.astype(int) - whole).max() <= 1 and np.mean(pixels != whole) < 1e-3


def test_the_variance_half_of_the_output_is_left_out():
    spec = DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel", learn_variance=True)

    class Double(nn.Module):
        def forward(self, x, t, y):
            return torch.cat([torch.zeros_like(x), torch.full_like(x, torch.nan)], dim=1)

    (batch,) = generate(Double(), spec, euler, 2, 4, 4, 0, torch.device("cpu"))
    assert batch.pixels.std() > 10
