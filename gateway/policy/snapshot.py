"""A policy and the catalogue that it was resolved against, as canonical JSON texts for the control database.

From the two a dataset is rebuilt without touching the engine: by the same ``resolve`` that ``apply`` ran, so that a
rule added later also judges policies stored earlier.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from gateway.policy.document import Document, check
from gateway.policy.model import NO_LISTINGS, Ends, ForeignKey, Listing, Listings, Physical, TableShape

FORMAT = 1


def document_to_json(document: Document) -> str:
    """Return the canonical text of a document: equal ones give equal texts; decimals and dates stand as strings."""
    return _dump({"format": FORMAT, "document": document.model_dump(mode="python", exclude_none=True)})


def document_from_json(text: str) -> Document:
    """Return the document of such a text; ``ValueError`` if it is none, ``PolicyInvalid`` if its form is refused."""
    return check(_read(text)["document"])


def shapes_to_json(shapes: Mapping[str, TableShape], listings: Listings = NO_LISTINGS) -> str:
    """Return the canonical text of catalogue entries, and of what public tables held."""
    beside: dict[str, dict[str, list[object]]] = {}
    for name in sorted(listings):
        for each in listings[name]:
            if isinstance(each, Listing):
                beside.setdefault("listings", {}).setdefault(name, []).append([each.columns, each.rows])
            else:
                beside.setdefault("ends", {}).setdefault(name, []).append([each.column, each.lower, each.upper])
    return _dump({"format": FORMAT, "shapes": {name: _shape(shapes[name]) for name in sorted(shapes)}, **beside})


def shapes_from_json(text: str) -> Mapping[str, TableShape]:
    """Return the catalogue entries of such a text; ``ValueError`` if it is none."""
    return {name: _read_shape(shape) for name, shape in _read(text)["shapes"].items()}


def listings_from_json(text: str) -> Listings:
    """Return what public tables held when such a text was written; ``ValueError`` if it is none."""
    content = _read(text)
    shapes = {name: _read_shape(shape) for name, shape in content["shapes"].items()}
    lists, ends = content.get("listings", {}), content.get("ends", {})
    return {
        name: (
            *(_read_listing(columns, rows, shapes[name]) for columns, rows in lists.get(name, ())),
            *(Ends(column, _read_end(low), _read_end(high)) for column, low, high in ends.get(name, ())),
        )
        for name in sorted({*lists, *ends})
    }


def _read_end(text: str) -> Fraction | date:
    """Return an end: a number as a whole one or a quotient, a date, or a timestamp, which has a time."""
    if re.fullmatch(r"-?[0-9]+(/[0-9]+)?", text):
        return Fraction(text)
    return datetime.fromisoformat(text) if "T" in text else date.fromisoformat(text)


def _read_listing(columns: list[str], rows: list[list[Any]], shape: TableShape) -> Listing:
    dates = [(physical := shape.physical(name)) is not None and physical.kind == "date" for name in columns]
    return Listing(
        tuple(columns),
        tuple(
            tuple(
                date.fromisoformat(value) if dated and value is not None else value
                for value, dated in zip(row, dates, strict=True)
            )
            for row in rows
        ),
    )


def _dump(content: object) -> str:
    return json.dumps(content, default=_plain, ensure_ascii=False, separators=(",", ":"))


def _read(text: str) -> dict[str, Any]:
    content = json.loads(text)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"not a policy snapshot of format {FORMAT}")
    return content


def _plain(value: object) -> str:
    # strings are what typed() reads exactly, by the type that the column declares
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Fraction):
        return str(value)
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
        "view": shape.view,
    }


def _read_shape(content: dict[str, Any]) -> TableShape:
    return TableShape(
        tuple((name, physical and Physical(*physical), not_null) for name, physical, not_null in content["columns"]),
        frozenset(frozenset(key) for key in content["unique"]),
        frozenset(ForeignKey(tuple(here), table, tuple(there)) for here, table, there in content["foreign_keys"]),
        content["view"],
    )
