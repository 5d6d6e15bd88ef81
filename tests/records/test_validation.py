"""What was tampered with is found, and named; what holds passes; nothing that a file holds breaks the check."""

import hashlib
import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from records import ENVIRONMENT, evaluation, finished, named, raw_weights, sound, unfinished
from tampering import GOOD, SEALED, SUBMISSION, TAMPERED, chunk, content_of, png, to

from ditbench.records.derived import of_raw
from ditbench.records.evaluation import write_evaluation
from ditbench.records.record import Record, read_record, seal, write_record
from ditbench.records.validation import files
from ditbench.records.validation.files import kind_of
from ditbench.records.validation.folder import picture_only
from ditbench.registry import Registry
from ditbench.sampling.pictures import write_grid

validate = partial(files.validate, registry=Registry.installed())
check_file = partial(files.check_file, registry=Registry.installed())


def submitted(*arguments, **changes):
    """A run that holds, put forward."""
    return sound(*arguments, **changes, submission=SUBMISSION)


def lost(label, seed, **changes):
    """A run of the same row that diverged, put forward."""
    same = {name: getattr(GOOD, name) for name in ("budget", "data_sha256", "reference_sha256", "submission")}
    return named(unfinished(label, seed=seed).model_copy(update={**same, **changes}))


def put(folder, content, name=None):
    """A file among a leaderboard's records."""
    place = folder / "records" / content["track"]["name"]
    place.mkdir(parents=True, exist_ok=True)
    path = place / (name or f"{content['run_id']}.json")
    path.write_text(json.dumps(content))
    return path


def told(path):
    return "\n".join(line for one in validate([path]) for line in one.lines)


@pytest.fixture
def tampered(request):
    content = content_of()
    change = SEALED[request.param] if request.param in SEALED else TAMPERED[request.param][0]
    change(content)
    return request.param, content


@pytest.mark.parametrize("tampered", [*TAMPERED, *SEALED], indirect=True)
def test_tampering_breaks_the_seal_and_is_named(tmp_path, tampered):
    name, content = tampered
    lines = told(put(tmp_path, content, f"{GOOD.run_id}.json"))
    assert f'sha256 is "{content["sha256"][:20]}' in lines and "(the seal over all else)" in lines
    assert TAMPERED.get(name, (None, ""))[1] in lines


@pytest.mark.parametrize("tampered", TAMPERED, indirect=True)
def test_a_forger_who_seals_anew_is_found_all_the_same(tmp_path, tampered):
    name, content = tampered
    content["sha256"] = seal(content)
    lines = told(put(tmp_path, content, f"{GOOD.run_id}.json"))
    assert TAMPERED[name][1] in lines and "the seal over all else" not in lines
    assert all(line.startswith(f"{tmp_path}") and line.isprintable() for line in lines.splitlines())


def test_what_holds_passes(tmp_path, ditbench):
    raw = raw_weights(9.0).model_copy(
        update={"metrics": GOOD.metrics, "sampling": GOOD.sampling.model_copy(update={"weights": "raw"})}
    )
    others = (submitted("uvit:nano", raw=raw), submitted("mdt:nano", floors=[], milestones=[]))
    for record in (GOOD, submitted(seed=1), *others):
        put(tmp_path, content_of(record))
    out = ditbench("records", "validate", str(tmp_path))
    *notes, sums = out.splitlines(keepends=True)
    assert len(notes) == 3 and all("no plugin with its source is installed" in note for note in notes)
    assert sums == (
        "4 records checked: no fault. Seals and hashes hold, and so do the numbers that could be computed again.\n"
    )


def test_every_fault_of_a_file_is_told_and_the_exit_code_is_1(tmp_path, ditbench):
    content = content_of()
    for field, value in (("metrics.0.value", 0.9), ("training.images_per_second", 1e6), ("surprise", 1)):
        to(field, value)(content)
    to("track.evaluation.surprise", 2)(content)
    path = put(tmp_path, content)
    out = ditbench("records", "validate", str(path), code=1)
    for words in (
        "sha256 is",
        "surprise is 1",
        "track.evaluation.surprise is 2",
        "metrics.0.value is 0.9",
        "second is",
    ):
        assert words in out, words
    assert out.splitlines()[-1] == "1 record checked: 5 faults in 1 of them."


