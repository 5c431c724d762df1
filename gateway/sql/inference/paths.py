"""Owner paths that a join walks already: the row that a path leads to first is the very row that stands beside it.

``item i JOIN visit v ON i.visit_id = v.visit_id``  →  the owner of ``i`` is that of ``v``; no second visit is joined

Why this is sound: let a row l of the table ``there`` reach its owner over ``l.reference = h.key``, and let it be paired
with a row of ``here`` that holds the key of a row s of the same table h is of, ``l.reference = s.key`` being true.

- *The same row.* Equality of the two columns is identity (``apply`` admits no others in a path, and no equality of
  other kinds is followed), and the catalogue of the database enforces that the key is unique, which execution looks up
  again inside the reading transaction. So h = s in every pair: what the path adds to a pair is that pair itself, once,
  and the owner that it ends in is that of s, as every further key of the path is enforced to be unique as well.
- *The owner equality.* The owner of a row of ``here`` is the owner of each private row that it is made of, since joins
  tie them; so it is the owner of s, and of l: the equality that the rewriting adds always holds.
- *NULL and orphans.* A reference that is NULL or leads nowhere has no h, and no s either: no pair with or without.
  Owners that are NULL are dropped where ``here`` is read.
- *Nothing is believed that is only declared.* A key that the policy names and nothing enforces keeps its joins: with
  duplicates, pairs would be other ones in number. Even then each would hold the owner's own rows alone, l being a row
  of every owner that its path leads to, and s one of the owner whose it is.
- *Folds.* Rows l that are folded by their reference, and whatever else, have one h in each group, so one owner: the
  owner need not be among what they are grouped by. A group whose reference is NULL or leads nowhere finds no s.

It is asked of pairs alone: of inner joins, of the right side of a left one, and of what a row finds (IN, EXISTS,
subqueries of values), never of rows that stay without a pair, nor through columns that an outer join may have filled
with NULL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gateway.policy.model import Dataset, Owner, Table
from gateway.sql.algebra import (
    Call,
    Filter,
    Fold,
    Join,
    Kind,
    Lookup,
    Project,
    Ref,
    Relation,
    Scalar,
    Scan,
    SemiJoin,
    Window,
    implied,
)
from gateway.sql.inference.domains import conditions, equated
from gateway.sql.inference.facts import facts, leads_once

IDENTITY: frozenset[Kind] = frozenset({"integer", "text", "boolean", "date", "timestamp"})
"""The kinds of which equal values are identical, so that what equals an equal is equal."""


def walked(there: Relation, here: Relation, on: Scalar | None, dataset: Dataset) -> Scan | None:
    """Return the scan of ``there`` whose rows have their owner in the row of ``here`` that they are paired with.

    None if there is no such scan: then its rows find their owners by the joins of their path.
    """
    scan, about = _alone(there, dataset), facts(here, dataset)
    if scan is None or on is None or about.owner is None:
        return None
    table = dataset.table(scan.table)
    assert table is not None
    if not table.hops or not _enforced(table, dataset):
        return None
    hop = table.hops[0]
    holding = (*implied(on), *conditions(here), *conditions(there))
    for same in equated(_identities(holding)).values():
        references = any(_traced(there, name, dataset) == (table.name, hop.column) for name in same)
        if references and any(_traced(here, name, dataset) == (hop.table, hop.key) for name in same):
            return scan
    return None


def _enforced(table: Table, dataset: Dataset) -> bool:
    """Whether every key of a table's path is enforced to be unique, and its first table goes on as the path does."""
    owner = table.owner
    assert isinstance(owner, Owner)
    reached = dataset.table(owner.hops[0].table)
    return reached is not None and reached.owner == Owner(owner.hops[1:], owner.column) and leads_once(owner, dataset)


def _identities(holding: Iterable[Scalar]) -> Iterator[Scalar]:
    """Yield the equalities of two columns that are identities."""
    for condition in holding:
        match condition:
            case Call("eq", (Ref(_, first), Ref(_, second))) if first == second and first in IDENTITY:
                yield condition
            case _:
                pass


def _alone(relation: Relation, dataset: Dataset) -> Scan | None:
    """Return the one private scan that a relation's rows are those of, where nothing but what is above asks its owner.

    Rows that are computed in a query of their own are not asked, since nothing beside it is seen there, but for folds
    that need no owner.
    """
    match relation:
        case Scan():
            return relation if facts(relation, dataset).owner is not None else None
        case Filter(source) | Project(source):
            return _alone(source, dataset)
        case Fold(source, _, keys):
            found = _alone(source, dataset)
            return found if found is not None and _by_reference(found, source, keys, dataset) else None
        case SemiJoin(left, right) | Join("left", left, right):
            return None if facts(right, dataset).private else _alone(left, dataset)
        case Join(_, left, right):
            sides = [side for side in (left, right) if facts(side, dataset).private]
            return _alone(sides[0], dataset) if len(sides) == 1 else None
        case _:
            return None


def _by_reference(scan: Scan, source: Relation, keys: Sequence[tuple[str, Scalar]], dataset: Dataset) -> bool:
    """Whether rows of a scan are folded by the reference that their path to the owner begins with, unchanged."""
    table = dataset.table(scan.table)
    assert table is not None
    named = (key.name for _, key in keys if isinstance(key, Ref))
    return any(_traced(source, name, dataset) == (table.name, hop.column) for hop in table.hops[:1] for name in named)


def _traced(relation: Relation, name: str, dataset: Dataset) -> tuple[str, str] | None:
    """Return the table and column that a column of a relation is, unchanged and never filled with NULL."""
    if name not in facts(relation, dataset).columns:
        return None
    match relation:
        case Scan(table):
            return table, name.removesuffix(f"#{relation.number}")
        case Project(source, columns) | Fold(source, _, columns):
            below = dict(columns).get(name)
            return _traced(source, below.name, dataset) if isinstance(below, Ref) else None
        case Filter(source) | Window(source):
            return _traced(source, name, dataset)
        case Join("left", left) | SemiJoin(left) | Lookup(left):
            return _traced(left, name, dataset)
        case Join(_, left, right):
            return _traced(left, name, dataset) or _traced(right, name, dataset)
        case _:
            return None
