"""The denoising errors of two networks, level by level: which is better where, by seeds or by images."""

import json

import pytest
from denoised import denoising
from records import finished

from ditbench.leaderboard.error_levels import compare_errors, row_of
from ditbench.records.denoising import LEVELS, LOG_SNRS
from ditbench.records.record import write_record

NOISE, IMAGE = [1.0] * 5 + [2.0] * 11, [3.0] * 5 + [2.0] * 4 + [1.0] * 7  # better at noise; at images


def runs(label, scales, seeds=range(5), spread=0.001, standard_error=1e-6, **changes):
    """Of a network whose errors at the levels are these, and vary a little over the seeds."""
    return [
        finished(
            label,
            seed=s,
            denoising=denoising([x + spread * s * s for x in scales], standard_error=standard_error),
            **changes,
        )
        for s in seeds
    ]


def test_by_seeds_each_level_has_its_means_and_who_is_better():
    found = compare_errors(runs("dit:nano", NOISE), runs("uvit:nano", IMAGE, spread=0.002))
    assert [level.better for level in found.levels] == [0] * 5 + [None] * 4 + [1] * 7 and found.seeds == (0, 1, 2, 3, 4)
    first, middle = found.levels[0], found.levels[6]
    assert (first.one.mean, first.other.mean) == (pytest.approx(1.006), pytest.approx(3.012))
    assert first.ratio == pytest.approx(1.006 / 3.012) and first.p < 1e-6 and 0.01 < middle.p < 0.2
    assert found.words == (
        f"dit:nano is better at high noise (log-SNR {LOG_SNRS[4]:.1f} and below); "
        f"uvit:nano is better at low noise (log-SNR {LOG_SNRS[9]:.1f} and above)."
    )
    assert found.how.startswith("Paired t-tests over 5 seeds; a level needs p ≤ 0.0031")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ([1.0] * 5 + [2.0] * 11, "No level of noise tells them apart."),
        ([3.0] * 16, "the first is better at every level of noise."),
        (
            [1.0, 3.0] + [1.0] * 3 + [1.0] * 2 + [2.0] * 9,
            "the first is better at log-SNR -4.2; the other is better at log-SNR -1.0 to -0.2.",
        ),
    ],
)
def test_one_run_each_is_compared_by_its_images_alone(other, words):
    found = compare_errors(runs("dit:nano", NOISE, [0]), runs("dit:nano", other, [0]))
    assert (
        found.words == words and found.seeds == () and found.how.startswith("By the errors over the 256 images alone")
    )


def test_an_image_error_as_large_as_the_difference_tells_nothing():
    sides = [runs("dit:nano", of, [0, 1], standard_error=10.0) for of in (NOISE, IMAGE)]
    assert compare_errors(*sides).words == "No level of noise tells them apart."


def test_errors_of_other_images_do_not_compare():
    one = runs("dit:nano", NOISE)
    assert compare_errors(one, [finished("uvit:nano")]) is None
    assert compare_errors(one, runs("uvit:nano", IMAGE, data_sha256="0" * 64)) is None
    unlabelled = [r.model_copy(update={"denoising": r.denoising.model_copy(update={"labelled": False})}) for r in one]
    assert compare_errors(one, unlabelled) is None


def test_diff_tells_it_and_takes_all_seeds_that_lie_beside(ditbench, tmp_path, monkeypatch):
    for run in (*runs("dit:nano", NOISE), *runs("uvit:nano", IMAGE, spread=0.002), finished("mdt:nano")):
        write_record(run, tmp_path / f"{run.run_id}.json")
    dit, uvit, mdt = (str(tmp_path / f"{name}-nano-seed0-0123abcd.json") for name in ("dit", "uvit", "mdt"))
    out = ditbench("diff", dit, uvit)
    assert "Denoising error by log-SNR" in out and "the 256 images alone" in out and "uvit:nano is better" in out
    out = ditbench("diff", dit, uvit, "--all-seeds")
    assert "1.006 ± 0.008" in out and "Paired t-tests over 5 seeds" in out
    found = json.loads(ditbench("diff", dit, uvit, "--all-seeds", "--json"))
    assert len(found["denoising"]["levels"]) == LEVELS and found["denoising"]["levels"][0]["better"] == 0
    assert found["differences"][0]["field"].startswith("architecture.") and len(found["denoising"]["seeds"]) == 5
    assert "Denoising" not in ditbench("diff", dit, mdt) and "same protocol" in ditbench("diff", dit, dit)
    told = []
    monkeypatch.setattr("ditbench.cli.records.warn", told.append)
    assert json.loads(ditbench("diff", dit, mdt, "--all-seeds", "--json"))["denoising"] is None
    assert told[-1:] == ["Mind: the two have no denoising errors of the same images to compare."]


def test_a_row_is_found_among_what_lies_beside():
    one, *others = runs("dit:nano", NOISE)
    assert row_of(one, [*others, one, finished("uvit:nano")]).seeds == {0, 1, 2, 3, 4}
