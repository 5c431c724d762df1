"""Release: exact integers of the engine become noisy tables, and noisy tables become estimates with intervals.

Why this is sound: where a clip is chosen, that is done by a mechanism of its own, and the integers of that candidate
alone are read; rows are put into an order that the data cannot choose before noise is drawn; every public group is
drawn for, whether or not the engine returned it; a group with a private key appears only above its threshold, decided
on the noisy number of owners; and after the noise nothing but the noisy integers is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any

import pyarrow as pa

from gateway.answers.moments import Columns, statistic, weighted
from gateway.policy.model import Value
from gateway.sql.algebra import Kind
from gateway.sql.inference.domains import canonical_order
from gateway.sql.planning.clips import column
from gateway.sql.planning.counted import COLUMN
from gateway.sql.planning.groups import Key, every
from gateway.sql.planning.plan import (
    Block,
    Clip,
    Estimator,
    Linear,
    Mean,
    Moments,
    Picked,
    Plan,
    PlannedRelease,
    Threshold,
)
from mechanisms.above_threshold import AboveThreshold, first_low
from mechanisms.intervals import MAX_CONFIDENCE, half_width, ratio_intervals
from mechanisms.least_error import least
from mechanisms.noise import Noise, Selection, draw, select
from mechanisms.race import Race, winner

KeyTuple = tuple[Value, ...]

TOO_SMALL = "in some groups the noisy number of rows is below one; the middle of the declared bounds stands there."
UNDEFINED = (
    "in some groups there are fewer than two rows, or no variation, by the noisy numbers; zero stands there, "
    "and for an intercept the mean of y."
)


@dataclass(frozen=True, slots=True)
class NoisyTable:
    """What left the data: group keys in canonical order, and for each the noisy integers of the plan's measures.

    ``clip`` is the place of the bound that was chosen, where there was one to choose; ``clipped`` the noisy number of
    units that count for less than they have, where that was asked for.
    """

    keys: tuple[KeyTuple, ...]
    measures: tuple[tuple[int, ...], ...]
    clip: int | None = None
    clipped: int | None = None


@dataclass(frozen=True, slots=True)
class Estimated:
    """One aggregate over all groups: values, their intervals, and what stands where some group was too small for it.

    An interval is None where nothing bounds the value.
    """

    values: tuple[int | float, ...]
    intervals: tuple[tuple[float, float] | None, ...]
    sparse: str | None


def release(planned: PlannedRelease, *tables: pa.Table) -> NoisyTable:
    """Return the noisy table of a planned release, given the exact integers that its statements returned, in order.

    Parts are drawn for the groups that appear, which is sound since these are public or have passed their threshold by
    then: what a part adds is one more release, over keys that are known.
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
    own = exact.pop(0) if planned.blocks else {}
    keys, counted = _groups(planned, own), None
    if planned.threshold is not None:
        keys, counted = _reaching(planned, planned.threshold, own, keys)
    measures = _noisy(planned, own, keys, counted)
    beside = [
        column
        for part, found in zip(planned.parts, exact, strict=True)
        for column in (_noisy if part.histogram is None else _picked)(part, found, keys)
    ]
    return NoisyTable(
        tuple(keys), tuple(_rows([*measures, *beside], len(keys))), place, _with_noise(planned.clipped, over)
    )


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


def _rows(columns: list[list[int]], count: int) -> list[tuple[int, ...]]:
    return list(zip(*columns, strict=True)) if columns else [()] * count


def _noisy(
    planned: PlannedRelease,
    exact: dict[KeyTuple, tuple[int, ...]],
    keys: list[KeyTuple],
    counted: list[int] | None = None,
) -> list[list[int]]:
    """Return each measure of a statement with noise, group by group; ``counted`` is the one drawn for a threshold."""
    zeros = (0,) * len(planned.measures)
    known = None if counted is None or planned.threshold is None else planned.threshold.measure
    columns: list[list[int]] = []
    at = 0
    for block in planned.blocks:
        assert isinstance(block.noise, Noise)
        fresh = sum(measure.name != known for measure in block.measures)
        noise = iter(draw(block.noise, fresh * len(keys)))
        for index, measure in enumerate(block.measures, at):
            if counted is not None and measure.name == known:
                columns.append(counted)
            else:
                columns.append([exact.get(key, zeros)[index] + next(noise) for key in keys])
        at += len(block.measures)
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
    keys = [[canonical(value, kind) for value in table.column(label).to_pylist()] for label, kind in named]
    measures = [[_integer(value) for value in table.column(m.name).to_pylist()] for m in planned.measures]
    tuples: Sequence[KeyTuple] = list(zip(*keys, strict=True)) if keys else [()] * table.num_rows
    found = dict(zip(tuples, zip(*measures, strict=True), strict=True))
    if len(found) != table.num_rows:
        raise ValueError("an engine returned a group twice")
    return found


