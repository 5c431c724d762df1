"""With the noise at zero and clean data, each answer is what a second, naive implementation says."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given, note, settings

from gateway import release as releasing
from gateway.answers import compose as composing
from gateway.errors import SqlRefused
from gateway.policy.model import Dataset
from gateway.sandbox import Sandbox
from gateway.sql.inference.facts import facts
from gateway.sql.planning import parts
from gateway.sql.planning.groups import every
from gateway.sql.planning.plan import Plan, PlannedRelease
from mechanisms.quantiles import Rank
from mechanisms.race import Race
from tests.oracles import naive, neighbours, spreads
from tests.oracles.databases import Bases, Database
from tests.oracles.questions import Aggregated, Asked, plan
from tests.oracles.test_neighbours import CASES, FOLDER_CASES, RANDOM, SLOW, SQLITE_CASES, picks, refusals
from tests.oracles.worlds import Col, Data, Row, Tab, World

MOST_HELD = 1_000
"""More rows than one owner of these worlds has."""


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    silence(monkeypatch)


def silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """No noise at all, the extremes at the very end, and of bounds to choose the least that nobody exceeds."""
    neighbours.quiet(monkeypatch)
    monkeypatch.setattr(releasing, "select", lambda _selection, penalties: penalties.index(min(penalties)))
    monkeypatch.setattr(
        parts,
        "extreme",
        lambda _selection, _size, *, highest, unit: Rank(2, 2, -unit) if highest else Rank(0, 2, unit),
    )


def shown(
    found: Plan, fetch: Callable[[str], pa.Table], sandbox: Sandbox, dataset: Dataset | None = None
) -> list[list[object]]:
    """The answer to a plan whose thresholds let every group through."""
    open_wide = tuple(
        release if release.threshold is None else replace(release, threshold=replace(release.threshold, at=1))
        for release in found.releases
    )
    found = replace(found, releases=open_wide)
    tables = tuple(table for _, table in neighbours.drawn(found, fetch, dataset))
    publics = [fetch(read.sql) for read in found.publics]
    rows = composing.compose(found, tables, sandbox, 0.95, 10_000, publics).rows
    return [list(row) for row in rows]


def bounded(world: World, found: Plan, dataset: Dataset) -> World:
    """The world with the bounds of its columns that conditions leave: what stands for the mean of no rows."""
    columns = facts(found.releases[0].release.source, dataset).columns.values()
    told = {about.origin: about.bounds for about in columns if about.origin is not None and about.wide is not None}

    def held(table: Tab, col: Col) -> Col:
        ends = told.get((table.name, col.name))
        if ends is None or not re.search(r"lower: [-0-9.e]+,", col.declared):
            return col
        low, high = (f"{Decimal(end.numerator) / end.denominator:f}" for end in ends)
        return replace(col, declared=f"lower: {low}, upper: {high}")

    tables = (replace(each, cols=tuple(held(each, col) for col in each.cols)) for each in world.tables)
    return replace(world, tables=tuple(tables))


def differences(
    asked: Asked, world: World, found: Plan, data: Data, fetch: Callable[[str], pa.Table], sandbox: Sandbox
) -> str:
    """Say how the answer differs from the naive one; nothing if it does not."""
    release = found.releases[0]
    public = every(release.keys, release.joint) if release.public else None
    expected = naive.answer(asked, world, data, public, found.dialect)
    got = shown(found, fetch, sandbox)
    table = world.table(asked.table)
    slack = [0.0] * len(asked.keys) + [
        _slack(aggregate, table, data) + _shared(aggregate, asked, table, data) for aggregate in asked.aggregates
    ]
    slack += [1e-9] * (asked.derived is not None)
    groups = naive.groups(asked, world, data) if picks(asked) else {}
    wrong = len(got) != len(expected) or any(
        not (_between(mine, asked.aggregates[at - len(asked.keys)], table, _rows(groups, others, asked)))
        if 0 <= at - len(asked.keys) < len(asked.aggregates) and asked.aggregates[at - len(asked.keys)].picks
        else not _close(mine, theirs, loose)
        for ours, others in zip(got, expected, strict=True)
        for at, (mine, theirs, loose) in enumerate(zip(ours, others, slack, strict=True))
    )
    return f"{asked}: {got} where {expected} is expected" if wrong else ""


def _rows(groups: dict[naive.Group, list[Row]], row: tuple[object, ...], asked: Asked) -> list[Row]:
    return groups.get(tuple(row[: len(asked.keys)]), [])


def _between(mine: object, aggregate: Aggregated, table: Tab, rows: list[Row]) -> bool:
    """Whether a value is a quantile of the rows, up to a step of the grid: a part of its distance from zero."""
    assert isinstance(mine, int | float)
    low, high = map(float, naive.quantile(aggregate, table, rows))
    ends = spreads.ends(table.cols[table.index(str(aggregate.column))])
    step = max(abs(low), abs(high), abs(mine)) / 16 + float(max(map(abs, ends))) / 2**22
    return low - step <= mine <= high + step


def _shared(aggregate: Aggregated, asked: Asked, table: Tab, data: Data) -> float:
    """What more a sum or mean read off cells of second moments may be off: 2^-23 of the bounds a row at most."""
    moments = any(other.function in spreads.FUNCTIONS for other in asked.aggregates)
    if not moments or aggregate.function not in ("SUM", "AVG") or aggregate.column is None:
        return 0.0
    lower, upper = spreads.ends(table.cols[table.index(aggregate.column)])
    return float(upper - lower) * 2.0**-22 * (1 + len(data[table.name]))


def _slack(aggregate: Aggregated, table: Tab, data: Data) -> float:
    """What rounding each value of a column to a float's grid may add up to; nothing where values lie on the grid."""
    column = aggregate.column
    if aggregate.function in spreads.FUNCTIONS and column is not None:
        other = None if aggregate.other is None else table.cols[table.index(aggregate.other)]
        return spreads.slack(aggregate.function, table.cols[table.index(column)], other)
    off = {"cost": 5e3, "discreet_r": 3.0, "share": 1.0} if isinstance(data, Doubles) else {}
    off |= {"weight": 0.8, "whole": 2.0**62, "huge": 2.0**62, "fine": 1.0, "wide": 1e5, "loose": 3.0}
    return off.get(column or "", 0.0) / 2**23 * (1 + len(data[table.name]))


