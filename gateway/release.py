"""Release: exact integers of the engine become noisy tables.

Why this is sound: where a clip is chosen, that is done by a mechanism of its own, and the integers of that candidate
alone are read; rows are put into an order that the data cannot choose before noise is drawn; every public group is
drawn for, whether or not the engine returned it; a group with a private key appears only above its threshold, decided
on the noisy number of owners; and after the noise nothing but the noisy integers is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gateway.noisy import KeyTuple, NoisyTable, canonical, canonical_column, public_groups, rows
from gateway.policy.model import Value
from gateway.sql.algebra import Kind
from gateway.sql.inference.domains import canonical_order
from gateway.sql.planning.clips import column
from gateway.sql.planning.counted import COLUMN
from gateway.sql.planning.groups import Key
from gateway.sql.planning.plan import Block, Clip, Measure, PlannedRelease, Threshold
from mechanisms.above_threshold import AboveThreshold, first_low
from mechanisms.least_error import least
from mechanisms.noise import Noise, Selection, draw, select
from mechanisms.race import Race, winner


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What is known of a release before the engine answers: its groups, and for each statement its blocks' noise."""

    keys: list[KeyTuple]
    vectors: list[list[list[int]]]


def foresee(planned: PlannedRelease) -> Foreseen | None:
    """Return the groups and the noise of a release, drawn before its integers are known; None where these decide it.

    Why this is sound: noise is independent of what it is added to, so that it may be drawn at any time, and it is used
    once; which groups are drawn for, and with what, is public where keys are and no bound is chosen.
    """
    if not planned.public or planned.clip is not None:
        return None
    keys = _public(planned)
    return Foreseen(keys, [[] if each.histogram else _vectors(each, len(keys)) for each in planned.statements])


def release(planned: PlannedRelease, *tables: pa.Table, foreseen: Foreseen | None = None) -> NoisyTable:
    """Return the noisy table of a planned release, given the exact integers that its statements returned, in order.

    What was foreseen of it is not drawn again, and serves this once. Parts are drawn for the groups that appear, which
    is sound since these are public or have passed their threshold by then: what a part adds is one more release, over
    keys that are known.
    """
    place, over = None, _integer(tables[0].column(COLUMN)[0].as_py()) if _counts(planned, tables) else 0
    if planned.clip is not None:
        search, above = planned.clip.search, _above(planned.clip, tables[0])
        if isinstance(search, Race):
            return _raced(planned, search, tables[0], above)
        place = first_low(search, above) if isinstance(search, AboveThreshold) else least(search, above)
        over = above[place]
        tables = (_at(planned, tables[0], place), *tables[1:])
        planned = planned.at(place)
    exact = [_exact(statement, table) for statement, table in zip(planned.statements, tables, strict=True)]
    own = exact[0] if planned.blocks else {}
    keys, counted = _groups(planned, own) if foreseen is None else foreseen.keys, None
    if planned.threshold is not None:
        keys, counted = _reaching(planned, planned.threshold, own, keys)
    columns: list[list[int]] = []
    for index, (statement, found) in enumerate(zip(planned.statements, exact, strict=True)):
        if statement.histogram is not None:
            columns += _picked(statement, found, keys)
            continue
        known = counted if statement is planned else None
        vectors = _vectors(statement, len(keys), known) if foreseen is None else foreseen.vectors[index]
        columns += _noisy(statement, found, keys, vectors, known)
    return NoisyTable(tuple(keys), tuple(rows(columns, len(keys))), place, _with_noise(planned.clipped, over))


def _raced(planned: PlannedRelease, race: Race, table: pa.Table, above: list[int]) -> NoisyTable:
    """Return the one number that a race tells: the sums at all bounds are read, each with the noise of its own."""
    [measure] = planned.measures
    sums = [_integer(table.column(column(measure.name, place))[0].as_py()) for place in range(race.candidates)]
    place, noisy = winner(race, sums)
    return NoisyTable(((),), ((noisy,),), place, _with_noise(planned.clipped, above[place]))


def _counts(planned: PlannedRelease, tables: Sequence[pa.Table]) -> bool:
    """Whether the engine says how many units are above a declared bound; without rows it says nothing, and none are."""
    return planned.clip is None and planned.clipped is not None and tables[0].num_rows > 0


def _with_noise(block: Block | None, exact: int) -> int | None:
    """Return the noisy number of units above the bound, None where it is not asked for: else ``exact`` is not read."""
    if block is None:
        return None
    assert isinstance(block.noise, Noise)
    [noise] = draw(block.noise, 1)
    return exact + noise


def _above(clip: Clip, table: pa.Table) -> list[int]:
    """Return how many owners are above each candidate: the same in all rows, and zero where nobody is in any group."""
    if not table.num_rows:
        return [0] * len(clip.steps)
    return [_integer(table.column(f"c{place}")[0].as_py()) for place in range(len(clip.steps))]


def _at(planned: PlannedRelease, table: pa.Table, place: int) -> pa.Table:
    """Return the integers of the one candidate that was chosen: no other is read from here on."""
    sources = [key.label for key in planned.keys]
    sources += [each.name if each.cell is None else column(each.name, place) for each in planned.measures]
    names = [*(key.label for key in planned.keys), *(measure.name for measure in planned.measures)]
    return table.select(sources).rename_columns(names)


