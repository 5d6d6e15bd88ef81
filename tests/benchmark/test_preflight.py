"""What is told before anything is spent: too few GPUs, data that no record can name; networks change nothing of it."""

import sys
import types
from dataclasses import replace

import pytest
import torch
from deadly import DEADLY
from torch.nn import functional as F

from ditbench.benchmark import preflight, setup
from ditbench.benchmark.preflight import _check_parallel, check
from ditbench.errors import BadFile, BadValue
from ditbench.registry import Registry
from ditbench.tracks.plan import make_plan

OF_TWO_DEPTHS = """
import dataclasses, ditbench, toy

@ditbench.hookimpl
def ditbench_architectures():
    wide = dict(width=24, depth=2)
    ladder = dict(nano=ditbench.Ladder(rungs=dict([(2, dict(depth=2))]), narrow=dict(width=8), wide=wide))
    yield dataclasses.replace(toy.ARCHITECTURE, name="mine", ladder=ladder)
"""


@pytest.fixture
def plan_of(toy, install):
    """A function: the runs of architectures of a deadly plugin, and what is installed."""
    install("ditbench-deadly", "deadly_plugin", DEADLY)
    registry = Registry.installed()
    return lambda *names: (make_plan(registry, "tiny", names, [0, 1], device="cpu"), registry)


def test_what_networks_do_stays_in_processes_of_their_own(plan_of):
    """What the runs are compared with, and on which hardware, is said by a process that has built none."""
    before = threads, gelu = torch.get_num_threads(), F.gelu
    checked = check(*plan_of("patches", "exits", "dies", "crashes", "raises", "toy"))
    assert (torch.get_num_threads(), F.gelu) == before and gelu is not F.relu
    assert {one.threads for one in checked.environments} == {1, threads} and "deadly_plugin" not in sys.modules


def test_what_a_network_says_of_its_settings_ends_the_plan(plan_of):
    with pytest.raises(BadValue, match=r"^a width of 16 does not do\.$"):
        check(*plan_of("dies", "refuses", "toy"))


def test_a_pair_of_widths_that_is_none_ends_a_plan_that_scales_by_it(toy, install):
    install("ditbench-mine", "mine", OF_TWO_DEPTHS)
    registry = Registry.installed(strict=True)
    runs = [make_plan(registry, "tiny", ["mine"], device="cpu", parametrization=how) for how in ("standard", "mup")]
    assert check(runs[0], registry).macs[0] > 0
    with pytest.raises(BadValue, match=r"^mine:nano has other layers at the widths of its ladder's pair"):
        check(runs[1], registry)


def test_a_gpu_that_is_no_good_ends_the_plan_whatever_the_networks_are(plan_of, monkeypatch):
    """Also where nothing is known of what they need. The CPU stands in for it."""

    def full(device):
        raise BadValue(f"Device {str(device)!r} is full.")

    monkeypatch.setattr(preflight, "capacity", full)
    with pytest.raises(BadValue, match=r"^Device 'cpu' is full\.$"):
        check(*plan_of("raises"))


@pytest.mark.parametrize(
    ("device", "processes", "parallel", "told"),
    [
        ("cuda", 1, 4, None),
        ("cuda", 2, 2, None),
        ("cuda:1", 1, 1, None),
        ("cuda", 1, 5, "5 runs at a time need 5 GPUs, and there are 4; give a smaller `parallel`."),
        ("cuda", 3, 2, "2 runs at a time need 6 GPUs, and there are 4; give a smaller `parallel` or `processes`."),
        ("cuda:1", 1, 2, "2 runs at a time can't share 'cuda:1'; give `device` cuda, or no `parallel`."),
    ],
)
def test_gpus_for_all_runs_at_a_time(monkeypatch, device, processes, parallel, told):
    """There need be no GPU: torch's answers are made up."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "H100")
    if told is None:
        _check_parallel(torch.device(device), processes, parallel)
        return
    with pytest.raises(BadValue) as refused:
        _check_parallel(torch.device(device), processes, parallel)
    assert str(refused.value) == told


def test_data_that_no_record_could_name_are_refused_before_the_run(monkeypatch):
    (config,) = make_plan(Registry.installed(), "digits", ["dit:nano"], device="cpu")
    data = setup.open_data(config, Registry.installed())
    for named in ("", "\n<!--", "f" * 63):
        other = types.SimpleNamespace(load=lambda request, named=named: replace(data, sha256=named))
        monkeypatch.setattr(setup, "find_dataset", lambda *about, other=other: (other, ""))
        with pytest.raises(BadFile, match=r"'digits' gives .* as its sha256; it should be 64"):
            setup.open_data(config, Registry.installed())


def test_gpus_of_two_models_are_no_class_of_hardware(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: ["H100", "H100", "A100", "A100"][number])
    _check_parallel(torch.device("cuda"), 1, 2)
    with pytest.raises(BadValue, match="GPUs of one model; CUDA_VISIBLE_DEVICES picks some of A100, H100"):
        _check_parallel(torch.device("cuda"), 1, 3)
