"""Joins, semi-joins, folds and nested queries: no unit changes more than the plan declares, on any engine."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset
from gateway.sandbox import Sandbox
from tests.oracles import neighbours
from tests.oracles.databases import Bases, Database
from tests.oracles.questions import Asked, plan
from tests.oracles.test_neighbours import RANDOM, SLOW, neighbour
from tests.oracles.wide import WIDE, wide
from tests.oracles.worlds import World, generate, shuffled


@st.composite
def _cases(draw: st.DrawFn) -> tuple[World, list[Asked]]:
    world = draw(st.sampled_from(list(WIDE)))
    return world, draw(st.lists(wide(world), min_size=4, max_size=8))


CASES = _cases()


def check(
    world: World,
    dataset: Dataset,
    bases: tuple[Database, Database],
    sandbox: Sandbox,
    asked: list[Asked],
    random: Random,
) -> int:
    """Ask the questions of random data and of a neighbour of it; return how many were accepted."""
    data = generate(
        world, random, random.choice((3, 12, 40)), dirty=random.random() < 0.8, heavy=random.choice((0, 20))
    )
    bases[0].fill(data)
    bases[1].fill(shuffled(neighbour(world, data, random), random))
    accepted = 0
    for each in asked:
        note(f"{world.name}: {each}")
        try:
            planned = plan(each, dataset)
        except SqlRefused:
            continue
        accepted += 1
        assert neighbours.compare(planned, bases[0].fetch, bases[1].fetch) == []
        neighbours.answered(planned, bases[0].fetch, sandbox)
    return accepted


@settings(max_examples=7, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_duckdb(duckdbs: Bases, sandbox: Sandbox, case: tuple[World, list[Asked]], random: Random) -> None:
    world, asked = case
    check(world, *duckdbs[world], sandbox, asked, random)


@settings(max_examples=6, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_postgres(postgreses: Bases, sandbox: Sandbox, case: tuple[World, list[Asked]], random: Random) -> None:
    world, asked = case
    check(world, *postgreses[world], sandbox, asked, random)


@pytest.mark.audit
@settings(max_examples=300, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_duckdb_at_length(duckdbs: Bases, sandbox: Sandbox, case: tuple[World, list[Asked]], random: Random) -> None:
    world, asked = case
    check(world, *duckdbs[world], sandbox, asked, random)
