"""The first oracle: what one privacy unit can change in the exact integers, against what the plan declares.

The comparison shares no code with the release: rows are read as the engine returned them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cache
from random import Random

import pyarrow as pa
import pytest

from gateway import release as releasing
from gateway.answers.compose import compose
from gateway.feeding import Feeding, feeding
from gateway.noisy import NoisyTable, canonical, decode, encode
from gateway.policy.model import Dataset
from gateway.release import release
from gateway.sandbox import Sandbox
from gateway.sql.planning.clips import column, columns
from gateway.sql.planning.groups import Given
from gateway.sql.planning.plan import Plan, PlannedRelease
from mechanisms import race
from mechanisms.thresholds import threshold

Group = tuple[object, ...]
Exact = dict[Group, dict[str, int]]


def exact(planned: PlannedRelease, table: pa.Table) -> Exact:
    """What the engine returned, by group; refuses anything that is no whole number, and a group that comes twice."""
    found: Exact = {}
    names = [measure.name for measure in columns(planned)]
    labels = [key.label for key in planned.keys]
    if planned.histogram is not None:
        labels.append(planned.histogram.label)
    for name in names:
        kind = table.schema.field(name).type
        whole = pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0)
        assert whole, f"{name} is summed as {kind}"
    for row in table.to_pylist():
        group = tuple(_plain(row[label]) for label in labels)
        assert group not in found, f"group {group} comes twice"
        found[group] = {name: int(row[name]) for name in names}
    return found


def _plain(value: object) -> object:
    return Fraction(value) if isinstance(value, Decimal | float) else value


def breaches(planned: PlannedRelease, with_unit: Exact, without_unit: Exact) -> Iterator[str]:
    """Yield every way in which two neighbours differ by more than the plan declares."""
    zeros = {measure.name: 0 for measure in columns(planned)}
    groups = with_unit.keys() | without_unit.keys()
    changes = {
        group: {name: with_unit.get(group, zeros)[name] - without_unit.get(group, zeros)[name] for name in zeros}
        for group in groups
    }
    yield from _unlisted(planned, groups)
    clip = planned.clip
    above = len(clip.steps) if clip is not None else 0 if planned.clipped is None else 1
    counts = tuple(f"c{place}" for place in range(above))
    yield from _above(counts, with_unit, without_unit)
    for measure in columns(planned):
        if measure.name in counts:
            continue
        vector = [change[measure.name] for change in changes.values()]
        yield from _over(f"measure {measure.name}", vector, measure.l1, measure.l2_squared, measure.linf)
    for place in range(1 if clip is None else len(clip.steps)):
        for number, block in enumerate(planned.at(place).blocks):
            scaled = clip is not None and clip.noises[number] is not None
            names = [column(m.name, place) if scaled else m.name for m in block.measures]
            vector = [change[name] for change in changes.values() for name in names]
            yield from _over(f"block {number} at {place}", vector, block.l1, block.l2_squared, block.linf)
    alone = with_unit.keys() - without_unit.keys()
    born = without_unit.keys() - with_unit.keys()
    if born:
        yield f"groups {born} appear by taking a unit away"
    if planned.threshold is not None:
        yield from _threshold(planned, len(alone))


def _above(counts: tuple[str, ...], with_unit: Exact, without_unit: Exact) -> Iterator[str]:
    """Counts of units above each candidate are the same beside all groups, and one more unit raises them by one."""
    here, there = (
        {tuple(row[name] for name in counts) for row in exact.values()} for exact in (with_unit, without_unit)
    )
    if len(here) > 1 or len(there) > 1:
        yield "counts of units differ between groups"
        return
    zeros = (0,) * len(counts)
    pairs = list(zip(next(iter(here), zeros), next(iter(there), zeros), strict=True))
    if any(more - less not in (0, 1) for more, less in pairs):
        yield f"units above the candidates change by more than is declared, or against each other: {pairs}"


def _over(what: str, vector: list[int], l1: int, l2_squared: int, linf: int) -> Iterator[str]:
    found = (sum(map(abs, vector)), sum(value * value for value in vector), max(map(abs, vector), default=0))
    for norm, value, bound in zip(("l1", "l2 squared", "linf"), found, (l1, l2_squared, linf), strict=True):
        if value > bound:
            yield f"{what}: {norm} is {value} where {bound} is declared"


def _unlisted(planned: PlannedRelease, groups: set[Group]) -> Iterator[str]:
    for index, key in enumerate(planned.keys):
        if key.values is not None:
            strange = {group[index] for group in groups} - set(key.values)
            if strange:
                yield f"key {key.label}: {strange} are not in the public domain"
    names = [key.name for key in planned.keys]
    for each in planned.joint:
        places = [names.index(name) for name in each.names]
        apart = {tuple(group[place] for place in places) for group in groups} - set(each.rows)
        if apart:
            yield f"keys {each.names}: {apart} do not stand together"
    if planned.histogram is not None:
        strange = {group[-1] for group in groups} - set(range(planned.histogram.grid.size))
        if strange:
            yield f"buckets {strange} are not in the public domain"


def _threshold(planned: PlannedRelease, alone: int) -> Iterator[str]:
    """A group that one unit alone makes is hidden but with probability delta, shared over all that it can make."""
    assert planned.threshold is not None
    reach = 1 if planned.bounding.how == "one_row" else planned.bounding.groups
    if reach is None or alone > reach:
        yield f"one unit is alone in {alone} groups where {reach} are allowed for"
        return
    block, measure = next(
        (block, measure)
        for block in planned.blocks
        for measure in block.measures
        if measure.name == planned.threshold.measure
    )
    # one unit's own part, which the threshold has to exceed
    beforehand = planned.threshold.least - 1
    if planned.threshold.at - beforehand - measure.linf < threshold(block.noise, reach, planned.threshold.delta) - 1:
        yield "the threshold is lower than its delta allows"


class Clipped(ValueError):
    """No bound that is looked at lets everybody count in full: without noise, the answer is not the exact one."""


def _nobody_above(counts: list[int]) -> int:
    if 0 not in counts:
        raise Clipped
    return counts.index(0)


def quiet(patch: pytest.MonkeyPatch) -> None:
    """Draw no noise, and of bounds to choose take the least that nobody exceeds."""
    patch.setattr(releasing, "draw", lambda _noise, count: [0] * count)
    for choose in ("first_low", "least"):
        patch.setattr(releasing, choose, lambda _search, counts: _nobody_above(counts))
    patch.setattr(race, "draw", lambda _noise, count: [0] * count)
    patch.setattr(race.Race, "handicap", lambda _race, _place: 0)


Fetch = Callable[[str], pa.Table]


@cache
def _sandbox() -> Sandbox:
    return Sandbox(memory=2**28, seconds=20)


def drawn(plan: Plan, fetch: Fetch, dataset: Dataset | None = None) -> Iterator[tuple[PlannedRelease, NoisyTable]]:
    """Yield each release as it is asked of the engine, and its noisy table, in the order in which they are drawn.

    ``dataset`` is what a plan whose releases feed others was made on.
    """
    assert dataset is not None or not feeding(plan)
    tables: list[NoisyTable] = []
    for place, planned in enumerate(plan.releases):
        ready = planned
        if dataset is not None:
            ready = Feeding(plan, dataset, _sandbox(), fetch, 10_000).ready(place, tables)
        tables.append(release(ready, *(fetch(statement.sql) for statement in ready.statements)))
        yield ready, tables[-1]


def compare(plan: Plan, with_unit: Fetch, without_unit: Fetch, dataset: Dataset | None = None) -> list[str]:
    """Return the breaches of a plan between two neighbours; values that are fed are those of the first for both."""
    planned = [ready for ready, _ in drawn(plan, with_unit, dataset)] if feeding(plan) else plan.releases
    kept = [f"{each} in {ready.sent}" for ready in planned for each in _beforehand(ready, with_unit)]
    return kept + [
        f"{breach} in {statement.sql}"
        for ready in planned
        for statement in ready.statements
        for breach in breaches(
            statement, exact(statement, with_unit(statement.sql)), exact(statement, without_unit(statement.sql))
        )
    ]


def listed(plan: Plan, fetch: Fetch, random: Random) -> tuple[Given, ...]:
    """Some of the groups that a plan's releases have, as an earlier answer would have listed them."""
    found = []
    for planned in plan.releases:
        if planned.keys and not planned.public and not feeding(plan):
            groups = [
                tuple(canonical(value, key.kind) for value, key in zip(group, planned.keys, strict=True))
                for group in exact(planned, fetch(planned.sql))
            ]
            some = random.sample(groups, random.randint(0, len(groups)))
            if some:
                found.append(Given("0" * 32, tuple((key.meaning, key.kind) for key in planned.keys), tuple(some)))
    return tuple(found)


def _beforehand(planned: PlannedRelease, fetch: Fetch) -> Iterator[str]:
    """What is handed to the engine returns the groups at or above the pre-threshold, with the integers they have."""
    if planned.threshold is None or planned.sent == planned.sql:
        return
    hidden = planned.threshold
    whole = exact(planned, fetch(planned.sql))
    expected = {group: row for group, row in whole.items() if row[hidden.measure] >= hidden.least}
    if exact(planned, fetch(planned.sent)) != expected:
        yield "the pre-threshold leaves out others than those below it"


def answered(plan: Plan, fetch: Fetch, sandbox: Sandbox, dataset: Dataset | None = None) -> None:
    """Go on to the answer, which no data may keep from being made and sent."""
    tables = tuple(table for _, table in drawn(plan, fetch, dataset))
    assert decode(plan, encode(tables)) == tables
    publics = [fetch(read.sql) for read in plan.publics]
    found = compose(plan, tables, sandbox, 0.95, 10_000, publics)
    json.dumps([found.rows, found.intervals], allow_nan=True)
    assert all(not isinstance(value, float) or abs(value) < float("inf") for row in found.rows for value in row)
    assert not any(isinstance(value, date) for row in found.rows for value in row)