def _integer(value: Any) -> int:
    """Return a measure as the whole number that it is, whatever type the engine summed it in."""
    whole = int(value)
    if whole != value:
        raise ValueError("a measure is no whole number")
    return whole


def _groups(planned: PlannedRelease, exact: dict[KeyTuple, tuple[int, ...]]) -> list[KeyTuple]:
    """Return the groups to draw for: all public ones, or those that exist, in an order that is no data."""
    if planned.public:
        public = [
            tuple(canonical(value, key.kind) for value, key in zip(group, planned.keys, strict=True))
            for group in every(planned.keys, planned.joint)
        ]
        if len(set(public)) != len(public):
            raise ValueError("a public group stands twice")  # it would be drawn for twice at the price of once
        return public
    domains = [None if key.values is None else frozenset(_domain(key)) for key in planned.keys]
    known = (
        key
        for key in exact
        if all(values is None or value in values for value, values in zip(key, domains, strict=True))
    )
    return sorted(known, key=canonical_order)


def _domain(key: Key) -> tuple[Value, ...]:
    return tuple(canonical(value, key.kind) for value in key.values or ())


def canonical(value: Any, kind: Kind) -> Value:
    """Return a key as Discreet compares it: numbers exact, floats by their bits, times in UTC."""
    if value is None:
        return None
    match kind:
        case "integer":
            return int(value)
        case "float":
            return Fraction(float(value))
        case "decimal":
            return Fraction(value)
        case "timestamp" if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(UTC).replace(tzinfo=None)
        case _:
            found: Value = value
            return found


def encode(tables: Sequence[NoisyTable], readings: Sequence[Any] = (), asked: str | None = None) -> bytes:
    """Return noisy tables as the payload that the ledger keeps, with what it takes to read them without their plan."""
    found = [
        {"keys": [[_written(value) for value in key] for key in table.keys], "measures": table.measures}
        | ({} if table.clip is None else {"clip": table.clip})
        | ({} if table.clipped is None else {"clipped": table.clipped})
        for table in tables
    ]
    beside: dict[str, Any] = {"readings": readings} if readings else {}
    beside |= {} if asked is None else {"asked": asked}
    return json.dumps({"tables": found, **beside}, separators=(",", ":")).encode()


def decode(plan: Plan, payload: bytes) -> tuple[NoisyTable, ...]:
    """Read the payload of a plan's outcome back."""
    found = json.loads(payload)["tables"]
    return tuple(
        table_of([key.kind for key in planned.keys], table) for planned, table in zip(plan.releases, found, strict=True)
    )


def decode_one(planned: PlannedRelease, payload: bytes) -> NoisyTable:
    """Read the payload of one release back."""
    [table] = json.loads(payload)["tables"]
    return table_of([key.kind for key in planned.keys], table)


def table_of(kinds: Sequence[Kind], table: Any) -> NoisyTable:
    """Read one noisy table of a payload back, given the kinds of its keys."""
    keys = (tuple(_read(value, kind) for value, kind in zip(values, kinds, strict=True)) for values in table["keys"])
    return NoisyTable(
        tuple(keys), tuple(tuple(row) for row in table["measures"]), table.get("clip"), table.get("clipped")
    )


def _written(value: Value) -> Any:
    if isinstance(value, Fraction):
        return str(value)
    return value.isoformat() if isinstance(value, date) else value


def _read(value: Any, kind: Kind) -> Value:
    if value is None:
        return None
    match kind:
        case "float" | "decimal":
            return Fraction(value)
        case "date":
            return date.fromisoformat(value)
        case "timestamp":
            return datetime.fromisoformat(value)
        case _:
            found: Value = value
            return found


def estimate(planned: PlannedRelease, table: NoisyTable, confidence: float) -> dict[str, Estimated]:
    """Return every aggregate of a release, group by group, with intervals that cover the noise at ``confidence``."""
    planned = planned.at(table.clip)
    names, noises = planned.integers, planned.noises
    columns = dict(zip(names, zip(*table.measures, strict=True) if table.measures else [()] * len(names), strict=True))
    return {name: _estimated(found, columns, noises, confidence) for name, found in planned.estimators}


