"""A leaderboard as one file, for Zenodo or a supplement: its records, all that they need, and the tables made of them.

Whoever unpacks it makes the tables again, byte for byte, without a network.
"""

from __future__ import annotations

import hashlib
import html
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..discovery import version
from ..errors import BadFile
from ..records.files import (
    CURVE_SUFFIXES,
    RECORDS,
    SAMPLES,
    STUDIES,
    VERIFICATION_SUFFIXES,
    json_files,
    profile_files_beside,
)
from ..storage.files import is_file, write_atomically
from ..storage.reading import read_bytes
from .boards import Board
from .citation import FILE_NAME, Author, Citation
from .remarks import REMARKS_FILE
from .reported import FILE_NAME as REPORTED_FILE

TOP, INSIDE = "ditbench-leaderboard", "leaderboard"  # folders of the archive: all of it, and the leaderboard in it
SUMS = "SHA256SUMS"
_LARGEST = 2**26  # bytes of a file
_THEN = (1980, 1, 1, 0, 0, 0)  # of every file: the oldest that a ZIP knows
_MODE = 0o100644 << 16
_BESIDE = (*CURVE_SUFFIXES, *VERIFICATION_SUFFIXES)


@dataclass(frozen=True)
class Archived:
    """What an archive holds."""

    files: int
    unpacked: int  # bytes
    packed: int  # bytes


def write_archive(
    leaderboard: Path, out: Path, boards: Sequence[Board], tables: Mapping[str, str], citation: Path, about: Citation
) -> Archived:
    """Write the archive of these boards, or of all, whole or not at all: the same files give the same bytes.

    `tables` are the boards' files by their names. `BadFile` if a record is not called as the leaderboard's are, or if
    a file is a link that leads out of it.
    """
    files: dict[str, Path | bytes] = {
        **{f"{INSIDE}/{path.relative_to(leaderboard).as_posix()}": path for path in _files(leaderboard, boards)},
        **{f"{INSIDE}/{name}": text.encode() for name, text in tables.items()},
        **_about(boards, about),
    }
    licence = citation.with_name("LICENSE")
    if is_file(licence):
        files["LICENSE"] = licence
    sizes: list[int] = []
    write_atomically(out, lambda temporary: sizes.extend(_pack(files, temporary)))
    return Archived(len(sizes), sum(sizes), out.stat().st_size)


def _pack(files: Mapping[str, Path | bytes], out: Path) -> Iterator[int]:
    """Write them in order, and their sums at the end; the size of each."""
    sums = []
    with zipfile.ZipFile(out, "w") as archive:
        for name, of in sorted(files.items()):
            content = of if isinstance(of, bytes) else read_bytes(of, "file of the leaderboard", _LARGEST)
            sums.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
            yield _add(archive, name, content)
        yield _add(archive, SUMS, "".join(sums).encode())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> int:
    entry = zipfile.ZipInfo(f"{TOP}/{name}", _THEN)
    entry.external_attr, entry.create_system = _MODE, 3
    packed = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED  # a PNG is packed already
    archive.writestr(entry, content, packed, 9)
    return len(content)


def _files(leaderboard: Path, boards: Sequence[Board]) -> Iterator[Path]:
    """Of a leaderboard's folder all that these boards are made of."""
    runs = {record.run_id for board in boards for record in board.records}
    found = [path for path in json_files(leaderboard / RECORDS) if _run_of(path) in runs]
    missing = runs - {path.stem for path in found}
    if missing:
        raise BadFile(
            f"The record of {min(missing)!r} is not called RUN-ID.json in {str(leaderboard / RECORDS)!r}: "
            "`ditbench records submit` puts it there."
        )
    grids = (path for path in sorted((leaderboard / SAMPLES).glob("*/*.png")) if path.stem in runs)
    others = (leaderboard / name for name in (REMARKS_FILE, REPORTED_FILE))
    studies = sorted((leaderboard / STUDIES).glob("*.json"))
    beside = profile_files_beside(leaderboard / RECORDS)
    for path in (*found, *grids, *beside, *studies, *filter(is_file, others)):
        if not path.resolve().is_relative_to(leaderboard.resolve()):
            raise BadFile(f"{str(path)!r} is a link that leads out of the leaderboard: put the file itself there.")
        yield path


