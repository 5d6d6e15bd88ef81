"""Verifications made by hand, for the tests of what is done with them."""

from records import ENVIRONMENT

from ditbench.records.record import seal
from ditbench.records.verification import re_evaluated


def sealed(record):
    """The record as it would be read from its file."""
    return record.model_copy(update={"sha256": seal(record.model_dump(mode="json"))})


def checked(record, by="Ada", fid=None):
    """What somebody found who measured its weights again: the same, or another FID."""
    first = record.metrics[0].model_copy(update={} if fid is None else {"value": fid})
    return re_evaluated(record, by, ENVIRONMENT, "cpu", record.sampling, [first, *record.metrics[1:]])
