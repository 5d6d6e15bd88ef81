"""The site is a view of records: the same bytes again, whole, safe with anybody's text, and nobody's files harmed."""

import gzip
import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from records import ENVIRONMENT, unfinished
from site_pages import RESOURCES, Page, content, pages
from site_records import H100, HOSTILE, conference, hostile, run, with_pictures

from ditbench.errors import BadValue
from ditbench.leaderboard import tables
from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.build import JSON_FILE, outputs
from ditbench.leaderboard.notes import ties
from ditbench.leaderboard.reported import beside, read_reported
from ditbench.leaderboard.site.architectures import paper_address
from ditbench.leaderboard.site.pages import Links, write_site
from ditbench.leaderboard.site.rules import render
from ditbench.leaderboard.tables import interval
from ditbench.records.diff import fields
from ditbench.records.files import GRID_FILE
from ditbench.records.verification import re_trained

RUN_HEADS = ["results", "samples", "way", "cost", "again", "difference", "made", "trust"]
REPORTED = Path(__file__).parents[2] / "leaderboard" / "reported.toml"


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return tmp_path_factory.mktemp("samples")


@pytest.fixture(scope="module")
def records(samples):
    return with_pictures(conference(), samples)


@pytest.fixture(scope="module")
def site(records, samples, tmp_path_factory):
    """A whole site, with published numbers and data."""
    folder, found = tmp_path_factory.mktemp("site"), boards(records)
    reported = beside(read_reported(REPORTED), found)
    write_site(found, folder, samples=samples, reported=reported, data={"leaderboard.csv": "a,b\n"})
    return folder


def test_the_same_records_make_the_same_bytes(site, records, samples, tmp_path):
    shuffled = random.Random(0).sample(records, len(records))
    found = boards(shuffled)
    reported = beside(read_reported(REPORTED), found)
    files = write_site(found, tmp_path, samples=samples, reported=reported, data={"leaderboard.csv": "a,b\n"})
    assert content(tmp_path) == content(site)
    assert set(files) == {tmp_path / name for name in content(tmp_path)}


@pytest.mark.parametrize("which", ["site", "hostile_site"])
def test_every_link_leads_somewhere(request, which):
    site = request.getfixturevalue(which)
    found = pages(site)
    for page in found.values():
        links = [*page.all("a", "href"), *(link for tag, name in RESOURCES.items() for link in page.all(tag, name))]
        for link in links:
            if link.startswith(("https://arxiv.org/abs/", "data:,")):
                continue
            path, _, anchor = link.partition("#")
            target = (page.path.parent / path).resolve() if path else page.path
            assert target.is_relative_to(site) and target.is_file(), (page.path, link)
            assert not anchor or anchor in found[target.relative_to(site).as_posix()].ids, (page.path, link)


def test_no_page_asks_for_anything_elsewhere(site):
    for page in pages(site).values():
        policy = next(attributes for tag, attributes in page.elements if "http-equiv" in attributes)
        assert policy["content"].startswith("default-src 'none'; script-src 'self' file:;")
        assert not [link for tag, name in RESOURCES.items() for link in page.all(tag, name) if "//" in link]
        assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
        assert not {tag for tag, _ in page.elements} & {"iframe", "object", "embed", "base"}
    assert not re.findall(r"url\(|@import|//", (site / "assets" / "site.css").read_text(encoding="utf-8"))


def test_ids_are_unique_and_every_picture_has_its_words(site):
    for name, page in pages(site).items():
        assert max(Counter(page.ids).values()) == 1, name
        assert all(attributes.get("alt") for tag, attributes in page.elements if tag == "img")
        assert all(attributes.get("scope") for tag, attributes in page.elements if tag == "th") or name == "rules.html"


def test_a_page_per_run_has_all_that_the_record_has(site, records):
    shared = {path.stem: listed(path) for path in (site / "boards").glob("*.js")}
    for record in records:
        text = Page(site / "runs" / f"{record.run_id}.html").text
        _, board, _, own = listed(site / "runs" / f"{record.run_id}.js")
        told = {name: value for _, name, value in [*shared[board][1], *own]}
        assert told == json.loads(json.dumps(dict(fields(record)))) and len(told) > len(own)
        assert record.architecture.label in text and f"seed {record.seed}" in text and record.status in text.lower()
        packed = gzip.decompress((site / "runs" / f"{record.run_id}.json.gz").read_bytes())
        assert json.loads(packed) == record.model_dump(mode="json")
        assert record.files.get(GRID_FILE, "") in text
    text = Page(site / "runs" / f"{records[0].run_id}.html").text
    measured = records[0].metrics[3]
    assert f"{measured.raw['counts'][0]} of 1,000" in text and "25 %" in text and "100 %" in text


