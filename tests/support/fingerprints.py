"""Fingerprints as records have them."""

from ditbench.records.fingerprint import ALSO, ALWAYS, Fingerprint, Scaled


def fingerprint(shapes_sha256="a" * 64, **values):
    """All numbers are 1 on a scale of 1, but those that are named."""
    numbers = {name: Scaled(value=values.get(name, 1.0), scale=1.0) for name in (*ALWAYS, *ALSO)}
    return Fingerprint(shapes_sha256=shapes_sha256, numbers=numbers)


def known_by(record, **values):
    """The record with a fingerprint."""
    return record.model_copy(update={"fingerprint": fingerprint(**values)})
