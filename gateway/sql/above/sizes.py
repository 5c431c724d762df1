"""How many rows what is computed above the frontier may have, from public facts alone.

Why it is asked before anything is charged: a join of released tables multiplies their rows, and nothing but a static
bound keeps a short text from filling memory. A release has at most as many rows as its public groups, or as are shown
of any release; whatever stands above it is bounded by what it is made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from gateway.policy.model import Dataset
from gateway.sql.algebra import Call, Ref, Release, Scalar, conjuncts, feeds, references
from gateway.sql.inference.facts import facts
from gateway.sql.planning.choose import Bounds
from gateway.sql.planning.groups import count
from gateway.sql.planning.plan import PlannedRelease
from gateway.sql.refusals import refuse
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
    below,
    columns,
    nodes,
)

MOST_ROWS = 4_000_000
"""Rows of any table above the frontier."""

MOST_KEYS = 16
"""Sets of columns by which the rows of a join are known to be told apart."""

MOST_NODES = 2_000
"""Tables of one question, each counted as often as it is written out."""


@dataclass(frozen=True, slots=True)
class Size:
    """The most rows that a table has, and sets of columns of which no two rows hold the same values."""

    rows: int
    unique: frozenset[frozenset[str]] = frozenset()


def check(query: Query, planned: tuple[PlannedRelease, ...], dataset: Dataset, bounds: Bounds) -> None:
    """Refuse a question of which some table may have too many rows."""
    sizes: dict[Release | Exact, Size] = {found.release: _released(found, bounds.released_groups) for found in planned}
    sizes |= {found: _exact(found, dataset, bounds.public_rows) for found in query.exacts}
    known = _Sizes(sizes)
    known.of(query.table)
    for release in query.releases:
        for found in feeds(release.source):
            known.of(found.table)


def unique(table: Public) -> frozenset[frozenset[str]]:
    """Return sets of columns of which no two rows of a table hold the same values."""
    leaves: dict[Release | Exact, Size] = {}
    for found in nodes(table):
        if isinstance(found, Release):
            leaves[found] = Size(1, frozenset({frozenset(name for name, _ in found.keys)}))
        elif isinstance(found, Exact):
            leaves[found] = Size(1)
    return _Sizes(leaves).of(table).unique


def _exact(found: Exact, dataset: Dataset, most: int) -> Size:
    """Return the size of public rows; a key that the policy declares does to bound what is computed from them."""
    about = facts(found.source, dataset)
    names = {ref.name: name for name, ref in found.columns}
    keys = (frozenset(names[name] for name in key) for key in about.keys if key <= names.keys())
    return Size(most, frozenset(keys))


def written_out(table: Public) -> int:
    """Return how many tables one is made of, each counted as often as it stands in it; refuse too many."""
    count = 0
    rest = [table]
    while rest:
        count += 1
        if count > MOST_NODES:
            refuse(
                "sql-too-deep", hint="Queries of WITH are counted wherever they are used; use fewer of them at once."
            )
        rest += below(rest.pop())
    return count


def _released(planned: PlannedRelease, most_groups: int) -> Size:
    rows = most_groups
    if planned.public:
        groups = count(planned.keys, planned.joint, most_groups)
        rows = most_groups if groups is None else groups
    return Size(rows, frozenset({frozenset(key.name for key in planned.keys)}))


@dataclass(slots=True)
class _Sizes:
    leaves: Mapping[Release | Exact, Size]
    seen: dict[Public, Size] = field(default_factory=dict)

    def of(self, table: Public) -> Size:
        found = self.seen.get(table)
        if found is None:
            found = self.seen[table] = self._size(table)
            if found.rows > MOST_ROWS:
                refuse(
                    "post-too-large",
                    hint="Join released tables on their group keys, or cut them by LIMIT before.",
                )
        return found

    def _size(self, table: Public) -> Size:
        match table:
            case One():
                return Size(1, frozenset({frozenset()}))
            case Release() | Exact():
                return self.leaves[table]
            case Keep(source, predicate):
                # A join by WHERE is one by ON: the condition keeps the pairs that it keeps there.
                while isinstance(source, Attach):
                    self.of(source.table)
                    source = source.source
                return self._pair(source, predicate) if isinstance(source, Pair) else self.of(source)
            case Over(source):
                return self.of(source)
            case Distinct(source):
                size = self.of(source)
                return Size(size.rows, size.unique | {frozenset(columns(source))})
            case Attach():
                self.of(table.table)
                return self.of(table.source)
            case Pick(source, found):
                return _renamed(self.of(source), found)
            case Group(source, keys):
                rows = self.of(source).rows
                return Size(rows if keys else 1, frozenset({frozenset(name for name, _ in keys)}))
            case Sort(source, _, limit):
                size = self.of(source)
                return size if limit is None else Size(min(size.rows, limit), size.unique)
            case Merge(kind, _, _, left, right):
                rows, more = self.of(left).rows, self.of(right).rows
                return Size(rows + more if kind == "union" else rows)
            case Pair():
                return self._pair(table)
        assert_never(table)

    def _pair(self, pair: Pair, where: Scalar | None = None) -> Size:
        """Return the size of a join: of one side where the other's rows are told apart by what they are joined by.

        A condition behind a left join that reads its left side alone is one on that side, as engines take it too.
        """
        within = where if pair.kind == "inner" else None
        before = _of_left(where, pair) if pair.kind == "left" else within
        left = self._pair(pair.left, before) if isinstance(pair.left, Pair) else self.of(pair.left)
        right = self.of(pair.right)
        alike = _alike((*_parts(pair.on), *_parts(within)))
        once_right = _told_apart(right.unique, columns(pair.left), alike)
        once_left = _told_apart(left.unique, columns(pair.right), alike)
        rows = min(
            left.rows if once_right else left.rows * right.rows, right.rows if once_left else left.rows * right.rows
        )
        rows += (left.rows if pair.kind in ("left", "full") else 0) + (
            right.rows if pair.kind in ("right", "full") else 0
        )
        kept = (left.unique if once_right else frozenset()) | (right.unique if once_left else frozenset())
        kept = kept or _together(left.unique, right.unique)
        return Size(rows, kept if pair.kind == "inner" else frozenset())


def _parts(on: Scalar | None) -> tuple[Scalar, ...]:
    return () if on is None else conjuncts(on)


def _together(left: frozenset[frozenset[str]], right: frozenset[frozenset[str]]) -> frozenset[frozenset[str]]:
    """Return what tells the pairs of two tables apart: a key of each, together; no more than a few."""
    found = sorted((one | other for one in left for other in right), key=lambda keys: (len(keys), sorted(keys)))
    return frozenset(found[:MOST_KEYS])


def _of_left(where: Scalar | None, pair: Pair) -> Scalar | None:
    """Return the parts of a condition that read columns of a join's left side alone."""
    names = frozenset(columns(pair.left))
    parts = tuple(part for part in _parts(where) if references(part) <= names)
    return None if not parts else parts[0] if len(parts) == 1 else Call("and", parts, "boolean")


