"""What is wrong in a track is told without data: each key, with each of many wrong values, in one line."""

import tomllib

import tomli_w
from wrong_values import WRONG, whole, wrong_tracks

from ditbench.benchmark.making import check_extractors, make_components
from ditbench.errors import DitbenchError
from ditbench.registry import Registry
from ditbench.tracks.lookup import check_size, resolve_track
from ditbench.tracks.track import Track

REGISTRY = Registry.installed()
RIGHT = whole(tomllib.loads(REGISTRY.tracks["digits"].read_text()))


def checked(path):
    """As `ditbench track check` does it."""
    track = resolve_track(REGISTRY, str(path))
    check_size(REGISTRY, track)
    make_components(track, REGISTRY)
    check_extractors(track, REGISTRY)
    return track


def keys(model, above=""):
    """Every key of a track, those of its tables included."""
    for name, field in model.model_fields.items():
        yield f"{above}{name}"
        inside = next(
            (k for k in (field.annotation, *getattr(field.annotation, "__args__", ())) if hasattr(k, "model_fields")),
            None,
        )
        if inside is not None:
            yield from keys(inside, f"{above}{name}.")


def test_every_key_has_wrong_values():
    assert set(keys(Track)) <= WRONG.keys()
    assert not [key for key, values in WRONG.items() if len(values) < 15]


def test_no_wrong_value_of_a_track_is_accepted(tmp_path):
    path, accepted, unclear = tmp_path / "mine.toml", [], []
    path.write_text(tomli_w.dumps(RIGHT))
    assert checked(path).name == "mine"
    for what, text in wrong_tracks(RIGHT):
        path.write_text(text)
        try:
            checked(path)
        except DitbenchError as error:
            told = str(error)
            if not told.isprintable() or len(told) > 1000 or "Value error" in told:
                unclear.append(f"{what}: {told}")
        else:
            accepted.append(what)
    assert not accepted
    assert not unclear
