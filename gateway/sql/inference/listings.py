"""Group keys that a public table names: their public domains, and which of their values stand together.

``FROM visit v JOIN site s ON v.site_id = s.site_id GROUP BY v.site_id, s.region``
→  the groups are the pairs of site_id and region in ``site``, as its rows were when the policy was applied

Why this is sound: the lists are rows of public tables, which anybody may see, kept with the policy and cut by what the
text says of them. They are no facts about the data: rows whose keys are on no list are dropped by the bounded SQL, so a
list that has become old costs meaning, never privacy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from gateway.policy.model import Dataset
from gateway.sql.algebra import Call, Ref, Scalar
from gateway.sql.inference.known import Known
from gateway.sql.inference.truth import Row, let_through, readable

Columns: TypeAlias = Mapping[str, Known]


@dataclass(frozen=True, slots=True)
class Place:
    """A column of one scan of a public table whose values are listed; ``name`` is what it is called here."""

    table: str
    scan: int
    column: str
    name: str


def place(scalar: Scalar, columns: Columns, holding: Iterable[Scalar]) -> Place | None:
    """Return the listed column of a public table that a key is, or that it equals in every row.

    Equality is by an inner join's condition or a filter: ``holding``. Values that are equal there are one value, since
    both sides are canonical and of one kind.
    """
    if not isinstance(scalar, Ref):
        return None
    found = _listed(scalar, columns)
    for condition in () if found is not None else holding:
        match condition:
            case Call("eq", (Ref() as one, Ref() as other)) if scalar in (one, other) and one.kind == other.kind:
                found = found or _listed(other if scalar == one else one, columns)
            case _:
                pass
    return found


def _listed(ref: Ref, columns: Columns) -> Place | None:
    about = columns.get(ref.name)
    if about is None or about.scan is None or about.origin is None:
        return None
    return Place(about.origin[0], about.scan, about.origin[1], ref.name)


def without(columns: Columns) -> dict[str, Known]:
    """Return what is known of columns, had nobody listed what public tables hold, and no text bounded any."""
    found = {name: replace(about, bounds=None) if about.told else about for name, about in columns.items()}
    return {
        name: about if about.scan is None else replace(about, values=None, scan=None) for name, about in found.items()
    }


def together(
    places: Sequence[Place], domains: Sequence[Row], columns: Columns, holding: Sequence[Scalar], dataset: Dataset
) -> tuple[Row, ...] | None:
    """Return which values of keys stand together in rows of one public table that the conditions may let through.

    ``places`` are columns of one scan, ``domains`` the public values of the keys. None where no list holds all columns
    or nothing of it is left. Rows without a pair of a left join have NULL in all of them.
    """
    table = dataset.table(places[0].table)
    assert table is not None
    told = {name: column for name in columns if (column := _of(name, columns, places[0])) is not None}
    asked = tuple(dict.fromkeys([*(each.column for each in places), *told.values()]))
    rows = table.listing(asked) or table.listing(each.column for each in places)
    if rows is None:
        return None
    at = {column: index for index, column in enumerate(asked)}
    at = at if rows and len(rows[0]) == len(asked) else {}
    names = {name: at[column] for name, column in told.items() if column in at}
    kept = let_through(rows, readable(holding, len(rows)), names)
    width = [at.get(each.column, index) for index, each in enumerate(places)]
    found: dict[Row, None] = dict.fromkeys(tuple(row[index] for index in width) for row in kept)
    if all(None in domain for domain in domains) and any(columns[each.name].padded for each in places):
        found[(None,) * len(places)] = None
    inside = [frozenset(domain) for domain in domains]
    public = tuple(row for row in found if all(value in held for value, held in zip(row, inside, strict=True)))
    return public or None


def _of(name: str, columns: Columns, like: Place) -> str | None:
    """Return the column of the same scan that a name means here, None if it means something else."""
    about = columns[name]
    same = about.scan == like.scan and about.origin is not None and about.origin[0] == like.table
    return about.origin[1] if same and about.origin is not None else None