def _estimated(estimator: Estimator, columns: Columns, noises: dict[str, Noise], confidence: float) -> Estimated:
    if isinstance(estimator, Linear):
        if estimator.among > 1:
            return _of_winner(estimator, columns, noises, confidence)
        width = half_width([(float(weight), noises[name]) for name, weight in estimator.terms], confidence)
        sums, below = weighted(estimator.terms, columns)
        centres = [total / below for total in sums]
        intervals = tuple((centre - width, centre + width) for centre in centres)
        return Estimated(stepped(sums, below, estimator.step), intervals, None)
    if isinstance(estimator, Picked):
        exact = [estimator.grid.value(bucket) for bucket in columns[estimator.bucket]]
        picked = tuple(math.floor(value) if estimator.whole else float(value) for value in exact)
        return Estimated(picked, (None,) * len(picked), None)
    if isinstance(estimator, Moments):
        found = statistic(estimator, columns, noises, confidence)
        return Estimated(found.values, found.intervals, UNDEFINED if any(found.undefined) else None)
    return _means(estimator, columns, noises, confidence)


def _of_winner(
    estimator: Linear, columns: Mapping[str, Sequence[int]], noises: Mapping[str, Noise], confidence: float
) -> Estimated:
    """Return what a race tells, and its interval: any of its draws may be the one that won, so that all hold together.

    The interval is around the noisy sum; what is told lies lower, and within it.
    """
    sure = min(1 - (1 - confidence) / estimator.among, MAX_CONFIDENCE)
    width = half_width([(float(weight), noises[name]) for name, weight in estimator.terms], sure)
    sums, below = weighted(estimator.terms, columns)
    lower = [max(round(total - estimator.less * below), 0) for total in sums]
    values = stepped(lower, below, estimator.step)
    ends = [(total / below - width, total / below + width) for total in sums]
    intervals = tuple((min(low, value), max(high, value)) for value, (low, high) in zip(values, ends, strict=True))
    return Estimated(values, intervals, None)


def stepped(sums: list[int], below: int, step: Fraction | None) -> tuple[int | float, ...]:
    """Return sums on the grid of what they sum, so that a count of people is a whole number."""
    if step is None:
        return tuple(total / below for total in sums)
    rounded = (_nearest(total * step.denominator, below * step.numerator) for total in sums)
    if step.denominator == 1:
        return tuple(steps * step.numerator for steps in rounded)
    return tuple(steps * step.numerator / step.denominator for steps in rounded)


def _nearest(above: int, below: int) -> int:
    """Return a quotient rounded to the nearest whole number, to the even one of two; ``below`` is above zero."""
    quotient, rest = divmod(above, below)
    return quotient + (2 * rest > below or (2 * rest == below and quotient % 2 == 1))


def _means(mean: Mean, columns: Columns, noises: dict[str, Noise], confidence: float) -> Estimated:
    """Return means within their bounds, their intervals, and whether some noisy count was too small for one.

    Below one row the middle of the bounds stands for the mean: always a number, decided from the noisy count.
    """
    (spreads, of_spread), (counts, of_count) = weighted(mean.spread, columns), weighted(mean.count, columns)
    centre, lower, upper = float(mean.centre), float(mean.lower), float(mean.upper)
    intervals = ratio_intervals(
        [spread / of_spread for spread in spreads],
        [count / of_count for count in counts],
        _floats(mean.spread),
        _floats(mean.count),
        noises,
        confidence,
        float(mean.lower - mean.centre),
        float(mean.upper - mean.centre),
    )
    ends = [(centre + low, centre + high) for low, high in intervals]
    # centre + (spread / of_spread) / (count / of_count), divided once
    start, scale = mean.centre.numerator * of_spread, mean.centre.denominator * of_count
    below = mean.centre.denominator * of_spread
    values = [
        centre if count < of_count else min(max((start * count + spread * scale) / (below * count), lower), upper)
        for spread, count in zip(spreads, counts, strict=True)
    ]
    return Estimated(
        tuple(values),
        # A noisy sum may tell that a mean is not in the middle although the noisy count tells of no row: the interval
        # is widened to what stands there, and covers no less.
        tuple((min(low, value), max(high, value)) for value, (low, high) in zip(values, ends, strict=True)),
        TOO_SMALL if any(count < of_count for count in counts) else None,
    )


def _floats(terms: tuple[tuple[str, Fraction], ...]) -> tuple[tuple[str, float], ...]:
    return tuple((name, float(weight)) for name, weight in terms)
