"""Write a relation below the frontier as FROM and WHERE of an engine's SQL, with what each of its columns is there.

``Join(inner, Scan(person, 0), Scan(visit, 1), on=…)`` → ``"person" AS t0 JOIN "visit" AS t1 ON (…) AND t0.id = t1.id``

Why this is sound: each arm keeps the invariant that the rows held for an owner are a function of that owner's rows and
of public data. A scan joins along the declared path and drops rows without an owner; a filter and a projection are row
by row; owned sides of a join or semi-join are tied by owner equality, which is added here whatever the query says,
unless one side's owner is read off the other's very row (``inference.paths``); a fold is always grouped by the owner,
over exact integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, TypeAlias, assert_never

from gateway.policy.model import Dataset, Dialect, Owner
from gateway.sql.algebra import (
    Call,
    Combine,
    Constant,
    Fed,
    Filter,
    Fold,
    FoldAggregate,
    Frame,
    Join,
    Lookup,
    Project,
    Ref,
    Relation,
    Scalar,
    Scan,
    SemiJoin,
    Values,
    Window,
    WindowFunction,
)
from gateway.sql.inference.facts import Facts, combined_owner, facts, owner_name
from gateway.sql.inference.known import known
from gateway.sql.inference.paths import walked
from gateway.sql.planning.quantum import quantum
from gateway.sql.writing.conditions import Bare, Conditions, bare_column, met
from gateway.sql.writing.dialects.registry import writer
from gateway.sql.writing.render import canonical, constant, identifier, quantised


@dataclass(frozen=True, slots=True)
class Rows:
    """A relation as SQL: what stands after FROM, the conditions of WHERE, and each column as written there."""

    source: str
    where: tuple[str, ...]
    columns: Mapping[str, str]
    joined: bool = False
    bare: Mapping[str, Bare] = field(default_factory=dict)
    """Columns of tables, and their owners, as they are stored, before they are made canonical."""

    def write(self, found: Scalar, dialect: Dialect) -> str:
        """Return a scalar over the relation's columns as SQL."""
        return Conditions(self.columns, self.bare, dialect).scalar(found)

    def where_true(self, found: Scalar, dialect: Dialect) -> str:
        """Return a condition over the relation's columns, where what is NULL is as good as false."""
        return Conditions(self.columns, self.bare, dialect).write(found)

    @property
    def condition(self) -> str:
        """The WHERE clause, with its word, or nothing."""
        return f" WHERE {' AND '.join(self.where)}" if self.where else ""


Told: TypeAlias = Mapping[int, str]
"""Scans, by their numbers, whose rows' owner another relation of the same query has: as it is written there."""

NOTHING: Final[Told] = MappingProxyType({})


def rows(relation: Relation, dataset: Dataset, told: Told = NOTHING) -> Rows:
    """Return a relation below the frontier as SQL of the dataset's dialect."""
    match relation:
        case Scan():
            return _scan(relation, dataset, told)
        case Filter(source, predicate):
            below = rows(source, dataset, told)
            return replace(below, where=(*below.where, below.where_true(predicate, dataset.dialect)))
        case Project(source, columns):
            below = rows(source, dataset, told)
            owner = facts(source, dataset).owner
            found = {name: below.write(value, dataset.dialect) for name, value in columns}
            kept = {name: value.name for name, value in columns if isinstance(value, Ref)}
            kept |= {} if owner is None else {owner: owner}
            bare = {name: below.bare[under] for name, under in kept.items() if under in below.bare}
            shown = found if owner is None else {**found, owner: below.columns[owner]}
            return replace(below, columns=shown, bare=bare)
        case Join():
            return _join(relation, dataset, told)
        case SemiJoin():
            return _semi_join(relation, dataset, told)
        case Lookup():
            return _lookup(relation, dataset)
        case Fold():
            return _fold(relation, dataset, told)
        case Window():
            return _window(relation, dataset)
        case Combine():
            return _combined(relation, dataset)
        case Values():
            return _values(relation, dataset.dialect)
        case Fed():
            return _fed(relation, dataset.dialect)
    assert_never(relation)