def _run_of(path: Path) -> str:
    """The run that a file among the records is of, by its name."""
    suffix = next((suffix for suffix in _BESIDE if path.name.endswith(suffix)), ".json")
    return path.name.removesuffix(suffix)


def _about(boards: Sequence[Board], about: Citation) -> dict[str, bytes]:
    """What the archive says of itself: for readers, for Zenodo and for whoever cites it."""
    title = f"Records and leaderboard of {about.title}"
    if len(boards) == 1:
        title = f"{title} ({boards[0].title})"
    return {
        "README.md": _readme(boards, about, title).encode(),
        ".zenodo.json": _zenodo(boards, about, title).encode(),
        FILE_NAME: _cff(about, title).encode(),
    }


def _contents(boards: Sequence[Board]) -> list[str]:
    return [
        f"{board.title} (track hash {board.protocol.track_hash}): "
        f"{_count(board.rows, 'row')}, {_count(board.records, 'run')}"
        for board in boards
    ]


def _count(things: Sequence[object], thing: str) -> str:
    return f"{len(things)} {thing}{'' if len(things) == 1 else 's'}"


def _readme(boards: Sequence[Board], about: Citation, title: str) -> str:
    listed = "\n".join(f"- {line}" for line in _contents(boards))
    return f"""# {title}

Version {about.version}, by {"; ".join(author.told for author in about.authors)}. Licence: {about.license}.

{listed}

- `leaderboard/README.md` has the tables; `leaderboard.csv`, `.json`, `.tex` and `curves.csv` beside it the same for
  programs.
- `leaderboard/records` has a record of each run, as JSON: raw numbers, hashes, versions, machine. `samples` has a grid
  of samples of each, `profiles` speeds that were measured alone, `studies` studies of scale.
- `leaderboard/reported.toml` has what papers print. It was not measured here, and enters no rank.

## Check it, and make the tables again

With Python 3.11 or newer; after the installation nothing needs a network:

```sh
pip install ditbench=={version("ditbench")}
sha256sum --check {SUMS}
ditbench records validate leaderboard/records
ditbench leaderboard build leaderboard/records --out leaderboard --check
```

The last line says whether the tables are, byte for byte, what the records give. Without `--check` it writes them, and a
site. `{FILE_NAME}` says how to cite this; `.zenodo.json` is the same for Zenodo.
"""


def _zenodo(boards: Sequence[Board], about: Citation, title: str) -> str:
    listed = "".join(f"<li>{html.escape(line)}</li>" for line in _contents(boards))
    content = {
        "title": title,
        "upload_type": "dataset",
        "description": f"<p>Records of training runs, and the tables that follow from them:</p><ul>{listed}</ul>"
        f"<p>README.md says how to check them and how to make the tables again.</p>",
        "creators": [_creator(author) for author in about.authors],
        "license": about.license.lower(),
        "version": about.version,
        "access_right": "open",
        "language": "eng",
        "keywords": list(about.keywords),
        **({"related_identifiers": [_software(about.address)]} if about.address else {}),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _creator(author: Author) -> dict[str, str]:
    orcid = author.orcid.removeprefix("https://orcid.org/") if author.orcid else None
    return {key: of for key, of in (("name", author.told), ("affiliation", author.affiliation), ("orcid", orcid)) if of}


def _software(address: str) -> dict[str, str]:
    return {"relation": "isCompiledBy", "identifier": address, "scheme": "url", "resource_type": "software"}


def _cff(about: Citation, title: str) -> str:
    where = {"url": about.address} if about.address else {}
    software = {"type": "software", "title": about.title, "version": about.version, "authors": _people(about), **where}
    content: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": "If you use these records or tables, please cite them, with the track's hash and the metric's name.",
        "title": title,
        "type": "dataset",
        "version": about.version,
        "license": about.license,
        "authors": _people(about),
        **({"keywords": list(about.keywords)} if about.keywords else {}),
        "references": [software],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)


def _people(about: Citation) -> list[dict[str, Any]]:
    return [author.model_dump(by_alias=True, exclude_none=True) for author in about.authors]
