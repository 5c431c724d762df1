"""Public rows above the frontier: read as they are, by bounded text of our own, and charged to nobody.

``SELECT s.city, t.n FROM released t JOIN site s ON s.site_id = t.site_id``
→  ``Pair(inner, …, Exact(Scan(site), [site_id, city]), …)``, read by ``SELECT site_id AS e2_0, city AS e2_1 FROM site``

Why this is sound: the policy says that anybody may see these rows, and which of them are read is decided by the text
alone, never by a private row: a relation with a private table below it never becomes one of these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from sqlglot import exp

from gateway.policy.model import Dataset
from gateway.sql.above.outer import Placed
from gateway.sql.algebra import Call, Ref, Relation, Release, Scalar, feeds, type_of
from gateway.sql.inference.facts import facts, tables_read
from gateway.sql.planning.plan import PublicRead
from gateway.sql.refusals import refuse
from gateway.sql.scalars.resolve import Context, Source
from gateway.sql.tables import Exact, Listed, Public, Query, Shown
from gateway.sql.writing.render import identifier
from gateway.sql.writing.rows import rows


def exact(relation: Relation, source: Source, context: Context) -> Placed:
    """Return public rows as an item of FROM above the frontier."""
    about = facts(relation, context.dataset)
    if about.private:
        raise AssertionError("private rows are no public ones")
    if any(True for _ in feeds(relation)):
        # These are read as they are, before anything is released.
        refuse(
            "subquery-unsupported", source.alias, message="Released values stand above the rows that they are met by."
        )
    at = context.number(source.alias)
    # Decimals are doubles above the frontier (``_plain``).
    names = {
        ref.name: Ref(f"e{at}_{index}", "float" if ref.kind == "decimal" else ref.kind)
        for index, (_, ref) in enumerate(source.columns)
    }
    old = {ref.name: ref for _, ref in source.columns}
    columns = tuple((new.name, old[name]) for name, new in names.items())
    shown = {
        new.name: Shown(type_of(new.kind), "public", 0 if new.kind == "integer" else None)
        for name, new in names.items()
    }
    as_seen = tuple((name, names[ref.name]) for name, ref in source.columns)
    return Placed(Listed(Exact(relation, columns), as_seen, shown), dataclasses.replace(source, columns=as_seen))


def listed(relation: Relation, columns: tuple[tuple[str, Ref], ...], context: Context) -> Listed:
    """Return a query of public rows as a table above the frontier."""
    return exact(relation, Source(exp.to_identifier("q"), columns), context).listed


def pruned(query: Query) -> Query:
    """Return a query that reads of public rows only the columns that it uses."""
    used = set(_used(query.table)) | {column.column for column in query.columns}

    def kept(value: Any) -> Any:
        match value:
            case Exact(source, columns):
                return Exact(source, tuple((name, ref) for name, ref in columns if name in used))
            case tuple():
                return tuple(kept(part) for part in value)
            case Release() | Ref() | Call():
                return value
            case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
                changed = {f.name: kept(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
                return dataclasses.replace(value, **changed)
            case _:
                return value

    table: Public = kept(query.table)
    return dataclasses.replace(query, table=table)


def _used(value: Any) -> Iterator[str]:
    """Yield the names of all columns that something refers to above releases and public rows."""
    match value:
        case Ref(name):
            yield name
        case tuple():
            for part in value:
                yield from _used(part)
        case Release() | Exact():
            return
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            for field in dataclasses.fields(value):
                yield from _used(getattr(value, field.name))


def read(found: Exact, dataset: Dataset, most: int | None = None, *, distinct: bool = False) -> PublicRead:
    """Return the statement that reads public rows, or the different ones, at most so many and one, so that more than
    those are noticed.
    """
    below = rows(found.source, dataset)
    written = [f"{below.write(_plain(ref), dataset.dialect)} AS {identifier(name)}" for name, ref in found.columns]
    limit = "" if most is None else f" LIMIT {most + 1}"
    select = "SELECT DISTINCT" if distinct else "SELECT"
    text = f"{select} {', '.join(written) or '1 AS one'} FROM {below.source}{below.condition}{limit}"
    return PublicRead(text, tables_read(found.source, dataset))


def ends(found: Exact, dataset: Dataset) -> PublicRead:
    """Return the statement that reads between which ends each column of public rows lies."""
    below = read(found, dataset)
    asked = ", ".join(f"MIN({name}) AS low_{name}, MAX({name}) AS high_{name}" for name, _ in found.columns)
    return dataclasses.replace(below, sql=f"SELECT {asked} FROM ({below.sql}) AS q")


def _plain(ref: Ref) -> Scalar:
    """Return a column as it is computed with above the frontier, where decimals are doubles."""
    return Call("to_float", (ref,), "float") if ref.kind == "decimal" else ref