def _scan(scan: Scan, dataset: Dataset, told: Told = NOTHING) -> Rows:
    table = dataset.table(scan.table)
    assert table is not None
    here = f"t{scan.number}"
    columns = {scan.name(column.name): canonical(column, here, dataset.dialect) for column in table.columns}
    bare = {scan.name(column.name): bare_column(column, here, dataset.dialect) for column in table.columns}
    source = f"{identifier(table.name, dataset.dialect)} AS {here}"
    if not isinstance(table.owner, Owner):
        return Rows(source, (), columns, bare=bare)
    if scan.number in told:
        return Rows(source, (), {**columns, owner_name(scan): told[scan.number]}, bare=bare)
    last = table
    for step, hop in enumerate(table.hops, 1):
        there = f"t{scan.number}_{step}"
        reached = dataset.table(hop.table)
        assert reached is not None
        equal = met((last, hop.column, here), (reached, hop.key, there), dataset.dialect)
        source += f" JOIN {identifier(hop.table, dataset.dialect)} AS {there} ON {equal}"
        last, here = reached, there
    column = dataset.owner_column(table)
    owner = canonical(column, here, dataset.dialect)
    bare[owner_name(scan)] = bare_column(column, here, dataset.dialect)
    return Rows(source, _owned(owner), {**columns, owner_name(scan): owner}, bool(table.hops), bare)


def _owned(owner: str) -> tuple[str, ...]:
    """Return the condition that a row has an owner: a path that ends in NULL belongs to nobody."""
    return (f"{owner} IS NOT NULL",)


def _tie(left: Facts, right: Facts, here: Rows, there: Rows, dialect: Dialect) -> list[str]:
    """Return the owner equality of two owned sides: no pair of rows of two different owners can arise.

    None is needed where both owners are one column of one row, which is not NULL there.
    """
    if not (left.private and right.private):
        return []
    assert left.owner is not None
    assert right.owner is not None
    sides = {"left": (left, left.owner, here), "right": (right, right.owner, there)}
    columns = {side: found.columns[owner] for side, (_, owner, found) in sides.items()}
    if columns["left"] == columns["right"]:
        return []
    bare = {side: found.bare[owner] for side, (_, owner, found) in sides.items() if owner in found.bare}
    owners = tuple(Ref(side, about.columns[owner].kind) for side, (about, owner, _) in sides.items())
    return [Conditions(columns, bare, dialect).write(Call("eq", owners, "boolean"))]


def _beside(
    here: Rows, left: Relation, right: Relation, on: Scalar | None, dataset: Dataset, told: Told = NOTHING
) -> Rows:
    """Return the rows that those of a relation, written already, are paired with: of whose owner they may be told."""
    scan, owner = walked(right, left, on, dataset), facts(left, dataset).owner
    return rows(right, dataset, told if scan is None or owner is None else {**told, scan.number: here.columns[owner]})


def _join(join: Join, dataset: Dataset, told: Told = NOTHING) -> Rows:
    if join.kind == "left" or walked(join.left, join.right, join.on, dataset) is None:
        left = rows(join.left, dataset, told)
        right = _beside(left, join.left, join.right, join.on, dataset, NOTHING if join.kind == "left" else told)
    else:
        right = rows(join.right, dataset, told)
        left = _beside(right, join.right, join.left, join.on, dataset, told)
    about, there = facts(join.left, dataset), facts(join.right, dataset)
    on = _tie(about, there, left, right, dataset.dialect)
    if join.kind == "left":
        if about.private and there.private and not on:
            # Its owner is a column of the left side, which is not seen inside, and nothing above asks it.
            right = replace(right, columns={name: sql for name, sql in right.columns.items() if name != there.owner})
        right = _nested(right, join.right)
        on = _tie(about, there, left, right, dataset.dialect) if on else []
    both = Rows("", (), {**left.columns, **right.columns}, bare={**left.bare, **right.bare})
    if join.on is not None:
        on.append(both.where_true(join.on, dataset.dialect))
    word = "LEFT JOIN" if join.kind == "left" else "JOIN"
    source = f"({right.source})" if right.joined else right.source
    return Rows(
        f"{left.source} {word} {source} ON {' AND '.join(on) or 'TRUE'}",
        (*left.where, *right.where),
        both.columns,
        joined=True,
        bare=both.bare,
    )


def _nested(found: Rows, relation: Relation) -> Rows:
    """Return rows as a query of their own, so that a left join filters and computes them before it adds NULLs."""
    alias = f"s{_first(relation)}"
    names = {name: f"{alias}.c{index}" for index, name in enumerate(found.columns)}
    selected = ", ".join(f"{written} AS c{index}" for index, written in enumerate(found.columns.values()))
    return Rows(f"(SELECT {selected} FROM {found.source}{found.condition}) AS {alias}", (), names)


