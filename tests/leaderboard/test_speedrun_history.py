"""The history of a speedrun: what counts, what is a record, and how the leaderboard and its site tell it."""

import pytest
from records import unfinished
from site_records import HOSTILE
from speedruns import TRACK, entry

from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.build import outputs
from ditbench.leaderboard.intervals import p_below
from ditbench.leaderboard.site.pages import write_site
from ditbench.leaderboard.site.reproduction import reproduction
from ditbench.leaderboard.speedrun import counts, histories

OWN = {"rate": 2e-3, "changed": "the track's own recipe"}


def history(*entries):
    (found,) = histories(boards([record for records in entries for record in records]))
    return found


def test_entries_stand_by_date_and_each_faster_one_is_a_record():
    first, slower = entry(60.0, **OWN), entry(61.0, day=2, rate=3e-3)
    found = history(entry(40.0, day=3), slower, first)
    assert [(told.seconds.mean, told.is_record) for told in found.entries] == [
        (pytest.approx(60), True), (pytest.approx(61), False), (pytest.approx(40), True),
    ]  # fmt: skip
    assert [told.differs for told in found.entries] == [
        "budget 56k-images → 30k-images", "learning_rate 0.002 → 0.003", "learning_rate 0.002 → 0.004",
    ]  # fmt: skip
    assert found.entries[2].time == "40.00 ± 0.1083" and found.targets == ("denoise1k/digits-cnn < 0.35",
                                                                           "fid1k/digits-cnn < 2")  # fmt: skip
    assert found.course.title == "digits v4, dit:nano, A processor, 2 threads" and not found.others


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"seeds": 9}, "9 of 10 seeds"),
        ({"seeds": 11}, "11 seeds, and the track asks for 10"),
        ({"parallel": 2}, "its times were measured beside others"),
        ({"denoise": 0.3495}, "denoise1k/digits-cnn 0.3495 (p = 0.31) does not reach 0.35"),
        ({"deviations": ["other data"]}, "not what its track says: other data"),
    ],
)
def test_what_does_not_count_says_why(changes, why):
    found = history(entry(**changes))
    assert [told.fault for told in found.others] == [why] and not found.entries
    (board,) = boards(entry(**changes))
    assert counts(board) == [f"Does not count: dit:nano: {why}."]


def test_a_run_that_failed_spoils_its_entry():
    whole = entry()
    lost = unfinished("dit:nano", seed=9)
    same = ("ruleset", "recipe", "changed", "budget", "run_id", "run_hash", "track", "track_hash", "environment",
            "reference_sha256", "objective")  # fmt: skip
    failed = lost.model_copy(update={name: getattr(whole[9], name) for name in same})
    assert [told.fault for told in history([*whole[:9], failed]).others] == ["1 of 10 diverged"]


def test_recipes_and_hardware_have_histories_of_their_own_boards_of_their_own_recipe():
    other = [record.model_copy(update={"environment": record.environment.model_copy(update={"cpu": "Another"})})
             for record in entry()]  # fmt: skip
    found = boards([*entry(), *entry(rate=3e-3), *other])
    assert len(histories(found)) == 2 and len(found) == 2
    assert all(board.title.startswith("digits v4, speedrun, recipe ") for board in found)


def test_the_test_is_one_sided_and_equal_values_tell_nothing():
    values = [0.9, 1.0, 1.1]
    assert p_below(values, 1.2) == pytest.approx(0.0371, abs=1e-4)  # t = -3.4641 with 2 degrees of freedom
    assert p_below(values, 0.8) == pytest.approx(1 - 0.0371, abs=1e-4) and p_below([1.0, 1.0, 1.0], 2.0) == 0.5


def test_the_page_has_the_history_and_no_table_of_a_board():
    records = [*entry(60.0, **OWN), *entry(40.0, day=3, changed="a | *b* <i>")]
    page = outputs(boards(records))["README.md"]
    assert "## Speedrun: digits v4, dit:nano, A processor, 2 threads" in page and "## digits" not in page
    newest, oldest = page.index("40.00 ± 0.1083"), page.index("60.00 ± 0.1083")
    assert newest < oldest and "a \\| \\*b\\* &lt;i&gt;" in page and "No records yet" not in page


def test_the_site_has_a_page_of_it_only_where_there_is_one(tmp_path):
    hostile = HOSTILE[:200]
    records = [*entry(60.0, changed=hostile), *entry(40.0, day=3, denoise=0.36, rate=1e-2, changed="too fast")]
    write_site(boards(records), tmp_path, samples=None)
    page, front = ((tmp_path / name).read_text() for name in ("speedrun.html", "index.html"))
    assert "60.00 ± 0.1083" in page and "denoise1k/digits-cnn &lt; 0.35" in page and "<script>alert" not in page
    assert "too fast: denoise1k/digits-cnn 0.3600 (p = 1) does not reach 0.35" in page
    assert f'href="runs/{records[0].run_id}.html"' in page and '<a href="speedrun.html">Speedruns</a>' in front
    run, track = ((tmp_path / name).read_text() for name in (f"runs/{records[0].run_id}.html", "tracks/digits.html"))
    assert 'href="../speedrun.html">digits' in run and 'class="board"' not in track
    plain = [
        record.model_copy(update={"ruleset": "matched", "recipe": TRACK.recipe, "changed": ""})
        for record in records[:10]
    ]
    write_site(boards(plain), tmp_path, samples=None)
    assert not (tmp_path / "speedrun.html").exists() and "Speedruns" not in (tmp_path / "index.html").read_text()


def test_a_run_is_repeated_with_the_file_that_its_record_gives():
    *_, written, command = reproduction(entry(changed="it's <b>")[0]).lines
    assert written == ("printf '%s\\n' 'changed = \"it'\"'\"'s <b>\"' '[recipe]' 'learning_rate = 0.004' > recipe.toml")
    assert command.endswith("--ruleset speedrun --recipe recipe.toml")
