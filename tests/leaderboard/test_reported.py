"""Published numbers: read with care, kept apart, and beside what was measured in the same setting."""

import json
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from records import ENVIRONMENT, TRACK, finished, measurement

from ditbench.errors import BadFile
from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.export import json_text
from ditbench.leaderboard.latex import latex
from ditbench.leaderboard.markdown import markdown
from ditbench.leaderboard.reported import beside, read_reported, remarks, reported_tables
from ditbench.registry import Registry, select
from ditbench.tracks.track import load_track

COMMITTED = Path(__file__).parents[2] / "leaderboard" / "reported.toml"
GOOD = """
[[setting]]
paper = "DiT"
arxiv = "2212.09748"
table = "Table 4"
track = "digits"
budget = "64k-images"
[setting.values]
"fid1k/digits-cnn" = { "dit:nano" = 1.5, "uvit:nano" = 2.5 }
"""


def write(tmp_path, text):
    path = tmp_path / "reported.toml"
    path.write_text(text)
    return path


@pytest.fixture
def settings(tmp_path):
    return read_reported(write(tmp_path, GOOD))


def test_the_committed_numbers_name_labels_tracks_and_metrics_of_ours():
    registry = Registry.installed()
    settings = read_reported(COMMITTED)
    for setting in settings:
        track = load_track(registry.tracks[setting.track])
        metrics = {f"{name}50k/{extractor}" for name, extractor in track.evaluation.choices}
        assert track.evaluation.samples == 50_000 and set(setting.values) <= metrics
        for label in {label for values in setting.values.values() for label in values}:
            assert select(registry, label).label == label
            assert registry.architectures[label.partition(":")[0]].paper == f"arXiv:{setting.arxiv}"


def test_the_committed_numbers_are_in_range_and_stand_once():
    found = beside(read_reported(COMMITTED), [])
    for of in found:
        low, high = {"precision": (0, 1), "recall": (0, 1), "is": (1, 1000)}.get(
            of.protocol.partition("50k")[0], (1, 200)
        )
        assert low <= of.value <= high
    places = Counter(
        (of.setting.source, of.setting.budget, of.setting.differs, of.architecture, of.protocol) for of in found
    )
    assert set(places.values()) == {1}


def test_the_committed_numbers_hold_dits_table_4_as_its_track_repeats_it():
    table = {
        (of.architecture, of.setting.track, of.setting.budget): of.value
        for of in beside(read_reported(COMMITTED), [])
        if of.setting.source == "DiT, Table 4 (arXiv:2212.09748)"
    }
    at_400k = {
        label: value
        for (label, track, budget), value in table.items()
        if (track, budget) == ("imagenet256", "400k-steps")
    }
    assert len(at_400k) == 15 and min(at_400k, key=at_400k.get) == "dit:XL/2" and at_400k["dit:XL/2"] == 19.47
    for size in "SBL":  # smaller patches are better, and larger models
        assert at_400k[f"dit:{size}/8"] > at_400k[f"dit:{size}/4"] > at_400k[f"dit:{size}/2"]
    assert all(of.ruleset == "matched" and not of.differs for of in read_reported(COMMITTED) if of.table == "Table 4")


def test_what_needed_guidance_has_nothing_beside_it():
    for of in beside(read_reported(COMMITTED), []):
        if of.protocol.startswith("fid") and of.value < 5 and of.setting.track.startswith("imagenet"):
            assert of.setting.differs


def seeds(label, *fids, **changes):
    return [finished(label, fid, seed, **changes) for seed, fid in enumerate(fids)]


def test_measured_stands_beside_reported_in_the_same_setting(settings):
    one, other = beside(settings, boards(seeds("dit:nano", 1.0, 1.1, 1.2)))
    assert (one.architecture, one.value, one.here) == ("dit:nano", 1.5, "1.10 ± 0.25")
    assert (other.architecture, other.here) == ("uvit:nano", "—")


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": "32k-images"},
        {"ruleset": "native"},
        {"deviations": ["12 training images"]},
        {"track": TRACK.model_copy(update={"name": "other"})},
        {"metrics": [measurement("fid", 1.0, samples=20)]},
        {"label": "dit:other"},
    ],
)
def test_another_setting_does_not(settings, changes):
    assert beside(settings, boards([finished(**changes)]))[0].here == "—"