def test_a_field_that_stands_twice_is_named(tmp_path):
    text = json.dumps(content_of())
    text = text.replace('"seed": 0', '"seed": 1, "seed": 0').replace(
        '"neighbours": 3', '"neighbours": 1, "neighbours": 3', 1
    )
    path = put(tmp_path, content_of())
    path.write_text(text)
    assert "seed stands twice, should stand once" in told(path)
    assert "metrics.3.settings.neighbours stands twice" in told(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "can't be read"),
        (b"[1, 2]", "it is a list, should be an object"),
        (b'"text"', "it is a str"),
        (b"{}", "sha256 is none"),
        (b"null", "it can't be read: it is null, should be an object"),
        (b'{"schema_version": "3"}', 'schema_version is "3"'),
        (b'{"schema_version": {"a": [1e999]}}', "schema_version.a.0 is inf, should be finite"),
        (b"\x89PNG\x00\xff", "can't be read"),
        (b"[" * 100_000, "can't be read"),
        (b'{"a":' * 100_000, "can't be read"),
        (b'{"a":' * 60 + b"1" + b"}" * 60, "nested more than 50 deep"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "can't be read"),
        (b'{"\\ud800": "\\u001b[31m"}', "Invalid JSON"),
        (b'{"track": 1, "metrics": {"0": []}, "training": [[]]}', "track is 1"),
    ],
)  # fmt: skip
def test_no_content_breaks_the_check(tmp_path, content, words):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    lines = told(path)
    assert words in lines and all(line.isprintable() for line in lines.splitlines())


def test_hostile_numbers_end_in_a_fault(tmp_path):
    content = content_of()
    to("metrics.0.raw.terms", [1e308, 1e308])(content)
    to("training.step_seconds", [1e308, 1e308, 1e308])(content)
    lines = told(put(tmp_path, content))
    assert "metrics.0.raw.terms.0 is 1e+308" in lines and "training.step_seconds.2 is 1e+308" in lines
    content = content_of()
    to("track.evaluation.samples", 10**7)(content)
    to("track.sampler.batch_size", 10**6)(content)
    to("metrics.0.raw.terms", [1e30, 1e30])(content)
    to("training.steps", 2**62)(content)
    lines = told(put(tmp_path, content))
    assert (
        "metrics.0.value is 1.25, should be 2e+30" in lines and "metrics.0.samples is 1000, should be 10000000" in lines
    )


def test_a_flood_of_faults_is_cut(tmp_path):
    content = {**content_of(), **{f"x{i}": 1 for i in range(1000)}}
    lines = told(put(tmp_path, content)).splitlines()
    assert len(lines) == 201 and lines[-1].endswith("and 801 more")


def test_an_older_record_can_be_read_but_not_recomputed(tmp_path):
    path = Path(__file__).parents[1] / "older" / "record-v1.json"
    assert read_record(path).status == "finished"
    assert told(path).endswith(
        "schema_version is 1, should be 3: an older record has no raw numbers of its metrics, so it can be read, "
        "but not recomputed; run it anew"
    )


def test_a_file_lies_where_its_run_belongs(tmp_path):
    path = put(tmp_path, content_of())
    assert "the file's name is" in told(path.rename(path.with_name("mine.json")))
    other = tmp_path / "records" / "fashion32" / f"{GOOD.run_id}.json"
    other.parent.mkdir()
    shutil.copy(path.with_name("mine.json"), other)
    assert 'the folder\'s name is "fashion32", should be "digits" (its track)' in told(other)
    run = tmp_path / "runs" / GOOD.run_id
    run.mkdir(parents=True)
    shutil.copy(other, run / "record.json")
    (run / "milestones.json").write_text("[{}]")
    assert told(tmp_path / "runs") == ""
    (run / "samples.partial.json").write_text("{}")
    assert told(tmp_path / "runs") == ""
    (run / "checkpoints" / "000021").mkdir(parents=True)
    (run / "checkpoints" / "000021" / "state.json").write_text("{}")
    assert told(tmp_path / "runs") == ""
    run.rename(tmp_path / "runs" / "mine")
    assert "the folder's name is" in told(tmp_path / "runs")
    link = tmp_path / "runs" / f"{GOOD.run_id}.json"
    link.symlink_to(tmp_path / "runs" / "mine" / "record.json")
    assert f"{link}: it can't be read: it is a link, should be the file itself" in told(tmp_path / "runs")


def test_the_grid_beside_is_the_records(tmp_path):
    grid = tmp_path / "samples" / "digits" / f"{GOOD.run_id}.png"
    grid.parent.mkdir(parents=True)
    grid.write_bytes(png())
    assert f'files.samples.png is "{GOOD.files["samples.png"][:9]}' in told(put(tmp_path, content_of()))
    for content, words in ((png(), ""), (png(chunk(b"tEXt", b"Author\0me")), "samples.png holds more than a picture"),
                           (png(end=b"PK"), "holds more than a picture"), (b"GIF89a", "is no PNG"),
                           (png(head=(60_000, 60_000, 8, 2, 0, 0, 0)), "samples.png has 60,000 x 60,000 pixels"),
                           (png(pixels=b"plain text"), "samples.png is damaged: its pixels")):  # fmt: skip
        files = {"ema.safetensors": "1" * 64, "samples.png": hashlib.sha256(content).hexdigest()}
        path = put(tmp_path, content_of(submitted(files=files)))
        grid.write_bytes(content)
        found = told(path).replace(grid.name, "samples.png")
        assert words in found if words else not found
    grid.unlink()
    grid.symlink_to(path)
    assert "is no file, but a link" in told(path)


