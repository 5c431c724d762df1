"""A document made into the dataset that planning sees, against the catalogue of its database; all problems at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal

from budget.windows import checked_timezone
from gateway.policy.document import Document, PolicyInvalid, Problem, TableSpec, UnitSpec, exact
from gateway.policy.model import (
    NO_LISTINGS,
    Cap,
    Column,
    Dataset,
    Dialect,
    Ends,
    Listing,
    Listings,
    PerQuery,
    Schedule,
    Table,
    TableShape,
)
from gateway.policy.owners import find_owners, names_units
from gateway.policy.typed import declared, undeclared
from mechanisms.loss import DELTA_UNIT, AmountError, Rounding, delta_units, epsilon_units


def resolve(
    document: Document,
    shapes: Mapping[str, TableShape],
    dialect: Dialect,
    version: int,
    data_version: int = 1,
    listings: Listings = NO_LISTINGS,
) -> Dataset:
    """Return the dataset that a document declares.

    ``shapes`` are the catalogue's entries of the document's tables, by the database's own spelling; ``version`` counts
    the policies of a dataset, ``data_version`` its data; ``listings`` is what public tables held. Raises
    ``PolicyInvalid`` with every problem.
    """
    problems = list(_distinct("tables", document.tables))
    problems += _views(document)
    owners, wrong = find_owners(document, shapes)
    problems += wrong
    tables: list[Table] = []
    for name, spec in document.tables.items():
        shape = shapes.get(name)
        if shape is None:
            problems.append(Problem(f"tables.{name}", "the database has no such table or view"))
            continue
        problems += _view(name, spec, shape)
        columns = _columns(name, spec, shape, _path_columns(document, name), problems)
        problems += _key(name, spec, shape)
        rows = _rows(document, name, spec)
        about = tuple(spec.also_about)
        owner, held = owners.get(name), listings.get(name, ()) if spec.public else ()
        lists = tuple(each for each in held if isinstance(each, Listing))
        ends = tuple(each for each in held if isinstance(each, Ends))
        tables.append(Table(name, columns, owner, rows, shape.unique, spec.key, about, listings=lists, ends=ends))
    cap, per_query = _amounts(document, problems)
    schedule = scheduled(document, problems)
    if problems:
        raise PolicyInvalid(list(dict.fromkeys(problems)))
    return Dataset(
        name=document.dataset,
        version=version,
        engine=document.engine,
        dialect=dialect,
        tables=tuple(tables),
        cap=cap,
        per_query=per_query,
        max_groups_contributed=document.max_groups_contributed,
        data_version=data_version,
        schedule=schedule,
        shapes=tuple((name, shapes[name]) for name in document.tables),
        views=tuple(document.views.items()),
    )


def _distinct(path: str, names: Iterable[str]) -> Iterable[Problem]:
    """One physical table stands once: DuckDB and unquoted SQL do not tell Visit from visit."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            yield Problem(f"{path}.{name}", f"differs from {other} only in upper and lower case")


def _views(document: Document) -> Iterator[Problem]:
    """Refuse a view that has a table's name, or another view's but for upper and lower case."""
    seen = {name.lower(): name for name in document.tables}
    for name in document.views:
        other = seen.setdefault(name.lower(), name)
        if name in document.tables or other != name:
            yield Problem(f"views.{name}", f"the name is that of {other}")


def _path_columns(document: Document, table: str) -> Iterable[str]:
    """Yield the columns that owner paths and keys name: analysts join on them, so they are columns of the dataset."""
    unit, spec = document.privacy_unit, document.tables[table]
    if isinstance(unit, UnitSpec) and unit.table == table:
        yield unit.key
    match spec.owner:
        case str(column):
            yield column
        case dict(link):
            yield from link
        case None:
            pass
    for other in document.tables.values():
        for reference in other.owner.values() if isinstance(other.owner, dict) else ():
            target, _, key = reference.rpartition(".")
            if target == table:
                yield key
    if spec.key is not None:
        yield spec.key