def _alike(parts: Iterable[Scalar]) -> Mapping[str, frozenset[str]]:
    """Return, for each column that conditions equate with others, all that hold the same value then."""
    found: dict[str, frozenset[str]] = {}
    for part in parts:
        match part:
            case Call("eq", (Ref(first), Ref(second))):
                both = found.get(first, frozenset({first})) | found.get(second, frozenset({second}))
                found |= dict.fromkeys(both, both)
    return found


def _told_apart(unique: frozenset[frozenset[str]], others: Iterable[str], alike: Mapping[str, frozenset[str]]) -> bool:
    """Whether a row of the other side, of these columns, has one pair at most.

    Why only columns of the other side count: a key that is equated with itself, or with a column beside it, says
    nothing of the row that it is joined to.
    """
    there = frozenset(others)
    return any(all(alike.get(name, frozenset()) & there for name in keys) for keys in unique)


def _renamed(size: Size, found: tuple[tuple[str, Scalar], ...]) -> Size:
    new: dict[str, str] = {}
    for name, meaning in found:
        if isinstance(meaning, Ref):
            new.setdefault(meaning.name, name)
    kept = (keys for keys in size.unique if keys <= new.keys())
    return Size(size.rows, frozenset(frozenset(new[name] for name in keys) for keys in kept))
