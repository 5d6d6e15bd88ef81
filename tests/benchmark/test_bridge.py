"""One set of samples against several references: each as it is alone, and the samples' features computed once."""

import json

import numpy as np
import pytest
import torch

from ditbench.benchmark import evaluation
from ditbench.benchmark.evaluation import EvaluationRequest, evaluate, evaluate_against
from ditbench.datasets.image_sets import open_images
from ditbench.errors import BadFile
from ditbench.metrics.features import load_extractor
from ditbench.metrics.moments import moments_in
from ditbench.registry import Registry
from ditbench.storage.files import sha256_of

REGISTRY = Registry.installed()
DIGITS = REGISTRY.extractors["digits-cnn"]


def grey(seed, count=40):
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Samples; moments as JiT's file has them, as ADM's with images, and with a count."""
    at = tmp_path_factory.mktemp("bridge")
    np.savez(at / "samples.npz", arr_0=grey(0))
    network = load_extractor(DIGITS)
    for name, seed in (("jit.npz", 1), ("adm.npz", 2), ("counted.npz", 3)):
        real = grey(seed)
        with torch.inference_mode():
            seen = network(torch.from_numpy(real.transpose(0, 3, 1, 2)))["features"].double().numpy()
        moments = {"mu": seen.mean(0), "sigma": np.cov(seen, rowvar=False)}
        more = {"adm.npz": {"arr_0": real}, "counted.npz": {"count": 40}}.get(name, {})
        np.savez(at / name, **moments, **more)
    return at


def asked(folder, reference=""):
    return EvaluationRequest(open_images(folder / "samples.npz"), reference, DIGITS, (), device="cpu", floors=False)


def test_each_is_as_it_is_alone_and_the_samples_are_seen_once(folder, monkeypatch):
    names = [str(folder / name) for name in ("jit.npz", "adm.npz", "counted.npz")]
    alone = [evaluate(asked(folder, name), REGISTRY) for name in names]
    seen, extract = [], evaluation.extract
    monkeypatch.setattr(evaluation, "extract", lambda *of, **how: seen.append(1) or extract(*of, **how))
    together = evaluate_against(names, asked(folder), REGISTRY)
    assert len(seen) == 1
    for one, other in zip(together, alone, strict=True):
        assert (one.reference, one.samples, one.left_out) == (other.reference, other.samples, other.left_out)
        assert [(m.protocol, m.reference_sha256, m.reference_samples) for m in one.metrics] == [
            (m.protocol, m.reference_sha256, m.reference_samples) for m in other.metrics
        ]
        assert [m.value for m in one.metrics] == pytest.approx([m.value for m in other.metrics], rel=1e-6)
    fids = [next(m.value for m in one.metrics if m.metric == "fid") for one in together]
    assert len(set(fids)) == 3, "else the references can't be told apart"


def test_the_table_names_each_reference(folder, ditbench, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    out = ditbench(
        "bridge", "samples.npz", "jit.npz", "adm.npz", "counted.npz", "--features", "digits-cnn", "--device", "cpu"
    )
    lines = {name: next(line for line in out.splitlines() if name in line) for name in ("jit", "adm", "counted")}
    for name, images in (("jit", "not stated"), ("adm", "not stated / 40"), ("counted", "40")):
        assert sha256_of(folder / f"{name}.npz")[:12] in lines[name] or name == "adm"
        assert images in lines[name]
    assert "fid40/digits-cnn ↓" in out and "40 samples, by digits-cnn" in out
    assert lines["jit"].count(" - ") == 3 and " - " not in lines["adm"], "kid, precision and recall need images"


def test_json_is_for_programs(folder, ditbench, monkeypatch):
    monkeypatch.chdir(folder)
    found = json.loads(
        ditbench("bridge", "samples.npz", "jit.npz", "counted.npz", "--features", "digits-cnn", "--json")
    )
    assert found["extractor"] == "digits-cnn" and found["samples"]["count"] == 40
    assert [one["reference"]["count"] for one in found["references"]] == [None, 40]
    assert [one["reference"]["sha256"] for one in found["references"]] == [
        sha256_of(folder / name) for name in ("jit.npz", "counted.npz")
    ]
    assert {m["reference_sha256"] for m in found["references"][0]["metrics"] if m["metric"] == "fid"} == {
        sha256_of(folder / "jit.npz")
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("jit.npz", ""), "The reference '' is empty"),
        (("jit.npz", "jit.npz"), "The reference 'jit.npz' stands twice"),
        (("jit.npz", "missing.npz"), "No file, folder or data set named 'missing.npz'"),
        (("jit.npz",), "One reference, 'jit.npz', bridges nothing"),
        (("jit.npz", "adm.npz", "--features", "nothing"), "No extractor named 'nothing'"),
        (
            ("jit.npz", "adm.npz", "--metrics", "kid"),
            "kid compares images, and the reference 'jit.npz' has only their moments",
        ),
        (("jit.npz", "wide.npz"), "has moments of 3 features, but 'digits-cnn' puts out"),
        (("jit.npz", "wrong.npz"), "count is no whole number of images"),
    ],
)
def test_what_is_wrong_is_one_line(folder, ditbench, monkeypatch, words, told):
    monkeypatch.chdir(folder)
    np.savez(folder / "wide.npz", mu=np.zeros(3), sigma=np.eye(3))
    np.savez(folder / "wrong.npz", mu=np.zeros(3), sigma=np.eye(3), count=1.5)
    errors = ditbench("bridge", "samples.npz", "--features", "digits-cnn", "--device", "cpu", *words, code=2)
    assert told in errors and errors.count("\n") == 1


@pytest.mark.parametrize("count", [1, -5, 2.0, [40, 40], "40", 10**15])
def test_a_count_that_is_none_is_refused(tmp_path, count):
    path = tmp_path / "moments.npz"
    np.savez(path, mu=np.zeros(3), sigma=np.eye(3), count=np.array(count))
    with pytest.raises(BadFile, match="count is no whole number of images, from 2"):
        moments_in(path)
