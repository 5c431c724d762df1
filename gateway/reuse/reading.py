"""What it takes to read a noisy table without the plan that it was drawn under, kept in the payload beside it.

The same question at another price, or with other columns above it, has a plan of its own: what was drawn before is read
by the noise that it was drawn with, never by that of the plan at hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from fractions import Fraction
from typing import Any, Final

from gateway.kept import Kept
from gateway.noisy import NoisyTable, encode, table_of
from gateway.reuse.canonical import aggregate_digests, base, key_digest, same
from gateway.sql.algebra import Kind
from gateway.sql.compile import notes
from gateway.sql.planning import grid, plan, quantum
from gateway.sql.planning.plan import Block, Bounding, Clip, Estimator, Histogram, Plan, PlannedRelease, Threshold
from mechanisms import above_threshold, least_error, loss, noise, quantiles, race
from mechanisms.loss import Loss


@dataclass(frozen=True, slots=True)
class Statement:
    """What one statement drew: its text, its vectors with their noise, its threshold, and for a histogram its grid.

    ``clip`` are the bounds of which one was chosen; the table says which. ``clipped`` counts the units above it.
    """

    sql: str
    blocks: tuple[Block, ...]
    threshold: Threshold | None
    histogram: Histogram | None
    clip: Clip | None
    clipped: Block | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read one noisy table.

    ``mark`` and ``base`` are what it is found by (``canonical.py``). ``keys`` are what its key columns mean and their
    kinds, in order, and ``meanings`` what they mean in any other query; ``estimators`` how each aggregate, by what it
    means, is read off the integers. ``statement`` is its own, ``parts`` are those beside it; ``notes`` what its reader
    has to know.
    """

    mark: str
    base: str
    keys: tuple[tuple[str, Kind], ...]
    estimators: tuple[tuple[str, Estimator], ...]
    bounding: Bounding
    statement: Statement
    parts: tuple[Statement, ...]
    loss: Loss
    public: bool
    notes: tuple[str, ...]
    meanings: tuple[str, ...] = ()


_CLASSES = {
    found.__name__: found
    for module in (plan, grid, quantum, loss, noise, quantiles, above_threshold, least_error, race)
    for found in vars(module).values()
    if isinstance(found, type) and is_dataclass(found)
} | {"Statement": Statement, "Reading": Reading}


LARGEST_KEPT: Final = 65_536
"""Characters of a written reading beyond which it is read each time."""

_ENCODED: Final[Kept[list[Any]]] = Kept(128)
_DECODED: Final[Kept[Reading]] = Kept(128)


def reading(whole: Plan, planned: PlannedRelease) -> Reading:
    """Return how the noisy table of a plan's release is read."""
    aggregates = aggregate_digests(planned)
    return Reading(
        same(whole, planned),
        base(whole, planned),
        tuple((key_digest(key), key.kind) for key in planned.keys),
        tuple((aggregates[name], estimator) for name, estimator in planned.estimators),
        planned.bounding,
        _statement(planned),
        tuple(_statement(part) for part in planned.parts),
        planned.loss,
        planned.public,
        tuple(notes(planned, whole.dialect)),
        tuple(key.meaning for key in planned.keys),
    )


def _statement(planned: PlannedRelease) -> Statement:
    """Return what a statement drew."""
    drawn = (planned.blocks, planned.threshold, planned.histogram, planned.clip, planned.clipped)
    return Statement(planned.sql, *drawn)


def seal(planned: Plan, tables: Sequence[NoisyTable], asked: str | None = None) -> bytes:
    """Return the noisy tables of a plan as the payload that the ledger keeps, each with its reading, and what was
    asked.
    """
    readings = _ENCODED.get(
        (planned,), None, lambda: [_encoded(reading(planned, release)) for release in planned.releases]
    )
    return encode(tables, readings, asked)


def opened(payload: bytes) -> list[tuple[Reading, NoisyTable]]:
    """Return the noisy tables of a payload that can be read without their plan: none of a payload that another version
    of the gateway wrote otherwise.
    """
    found = json.loads(payload)
    try:
        readings = [_read(each) for each in found.get("readings", ())]
    except (KeyError, TypeError, ValueError):
        return []
    return [
        (each, table_of([kind for _, kind in each.keys], table))
        for each, table in zip(readings, found["tables"], strict=False)
    ]


def _read(said: Any) -> Reading:
    """Return a reading that was written; those of answers to one question are the same text, and are read once."""
    text = json.dumps(said)
    if len(text) > LARGEST_KEPT:
        found: Reading = _decoded(said)
        return found
    return _DECODED.get((), text, lambda: _decoded(said))


def as_read(planned: PlannedRelease, found: Reading) -> PlannedRelease:
    """Return a planned release with the noise, the integers and the estimators of what was drawn before.

    The aggregates have to be among those that were drawn.
    """
    known = dict(found.estimators)
    aggregates = aggregate_digests(planned)
    whole = _drawn(planned, found.statement)
    parts = tuple(_drawn(replace(planned, parts=(), estimators=(), values=()), part) for part in found.parts)
    estimators = tuple((name, known[aggregates[name]]) for name, _ in planned.estimators)
    return replace(whole, parts=parts, estimators=estimators, bounding=found.bounding, loss=found.loss)


def _drawn(planned: PlannedRelease, statement: Statement) -> PlannedRelease:
    return replace(
        planned,
        sql=statement.sql,
        blocks=statement.blocks,
        threshold=statement.threshold,
        histogram=statement.histogram,
        clip=statement.clip,
        clipped=statement.clipped,
    )


def _encoded(value: Any) -> Any:
    if isinstance(value, Fraction):
        return {"": "Fraction", "value": str(value)}
    if is_dataclass(value) and not isinstance(value, type):
        said = {each.name: _encoded(getattr(value, each.name)) for each in fields(value) if each.init}
        return {"": type(value).__name__, **said}
    if isinstance(value, tuple):
        return [_encoded(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"no part of a reading: {type(value).__name__}")


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decoded(each) for each in value)
    if not isinstance(value, dict):
        return value
    named = {name: _decoded(each) for name, each in value.items() if name}
    if value[""] == "Fraction":
        return Fraction(named["value"])
    return _CLASSES[value[""]](**named)