def _close(mine: object, theirs: object, slack: float) -> bool:
    if isinstance(theirs, Fraction | float | int) and not isinstance(theirs, bool) and mine is not None:
        assert isinstance(mine, int | float)
        if isinstance(theirs, float) and math.isinf(theirs):
            return math.isfinite(mine)
        return math.isclose(mine, float(theirs), rel_tol=1e-9, abs_tol=slack + 1e-12)
    if isinstance(theirs, date | datetime):
        return mine == theirs.isoformat()
    return mine == theirs


_ROUNDED = frozenset({"weight", "whole", "huge", "fine", "wide", "loose"})
"""Columns whose values are rounded to a grid: what is decided by such a sum may be decided otherwise."""


class Doubles(dict[str, list[Row]]):
    """Rows whose decimals are doubles, as an engine without decimals holds them."""

    def __init__(self, data: Data) -> None:
        cells = {
            name: [[float(v) if isinstance(v, Decimal) else v for v in row] for row in data[name]] for name in data
        }
        super().__init__({name: [tuple(row) for row in rows] for name, rows in cells.items()})


def exactly(asked: Asked, data: Data) -> bool:
    """Whether sums are exact wherever something is decided by them."""
    rounds = _ROUNDED | ({"cost", "discreet_r"} if isinstance(data, Doubles) else set())
    rounded = any(
        aggregate.function in spreads.FUNCTIONS or (aggregate.column in rounds and aggregate.function != "COUNT")
        for aggregate in asked.aggregates
    )
    alone = asked.having is None and asked.derived is None and not asked.order and asked.limit is None
    return alone or not (rounded or picks(asked))


def _short(planned: PlannedRelease) -> bool:
    """Whether a race ends below what is declared: it is among powers of two alone."""
    clip = planned.clip
    return clip is not None and isinstance(clip.search, Race) and clip.norm == "rows" and clip.bounds[-1] < MOST_HELD


def check(world: World, dataset: Dataset, base: Database, sandbox: Sandbox, asked: list[Asked], random: Random) -> None:
    data = naive.clean(world, random, random.choice((2, 10, 40)))
    if dataset.dialect == "sqlite":
        data = Doubles(data)
    base.fill(data)
    for each in asked:
        whole = replace(each, groups=None)
        note(f"{world.name}: {whole}")
        try:
            found = plan(whole, dataset)
        except SqlRefused as refusal:
            assert refusal.code in refusals(whole, dataset), (str(whole), refusal.code)  # noqa: PT017
            continue
        if exactly(whole, data) and not any(map(_short, found.releases)):
            with suppress(neighbours.Clipped):
                assert differences(whole, bounded(world, found, dataset), found, data, base.fetch, sandbox) == ""


@settings(max_examples=18, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_duckdb(duckdbs: Bases, sandbox: Sandbox, case: tuple[World, list[Asked]], random: Random) -> None:
    world, asked = case
    dataset, (base, _) = duckdbs[world]
    check(world, dataset, base, sandbox, asked, random)


@settings(max_examples=3, deadline=None, suppress_health_check=SLOW)
@given(case=FOLDER_CASES, random=RANDOM)
def test_parquet(folders: Bases, sandbox: Sandbox, case: tuple[World, list[Asked]], random: Random) -> None:
    world, asked = case
    dataset, (base, _) = folders[world]
    check(world, dataset, base, sandbox, asked, random)


@settings(max_examples=10, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_postgres(postgreses: Bases, sandbox: Sandbox, case: tuple[World, list[Asked]], random: Random) -> None:
    world, asked = case
    dataset, (base, _) = postgreses[world]
    check(world, dataset, base, sandbox, asked, random)


@settings(max_examples=10, deadline=None, suppress_health_check=SLOW)
@given(case=SQLITE_CASES, random=RANDOM)
def test_sqlite(clean_sqlites: Bases, sandbox: Sandbox, case: tuple[World, list[Asked]], random: Random) -> None:
    world, asked = case
    dataset, (base, _) = clean_sqlites[world]
    check(world, dataset, base, sandbox, asked, random)


@pytest.mark.audit
@settings(max_examples=400, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_duckdb_at_length(duckdbs: Bases, sandbox: Sandbox, case: tuple[World, list[Asked]], random: Random) -> None:
    world, asked = case
    dataset, (base, _) = duckdbs[world]
    check(world, dataset, base, sandbox, asked, random)
