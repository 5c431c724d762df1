"""Write the statements that copy a declared table into a prepared dataset: owned, canonical, cut, clustered, checked.

``visit`` of at most 40 rows a unit, owned through ``person`` →
``CREATE TABLE copy.visit (cost DOUBLE, discreet_owner BIGINT NOT NULL, discreet_rank BIGINT NOT NULL CHECK (…), …)``
``INSERT INTO copy.visit SELECT c0, o, r FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY o ORDER BY md5(…), c0) AS r
FROM (SELECT t0.cost AS c0, t0_1.person_id AS o FROM visit AS t0 JOIN person AS t0_1 ON … WHERE … IS NOT NULL))
WHERE r <= 40 ORDER BY o, r``

Why this is sound: the rows are those of the scan, each with the owner that it has there. Which of them an owner keeps
is decided by a rank among the owner's own rows, by a keyed hash of a row's content and, where two hashes are the same,
by the content itself; rows that still tie are identical, and as many of them are kept whichever an engine takes first.
So the kept rows are a function of the owner's own rows and the key, whatever other people's rows are, and whatever the
order in which an engine finds them.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.policy.model import Column, Dataset, Dialect, Table
from gateway.policy.prepared import Layout
from gateway.sql.algebra import Scan
from gateway.sql.inference.facts import owner_name
from gateway.sql.writing.dialects.registry import writer
from gateway.sql.writing.rows import Rows, rows

DIALECTS: tuple[Dialect, ...] = ("duckdb", "postgres")
"""The engines of which a copy can be made: those with a place of their own for it."""


@dataclass(frozen=True, slots=True)
class Copying:
    """What makes one table's copy: statements in their order, and queries for its report.

    ``owned`` counts the rows at the source that have an owner, once for each that they have; ``kept`` those of the copy
    and ``owners`` its owners.
    """

    statements: tuple[str, ...]
    owned: str
    kept: str
    owners: str | None


def copying(table: Table, layout: Layout, dataset: Dataset, target: str, key: str) -> Copying:
    """Return what copies a table into the schema ``target`` (as it is written), rows being chosen under a secret key.

    The statements run where unqualified names are the source's tables.
    """
    dialect = dataset.dialect
    place = f"{target}.{writer(dialect).identifier(table.name)}"
    scan = Scan(table.name, 0)
    found = rows(scan, dataset)
    create, constraints = _created(table, layout, dataset, place)
    statements = [create, _filled(scan, found, table, layout, dialect, place, key), *constraints]
    owners = None if layout.owner is None else writer(dialect).identifier(layout.owner)
    return Copying(
        tuple(statements),
        f"SELECT COUNT(*) FROM {found.source}{found.condition}",
        f"SELECT COUNT(*) FROM {place}",
        None if owners is None else f"SELECT COUNT(DISTINCT {owners}) FROM {place}",
    )


def _created(table: Table, layout: Layout, dataset: Dataset, place: str) -> tuple[str, list[str]]:
    """Return the statement that makes the empty table, and those that add keys once it is full.

    DuckDB adds a primary key to a table in a fraction of the time that it takes row by row, and no other key.
    """
    dialect, write = dataset.dialect, writer(dataset.dialect)
    columns = [*table.columns, *_added(table, layout, dataset)]
    lines = []
    for column in columns:
        required = " NOT NULL" if column.name in layout.required else ""
        lines.append(f"{write.identifier(column.name)} {_type(column, dialect)}{required}")
    if layout.rank is not None:
        rank = write.identifier(layout.rank)
        lines.append(f"{rank} BIGINT NOT NULL CHECK ({rank} BETWEEN 1 AND {layout.most})")
    sets = [f"({', '.join(map(write.identifier, found))})" for found in layout.unique]
    later = []
    if layout.primary is not None:
        later.append(f"ALTER TABLE {place} ADD PRIMARY KEY ({', '.join(map(write.identifier, layout.primary))})")
    if dialect == "postgres":
        later += [f"ALTER TABLE {place} ADD UNIQUE {found}" for found in sets]
    else:
        lines += [f"UNIQUE {found}" for found in sets]
    return f"CREATE TABLE {place} ({', '.join(lines)})", later


def _added(table: Table, layout: Layout, dataset: Dataset) -> list[Column]:
    if not layout.added or layout.owner is None:
        return []
    return [Column(layout.owner, "integer", dataset.owner_column(table).physical)]


def _type(column: Column, dialect: Dialect) -> str:
    """Return the type that holds a column's canonical values: the source's own, but for floats and texts."""
    write = writer(dialect)
    match column.physical.kind:
        case "float":
            return write.types["float"]
        case "text":
            return 'TEXT COLLATE "C"' if dialect == "postgres" else write.types["text"]
        case _:
            return column.physical.name


def _filled(scan: Scan, found: Rows, table: Table, layout: Layout, dialect: Dialect, place: str, key: str) -> str:
    """Return the statement that fills a table: one owner's rows beside each other."""
    names = [f"c{index}" for index, _ in enumerate(table.columns)]
    canonical = [found.columns[scan.name(column.name)] for column in table.columns]
    selected = [f"{written} AS {name}" for name, written in zip(names, canonical, strict=True)]
    kept = [*names]
    if layout.owner is None:
        return f"INSERT INTO {place} SELECT {', '.join(selected)} FROM {found.source}{found.condition}"
    selected.append(f"{found.columns[owner_name(scan)]} AS o")
    kept += ["o"] if layout.added else []
    source = f"(SELECT {', '.join(selected)} FROM {found.source}{found.condition}) AS discreet_s"
    if not layout.cut:
        return f"INSERT INTO {place} SELECT {', '.join(kept)} FROM {source} ORDER BY o"
    order = ", ".join([writer(dialect).lot(key, ("o", *names)), *names])
    ranked = f"SELECT *, ROW_NUMBER() OVER (PARTITION BY o ORDER BY {order}) AS r FROM {source}"
    kept += ["r"] if layout.rank is not None else []
    return (
        f"INSERT INTO {place} SELECT {', '.join(kept)} FROM ({ranked}) AS discreet_k "
        f"WHERE r <= {layout.most} ORDER BY o, r"
    )


