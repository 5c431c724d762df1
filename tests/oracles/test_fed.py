"""Releases that feed releases: with the inner values fixed each keeps its bounds, and without noise SQLite agrees."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from gateway import feeding
from gateway.errors import SqlRefused
from gateway.sandbox import Sandbox
from gateway.sql.algebra import Constant
from gateway.sql.explain import explain
from gateway.sql.planning.plan import PlannedRelease
from tests.oracles import neighbours
from tests.oracles.clinic import CLINIC, KEYED_CLINIC, tidy
from tests.oracles.composed import Composed
from tests.oracles.databases import Bases, duckdb_dataset
from tests.oracles.questions import plan, written
from tests.oracles.sqlite import differences, loaded
from tests.oracles.test_composed import neighbour
from tests.oracles.test_infinite import shown
from tests.oracles.test_neighbours import RANDOM, SLOW
from tests.oracles.worlds import World, generate, shuffled, without

_VALUES = (
    "(SELECT COALESCE(AVG(cost), 50) + 0.01 FROM visit)",
    "(SELECT COUNT(*) / 2.0 + 0.01 FROM person)",
    "(SELECT MAX(n) FROM (SELECT kind, COUNT(*) AS n FROM visit GROUP BY kind) AS k)",
    "(SELECT COALESCE(AVG(cost), 50) + 0.01 FROM visit"
    " WHERE cost > (SELECT COALESCE(AVG(cost), 50) - 5.01 FROM visit))",
    "(SELECT n FROM (SELECT day, COUNT(*) AS n FROM visit GROUP BY day) AS d ORDER BY n LIMIT 1)",
)
_LISTS = (
    "(SELECT kind FROM visit GROUP BY kind HAVING COUNT(*) > 2)",
    "(SELECT kind FROM (SELECT kind, SUM(cost) AS a FROM visit GROUP BY kind) AS k WHERE a > 20.01)",
    "(SELECT kind FROM visit WHERE kind IS NOT NULL GROUP BY kind HAVING SUM(cost) > 60.01)",
)
_TABLES = (
    "(SELECT kind, COUNT(*) AS n, SUM(cost) AS s FROM visit GROUP BY kind)",
    "(SELECT DISTINCT k.kind, 1.5 AS n, 2.5 AS s FROM (SELECT kind, COUNT(*) AS n FROM visit GROUP BY kind) AS k)",
)


def question(seed: int) -> Composed:
    """A question whose rows are picked, measured or joined by what is released first."""
    random = Random(seed)  # noqa: S311 - examples, not noise
    value, listed, table = (random.choice(each) for each in (_VALUES, _LISTS, _TABLES))
    aggregates = random.sample(("COUNT(*)", "SUM(v.cost)", "COUNT(v.cost)", "COUNT(DISTINCT v.person_id)"), 2)
    if random.random() < 0.3:
        aggregates.append("SUM(v.cost - (SELECT COALESCE(AVG(cost), 50) FROM visit))")
    source = "visit AS v"
    if random.random() < 0.4:
        how = random.choice(("JOIN", "LEFT JOIN"))
        source += f" {how} {table} AS t ON t.kind = v.kind{random.choice(('', ' AND t.n > 1.5'))}"
    tests = [
        f"v.cost > {value}",
        f"v.kind IN {listed}",
        f"v.kind NOT IN {listed}",
        f"EXISTS (SELECT 1 FROM {table} AS e WHERE e.n > {random.randint(0, 5)}.5)",
        f"(v.cost < {value} OR v.kind IS NULL)",
        "v.score > 0",
        # rows whose group is not there have no value, where SQL counts nothing
        "v.kind IS NOT NULL AND v.cost > (SELECT COALESCE(AVG(w.cost), 50) - 5.01 FROM visit w WHERE w.kind = v.kind)",
        "v.cost > 9 AND v.cost < (SELECT COUNT(*) * 7.01 FROM visit w WHERE v.kind = w.kind AND w.cost > 9)",
    ]
    where = " AND ".join(random.sample(tests, random.choice((1, 1, 2))))
    keys = random.choice(([], [], ["v.kind"], ["v.site_id"]))
    selected = ", ".join([*(f"{key} AS k{at}" for at, key in enumerate(keys)), *aggregates])
    by = f" GROUP BY {', '.join(keys)}" if keys else ""
    text = f"SELECT {selected} FROM {source} WHERE {where}{by}"
    return Composed(text, len(keys), tuple(aggregates), frozenset())


def check(world: World, bases: Bases, sandbox: Sandbox, asked: list[Composed], random: Random) -> None:
    dataset, (first, second) = bases[world]
    data = generate(world, random, random.choice((4, 20)), dirty=True, heavy=8)
    first.fill(data)
    second.fill(shuffled(neighbour(world, data, random), random))
    plans = []
    for each in asked:
        note(each.text)
        found = plan(replace(written(each.text, random.choice(("laplace", "gaussian"))), groups=1000), dataset)
        plans.append((each, found))
        assert neighbours.compare(found, first.fetch, second.fetch, dataset) == []
        neighbours.answered(found, first.fetch, sandbox, dataset)
        assert explain(found).model_dump_json()
    clean = tidy(world, random, random.choice((4, 12, 25)))
    first.fill(clean)
    with loaded(world, clean) as connection, pytest.MonkeyPatch.context() as patch:
        neighbours.quiet(patch)
        for each, found in plans:
            note(each.text)
            assert differences(each, shown(found, first.fetch, sandbox, dataset), connection) == []


def _open(planned: PlannedRelease) -> PlannedRelease:
    """The release with a threshold that every group passes."""
    return planned if planned.threshold is None else replace(planned, threshold=replace(planned.threshold, at=1))


SEEDS = st.lists(st.integers(0, 10**9), min_size=4, max_size=4, unique=True)


@settings(max_examples=3, deadline=None, suppress_health_check=SLOW)
@given(seeds=SEEDS, random=RANDOM)
@pytest.mark.parametrize("world", [CLINIC, KEYED_CLINIC], ids=lambda world: world.name)
def test_duckdb(world: World, duckdbs: Bases, sandbox: Sandbox, seeds: list[int], random: Random) -> None:
    check(world, duckdbs, sandbox, [question(seed) for seed in seeds], random)


@settings(max_examples=4, deadline=None, suppress_health_check=SLOW)
@given(seeds=SEEDS, random=RANDOM)
def test_postgres(postgreses: Bases, sandbox: Sandbox, seeds: list[int], random: Random) -> None:
    check(CLINIC, postgreses, sandbox, [question(seed) for seed in seeds], random)


@pytest.mark.audit
@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
@given(seeds=SEEDS, random=RANDOM)
def test_duckdb_at_length(duckdbs: Bases, sandbox: Sandbox, seeds: list[int], random: Random) -> None:
    check(KEYED_CLINIC, duckdbs, sandbox, [question(seed) for seed in seeds], random)


def test_inner_releases_come_first_and_share_the_price() -> None:
    dataset = duckdb_dataset(CLINIC)
    sql = "SELECT COUNT(*) FROM person WHERE age > (SELECT AVG(age) FROM person WHERE ok)"
    found = plan(written(sql), dataset)
    assert feeding.feeding(found) == {0}
    assert [bool(release.parameters) for release in explain(found).releases] == [False, True]
    assert list(explain(found).releases[1].parameters.values()) == [[0.0, 110.0]]
    assert found.loss.epsilon is not None
    assert found.loss.epsilon <= found.price
    assert {release.loss.epsilon for release in found.releases} == {found.price // 2}


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT COUNT(*) FROM person WHERE age > (SELECT age FROM person)", "subquery-crosses-owners"),
        ("SELECT COUNT(*) FROM person WHERE age > (SELECT AVG(age) FROM person GROUP BY sex)", "subquery-unsupported"),
        ("SELECT region FROM site WHERE EXISTS (SELECT 1 FROM visit v WHERE v.site_id = 1)", "no-aggregate"),
        ("SELECT SUM(age - (SELECT COUNT(*) FROM visit)) FROM person", "bounds-missing"),
    ],
)
def test_what_is_not_released_first_is_refused(sql: str, code: str) -> None:
    with pytest.raises(SqlRefused) as refusal:
        plan(written(sql), duckdb_dataset(CLINIC))
    assert refusal.value.code == code


def test_equal_keys_are_written_once(duckdbs: Bases, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is proven of a fed table's keys holds by its writing, whatever was computed."""
    dataset, (base, _) = duckdbs[KEYED_CLINIC]
    base.fill(tidy(KEYED_CLINIC, Random(1), 20))  # noqa: S311 - a fixed example
    sql = (
        "SELECT COUNT(*) FROM person p JOIN (SELECT age, COUNT(*) AS n FROM person GROUP BY age) AS t ON t.age = p.age"
    )
    found = plan(written(sql), dataset)
    monkeypatch.setattr(feeding, "_constant", lambda _value, column: Constant(18, column.kind))
    *_, (ready, _) = neighbours.drawn(found, base.fetch, dataset)
    assert ready.sql.count("AS g0") == 1
    assert "UNION ALL" not in ready.sql