def test_a_grid_moves_only_if_its_samples_are_clips(tmp_path):
    write_grid(tmp_path / "x.png", np.arange(128, dtype=np.uint8).reshape(1, 2, 1, 8, 8), np.zeros(1, dtype=int), ())
    clips = GOOD.model_copy(
        update={"track": GOOD.track.model_copy(update={"data": GOOD.track.data.model_copy(update={"frames": 2})})}
    )
    assert not list(picture_only(tmp_path / "x.png", clips))
    assert list(picture_only(tmp_path / "x.png", GOOD)) == [
        "files.samples.png: x.png holds more than a picture: \"b'acTL'\""
    ]


@pytest.mark.parametrize(
    "name",
    [
        "records/notes.json", "records/digits/more/x.json", "records/digits/x.txt", "records/digits/.x.json.1.tmp",
        "records/digits/x.profile.json", "records/digits/x.evaluation.json", "records/digits/milestones.json",
        "records/digits/record.json", "samples/digits/another.png", "samples/digits/more/x.png", "samples/x.png",
        "samples/fashion32/{run}.png", "samples/digits/{run}.jpg",
    ],
)  # fmt: skip
def test_what_belongs_to_no_record_of_a_leaderboard_is_found(tmp_path, name):
    board = tmp_path / "board"
    put(board, content_of())
    grid = board / "samples" / "digits" / f"{GOOD.run_id}.png"
    grid.parent.mkdir(parents=True)
    stray = board / name.format(run=GOOD.run_id)
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"{}")
    for folder in (board, tmp_path, board / "records"):
        assert f"{stray}: it belongs to no record, should be {name[:7]}/TRACK/RUN-ID" in told(folder)
    stray.unlink()
    stray.symlink_to(grid)  # which leads nowhere
    assert "it belongs to no record" in told(board)
    stray.unlink()
    assert told(board) == ""


def test_a_leaderboard_is_known_from_within(tmp_path, monkeypatch):
    (put(tmp_path, content_of()).parents[1] / "notes.txt").write_text("")
    monkeypatch.chdir(tmp_path / "records")
    assert "notes.txt: it belongs to no record" in told(Path())


def test_a_leaderboard_has_records_of_published_tracks_alone(tmp_path):
    track = GOOD.track.model_copy(update={"name": "mine"})
    mine = content_of(named(submitted().model_copy(update={"track": track, "track_hash": track.hash})))
    words = 'track.name is "mine", should be one of the tracks that come with ditbench'
    assert told(put(tmp_path, mine)).count(words) == 1
    (tmp_path / "mine").mkdir()
    elsewhere = tmp_path / "mine" / f"{mine['run_id']}.json"
    elsewhere.write_text(json.dumps(mine))
    assert told(elsewhere) == ""


def test_no_run_stands_twice(tmp_path):
    path = put(tmp_path, content_of())
    copy = tmp_path / "elsewhere" / "digits" / path.name
    copy.parent.mkdir(parents=True)
    shutil.copy(path, copy)
    lines = "\n".join(line for one in validate([copy, tmp_path]) for line in one.lines)
    assert f'run_id is "{GOOD.run_id}", which {copy} has already' in lines and "run_hash is" in lines
    assert told(tmp_path) == "", "beside a leaderboard's records lie its tables and pages, which are made of them"
    assert not [line for one in validate([path, path]) for line in one.lines]  # one file given twice


def test_no_seed_is_left_out_of_a_row(tmp_path):
    for seed in (0, 2, 4):
        put(tmp_path, content_of(submitted(seed=seed)))
    put(tmp_path, content_of(submitted("uvit:nano", seed=1)))
    lines = told(tmp_path)
    words = "seed {} is missing: a row's seeds count from 0, so that none can be left out"
    assert lines.count("is missing") == 3 and lines.count(words.format(1)) == lines.count(words.format(3)) == 1
    assert f"uvit-nano-seed1-{sound('uvit:nano', seed=1).run_hash[:8]}.json: {words.format(0)}" in lines
    for seed in (1, 3):
        put(tmp_path, content_of(lost("dit:nano", seed, environment=ENVIRONMENT)))
    put(tmp_path, content_of(submitted("uvit:nano", seed=0)))
    put(tmp_path, content_of(lost("uvit:nano", 2)))  # it failed without saying where
    assert told(tmp_path) == ""
    for seed in (0, 1):  # of another machine, so another row
        moved = {"cpu": "Another processor"} if seed else {}
        put(tmp_path, content_of(submitted("mdt:nano", seed=seed, environment=ENVIRONMENT.model_copy(update=moved))))
    assert told(tmp_path).count(words.format(0)) == 1
    put(tmp_path, content_of(submitted("diffit:nano", seed=2**32 - 1)))
    assert told(tmp_path).count("is missing") == 11  # the first ten of four thousand million