def listed(path):
    """What a script hands over."""
    text = path.read_text(encoding="utf-8")
    return json.loads(f"[{text[text.index('(') + 1 : text.rindex(')')]}]")


def test_results_come_first_on_the_page_of_a_run(site, records):
    heads = [name for name in Page(site / "runs" / f"{records[0].run_id}.html").ids if name in RUN_HEADS]
    assert heads == RUN_HEADS


def test_the_page_of_a_run_in_several_processes_has_the_rates_of_each(tmp_path):
    four = ENVIRONMENT.model_copy(update={"processes": 4})
    alone, together = run("dit:nano", 0, 1.0), run("dit:nano", 1, 1.0, rate=1400.0, environment=four)
    write_site(boards([alone, together]), tmp_path, samples=None)
    text = Page(tmp_path / "runs" / f"{together.run_id}.html").text
    assert "training images/s per device350.0" in text and "sampling images/s per device50.00" in text
    assert "per device" not in Page(tmp_path / "runs" / f"{alone.run_id}.html").text


def test_a_run_that_failed_says_why(site, records):
    record = next(record for record in records if record.status == "diverged")
    assert "diverged (the loss became nan at step 3)" in Page(site / "runs" / f"{record.run_id}.html").text
    assert "1 of 3 diverged: the loss became nan at step 3" in Page(site / "tracks" / "digits.html").text


def test_ranks_ties_and_what_has_none_are_told(site, records):
    text = Page(site / "tracks" / "digits.html").text
    (ranked, *_) = boards(records)
    assert ties(ranked) and all(line in text for line in ties(ranked))
    assert "2 (tie)" in text and "provisional" in text and "Target: fid1k ≤ 2" in text
    assert "Unranked, because these runs are not what their track says: 200 samples, not 1000." in text
    assert "diffit:nano is significantly better than every other ranked row" in text
    assert "one rank" in text and "different ranks" in text


def test_published_numbers_stand_apart(site):
    table = Page(site / "tracks" / "imagenet256.html").text
    assert "No ranked runs of this track yet" in table and "19.47" in table and "have no rank" in table


def test_the_first_page_has_every_row_and_its_metric_and_tracks_without_runs_behind_one_entry(site, records):
    page = Page(site / "index.html")
    rows = [(board, row) for board in boards(records) for row in board.rows if row.quality]
    for board, row in rows:
        assert f"{tables.name(row, board)} {interval(next(iter(row.quality.values())))}" in page.text
    navigation = [link for link in page.all("a", "href") if link.startswith(("tracks/", "index.html#"))]
    assert navigation[:3] == ["tracks/digits.html", "tracks/fashion32.html", "index.html#other-tracks"]
    assert {"tracks/imagenet256.html", "tracks/cifar10.html"} <= set(page.all("a", "href"))
    assert "ditbench records submit runs/digits --by" in page.text


def test_the_metric_that_ranks_stands_beside_the_name_and_in_sight(site):
    table = (site / "tracks" / "digits.html").read_text(encoding="utf-8").partition("<thead>")[2]
    heads = re.findall(r'<th scope="col"(?: class="([\w ]+)")?', table.partition("</thead>")[0])
    assert heads[1:3] == ["name", "key num"] and not {"name", "key num"} & set(heads[3:])


def test_repository_and_picture_are_linked_only_if_their_address_is_known(site, tmp_path):
    assert "og:image" not in (site / "index.html").read_text(encoding="utf-8")
    write_site([], tmp_path, samples=None, links=Links("https://example.org/them/it", "https://them.example.org/it"))
    page = Page(tmp_path / "index.html")
    assert "https://example.org/them/it" in page.all("a", "href")
    told = {of.get("property"): of.get("content") for tag, of in page.elements if tag == "meta"}
    assert told["og:image"] == "https://them.example.org/it/assets/social.png"
    assert 0 < (tmp_path / "assets" / "social.png").stat().st_size < 30_000
    for wrong in ("javascript:alert(1)", "example.org", 'https://a"b', "https://a b", "//a"):
        with pytest.raises(BadValue, match="is no address"):
            Links(repository=wrong)