def _first(relation: Relation) -> int:
    """Return the number of the first scan or fold of a relation, which no other relation of the query has."""
    match relation:
        case Scan(_, number) | Fold(_, number) | Window(_, number) | Values(number) | Fed(number):
            return number
        case Lookup(_, _, number) | Combine(_, _, _, number):
            return number
        case Filter(source) | Project(source):
            return _first(source)
        case Join(_, left) | SemiJoin(left):
            return _first(left)
    assert_never(relation)


def _stage(below: Rows, added: dict[str, str], number: int) -> Rows:
    """Return rows as a query of their own, with further columns computed beside theirs."""
    here = f"t{number}"
    selected = {name: f"g{index}" for index, name in enumerate(below.columns)}
    named = [f"{written} AS {selected[name]}" for name, written in below.columns.items()]
    named += [f"{written} AS f{index}" for index, written in enumerate(added.values())]
    columns = {name: f"{here}.{short}" for name, short in selected.items()}
    columns |= {name: f"{here}.f{index}" for index, name in enumerate(added)}
    return Rows(f"(SELECT {', '.join(named)} FROM {below.source}{below.condition}) AS {here}", (), columns)


def _lookup(lookup: Lookup, dataset: Dataset) -> Rows:
    """Return rows with what a subquery says of each.

    Why this is sound: the pairs of a row are rows of its own owner, or public ones, and each aggregate over them is
    exact, so that what is said of an owner's row is a function of that owner's rows and of public data.
    """
    left = rows(lookup.left, dataset)
    right = _beside(left, lookup.left, lookup.right, lookup.on, dataset)
    about, there = facts(lookup.left, dataset), facts(lookup.right, dataset)
    where = [*right.where, *_tie(about, there, left, right, dataset.dialect)]
    if lookup.on is not None:
        both = Rows("", (), {**right.columns, **left.columns}, bare={**right.bare, **left.bare})
        where.append(both.where_true(lookup.on, dataset.dialect))
    behind = f"FROM {right.source}{' WHERE ' + ' AND '.join(where) if where else ''}"
    added = {}
    for name, aggregate in lookup.aggregates:
        if aggregate.kind == "exists":
            added[name] = f"EXISTS (SELECT 1 {behind})"
        else:
            added[name] = f"(SELECT {_folded(aggregate, right, there, dataset.dialect)} {behind})"
    return _stage(left, added, lookup.number)


def _window(window: Window, dataset: Dataset) -> Rows:
    """Return rows with what window functions say of each.

    Why this is sound: the owner always is among what partitions, so that each value is made of one owner's rows; where
    the order of rows decides, every column of the input breaks ties, so that rows which still tie are identical and it
    does not matter which of them an engine takes first.
    """
    below, about = rows(window.source, dataset), facts(window.source, dataset)
    added = {name: _over(function, below, about, dataset.dialect) for name, function in window.functions}
    return _stage(below, added, window.number)


_NUMBERING = frozenset({"row_number", "rank", "dense_rank"})


def _over(function: WindowFunction, below: Rows, about: Facts, dialect: Dialect) -> str:
    partition = [] if about.owner is None else [below.columns[about.owner]]
    partition += [below.write(found, dialect) for found in function.partition]
    ordered = writer(dialect).ordered
    order = [
        ordered(below.write(o.by, dialect), descending=o.descending, nulls_first=o.nulls_first) for o in function.order
    ]
    if function.ties:
        rest = (written for written in below.columns.values() if written not in partition)
        order += [ordered(written, descending=False, nulls_first=False) for written in rest]
    if not order and function.kind in _NUMBERING:
        order = ["NULL"]  # Spark numbers nothing without an order; where none is left, rows are alike or all first.
    clauses = [f"PARTITION BY {', '.join(dict.fromkeys(partition))}"] if partition else []
    clauses += [f"ORDER BY {', '.join(dict.fromkeys(order))}"] if order else []
    clauses += [_framed(function.frame)] if function.frame is not None else []
    return _windowed(function, f"OVER ({' '.join(clauses)})", below, about, dialect)


