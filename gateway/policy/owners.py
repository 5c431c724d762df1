"""Who owns a row: the declared owner paths, followed to the privacy unit and checked against the catalogue."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from gateway.policy.document import Document, Problem, TableSpec, UnitSpec
from gateway.policy.model import Hop, Owner, Physical, RowOwner, TableShape


def find_owners(
    document: Document, shapes: Mapping[str, TableShape]
) -> tuple[Mapping[str, Owner | RowOwner], list[Problem]]:
    """Return the owner of each private table that has a sound one, and what is wrong with the others."""
    problems: list[Problem] = []
    owners: dict[str, Owner | RowOwner] = {}
    unit = document.privacy_unit
    if isinstance(unit, UnitSpec) and unit.table is not None:
        problems += _unit_table(document, unit.table)
    for name, spec in document.tables.items():
        path = f"tables.{name}"
        if spec.public:
            problems += _public(spec, path)
        elif not isinstance(unit, UnitSpec):
            owners[name] = RowOwner()
            problems += _row(spec, path)
        else:
            owner = _Walk(document, unit, shapes).owner(name)
            if isinstance(owner, Problem):
                problems.append(owner)
            else:
                owners[name] = owner
    if isinstance(unit, UnitSpec):
        problems += _one_type(unit, owners, shapes)
        for name in owners:
            problems += _about_others(document, unit, name, shapes)
    return owners, problems


def _unit_table(document: Document, table: str) -> Iterator[Problem]:
    spec = document.tables.get(table)
    if spec is None:
        yield Problem("privacy_unit.table", f"{table} is not among the tables")
    elif spec.public:
        yield Problem(f"tables.{table}.public", "the privacy unit's own table cannot be public")
    elif spec.owner is not None:
        yield Problem(f"tables.{table}.owner", "the privacy unit's own table is owned by its key: leave this out")


def _public(spec: TableSpec, path: str) -> Iterator[Problem]:
    for name in ("owner", "max_rows_per_unit", "also_about"):
        if getattr(spec, name):
            yield Problem(f"{path}.{name}", "a public table has no owner: say either this or public")


def _row(spec: TableSpec, path: str) -> Iterator[Problem]:
    if spec.owner is not None:
        yield Problem(f"{path}.owner", "with privacy_unit: row each row is its own owner")
    if spec.max_rows_per_unit not in (None, 1):
        yield Problem(f"{path}.max_rows_per_unit", "with privacy_unit: row a unit has one row")
    if spec.also_about:
        yield Problem(f"{path}.also_about", "with privacy_unit: row no column leads to a unit")


class _Walk:
    """One walk from a table to the privacy unit."""

    def __init__(self, document: Document, unit: UnitSpec, shapes: Mapping[str, TableShape]) -> None:
        self._document, self._unit, self._shapes = document, unit, shapes

    def owner(self, table: str, trail: tuple[str, ...] = ()) -> Owner | Problem:
        """Return the owner of a table's rows, or why there is none; ``trail`` holds the tables passed before."""
        unit, spec = self._unit, self._document.tables[table]
        at = f"tables.{trail[0] if trail else table}.owner"
        if table in trail:
            return Problem(at, f"the owner path runs in a circle through {table}")
        if table == unit.table:
            return self._column(at, table, unit.key) or Owner((), unit.key)
        match spec.owner:
            case None:
                if trail:
                    return Problem(at, f"the owner path ends at {table}, which has no owner")
                return Problem(f"tables.{table}", "neither public nor owned: add owner: {column: table.key}, or public")
            case str(column):
                if unit.table is not None:
                    return Problem(at, f"say which key it references: {{{column}: {unit.table}.{unit.key}}}")
                return self._column(at, table, column) or Owner((), column)
            case link:
                return self._follow(at, table, link, (*trail, table))

    def _follow(self, at: str, table: str, link: Mapping[str, str], trail: tuple[str, ...]) -> Owner | Problem:
        if len(link) != 1:
            return Problem(at, "one column references one key: {column: table.key}")
        [(column, reference)] = link.items()
        target, _, key = reference.rpartition(".")
        if target not in self._document.tables:
            return Problem(at, f"{reference} leads nowhere: it is not table.key of a declared table")
        if self._document.tables[target].public:
            return Problem(at, f"{target} is public: an owner path leads through private tables")
        wrong = self._column(at, table, column) or self._column(at, target, key)
        if wrong:
            return wrong
        here, there = self._physical(table, column), self._physical(target, key)
        if here != there:
            return Problem(at, f"{table}.{column} is {_said(here)}, but {reference} is {_said(there)}")
        if target == self._unit.table and key == self._unit.key:
            return Owner((), column)
        rest = self.owner(target, trail)
        return rest if isinstance(rest, Problem) else Owner((Hop(column, target, key), *rest.hops), rest.column)

    def _physical(self, table: str, column: str) -> Physical | None:
        shape = self._shapes.get(table)
        return shape.physical(column) if shape else None

    def _column(self, at: str, table: str, column: str) -> Problem | None:
        """Return why a column cannot stand in an owner path.

        Why exact columns only: an owner is a value, and two engines' comparisons, the GROUP BY that the rewriting adds
        and the canonical form at the scan must agree on which values are one. NaN, -0, rounding and collations are
        exactly where they do not.
        """
        shape = self._shapes.get(table)
        if shape is None:
            return None if table in self._document.tables else Problem(at, f"there is no table {table}")
        if not any(name == column for name, _, _ in shape.columns):
            return Problem(at, f"{table} has no column {column}")
        physical = shape.physical(column)
        if physical is None:
            return Problem(at, f"{table}.{column} is of a type that is not read")
        if not names_units(physical):
            return Problem(
                at, f"{table}.{column} is {_said(physical)}: an owner column has one exact form for each value"
            )
        return None


