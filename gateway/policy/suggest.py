"""A first policy, guessed from a catalogue alone: tables, types, keys, foreign keys and names; no row is read.

Why nothing here needs a privacy loss: the input is the schema, which a policy publishes anyway. Why nothing here is
trusted: it is a proposal for the administrator, who decides, and ``resolve`` judges what comes of it like any policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway.policy.model import Physical, TableShape
from gateway.policy.owners import ANYBODYS, names_units

_PEOPLE: Final = frozenset(
    {
        "account",
        "applicant",
        "beneficiary",
        "cardholder",
        "child",
        "citizen",
        "client",
        "customer",
        "donor",
        "driver",
        "employee",
        "guest",
        "household",
        "individual",
        "member",
        "participant",
        "passenger",
        "patient",
        "person",
        "policyholder",
        "pupil",
        "resident",
        "respondent",
        "student",
        "subject",
        "subscriber",
        "taxpayer",
        "tenant",
        "user",
        "voter",
        "worker",
    }
)
_PERSONAL: Final = frozenset(
    {
        "age",
        "birth",
        "birthdate",
        "birthday",
        "born",
        "dob",
        "email",
        "ethnicity",
        "firstname",
        "gender",
        "income",
        "lastname",
        "nationality",
        "phone",
        "race",
        "sex",
        "ssn",
        "surname",
    }
)
_IDENTIFIERS: Final = ("id", "key", "no", "nr", "number", "code", "uuid")
_PLURALS: Final = {"people": "person", "children": "child"}
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")


@dataclass(frozen=True, slots=True)
class Link:
    """A column that seems to reference another table's key; ``declared`` if the catalogue says so, else by its name."""

    table: str
    column: str
    target: str
    key: str
    declared: bool


@dataclass(frozen=True, slots=True)
class Unit:
    """The guessed privacy unit: a table's key, or without a table the column of that name wherever it stands.

    ``reasons`` say why, in words; ``others`` are the tables and keys that it could be instead.
    """

    table: str | None
    key: str
    reasons: tuple[str, ...]
    others: tuple[tuple[str, str], ...] = ()


Role = Literal["unit", "owned", "undecided", "view"]


@dataclass(frozen=True, slots=True)
class TableGuess:
    """One table's part: the unit's own, owned by a link or (without a unit table) a column, or for somebody to decide.

    ``also`` are further columns that lead to a unit; ``keys`` are columns that name things rather than measure them.
    """

    name: str
    shape: TableShape
    role: Role
    owner: Link | str | None = None
    also: tuple[str, ...] = ()
    keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Guess:
    """What a catalogue suggests: a unit, if one can be made out, and each table's part, the unit's own first."""

    unit: Unit | None
    tables: tuple[TableGuess, ...]
    candidates: tuple[tuple[str, str], ...]


def guess(shapes: Mapping[str, TableShape]) -> Guess:
    """Return what tables and their catalogue entries suggest; the same entries give the same guess."""
    tables = {name: shapes[name] for name in sorted(shapes) if not shapes[name].view}
    links = tuple(_links(tables))
    candidates = tuple((name, key) for name, shape in tables.items() if (key := own_key(name, shape)) is not None)
    unit = _unit(tables, links, dict(candidates))
    owners = _owners(unit, tables, links)
    found = [
        TableGuess(
            name,
            shape,
            "unit" if unit and unit.table == name else "owned" if name in owners else "undecided",
            owners.get(name),
            _also(name, unit, owners.get(name), shape, links),
            _keys(name, shape, links),
        )
        for name, shape in tables.items()
    ]
    order: dict[Role, int] = {"unit": 0, "owned": 1, "undecided": 2, "view": 3}
    nearness = {name: place for place, name in enumerate(owners)}
    found.sort(key=lambda each: (order[each.role], nearness.get(each.name, 0), each.name))
    views = (TableGuess(name, shapes[name], "view") for name in sorted(shapes) if shapes[name].view)
    return Guess(unit, (*found, *views), candidates)