def _view(name: str, spec: TableSpec, shape: TableShape) -> Iterator[Problem]:
    """Refuse a private view that nobody vouches for.

    Why it matters: a row of a view that limits, ranks, aggregates or joins may hang on other people's rows, and then no
    bound on one person's part holds. The view's query is not read; somebody has to say that it is row-wise.
    """
    if shape.view and not spec.public and not spec.row_wise_view:
        yield Problem(
            f"tables.{name}",
            "this is a view, or its rows are chosen by row-level security, or lie elsewhere: say row_wise_view: true "
            "if each of its rows comes of one row of one table, or of rows of one owner alone, whatever other people's "
            "rows are",
        )
    if spec.row_wise_view and not shape.view:
        yield Problem(f"tables.{name}.row_wise_view", "this is a table")


def _columns(
    table: str, spec: TableSpec, shape: TableShape, implied: Iterable[str], problems: list[Problem]
) -> tuple[Column, ...]:
    stored = {name: (physical, not_null) for name, physical, not_null in shape.columns}
    problems += _distinct(f"tables.{table}.columns", spec.columns or ())
    columns: dict[str, Column] = {}
    for name, column_spec in (spec.columns or {}).items():
        path = f"tables.{table}.columns.{name}"
        physical, not_null = stored.get(name, (None, False))
        if name not in stored:
            problems.append(Problem(path, f"{table} has no such column"))
        elif physical is None:
            problems.append(Problem(path, "of a type that is not read: declare a view that casts it"))
        else:
            column, wrong = declared(name, column_spec, physical, not_null=not_null, path=path)
            problems += wrong
            if column is not None:
                columns[name] = column
    every = stored if spec.public and spec.columns is None else ()
    for name in (*implied, *every):
        physical, not_null = stored.get(name, (None, False))
        if physical is not None and name not in columns and name not in (spec.columns or {}):
            columns[name] = undeclared(name, physical, not_null=not_null)
    return tuple(columns.values())


def _key(table: str, spec: TableSpec, shape: TableShape) -> Iterable[Problem]:
    if spec.key is None:
        return
    path = f"tables.{table}.key"
    physical = shape.physical(spec.key)
    if not spec.public:
        yield Problem(path, "only a public table declares a key; a private one has an owner")
    elif physical is None:
        yield Problem(path, f"{table} has no column {spec.key} of a type that is read")
    elif not names_units(physical):
        yield Problem(path, f"{spec.key} is {physical.name}: a key has one exact form for each value")


def _rows(document: Document, table: str, spec: TableSpec) -> int | None:
    """Return the rows of a table that one unit may have: one in the unit's own table unless the policy says more."""
    unit = document.privacy_unit
    alone = not spec.public and (not isinstance(unit, UnitSpec) or unit.table == table)
    return spec.max_rows_per_unit or (1 if alone else None)


def scheduled(document: Document, problems: list[Problem]) -> Schedule | None:
    """Return when data versions begin by themselves, None if never; a problem is added to those given."""
    stated = document.data_version
    if stated is None:
        return None
    try:
        zone = checked_timezone(stated.time_zone)
    except ValueError as error:
        problems.append(Problem("data_version.time_zone", str(error)))
        return None
    hours, _, minutes = stated.at.partition(":")
    return Schedule(stated.every, int(hours) * 60 + int(minutes), zone)


def _amounts(document: Document, problems: list[Problem]) -> tuple[Cap, PerQuery]:
    def units(path: str, figure: object, convert: Callable[[Decimal, Rounding], int], *, positive: bool) -> int:
        number = exact(figure)
        try:
            found = convert(number if number is not None else Decimal("nan"), "down")
        except AmountError as error:
            problems.append(Problem(path, str(error)))
            return 0
        if positive and found == 0:
            problems.append(Problem(path, "must be above 0"))
        return found

    budget, each = document.budget, document.per_query
    cap = Cap(
        units("budget.epsilon", budget.epsilon, epsilon_units, positive=True),
        units("budget.delta", budget.delta, delta_units, positive=False),
        budget.gaussian,
    )
    per_query = PerQuery(
        units("per_query.max_epsilon", each.max_epsilon, epsilon_units, positive=True),
        units("per_query.delta", each.delta, delta_units, positive=False),
    )
    if cap.delta == DELTA_UNIT:
        problems.append(Problem("budget.delta", "must be below 1: with delta 1 anything may happen"))
    if per_query.delta > cap.delta:
        problems.append(Problem("per_query.delta", "above budget.delta: no request that needs a delta would fit"))
    return cap, per_query
