"""A policy and the catalogue that it was resolved against, as one canonical JSON text for the control database.

From the text a dataset is rebuilt without touching the engine: by the same ``resolve`` that ``apply`` ran, so that a
rule added later also judges policies stored earlier.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from gateway.policy.document import Document, check
from gateway.policy.model import Dataset, ForeignKey, Physical, TableShape
from gateway.policy.resolve import resolve

FORMAT = 1


def to_json(document: Document, shapes: Mapping[str, TableShape]) -> str:
    """Return the canonical text: equal documents and shapes give equal texts; numbers and dates stand as strings."""
    content = {
        "format": FORMAT,
        "document": document.model_dump(mode="python", exclude_none=True),
        "shapes": {name: _shape(shape) for name, shape in shapes.items() if name in document.tables},
    }
    return json.dumps(content, default=_plain, ensure_ascii=False, separators=(",", ":"))


def from_json(text: str) -> tuple[Document, Mapping[str, TableShape]]:
    """Return what ``to_json`` was given; ``ValueError`` if the text is not one of its."""
    content = json.loads(text)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"not a policy snapshot of format {FORMAT}")
    shapes = {name: _read_shape(shape) for name, shape in content["shapes"].items()}
    return check(content["document"]), shapes


def rebuild(text: str, dialect: Literal["duckdb", "postgres"], version: int, data_version: int = 1) -> Dataset:
    """Return the dataset of a snapshot; ``PolicyInvalid`` if today's rules refuse it."""
    document, shapes = from_json(text)
    return resolve(document, shapes, dialect, version, data_version)


def _plain(value: object) -> str:
    # strings are what typed() reads exactly, by the type that the column declares
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a policy")


def _shape(shape: TableShape) -> dict[str, Any]:
    return {
        "columns": [
            [name, physical and [physical.kind, physical.name, physical.scale, physical.exact], not_null]
            for name, physical, not_null in shape.columns
        ],
        "unique": sorted(sorted(key) for key in shape.unique),
        "foreign_keys": sorted([list(key.columns), key.table, list(key.keys)] for key in shape.foreign_keys),
    }


def _read_shape(content: dict[str, Any]) -> TableShape:
    return TableShape(
        tuple((name, physical and Physical(*physical), not_null) for name, physical, not_null in content["columns"]),
        frozenset(frozenset(key) for key in content["unique"]),
        frozenset(ForeignKey(tuple(here), table, tuple(there)) for here, table, there in content["foreign_keys"]),
    )
