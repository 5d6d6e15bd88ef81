"""Bad images: npz files of them or of their moments, image files of every format, and folders of them."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from judge import Case
from PIL import Image

_WITH = ("--features=digits-cnn", "--device=cpu")
NPZ, FOLDER = "bad.npz", "images"
Make = Callable[[Path], object]


def cases(base: Path) -> Iterator[Case]:
    """All of them."""
    yield from _npz_cases(base)
    yield from _moment_cases(base)
    yield from _image_cases(base)
    yield from _folder_cases(base)


def some(count: int = 30, channels: int = 1, side: int = 8) -> np.ndarray[Any, Any]:
    """Images that differ."""
    return np.random.default_rng(count).integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def packed(**arrays: Any) -> bytes:
    """An npz."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def raw_npz(**members: bytes) -> bytes:
    """A zip of these bytes as members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(header: str, content: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """An array's file with whatever header."""
    text = header.encode("latin-1") + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text + content


def _header(descr: str = "'|u1'", order: str = "False", shape: str = "(30, 8, 8, 1)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"


def _npz_cases(base: Path) -> Iterator[Case]:
    good, whole = some(), packed(arr_0=some())
    floats = good.astype(np.float64)
    arrays = {
        "float64": floats,
        "int64": good.astype(np.int64),
        "int8": good.view(np.int8),
        "bool": good > 127,
        "uint16": good.astype(np.uint16),
        "complex": floats.astype(complex),
        "text": good.astype(str),
        "objects": good.astype(object),
        "dates": good.astype("datetime64[s]"),
        "a structure": good.view([("a", "u1")]),
        "no axis": good[0, 0, 0, 0],
        "1 axis": good.ravel(),
        "2 axes": good.reshape(30, 64),
        "3 axes": good[..., 0],
        "5 axes": good[..., None],
        "2 channels": np.tile(good, 2),
        "4 channels": np.tile(good, 4),
        "no channel": good[..., :0],
        "no image": good[:0],
        "no height": good[:, :0],
        "no width": good[:, :, :0],
        "Fortran's order": np.asfortranarray(good),
        "channels first": good.transpose(0, 3, 1, 2).copy(),
        "another size": some(side=16),
        "3 channels": some(channels=3),
        "one image": good[:1],
        "3 images": good[:3],
    }
    for name, array in arrays.items():
        yield _npz(f"arr_0 of {name}", packed(arr_0=array))
    for name in ("arr_1", "images", "arr", "ARR_0", "arr_0.npy"):
        yield _npz(f"under {name}", packed(**{name: good}))
    for share in (0, 0.01, 0.2, 0.5, 0.8, 0.95, 0.999):
        yield _npz(f"cut at {share:.0%}", whole[: int(len(whole) * share)])
    for place in range(0, len(whole), len(whole) // 12):
        yield _npz(f"noise at {place}", whole[:place] + bytes(range(64, 128)) + whole[place + 64 :])
    headers = {
        "two million images": npy(_header(shape="(2000000, 8, 8, 1)"), some().tobytes()),
        "two million large ones": npy(_header(shape="(2000000, 256, 256, 3)")),
        "more than there are": npy(_header(), good.tobytes()[:-1]),
        "a negative count": npy(_header(shape="(-1, 8, 8, 1)"), good.tobytes()),
        "a count of text": npy(_header(shape="('30', 8, 8, 1)"), good.tobytes()),
        "a true count": npy(_header(shape="(True, 8, 8, 1)"), good.tobytes()),
        "a count too large": npy(_header(shape="(10**40, 8, 8, 1)")),
        "a long count": npy(_header(shape=f"({'9' * 3000}, 8, 8, 1)")),
        "no shape": npy("{'descr': '|u1', 'fortran_order': False}", good.tobytes()),
        "no dictionary": npy("[1, 2]", good.tobytes()),
        "code": npy("__import__('os').system('true')"),
        "an unknown type": npy(_header(descr="'|q9'"), good.tobytes()),
        "version 9": npy(_header(), good.tobytes(), version=(9, 0)),
        "a header without end": b"\x93NUMPY\x01\x00\xff\xff{",
        "a pickle": npy(_header(descr="'|O'"), b"cos\nsystem\n(S'true'\ntR."),
        "no magic": b"PK" * 100,
        "nothing": b"",
    }
    for name, content in headers.items():
        yield _npz(f"header: {name}", raw_npz(arr_0=content))
    files = {
        "nothing": b"",
        "an npy": npy(_header(), good.tobytes()),
        "noise": bytes(range(256)) * 9,
        "text": b"images",
        "an empty zip": raw_npz(),
        "a PNG": _png(Image.fromarray(good[0, ..., 0])),
    }
    for name, content in files.items():
        yield _npz(f"file: {name}", content)
        yield _npz(f"reference: {name}", content, as_reference=True)
    yield Case("npz", "a pipe", _scored(NPZ), (NPZ,), lambda folder: os.mkfifo(folder / NPZ))
    yield Case("npz", "a pipe as reference", _against(NPZ, base), (NPZ,), lambda folder: os.mkfifo(folder / NPZ))


def _moment_cases(base: Path) -> Iterator[Case]:
    with np.load(base / "moments.npz") as file:
        mu, sigma = file["mu"], file["sigma"]
    width, other = len(mu), sigma.copy()
    other[0, 1] += 1.0
    negative, nan = sigma - 2 * np.eye(width) * (sigma.max() + 1), mu.copy()
    nan[3] = np.nan
    wrong: dict[str, dict[str, Any]] = {
        "a mean of NaN": {"mu": nan},
        "an infinite mean": {"mu": mu + np.inf},
        "a covariance of NaN": {"sigma": sigma * np.nan},
        "not symmetric": {"sigma": other},
        "a negative variance": {"sigma": negative},
        "all below 0": {"sigma": -np.eye(width)},
        "complex means": {"mu": mu + 1j},
        "a complex covariance": {"sigma": sigma + 1j * sigma},
        "whole means": {"mu": mu.astype(int)},
        "a whole covariance": {"sigma": np.eye(width, dtype=int)},
        "huge means": {"mu": mu + 1e300},
        "a huge covariance": {"sigma": sigma * 1e300},
        "short means": {"mu": mu[:-1]},
        "a small covariance": {"sigma": sigma[:-1, :-1]},
        "an oblong covariance": {"sigma": sigma[:, :-1]},
        "means in two axes": {"mu": mu[None]},
        "a flat covariance": {"sigma": sigma.ravel()},
        "a mean without axis": {"mu": mu[0]},
        "no number": {"mu": mu[:0], "sigma": sigma[:0, :0]},
        "another width": {"mu": np.zeros(7), "sigma": np.eye(7)},
        "means of text": {"mu": mu.astype(str)},
        "means of objects": {"mu": mu.astype(object)},
        "true means": {"mu": mu > 0},
    }
    for name, change in wrong.items():
        yield _reference(f"moments: {name}", packed(**{"mu": mu, "sigma": sigma, **change}), base)
    for name, arrays in {
        "mu alone": {"mu": mu},
        "sigma alone": {"sigma": sigma},
        "mean and cov": {"mean": mu, "cov": sigma},
        "MU and SIGMA": {"MU": mu, "SIGMA": sigma},
        "sFID's alone, one of two": {"mu_s": mu},
    }.items():
        yield _reference(f"moments: {name}", packed(**arrays), base)
    good = packed(mu=mu, sigma=sigma)
    for share in (0.01, 0.5, 0.99):
        yield _reference(f"moments: cut at {share:.0%}", good[: int(len(good) * share)], base)


def _image_cases(base: Path) -> Iterator[Case]:
    """One bad file among good ones, scored; then among those that are trained on."""
    for name, (suffix, content) in _bad_images().items():
        file = f"x{suffix}"
        make = partial(_folder_with, file=file, content=content)
        yield Case("image", f"scored: {name}", _scored(FOLDER), (file, "x."), make)
    for name, (suffix, content) in _unreadable().items():
        file = f"x{suffix}"
        make = partial(_folder_with, file=file, content=content)
        prepare = ("data", "prepare", FOLDER, "--resolution=8", "--out=out")
        yield Case("image", f"prepared: {name}", prepare, (file, "x."), make)


def _png(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def _unreadable() -> dict[str, tuple[str, bytes]]:
    """By name: a suffix, and what nobody can read."""
    grey = Image.fromarray(some(1)[0, ..., 0])
    good = _png(grey)
    found: dict[str, tuple[str, bytes]] = {
        "nothing": (".png", b""),
        "noise": (".png", bytes(range(256)) * 4),
        "text": (".png", b"a picture"),
        "only a head": (".png", good[:8]),
        "JSON": (".jpg", b"{}"),
        "SVG": (".png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "a pickle": (".png", b"cos\nsystem\n(S'true'\ntR."),
    }
    for share in (0.2, 0.4, 0.5, 0.7):
        found[f"a PNG cut at {share:.0%}"] = (".png", good[: int(len(good) * share)])
    place = good.index(b"IDAT")
    found["a PNG with a wrong head"] = (".png", good[:20] + b"\xff\xff" + good[22:])
    found["a PNG with noise for pixels"] = (".png", good[: place + 6] + b"\x55" * 20 + good[place + 26 :])
    found["a PNG of no pixel"] = (".png", _chunked(0, 0))
    found["a PNG of colour type 7"] = (".png", _chunked(8, 8, colour=7))
    found["a PNG without pixels"] = (".png", _chunked(8, 8))
    found["a PNG that promises 2 billion"] = (".png", _chunked(2**31 - 1, 2**31 - 1))
    found["a PNG that promises 12,000 x 12,000"] = (".png", _chunked(12_000, 12_000))
    for kind, suffix in (
        ("JPEG", ".jpg"),
        ("BMP", ".bmp"),
        ("PPM", ".pgm"),
        ("GIF", ".gif"),
        ("TIFF", ".tif"),
        ("WEBP", ".webp"),
    ):
        whole = _png(grey, kind)
        found[f"half a {kind}"] = (suffix, whole[: len(whole) // 2 if kind != "JPEG" else len(whole) // 3])
    found["a PPM of text"] = (".ppm", b"P6 8 8 abc\n")
    found["a PGM of -8"] = (".pgm", b"P5 -8 8 255\n" + bytes(64))
    return found


def _bad_images() -> dict[str, tuple[str, bytes]]:
    """By name: a suffix, and what can't be among 8 x 8 grey images that are scored."""
    grey = Image.fromarray(some(1)[0, ..., 0])
    deep = Image.fromarray(some(1)[0, ..., 0].astype(np.uint16) * 257)
    found = {
        "another size": (".png", _png(grey.resize((9, 8)))),
        "colour": (".png", _png(grey.convert("RGB"))),
        "transparency": (".png", _png(grey.convert("RGBA"))),
        "a palette": (".png", _png(grey.convert("P"))),
        "16 bits": (".png", _png(deep)),
        "a PGM of 16 bits": (".pgm", b"P5 8 8 65535\n" + bytes(128)),
        "a PPM of 16 bits": (".ppm", b"P6 8 8 65535\n" + bytes(384)),
        "a TIFF of 16 bits": (".tif", _png(deep, "TIFF")),
        "floats": (".tif", _png(Image.fromarray(some(1)[0, ..., 0].astype(np.float32)), "TIFF")),
        "a GIF": (".gif", _png(grey, "GIF")),
        "a WebP": (".webp", _png(grey, "WEBP")),
        "a JPEG": (".jpg", _png(grey, "JPEG")),
        "a JPEG called PNG": (".png", _png(grey, "JPEG")),
        "CMYK": (".jpg", _png(grey.convert("CMYK"), "JPEG")),
        "frames": (".png", _png(grey, save_all=True, append_images=[grey.rotate(90)])),
    }
    return {**found, **_unreadable()}


def _chunked(width: int, height: int, bits: int = 8, colour: int = 0) -> bytes:
    """A PNG with a head alone, which promises that size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _folder_cases(base: Path) -> Iterator[Case]:
    ways: dict[str, tuple[Make, str]] = {
        "no image": (lambda folder: folder.mkdir(), FOLDER),
        "only text": (lambda folder: (folder.mkdir(), (folder / "a.txt").write_text("")), FOLDER),
        "a pipe among images": (_and(lambda folder: os.mkfifo(folder / "x.png")), "x.png"),
        "a broken link": (_and(lambda folder: (folder / "x.png").symlink_to("nowhere.png")), "x.png"),
        "a link to itself": (_and(lambda folder: (folder / "x.png").symlink_to("x.png")), "x.png"),
        "a folder named as an image": (_and(lambda folder: (folder / "x.png").mkdir()), ".png"),
    }
    prepare = ("data", "prepare", FOLDER, "--resolution=8", "--out=out")
    trained = (
        "run",
        "--plugins=toy",
        "--track=tiny",
        "--device=cpu",
        "--budget=1-steps",
        f"--data=image-folder:{FOLDER}",
    )
    for name, (make, word) in ways.items():
        inside = lambda folder, make=make: make(folder / FOLDER)  # noqa: E731
        if name != "a folder named as an image":  # scoring looks through folders
            yield Case("folder", f"scored: {name}", _scored(FOLDER), (word,), inside)
        yield Case("folder", f"prepared: {name}", prepare, (word,), inside)
        yield Case("folder", f"trained on: {name}", trained, (word,), inside)
    of_classes: dict[str, tuple[Make, str]] = {
        "a file beside classes": (lambda folder: (folder / "x.png").write_bytes(b""), "x.png"),
        "an empty class": (lambda folder: (folder / "empty").mkdir(), "empty"),
        "a folder in a class": (lambda folder: (folder / "fish" / "deep").mkdir(), "deep"),
        "a class without images": (_class_of_text, "texts"),
        "a link to a class in a circle": (lambda folder: (folder / "ring").symlink_to("ring"), "ring"),
        "train beside a class": (lambda folder: [(folder / name).mkdir() for name in ("train", "val")], "fish"),
    }
    for name, (make, word) in of_classes.items():
        filled = partial(_classes_with, base=base, make=make)
        yield Case("folder", f"prepared: {name}", prepare, (word,), filled)
        yield Case("folder", f"trained on: {name}", trained, (word,), filled)


def _and(make: Make) -> Make:
    return lambda folder: (_fill(folder), make(folder))


def _class_of_text(folder: Path) -> None:
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("")


def _classes_with(folder: Path, base: Path, make: Make) -> None:
    for image in (base / "pictures").rglob("*.png"):
        target = folder / FOLDER / image.parent.name / image.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(image, target)
    make(folder / FOLDER)


def _fill(folder: Path) -> None:
    folder.mkdir()
    for number, image in enumerate(some(24)):
        Image.fromarray(image[..., 0]).save(folder / f"{number}.png")


def _folder_with(folder: Path, file: str, content: bytes) -> None:
    _fill(folder / FOLDER)
    (folder / FOLDER / file).write_bytes(content)


def _scored(what: str) -> tuple[str, ...]:
    return ("evaluate", what, "--reference=digits", *_WITH)


def _against(what: str, base: Path) -> tuple[str, ...]:
    return ("evaluate", str(base / "samples.npz"), f"--reference={what}", *_WITH)


def _npz(name: str, content: bytes, as_reference: bool = False) -> Case:
    command = ("evaluate", "good.npz", f"--reference={NPZ}", *_WITH) if as_reference else _scored(NPZ)
    return Case("npz", name, command, (NPZ, "digits"), partial(_write_npz, content=content))


def _reference(name: str, content: bytes, base: Path) -> Case:
    return Case("npz", name, _against(NPZ, base), (NPZ, "mu", "sigma"), partial(_write_npz, content=content))


def _write_npz(folder: Path, content: bytes) -> None:
    (folder / NPZ).write_bytes(content)
    (folder / "good.npz").write_bytes(packed(arr_0=some()))
