"""The oracles on prepared copies: of dirty data and its neighbours, and of clean data beside the naive answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings

from gateway.policy.model import Dataset, Table
from gateway.sandbox import Sandbox
from tests.oracles import copies, test_composed, test_infinite, test_neighbours
from tests.oracles.composed import Composed
from tests.oracles.databases import Bases, Database
from tests.oracles.questions import Asked, plan, written
from tests.oracles.test_mutations import found_by_neighbours
from tests.oracles.test_neighbours import CASES, RANDOM, SLOW
from tests.oracles.worlds import DIRTY_PEOPLE, World

Case = tuple[World, list[Asked]]


@settings(max_examples=2, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_duckdb_neighbours(duckdb_copies: Bases, sandbox: Sandbox, case: Case, random: Random) -> None:
    test_neighbours.check(case[0], *duckdb_copies[case[0]], sandbox, case[1], random)


@settings(max_examples=2, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_postgres_neighbours(postgres_copies: Bases, sandbox: Sandbox, case: Case, random: Random) -> None:
    test_neighbours.check(case[0], *postgres_copies[case[0]], sandbox, case[1], random)


@pytest.mark.audit
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_duckdb_neighbours_at_length(duckdb_copies: Bases, sandbox: Sandbox, case: Case, random: Random) -> None:
    test_neighbours.check(case[0], *duckdb_copies[case[0]], sandbox, case[1], random)


@pytest.mark.audit
@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_postgres_neighbours_at_length(postgres_copies: Bases, sandbox: Sandbox, case: Case, random: Random) -> None:
    test_neighbours.check(case[0], *postgres_copies[case[0]], sandbox, case[1], random)


@pytest.mark.audit
@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
@given(case=test_composed.CASES, random=RANDOM)
def test_duckdb_composed_at_length(
    duckdb_copies: Bases, sandbox: Sandbox, case: tuple[World, list[Composed]], random: Random
) -> None:
    dataset, bases = duckdb_copies[case[0]]
    test_composed.under_neighbours(case[0], dataset, bases, sandbox, case[1], random)
    test_composed.under_answers(case[0], dataset, bases[0], sandbox, case[1], random)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    test_infinite.silence(monkeypatch)


@pytest.mark.usefixtures("silent")
@settings(max_examples=2, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_duckdb_answers(duckdb_copies: Bases, sandbox: Sandbox, case: Case, random: Random) -> None:
    dataset, (base, _) = duckdb_copies[case[0]]
    test_infinite.check(case[0], dataset, base, sandbox, case[1], random)


@pytest.mark.usefixtures("silent")
@settings(max_examples=2, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_postgres_answers(postgres_copies: Bases, sandbox: Sandbox, case: Case, random: Random) -> None:
    dataset, (base, _) = postgres_copies[case[0]]
    test_infinite.check(case[0], dataset, base, sandbox, case[1], random)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT SUM(cost), COUNT(*) FROM visit",
        "SELECT label, SUM(qty) FROM item GROUP BY label",
        "SELECT MEDIAN(cost) FROM visit",
    ],
)
def test_nothing_is_left_to_bound(duckdb_copies: Bases, duckdbs: Bases, sql: str) -> None:
    source, copy = (plan(written(sql), bases[DIRTY_PEOPLE][0]) for bases in (duckdbs, duckdb_copies))
    (before,), (now,) = source.statements, copy.statements
    assert before.bounding == now.bounding
    assert now.bounding.held
    assert not before.bounding.held
    assert "JOIN" not in now.sql
    assert "discreet_h" not in now.sql
    assert now.tables == before.tables[:1]


@pytest.mark.audit
def test_the_first_oracle_finds_nothing(duckdb_copies: Bases) -> None:
    assert next(found_by_neighbours(duckdb_copies), None) is None


def claim_one(bases: Bases, monkeypatch: pytest.MonkeyPatch) -> Bases:
    """A copy of several rows an owner is taken for one of a single row."""

    def broken(dataset: Dataset) -> Dataset:
        def claimed(table: Table) -> Table:
            return table if table.copy is None else replace(table, copy=replace(table.copy, most=1))

        return replace(dataset, tables=tuple(map(claimed, dataset.tables)))

    def made(world: World) -> tuple[Dataset, tuple[Database, Database]]:
        dataset, pair = bases[world]
        return broken(dataset), pair

    return copies.Late(made)


def rank_among_all(bases: Bases, monkeypatch: pytest.MonkeyPatch) -> Bases:
    """Which rows are kept is decided by a rank among everybody's rows."""
    sound = copies.statements

    def broken(source: Dataset, target: str) -> list[str]:
        return [statement.replace("PARTITION BY o ", "") for statement in sound(source, target)]

    monkeypatch.setattr(copies, "statements", broken)
    return bases


@pytest.mark.parametrize("break_rule", [pytest.param(claim_one, marks=pytest.mark.audit), rank_among_all])
def test_the_first_oracle_sees(
    duckdb_copies: Bases, monkeypatch: pytest.MonkeyPatch, break_rule: Callable[[Bases, pytest.MonkeyPatch], Bases]
) -> None:
    assert next(found_by_neighbours(break_rule(duckdb_copies, monkeypatch)), None) is not None
