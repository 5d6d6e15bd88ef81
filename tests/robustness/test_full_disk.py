"""On a full disk every command ends in one line that names the file, and loses nothing that it had found.

The system itself refuses to write, by a limit on the size of files: small ones, as of a probe, still find room.
"""

import contextlib
import errno
import os
import resource

import pytest
import torch
from records import evaluation, finished
from safetensors.torch import save_file

from ditbench import campaign, cli
from ditbench.cli import check, evaluate
from ditbench.denoiser.conformance.findings import Report
from ditbench.denoiser.interface import DIGITS_SPEC
from ditbench.denoiser.pretrained import import_checkpoint
from ditbench.errors import DitbenchError, NoTables
from ditbench.executors.jobs import Job
from ditbench.executors.local import outcome
from ditbench.records.record import read_record, write_record
from ditbench.registry import Registry, select
from ditbench.storage.files import Unwritable, reserve, write_atomically, write_text

ROOM = 100  # bytes
TOLD = r"{} can't be written: File too large\. Mend that, or choose another place\."


@contextlib.contextmanager
def full(room=ROOM):
    """No file that is written meanwhile, here or by a process that starts, is larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def one_line(errors, name):
    assert errors.count("\n") == 1 and f"{name}' can't be written: File too large" in errors, errors
    return True


@pytest.fixture
def records(tmp_path):
    record = finished()
    (tmp_path / "records").mkdir()
    write_record(record, tmp_path / "records" / f"{record.run_id}.json")
    return tmp_path / "records"


@pytest.mark.parametrize("write", [lambda path: path.write_bytes(bytes(200)), lambda path: save_file(WEIGHTS, path)])
def test_what_a_full_disk_does_to_a_file_is_one_error_whoever_writes(tmp_path, write):
    with full(), pytest.raises(Unwritable, match=TOLD.format("x'")) as told:
        write_atomically(tmp_path / "x", write)
    assert told.value.reason == "File too large" and not list(tmp_path.iterdir())


WEIGHTS = {"a": torch.zeros(100)}


def test_what_is_no_fault_of_the_disk_is_none(tmp_path):
    def wrong(path):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        write_atomically(tmp_path / "x", wrong)


def no_room(file, begin, size):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_room_for_a_file_that_is_mapped_is_there_or_it_is_said(tmp_path, monkeypatch):
    """Written to where there is none, it would kill the process."""
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 10_000)
    reserve(tmp_path / "sparse")
    assert (tmp_path / "sparse").stat().st_blocks * 512 >= 10_000
    monkeypatch.setattr(os, "posix_fallocate", no_room)
    with pytest.raises(Unwritable, match="sparse' can't be written: No space left on device"):
        reserve(tmp_path / "sparse")


def test_leaderboard_build_and_serve(ditbench, records, tmp_path):
    with full():
        assert one_line(ditbench("leaderboard", "build", str(records), "--out", str(tmp_path / "new"), code=2), ".md")
        assert one_line(ditbench("leaderboard", "serve", str(records), "--no-browser", "--port", "0", code=2), "")


def test_evaluate_shows_what_it_found_first(ditbench, tmp_path, monkeypatch):
    monkeypatch.setattr("ditbench.benchmark.evaluation.evaluate", lambda *asked: evaluation(12.5))
    monkeypatch.setattr("ditbench.datasets.image_sets.open_images", lambda path: None)
    arguments = ("evaluate", "images", "--reference", "digits", "--features", "digits-cnn", "--out", str(tmp_path))
    told = []
    monkeypatch.setattr(evaluate, "_show", lambda console, found: told.append(found.metrics[0].value))
    with full():
        assert one_line(ditbench(*arguments, code=2), ".json") and told == [12.5]


def test_check_tells_what_it_found_first(ditbench, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "_in_its_own_process", lambda *of: Report(label="dit", spec="s" * ROOM, findings=[]))
    with full():
        assert one_line(ditbench("check", "dit:nano", "--report", str(tmp_path / "page.md"), code=2), "page.md")


def test_check_where_there_is_no_room_for_its_own_report(ditbench, monkeypatch):
    """It is no finding about the network that died."""
    ended = f"Traceback\n{Unwritable.__module__}.Unwritable: 'report.json' can't be written: File too large."
    monkeypatch.setattr(check, "_ended", lambda command, log, now: (1, ended, ""))
    assert one_line(ditbench("check", "dit:nano", code=2), "report.json")


def test_import(tmp_path):
    selection = select(Registry.installed(), "dit:nano", "nano")
    torch.save(selection.build(DIGITS_SPEC).state_dict(), tmp_path / "published.pt")
    with full(), pytest.raises(Unwritable, match="dit"):
        import_checkpoint(selection, DIGITS_SPEC, tmp_path / "published.pt", tmp_path / "dit.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["published.pt"]


def test_a_disk_that_others_find_full_is_no_bug(ditbench, monkeypatch):
    def fill(**how):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full/plot.png")

    monkeypatch.setattr(cli, "app", fill)
    assert ditbench(code=2) == "ditbench: '/full/plot.png' can't be written: No space left on device.\n"


class Filling(campaign.Silent):
    """From a stage of the first run on the disk is full."""

    def __init__(self, stack, stage):
        self.stack, self.stage = stack, stage

    def progress(self, config, progress):
        if progress.stage == self.stage:
            self.stack.enter_context(full())
            self.stage = ""


def go(folder, stage):
    options = {"out": folder, "device": "cpu", "executor": "inline", "budget": "5-steps"}
    with contextlib.ExitStack() as stack:
        return campaign.run("tiny", ["toy"], listener=Filling(stack, stage), **options)


def test_a_run_whose_record_finds_no_room_ends_the_command_and_goes_on_later(toy, tmp_path):
    """The tables, which find none either, don't hide that."""
    with pytest.raises(Unwritable, match=r"record\.json' can't be written: File too large"):
        go(tmp_path, "train")
    assert go(tmp_path, "none")[0].status == "finished"