def own_key(table: str, shape: TableShape) -> str | None:
    """Return the one exact column that names a table's rows: enforced, or else so called; None if there is none."""
    exact = [name for name, physical, _ in shape.columns if physical is not None and names_units(physical)]
    enforced = [name for name in exact if frozenset({name}) in shape.unique]
    named = [name for name in exact if name.lower() == "id" or _flat(name) in _called(table, "id", "key")]
    return next((name for name in named if name in enforced), None) or next(iter([*enforced, *named]), None)


def _links(tables: Mapping[str, TableShape]) -> Iterator[Link]:
    """Yield the references between exact columns that are stored alike: those declared, then those that names tell."""
    for name, shape in tables.items():
        declared: set[str] = set()
        for foreign in sorted(shape.foreign_keys, key=lambda each: (each.columns, each.table)):
            target = tables.get(foreign.table)
            if len(foreign.columns) != 1 or len(foreign.keys) != 1 or target is None:
                continue
            [column], [key] = foreign.columns, foreign.keys
            if _alike(shape.physical(column), target.physical(key)):
                declared.add(column)
                yield Link(name, column, foreign.table, key, declared=True)
        own = own_key(name, shape)
        for column, physical, _ in shape.columns:
            if column in declared or (column == own and frozenset({column}) in shape.unique):
                continue
            for other, target in tables.items():
                there = own_key(other, target)
                if (
                    other != name
                    and there
                    and _alike(physical, target.physical(there))
                    and _names(column, other, there)
                ):
                    yield Link(name, column, other, there, declared=False)


def _alike(here: Physical | None, there: Physical | None) -> bool:
    return here is not None and here == there and names_units(here)


def _names(column: str, table: str, key: str) -> bool:
    """Whether a column's name says that it holds the key of a table: ``user_id`` for users(id), ``o_custkey``."""
    short, wanted = (re.sub(r"\A[a-z]{1,2}_", "", name.lower()) for name in (column, key))
    same = short == wanted and len(wanted) > 4 and wanted not in ANYBODYS
    return same or _flat(column) in _called(table, key)


def _called(table: str, *keys: str) -> frozenset[str]:
    """Return what a key of a table is called elsewhere: ``userid``, ``usersid`` for users and id."""
    name = _flat(table)
    return frozenset(stem + _flat(key) for stem in (name, _singular(name)) for key in keys)


