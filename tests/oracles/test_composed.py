"""Questions composed of joins, semi-joins, folds and nested queries, under both oracles, on both engines."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset
from gateway.sandbox import Sandbox
from gateway.sql.algebra import Release
from gateway.sql.explain import explain
from gateway.sql.planning.plan import Plan
from gateway.sql.tables import Pick
from tests.oracles import neighbours
from tests.oracles.clinic import CLINIC, CLINICS, GAUGES, KEYED_CLINIC, KEYED_GAUGES, tidy
from tests.oracles.composed import Composed, composed
from tests.oracles.databases import Bases, Database, duckdb_dataset
from tests.oracles.questions import plan, written
from tests.oracles.sqlite import differences, loaded
from tests.oracles.test_infinite import shown
from tests.oracles.test_neighbours import RANDOM, SLOW
from tests.oracles.worlds import Data, World, generate, shuffled, units, without, without_row

REFUSED = frozenset(
    {
        "aggregate-unsupported",  # of a query that is folded across owners: it would be a release of its own
        "bounds-missing",
        "column-unknown",  # of a released table, in a subquery over private rows that is tied to it
        "distinct-unsupported",
        "join-not-owned",
        "join-unsupported",
        "rows-unbounded",
        "scale-too-large",
        "subquery-crosses-owners",
        "set-not-owned",
        "no-aggregate",  # of private rows that a subquery reads beside a released table
        "not-in-unsupported",
        "post-too-large",  # of a query that is folded across owners and stands beside many public rows
        "subquery-unsupported",
        "type-mismatch",  # of MIN over texts of several people, which would be a release of its own
        "window-crosses-owners",
    }
)
"""What a composed question may be refused for; each has a reason that the composer does not look at."""


@st.composite
def _cases(draw: st.DrawFn) -> tuple[World, list[Composed]]:
    world = draw(st.sampled_from(CLINICS))
    seeds = draw(st.lists(st.integers(0, 10**9), min_size=5, max_size=8, unique=True))
    return world, [composed(world, seed) for seed in seeds]


CASES = _cases()


def neighbour(world: World, data: Data, random: Random) -> Data:
    """Return the data without one unit, chosen at random, one of many rows more often."""
    if world.unit == "row":
        rows = data["gauge"]
        return without_row(data, "gauge", random.randrange(len(rows))) if rows else data
    found = units(world, data)
    lost = random.sample(found, min(len(found), 2))
    return min(
        (without(world, data, unit) for unit in lost), key=lambda left: sum(map(len, left.values())), default=data
    )


def under_neighbours(
    world: World,
    dataset: Dataset,
    bases: tuple[Database, Database],
    sandbox: Sandbox,
    asked: list[Composed],
    random: Random,
) -> None:
    data = generate(
        world, random, random.choice((4, 12, 20)), dirty=random.random() < 0.85, heavy=random.choice((0, 8))
    )
    bases[0].fill(data)
    bases[1].fill(shuffled(neighbour(world, data, random), random))
    for each in asked:
        note(f"{world.name}: {each.text}")
        question = written(each.text, random.choice(("laplace", "gaussian")), random.choice((None, 1, 2)))
        try:
            planned = plan(question, dataset, "duckdb" if dataset.dialect == "sqlite" else None)
        except SqlRefused as refusal:
            own = {"sqlite": ("sql-too-deep",), "mysql": ("function-unknown", "sql-too-deep")}.get(dataset.dialect, ())
            assert refusal.code in own or refusal.code in REFUSED, refusal.code  # noqa: PT017
            continue
        assert neighbours.compare(planned, bases[0].fetch, bases[1].fetch, dataset) == []
        neighbours.answered(planned, bases[0].fetch, sandbox, dataset)
        assert explain(planned).model_dump_json()


def released_at_the_top(planned: Plan) -> bool:
    """Whether the aggregates of the question itself are the release, and not those of a query inside it."""
    table = planned.query.table
    return isinstance(table, Pick) and isinstance(table.source, Release)


def under_answers(
    world: World, dataset: Dataset, base: Database, sandbox: Sandbox, asked: list[Composed], random: Random
) -> None:
    data = tidy(world, random, random.choice((4, 12, 25)))
    base.fill(data)
    with loaded(world, data) as connection, pytest.MonkeyPatch.context() as patch:
        neighbours.quiet(patch)
        for each in asked:
            if "ties" in each.features:
                continue  # Discreet breaks them by its own rule, and SQLite by none
            note(f"{world.name}: {each.text}")
            try:
                dialect = "duckdb" if dataset.dialect == "sqlite" else None
                planned = plan(replace(written(each.text), groups=1000), dataset, dialect)
            except SqlRefused:
                continue
            if not released_at_the_top(planned) or len(planned.releases) > 1:
                continue  # a released table has all of its public groups, which SQLite's has not
            got = shown(planned, base.fetch, sandbox, dataset)
            try:
                assert differences(each, got, connection) == []
            except sqlite3.OperationalError as limit:
                # SQLite has no word for some mixtures of RIGHT JOIN with joins before it.
                if "references tables to its right" not in str(limit):
                    raise


@settings(max_examples=6, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_duckdb(duckdbs: Bases, sandbox: Sandbox, case: tuple[World, list[Composed]], random: Random) -> None:
    world, asked = case
    dataset, bases = duckdbs[world]
    under_neighbours(world, dataset, bases, sandbox, asked, random)
    under_answers(world, dataset, bases[0], sandbox, asked, random)


@settings(max_examples=4, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_postgres(postgreses: Bases, sandbox: Sandbox, case: tuple[World, list[Composed]], random: Random) -> None:
    world, asked = case
    dataset, bases = postgreses[world]
    under_neighbours(world, dataset, bases, sandbox, asked, random)
    under_answers(world, dataset, bases[0], sandbox, asked, random)


@settings(max_examples=4, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_sqlite(
    sqlites: Bases, clean_sqlites: Bases, sandbox: Sandbox, case: tuple[World, list[Composed]], random: Random
) -> None:
    world, asked = case
    under_neighbours(world, *sqlites[world], sandbox, asked, random)
    dataset, bases = clean_sqlites[world]
    under_answers(world, dataset, bases[0], sandbox, asked, random)


@pytest.mark.audit
@settings(max_examples=300, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_duckdb_at_length(duckdbs: Bases, sandbox: Sandbox, case: tuple[World, list[Composed]], random: Random) -> None:
    world, asked = case
    dataset, bases = duckdbs[world]
    under_neighbours(world, dataset, bases, sandbox, asked, random)
    under_answers(world, dataset, bases[0], sandbox, asked, random)


@pytest.mark.audit
@settings(max_examples=80, deadline=None, suppress_health_check=SLOW)
@given(case=CASES, random=RANDOM)
def test_postgres_at_length(
    postgreses: Bases, sandbox: Sandbox, case: tuple[World, list[Composed]], random: Random
) -> None:
    world, asked = case
    dataset, bases = postgreses[world]
    under_neighbours(world, dataset, bases, sandbox, asked, random)
    under_answers(world, dataset, bases[0], sandbox, asked, random)


@pytest.mark.audit
def test_every_feature_is_admitted() -> None:
    """What the oracles look at is not empty: each operator stands in many questions that are not refused."""
    wanted = {"owned", "public", "JOIN", "LEFT JOIN", ",", "CROSS JOIN", "IN", "NOT IN", "EXISTS", "NOT EXISTS"}
    wanted |= {"WITH", "FROM", "fold", "nested", "window", "CASE", "CASE key", "FILTER", "USING", "OR tie"}
    wanted |= {"RIGHT JOIN", "public first", "public fold", "public cut", "expression as a key", "FILTER in a fold"}
    wanted |= {"EXISTS in OR", "scalar COUNT", "scalar MAX", "scalar SUM", "tied NOT IN", "subquery in an aggregate"}
    wanted |= {"UNION ALL", "UNION", "EXCEPT", "INTERSECT", "ties", "ROW_NUMBER OVER", "LAG OVER", "SUM OVER"}
    wanted |= {"QUALIFY", "DISTINCT ON", "NATURAL", "EXCEPT ALL", "INTERSECT ALL", "WINDOW", "DISTINCT of two"}
    wanted |= {"computed", "computed text", "computed key", "pairs"}
    admitted: Counter[str] = Counter()
    dataset = duckdb_dataset(CLINIC)
    for seed in range(800):
        asked = composed(CLINIC, seed)
        try:
            plan(written(asked.text), dataset)
        except SqlRefused:
            continue
        admitted.update(asked.features)
        if all(admitted[name] >= 3 for name in wanted):
            break
    assert {name: count for name in wanted if (count := admitted[name]) < 3} == {}


@pytest.mark.parametrize(("world", "admitted"), [(GAUGES, False), (KEYED_GAUGES, True)])
def test_a_row_that_is_a_unit_meets_public_rows_by_an_enforced_key_alone(world: World, admitted: bool) -> None:
    sql = written("SELECT region, COUNT(*) FROM gauge g JOIN site s ON s.site_id = g.site_id GROUP BY region")
    if admitted:
        assert plan(sql, duckdb_dataset(world)).releases
    else:
        with pytest.raises(SqlRefused, match="row"):
            plan(sql, duckdb_dataset(world))


@pytest.mark.parametrize("world", [GAUGES, KEYED_GAUGES])
@pytest.mark.parametrize(
    "source",
    [
        "site s CROSS JOIN tariff t JOIN gauge g ON g.site_id = s.site_id",
        "gauge g CROSS JOIN tariff t",
        "gauge g JOIN (SELECT s.site_id FROM site s CROSS JOIN tariff t) q ON q.site_id = g.site_id",
        "gauge g LEFT JOIN (SELECT s.site_id FROM site s JOIN tariff t ON t.region = s.region) q"
        " ON q.site_id = g.site_id",
        "gauge g JOIN gauge h ON g.site_id = h.site_id",
    ],
)
def test_a_row_that_is_a_unit_is_never_multiplied(world: World, source: str) -> None:
    with pytest.raises(SqlRefused):
        plan(written(f"SELECT COUNT(*) FROM {source}"), duckdb_dataset(world))


@pytest.mark.parametrize(
    "source",
    [
        "site s CROSS JOIN tariff t JOIN person p ON p.age = s.site_id",
        "person p JOIN (SELECT s.site_id FROM site s CROSS JOIN tariff t) q ON q.site_id = p.age",
        "(SELECT DISTINCT b.person_id FROM visit a LEFT JOIN visit b ON a.person_id = b.person_id AND a.cost < 9) q",
        "(SELECT b.person_id FROM visit a LEFT JOIN visit b ON a.person_id = b.person_id AND a.cost < 9"
        " GROUP BY b.person_id) q",
    ],
)
def test_no_person_is_held_to_have_one_row_where_rows_multiply(source: str) -> None:
    try:
        planned = plan(written(f"SELECT COUNT(*) FROM {source}"), duckdb_dataset(KEYED_CLINIC))
    except SqlRefused:
        return
    assert all(release.bounding.how != "one_row" for release in planned.releases)


@pytest.mark.parametrize("join", ["", " LEFT JOIN person p ON p.person_id = q.person_id"])
def test_columns_that_double_at_every_step_are_refused(join: str) -> None:
    steps = ["q0 AS (SELECT person_id, age AS x FROM person)"]
    steps += [
        f"q{at} AS (SELECT q.person_id, COALESCE(q.x, q.x) AS x FROM q{at - 1} AS q{join})" for at in range(1, 25)
    ]
    with pytest.raises(SqlRefused) as refusal:
        plan(written(f"WITH {', '.join(steps)} SELECT SUM(x) FROM q24"), duckdb_dataset(CLINIC))
    assert refusal.value.code == "sql-too-deep"