def test_a_run_without_room_for_its_samples_says_so_in_its_record(toy, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", no_room)
        (record,) = go(tmp_path, "none")
    told = f"'{record.run_id}/samples.partial.npy' can't be written: No space left on device. Mend that, or choose"
    assert record.status == "failed" and record.reason.startswith(told)
    assert go(tmp_path, "none")[0].status == "finished"


def test_runs_whose_tables_find_no_room_are_shown(toy, tmp_path, ditbench, monkeypatch):
    def write(records, folder):
        with full():
            write_text(folder / "leaderboard.md", "x" * 2 * ROOM)

    monkeypatch.setattr(campaign, "write_run_tables", write)
    with pytest.raises(NoTables, match="leaderboard") as told:
        go(tmp_path, "none")
    (record,) = told.value.records
    assert record.status == "finished" == read_record(tmp_path / "tiny" / record.run_id / "record.json").status
    shown = []
    monkeypatch.setattr("ditbench.cli.display.print_boards", lambda console, of: shown.extend(of))
    again = ("run", "--plugins", "toy", "--track", "tiny", "--budget", "5-steps", "--device", "cpu", "--quiet")
    assert one_line(ditbench(*again, "--out", str(tmp_path), "--executor", "inline", code=2), "leaderboard.md")
    assert [one.run_id for one in shown] == [record.run_id]


def test_a_process_without_room_for_its_record_is_told_of(tmp_path):
    """The record that says so is written if there is room again; if not, that ends the command."""

    class Worker:
        fault, exitcode, how_it_ended = Unwritable(tmp_path / "record.json", "No space left on device"), 0, ""

    record = finished()
    config = campaign.make_plan(Registry.installed(), "digits", ["dit"], device="cpu")[0]
    job = Job(config, tmp_path / "run", record.environment)
    job.directory.mkdir()
    assert outcome(job, Worker(), []).reason == "its record could not be written: No space left on device"
    with full(), pytest.raises(DitbenchError, match="can't be written"):
        outcome(job, Worker(), [])
