"""What a policy says, resolved against the database's own schema: the only facts about data that planning may use.

Everything here is immutable and public to analysts (columns, bounds, domains), and nothing here was read from rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from fractions import Fraction
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

Type: TypeAlias = Literal["integer", "number", "text", "boolean", "date", "timestamp"]
"""The types of the policy file; a scalar expression has one of them."""

Value: TypeAlias = int | Fraction | str | bool | date | datetime | None
"""One canonical value of a column: numbers exact, dates as dates, NULL as None."""


Dialect: TypeAlias = Literal["duckdb", "postgres", "sqlite", "spark", "mysql"]
"""The dialects in which bounded SQL is written, by sqlglot's names."""

DIALECTS: tuple[Dialect, ...] = get_args(Dialect)


@dataclass(frozen=True, slots=True)
class Physical:
    """How the database stores a column.

    ``kind`` says how it is made canonical at the scan; ``scale`` is the number of decimals of a ``decimal`` (None where
    the database does not fix one); ``name`` is the database's own word, for messages to admins and for the comparison
    that finds a column retyped after ``dataset apply``. ``exact`` is False where the database holds different values
    for equal (case-insensitive text, a collation, blank-padded text): such a column names no owner and no key.
    """

    kind: Literal["integer", "float", "decimal", "text", "boolean", "date", "timestamp"]
    name: str
    scale: int | None = None
    exact: bool = True


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key that the catalogue declares, validated or not: what rows are about, not that they are clean."""

    columns: tuple[str, ...]
    table: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableShape:
    """What the database's catalogue says of one table.

    ``columns`` maps names to (physical type, NOT NULL enforced); ``unique`` holds the column sets under a validated
    PRIMARY KEY or UNIQUE constraint; columns of types that Discreet does not read have a physical of None; ``view``
    whether its rows are computed from other tables, or chosen among its own, by a query that Discreet does not read.

    Why ``unique`` is sound as a fact: the engines list only sets of exact columns (no floats, no collations: equality
    there is identity, also after values were made canonical), and sets of several columns only if all of them are NOT
    NULL. A set of one column may hold NULL many times: at most one row *for each value*, NULL being none.
    """

    columns: tuple[tuple[str, Physical | None, bool], ...]
    unique: frozenset[frozenset[str]]
    foreign_keys: frozenset[ForeignKey] = frozenset()
    view: bool = False

    def physical(self, column: str) -> Physical | None:
        """Return how a column is stored, None if there is no such column or it is not read."""
        return next((physical for name, physical, _ in self.columns if name == column), None)


@dataclass(frozen=True, slots=True)
class Column:
    """One declared column.

    ``lower`` and ``upper`` are inclusive bounds (numbers as Fractions, dates as dates), None where undeclared;
    ``values`` the declared public domain in the policy's order, NULL not among them; ``nullable`` is False only where
    the policy says so or the database enforces it (then NULLs are dropped from keys, never trusted to be absent).
    """

    name: str
    type: Type
    physical: Physical
    lower: Fraction | date | datetime | None = None
    upper: Fraction | date | datetime | None = None
    values: tuple[Value, ...] | None = None
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of an owner path: ``column`` of the table at hand references ``table``.``key``."""

    column: str
    table: str
    key: str


@dataclass(frozen=True, slots=True)
class Owner:
    """How a row of a private table finds its owner: joins along ``hops``, then ``column`` of the last table reached.

    No hops and the unit's key for the unit table itself; no hops and the foreign key for a table that references the
    unit's key directly, so that a key value that no unit table holds still is a unit (DESIGN section 1).
    """

    hops: tuple[Hop, ...]
    column: str


@dataclass(frozen=True, slots=True)
class RowOwner:
    """``unit: row``: every row of a private table is a privacy unit of its own."""


@dataclass(frozen=True, slots=True)
class Copy:
    """What holds by construction of a table's copy in a prepared dataset (``gateway.policy.prepared``).

    ``owner`` is the column that holds each row's owner; ``most`` how many rows one owner has at most, all others having
    been left out; ``unique`` the column sets that the catalogue of the copy enforces.
    """

    owner: str | None
    most: int | None
    unique: frozenset[frozenset[str]]


