"""Tables described for machines: MLCommons' Croissant 1.1, JSON-LD beside the files that it is of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .citation import Author, Citation
from .frames import Field, Kind, Table

FILE_NAME = "croissant.json"
_VERSION = "http://mlcommons.org/croissant/1.1"
_TYPES: dict[Kind, str] = {
    "text": "sc:Text",
    "whole": "sc:Integer",
    "number": "sc:Float",
    "flag": "sc:Boolean",
    "time": "sc:DateTime",
}
_OF_CROISSANT = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty",
    "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5", "parentField",
    "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator", "source",
    "subField", "transform",
)  # fmt: skip
_CONTEXT: dict[str, Any] = {  # as the specification has it
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{word: f"cr:{word}" for word in _OF_CROISSANT},
}


def croissant(tables: Sequence[Table], files: Mapping[str, tuple[str, int]], about: Citation, published: str) -> str:
    """The description of tables in CSV: `files` has of each its sha256 and its size in bytes.

    `published` is a date, as 2026-12-01. The same arguments give the same text.
    """
    content = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": _VERSION,
        "name": "ditbench-leaderboard",
        "description": f"Records and ranked rows of {about.title}. Numbers are unrounded, in plain units.",
        "version": about.version,
        "license": f"https://spdx.org/licenses/{about.license}.html",
        "creator": [_creator(author) for author in about.authors],
        "keywords": list(about.keywords),
        "datePublished": published,
        "citeAs": f"{'; '.join(author.told for author in about.authors)}: {about.title}, version {about.version}.",
        **({"url": about.address} if about.address else {}),
        "distribution": [_file(table, *files[f"{table.name}.csv"]) for table in tables],
        "recordSet": [_records(table) for table in tables],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _creator(author: Author) -> dict[str, str]:
    return {"@type": "sc:Organization" if author.is_group else "sc:Person", "name": author.told}


def _file(table: Table, sha256: str, size: int) -> dict[str, Any]:
    name = f"{table.name}.csv"
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": table.says,
        "contentUrl": name,
        "contentSize": f"{size} B",
        "encodingFormat": "text/csv",
        "sha256": sha256,
    }


def _records(table: Table) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": table.name,
        "name": table.name,
        "description": table.says,
        "key": [{"@id": f"{table.name}/{name}"} for name in table.key],
        "field": [_field(table, field) for field in table.fields],
    }


def _field(table: Table, field: Field[Any]) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{table.name}/{field.name}",
        "name": field.name,
        "description": field.says,
        "dataType": _TYPES[field.kind],
        "source": {"fileObject": {"@id": f"{table.name}.csv"}, "extract": {"column": field.name}},
    }
