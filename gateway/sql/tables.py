"""The algebra above the frontier: noisy tables, and what is computed from them and from nothing else.

Why all of it is sound: a release is the only leaf that holds anything of private rows, and it is noisy; whatever is
computed from noisy tables and public ones alone is post-processing, which loses nothing of the promise. What the nodes
have to keep is of another kind: the same noisy tables give the same answer (each order is made total, so that a retry
sees what was seen before), no value raises, and no row count explodes (``gateway.sql.above.sizes``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias, assert_never

from gateway.policy.model import Type
from gateway.sql.algebra import Ordering, Ref, Relation, Release, Scalar, feeds

Role: TypeAlias = Literal["key", "noisy", "derived", "public"]


@dataclass(frozen=True, slots=True)
class One:
    """One row without columns: what a SELECT without FROM stands over."""


@dataclass(frozen=True, slots=True)
class Exact:
    """Rows of public tables as they are, each column under a name of its own."""

    source: Relation
    columns: tuple[tuple[str, Ref], ...]


@dataclass(frozen=True, slots=True)
class Keep:
    """The rows for which a predicate is true (neither false nor NULL)."""

    source: Public
    predicate: Scalar


@dataclass(frozen=True, slots=True)
class Pick:
    """One expression a column, row by row."""

    source: Public
    columns: tuple[tuple[str, Scalar], ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Pairs of rows for which ``on`` is true; the sides that ``kind`` names also keep rows without a pair."""

    kind: Literal["inner", "left", "right", "full"]
    left: Public
    right: Public
    on: Scalar | None


@dataclass(frozen=True, slots=True)
class Summary:
    """One aggregate over rows of noisy tables: ``distinct`` counts or sums each value once."""

    kind: Summarised
    argument: Scalar
    distinct: bool


Summarised: TypeAlias = Literal[
    "count", "sum", "average", "least", "greatest", "median", "var_pop", "var_samp", "stddev_pop", "stddev_samp"
]


@dataclass(frozen=True, slots=True)
class Group:
    """A row for each key, or one row where there is no key."""

    source: Public
    keys: tuple[tuple[str, Scalar], ...]
    aggregates: tuple[tuple[str, Summary], ...]


@dataclass(frozen=True, slots=True)
class Windowed:
    """One window function; ``total`` where its order is completed by the order of the rows, so that no tie decides.

    ``frame`` is text of our own: ``ROWS BETWEEN 1 PRECEDING AND CURRENT ROW``.
    """

    function: str
    args: tuple[Scalar, ...]
    partition: tuple[Scalar, ...]
    order: tuple[Ordering, ...]
    frame: str | None
    total: bool


@dataclass(frozen=True, slots=True)
class Over:
    """The rows of the source, each with the value of some window functions."""

    source: Public
    windows: tuple[tuple[str, Windowed], ...]


@dataclass(frozen=True, slots=True)
class Distinct:
    """Each row once."""

    source: Public


@dataclass(frozen=True, slots=True)
class Merge:
    """Rows of two tables by position, called ``columns``; with ``every`` a row counts as often as it occurs."""

    kind: Literal["union", "except", "intersect"]
    every: bool
    columns: tuple[str, ...]
    left: Public
    right: Public


@dataclass(frozen=True, slots=True)
class Sort:
    """An order and a limit."""

    source: Public
    order: tuple[Ordering, ...]
    limit: int | None
    offset: int


@dataclass(frozen=True, slots=True)
class Attach:
    """The rows of the source, each with what is asked of another table, which does not refer to them.

    ``value``: its only row's only column, NULL without a row. ``member``: whether ``subject`` is among its values.
    ``exists``: whether it has a row.
    """

    source: Public
    name: str
    how: Literal["value", "member", "exists"]
    subject: Scalar | None
    table: Public


Public: TypeAlias = One | Release | Exact | Keep | Pick | Pair | Group | Over | Distinct | Merge | Sort | Attach


