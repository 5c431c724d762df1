"""Random data, dirty too, and random accepted questions: no unit changes more than the plan declares, on any engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset, Dialect
from gateway.sandbox import Sandbox
from tests.oracles import neighbours
from tests.oracles.databases import Bases, Database
from tests.oracles.questions import Asked, plan, questions
from tests.oracles.worlds import (
    FOLDER_WORLDS,
    SQLITE_WORLDS,
    WORLDS,
    Data,
    World,
    generate,
    shuffled,
    units,
    without,
    without_row,
)

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
PRICED = {"scale-too-large", "groups-too-many", "key-unsupported"}
NARROW: dict[Dialect, set[str]] = {
    "duckdb": set(),
    "postgres": set(),
    "sqlite": {"aggregate-unsupported"},
    "spark": set(),
    "mysql": set(),
}
"""What an engine does not offer: SQLite no second moments."""


def refusals(asked: Asked, dataset: Dataset) -> set[str]:
    """The codes by which a question of the generator may be refused: quantiles need a declared number of rows."""
    chosen = {"bounding-unavailable"} if asked.bounding in ("exponential", "r2t") else set()
    return PRICED | NARROW[dataset.dialect] | chosen | ({"rows-unbounded"} if picks(asked) else set())


def picks(asked: Asked) -> bool:
    """Whether a question asks for quantiles."""
    return any(aggregate.picks for aggregate in asked.aggregates)


def neighbour(world: World, data: Data, random: Random) -> Data:
    """Return the data without one unit, chosen at random, the heavy ones more often."""
    if world.unit == "row":
        table = random.choice(world.tables).name
        return without_row(data, table, random.randrange(len(data[table]))) if data[table] else data
    found = units(world, data)
    if not found:
        return data
    lost = random.sample(found, min(len(found), 3))
    return min((without(world, data, unit) for unit in lost), key=lambda left: sum(map(len, left.values())))


def check(
    world: World,
    dataset: Dataset,
    bases: tuple[Database, Database],
    sandbox: Sandbox,
    asked: list[Asked],
    random: Random,
) -> None:
    """Ask the questions of random data and of a neighbour of it."""
    size = random.choice((3, 12, 40))
    data = generate(world, random, size, dirty=random.random() < 0.8, heavy=random.choice((0, 0, 30, 200)))
    bases[0].fill(data)
    bases[1].fill(shuffled(neighbour(world, data, random), random))
    for each in asked:
        note(f"{world.name}: {each}")
        try:
            planned = plan(each, dataset)
        except SqlRefused as refusal:
            told = (str(each), refusal.code, str(refusal), refusal.hint)
            assert refusal.code in refusals(each, dataset), told  # noqa: PT017
            continue
        assert neighbours.compare(planned, bases[0].fetch, bases[1].fetch) == []
        neighbours.answered(planned, bases[0].fetch, sandbox)
        listed = neighbours.listed(planned, bases[0].fetch, random) if each.aggregates else ()
        if listed:
            again = plan(replace(each, given=listed), dataset)
            assert all(release.public for release in again.releases if release.keys)
            assert neighbours.compare(again, bases[0].fetch, bases[1].fetch) == []
            neighbours.answered(again, bases[0].fetch, sandbox)


@st.composite
def _cases(draw: st.DrawFn, worlds: Sequence[World]) -> tuple[World, list[Asked]]:
    world = draw(st.sampled_from(worlds))
    return world, draw(st.lists(questions(world), min_size=3, max_size=6))


CASES = _cases(WORLDS)
SQLITE_CASES = _cases(SQLITE_WORLDS)
FOLDER_CASES = _cases(FOLDER_WORLDS)
RANDOM = st.randoms(use_true_random=True)


@settings(max_examples=9, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_duckdb(duckdbs: Bases, sandbox: Sandbox, case: tuple[World, list[Asked]], random: Random) -> None:
    world, asked = case
    check(world, *duckdbs[world], sandbox, asked, random)


@settings(max_examples=6, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_postgres(postgreses: Bases, sandbox: Sandbox, case: tuple[World, list[Asked]], random: Random) -> None:
    world, asked = case
    check(world, *postgreses[world], sandbox, asked, random)


@settings(max_examples=6, deadline=None, suppress_health_check=SLOW)
@given(case=SQLITE_CASES, random=RANDOM)
def test_sqlite(sqlites: Bases, sandbox: Sandbox, case: tuple[World, list[Asked]], random: Random) -> None:
    world, asked = case
    check(world, *sqlites[world], sandbox, asked, random)


@settings(max_examples=3, deadline=None, suppress_health_check=SLOW)
@given(case=FOLDER_CASES, random=RANDOM)
def test_parquet(folders: Bases, sandbox: Sandbox, case: tuple[World, list[Asked]], random: Random) -> None:
    world, asked = case
    check(world, *folders[world], sandbox, asked, random)


@pytest.mark.audit
@settings(max_examples=600, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_duckdb_at_length(duckdbs: Bases, sandbox: Sandbox, case: tuple[World, list[Asked]], random: Random) -> None:
    world, asked = case
    check(world, *duckdbs[world], sandbox, asked, random)


@pytest.mark.audit
@settings(max_examples=200, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_postgres_at_length(
    postgreses: Bases, sandbox: Sandbox, case: tuple[World, list[Asked]], random: Random
) -> None:
    world, asked = case
    check(world, *postgreses[world], sandbox, asked, random)
