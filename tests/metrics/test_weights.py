"""Weights are pinned: they are found, fetched and adopted only if their content is what was written down."""

import hashlib
from dataclasses import replace

import pytest

from ditbench.components import Extractor, Weights
from ditbench.errors import BadFile, BadValue
from ditbench.metrics.features import check_shape, load_extractor
from ditbench.metrics.weights import (
    adopt_weights,
    check_weights,
    has_weights,
    require_weights,
    torch_cache,
    weights_path,
)
from ditbench.registry import Registry

DIGITS = Registry.installed().extractors["digits-cnn"]
CONTENT = b"these are weights"


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """An extractor whose weights lie elsewhere, and where."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    there = tmp_path / "there.pth"
    there.write_bytes(CONTENT)
    pin = Weights(file="here.pth", sha256=hashlib.sha256(CONTENT).hexdigest(), url=there.as_uri())
    return Extractor(name="remote", build="x:y", weights=pin, outputs=("features",), metrics=("fid",)), there


def test_missing_weights_are_one_line_with_file_source_hash_and_way_out(remote):
    extractor, there = remote
    with pytest.raises(BadFile) as caught:
        weights_path(extractor)
    line = str(caught.value)
    for part in (
        "'remote'",
        "here.pth",
        extractor.weights.sha256,
        there.as_uri(),
        "ditbench fetch remote",
        "`weights`",
    ):
        assert part in line
    assert "\n" not in line and not has_weights(extractor)


def test_offline_touches_no_network(remote):
    extractor, there = remote
    with pytest.raises(BadFile, match="are missing"):
        require_weights(extractor, offline=True)
    assert not torch_cache().exists()
    told = []
    path = require_weights(extractor, offline=False, report=lambda done, size: told.append((done, size)))
    assert path == torch_cache() / "here.pth" and path.read_bytes() == CONTENT
    assert told == [(len(CONTENT), len(CONTENT))] and has_weights(extractor)
    there.unlink()
    assert require_weights(extractor, offline=True) == require_weights(extractor, offline=False) == path


def test_what_was_fetched_is_kept_only_if_it_is_what_was_pinned(remote):
    extractor, there = remote
    there.write_bytes(CONTENT + b"!")
    with pytest.raises(BadFile, match=r"What came has sha256 .*, 18 bytes"):
        require_weights(extractor, offline=False)
    assert not list(torch_cache().iterdir())
    there.unlink()
    with pytest.raises(BadFile, match="Fetching them failed"):
        require_weights(extractor, offline=False)


def test_a_file_that_was_fetched_elsewhere_is_adopted(remote, tmp_path):
    extractor, there = remote
    forged = tmp_path / "forged.pth"
    forged.write_bytes(b"others")
    with pytest.raises(BadFile, match=r"forged\.pth' has sha256"):
        adopt_weights(extractor, forged)
    assert not has_weights(extractor)
    adopt_weights(extractor, there)
    assert weights_path(extractor).read_bytes() == CONTENT
    with pytest.raises(BadFile, match="come with a package"):
        adopt_weights(DIGITS, weights_path(DIGITS))


def test_weights_of_a_package_that_is_not_installed(remote):
    pin = Weights(file="w.pth", sha256="0" * 64, package="nobody_has_this:models")
    with pytest.raises(
        BadFile, match=r"from the package nobody_has_this; the package is not installed.*install nobody-has"
    ):
        require_weights(replace(remote[0], weights=pin), offline=False)


def test_other_weights_in_their_place_are_refused(tmp_path):
    forged = tmp_path / "digits-cnn.safetensors"
    content = bytearray(weights_path(DIGITS).read_bytes())
    content[-1] ^= 1
    forged.write_bytes(content)
    with pytest.raises(BadFile, match=r"has sha256 .* not 901f43288be1\.\.\."):
        load_extractor(DIGITS, forged)
    for nothing in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(BadFile, match=r"`weights` '.*' is no file; 'digits-cnn' takes digits-cnn\.safetensors"):
            load_extractor(DIGITS, nothing)


def test_pins_are_checked_where_they_are_written():
    for wrong, message in [
        ({"sha256": "abc", "url": "x"}, "is no sha256"),
        ({"sha256": "0" * 64}, "either a package"),
        ({"sha256": "0" * 64, "url": "x", "package": "y"}, "either a package"),
        ({"sha256": "0" * 64, "url": "x", "file": "../up"}, "can't name a file"),
    ]:
        with pytest.raises(BadValue, match=message):
            Weights(**{"file": "w.pth", **wrong})


def test_a_library_that_is_not_installed_is_named_with_its_extra(remote):
    extractor, there = remote
    needy = replace(extractor, build="ditbench.module_that_nobody_has:build", extra="dinov2")
    with pytest.raises(
        BadValue, match=r"needs 'ditbench.module_that_nobody_has': (uv )?pip install 'ditbench\[dinov2\]'"
    ):
        load_extractor(needy, there)


def test_the_shipped_weights_are_what_is_pinned():
    for name in ("digits-cnn", "efficientnet-lite0"):
        extractor = Registry.installed().extractors[name]
        check_weights(extractor, weights_path(extractor))
    assert weights_path(DIGITS).stat().st_size <= 300_000


def test_an_extractor_refuses_images_it_does_not_know():
    with pytest.raises(BadValue, match=r"takes images of \(1, 8, 8\), not \(3, 32, 32\)"):
        check_shape(DIGITS, (3, 32, 32))
    inception = Registry.installed().extractors["inception-v3-compat"]
    check_shape(inception, (1, 32, 32))
    with pytest.raises(BadValue, match="takes grey or RGB images, not 4 channels"):
        check_shape(inception, (4, 32, 32))
