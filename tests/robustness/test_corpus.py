"""Whatever is wrong with what ditbench is given, it says so: one line that names the culprit, and exit code 2.

The fast test takes some inputs of each kind. All of them, some minutes::

    uv run pytest -m slow -n 0 tests/robustness/test_corpus.py

tells at its end how many there were of each kind. ``CORPUS=npz,track`` in the environment takes these kinds alone, and
``CORPUS_TRACEBACKS=1`` shows what came out. Inputs are made from what there is: every command and parameter of the
command line, every field of the models, every setting of the components. A new one is tried without a line here, or
the test asks for what is not known of it.
"""

import os
from collections import Counter

import bad_arguments
import bad_calls
import bad_images
import bad_packages
import bad_records
import bad_tracks
import bad_weights
import pytest
from judge import fault_of, tally

GENERATORS = (bad_arguments, bad_calls, bad_images, bad_packages, bad_records, bad_tracks, bad_weights)
LEAST = 1000  # inputs in all
FAST = 15  # about so many are tried each time


def corpus(base):
    """All cases, in an order that stays."""
    return [case for generator in GENERATORS for case in generator.cases(base)]


def faults(cases, folder):
    """Those that were not met as they should be, and what was wrong."""
    found = {case.title: fault_of(case, folder) for case in cases}
    return {title: fault for title, fault in found.items() if fault}


@pytest.mark.timeout(240)
def test_some_bad_inputs_of_each_kind_are_one_line_and_code_2(world, tmp_path):
    cases, chosen = corpus(world), []
    for kind, count in tally(cases).items():
        of_kind = [case for case in cases if case.kind == kind]
        chosen += of_kind[:: max(1, count * len(tally(cases)) // FAST)]
    assert not faults(chosen, tmp_path / "case")


@pytest.mark.slow  # the test above tries some of each kind
@pytest.mark.timeout(7200)
def test_all_bad_inputs_are_one_line_and_code_2(world, tmp_path, tell):
    cases = corpus(world)
    assert len(cases) >= LEAST and max(Counter(case.title for case in cases).values()) == 1
    kinds = os.environ.get("CORPUS", "").split(",")
    chosen = [case for case in cases if kinds == [""] or case.kind in kinds]
    found = faults(chosen, tmp_path / "case")
    for kind, count in tally(chosen).items():
        bad = sum(title.startswith(f"{kind}: ") for title in found)
        tell(f"{kind}: {count} bad inputs, {bad} not met as they should be")
    tell(f"{len(chosen)} bad inputs of {len(cases)}")
    assert not found, "\n".join(f"{title}\n    {fault}" for title, fault in found.items())
