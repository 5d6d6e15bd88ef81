"""Each slot has GPUs and cores of its own. A process that takes one is in test_local.py."""

import os

import pytest

from ditbench.runtime.affinity import Slot, processors


@pytest.mark.parametrize(
    ("visible", "processes", "of_each"),
    [
        (None, 1, ["0", "1", "2"]),
        (None, 2, ["0,1", "2,3", "4,5"]),
        ("5, 3,7", 1, ["5", "3", "7"]),
        ("GPU-8f2a,GPU-11,MIG-c0/1/0,GPU-d,GPU-e,GPU-f", 2, ["GPU-8f2a,GPU-11", "MIG-c0/1/0,GPU-d", "GPU-e,GPU-f"]),
    ],
)
def test_each_slot_has_gpus_of_its_own(visible, processes, of_each):
    assert [Slot(number, 3).gpus(processes, visible) for number in range(3)] == of_each


def test_each_slot_has_cores_of_its_own():
    assert [Slot(number, 2).cores([0, 4, 1, 5, 2]) for number in range(2)] == [[0, 4], [1, 5]]
    assert [Slot(number, 3).cores([6, 7]) for number in range(3)] == [[6, 7]] * 3
    assert Slot().cores([3, 1]) == [3, 1]


def test_processors_of_one_core_stand_side_by_side(tmp_path, monkeypatch):
    """As many machines number them: 0 and 2 are two threads of one core."""
    for number, core in enumerate(["0", "1", "0", "1"]):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "core_id").write_text(f"{core}\n")
        (folder / "physical_package_id").write_text("0\n")
    monkeypatch.setattr("ditbench.runtime.affinity.TOPOLOGY", str(tmp_path / "cpu{}" / "topology"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    assert processors() == [0, 2, 1, 3]
    monkeypatch.setattr("ditbench.runtime.affinity.TOPOLOGY", str(tmp_path / "nothing-is-told" / "{}"))
    assert processors() == [0, 1, 2, 3]