def _vectors(planned: PlannedRelease, groups: int, counted: list[int] | None = None) -> list[list[int]]:
    """Return each block's noise, measure by measure; of a number that is ``counted`` already none is drawn again."""
    found: list[list[int]] = []
    for block in planned.blocks:
        assert isinstance(block.noise, Noise)
        fresh = sum(counted is None or not _decides(planned, measure) for measure in block.measures)
        found.append(draw(block.noise, fresh * groups))
    return found


def _decides(planned: PlannedRelease, measure: Measure) -> bool:
    return planned.threshold is not None and planned.threshold.measure == measure.name


def _noisy(
    planned: PlannedRelease,
    exact: dict[KeyTuple, tuple[int, ...]],
    keys: list[KeyTuple],
    vectors: list[list[int]],
    counted: list[int] | None,
) -> list[list[int]]:
    """Return each measure of a statement with noise, group by group; ``counted`` is the one drawn for a threshold."""
    zeros = (0,) * len(planned.measures)
    integers = [exact.get(key, zeros) for key in keys]
    columns: list[list[int]] = []
    for block, vector in zip(planned.blocks, vectors, strict=True):
        noise = iter(vector)
        for measure in block.measures:
            if counted is not None and _decides(planned, measure):
                columns.append(counted)
            else:
                index = len(columns)
                columns.append([row[index] + drawn for row, drawn in zip(integers, noise, strict=False)])
    return columns


def _reaching(
    planned: PlannedRelease, hidden: Threshold, exact: dict[KeyTuple, tuple[int, ...]], keys: list[KeyTuple]
) -> tuple[list[KeyTuple], list[int]]:
    """Return the groups whose noisy number of units reaches the threshold, and that number.

    Why the other measures are drawn for these alone: each number of a vector has noise of its own, and what is never
    shown of it need never have been drawn; what is shown has the same law as if all had.
    """
    [(index, noise)] = [
        (at, block.noise)
        for at, (measure, block) in enumerate((each, block) for block in planned.blocks for each in block.measures)
        if measure.name == hidden.measure
    ]
    assert isinstance(noise, Noise)
    noisy = zip(keys, draw(noise, len(keys)), strict=True)
    found = [(key, number) for key, drawn in noisy if (number := exact[key][index] + drawn) >= hidden.at]
    return [key for key, _ in found], [number for _, number in found]


def _picked(planned: PlannedRelease, exact: dict[KeyTuple, tuple[int, ...]], keys: list[KeyTuple]) -> list[list[int]]:
    """Return the bucket that is drawn for each quantile, group by group; buckets that the grid lacks are ignored."""
    assert planned.histogram is not None
    size = planned.histogram.grid.size
    counts: dict[KeyTuple, dict[int, int]] = {key: {} for key in keys}
    for (*group, bucket), (count,) in exact.items():
        if tuple(group) in counts and isinstance(bucket, int) and 0 <= bucket < size:
            counts[tuple(group)][bucket] = count
    columns: list[list[int]] = []
    for rank, block in zip(planned.histogram.ranks, planned.blocks, strict=True):
        assert isinstance(block.noise, Selection)
        columns.append([select(block.noise, rank.penalties(counts[key], size)) for key in keys])
    return columns


def _exact(planned: PlannedRelease, table: pa.Table) -> dict[KeyTuple, tuple[int, ...]]:
    """Return the engine's rows by canonical key, each key once.

    Why two rows of one key are an error: the statement groups by what is canonical there, so that an engine never has
    two; were one of them kept, the order of rows would decide which, and one owner could uncover the other's.
    """
    named: list[tuple[str, Kind]] = [(key.label, key.kind) for key in planned.keys]
    if planned.histogram is not None:
        named.append((planned.histogram.label, "integer"))
    keys = [canonical_column(table.column(label).to_pylist(), kind) for label, kind in named]
    measures = [_integers(table.column(measure.name)) for measure in planned.measures]
    found = dict(zip(rows(keys, table.num_rows), rows(measures, table.num_rows), strict=True))
    if len(found) != table.num_rows:
        raise ValueError("an engine returned a group twice")
    return found


def _integers(column: pa.ChunkedArray[Any]) -> list[int]:
    """Return a column of measures as the whole numbers that they are."""
    if pa.types.is_decimal(column.type) and column.type.scale == 0:
        with suppress(pa.ArrowInvalid):  # beyond 64 bits
            column = column.cast(pa.int64())
    values: list[Any] = column.to_pylist()
    whole = pa.types.is_integer(column.type) and not column.null_count
    return values if whole else [_integer(value) for value in values]


def _integer(value: Any) -> int:
    """Return a measure as the whole number that it is, whatever type the engine summed it in."""
    whole = int(value)
    if whole != value:
        raise ValueError("a measure is no whole number")
    return whole


def _public(planned: PlannedRelease) -> list[KeyTuple]:
    """Return the groups of public keys, all of them, in an order that is no data."""
    public = public_groups(planned)
    if len(set(public)) != len(public):
        raise ValueError("a public group stands twice")  # it would be drawn for twice at the price of once
    return public


def _groups(planned: PlannedRelease, exact: dict[KeyTuple, tuple[int, ...]]) -> list[KeyTuple]:
    """Return the groups to draw for: all public ones, or those that exist, in an order that is no data."""
    if planned.public:
        return _public(planned)
    domains = [None if key.values is None else frozenset(_domain(key)) for key in planned.keys]
    known = (
        key
        for key in exact
        if all(values is None or value in values for value, values in zip(key, domains, strict=True))
    )
    return sorted(known, key=canonical_order)


def _domain(key: Key) -> tuple[Value, ...]:
    return tuple(canonical(value, key.kind) for value in key.values or ())
