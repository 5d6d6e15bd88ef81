"""The leaderboard for pandas: the same numbers as on the boards, as CSV, as Parquet, and described by Croissant."""

import hashlib
import importlib.util
import json
import warnings

import pandas as pd
import pytest
from records import finished, raw_weights, unfinished

from ditbench.errors import BadFile, BadValue
from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.citation import citation_beside, read_citation
from ditbench.leaderboard.frames import tables_of
from ditbench.leaderboard.portable import write_tables

FID = "fid1k/digits-cnn"
GOOD = """
cff-version: 1.2.0
title: Records of mine
version: 1.2
license: Apache-2.0
authors:
  - family-names: Lovelace
    given-names: Ada
    orcid: https://orcid.org/0000-0001-2345-678X
  - name: A group
keywords: [FID]
url: https://example.org/records
date-released: 2026-01-02
"""
ODD = "=1+1 | `x`\n\x1b[31m"
BOARDS = boards(
    [
        *(finished("a:b", 1 + seed / 7, seed) for seed in range(3)),
        *(finished("c:d", 3 + seed / 7, seed, raw=raw_weights(9.0)) for seed in range(3)),
        unfinished("e:f", reason=ODD),
    ]
)


@pytest.fixture
def about(tmp_path):
    (tmp_path / "CITATION.cff").write_text(GOOD)
    return read_citation(citation_beside(tmp_path / "leaderboard"))


def test_a_version_is_text(about, tmp_path):
    assert about.version == "1.2"
    path = tmp_path / "CITATION.cff"
    for version in ("0.10", "2026-02-30", "9" * 900):
        path.write_text(GOOD.replace("version: 1.2\nl", f"version: {version}\nl"))
        assert read_citation(path).version == version


def frames(found=BOARDS):
    return [table.frame for table in tables_of(found)]


def test_a_line_for_each_record():
    records, _ = frames()
    assert list(records["architecture"]) == ["a:b"] * 3 + ["c:d"] * 3 + ["e:f"]
    assert records["seed"].dtype == "Int64" and list(records["seed"]) == [0, 1, 2, 0, 1, 2, 0]
    assert list(records[FID].dropna()) == [1 + seed / 7 for seed in range(3)] + [3 + seed / 7 for seed in range(3)]
    assert list(records[f"{FID}:raw"].dropna()) == [9.0] * 3
    first, last = records.iloc[0], records.iloc[-1]
    assert (first["track"], first["track_version"], first["budget"]) == ("digits", 3, "64k-images")
    assert (first["name"], first["size"], first["ruleset"]) == ("a", "b", "matched")
    assert first["macs_per_image"] == 7_560_192 and first["source_sha256"] == "e" * 64
    assert last["status"] == "diverged" and last["reason"] == ODD and pd.isna(last["parameters"])
    assert not {name for name in records if name.endswith("per_device_in_run")}, "columns of nobody"


def test_a_line_for_each_row_of_a_board():
    _, rows = frames()
    assert list(rows["row"]) == ["a:b", "c:d", "e:f"] and rows["rank"].dtype == "Int64"
    assert list(rows["seeds"]) == ["0 1 2", "0 1 2", "0"] and list(rows["finished"]) == [3, 3, 0]
    one = BOARDS[0].rows[0]
    estimate, line = one.quality[FID], rows.iloc[0]
    assert (line["rank"], line["tied"], line[FID]) == (one.rank, one.tied, estimate.mean)
    low, high = estimate.mean - estimate.half_width, estimate.mean + estimate.half_width
    assert (line[f"{FID}:low"], line[f"{FID}:high"]) == pytest.approx((low, high), rel=1e-9)
    assert line[f"{FID}:sd"] == estimate.deviation


def test_the_keys_tell_lines_apart_and_join_the_tables():
    records, rows = tables_of([*BOARDS, *boards([finished("a:b", budget="1k-images")])])
    for table in (records, rows):
        assert not table.frame.duplicated(list(table.key)).any()
        assert [field.name for field in table.fields] == list(table.frame)
    joined = records.frame.merge(rows.frame, on=["board", "row", "hardware"], how="left", validate="many_to_one")
    assert joined["title"].notna().all()


def test_an_empty_leaderboard_has_empty_tables(tmp_path):
    assert [len(frame) for frame in frames([])] == [0, 0]
    assert all(path.exists() for path in write_tables([], tmp_path, "csv"))


def test_a_number_beyond_64_bits_is_told():
    with pytest.raises(BadFile, match="seed has more than 64 bits"):
        tables_of(boards([finished(seed=2**63)]))


def test_csv_is_safe_and_parquet_is_whole(tmp_path):
    for form in ("csv", "parquet"):
        write_tables(BOARDS, tmp_path, form)
    for name, frame in zip(("records", "boards"), frames(), strict=True):
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / f"{name}.parquet"), frame)
        text = pd.read_csv(tmp_path / f"{name}.csv")
        assert list(text) == list(frame) and len(text) == len(frame)
    assert "'=1+1 | `x` [31m" in (tmp_path / "records.csv").read_text()
    assert text[FID][0] == frame[FID][0], "unrounded"


def test_parquet_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadValue, match=r"^Parquet is written by 'pyarrow': .*install 'ditbench\[parquet\]'\.$"):
        write_tables(BOARDS, tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


def test_mlcommons_own_library_finds_no_fault_in_croissant_and_reads_by_it(tmp_path, about):
    """With it the sha256 of the files and the types of the fields are tried, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rdflib's own
        import mlcroissant

        files = write_tables(BOARDS, tmp_path, "croissant", about)
        data = mlcroissant.Dataset(jsonld=str(tmp_path / "croissant.json"))
        issues = data.metadata.ctx.issues
        assert not issues.errors and not issues.warnings, issues.report()
        (first, *_), rows = (list(data.records(name)) for name in ("records", "boards"))
    assert (first["records/row"], first["records/seed"]) == (b"a:b", 0) and len(rows) == 3
    assert first[f"records/{FID}"] == 1.0 and [row["boards/tied"] for row in rows] == list(frames()[1]["tied"])
    content = json.loads(files[-1].read_text())
    for file in content["distribution"]:
        assert file["sha256"] == hashlib.sha256((tmp_path / file["contentUrl"]).read_bytes()).hexdigest()
    assert content["creator"][0] == {"@type": "sc:Person", "name": "Lovelace, Ada"}
    assert content["datePublished"] == "2026-01-02" and content["license"].endswith("/Apache-2.0.html")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("title: [", "can't be read: it is no YAML"),
        ("- a\n- b", "is wrong"),
        (GOOD.replace("license", "licence"), "license: Field required"),
        (GOOD.replace("authors:", "people:"), "authors: Field required"),
        (GOOD.replace("name: A group", "affiliation: x"), "an author needs name"),
        (GOOD.replace("url: https", "url: javascript"), "url: String should match"),
        ("a" * 70_000, "larger than"),
    ],
)
def test_a_bad_citation_is_one_line(tmp_path, text, told):
    path = tmp_path / "CITATION.cff"
    path.write_text(text)
    with pytest.raises(BadFile) as error:
        read_citation(path)
    assert str(path) in str(error.value) and told in str(error.value) and "\n" not in str(error.value)


def test_no_citation_is_told_with_the_way_out(tmp_path):
    with pytest.raises(BadFile, match=r"There is no CITATION.cff in .* name one by `citation`"):
        citation_beside(tmp_path / "deep" / "leaderboard")
