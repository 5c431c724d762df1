"""The ledger as a file: CSV, JSON lines or Parquet, one row a fact, in the order of the chains.

The columns are those of all kinds of facts together, exact integers as they are stored (epsilon 1e-9, rho 1e-12, delta
1e-18, times in microseconds since 1970), bytes in hexadecimal. A payload stands as its SHA-256, which is what the
hash covers: what was answered stays in the control database.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal, TextIO, TypeAlias

from sqlalchemy import BigInteger, Boolean, Connection, select

from budget import schema
from budget.entries import Rest, datasets, pages

Format: TypeAlias = Literal["csv", "jsonl", "parquet"]
FORMATS: Final[tuple[Format, ...]] = ("csv", "jsonl", "parquet")

_PAGE: Final = 10_000
_KIND: Final = "kind"
_PAYLOAD: Final = {"digest": "payload_sha256"}


def columns() -> dict[str, Literal["integer", "flag", "text"]]:
    """Return the columns of an export and their types: the place, the kind, then all that any kind of fact says."""
    found: dict[str, Literal["integer", "flag", "text"]] = {}
    for table in schema.FACTS.values():
        for column in table.columns:
            numeric = isinstance(column.type, BigInteger)
            flag = isinstance(column.type, Boolean)
            name = _PAYLOAD.get(column.name, column.name)
            found.setdefault(name, "flag" if flag else "integer" if numeric else "text")
    place = ("dataset", "seq", "at", "hash")
    rest = {name: type_ for name, type_ in found.items() if name not in place}
    return {**{name: found[name] for name in place}, _KIND: "text", **rest}


def rows(conn: Connection, names: Sequence[str], rest: Rest | None = None) -> Iterator[dict[str, Any]]:
    """Yield each fact as a mapping of the columns that are not NULL."""
    for dataset in names:
        last = conn.execute(select(schema.head.c.seq).where(schema.head.c.dataset == dataset)).scalar_one_or_none()
        for _, kind, row in chain.from_iterable(pages(conn, dataset, last or 0, rest)):
            said = dict(zip(schema.FACTS[kind].columns.keys(), row, strict=True))
            yield {_KIND: kind} | {
                _PAYLOAD.get(name, name): _plain(schema.FACTS[kind].c[name].type, value)
                for name, value in said.items()
                if value is not None
            }


def write(conn: Connection, path: Path, form: Format, dataset: str | None = None, rest: Rest | None = None) -> int:
    """Write the ledger, or one dataset's, to a new file and return the number of facts; ``FileExistsError``.

    The file is its owner's alone: who asked what, and when, is nobody else's business.
    """
    names = datasets(conn) if dataset is None else [dataset]
    path.touch(mode=0o600, exist_ok=False)
    found = rows(conn, names, rest)
    if form == "parquet":
        return _parquet(found, path)
    with path.open("w", encoding="utf-8", newline="") as file:
        return _csv(found, file) if form == "csv" else _lines(found, file)


def _plain(type_: object, value: Any) -> Any:
    if isinstance(type_, Boolean):
        return bool(value)
    return value if isinstance(value, int | str) else bytes(value).hex()


def _lines(found: Iterator[dict[str, Any]], file: TextIO) -> int:
    count = 0
    order = list(columns())
    for row in found:
        json.dump({name: row[name] for name in order if name in row}, file, ensure_ascii=False)
        file.write("\n")
        count += 1
    return count


def _csv(found: Iterator[dict[str, Any]], file: TextIO) -> int:
    count = 0
    writer = csv.DictWriter(file, list(columns()), restval="")
    writer.writeheader()
    for row in found:
        writer.writerow({name: _cell(value) for name, value in row.items()})
        count += 1
    return count


def _cell(value: Any) -> Any:
    """Return a value for a spreadsheet: text that it would take for a formula is quoted, as OWASP advises."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return int(value) if isinstance(value, bool) else value


def _parquet(found: Iterator[dict[str, Any]], path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types: dict[str, pa.DataType] = {"integer": pa.int64(), "flag": pa.bool_(), "text": pa.string()}
    shape = pa.schema([(name, types[type_]) for name, type_ in columns().items()])
    count, page = 0, []
    with pq.ParquetWriter(path, shape) as writer:
        for row in found:
            page.append(row)
            count += 1
            if len(page) == _PAGE:
                writer.write_table(pa.Table.from_pylist(page, schema=shape))
                page = []
        writer.write_table(pa.Table.from_pylist(page, schema=shape))
    return count