@dataclass(frozen=True, slots=True)
class Query:
    """A lowered question: a public table and the names and roles of its columns, in the analyst's order."""

    table: Public
    columns: tuple[OutputColumn, ...]

    @property
    def releases(self) -> tuple[Release, ...]:
        """The releases that the answer is computed from, inner ones first, equal ones once."""
        return tuple(dict.fromkeys(found for found in nodes(self.table) if isinstance(found, Release)))

    @property
    def exacts(self) -> tuple[Exact, ...]:
        """The public rows that the answer is computed from, each once."""
        return tuple(dict.fromkeys(found for found in nodes(self.table) if isinstance(found, Exact)))


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """One column of the answer: ``name`` as the analyst sees it, ``column`` in the table.

    ``sources`` names the columns of releases (by the release's place) that it is unchanged, ``interval`` the columns of
    the table that hold the ends of its interval.
    """

    name: str
    column: str
    type: Type
    role: Role
    sources: tuple[tuple[int, str], ...] = ()
    interval: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """What is known of a column of a public table; see ``OutputColumn``.

    ``scale`` are the decimals of a number, ``bounds`` what its values lie between, whatever the noise was.
    """

    type: Type
    role: Role
    scale: int | None = None
    sources: tuple[tuple[Release, str], ...] = ()
    interval: tuple[str, str] | None = None
    bounds: tuple[Fraction, Fraction] | None = None


def below(table: Public) -> tuple[Public, ...]:
    """Return the tables that one is computed from."""
    match table:
        case One() | Exact():
            return ()
        case Release(source):
            return tuple(found.table for found in feeds(source))
        case Keep() | Pick() | Group() | Over() | Distinct() | Sort():
            return (table.source,)
        case Pair() | Merge():
            return (table.left, table.right)
        case Attach():
            return (table.source, table.table)
    assert_never(table)


def nodes(table: Public) -> Iterator[Public]:
    """Yield a table and all that it is computed from, inner ones first."""
    for found in below(table):
        yield from nodes(found)
    yield table


def columns(table: Public) -> tuple[str, ...]:
    """Return the names of a table's columns."""
    match table:
        case One():
            return ()
        case Release(_, keys, aggregates):
            ends = (end for name, _ in aggregates for end in (name, *ends_of(name)))
            return (*(name for name, _ in keys), *ends)
        case Keep(source) | Distinct(source) | Sort(source):
            return columns(source)
        case Exact(_, exact):
            return tuple(name for name, _ in exact)
        case Pick(_, found):
            return tuple(name for name, _ in found)
        case Pair(_, left, right):
            return (*columns(left), *columns(right))
        case Group(_, keys, summaries):
            return (*(name for name, _ in keys), *(name for name, _ in summaries))
        case Over(source, windows):
            return (*columns(source), *(name for name, _ in windows))
        case Merge(_, _, found):
            return found
        case Attach(source, name):
            return (*columns(source), name)
    assert_never(table)


def ends_of(name: str) -> tuple[str, str]:
    """Return what the columns beside a noisy one are called that hold the ends of its interval."""
    return f"{name}_low", f"{name}_high"


def single(table: Public) -> bool:
    """Whether a table has at most one row, whatever the noise was."""
    match table:
        case One():
            return True
        case Release(_, keys) | Group(_, keys):
            return not keys
        case Sort(source, _, limit):
            return (limit is not None and limit <= 1) or single(source)
        case Keep() | Pick() | Over() | Distinct() | Attach():
            return single(table.source)
        case Pair("inner", left, right):
            return single(left) and single(right)
        case Merge("except" | "intersect"):
            return single(table.left)
        case Exact() | Pair() | Merge():
            return False
    assert_never(table)


@dataclass(frozen=True, slots=True)
class Listed:
    """A lowered query over public tables: its table, and its columns as the query around sees them."""

    table: Public
    columns: tuple[tuple[str, Ref], ...]
    about: Mapping[str, Shown]
