"""The closed algebra of a question: frozen relations over frozen scalars; nothing of the analyst's tree survives.

Scalars are nodes of our own rather than sqlglot's: a plan has to be an immutable, hashable value, and an argument of
the parser's tree that lowering did not read cannot slip through when every node is built anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, TypeAlias

from gateway.errors import SqlRefused
from gateway.policy.model import Type, Value
from gateway.sql.functions import repeats

if TYPE_CHECKING:
    from gateway.sql.tables import Public

MOST_WRITTEN = 10_000
MOST_DEEP = 60
"""Limits of one expression, in nodes written out and in levels: what renders it walks it as a tree."""

Kind: TypeAlias = Literal["integer", "float", "decimal", "text", "boolean", "date", "timestamp"]
"""The kind of a scalar's values: the policy's types with ``number`` split into what the database really stores."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A column of the relation below, by its name there."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal of one type; NULL is the value None."""

    value: Value
    kind: Kind


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the allow-list (``gateway.sql.functions``) applied to arguments."""

    function: str
    args: tuple[Scalar, ...]
    kind: Kind
    size: int = field(init=False, repr=False, compare=False, default=0)
    depth: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        """Refuse an expression that is too large once written out: a subtree that stands twice is written twice."""
        size = 1 + sum(written(arg) * repeats(self.function, place) for place, arg in enumerate(self.args))
        depth = 1 + max((arg.depth for arg in self.args if isinstance(arg, Call)), default=0)
        if size > MOST_WRITTEN or depth > MOST_DEEP:
            raise SqlRefused(
                "sql-too-deep",
                "An expression is too large once it is written out.",
                hint="Names of the select list are written out where they are used; ask for fewer steps at once.",
            )
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "depth", depth)


def written(scalar: Scalar) -> int:
    """Return how many nodes a scalar has once it is written out."""
    return scalar.size if isinstance(scalar, Call) else 1


Scalar: TypeAlias = Ref | Constant | Call


@dataclass(frozen=True, slots=True)
class Scan:
    """The rows of a declared table, columns made canonical; a private table's rows belong to the owners of its path.

    ``number`` tells the scans of one query apart: column ``age`` of scan 2 is called ``age#2`` above.
    """

    table: str
    number: int

    def name(self, column: str) -> str:
        """Return what a column of the table is called in the relations above."""
        return f"{column}#{self.number}"


@dataclass(frozen=True, slots=True)
class Values:
    """Constant rows that the query writes out: a public relation of as many rows, with no table behind it."""

    number: int
    columns: tuple[tuple[str, Kind], ...]
    rows: tuple[tuple[Constant, ...], ...]


@dataclass(frozen=True, slots=True)
class FedColumn:
    """A column of released values: what it is called here and in its table, and the bounds that its values are held to.

    ``bounds`` are those of what was released (a mean lies between those of its column), enforced when it is written.
    """

    name: str
    kind: Kind
    source: str
    bounds: tuple[Fraction, Fraction] | None


