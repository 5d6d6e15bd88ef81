"""Speeds measured alone: a page of profiles, by class of hardware, apart from the boards."""

import json
import re
from pathlib import Path

from records import ENVIRONMENT, finished
from site_records import HOSTILE

from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.site.contents import Contents
from ditbench.leaderboard.site.pages import write_site
from ditbench.leaderboard.site.speeds import views
from ditbench.records.profile import read_profile

PROFILE = read_profile(Path(__file__).parents[1] / "profiles" / "dit-S-2-h100.profile.json")
BOARDS = boards([finished()])


def changed(batch=64, hardware=PROFILE.environment, name="dit", **setup):
    about = {"setup": PROFILE.setup.model_copy(update={"batch_size": batch, **setup}), "environment": hardware}
    label = PROFILE.label.replace("dit", name)
    about["architecture"] = PROFILE.architecture.model_copy(update={"name": name, "label": label})
    return PROFILE.model_copy(update=about)


def page_of(folder, profiles):
    write_site(BOARDS, folder, samples=None, profiles=profiles)
    return (folder / "speeds.html").read_text()


def test_each_hardware_has_a_part_and_each_network_a_line():
    on_cpu = changed(hardware=ENVIRONMENT)
    first, second = views(Contents(BOARDS, profiles=[changed(256), on_cpu, PROFILE, changed(compile=True)]))
    assert (first.hardware, second.hardware) == (ENVIRONMENT.hardware, "NVIDIA H100 80GB HBM3")
    assert [(line.batch, line.how.split(", ")[1]) for line in second.lines] == [
        (64, "compiled"), (64, "eager"), (256, "eager"),
    ]  # fmt: skip
    compiled, eager = second.chart["series"]
    assert eager["x"]["batch"] == [64, 256] and eager["mode"] == "lines+markers" and compiled["mode"] == "markers"
    (rate, _), (share, _), (joules, _), (memory, _), (forward, _), (sampler, order) = second.lines[1].numbers
    assert (rate, share, joules) == ("1,550", "5.693", "") and float(forward.replace(",", "")) > 2000
    assert memory == f"{PROFILE.training.peak.allocated / 2**30:.3f}"
    assert (sampler, order) == ("", -1.0)  # was not timed, and sorts last
    assert [of["key"] for of in second.chart["y"]] == ["training", "mfu", "inference"]  # too short for joules


def test_the_page_is_there_when_there_is_a_profile(tmp_path):
    failed = PROFILE.model_copy(
        update=dict.fromkeys(("cost", "training", "inference", "environment")) | {"reason": "x"}
    )
    write_site(BOARDS, tmp_path, samples=None, profiles=[failed])
    assert not (tmp_path / "speeds.html").exists() and "speeds.html" not in (tmp_path / "index.html").read_text()
    page = page_of(tmp_path, [PROFILE, changed(name="mdt")])
    assert '<a href="speeds.html">Speeds</a>' in (tmp_path / "index.html").read_text()
    assert (
        "mdt:S/2" in page
        and "NVIDIA H100 80GB HBM3" in page
        and page_of(tmp_path, [changed(name="mdt"), PROFILE]) == page
    )
    (chart,) = re.findall(r'<script type="application/json">(.*?)</script>', page)
    assert {series["name"] for series in json.loads(chart)["series"]} == {"dit:S/2", "mdt:S/2"}


def test_a_strangers_text_is_text(tmp_path):
    hardware = PROFILE.environment.model_copy(update={"gpu": HOSTILE})
    page = page_of(tmp_path, [changed(hardware=hardware, name=HOSTILE)])
    assert "<script>alert" not in page and "<img src=x" not in page and "&lt;/script&gt;" in page
