"""Bad weights: safetensors, what torch.save wrote, checkpoints of runs, shards of prepared data, and runs' folders."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bad_records import copy_of
from checksums import SUMS, noted_again
from judge import Case
from safetensors.torch import load_file, save

from ditbench.training.checkpoint import CheckpointFacts

FILE, PUBLISHED = "w.safetensors", "w.pt"
_RUN = (
    "run",
    "--plugins=toy+fault=slow",
    "--track=tiny",
    "--device=cpu",
    "--budget=40-steps",
    "--executor=inline",
    "--out=runs",
)


def cases(base: Path) -> Iterator[Case]:
    """All of them."""
    scored = ("evaluate", FILE, "--architecture=toy", "--track=tiny", "--features=digits-cnn", "--device=cpu")
    imported = ("import", "dit:nano", FILE, "--out=out.safetensors")
    for name, content in _safetensors((base / "weights.safetensors").read_bytes()).items():
        yield Case("safetensors", f"scored: {name}", scored, (FILE,), partial(_write, name=FILE, content=content))
    for name, content in _safetensors((base / "dit.safetensors").read_bytes()).items():
        yield Case(
            "safetensors",
            f"imported: {name}",
            imported,
            (FILE, "'surprise'", "'x."),
            partial(_write, name=FILE, content=content),
        )
    from_torch = ("import", "dit:nano", PUBLISHED, "--out=out.safetensors")
    for name, content in _pickles(load_file(base / "dit.safetensors")).items():
        yield Case(
            "checkpoint",
            f"imported: {name}",
            from_torch,
            (PUBLISHED,),
            partial(_write, name=PUBLISHED, content=content),
        )
    yield from _checkpoints(base)
    yield from _shards(base)
    yield from _runs(base)


def _write(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)


def _framed(header: Any, content: bytes = b"", size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + content


def _safetensors(good: bytes) -> dict[str, bytes]:
    """By name: what is no safetensors file of those weights."""
    size = struct.unpack("<Q", good[:8])[0]
    header, content = json.loads(good[8 : 8 + size]), good[8 + size :]
    header.pop("__metadata__", None)
    name, about = next(iter(header.items()))
    begin, end = about["data_offsets"]
    tensors: dict[str, torch.Tensor] = {key: torch.zeros(of["shape"]) for key, of in header.items()}

    def other(**changes: Any) -> bytes:
        return _framed({**header, name: {**about, **changes}}, content)

    found = {
        "nothing": b"",
        "eight bytes": good[:8],
        "noise": bytes(range(256)) * 9,
        "a header too long": _framed(b"{}", size=2**63),
        "a header of 2 GB": _framed(b"{}", size=2**31),
        "a header of text": _framed(b"nonsense"),
        "a header of a list": _framed([]),
        "no tensor": save({}),
        "a deep header": _framed(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
        "UTF-16": _framed("{}".encode("utf-16")),
        "an unknown type": other(dtype="Q9"),
        "a negative shape": other(shape=[-1]),
        "a shape of text": other(shape=["a"]),
        "a shape too large": other(shape=[2**62, 2**62]),
        "offsets beyond the end": other(data_offsets=[begin, len(content) + 9]),
        "offsets turned": other(data_offsets=[end, begin]),
        "no offsets": _framed({name: {"dtype": "F32", "shape": [1]}}, content),
        "bytes behind the end": good + b"more",
        "one tensor less": save({key: of for key, of in tensors.items() if key != name}),
        "one tensor more": save({**tensors, "surprise": torch.zeros(1)}),
        "another shape": save({**tensors, name: torch.zeros(3, 5)}),
        "other names": save({f"{key}.x": of for key, of in tensors.items()}),
        "whole numbers": save({key: of.long() for key, of in tensors.items()}),
        "booleans": save({key: of.bool() for key, of in tensors.items()}),
        "NaN": save({key: of + torch.nan for key, of in tensors.items()}),
        "infinity": save({key: of + torch.inf for key, of in tensors.items()}),
        "a pickle": pickle.dumps(tensors),
    }
    for share in (0.001, 0.1, 0.5, 0.9, 0.9999):
        found[f"cut at {share:.2%}"] = good[: int(len(good) * share)]
    return found


class _Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch /tmp/ditbench-was-here",)


def _torch(content: Any, **how: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


def _pickles(good: dict[str, torch.Tensor]) -> dict[str, bytes]:
    """By name: what torch.save or somebody else wrote, and is no state dict of these weights."""
    whole = _torch(good)
    first = next(iter(good))
    found = {
        "nothing": b"",
        "noise": bytes(range(256)) * 9,
        "a list": _torch([1, 2]),
        "a number": _torch(7),
        "no tensor": _torch({}),
        "a tensor": _torch(torch.zeros(3)),
        "code": _torch({"ema": _Evil()}),
        "bare code": pickle.dumps(_Evil()),
        "code beside": _torch({**good, "x": _Evil()}),
        "one tensor less": _torch({key: of for key, of in good.items() if key != first}),
        "one tensor more": _torch({**good, "surprise": torch.zeros(1)}),
        "another shape": _torch({**good, first: torch.zeros(3, 5)}),
        "NaN": _torch({key: of + torch.nan for key, of in good.items()}),
        "whole numbers": _torch({key: of.long() for key, of in good.items()}),
        "complex": _torch({key: of + 1j for key, of in good.items()}),
        "sparse": _torch({key: of.to_sparse() for key, of in good.items()}),
        "on no device": _torch({key: of.to("meta") for key, of in good.items()}),
        "numbers for names": _torch(dict(enumerate(good.values()))),
        "an optimiser alone": _torch({"opt": {"state": {}}}),
        "an older zip": _torch(good, _use_new_zipfile_serialization=False)[:-100],
        "the other weights": _torch({"optimizer": good}),
    }
    for share in (0.001, 0.1, 0.5, 0.9, 0.9999):
        found[f"cut at {share:.2%}"] = whole[: int(len(whole) * share)]
    return found


def _checkpoints(base: Path) -> Iterator[Case]:
    """A run that was stopped, and whose checkpoint is damaged: it fails, and says that `--force` starts it over."""
    (state,) = base.glob("stopped/tiny/*/checkpoints/*/state.json")
    tensors = next(path for path in state.parent.iterdir() if path.suffix == ".safetensors")
    content = json.loads(state.read_bytes())
    spoilt: dict[str, tuple[str, bytes | None]] = {
        "no state": (state.name, None),
        "an empty state": (state.name, b""),
        "no JSON": (state.name, b"{"),
        "a list": (state.name, b"[]"),
        "noise": (state.name, bytes(range(128, 256))),
        "another run's": (state.name, json.dumps({**content, "run": "x"}).encode()),
        "another layout": (state.name, json.dumps({**content, "layout": 99}).encode()),
        "no facts": (state.name, json.dumps({**content, "facts": {}}).encode()),
        "no tensors": (tensors.name, None),
        "empty tensors": (tensors.name, b""),
        "half the tensors": (tensors.name, tensors.read_bytes()[: tensors.stat().st_size // 2]),
        "tensors of noise": (tensors.name, bytes(range(256)) * 9),
        "no tensor": (tensors.name, save({})),
        "a deep state": (state.name, b"[" * 100_000),
        "a long number": (state.name, b'{"layout": ' + b"9" * 10_000 + b"}"),
    }
    for name in content["facts"]:
        less = {key: value for key, value in content["facts"].items() if key != name}
        needed = CheckpointFacts.model_fields[name].is_required()  # what was added later is not
        for what, facts in (
            *([(f"no {name}", less)] if needed else []),
            (f"{name} of text", {**less, name: "x"}),
            (f"{name} of nothing", {**less, name: None}),
        ):
            spoilt[what] = (state.name, json.dumps({**content, "facts": facts}).encode())
    for what, (file, text) in spoilt.items():
        make = partial(_spoil_checkpoint, base=base, file=file, content=text, noted=True)
        yield Case("checkpoint", f"resumed: {what}", _RUN, ("--force",), make, code=1)
    good, sums = tensors.read_bytes(), state.with_name(SUMS)
    changed = {
        "a bit of a tensor": (tensors.name, good[:-9] + bytes([good[-9] ^ 1]) + good[-8:]),
        "another number": (state.name, json.dumps({**content, "facts": {**content["facts"], "before": 0.5}}).encode()),
        "no sums": (SUMS, None),
        "empty sums": (SUMS, b""),
        "sums of noise": (SUMS, bytes(range(256))),
        "sums of what is not there": (SUMS, sums.read_bytes() + b"0" * 64 + b"  ../x\n"),
    }
    for what, (file, text) in changed.items():
        make = partial(_spoil_checkpoint, base=base, file=file, content=text, noted=False)
        yield Case(
            "checkpoint", f"changed: {what}", _RUN, (f"({file}: ", "(x: ", f"{SUMS} does not have"), make, code=1
        )


def _spoil_checkpoint(folder: Path, base: Path, file: str, content: bytes | None, noted: bool) -> None:
    """`noted`: as if it had been written so."""
    shutil.copytree(base / "stopped", folder / "runs")
    (path,) = folder.glob(f"runs/tiny/*/checkpoints/*/{file}")
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    if noted:
        noted_again(path.parent)


def _shards(base: Path) -> Iterator[Case]:
    name = "shard-00000.safetensors"
    good = (base / "shards" / name).read_bytes()
    read = ("data", "stats", "shards")
    trained = ("run", "--plugins=toy", "--track=tiny", "--device=cpu", "--budget=1-steps", "--data=latents:shards")
    spoilt: dict[str, bytes | None] = {
        **_safetensors(good),
        "missing": None,
        "one bit": good[:-9] + bytes([good[-9] ^ 1]) + good[-8:],
    }
    for what, content in spoilt.items():
        make = partial(_spoil_shard, base=base, name=name, content=content)
        yield Case("shards", f"read: {what}", read, (name,), make)
    for what in ("missing", "nothing", "cut at 50.00%"):
        make = partial(_spoil_shard, base=base, name=name, content=spoilt[what])
        yield Case("shards", f"trained on: {what}", trained, (name, "shards"), make)
    for what, make in {"a pipe": os.mkfifo, "a folder": os.mkdir}.items():
        for file in (name, "manifest.json"):
            odd = partial(_odd_shard, base=base, name=file, make=make)
            yield Case("shards", f"read: {file} is {what}", read, (file,), odd)


def _spoil_shard(folder: Path, base: Path, name: str, content: bytes | None) -> None:
    copy_of(base / "shards", folder / "shards", less=(name,))
    if content is not None:
        (folder / "shards" / name).write_bytes(content)


def _odd_shard(folder: Path, base: Path, name: str, make: Callable[[Path], object]) -> None:
    copy_of(base / "shards", folder / "shards", less=(name,))
    make(folder / "shards" / name)


def _runs(base: Path) -> Iterator[Case]:
    """A finished run whose folder was damaged, to whoever asks more of it or submits it."""
    run = next((base / "runs" / "tiny").glob("*/record.json")).parent.name
    again = (
        "run",
        "--plugins=toy",
        "--track=tiny",
        "--device=cpu",
        "--budget=5-steps",
        "--executor=inline",
        "--out=runs",
    )
    submit = ("records", "submit", f"runs/tiny/{run}", "--by=Ada", "--to=board")
    ways: dict[str, tuple[tuple[str, ...], str, Any, str]] = {
        "no weights, samples asked": ((*again, "--keep-samples"), "ema.safetensors", None, "ema.safetensors"),
        "half the weights, samples asked": ((*again, "--keep-samples"), "ema.safetensors", b"half", "ema.safetensors"),
        "no raw weights, asked for": ((*again, "--raw"), "raw.safetensors", None, "raw.safetensors"),
        "half the raw weights": ((*again, "--raw"), "raw.safetensors", b"half", "raw.safetensors"),
        "an empty record, run again": (again, "record.json", b"", "record.json"),
        "a record of a list, run again": (again, "record.json", b"[]", "record.json"),
        "a pipe for a record, run again": (again, "record.json", os.mkfifo, "record.json"),
        "a folder for a record, run again": (again, "record.json", os.mkdir, "record.json"),
        "an empty record, submitted": (submit, "record.json", b"", "record.json"),
        "no record, submitted": (submit, "record.json", None, run),
        "a pipe for a record, submitted": (submit, "record.json", os.mkfifo, "record.json"),
    }
    for what, (command, file, content, word) in ways.items():
        yield Case("runs", what, command, (word,), partial(_spoil_run, base=base, run=run, file=file, content=content))


def _spoil_run(folder: Path, base: Path, run: str, file: str, content: Any) -> None:
    shutil.copytree(base / "runs", folder / "runs")
    (folder / "board").mkdir()
    path = folder / "runs" / "tiny" / run / file
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        content(path)