def key_check(table: Table, dataset: Dataset) -> str | None:
    """Return a query that gives 1 if the declared key of a public table holds each value once, and else 0.

    Why its answer may be a fact: the table is public, and the copy enforces it.
    """
    if not table.public or table.key is None:
        return None
    found = rows(Scan(table.name, 0), dataset)
    key = found.columns[Scan(table.name, 0).name(table.key)]
    return f"SELECT CASE WHEN COUNT({key}) = COUNT(DISTINCT {key}) THEN 1 ELSE 0 END FROM {found.source}"


def readable(table: Table, dataset: Dataset) -> str:
    """Return a query for no rows, which a role may run if it may read every column of the source that is copied."""
    write = writer(dataset.dialect)
    columns = ", ".join(write.identifier(column.name) for column in table.columns)
    return f"SELECT {columns} FROM {write.identifier(table.name)} WHERE FALSE"


def count(table: Table, dataset: Dataset) -> str:
    """Return a query for the number of rows at the source, whosever they are."""
    return f"SELECT COUNT(*) FROM {writer(dataset.dialect).identifier(table.name)}"


TEXT_BYTES = 32
"""What a text is taken to need: what it really does is in the data."""


def row_bytes(table: Table, layout: Layout) -> int:
    """Return about how many bytes one row of a copy takes, from the declared columns alone."""
    widths = [TEXT_BYTES if column.physical.kind == "text" else 8 for column in table.columns]
    added = 8 * (layout.added + (layout.rank is not None)) + 24 * (len(layout.unique) + (layout.primary is not None))
    return sum(widths) + added
