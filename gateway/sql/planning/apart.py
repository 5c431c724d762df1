"""Whether an owner's rows all lie in different groups, so that they spread over the vector instead of piling up.

``SELECT year, COUNT(*) FROM year GROUP BY year`` with ``PRIMARY KEY (person_id, year)`` and five declared years
→  a person adds 1 to each of five numbers at most: L2 is the root of 5, where five rows in one group make it 5
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.policy.model import Value
from gateway.sql.algebra import Ref, Release
from gateway.sql.inference.facts import Facts
from gateway.sql.planning.groups import Key

EXACT = frozenset({"integer", "text", "boolean", "date"})
"""Kinds of which different values stay different groups."""


def apart(release: Release, keys: Sequence[Key], found: Facts) -> bool:
    """Return whether no two rows of one owner are in the same group.

    Why this is sound: the catalogue enforces that no two rows hold the same values of certain columns (execution looks
    it up again inside the reading transaction), of which each is the owner's own or a group key as it is; so two rows
    of one owner differ in a key. A key has public values without NULL, to which the bounded SQL holds the rows, so that
    no values that differ meet in one group, as those do that are shown as NULL. Or the rows are one owner's folds by
    these very keys (``folded``), NULL being one of them. Then an owner with n rows, each weighted min(1, M/n), adds
    at most the largest row to each of n groups: L2 is at most the root of min(n, M^2/n), so of M, times that row's L2,
    and no single number changes by more than one row can change it. L1 stays M times that of a row.
    """
    exact = {key.scalar.name: key for key in keys if isinstance(key.scalar, Ref) and key.kind in EXACT}
    public = {name for name, key in exact.items() if key.values is not None and all(map(_shown, key.values))}
    if release.folded:
        return len(public) == len(keys)
    never_null = {name for name in public if None not in (exact[name].values or ())}
    own = {name for name, about in found.columns.items() if about.owner}
    own |= set() if found.owner is None else {found.owner}
    return bool(own) and any(not unique <= own and unique <= own | never_null for unique in found.unique)


def _shown(value: Value) -> bool:
    """Whether a group with that value is told apart from all others: not a number that is shown as NULL."""
    return not isinstance(value, int) or abs(value) < 2**63
