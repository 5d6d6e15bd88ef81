"""Power-function averages: the profiles, the least squares over them, and what training keeps of them."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from trainers import go, stop_after, trainer

from ditbench.benchmark.snapshots import SnapshotFacts, reconstruct, shares, snapshots_in, write_snapshot
from ditbench.errors import BadFile
from ditbench.runtime.progress import Interrupted
from ditbench.training.checkpoint import Checkpoints
from ditbench.training.power import Profile, combine, exponent, keep

KEPT = (0.05, 0.1)
RUN = "0" * 12


@pytest.mark.parametrize(("length", "gamma"), [(0.05, 16.97), (0.1, 6.94), (0.25, 0.72)])
def test_the_exponent_gives_the_profile_its_length(length, gamma):
    found = exponent(length)
    assert found == pytest.approx(gamma, abs=0.005)  # the first two are the paper's
    times = (np.arange(10**5) + 0.5) / 10**5
    weights = (found + 1) * times**found / 10**5
    mean = weights @ times
    assert (weights @ (times - mean) ** 2) ** 0.5 == pytest.approx(length, rel=1e-3)


def test_the_average_in_steps_is_the_integral_over_them_whatever_their_shares():
    ends = np.cumsum([0.1, 0.3, 0.05, 0.55])
    weights = np.zeros(4)
    for step, (before, now) in enumerate(zip([0.0, *ends], ends, strict=False)):
        weights *= keep(0.1, before, now)
        weights[step] += 1 - keep(0.1, before, now)
    power = np.array([0.0, *ends]) ** (exponent(0.1) + 1)
    assert weights == pytest.approx(np.diff(power))
    assert keep(0.1, 0.0, 0.0) == 0.0 and keep(0.1, 0.1, 0.2) == pytest.approx(0.5 ** (exponent(0.1) + 1))


def known(count):
    return [Profile(length, at) for at in shares(count) for length in KEPT]


def average(profile, power):
    """Of weights that go as t^power."""
    gamma = exponent(profile.length)
    return (gamma + 1) / (gamma + 1 + power) * profile.at**power


@pytest.mark.parametrize(("length", "error"), [(0.02, 0.25), (0.03, 0.11), (0.07, 0.014), (0.15, 0.034), (0.2, 0.08)])
def test_eight_snapshots_make_other_lengths_of_analytic_weights(length, error):
    """The profile's error bounds what moves; what stays as it is stays to the last digit."""
    found = combine(Profile(length, 1.0), known(8))
    assert error / 2 < found.error < error
    assert sum(found.factors) == pytest.approx(1, abs=1e-12)
    for power in (1, 2, 4):
        made = sum(factor * average(one, power) for factor, one in zip(found.factors, known(8), strict=True))
        assert made == pytest.approx(average(Profile(length, 1.0), power), abs=error / 10)
    assert combine(Profile(length, 1.0), known(16)).error < found.error / 2


def test_a_length_that_was_kept_is_its_own_snapshot():
    found = combine(Profile(0.1, 1.0), known(4))
    assert found.error < 1e-6 and found.factors == pytest.approx([0] * 7 + [1], abs=1e-9)


def taken(one, folder, count=4, lengths=KEPT):
    """What makes a trainer write snapshots, as runs do."""

    def shoot(at, now):
        tensors = {name: t for name, t in one.power.gathered().items() if float(name.partition("/")[0]) in lengths}
        facts = SnapshotFacts(run=RUN, lengths=lengths, time=one.clock.progress, steps=one.clock.steps)
        if now:
            write_snapshot(folder, at, tensors, facts)

    (folder / "ema-snapshots").mkdir(parents=True, exist_ok=True)
    return {"snapshots": shares(count), "shoot": shoot}


def test_what_is_reconstructed_is_what_was_tracked(tmp_path):
    """Of how far the two kept averages are apart, 2 to 3 % between and beyond them; of shorter ones than both, 24 %."""
    others = {0.03: 0.4, 0.07: 0.05, 0.15: 0.05}
    one = trainer(budget="120-steps", lengths=(*KEPT, *others))
    go(one, tmp_path, **taken(one, tmp_path, 8))
    tracked, found = one.power.gathered(), snapshots_in(tmp_path, RUN)
    save_file({name: tensor.clone() for name, tensor in one.ema.state_dict().items()}, tmp_path / "ema.safetensors")

    def apart(made, length):
        return sum(float((made[n] - tracked[f"{length}/{n}"]).square().sum()) for n in dict(one.ema.named_parameters()))

    between = apart({name.removeprefix("0.05/"): t for name, t in tracked.items() if name.startswith("0.05/")}, 0.1)
    errors = {}
    for length in others:
        reconstruct(found, length, tmp_path / "ema.safetensors", tmp_path / "made.safetensors")
        errors[length] = (apart(load_file(tmp_path / "made.safetensors"), length) / between) ** 0.5
    assert all(0 < errors[length] < bound for length, bound in others.items()), errors
    reconstruct(found, 0.1, tmp_path / "ema.safetensors", tmp_path / "made.safetensors")
    assert apart(load_file(tmp_path / "made.safetensors"), 0.1) < 1e-12 * between


def bits(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "ema-snapshots").iterdir())}


def test_a_stopped_run_leaves_the_snapshots_of_the_unbroken_one(tmp_path):
    whole = trainer(lengths=KEPT)
    go(whole, tmp_path / "whole", **taken(whole, tmp_path / "whole"))
    for stop in (4, 9):  # beyond the first snapshot; at the third
        part = trainer(lengths=KEPT)
        with pytest.raises(Interrupted):
            go(part, tmp_path / "parts", stop_after(stop, part), **taken(part, tmp_path / "parts"))
    last = trainer(lengths=KEPT)
    go(last, tmp_path / "parts", **taken(last, tmp_path / "parts"))
    assert bits(tmp_path / "parts") == bits(tmp_path / "whole") and len(bits(tmp_path / "whole")) == 4
    plain = go(trainer(), tmp_path / "plain")
    for name, tensor in plain.tensors().items():
        assert torch.equal(tensor, last.tensors()[name]), name
    assert not plain.power.tensors() and plain.power.bytes == 0 < last.power.bytes


def test_averages_begin_with_a_run_and_may_be_dropped(tmp_path):
    plain = trainer()
    with pytest.raises(Interrupted):
        go(plain, tmp_path / "plain", stop_after(4, plain))
    with pytest.raises(BadFile, match=r"has no power-function averages .* leave out `ema_snapshots`"):
        go(trainer(lengths=KEPT), tmp_path / "plain")
    kept = trainer(lengths=KEPT)
    with pytest.raises(Interrupted):
        go(kept, tmp_path / "kept", stop_after(4, kept))
    assert any(name.startswith("power/0.05/") for name in Checkpoints(tmp_path / "kept", "hash").latest().shapes)
    done, unbroken = go(trainer(), tmp_path / "kept"), go(trainer(), tmp_path / "unbroken")
    assert all(torch.equal(tensor, done.tensors()[name]) for name, tensor in unbroken.tensors().items())