def test_equal_keys_written_twice_are_found(duckdbs: Bases, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle sees a person counted as often as a key stands in the fed table."""
    dataset, (first, second) = duckdbs[KEYED_CLINIC]
    clean = tidy(KEYED_CLINIC, Random(1), 25)  # noqa: S311 - a fixed example
    clean["person"] = [(row[0], row[1], 18, *row[3:]) for row in clean["person"]]
    clean["person"][1:3] = [(row[0], row[1], 30, *row[3:]) for row in clean["person"][1:3]]
    first.fill(clean)
    second.fill(without(KEYED_CLINIC, clean, clean["person"][0][0]))
    sql = (
        "SELECT COUNT(*) FROM person p JOIN (SELECT age, COUNT(*) AS n FROM person GROUP BY age) AS t ON t.age = p.age"
    )
    found = plan(replace(written(sql), groups=1000), dataset)
    wide = replace(found, releases=tuple(map(_open, found.releases)))
    assert wide.releases[-1].bounding.how == "one_row"
    neighbours.quiet(monkeypatch)
    monkeypatch.setattr(feeding, "_constant", lambda _value, column: Constant(18, column.kind))
    assert neighbours.compare(wide, first.fetch, second.fetch, dataset) == []
    monkeypatch.setattr(feeding, "_different", lambda _fed, rows: tuple(rows))
    assert neighbours.compare(wide, first.fetch, second.fetch, dataset) != []
