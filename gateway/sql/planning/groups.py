"""The groups of a release: its keys, which of their public values stand together, how many groups that makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from math import prod

from gateway.policy.model import Value
from gateway.sql.algebra import Kind, Scalar

Row = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """One group key: ``label`` as the analyst sees it, ``values`` its public domain, None for a private key.

    ``complete`` where no row can have any other value, so that none is dropped. ``meaning`` says what is grouped by,
    whatever the query is: the expression over the policy's columns. ``given`` is the charge whose answer named the
    values, where one did.
    """

    name: str
    label: str
    scalar: Scalar
    kind: Kind
    values: tuple[Value, ...] | None
    complete: bool = False
    meaning: str = field(default="", repr=False, compare=False)
    given: str | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """The groups of an earlier answer of the analyst's own: the meanings and kinds of its keys, and their values.

    ``charge`` is the one that drew it. Why they are public to this analyst: they are what that charge released.
    """

    charge: str
    columns: tuple[tuple[str, Kind], ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Joint:
    """Keys by name whose values stand together in rows of a public table, or in groups of an earlier answer: the
    bounded SQL shows no others.

    Why it bounds something: an owner reaches no more groups that are shown than there are such rows.
    """

    names: tuple[str, ...]
    rows: tuple[Row, ...]


def count(keys: Sequence[Key], joint: Sequence[Joint], limit: int) -> int | None:
    """Return how many groups there are, None if a key is private or there are more than ``limit``."""
    if any(key.values is None for key in keys):
        return None
    found = prod(len(rows) for _, rows in axes(keys, joint))
    return found if found <= limit else None


def every(keys: Sequence[Key], joint: Sequence[Joint]) -> list[Row]:
    """Return all public groups, in the order of the keys' values."""
    chosen_among = list(axes(keys, joint))
    at = {name: place for place, name in enumerate(name for names, _ in chosen_among for name in names)}
    order = [at[key.name] for key in keys]
    spread = crossed(rows for _, rows in chosen_among)
    if order == list(range(len(order))):
        return list(spread)
    return [tuple(row[place] for place in order) for row in spread]


def crossed(lists: Iterable[Sequence[Row]]) -> Iterator[Row]:
    """Yield every combination of rows, one of each list, put together."""
    return map(tuple, map(chain.from_iterable, product(*lists)))


def axes(keys: Sequence[Key], joint: Sequence[Joint]) -> Iterator[tuple[tuple[str, ...], Sequence[Row]]]:
    """Yield what is chosen independently: rows of keys that stand together, in the first one's place, or one key's."""
    tied = {name: each for each in joint for name in each.names}
    for key in keys:
        each = tied.get(key.name)
        if each is None:
            yield (key.name,), [(value,) for value in key.values or ()]
        elif each.names[0] == key.name:
            yield each.names, each.rows
