"""Write the computation above the frontier once for many worlds, so that one SELECT tells how its columns vary.

Each noisy table holds its rows once a world; world 0 is what was released. The rows of world 0 that the answer shows
are found again in the others by what tells rows apart below the last selections: the number of a released row, or the
keys of a group. HAVING, LIMIT and the like that stand last select rows in world 0 alone, since the interval of a shown
row is that of the row, not of what would stand in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.sql.algebra import Scalar
from gateway.sql.tables import Attach, Keep, Pick, Public, Query, Sort
from gateway.sql.writing.post import Writer, Written, named, written_order
from gateway.sql.writing.render import identifier, scalar

WORLD = "world"


@dataclass(frozen=True, slots=True)
class _Marked:
    """A table with all of its rows: which are shown, by which number they are in order, and what tells them apart."""

    name: str
    apart: tuple[str, ...]
    kept: tuple[str, ...]
    number: str | None

    @property
    def order(self) -> tuple[str, ...]:
        return self.apart if self.number is None else (self.number,)

    @property
    def carried(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.apart, *self.kept, *self.order)))

    @property
    def condition(self) -> str:
        return " AND ".join(self.kept) or "TRUE"


def repeated(query: Query, shown: Sequence[str]) -> str:
    """Return the SELECT that lists, for each row of the answer and in its order, each column's values over worlds."""
    writer = Writer(named(query), {}, apart=WORLD)
    last = _mark(writer, query.table)
    order = ", ".join(map(identifier, last.order))
    place = f"ROW_NUMBER() OVER ({f'ORDER BY {order}' if order else ''}) AS place"
    keys = "".join(f", {identifier(name)}" for name in last.apart)
    chosen = writer.stage(f"SELECT {place}{keys} FROM {last.name} WHERE {WORLD} = 0 AND {last.condition}", ())
    same = " AND ".join(f"a.{identifier(name)} IS NOT DISTINCT FROM s.{identifier(name)}" for name in last.apart)
    lists = ", ".join(f"LIST(CAST(a.{identifier(name)} AS DOUBLE) ORDER BY a.{WORLD})" for name in shown)
    text = f"SELECT {lists} FROM {chosen.name} AS s JOIN {last.name} AS a ON {same or 'TRUE'}"
    return f"{writer.text}{text} GROUP BY s.place ORDER BY s.place"


def _mark(writer: Writer, table: Public) -> _Marked:
    match table:
        case Pick(source, found):
            below = _mark(writer, source)
            written = [f"{_sql(meaning)} AS {identifier(name)}" for name, meaning in found]
            written += [WORLD, *map(identifier, below.carried)]
            return _again(below, writer.stage(f"SELECT {', '.join(written)} FROM {below.name}", ()))
        case Keep(source, predicate):
            below, flag = _mark(writer, source), f"h{len(writer.stages)}"
            text = f"SELECT *, COALESCE({_sql(predicate)}, FALSE) AS {flag} FROM {below.name}"
            return _again(below, writer.stage(text, ()), flag)
        case Sort():
            return _sorted(writer, table)
        case Attach():
            below = _mark(writer, table.source)
            return _again(below, writer.attach(table, Written(below.name, below.order)))
        case _:
            whole = writer.write(table)
            return _Marked(whole.name, whole.order, (), None)


def _again(below: _Marked, stage: Written, *flags: str) -> _Marked:
    return _Marked(stage.name, below.apart, (*below.kept, *flags), below.number)


def _sorted(writer: Writer, sort: Sort) -> _Marked:
    below, at = _mark(writer, sort.source), len(writer.stages)
    name, flag = f"n{at}", f"h{at}"
    order = [*map(written_order, sort.order), *map(identifier, below.order)]
    number = writer.number(order, below.condition)
    stage = writer.stage(f"SELECT *, {number} AS {name} FROM {below.name}", ())
    most = "" if sort.limit is None else f" AND {name} <= {sort.offset + sort.limit}"
    text = f"SELECT *, {name} > {sort.offset}{most} AS {flag} FROM {stage.name}"
    return _Marked(writer.stage(text, ()).name, below.apart, (*below.kept, flag), name)


def _sql(found: Scalar) -> str:
    return scalar(found, identifier, "duckdb")