def test_nothing_at_all_is_a_site(tmp_path):
    write_site([], tmp_path, samples=None)
    assert "No records yet." in Page(tmp_path / "index.html").text


def test_two_records_of_one_run_have_a_page_each(tmp_path):
    one = run("dit:nano", 0, 1.0)
    write_site(boards([one, one.model_copy(update={"environment": H100})]), tmp_path, samples=None)
    assert len(list((tmp_path / "runs").glob("*.html"))) == 2


# text that is anybody's


@pytest.fixture(scope="module")
def hostile_site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    write_site(boards([hostile(), hostile("<script>b</script>", seed=1)]), folder, samples=None)
    return folder


def test_a_hostile_record_is_hostile_all_over():
    record = hostile()
    texts = [record.architecture.label, record.architecture.paper, record.environment.gpu, record.device,
             record.track.description, record.data.name, record.deviations[0], record.metrics[0].metric]  # fmt: skip
    assert texts.count(HOSTILE) >= 7


def test_what_a_hostile_record_says_stays_text(hostile_site):
    for page in pages(hostile_site).values():
        scripts = [attributes for tag, attributes in page.elements if tag == "script"]
        assert all("src" in attributes or attributes.get("type") == "application/json" for attributes in scripts)
        assert "x" not in page.all("img", "src")
    shown = Page(next((hostile_site / "runs").glob("*seed0*.html"))).text
    assert shown.count(HOSTILE) > 5
    scripts = [*(hostile_site / "runs").glob("*.js"), *(hostile_site / "boards").glob("*.js")]
    assert [value for script in scripts for _, _, value in listed(script)[-1]].count(HOSTILE) > 5
    for script in (*scripts, hostile_site / "assets" / "runs.js"):
        assert "<" not in script.read_text(encoding="utf-8")


def test_no_text_of_a_record_fills_a_page(tmp_path):
    long = "long " * 4_000
    plain = run("dit:nano", 0, 1.0, curve=5)
    told = {"label": long, "options": {"a": long}, "settings": {"a": long, long: 1}, "paper": long}
    architecture = plain.architecture.model_copy(update=told)
    tracks = plain.track.model_copy(update={"description": long})
    one = plain.model_copy(update={"architecture": architecture, "track": tracks, "deviations": [long]})
    lost = unfinished("dit:nano", reason=long).model_copy(update={"architecture": architecture})
    found = boards([one, lost])
    write_site(found, tmp_path, samples=None)
    for page in pages(tmp_path).values():
        assert page.text.count("long") < 2_500  # of one such text alone there are 4,000
    for name, text in outputs(found).items():
        assert name == JSON_FILE or text.count("long") < 2_500  # that one is for programs


def test_no_name_of_a_hostile_record_leaves_the_site(hostile_site):
    assert all(re.fullmatch(r"[A-Za-z0-9._/-]+", name) and ".." not in name for name in content(hostile_site))


def test_a_paper_is_linked_only_to_arxiv():
    assert paper_address("arXiv:2212.09748") == "https://arxiv.org/abs/2212.09748"
    for paper in ("arXiv:2212.09748 x", "https://example.org", "javascript:alert(1)", "arXiv:2212.0974\n8"):
        assert paper_address(paper) == ""


def test_rules_hold_no_html_and_only_safe_links():
    page = render("<b>x</b> [a](javascript:alert(1)) [b](https://x.org) [c](tracks/a.html) [d](//x.org) ![e](f.png)")
    assert "<b>" not in page and "<img" not in page
    assert re.findall('href="([^"]*)"', page) == ["https://x.org", "tracks/a.html", "f.png"]


# trust


def test_who_checked_a_run_is_told_and_a_doubt_shows(tmp_path):
    record = run("dit:nano", 0, 1.0, sha256="a" * 64)
    again = run("dit:nano", 0, 5.0, run_hash=record.run_hash)
    doubt = re_trained(record, again, "Ada")
    write_site(boards([record], [doubt]), tmp_path, samples=None, verifications={record.run_id: [doubt]})
    text = Page(tmp_path / "runs" / f"{record.run_id}.html").text
    assert "Ada" in text and "does not agree with the record" in text and "5.000" in text
    text = Page(tmp_path / "tracks" / "digits.html").text
    assert "self-reported doubted" in text and "Doubt: dit:nano, seed 0: re-trained by Ada" in text
