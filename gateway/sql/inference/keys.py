"""Which columns are keys, as the policy and the catalogue mean it: of their tables, and of one owner's things.

Meant, not enforced: what follows of a key that is only declared is where rows may meet, and never a bound.
"""

from __future__ import annotations

from gateway.policy.model import Dataset, Owner
from gateway.sql.inference.known import Known


def is_key(origin: tuple[str, str], dataset: Dataset) -> bool:
    """Whether a column is a key of its table: declared for a public one, referenced by an owner path, or unique."""
    table = dataset.table(origin[0])
    assert table is not None
    if table.key == origin[1] or frozenset({origin[1]}) in table.unique:
        return True
    owners = (found.owner for found in dataset.tables)
    hops = (hop for owner in owners if isinstance(owner, Owner) for hop in owner.hops)
    return any((hop.table, hop.key) == origin for hop in hops)


def is_owned_thing(found: Known, dataset: Dataset) -> bool:
    """Whether a column names one owner's thing: by its key, or by the very foreign key of the owner path."""
    table = None if found.origin is None else dataset.table(found.origin[0])
    if table is None or found.origin is None or not isinstance(table.owner, Owner):
        return False
    return is_key(found.origin, dataset) or any(hop.column == found.origin[1] for hop in table.owner.hops[:1])


def is_owned_key(found: Known, dataset: Dataset) -> bool:
    """Whether a column is a key of one owner's things: of a private table, since those of a public one are shared."""
    table = None if found.origin is None else dataset.table(found.origin[0])
    if table is None or found.origin is None or not isinstance(table.owner, Owner):
        return False
    return is_key(found.origin, dataset)