def _framed(frame: Frame) -> str:
    def end(at: int | None, otherwise: str) -> str:
        if at is None:
            return f"UNBOUNDED {otherwise}"
        return "CURRENT ROW" if at == 0 else f"{abs(at)} {'PRECEDING' if at < 0 else 'FOLLOWING'}"

    return f"{frame.unit.upper()} BETWEEN {end(frame.first, 'PRECEDING')} AND {end(frame.last, 'FOLLOWING')}"


def _windowed(function: WindowFunction, over: str, below: Rows, about: Facts, dialect: Dialect) -> str:
    match function.kind:
        case "row_number" | "rank" | "dense_rank":
            return f"{function.kind.upper()}() {over}"
        case "lag" | "lead":
            assert function.argument is not None
            args = [below.write(function.argument, dialect), str(function.offset)]
            args += [] if function.default is None else [constant(function.default, dialect)]
            return f"{function.kind.upper()}({', '.join(args)}) {over}"
        case "first_value" | "last_value":
            assert function.argument is not None
            return f"{function.kind.upper()}({below.write(function.argument, dialect)}) {over}"
        case "count_rows" | "count" | "sum" | "average" | "least" | "greatest":
            return _folded(FoldAggregate(function.kind, function.argument), below, about, dialect, f" {over}")
    assert_never(function.kind)


_SET = {"append": "UNION ALL", "union": "UNION", "except": "EXCEPT", "intersect": "INTERSECT"}


def _combined(combine: Combine, dataset: Dataset) -> Rows:
    """Return rows of two relations put together, the owner in the last place of both.

    Why this is sound: what UNION, EXCEPT and INTERSECT find equal is equal in the owner too, so that whether a row
    stays is decided by rows of its own owner; UNION ALL keeps every row as it is.
    """
    here, sides = f"t{combine.number}", []
    owners = facts(combine.left, dataset).owner, facts(combine.right, dataset).owner
    for place, (side, owner) in enumerate(zip((combine.left, combine.right), owners, strict=True)):
        found = rows(side, dataset)
        named = [found.write((left, right)[place], dataset.dialect) for _, left, right in combine.columns]
        named += [] if owner is None else [found.columns[owner]]
        selected = ", ".join(f"{written} AS g{index}" for index, written in enumerate(named))
        sides.append(f"SELECT {selected} FROM {found.source}{found.condition}")
    names = [name for name, _, _ in combine.columns]
    names += [] if owners[0] is None else [combined_owner(combine)]
    columns = {name: f"{here}.g{index}" for index, name in enumerate(names)}
    return Rows(f"({f' {_SET[combine.kind]} '.join(sides)}) AS {here}", (), columns)


def _values(values: Values, dialect: Dialect) -> Rows:
    """Return constant rows as a query of SELECTs, which names its columns in every engine."""
    here = f"t{values.number}"
    lines = []
    for row in values.rows:
        typed = (
            constant(Constant(cell.value, kind), dialect) for cell, (_, kind) in zip(row, values.columns, strict=True)
        )
        lines.append("SELECT " + ", ".join(f"{cell} AS g{index}" for index, cell in enumerate(typed)))
    columns = {name: f"{here}.g{index}" for index, (name, _) in enumerate(values.columns)}
    return Rows(f"({' UNION ALL '.join(lines)}) AS {here}", (), columns)


def parameter(found: Fed) -> str:
    """Return what the values of a released table are called where they are not known yet."""
    return f":p{found.number}"


def _fed(found: Fed, dialect: Dialect) -> Rows:
    """Return released values as constant rows; in a plan, as named parameters."""
    if found.rows:
        values = Values(found.number, tuple((column.name, column.kind) for column in found.columns), found.rows)
        return _values(values, dialect)
    here = f"t{found.number}"
    columns = {column.name: f"{here}.g{index}" for index, column in enumerate(found.columns)}
    if found.rows is not None:
        absent = (constant(Constant(None, column.kind), dialect) for column in found.columns)
        cells = ", ".join(f"{cell} AS g{index}" for index, cell in enumerate(absent))
        return Rows(f"(SELECT {cells} WHERE FALSE) AS {here}", (), columns)
    if found.single:
        cells = ", ".join(f"{parameter(found)}_{index} AS g{index}" for index, _ in enumerate(found.columns))
        return Rows(f"(SELECT {cells}) AS {here}", (), columns)
    return Rows(f"(SELECT * FROM {parameter(found)}) AS {here}", (), columns)


