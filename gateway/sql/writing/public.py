"""Write which public values group keys may have, and which of them stand together, as conditions of the bounded SQL.

``CASE WHEN k0 = 1 THEN (k1 IN ('a', 'b')) WHEN k0 = 2 THEN k1 = 'c' ELSE FALSE END``: branches stand side by side,
since engines take long over a chain of a thousand ORs, or do not read it (SQLite).

Why these hold the groups to the lists: canonical values that are equal are identical, a comparison with NULL is not
true, and both are written here value by value, whatever the public table holds by now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.policy.model import Dialect, Value
from gateway.sql.algebra import Constant
from gateway.sql.planning.groups import Key, Row
from gateway.sql.planning.plan import PlannedRelease
from gateway.sql.writing.dialects.registry import writer
from gateway.sql.writing.render import constant


def within(value: str, key: Key, dialect: Dialect) -> str:
    """Return the condition that a key lies in its public domain; canonical values that are equal are identical."""
    listed = [found for found in key.values or () if found is not None]
    parts = []
    whole = [found for found in listed if type(found) is int]
    if len(whole) == len(listed) > 2 and whole == list(range(whole[0], whole[0] + len(whole))):
        parts.append(f"{value} BETWEEN {whole[0]} AND {whole[-1]}")
    elif listed:
        parts.append(writer(dialect).among(value, [constant(Constant(found, key.kind), dialect) for found in listed]))
    if None in (key.values or ()):
        parts.append(f"{value} IS NULL")
    return f"({' OR '.join(parts)})" if parts else "FALSE"


def together(planned: PlannedRelease, dialect: Dialect) -> str:
    """Return the condition that keys hold values which stand together: of groups, or of rows beforehand."""
    keys = {key.name: key for key in planned.keys}
    return " AND ".join(f"({_rows(each.names, each.rows, keys, dialect)})" for each in planned.joint)


def _rows(names: Sequence[str], rows: Sequence[Row], keys: Mapping[str, Key], dialect: Dialect) -> str:
    """Return the condition that keys are one of some rows, the values of the first key written once each."""
    name, *rest = names

    def one_of(*values: Value) -> str:
        if len(values) == 1 and values[0] is not None:
            return f"{name} = {constant(Constant(values[0], keys[name].kind), dialect)}"
        return within(name, replace(keys[name], values=values), dialect)

    found: dict[Value, list[Row]] = {}
    for value, *more in rows:
        found.setdefault(value, []).append(tuple(more))
    if not rest:
        return one_of(*found)
    if len(found) == 1:
        [(value, below)] = found.items()
        return f"{one_of(value)} AND {_rows(rest, below, keys, dialect)}"
    branches = (f"WHEN {one_of(value)} THEN {_rows(rest, below, keys, dialect)}" for value, below in found.items())
    return f"CASE {' '.join(branches)} ELSE FALSE END"
