"""Group keys: what they are called, and what their public domains are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from math import prod

from gateway.policy.model import Dataset
from gateway.sql.algebra import Call, Constant, Ref, Relation, Scalar, references
from gateway.sql.inference.domains import complete, domain
from gateway.sql.inference.known import Known, known
from gateway.sql.inference.listings import Place, place, together, without
from gateway.sql.planning.groups import Given, Joint, Key, count
from gateway.sql.planning.possible import possible


def keyed(
    named: tuple[tuple[str, Scalar], ...],
    columns: Mapping[str, Known],
    holding: tuple[Scalar, ...],
    dataset: Dataset,
    public_groups: int,
    integer_domain: int,
) -> tuple[tuple[Key, ...], tuple[Joint, ...]]:
    """Return the group keys with their public domains, each under a name that no other key and no measure has (some
    engines' HAVING reads it before the key of that name), and which of their values stand together.

    Where what public tables hold would make too many groups, it is left out: the keys are private then.
    """
    made = _listed(named, columns, holding, dataset, integer_domain)
    if any(key.values is None for key in made[0]) or count(*made, public_groups) is not None:
        return made
    return _listed(named, without(columns), holding, dataset, integer_domain)


def _listed(
    named: tuple[tuple[str, Scalar], ...],
    columns: Mapping[str, Known],
    holding: tuple[Scalar, ...],
    dataset: Dataset,
    widest: int,
) -> tuple[tuple[Key, ...], tuple[Joint, ...]]:
    keys: list[Key] = []
    places: dict[str, Place] = {}
    for name, key in named:
        about = known(key, columns)
        label = about.origin[1] if about.origin is not None else name
        taken = label != name and re.fullmatch(r"[ckm]\d+(_\d+)?", label, re.IGNORECASE)
        if taken or any(label.lower() == other.label.lower() for other in keys):
            label = f"{label}_{name}"
        found = place(key, columns, holding)
        if found is not None:
            places[name] = found
            about = replace(about, values=about.values if about.values is not None else columns[found.name].values)
        keys.append(Key(name, label, key, about.kind, domain(key, about, holding, widest)))
    joint: list[Joint] = []
    for scan in dict.fromkeys((each.table, each.scan) for each in places.values()):
        names = [name for name, each in places.items() if (each.table, each.scan) == scan]
        domains = [key.values or () for key in keys if key.name in names]
        rows = together([places[name] for name in names], domains, columns, holding, dataset)
        if rows is None:
            continue
        held = {name: tuple(dict.fromkeys(row[at] for row in rows)) for at, name in enumerate(names)}
        keys = [replace(key, values=held.get(key.name, key.values)) for key in keys]
        if len(rows) < prod(map(len, held.values())):
            joint.append(Joint(tuple(names), rows))
    asked, tied = possible(tuple(keys), tuple(joint), holding)
    return tuple(_completed(key, columns, holding) for key in asked), tied


def meaning(scalar: Scalar, columns: Mapping[str, Known], source: Relation) -> str:
    """Return a digest of what is grouped by: over the policy's own columns the expression, whatever rows it is asked
    of; over computed ones (a unit's number of rows) the rows too.
    """
    names = {name: columns[name].origin for name in references(scalar)}
    over = () if all(names.values()) else (source,)
    told = {name: name if origin is None else f"{origin[0]}.{origin[1]}" for name, origin in names.items()}
    return sha256(repr((_renamed(scalar, told), *over)).encode()).hexdigest()[:32]


def _renamed(scalar: Scalar, told: Mapping[str, str]) -> Scalar:
    match scalar:
        case Ref(name, kind):
            return Ref(told[name], kind)
        case Call(function, args, _):
            return Call(function, tuple(_renamed(arg, told) for arg in args), scalar.kind)
        case Constant():
            return scalar


def supplied(
    keys: tuple[Key, ...], joint: tuple[Joint, ...], given: Sequence[Given]
) -> tuple[tuple[Key, ...], tuple[Joint, ...]]:
    """Return group keys of which those without a public domain have that of an earlier answer, as far as it has them.

    Why this is sound: the values are what a release told this analyst, at its own price; from then on they are public
    to them as declared ones are, and enforced in the same way: rows with any other value are dropped before anything
    is bounded. Values that have come into the data since are on no list.
    """
    for each in given:
        found = _places(keys, each)
        held = {name: tuple(dict.fromkeys(row[place] for row in each.rows)) for name, place in found.items()}
        keys = tuple(
            replace(key, values=held[key.name], given=each.charge) if key.name in held else key for key in keys
        )
        # Two keys of one meaning (a.town, b.town) each have its values: which stand together it does not say.
        once = {place: name for name, place in reversed(found.items())}
        rows = tuple(dict.fromkeys(tuple(row[place] for place in once) for row in each.rows))
        if len(rows) < prod(len(held[name]) for name in once.values()):
            joint = (*joint, Joint(tuple(once.values()), rows))
    return keys, joint


def _places(keys: tuple[Key, ...], given: Given) -> dict[str, int]:
    """Return the column of an earlier answer that lists the values of each key without a public domain, where one does.

    Of several that mean the same, as of two visits of a person, each key takes the next.
    """
    found: dict[str, int] = {}
    for key in keys:
        same = [place for place, column in enumerate(given.columns) if column == (key.meaning, key.kind)]
        if key.values is None and same:
            found[key.name] = next((place for place in same if place not in found.values()), same[0])
    return found


def _completed(key: Key, columns: Mapping[str, Known], holding: tuple[Scalar, ...]) -> Key:
    whole = key.values is not None and complete(key.scalar, columns, holding, key.values)
    return replace(key, complete=whole)