@dataclass(frozen=True, slots=True)
class Fed:
    """A table above the frontier put among the rows of another release: computed first, then a list of constants.

    ``unique`` are sets of columns of which no two rows hold the same values; ``single`` says that there is at most one
    row. ``rows`` is None in a plan, where the values are named parameters.
    """

    number: int
    columns: tuple[FedColumn, ...]
    table: Public
    single: bool
    # A function of the table. In no text of a node: the order of a set is another one in each process, and what was
    # charged is told by that text (``Plan.fingerprint``).
    unique: frozenset[frozenset[str]] = field(repr=False)
    rows: tuple[tuple[Constant, ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """Pairs of rows for which ``on`` is true; ``left`` keeps the left side's rows without a pair.

    Two owned sides are always joined on their owners too, whatever ``on`` says.
    """

    kind: Literal["inner", "left"]
    left: Relation
    right: Relation
    on: Scalar | None


@dataclass(frozen=True, slots=True)
class SemiJoin:
    """The left rows that have a pair on the right (``anti``: that have none); two owned sides share the owner too."""

    left: Relation
    right: Relation
    on: Scalar | None
    anti: bool


@dataclass(frozen=True, slots=True)
class FoldAggregate:
    """One aggregate among the rows of one owner: exact, and the same whatever the order of rows.

    ``exists`` is whether there is any row; ``only`` the value of the one row that there may be.
    """

    kind: Literal["count_rows", "count", "count_distinct", "sum", "average", "least", "greatest", "exists", "only"]
    argument: Scalar | None


@dataclass(frozen=True, slots=True)
class Fold:
    """One owner's rows folded among themselves: a row for each key that the owner has, the owner always a key."""

    source: Relation
    number: int
    keys: tuple[tuple[str, Scalar], ...]
    aggregates: tuple[tuple[str, FoldAggregate], ...]


@dataclass(frozen=True, slots=True)
class Lookup:
    """The left rows, each with aggregates over its pairs on the right: what a subquery in an expression says of a row.

    Two owned sides share the owner too. ``aggregates`` are over columns of the right side alone.
    """

    left: Relation
    right: Relation
    number: int
    on: Scalar | None
    aggregates: tuple[tuple[str, FoldAggregate], ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """Which rows around the current one a window is over; None is the end of the partition on that side."""

    unit: Literal["rows", "range"]
    first: int | None
    last: int | None


@dataclass(frozen=True, slots=True)
class Ordering:
    """One sort key."""

    by: Scalar
    descending: bool
    nulls_first: bool


@dataclass(frozen=True, slots=True)
class WindowFunction:
    """One value for each row out of the rows of its partition, the owner always among what partitions.

    ``ties`` says whether the order has to be total: then every column of the relation below is appended to it.
    """

    kind: Literal[
        "row_number",
        "rank",
        "dense_rank",
        "lag",
        "lead",
        "first_value",
        "last_value",
        "count_rows",
        "count",
        "sum",
        "average",
        "least",
        "greatest",
    ]
    argument: Scalar | None
    partition: tuple[Scalar, ...]
    order: tuple[Ordering, ...]
    frame: Frame | None
    offset: int
    default: Constant | None
    ties: bool


@dataclass(frozen=True, slots=True)
class Window:
    """The rows of a relation, each with what window functions say of it."""

    source: Relation
    number: int
    functions: tuple[tuple[str, WindowFunction], ...]


@dataclass(frozen=True, slots=True)
class Combine:
    """Rows of two relations put together by position: all of both, or what a set operation keeps of them.

    ``columns`` names each column above and says what it is on the left and on the right; owners share the last place.
    """

    kind: Literal["append", "union", "except", "intersect"]
    left: Relation
    right: Relation
    number: int
    columns: tuple[tuple[str, Scalar, Scalar], ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """The rows for which a predicate is true (neither false nor NULL)."""

    source: Relation
    predicate: Scalar


@dataclass(frozen=True, slots=True)
class Project:
    """One expression a column, row by row."""

    source: Relation
    columns: tuple[tuple[str, Scalar], ...]


Spread: TypeAlias = Literal[
    "variance_population",
    "variance_sample",
    "deviation_population",
    "deviation_sample",
    "covariance_population",
    "covariance_sample",
    "correlation",
    "determination",
    "slope",
    "intercept",
]
"""Statistics of second moments: of one value, or of two."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate of a release.

    ``count_rows`` has no argument; ``count``, ``sum`` and ``average`` have one; ``count_owners`` counts privacy units.
    ``count_distinct`` counts different values; ``quantile`` is that of ``fraction``, 0 the least and 1 the greatest. Of
    two arguments, as SQL writes them (y, x), ``argument`` is y and ``second`` x; lowering makes both NULL where either
    is. ``limits`` hold each unit's
    part in a group (``contribution``).
    """

    kind: Literal["count_rows", "count", "sum", "average", "count_owners", "count_distinct", "quantile"] | Spread
    argument: Scalar | None
    result: Kind
    fraction: Fraction | None = None
    second: Scalar | None = None
    limits: tuple[Fraction, Fraction] | None = None

    @property
    def arguments(self) -> tuple[Scalar, ...]:
        """The values that it is over."""
        return tuple(found for found in (self.argument, self.second) if found is not None)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a privacy clause states for a release: an epsilon, a delta (in units), the groups that a unit may reach."""

    epsilon: int | None
    delta: int | None
    groups: int | None


@dataclass(frozen=True, slots=True)
class Release:
    """The frontier: an owned relation in, a noisy public table out.

    ``folded`` where the source has one row an owner and group, so that the groups an owner may reach bound its rows.
    ``within`` are the keys of the other grouping sets of its SELECT: what lies outside the public values of one of them
    is not counted here either, so that all sets count the same rows.
    """

    source: Relation
    keys: tuple[tuple[str, Scalar], ...]
    aggregates: tuple[tuple[str, Aggregate], ...]
    terms: Terms | None = None
    folded: bool = False
    within: tuple[Scalar, ...] = ()


Relation: TypeAlias = Scan | Values | Fed | Filter | Project | Join | SemiJoin | Lookup | Fold | Window | Combine
"""What stands below the frontier: rows of owners, or public rows that may meet them."""


def inputs(relation: Relation) -> tuple[Relation, ...]:
    """Return the relations that one is built from."""
    match relation:
        case Scan() | Values() | Fed():
            return ()
        case Filter(source) | Project(source) | Fold(source) | Window(source):
            return (source,)
        case Join(_, left, right) | SemiJoin(left, right) | Lookup(left, right) | Combine(_, left, right):
            return (left, right)


def feeds(relation: Relation) -> Iterator[Fed]:
    """Yield the released tables that stand among the rows of a relation."""
    if isinstance(relation, Fed):
        yield relation
    for source in inputs(relation):
        yield from feeds(source)


def type_of(kind: Kind) -> Type:
    """Return the policy's word for a kind."""
    return "number" if kind == "float" or kind == "decimal" else kind


def references(scalar: Scalar) -> frozenset[str]:
    """Return the names of the columns that a scalar reads."""
    match scalar:
        case Ref(name):
            return frozenset({name})
        case Constant():
            return frozenset()
        case Call(_, args):
            return frozenset().union(*(references(arg) for arg in args))


def conjuncts(predicate: Scalar) -> tuple[Scalar, ...]:
    """Return the parts of a conjunction, flattened."""
    if isinstance(predicate, Call) and predicate.function == "and":
        return tuple(part for arg in predicate.args for part in conjuncts(arg))
    return (predicate,)


def implied(predicate: Scalar) -> tuple[Scalar, ...]:
    """Return conditions that are true wherever a predicate is: its conjuncts, and what every disjunct of one says.

    ``(a = b AND x) OR (a = b AND y)`` is true only where ``a = b`` is.
    """
    found: dict[Scalar, None] = {}
    for part in conjuncts(predicate):
        found[part] = None
        if isinstance(part, Call) and part.function == "or":
            first, *others = ([*dict.fromkeys(implied(arg))] for arg in part.args)
            found |= dict.fromkeys(each for each in first if all(each in other for other in others))
    return tuple(found)