def names_units(physical: Physical) -> bool:
    """Whether equality of the stored values is identity: no floats, no decimals without scale, no collations."""
    if physical.kind == "float" or (physical.kind == "decimal" and physical.scale is None):
        return False
    return physical.exact


def _said(physical: Physical | None) -> str:
    return physical.name if physical else "of a type that is not read"


def _one_type(
    unit: UnitSpec, owners: Mapping[str, Owner | RowOwner], shapes: Mapping[str, TableShape]
) -> Iterator[Problem]:
    """All owner columns of the unit are stored alike, so that a value means one unit wherever it stands."""
    first: tuple[str, Physical] | None = None
    ordered = sorted(owners, key=lambda name: name != unit.table)
    for name in ordered:
        owner = owners[name]
        if not isinstance(owner, Owner):
            continue
        last = owner.hops[-1].table if owner.hops else name
        shape = shapes.get(last)
        physical = shape.physical(owner.column) if shape else None
        if physical is None:
            continue
        said = f"{last}.{owner.column}"
        if first is None:
            first = said, physical
        elif physical != first[1]:
            message = f"{said} is {physical.name}, but {first[0]} is {first[1].name}: one unit has one exact type"
            yield Problem(f"tables.{name}.owner", message)


ANYBODYS = frozenset({"id", "key", "code", "no", "nr", "number", "name", "uuid", "uid"})
"""Names that every table gives to its own key: a column of such a name says nothing about people elsewhere."""


def _about_others(
    document: Document, unit: UnitSpec, table: str, shapes: Mapping[str, TableShape]
) -> Iterator[Problem]:
    """Find columns that lead to a second person, whom the declared owner does not protect.

    Why it matters: a message's row is removed with its sender alone. What it tells of the receiver stays, so that the
    promise does not cover the receiver; that has to be somebody's decision, in the file, and never an oversight.
    """
    spec, shape = document.tables[table], shapes.get(table)
    if shape is None:
        return
    own = unit.key if table == unit.table else next(iter(spec.owner)) if isinstance(spec.owner, dict) else spec.owner
    names = {name for name, _, _ in shape.columns}
    for column in spec.also_about:
        if column not in names:
            yield Problem(f"tables.{table}.also_about.{column}", f"{table} has no column {column}")
        elif column == own:
            yield Problem(f"tables.{table}.also_about.{column}", "this is the owner itself")
    people = {key.table for key in shape.foreign_keys if key.columns == (own,)} if unit.table is None else {unit.table}
    found = {column for key in shape.foreign_keys if key.table in people for column in key.columns}
    if unit.key.lower() not in ANYBODYS:
        found |= {name for name in names if name.lower() == unit.key.lower()}
    for column in sorted(found - {own} - set(spec.also_about)):
        yield Problem(
            f"tables.{table}",
            f"{column} leads to a second privacy unit: only the owner {own} is protected; "
            f"make it the owner, or accept it with also_about: {{{column}: unprotected}}",
        )
    yield from _other_key(table, spec.owner, shape, people)


def _other_key(
    table: str, link: Mapping[str, str] | str | None, shape: TableShape, people: Collection[str]
) -> Iterator[Problem]:
    """Find an owner path that begins at the column which names a person, and leads to somebody else.

    Why it is refused: the catalogue says whom the column names, and that person's part would not be protected.
    """
    if not isinstance(link, Mapping) or len(link) != 1:
        return
    [(column, reference)] = link.items()
    named = [f"{key.table}.{key.keys[0]}" for key in shape.foreign_keys if key.columns == (column,) and key.keys]
    if reference.lower() in {name.lower() for name in named}:
        return
    for name in sorted(name for name in named if name.rpartition(".")[0] in people):
        yield Problem(f"tables.{table}.owner", f"the database says that {column} references {name}, not {reference}")