@pytest.mark.parametrize(
    "way", [("files", "ema.safetensors"), ("sampling", "images_sha256"), ("training", "step_seconds")], ids=".".join
)
def test_one_run_does_not_pass_for_several(tmp_path, way):
    (part, name), content = way, content_of(submitted(seed=1))
    content[part][name] = content_of()[part][name]
    first, second = put(tmp_path, content_of()), put(tmp_path, {**content, "sha256": seal(content)})
    lines = told(tmp_path)
    assert f"{second}: {part}.{name} is " in lines and f", as in {first}: it is a copy of another run's" in lines
    assert "is a copy" not in told(first)


def test_the_same_training_done_twice_may_give_the_same_weights(tmp_path):
    """A processor of the same make, or the native recipe where it is the track's: equal bits, and other times."""
    again = submitted(environment=ENVIRONMENT.model_copy(update={"cpu": "Its sister"}), files=GOOD.files)
    times = again.training.model_copy(update={"step_seconds": [0.2, 0.1, 10.0]})
    curve = [point.model_copy(update={"seconds": s}) for point, s in zip(times.curve, (0.2, 0.3, 10.3), strict=True)]
    again = again.model_copy(update={"training": times.model_copy(update={"curve": curve})})
    put(tmp_path, content_of())
    put(tmp_path, content_of(again))
    assert told(tmp_path) == ""


def test_the_same_real_images_score_the_same_in_all_runs(tmp_path):
    floor = GOOD.floors[0]
    put(tmp_path, content_of())
    for shift, words in ((1e-6, ""), (1e-3, "floors.0.value is 0.0025")):
        values = [value + shift for value in floor.raw["values"]]
        value, spread = of_raw({"values": values})
        other = floor.model_copy(update={"raw": {"values": values}, "value": value, "spread": spread})
        put(tmp_path, content_of(submitted("uvit:nano", floors=[other])))
        lines = told(tmp_path)
        assert f"{words}, should be about 0.0015, as in {tmp_path}" in lines if words else not lines


def test_evaluations_and_profiles_are_told_by_their_names(tmp_path):
    assert [kind_of(Path(f"x{end}.json")) for end in ("", ".profile", ".evaluation", ".re-trained")] == [
        "record", "profile", "evaluation", "verification",
    ]  # fmt: skip
    found = evaluation(fid=1.25)
    facts = {
        "protocol": "fid1k/efficientnet-lite0", "reference_sha256": "b" * 64, "raw": GOOD.metrics[0].raw,
        "spread": GOOD.metrics[0].spread,
        "features_sha256": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    }  # fmt: skip
    good = found.model_copy(update={"metrics": [found.metrics[0].model_copy(update=facts)]})
    path = write_evaluation(good, tmp_path)
    assert told(path) == ""
    content = json.loads(path.read_text())
    content["metrics"][0]["value"] = 0.5
    path.write_text(json.dumps(content))
    assert "metrics.0.value is 0.5, should be 1.25" in told(path) and "(hash of its content)" in told(path)
    profile = tmp_path / "x.profile.json"
    profile.write_text('{"schema_version": 1, "created": 3}')
    assert "setup is missing" in told(profile) and "created is 3" in told(profile)


def test_bad_usage_is_code_2(tmp_path, ditbench):
    assert "There is no file or folder" in ditbench("records", "validate", str(tmp_path / "nowhere"), code=2)
    assert "There is no record in" in ditbench("records", "validate", str(tmp_path), code=2)
    ditbench("records", "validate", code=2)


def test_the_schema_is_printed_the_same_each_time_and_knows_every_field(ditbench):
    out = ditbench("records", "schema")
    assert out == ditbench("records", "schema")
    assert set(json.loads(out)["properties"]) == set(Record.model_fields)


def test_the_check_reads_what_it_checked_as_everybody_does(tmp_path):
    (tmp_path / "digits").mkdir()
    path = tmp_path / "digits" / f"{GOOD.run_id}.json"
    write_record(GOOD, path)
    checked = check_file(path)
    assert not checked.faults and checked.record.model_dump() == read_record(path).model_dump()
    assert "sha256 is none" in "".join(check_file(put(tmp_path, {**content_of(finished()), "sha256": None})).faults)


def test_checking_imports_no_torch():
    code = (
        "import sys, ditbench.records.validation.files, ditbench.records.verification, ditbench.records.submission\n"
        "assert not {'torch', 'diffusers', 'sklearn', 'matplotlib', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