@dataclass(frozen=True, slots=True)
class Listing:
    """The different rows that some columns of a public table had when its policy was applied, in a fixed order."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True)
class Ends:
    """The least and the greatest value that a column of a public table had when its policy was applied."""

    column: str
    lower: Fraction | date
    upper: Fraction | date


Listings: TypeAlias = Mapping[str, tuple[Listing | Ends, ...]]
"""What public tables held, by their names: one list of all columns or one each, and ends of what none bounds."""

NO_LISTINGS: Final[Listings] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Table:
    """One declared table: private with an owner, or public without one.

    ``max_rows_per_unit`` bounds an owner's rows of this table and is enforced by each query; ``unique`` holds the
    column sets that the database's catalogue enforces as unique; ``unique_owner`` is whether the catalogue makes the
    owner's own column one of them, so that an owner has at most one row by construction. ``key`` is the declared key
    of a public table (its uniqueness is checked for each data version, not known from here); ``also_about`` names
    columns that lead to further people whom the promise does not cover in this table. Of a prepared dataset ``copy``
    says what is read in place of the table, whose rows' owners are found already. ``listings`` are what a public
    table's columns held when the policy was applied: lists that anybody may see, and no facts about what is there now;
    so are ``ends``, of columns that nobody declared bounds of.
    """

    name: str
    columns: tuple[Column, ...]
    owner: Owner | RowOwner | None
    max_rows_per_unit: int | None = None
    unique: frozenset[frozenset[str]] = frozenset()
    key: str | None = None
    also_about: tuple[str, ...] = ()
    copy: Copy | None = None
    listings: tuple[Listing, ...] = ()
    ends: tuple[Ends, ...] = ()

    @property
    def public(self) -> bool:
        """Whether anybody may see the table as it is."""
        return self.owner is None

    @property
    def unique_owner(self) -> bool:
        """Whether the catalogue enforces at most one row an owner."""
        if self.copy is not None:
            return self.copy.most == 1
        return isinstance(self.owner, Owner) and not self.owner.hops and frozenset({self.owner.column}) in self.unique

    @property
    def hops(self) -> tuple[Hop, ...]:
        """The joins by which a row of what is read finds its owner: none where a copy holds the owner."""
        return self.owner.hops if isinstance(self.owner, Owner) and self.copy is None else ()

    def column(self, name: str) -> Column | None:
        """Return the declared column of that exact name."""
        return next((column for column in self.columns if column.name == name), None)

    def held(self, column: str) -> tuple[Value, ...] | None:
        """Return the values but NULL that a column of a public table had, None if they are in no list."""
        rows = self.listing((column,))
        return None if rows is None else tuple(value for (value,) in rows if value is not None)

    def listing(self, columns: Iterable[str]) -> tuple[tuple[Value, ...], ...] | None:
        """Return the different rows that columns had together, None if no list holds all of them."""
        wanted = tuple(columns)
        for listing in self.listings:
            if set(wanted) <= set(listing.columns):
                places = [listing.columns.index(name) for name in wanted]
                return tuple(dict.fromkeys(tuple(row[place] for place in places) for row in listing.rows))
        return None


@dataclass(frozen=True, slots=True)
class PerQuery:
    """What one request may cost at most (``max_epsilon``) and its ``delta``; in units of ``mechanisms.loss``."""

    max_epsilon: int
    delta: int


@dataclass(frozen=True, slots=True)
class Cap:
    """The budget of a dataset over all analysts together, in units of ``mechanisms.loss``."""

    epsilon: int
    delta: int
    gaussian: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """When the next data version begins by itself: each day, Monday or first of a month, at a minute of the day."""

    every: Literal["day", "week", "month"]
    minute: int
    time_zone: str


@dataclass(frozen=True, slots=True)
class Preparation:
    """A copy of a dataset's rows, read in place of them: its name, and the URL of the engine that holds it."""

    id: str
    engine: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset as planning sees it: a policy version resolved against the schema that ``apply`` found.

    ``shapes`` are the catalogue entries of all tables that plans may touch; execution compares them again inside the
    reading transaction, since a fact that the catalogue no longer enforces is no fact. ``views`` are named queries in
    the dataset's dialect, each of which may use those before it. ``preparation`` is the copy that plans read
    in place of the data, with its own ``shapes``, None where they read the data itself.
    """

    name: str
    version: int
    engine: str
    dialect: Dialect
    tables: tuple[Table, ...]
    cap: Cap
    per_query: PerQuery
    max_groups_contributed: int | None = None
    data_version: int = 1
    schedule: Schedule | None = None
    shapes: tuple[tuple[str, TableShape], ...] = ()
    views: tuple[tuple[str, str], ...] = ()
    preparation: Preparation | None = None

    def table(self, name: str) -> Table | None:
        """Return the table that an unquoted or exact name means, None if there is none or more than one."""
        exact = [table for table in self.tables if table.name == name]
        loose = [table for table in self.tables if table.name.lower() == name.lower()]
        found = exact or loose
        return found[0] if len(found) == 1 else None

    def owner_column(self, table: Table) -> Column:
        """Return the column that holds the owner of an owned table's rows: of the last table that its path reaches.

        A copy holds the same values in a column of its own.
        """
        assert isinstance(table.owner, Owner)
        reached = self.table(table.owner.hops[-1].table) if table.owner.hops else table
        assert reached is not None
        found = reached.column(table.owner.column)
        assert found is not None
        return found if table.copy is None or table.copy.owner is None else replace(found, name=table.copy.owner)
