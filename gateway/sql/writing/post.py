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
    writer = Writer(tables, reads or {})
    last = writer.write(table)
    text = f"SELECT {_listed(columns(table))} FROM {last.name}"
    ordered = f" ORDER BY {', '.join(map(identifier, last.order))}" if last.order else ""
    limit = "" if most is None else f" LIMIT {most}"
    return f"{writer.text}{text}{ordered}{limit}"


@dataclass(frozen=True, slots=True)
class Written:
    """A table under its name, and the columns by which its rows are in a total order."""

    name: str
    order: tuple[str, ...]


@dataclass(slots=True)
class Writer:
    """Writes each table once, as a stage of its own.

    With ``apart`` the noisy tables hold many worlds, told apart by a column of that name, and so does all that is
    computed from them: no row meets one of another world. The table ``worlds`` lists them.
    """

    tables: Mapping[Release | Exact, str]
    reads: Mapping[Exact, str]
    apart: str = ""
    stages: list[tuple[str, str]] = field(default_factory=list)
    seen: dict[Public, Written] = field(default_factory=dict)

    def write(self, table: Public) -> Written:
        """Return a table, written as a stage unless it is there already."""
        found = self.seen.get(table)
        if found is None:
            found = self.seen[table] = self._written(table)
        return found

    @property
    def text(self) -> str:
        """The stages written so far, as a WITH clause, empty without any."""
        stages = ", ".join(f"{name} AS ({stage})" for name, stage in self.stages)
        return f"WITH {stages} " if stages else ""

    @property
    def worlds(self) -> tuple[str, ...]:
        """The column that tells worlds apart, where there are several."""
        return (self.apart,) if self.apart else ()

    def stage(self, text: str, order: Iterable[str]) -> Written:
        """Write one more stage, whose rows are in a total order by ``order``."""
        # Beside the engine's own tables a stage is called as none of them is.
        name = f"{'discreet_' if self.reads else ''}t{len(self.stages)}"
        self.stages.append((name, text))
        return Written(name, tuple(order))

    def number(self, order: Iterable[str], *within: str) -> str:
        """Return the number of a row in an order; without one there is at most one row."""
        written, parts = ", ".join(order), ", ".join((*self.worlds, *within))
        inside = [*([f"PARTITION BY {parts}"] if parts else []), *([f"ORDER BY {written}"] if written else [])]
        return f"ROW_NUMBER() OVER ({' '.join(inside)})"

    def _written(self, table: Public) -> Written:
        match table:
            case One():
                return self.stage(f"SELECT {self.apart}, 1 AS one FROM worlds" if self.apart else "SELECT 1 AS one", ())
            case Release():
                return Written(self.tables[table], (ROW,))
            case Exact():
                return self._exact(table)
            case Keep(source, predicate):
                below = self.write(source)
                return self.stage(f"SELECT * FROM {below.name} WHERE {_sql(predicate)}", below.order)
            case Pick(source, found):
                return self._pick(self.write(source), found)
            case Pair():
                return self._pair(table)
            case Group():
                return self._group(table)
            case Over(source, windows):
                below = self.write(source)
                written = [
                    f"{_window(window, below.order, self.worlds)} AS {identifier(name)}" for name, window in windows
                ]
                return self.stage(f"SELECT *, {', '.join(written)} FROM {below.name}", below.order)
            case Distinct(source):
                names = columns(source)
                listed = _listed((*self.worlds, *names))
                return self.stage(f"SELECT DISTINCT {listed} FROM {self.write(source).name}", names)
            case Merge():
                return self._combine(table)
            case Sort():
                return self._sort(table)
            case Attach():
                return self.attach(table, self.write(table.source))
        assert_never(table)

    def _exact(self, exact: Exact) -> Written:
        names = columns(exact)
        if exact in self.reads:
            return self.stage(self.reads[exact], names)
        if self.apart:
            return self.stage(f"SELECT * FROM {self.tables[exact]} CROSS JOIN worlds", names)
        return Written(self.tables[exact], names)

    def _pick(self, below: Written, found: Sequence[tuple[str, Scalar]]) -> Written:
        at = len(self.stages)
        order = [f"o{at}_{index}" for index in range(len(below.order))]
        written = [f"{_sql(meaning)} AS {identifier(name)}" for name, meaning in found]
        written += [f"{identifier(old)} AS {new}" for old, new in zip(below.order, order, strict=True)]
        written += self.worlds
        return self.stage(f"SELECT {', '.join(written)} FROM {below.name}", order)

    def _pair(self, pair: Pair) -> Written:
        left, right = self.write(pair.left), self.write(pair.right)
        on = "TRUE" if pair.on is None else _sql(pair.on)
        word = {"inner": "JOIN", "left": "LEFT JOIN", "right": "RIGHT JOIN", "full": "FULL JOIN"}[pair.kind]
        text = f"SELECT * FROM {left.name} {word} {right.name} ON {on}"
        if self.apart:
            ends = ((left, pair.left), (right, pair.right))
            shown = _listed(name for side, table in ends for name in dict.fromkeys((*columns(table), *side.order)))
            world = f"COALESCE({left.name}.{self.apart}, {right.name}.{self.apart})"
            same = f"{left.name}.{self.apart} = {right.name}.{self.apart} AND ({on})"
            text = f"SELECT {shown}, {world} AS {self.apart} FROM {left.name} {word} {right.name} ON {same}"
        return self.stage(text, (*left.order, *right.order))

    def _group(self, group: Group) -> Written:
        below = self.write(group.source)
        written = [*self.worlds, *(f"{_sql(key)} AS {identifier(name)}" for name, key in group.keys)]
        keys = len(written)
        written += [f"{_summary(summary)} AS {identifier(name)}" for name, summary in group.aggregates]
        by = f" GROUP BY {', '.join(str(at + 1) for at in range(keys))}" if keys else ""
        text = f"SELECT {', '.join(written) or '1 AS one'} FROM {below.name}{by}"
        if self.apart and not group.keys:
            # A world without rows has its one group too.
            found = self.stage(text, ())
            filled = [self.apart, *(_filled(name, summary) for name, summary in group.aggregates)]
            text = f"SELECT {', '.join(filled)} FROM worlds LEFT JOIN {found.name} USING ({self.apart})"
        return self.stage(text, [name for name, _ in group.keys])

    def _combine(self, combine: Merge) -> Written:
        left, right = self.write(combine.left), self.write(combine.right)
        names = _listed((*self.worlds, *combine.columns))
        if combine.kind != "union" or not combine.every:
            word = f"{combine.kind.upper()}{' ALL' if combine.every else ''}"
            text = f"SELECT {names} FROM {left.name} {word} SELECT {names} FROM {right.name}"
            return self.stage(text, combine.columns)
        at = len(self.stages)
        sides = [
            f"SELECT {names}, {side} AS o{at}_0, {self.number(map(identifier, below.order))} AS o{at}_1 "
            f"FROM {below.name}"
            for side, below in enumerate((left, right))
        ]
        return self.stage(" UNION ALL ".join(sides), (f"o{at}_0", f"o{at}_1"))

    def _sort(self, sort: Sort) -> Written:
        below, at = self.write(sort.source), len(self.stages)
        name = f"o{at}_0"
        order = [*map(written_order, sort.order), *map(identifier, below.order)]
        shown = _listed((*self.worlds, *columns(sort.source)))
        text = f"SELECT {shown}, {self.number(order)} AS {name} FROM {below.name}"
        if sort.limit is not None:
            text += f" QUALIFY {name} BETWEEN {sort.offset + 1} AND {sort.offset + sort.limit}"
        elif sort.offset:
            text += f" QUALIFY {name} > {sort.offset}"
        return self.stage(text, (name,))

    def attach(self, lookup: Attach, below: Written) -> Written:
        """Return the rows of ``below``, each with what is asked of another table."""
        other = self.write(lookup.table)
        same = f" WHERE {other.name}.{self.apart} = {below.name}.{self.apart}" if self.apart else ""
        asked = f"SELECT {_listed(columns(lookup.table)) or '1'} FROM {other.name}{same}"
        match lookup.how:
            case "value":
                value = f"({asked})"
            case "exists":
                value = f"EXISTS (SELECT 1 FROM {other.name}{same})"
            case "member":
                assert lookup.subject is not None
                value = f"{_sql(lookup.subject)} IN ({asked})"
        kept = "*, " if self.apart or not isinstance(lookup.source, One) else ""
        return self.stage(f"SELECT {kept}{value} AS {identifier(lookup.name)} FROM {below.name}", below.order)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(identifier, names))


def written_order(ordering: Ordering) -> str:
    """Return one item of ORDER BY."""
    direction = "DESC" if ordering.descending else "ASC"
    return f"{_sql(ordering.by)} {direction} NULLS {'FIRST' if ordering.nulls_first else 'LAST'}"


def _window(window: Windowed, rows: tuple[str, ...], worlds: tuple[str, ...]) -> str:
    args = ", ".join(map(_sql, window.args)) or ("*" if window.function == "count" else "")
    parts = (*worlds, *map(_sql, window.partition))
    partition = f"PARTITION BY {', '.join(parts)}" if parts else ""
    ordered = [*map(written_order, window.order), *(map(identifier, rows) if window.total else ())]
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


def _filled(name: str, summary: Summary) -> str:
    written = identifier(name)
    return f"COALESCE({written}, 0) AS {written}" if summary.kind in ("sum", "count") else written


def _sql(found: Scalar) -> str:
    return scalar(found, identifier, "duckdb")
