"""What makes a row: fingerprints, read strictly, compared with the newest, and told by `diff`."""

import pydantic
import pytest
from fingerprints import fingerprint, known_by
from records import finished, sound, unfinished

from ditbench.records.diff import differences
from ditbench.records.fingerprint import TOLERANCE, Fingerprint, unlike
from ditbench.records.record import Record, config_of, row_hash, seal
from ditbench.records.rows import rows_of
from ditbench.records.validation.rows import missing_seeds, rows_by_hardware
from ditbench.records.validation.run import _ending
from ditbench.tracks.architecture import Library

DIT_ML = Library(name="dit-ml", version="0.2.0", files_sha256="1" * 64)


def with_libraries(record, *libraries):
    return record.model_copy(update={"architecture": record.architecture.model_copy(update={"libraries": libraries})})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"numbers": {"loss": {"value": 1.0, "scale": 1.0}}}, "its numbers are all, or"),
        ({"numbers": {}}, "a hash of shapes and numbers, or says"),
        ({"missing": "RuntimeError"}, "a hash of shapes and numbers, or says"),
        ({"shapes_sha256": ""}, "a hash of shapes and numbers, or says"),
        ({"numbers": {"<script>" * 100: {"value": 1.0, "scale": 1.0}}}, "there is no number called '<script>"),
        ({"numbers": {"loss": {"value": float("nan"), "scale": 1.0}}}, "finite"),
        ({"numbers": {"loss": {"value": float("inf"), "scale": 1.0}}}, "finite"),
        ({"numbers": {"loss": {"value": 1.0, "scale": float("nan")}}}, "finite"),
        ({"numbers": {"loss": {"value": 1.0, "scale": -1.0}}}, "greater than or equal to 0"),
        ({"numbers": {"loss": {"value": 1e40, "scale": 1.0}}}, "less than or equal to"),
        ({"missing": "x" * 301}, "at most 300"),
        ({"rule": 2}, "Input should be 1"),
    ],
)
def test_what_is_no_fingerprint_is_refused(changes, said):
    content = {**finished().model_dump(), "fingerprint": {**fingerprint().model_dump(), **changes}}
    with pytest.raises(pydantic.ValidationError, match=said):
        Record.model_validate(content)


def test_a_fingerprint_may_say_why_there_is_none():
    assert not Fingerprint(missing="RuntimeError").numbers


def test_the_tolerance_is_of_the_newest_ones_scale():
    old, new = fingerprint(loss=1.0), fingerprint(loss=1.0 + 0.9 * TOLERANCE)
    assert list(unlike(old, new)) == []
    assert list(unlike(old, fingerprint(loss=1.0 + 1.1 * TOLERANCE))) == ["loss"]
    assert list(unlike(old, fingerprint(shapes_sha256="0" * 64))) == ["shapes_sha256"]


def test_an_old_record_has_none_and_keeps_its_seal():
    record = sound()
    assert record.fingerprint is None and "fingerprint" not in record.model_dump()
    assert seal(record.model_dump(mode="json")) != seal(known_by(record).model_dump(mode="json"))
    assert Record.model_validate_json(known_by(record).model_dump_json()) == known_by(record)


def test_libraries_make_another_run_and_with_a_fingerprint_no_other_row():
    plain = known_by(finished())
    wrapping, patched = with_libraries(plain, DIT_ML), with_libraries(plain, DIT_ML.model_copy(update={"version": "1"}))
    assert len({config_of(record).hash for record in (plain, wrapping, patched)}) == 3
    assert "libraries" not in plain.model_dump()["architecture"], "of none, no hash tells"
    assert len({row_hash(record, whatever_code=True) for record in (plain, wrapping, patched)}) == 1
    assert len(rows_of([plain, wrapping, patched])) == 1


def test_what_was_compiled_makes_another_run_of_the_same_row():
    plain = finished()
    blocks = plain.model_copy(update={"recipe": plain.recipe.model_copy(update={"compile": "blocks"})})
    assert Record.model_validate(blocks.model_dump()).recipe.compile == "blocks", "under the matched ruleset, too"
    assert config_of(blocks).hash != config_of(plain).hash and row_hash(blocks) == row_hash(plain)


def test_diff_names_the_numbers_and_the_libraries():
    one, other = known_by(finished()), known_by(finished(), loss=2.0)
    assert [(d.field, d.one, d.other) for d in differences(one, other)] == [("fingerprint.loss", 1.0, 2.0)]
    assert not list(differences(one, known_by(finished(), loss=1.0 + 1e-6))), "rounding"
    assert [(d.field, d.one, d.other) for d in differences(finished(), one)] == [("fingerprint", None, "11 numbers")]
    old, new = (with_libraries(one, library) for library in (DIT_ML, DIT_ML.model_copy(update={"version": "0.3.0"})))
    assert [d.field for d in differences(old, new)] == ["architecture.libraries.dit-ml.version"]
    assert {d.field for d in differences(one, new)} == {
        "architecture.libraries.dit-ml.version", "architecture.libraries.dit-ml.files_sha256",
    }  # fmt: skip


def test_seeds_are_missing_by_what_networks_do():
    """A comment corrected between two seeds is none."""
    edited = {"source_sha256": "9" * 64}
    runs = [known_by(finished(seed=0)), known_by(finished(seed=1))]
    runs[1] = runs[1].model_copy(update={"architecture": runs[1].architecture.model_copy(update=edited)})
    assert [missing_seeds(row) for row in rows_by_hardware(runs)] == [[]]
    runs[1] = known_by(runs[1], loss=2.0)
    assert sorted(missing_seeds(row) for row in rows_by_hardware(runs)) == [[], [0]]


def test_a_run_that_did_not_finish_has_none():
    faults = list(_ending(known_by(unfinished())))
    assert faults == ["fingerprint is there, should not be: the run did not finish"]
