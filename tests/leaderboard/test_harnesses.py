"""Results of other harnesses become published numbers, with their source and without a rank; bad files are one line."""

import json
import tomllib
from pathlib import Path

import pytest
from records import finished, sound

from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.export import json_text
from ditbench.leaderboard.reported import beside, read_reported, reported_tables
from ditbench.records.record import write_record

ADM = "warming up TensorFlow...\nInception Score: 278.24\nFID: 2.27\nsFID: 4.6\nPrecision: 0.83\nRecall: 0.57\n"
BENCH = "step,dataset,fid,inception_score,fdr6\n400000,imagenet,5.25,180.1,3.3\n0,geneval,,,\n"
BY_HAND = """[[setting]]
paper = "A"
arxiv = "2212.09748"
track = "digits"
[setting.values]
"fid1k/a" = { b = 1.0 }
"""
ABOUT = ("--track", "imagenet256", "--samples", "50000", "--paper", "A run", "--url", "https://example.org/run")
INCEPTION = "50k/inception-v3-compat"


@pytest.fixture
def enter(ditbench, tmp_path, monkeypatch):
    """Enters a text of this name as results of a harness; what the command says."""
    monkeypatch.chdir(tmp_path)

    def enter(name, text, harness, *more, code=0):
        Path(name).write_text(text)
        return ditbench("records", "import", name, "--from", harness, *ABOUT, "--to", "reported.toml", *more, code=code)

    return enter


def test_adms_evaluator(enter):
    told = enter("out.txt", ADM, "adm", "--architecture", "dit:XL/2", "--budget", "7M-steps", "--table", "Table 2")
    assert told == "5 numbers -> reported.toml. They stand under Reported, without a rank, in the next build.\n"
    (setting,) = read_reported(Path("reported.toml"))
    assert setting.values == {
        f"{name}{INCEPTION}": {"dit:XL/2": value}
        for name, value in {"is": 278.24, "fid": 2.27, "sfid": 4.6, "precision": 0.83, "recall": 0.57}.items()
    }
    assert setting.source == "A run, Table 2 (https://example.org/run, by ADM's evaluator)"
    assert (setting.budget, setting.differs, len(setting.file_sha256)) == ("7000k-steps", "", 64)


@pytest.mark.parametrize("name", ["out.csv", "out.json"])
def test_diffusionbench(enter, name):
    row = {
        "step": 400000,
        "dataset": "imagenet",
        "model": "ddt-flux",
        "fid": 5.25,
        "inception_score": 180.1,
        "fdr6": 3.3,
    }
    text = json.dumps([row]) if name.endswith("json") else BENCH
    model = () if name.endswith("json") else ("--architecture", "ddt-flux")
    enter(name, text, "diffusionbench", *model)
    (setting,) = read_reported(Path("reported.toml"))
    assert setting.values == {f"fid{INCEPTION}": {"ddt-flux": 5.25}, f"is{INCEPTION}": {"ddt-flux": 180.1}}
    assert setting.budget == "400k-steps" and setting.differs == "trained and scored with DiffusionBench"


def test_what_is_left_out_or_not_known_here_is_told(enter, monkeypatch):
    said = []
    monkeypatch.setattr("ditbench.cli.reported.warn", said.append)
    enter("out.csv", BENCH, "diffusionbench", "--architecture", "ddt-flux")
    assert [line[:40] for line in said] == [
        "Mind: no row here can be called 'ddt-flu", "Mind: left out, as no metric here: fdr6.",
    ]  # fmt: skip


def test_they_are_added_below_what_is_there_and_never_twice(enter):
    old = f"# by hand\n{BY_HAND}"
    Path("reported.toml").write_text(old)
    enter("out.txt", ADM, "adm", "--architecture", "dit:XL/2")
    text = Path("reported.toml").read_text()
    assert text.startswith(old) and len(tomllib.loads(text)["setting"]) == 2
    errors = enter("out.txt", ADM, "adm", "--architecture", "dit:XL/2", code=2)
    assert "'reported.toml' has is50k/inception-v3-compat of 'dit:XL/2' from A run" in errors
    assert Path("reported.toml").read_text() == text
    inline = "setting = []\n"
    Path("reported.toml").write_text(inline)
    errors = enter("out.txt", ADM, "adm", "--architecture", "dit:XL/2", code=2)
    assert "Nothing can be added to 'reported.toml'" in errors and Path("reported.toml").read_text() == inline


