"""Write which public values group keys may have, and which of them stand together, as conditions of the bounded SQL.

``(k0, k1) IN (VALUES (1, 'a'), (1, 'b'), (2, 'c'))``: a table that is looked up, each key being computed once. Where an
engine has no such lists, ``CASE WHEN k0 = 1 THEN (k1 IN ('a', 'b')) WHEN k0 = 2 THEN k1 = 'c' ELSE FALSE END``:
branches stand side by side, since a chain of a thousand ORs takes long. They are asked one by one, and a computed key
is computed for each: DuckDB took a minute for 50 pairs of a name and its capitals, which in a list take half a second.

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
    write = _listed if writer(dialect).lists_rows else _rows
    return " AND ".join(f"({write(each.names, each.rows, keys, dialect)})" for each in planned.joint)


def _listed(names: Sequence[str], rows: Sequence[Row], keys: Mapping[str, Key], dialect: Dialect) -> str:
    """Return the condition that keys are one of some rows, as lists: one for those that are NULL in the same places."""
    alike: dict[tuple[bool, ...], list[Row]] = {}
    for row in rows:
        alike.setdefault(tuple(value is None for value in row), []).append(row)
    parts = []
    for absent, same in alike.items():
        told = [place for place, missing in enumerate(absent) if not missing]
        conditions = [f"{names[place]} IS NULL" for place, missing in enumerate(absent) if missing]
        if len(told) == 1:
            [at] = told
            values = tuple(dict.fromkeys(row[at] for row in same))
            conditions.append(within(names[at], replace(keys[names[at]], values=values), dialect))
        elif told:
            lines = (
                ", ".join(constant(Constant(row[at], keys[names[at]].kind), dialect) for at in told) for row in same
            )
            listed = ", ".join(f"({line})" for line in lines)
            conditions.append(f"({', '.join(names[at] for at in told)}) IN (VALUES {listed})")
        parts.append(" AND ".join(conditions))
    return " OR ".join(f"({part})" for part in parts) if len(parts) > 1 else "".join(parts) or "FALSE"


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