def test_what_differs_from_the_track_is_never_beside_a_run(tmp_path):
    text = GOOD.replace('budget = "64k-images"', 'budget = "64k-images"\ndiffers = "guidance 1.5"')
    found = beside(read_reported(write(tmp_path, text)), boards([finished()]))
    assert (found[0].measured, found[0].here) == ((), "")
    text = GOOD.replace('budget = "64k-images"\n', "")
    assert beside(read_reported(write(tmp_path, text)), boards([finished()]))[0].here == "—"


def test_every_row_of_that_setting_is_beside_it(settings):
    elsewhere = ENVIRONMENT.model_copy(update={"cpu": "Another processor"})
    found = beside(settings, boards([finished(fid=1.0), finished(fid=2.0, environment=elsewhere)]))
    assert found[0].here == "1.000; 2.000"


def test_it_stands_apart_and_enters_no_rank(settings):
    found = boards(seeds("dit:nano", 1.0, 1.1, 1.2))
    published = beside(settings, found)
    page = markdown(found, published)
    ranked, _, apart = page.partition("## Reported")
    assert ranked == markdown(found).partition("## How")[0] and "2.5" in apart
    header = next(line for line in apart.splitlines() if line.startswith("| architecture"))
    assert re.search(r"\| reported +\| measured here +\|", header)
    assert "DiT, Table 4 (arXiv:2212.09748)" in apart and "1.10 ± 0.25" in apart
    told = json.loads(json_text(found, published))
    assert told["boards"] == json.loads(json_text(found))["boards"]
    first, second = told["reported"]
    assert first["reported"] == 1.5 and first["measured"][0]["seeds"] == 3 and second["measured"] == []
    assert r"\label{tab:reported-digits-1}" in latex(found, published) and latex(found) in latex(found, published)


def test_notes_are_told_once_for_a_source(tmp_path):
    noted = read_reported(write(tmp_path, GOOD.replace('table = "Table 4"', 'note = "a note"\nsecond_hand = true')))
    published = beside(noted, [])
    assert remarks(published, "digits") == ["DiT (arXiv:2212.09748, second-hand): a note."]
    assert remarks(published, "other") == [] and "a note" in markdown([], published)
    assert list(reported_tables(published)) == ["digits"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("[[setting]]", "[[setting", "can't be read"),
        ("paper", "papier", "setting.0.paper: Field required"),
        ("2212.09748", "2212.9748; rm", "setting.0.arxiv"),
        ("64k-images", "a while", "setting.0.budget.*is no budget"),
        ("1.5", "nan", "setting.0.values.*finite"),
        ("1.5", '"1.5"', "setting.0.values"),
        ("fid1k/digits-cnn", "FID", "setting.0.values"),
        ('track = "digits"', 'track = "../digits"', "setting.0.track"),
        ('budget = "64k-images"', 'ruleset = "own"', "setting.0.ruleset"),
    ],
)
def test_a_file_that_is_wrong_is_one_line_that_names_it(tmp_path, old, new, fault):
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(BadFile, match=f"reported.toml.*{fault}") as caught:
        read_reported(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadFile, match="absent"):
        read_reported(tmp_path / "absent.toml")


def test_budgets_are_spelled_as_records_spell_them(tmp_path):
    (setting,) = read_reported(write(tmp_path, GOOD.replace("64k-images", "64000-images")))
    assert setting.budget == "64k-images"
    committed = tomllib.loads(COMMITTED.read_text(encoding="utf-8"))["setting"]
    assert [of.get("budget") for of in committed] == [of.budget for of in read_reported(COMMITTED)]