def _flat(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _singular(word: str) -> str:
    if word in _PLURALS:
        return _PLURALS[word]
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _words(name: str) -> list[str]:
    return [_singular(word.lower()) for word in _WORD.findall(name)]


def _unit(tables: Mapping[str, TableShape], links: tuple[Link, ...], keys: Mapping[str, str]) -> Unit | None:
    """Return the likeliest unit: a table of people by its name, a column that names them, a table that tells of them.

    Where several would do, the one to which more tables lead.
    """
    ranked = sorted(keys, key=lambda name: (-_likeness(name, tables[name]), -len(_reach(name, links)), name))
    best = ranked[0] if ranked else None
    others = tuple((name, keys[name]) for name in ranked[1:6])
    if best is not None and _likeness(best, tables[best]) >= _BY_NAME:
        return Unit(best, keys[best], _reasons(best, tables[best], links), others)
    columns = _shared(tables)
    if columns:
        column, holders = columns[0]
        said = f"{column} seems to name people in {', '.join(holders)}, and no table of them stands here"
        return Unit(None, column, (said,), tuple((name, keys[name]) for name in ranked[:5]))
    if best is not None and _likeness(best, tables[best]):
        return Unit(best, keys[best], _reasons(best, tables[best], links), others)
    return None


_BY_NAME: Final = 4


def _likeness(table: str, shape: TableShape) -> int:
    """Return how much a table looks like one of people: its name first, then what its columns tell."""
    words = _words(table)
    by_name = 2 * _BY_NAME if words and words[-1] in _PEOPLE else _BY_NAME if set(words) & _PEOPLE else 0
    return by_name + min(3, len(_telling(shape)))


def _telling(shape: TableShape) -> list[str]:
    return [name for name, _, _ in shape.columns if set(_words(name)) & _PERSONAL or _flat(name) in _PERSONAL]


def _reasons(table: str, shape: TableShape, links: tuple[Link, ...]) -> tuple[str, ...]:
    telling, reach = _telling(shape), sorted(_reach(table, links))
    return (
        *(["its name"] if set(_words(table)) & _PEOPLE else []),
        *([f"its columns {', '.join(telling[:4])}"] if telling else []),
        *([f"tables that lead to it: {', '.join(reach[:8])}{' …' if len(reach) > 8 else ''}"] if reach else []),
    )


def _reach(table: str, links: tuple[Link, ...]) -> set[str]:
    """Return the tables from which a path of links leads to a table."""
    found, ends = set[str](), {table}
    while ends:
        ends = {link.table for link in links if link.target in ends} - found - {table}
        found |= ends
    return found


def _shared(tables: Mapping[str, TableShape]) -> list[tuple[str, list[str]]]:
    """Return columns that name people by themselves, as ``user_id``, with their tables; the most common first."""
    found: dict[tuple[str, Physical], list[str]] = {}
    for table, shape in tables.items():
        for name, physical, _ in shape.columns:
            words = _words(name)
            named = len(words) > 1 and words[-1] in _IDENTIFIERS and set(words) & _PEOPLE
            if physical is not None and names_units(physical) and named:
                found.setdefault((name, physical), []).append(table)
    return [(name, held) for (name, _), held in sorted(found.items(), key=lambda each: (-len(each[1]), each[0][0]))]


def _owners(unit: Unit | None, tables: Mapping[str, TableShape], links: tuple[Link, ...]) -> dict[str, Link | str]:
    """Return how each table's rows find the unit: along the fewest links, declared ones before those of names."""
    if unit is None:
        return {}
    found: dict[str, Link | str] = {}
    if unit.table is None:
        [(_, holders), *_] = [each for each in _shared(tables) if each[0] == unit.key]
        found = dict.fromkeys(holders, unit.key)
    reached = {unit.table} if unit.table else set(found)
    ends = set(reached)
    while ends:
        steps = sorted(
            (link for link in links if link.target in ends), key=lambda each: (not each.declared, each.column)
        )
        # a foreign key may reference another column of the unit's table than its key: that is no path to the unit
        steps = [link for link in steps if link.target != unit.table or link.key == unit.key]
        ends = set()
        for link in steps:
            if link.table not in reached:
                reached.add(link.table)
                ends.add(link.table)
                found[link.table] = link
    return found


def _clearness(link: Link) -> tuple[bool, bool, str]:
    return not link.declared, not _names(link.column, link.target, link.key), link.column


def _also(
    table: str, unit: Unit | None, owner: Link | str | None, shape: TableShape, links: tuple[Link, ...]
) -> tuple[str, ...]:
    """Return the columns beside the owner that lead to a unit: who they name is not protected by these rows."""
    if unit is None or (owner is None and table != unit.table):
        return ()
    own = owner.column if isinstance(owner, Link) else owner or unit.key
    found = {link.column for link in links if link.table == table and unit.table and link.target == unit.table}
    if unit.key.lower() not in ANYBODYS:
        found |= {name for name, _, _ in shape.columns if name.lower() == unit.key.lower()}
    return tuple(sorted(found - {own}))


def _keys(table: str, shape: TableShape, links: tuple[Link, ...]) -> frozenset[str]:
    """Return the columns that name things: keys and references, for which bounds would mean nothing."""
    linked = {link.column for link in links if link.table == table} | {
        link.key for link in links if link.target == table
    }
    declared = {column for foreign in shape.foreign_keys for column in foreign.columns}
    return frozenset(linked | declared | set().union(*shape.unique) | {own_key(table, shape) or ""})
