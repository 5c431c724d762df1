"""Write what stands above the frontier as one SELECT over the noisy tables r0, r1, …, in the sandbox's dialect.

``HAVING n > 5 ORDER BY 2 DESC``  →  ``WITH t0 AS (SELECT * FROM r0 WHERE a0 > 5.0), … SELECT … ORDER BY …``

Why this is sound: the text is rendered from our own algebra and reads noisy tables alone, so that whatever it computes
is post-processing. Every table carries columns by which its rows are in one order whatever the database does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from gateway.sql.algebra import Ordering, Ref, Release, Scalar
from gateway.sql.tables import (
    Attach,
    Distinct,
    Exact,
    Group,
    Keep,
    Merge,
    One,
    Over,
    Pair,
    Pick,
    Public,
    Query,
    Sort,
    Summary,
    Windowed,
    columns,
)
from gateway.sql.writing.render import identifier, scalar

ROW = "rid"


@dataclass(frozen=True, slots=True)
class Plain:
    """One noisy table of which rows are ordered by columns, cut and shown, which needs no database at all."""

    release: Release
    sort: Sort | None
    columns: tuple[tuple[str, str], ...]


def table_name(place: int) -> str:
    """Return what the noisy table of a release is called in the sandbox."""
    return f"r{place}"


def plain(query: Query) -> Plain | None:
    """Return the parts of a query that only picks, orders and cuts the rows of one release, None of any other."""
    table, names = query.table, [name for name, _ in _picked(query.table)]
    if not isinstance(table, Pick) or not all(isinstance(found, Ref) for _, found in table.columns):
        return None
    meanings = [found.name for _, found in table.columns if isinstance(found, Ref)]
    sort, source = (table.source, table.source.source) if isinstance(table.source, Sort) else (None, table.source)
    ordered = () if sort is None else sort.order
    if not isinstance(source, Release) or not all(isinstance(ordering.by, Ref) for ordering in ordered):
        return None
    return Plain(source, sort, tuple(zip(names, meanings, strict=True)))


def _picked(table: Public) -> tuple[tuple[str, Scalar], ...]:
    return table.columns if isinstance(table, Pick) else ()


def public_name(place: int) -> str:
    """Return what the rows of a public table are called in the sandbox."""
    return f"e{place}"


def post(query: Query, most: int | None = None, reads: Mapping[Exact, str] | None = None) -> str | None:
    """Return the SELECT over the noisy tables, cut to so many rows; None where plain picking and ordering is all.

    ``reads`` are the statements that read public rows, where those are no tables of the sandbox.
    """
    if plain(query) is not None:
        return None
    return select(query.table, named(query), reads, most)


def named(query: Query) -> dict[Release | Exact, str]:
    """Return what each release and each public table of a query is called in the sandbox."""
    tables: dict[Release | Exact, str] = {release: table_name(place) for place, release in enumerate(query.releases)}
    return tables | {exact: public_name(place) for place, exact in enumerate(query.exacts)}


def select(
    table: Public,
    tables: Mapping[Release | Exact, str],
    reads: Mapping[Exact, str] | None = None,
    most: int | None = None,
) -> str:
    """Return the SELECT that computes one table, given what the tables that it is computed from are called."""
    writer = _Writer(tables, reads or {})
    last = writer.write(table)
    text = f"SELECT {_listed(columns(table))} FROM {last.name}"
    stages = ", ".join(f"{name} AS ({stage})" for name, stage in writer.stages)
    ordered = f" ORDER BY {', '.join(map(identifier, last.order))}" if last.order else ""
    limit = "" if most is None else f" LIMIT {most}"
    return f"{f'WITH {stages} ' if stages else ''}{text}{ordered}{limit}"


@dataclass(frozen=True, slots=True)
class _Written:
    """A table under its name, and the columns by which its rows are in a total order."""

    name: str
    order: tuple[str, ...]


@dataclass(slots=True)
class _Writer:
    """Writes each table once, as a stage of its own."""

    tables: Mapping[Release | Exact, str]
    reads: Mapping[Exact, str]
    stages: list[tuple[str, str]] = field(default_factory=list)
    seen: dict[Public, _Written] = field(default_factory=dict)

    def write(self, table: Public) -> _Written:
        """Return a table, written as a stage unless it is there already."""
        found = self.seen.get(table)
        if found is None:
            found = self.seen[table] = self._written(table)
        return found

    def _stage(self, text: str, order: Iterable[str]) -> _Written:
        # Beside the engine's own tables a stage is called as none of them is.
        name = f"{'discreet_' if self.reads else ''}t{len(self.stages)}"
        self.stages.append((name, text))
        return _Written(name, tuple(order))

    def _written(self, table: Public) -> _Written:
        match table:
            case One():
                return self._stage("SELECT 1 AS one", ())
            case Release():
                return _Written(self.tables[table], (ROW,))
            case Exact():
                names = columns(table)
                if table in self.reads:
                    return self._stage(self.reads[table], names)
                return _Written(self.tables[table], names)
            case Keep(source, predicate):
                below = self.write(source)
                return self._stage(f"SELECT * FROM {below.name} WHERE {_sql(predicate)}", below.order)
            case Pick(source, found):
                return self._pick(self.write(source), found)
            case Pair():
                return self._pair(table)
            case Group():
                return self._group(table)
            case Over(source, windows):
                below = self.write(source)
                written = [f"{_window(window, below.order)} AS {identifier(name)}" for name, window in windows]
                return self._stage(f"SELECT *, {', '.join(written)} FROM {below.name}", below.order)
            case Distinct(source):
                names = columns(source)
                return self._stage(f"SELECT DISTINCT {_listed(names)} FROM {self.write(source).name}", names)
            case Merge():
                return self._combine(table)
            case Sort():
                return self._sort(table)
            case Attach():
                return self._lookup(table)
        assert_never(table)

    def _pick(self, below: _Written, found: Sequence[tuple[str, Scalar]]) -> _Written:
        at = len(self.stages)
        order = [f"o{at}_{index}" for index in range(len(below.order))]
        written = [f"{_sql(meaning)} AS {identifier(name)}" for name, meaning in found]
        written += [f"{identifier(old)} AS {new}" for old, new in zip(below.order, order, strict=True)]
        return self._stage(f"SELECT {', '.join(written)} FROM {below.name}", order)

    def _pair(self, pair: Pair) -> _Written:
        left, right = self.write(pair.left), self.write(pair.right)
        on = "TRUE" if pair.on is None else _sql(pair.on)
        word = {"inner": "JOIN", "left": "LEFT JOIN", "right": "RIGHT JOIN", "full": "FULL JOIN"}[pair.kind]
        text = f"SELECT * FROM {left.name} {word} {right.name} ON {on}"
        return self._stage(text, (*left.order, *right.order))

    def _group(self, group: Group) -> _Written:
        below = self.write(group.source)
        written = [f"{_sql(key)} AS {identifier(name)}" for name, key in group.keys]
        written += [f"{_summary(summary)} AS {identifier(name)}" for name, summary in group.aggregates]
        by = f" GROUP BY {', '.join(str(at + 1) for at in range(len(group.keys)))}" if group.keys else ""
        text = f"SELECT {', '.join(written) or '1 AS one'} FROM {below.name}{by}"
        return self._stage(text, [name for name, _ in group.keys])

    def _combine(self, combine: Merge) -> _Written:
        left, right = self.write(combine.left), self.write(combine.right)
        names = _listed(combine.columns)
        if combine.kind != "union" or not combine.every:
            word = f"{combine.kind.upper()}{' ALL' if combine.every else ''}"
            text = f"SELECT {names} FROM {left.name} {word} SELECT {names} FROM {right.name}"
            return self._stage(text, combine.columns)
        at = len(self.stages)
        sides = [
            f"SELECT {names}, {side} AS o{at}_0, {_number(below.order)} AS o{at}_1 FROM {below.name}"
            for side, below in enumerate((left, right))
        ]
        return self._stage(" UNION ALL ".join(sides), (f"o{at}_0", f"o{at}_1"))

    def _sort(self, sort: Sort) -> _Written:
        below, at = self.write(sort.source), len(self.stages)
        name = f"o{at}_0"
        order = [*map(_ordering, sort.order), *map(identifier, below.order)]
        text = f"SELECT {_listed(columns(sort.source))}, {_over_rows(order)} AS {name} FROM {below.name}"
        if sort.limit is not None:
            text += f" QUALIFY {name} BETWEEN {sort.offset + 1} AND {sort.offset + sort.limit}"
        elif sort.offset:
            text += f" QUALIFY {name} > {sort.offset}"
        return self._stage(text, (name,))

    def _lookup(self, lookup: Attach) -> _Written:
        below, other = self.write(lookup.source), self.write(lookup.table)
        asked = f"SELECT {_listed(columns(lookup.table)) or '1'} FROM {other.name}"
        match lookup.how:
            case "value":
                value = f"({asked})"
            case "exists":
                value = f"EXISTS (SELECT 1 FROM {other.name})"
            case "member":
                assert lookup.subject is not None
                value = f"{_sql(lookup.subject)} IN ({asked})"
        kept = "*, " if not isinstance(lookup.source, One) else ""
        return self._stage(f"SELECT {kept}{value} AS {identifier(lookup.name)} FROM {below.name}", below.order)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(identifier, names))


def _number(order: Iterable[str]) -> str:
    return _over_rows(map(identifier, order))


def _over_rows(order: Iterable[str]) -> str:
    """Return the number of a row in an order; without one there is at most one row."""
    written = ", ".join(order)
    return f"ROW_NUMBER() OVER ({f'ORDER BY {written}' if written else ''})"


def _ordering(ordering: Ordering) -> str:
    direction = "DESC" if ordering.descending else "ASC"
    return f"{_sql(ordering.by)} {direction} NULLS {'FIRST' if ordering.nulls_first else 'LAST'}"


def _window(window: Windowed, rows: tuple[str, ...]) -> str:
    args = ", ".join(map(_sql, window.args)) or ("*" if window.function == "count" else "")
    partition = f"PARTITION BY {', '.join(map(_sql, window.partition))}" if window.partition else ""
    ordered = [*map(_ordering, window.order), *(map(identifier, rows) if window.total else ())]
    order = f"ORDER BY {', '.join(ordered)}" if ordered else ""
    inside = " ".join(part for part in (partition, order, window.frame or "") if part)
    text = f"{window.function.upper()}({args}) OVER ({inside})"
    return f"COALESCE({text}, 0)" if window.function == "sum" else text


_WORDS = {
    "count": "COUNT",
    "sum": "SUM",
    "average": "AVG",
    "least": "MIN",
    "greatest": "MAX",
    "median": "MEDIAN",
    "var_pop": "VAR_POP",
    "var_samp": "VAR_SAMP",
    "stddev_pop": "STDDEV_POP",
    "stddev_samp": "STDDEV_SAMP",
}


def _summary(summary: Summary) -> str:
    """Return an aggregate; a sum over nothing is 0, as everywhere."""
    text = f"{_WORDS[summary.kind]}({'DISTINCT ' if summary.distinct else ''}{_sql(summary.argument)})"
    return f"COALESCE({text}, 0)" if summary.kind == "sum" else text


def _sql(found: Scalar) -> str:
    return scalar(found, identifier, "duckdb")
