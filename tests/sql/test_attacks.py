"""Each hostile statement does what its comment says: refused from the text, or harmless to the victim."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset
from gateway.sandbox import Sandbox
from gateway.sql.planning.plan import Plan
from tests.oracles import neighbours
from tests.oracles.databases import (
    Database,
    DuckdbDatabase,
    PostgresDatabase,
    duckdb_dataset,
    postgres_connection,
    postgres_dataset,
)
from tests.oracles.questions import plan, written
from tests.oracles.worlds import Data, generate, shuffled, without
from tests.sql.shop import SHOP

_LINE = re.compile(r"(?P<sql>.+;)  -- \[(?P<name>\w+)(?P<about>[^]]*)\](?P<said>.*)")
VICTIM = 17


def _statements() -> list[tuple[str, str, bool]]:
    """Name, statement, and whether nothing but a refusal will do."""
    found = []
    for line in Path(__file__).with_name("attacks.sql").read_text().splitlines():
        if line and not line.startswith("--"):
            match = _LINE.fullmatch(line)
            assert match is not None, line
            said = match["said"]
            must = "REFUSE" in said and not re.search(
                r"NEUTRAL|REFUSE or|REFUSE /|REFUSE until|/REFUSE|REFUSE unless", said
            )
            found.append((match["name"], match["sql"], must))
    return found


STATEMENTS = _statements()


def test_all_statements_are_read() -> None:
    names = [name for name, _, _ in STATEMENTS]
    assert len(names) == len(set(names)) == 79
    assert sum(must for _, _, must in STATEMENTS) == 37


@pytest.fixture(scope="module")
def victims() -> tuple[list[Data], list[Data]]:
    """Shops in which the victim has a lot, and the same without the victim."""
    randoms = [Random(seed) for seed in (1, 2)]  # noqa: S311 - fixed examples, not noise
    shops = [generate(SHOP, random, 40, dirty=True, heavy=20) for random in randoms]
    for shop in shops:
        shop["orders"] += [(1, VICTIM, "open", "phone", 250, "2024-01-01")] * 50
        shop["items"] += [(60, 1, "rare", 5, 9.75)] * 50
        shop["users"] += [(VICTIM, "Ulm", 64, 1.5e5)]
    return shops, [shuffled(without(SHOP, shop, VICTIM), random) for shop, random in zip(shops, randoms, strict=True)]


Target = tuple[Dataset, Database, Database]


@pytest.fixture(scope="module")
def duckdb_target() -> Iterator[Target]:
    first, second = DuckdbDatabase(SHOP), DuckdbDatabase(SHOP)
    yield duckdb_dataset(SHOP), first, second
    first.close()
    second.close()


@pytest.fixture(scope="module")
def postgres_target(postgres_server: str) -> Iterator[Target]:
    with postgres_connection(postgres_server) as connection:
        names = ["attack_0", "attack_1"]
        first, second = (PostgresDatabase(SHOP, connection, name) for name in names)
        yield postgres_dataset(SHOP, postgres_server, names[0]), first, second
        for name in names:
            connection.execute(f"DROP SCHEMA {name} CASCADE".encode())


def _planned(sql: str, dataset: Dataset) -> Plan | None:
    try:
        return plan(written(sql), dataset)
    except SqlRefused as refusal:
        assert not refusal.charged  # noqa: PT017 - only those that are refused
        return None


@pytest.mark.parametrize("target", ["duckdb_target", "postgres_target"])
def test_statements(
    target: str, victims: tuple[list[Data], list[Data]], sandbox: Sandbox, request: pytest.FixtureRequest
) -> None:
    dataset, first, second = request.getfixturevalue(target)
    plans = {}
    for name, sql, must in STATEMENTS:
        found = _planned(sql, dataset)
        assert not (must and found is not None), f"{name} is to be refused: {sql}"
        if found is not None:
            plans[name] = found
    assert plans, "every statement is refused: the neutral ones test nothing"
    for shop, bereft in zip(*victims, strict=True):
        first.fill(shop)
        second.fill(bereft)
        for name, found in plans.items():
            assert neighbours.compare(found, first.fetch, second.fetch, dataset) == [], name
            neighbours.answered(found, first.fetch, sandbox, dataset)
