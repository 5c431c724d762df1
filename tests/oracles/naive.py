"""The second implementation: plain Python over the rows, SQLite for conditions and formulas, Discreet's semantics.

It shares no code with the gateway. Sums are exact fractions; SQLite sees them as the doubles that they are, as the
noisy table has them. Undefined arithmetic is NULL, SUM over nothing 0, AVG over nothing the middle of the bounds.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from random import Random

from gateway.policy.model import Dialect
from tests.oracles import spreads
from tests.oracles.questions import Aggregated, Asked
from tests.oracles.worlds import Data, Datum, Row, Tab, World, generate, quoted, unit_of

Group = tuple[object, ...]


def clean(world: World, random: Random, size: int) -> Data:
    """Rows that keep to the policy: bounds, categories, known owners, and no more rows of a unit than declared."""
    data = generate(world, random, size, dirty=False)
    kept: Data = {}
    for table in world.tables:
        kept[table.name] = []
        seen: dict[object, int] = {}
        key = table.index("visit_id") if table.name == "visit" else None
        used: set[object] = set()
        for row in data[table.name]:
            owner = frozenset({len(used)}) if table.owner is None else unit_of(table, row, {**data, **kept}, world)
            if len(owner) != 1 or (key is not None and row[key] in used):
                continue
            used.add(len(used) if key is None else row[key])
            [unit] = owner
            seen[unit] = seen.get(unit, 0) + 1
            if seen[unit] <= most_rows(table):
                kept[table.name].append(row)
    return kept


def most_rows(table: Tab) -> int:
    found = re.search(r"max_rows_per_unit: (\d+)", table.policy)
    return int(found[1]) if found else 10**6 if table.name == "log" else 1


def answer(
    asked: Asked, world: World, data: Data, public: Sequence[Sequence[object]] | None, dialect: Dialect
) -> list[tuple[object, ...]]:
    """Return the rows of the answer; ``public`` are the groups that are drawn for, None where keys are private."""
    table = world.table(asked.table)
    groups = _grouped(asked, table, _filtered(asked, table, data[table.name]))
    if public is not None:
        listed = [tuple(map(comparable, group)) for group in public]
        strange = groups.keys() - set(listed)
        assert not strange, f"{strange} are not among the public groups"
        ordered = listed
    else:
        ordered = sorted(groups, key=lambda group: [(value is None, value) for value in group])
    rows = [
        (group, [_value(aggregate, table, groups.get(group, [])) for aggregate in asked.aggregates])
        for group in ordered
    ]
    return _above(asked, rows, dialect)


def comparable(value: object) -> object:
    if isinstance(value, float):
        return None if math.isnan(value) else Fraction(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return value
    return Fraction(value)


def _plain(value: Datum) -> object:
    """A value as SQLite holds it: numbers as numbers, moments as text that sorts."""
    match value:
        case bool():
            return int(value)
        case Decimal():
            return int(value) if value == int(value) and abs(value) < 2**63 else float(value)
        case datetime():
            return value.isoformat(" ", "microseconds")
        case date():
            return value.isoformat()
        case _:
            return value


_MOMENTS = {
    "'2020-01-02 12:30:15.25'": "'2020-01-02 12:30:15.250000'",
    "TIMESTAMP '2020-01-03 00:00:00'": "'2020-01-03 00:00:00.000000'",
}


def _filtered(asked: Asked, table: Tab, rows: list[Row]) -> list[Row]:
    if asked.where is None:
        return rows
    where = asked.where
    for theirs, ours in _MOMENTS.items():
        where = where.replace(theirs, ours)
    where = where.replace("DATE '", "'")
    columns = ", ".join(quoted(col.name) for col in table.cols)
    with sqlite3.connect(":memory:") as connection:
        connection.execute(f"CREATE TABLE t (nr, {columns})")
        marks = ", ".join("?" * (len(table.cols) + 1))
        connection.executemany(
            f"INSERT INTO t VALUES ({marks})", [(nr, *map(_plain, row)) for nr, row in enumerate(rows)]
        )
        found = connection.execute(f"SELECT nr FROM t WHERE {where}").fetchall()
    connection.close()
    return [rows[nr] for (nr,) in found]


def _grouped(asked: Asked, table: Tab, rows: list[Row]) -> dict[Group, list[Row]]:
    at = [table.index(key) for key in asked.keys]
    groups: dict[Group, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(comparable(row[index]) for index in at), []).append(row)
    return groups if at else {(): rows}


def _value(aggregate: Aggregated, table: Tab, rows: list[Row]) -> float:
    if aggregate.column is None:
        return float(len(rows))
    col = table.cols[table.index(aggregate.column)]
    values = [row[table.index(aggregate.column)] for row in rows]
    present = [comparable(value) for value in values if value is not None]
    if aggregate.function in spreads.FUNCTIONS:
        return _spread(aggregate, table, rows)
    match aggregate.function:
        case "COUNT":
            return float(len(present))
        case "DISTINCT":
            return float(len(set(present)))
        case "SUM":
            return float(sum(_number(value) for value in present))
        case "AVG":
            if present:
                return float(sum(map(_number, present)) / len(present))
            lower, upper = spreads.ends(col)
            return float((lower + upper) / 2)
        case "MIN" | "MAX" | "MEDIAN" | "QUANTILE":
            return float(quantile(aggregate, table, rows)[0])
    raise AssertionError(aggregate.function)


FRACTIONS = {"MIN": Fraction(0), "MEDIAN": Fraction(1, 2), "QUANTILE": Fraction(9, 10), "MAX": Fraction(1)}


def quantile(aggregate: Aggregated, table: Tab, rows: list[Row]) -> tuple[Fraction, Fraction]:
    """The least and the greatest value that is such a quantile of the rows; over nothing any value is."""
    col = table.cols[table.index(str(aggregate.column))]
    found = [row[table.index(col.name)] for row in rows]
    values = sorted(_number(comparable(value)) for value in found if value is not None)
    if not values:
        return spreads.ends(col)
    rank = FRACTIONS[aggregate.function] * len(values)
    return values[max(math.ceil(rank), 1) - 1], values[min(math.floor(rank), len(values) - 1)]


def groups(asked: Asked, world: World, data: Data) -> dict[Group, list[Row]]:
    """The rows that count, by group."""
    table = world.table(asked.table)
    return _grouped(asked, table, _filtered(asked, table, data[table.name]))


def _spread(aggregate: Aggregated, table: Tab, rows: list[Row]) -> float:
    assert aggregate.column is not None
    at = [table.index(name) for name in (aggregate.column, aggregate.other) if name is not None]
    found = [[comparable(row[index]) for index in at] for row in rows]
    present = [[_number(value) for value in values] for values in found if None not in values]
    if aggregate.other is None:
        return spreads.spread(aggregate.function, [value for [value] in present])
    pairs = [(y, x) for y, x in present]
    return spreads.paired(aggregate.function, pairs, table.cols[at[0]], table.cols[at[1]])


def _number(value: object) -> Fraction:
    assert isinstance(value, Fraction)
    return value


def _above(asked: Asked, rows: list[tuple[Group, list[float]]], dialect: Dialect) -> list[tuple[object, ...]]:
    """HAVING, formulas, ORDER BY, LIMIT: SQLite over a table of groups and doubles."""
    keys = [f"k{index}" for index in range(len(asked.keys))]
    names = [f"a{index}" for index in range(len(asked.aggregates))]
    items = [*keys, *names] + ([asked.derived.naive(names)] if asked.derived is not None else [])
    connection = sqlite3.connect(":memory:")
    for name, function in _FUNCTIONS.items():
        connection.create_function(name, -1, function, deterministic=True)
    connection.execute(f"CREATE TABLE r ({', '.join(['rid', *keys, *(f'{name} REAL' for name in names)])})")
    marks = ", ".join("?" * (1 + len(keys) + len(names)))
    connection.executemany(
        f"INSERT INTO r VALUES ({marks})",
        [(rid, *(_held(value) for value in group), *values) for rid, (group, values) in enumerate(rows)],
    )
    sql = f"SELECT {', '.join(['rid', *items])} FROM r"
    if asked.having is not None:
        sql += f" WHERE {asked.having.naive(names)}"
    order = [f"{items[at - 1]}{suffix or ' ASC'}" for at, suffix in asked.order]
    # where nothing is said, NULLs are last in DuckDB, the largest in PostgreSQL, and the smallest in SQLite
    high, low = ("FIRST" if dialect == "postgres" else "LAST"), ("FIRST" if dialect == "sqlite" else "LAST")
    order = [each if "NULLS" in each else f"{each} NULLS {high if 'DESC' in each else low}" for each in order]
    sql += f" ORDER BY {', '.join([*order, 'rid'])}"
    if asked.limit is not None:
        sql += f" LIMIT {asked.limit} OFFSET {asked.offset}"
    found = connection.execute(sql).fetchall()
    connection.close()
    return [(*rows[row[0]][0], *row[1 + len(keys) :]) for row in found]


def _held(value: object) -> object:
    if isinstance(value, Fraction):
        return int(value) if value.denominator == 1 and abs(value) < 2**63 else float(value)
    return _plain(value)


def _half_away(value: float | None, places: int) -> float | None:
    if value is None:
        return None
    return math.copysign(math.floor(abs(value) * 10**places + 0.5) / 10**places, value)


_FUNCTIONS: dict[str, Callable[..., float | None]] = {
    "fmod": lambda left, right: None if left is None or not right else math.fmod(left, right),
    "half_away": _half_away,
    "trunc": lambda value: None if value is None else float(math.trunc(value)),
    "floor": lambda value: None if value is None else float(math.floor(value)),
    "ceil": lambda value: None if value is None else float(math.ceil(value)),
    "root": lambda value: None if value is None or value < 0 else math.sqrt(value),
}
