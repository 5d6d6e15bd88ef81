"""Time and size of the leaderboard's site, on demand: uv run pytest -n 0 tests/benchmarks/bench_site.py

1,000 runs that no one trained, three seeds to a row, with loss curves of 100 points, milestones and grids of samples.
"""

import pytest
from site_records import run, with_pictures

from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.site.pages import write_site

RUNS, SEEDS, BOARDS = 1000, 3, 8


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return tmp_path_factory.mktemp("samples")


@pytest.fixture(scope="module")
def records(samples):
    found = [
        run(f"a{row % 40}:nano", seed, 1 + row / 50, 7.5, 1500.0, curve=100, budget=f"{64 + row % BOARDS}k-images")
        for row in range(-(-RUNS // SEEDS))
        for seed in range(SEEDS)
    ]
    return with_pictures(found[:RUNS], samples)


def test_building(benchmark, records, samples, tmp_path_factory):
    """All pages into an empty folder, boards and ranks included."""

    def build():
        folder = tmp_path_factory.mktemp("site")
        write_site(boards(records), folder, samples=samples)
        return folder

    folder = benchmark.pedantic(build, rounds=1)
    sizes = {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    for part in ("assets", "tracks", "runs", "architectures", "samples", ""):
        size = sum(size for path, size in sizes.items() if path.as_posix().startswith(part))
        benchmark.extra_info[f"MB {part or 'in all'}"] = round(size / 1e6, 2)
    benchmark.extra_info["files"] = len(sizes)
    print(benchmark.extra_info)


def test_building_again(benchmark, records, samples, tmp_path):
    """The same into the folder that has it: nothing is written."""
    write_site(boards(records), tmp_path, samples=samples)
    benchmark.pedantic(lambda: write_site(boards(records), tmp_path, samples=samples), rounds=1)
