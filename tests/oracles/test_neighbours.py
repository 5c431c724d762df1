"""Random data, dirty too, and random accepted questions: no unit changes more than the plan declares, on any engine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from random import Random

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset
from gateway.sandbox import Sandbox
from tests.oracles import neighbours
from tests.oracles.databases import (
    Database,
    DuckdbDatabase,
    PostgresDatabase,
    duckdb_dataset,
    postgres_connection,
    postgres_dataset,
)
from tests.oracles.questions import Asked, plan, questions
from tests.oracles.worlds import WORLDS, Data, World, generate, shuffled, units, without, without_row

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
PRICED = {"scale-too-large", "groups-too-many"}


@cache
def _duckdb(world: World, number: int) -> DuckdbDatabase:
    return DuckdbDatabase(world)


@cache
def _sandbox() -> Sandbox:
    return Sandbox(memory=2**28, seconds=20)


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


def check(world: World, dataset: Dataset, bases: tuple[Database, Database], asked: list[Asked], random: Random) -> None:
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
            assert refusal.code in PRICED, (each.sql, refusal.code, str(refusal), refusal.hint)  # noqa: PT017
            continue
        assert neighbours.compare(planned, bases[0].fetch, bases[1].fetch) == []
        neighbours.answered(planned, bases[0].fetch, _sandbox())


def on_duckdb(world: World, asked: list[Asked], random: Random) -> None:
    check(world, duckdb_dataset(world), (_duckdb(world, 0), _duckdb(world, 1)), asked, random)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[World, list[Asked]]:
    world = draw(st.sampled_from(WORLDS))
    return world, draw(st.lists(questions(world), min_size=3, max_size=6))


CASES = _cases()
RANDOM = st.randoms(use_true_random=True)


@settings(max_examples=300, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_duckdb(case: tuple[World, list[Asked]], random: Random) -> None:
    on_duckdb(*case, random)


@pytest.mark.audit
@settings(max_examples=12_000, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_duckdb_at_length(case: tuple[World, list[Asked]], random: Random) -> None:
    on_duckdb(*case, random)


class Postgres(dict[str, tuple[Dataset, Database, Database]]):
    """Each world's dataset and its two schemas on one server."""

    def __repr__(self) -> str:
        return "Postgres"


@pytest.fixture(scope="module")
def postgres(postgres_server: str) -> Iterator[Postgres]:
    """Two schemas for each world in one database, so that a case costs statements and nothing else."""
    with postgres_connection(postgres_server) as connection:
        found = Postgres()
        for world in WORLDS:
            first, second = f"oracle_{world.name}_0", f"oracle_{world.name}_1"
            bases = PostgresDatabase(world, connection, first), PostgresDatabase(world, connection, second)
            found[world.name] = postgres_dataset(world, postgres_server, first), *bases
        yield found
        for world in WORLDS:
            for number in (0, 1):
                connection.execute(f"DROP SCHEMA oracle_{world.name}_{number} CASCADE".encode())


def on_postgres(postgres: Postgres, world: World, asked: list[Asked], random: Random) -> None:
    found, *bases = postgres[world.name]
    check(world, found, (bases[0], bases[1]), asked, random)


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_postgres(postgres: Postgres, case: tuple[World, list[Asked]], random: Random) -> None:
    on_postgres(postgres, *case, random)


@pytest.mark.audit
@settings(max_examples=4_000, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_postgres_at_length(postgres: Postgres, case: tuple[World, list[Asked]], random: Random) -> None:
    on_postgres(postgres, *case, random)