def test_they_stand_apart_and_rank_nothing(enter, ditbench, tmp_path):
    Path("records").mkdir()
    for seed in (0, 1, 2):
        record = finished("dit:nano", 1.0 + seed, seed)
        write_record(record, Path("records") / f"{record.run_id}.json")
    ditbench("leaderboard", "build", "records", "--out", "before")
    enter("out.txt", "FID: 0.01\n", "adm", "--architecture", "dit:nano", "--track", "digits", "--budget", "64k-images",
          "--samples", "1000", "--features", "digits-cnn")  # fmt: skip
    ditbench("leaderboard", "build", "records", "--out", "after")
    before, after = (json.loads(Path(place, "leaderboard.json").read_text()) for place in ("before", "after"))
    assert after["boards"] == before["boards"]
    (entered,) = after["reported"]
    assert entered["reported"] == 0.01 and entered["harness"] == "ADM's evaluator" and len(entered["measured"]) == 1
    assert "by ADM's evaluator" in Path("after/README.md").read_text()


def test_a_setting_without_a_harness_is_written_as_ever(tmp_path):
    path = tmp_path / "reported.toml"
    path.write_text(BY_HAND)
    found = beside(read_reported(path), boards([sound()]))
    (entered,) = json.loads(json_text([], found))["reported"]
    assert not entered.keys() & {"url", "harness", "file_sha256"}
    assert list(reported_tables(found)["digits"]["source"]) == ["A (arXiv:2212.09748)"]


@pytest.mark.parametrize(
    ("name", "text", "harness", "more", "told"),
    [
        ("a.txt", "nothing here", "adm", (), "has none of the numbers that ADM's evaluator writes"),
        ("a.txt", ADM + ADM, "adm", (), "has Inception Score twice"),
        ("a.txt", "FID: nan", "adm", (), "FID is 'nan', which is no number from 0 on"),
        ("a.txt", "FID: -1", "adm", (), "FID is '-1'"),
        ("a.txt", "Recall: 57", "adm", (), "Recall is '57', which is no number from 0 to 1"),
        ("a.txt", "Inception Score: 0.5", "adm", (), "no number from 1 on"),
        ("a.csv", "", "diffusionbench", (), "has none of the numbers that DiffusionBench writes"),
        ("a.csv", "step,fid\n1,2,3\n", "diffusionbench", (), "more or fewer cells"),
        ("a.csv", "step,fid\n1.5,2\n", "diffusionbench", (), "step is '1.5'"),
        ("a.csv", "step,fid,fid\n1,2,3\n", "diffusionbench", (), "has the column 'fid' twice"),
        ("a.csv", "step,fid,FID\n1,2,3\n", "diffusionbench", (), "has one metric as fid and FID"),
        ("a.csv", 'step,fid\n"1,2\n', "diffusionbench", (), "is no CSV"),
        ("a.csv", "dataset,fid\na,1\nb,2\n", "diffusionbench", (), "several data sets (a, b)"),
        ("a.csv", "model,fid\nx,1\nx,2\n", "diffusionbench", ("--architecture", "x"), "fid of 'x' at no budget twice"),
        ("a.csv", "model,fid\nx,1\n", "diffusionbench", (), "--architecture is 'dit:XL/2', but the file says"),
        ("a.json", "[1]", "diffusionbench", (), "is neither an object"),
        ("a.json", "{", "diffusionbench", (), "it is no JSON"),
        ("a.json", '{"fid": true}', "diffusionbench", (), "fid is True"),
        ("a.json", '{"fid": [1]}', "diffusionbench", (), "fid is [1]"),
        ("a.csv", "step,fid\n9,1\n", "diffusionbench", ("--budget", "8-steps"), "--budget is '8-steps', but the file"),
        ("a.txt", ADM, "adm", ("--budget", "5-parsecs"), "parsecs"),
        ("a.txt", ADM, "adm", ("--track", "nowhere"), "No track named 'nowhere'"),
        ("a.txt", ADM, "adm", ("--features", "nothing"), "No extractor named 'nothing'"),
        ("a.txt", ADM, "adm", ("--url", ""), "arxiv or url must say where the numbers are from"),
        ("a.txt", ADM, "adm", ("--url", "javascript:x"), "url: String should match"),
        ("a.txt", ADM, "adm", ("--arxiv", "12"), "arxiv: String should match"),
        ("a.txt", ADM, "adm", ("--architecture", ""), "does not say the model: name it with --architecture"),
    ],
)
def test_what_is_wrong_is_one_line(enter, name, text, harness, more, told):
    errors = enter(name, text, harness, "--architecture", "dit:XL/2", *more, code=2)
    assert told in errors and errors.count("\n") == 1 and not Path("reported.toml").exists()