def _semi_join(semi: SemiJoin, dataset: Dataset, told: Told = NOTHING) -> Rows:
    left = rows(semi.left, dataset, told)
    right = _beside(left, semi.left, semi.right, semi.on, dataset)
    both = Rows("", (), {**right.columns, **left.columns}, bare={**right.bare, **left.bare})
    on = [*right.where, *_tie(facts(semi.left, dataset), facts(semi.right, dataset), left, right, dataset.dialect)]
    if semi.on is not None:
        on.append(both.where_true(semi.on, dataset.dialect))
    found = f"EXISTS (SELECT 1 FROM {right.source}{' WHERE ' + ' AND '.join(on) if on else ''})"
    return replace(left, where=(*left.where, f"NOT {found}" if semi.anti else found))


def _fold(fold: Fold, dataset: Dataset, told: Told = NOTHING) -> Rows:
    """Return one owner's rows folded; by the owner too, unless it is told: then each group is known to have one."""
    below, known_below = rows(fold.source, dataset, told), facts(fold.source, dataset)
    here, grouped = f"t{fold.number}", [*fold.keys]
    outside: dict[str, str] = {}
    if known_below.private and known_below.owner is None:
        raise AssertionError("a fold over rows of many units")
    if known_below.owner is not None and below.columns[known_below.owner] in told.values():
        outside = {known_below.owner: below.columns[known_below.owner]}
    elif known_below.owner is not None:
        grouped.append((known_below.owner, Ref(known_below.owner, known_below.columns[known_below.owner].kind)))
    selected = {f"g{index}": below.write(value, dataset.dialect) for index, (_, value) in enumerate(grouped)}
    columns = {name: f"{here}.g{index}" for index, (name, _) in enumerate(grouped)}
    for index, (name, aggregate) in enumerate(fold.aggregates):
        selected[f"f{index}"] = _folded(aggregate, below, known_below, dataset.dialect)
        columns[name] = f"{here}.f{index}"
    named = ", ".join(f"{written} AS {name}" for name, written in selected.items())
    # By position: a key may be a constant, and a whole number would be read as one.
    # Public rows that are folded as a whole have none, and are one row then.
    keys = ", ".join(str(index + 1) for index in range(len(grouped)))
    by = f" GROUP BY {keys}" if keys else ""
    return Rows(f"(SELECT {named} FROM {below.source}{below.condition}{by}) AS {here}", (), {**columns, **outside})


def _folded(aggregate: FoldAggregate, below: Rows, found: Facts, dialect: Dialect, over: str = "") -> str:
    """Return one owner's aggregate: over exact integers, dividing last, whatever the order of rows.

    ``over`` makes it a window of the owner's rows.
    """
    if aggregate.argument is None:
        return f"COUNT(*){over}"
    value = below.write(aggregate.argument, dialect)
    match aggregate.kind:
        case "count" | "count_rows" | "exists":
            return f"COUNT({value}){over}"
        case "count_distinct":
            return f"COUNT(DISTINCT {value}){over}"
        case "only" if aggregate.argument.kind == "boolean":
            return f"{writer(dialect).either(value)}{over}"
        case "least" | "only":
            return f"MIN({value}){over}"
        case "greatest":
            return f"MAX({value}){over}"
        case "sum" | "average":
            about = known(aggregate.argument, found.columns)
            assert about.bounds is not None  # lowering refuses to sum what has none
            exact = quantum(about.kind, about.scale, *about.bounds)
            whole = quantised(value, exact, dialect)
            if aggregate.kind == "sum" and about.kind == "integer":
                # A whole number in the engine too: a double would equal many keys of a table that it is joined with.
                # Its step is 1, or a power of two above it where the bounds are wide.
                return writer(dialect).folded_sum(whole, int(exact.step), over)
            total = writer(dialect).folded_double(whole, over)
            parts = f"COUNT({whole}){over}"
            if exact.how == "decimal":
                # Rounded once, to the double that is nearest: a product with 0.01, itself rounded, may miss it.
                parts, step = f"({parts} * {exact.step.denominator})", f" / {exact.step.denominator}"
            else:
                step = f" * {constant(Constant(exact.step, 'float'), dialect)}"
            if aggregate.kind == "sum":
                return f"COALESCE({total}{step}, 0)"
            return f"{total}{'' if exact.how == 'decimal' else step} / NULLIF({parts}, 0)"
    assert_never(aggregate.kind)
