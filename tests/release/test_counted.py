"""How many units count for less than they have: counted in the database, priced, drawn, told and kept."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from budget.report import recorded
from gateway import release as releasing
from gateway.answers.compose import compose
from gateway.noisy import NoisyTable, decode, encode
from gateway.release import release
from gateway.reuse.canonical import same
from gateway.reuse.reading import opened, seal
from gateway.sandbox import Sandbox
from gateway.sql.explain import cost, explain, record
from gateway.sql.planning.plan import Plan
from mechanisms.loss import EPSILON_UNIT
from mechanisms.noise import Noise, calibrate, price
from tests.oracles import neighbours
from tests.oracles.databases import DuckdbDatabase, duckdb_dataset
from tests.oracles.questions import Mechanism, plan, written
from tests.oracles.test_clip_mutations import rewritten
from tests.oracles.worlds import DIRTY_PEOPLE, KEYED_PEOPLE, LOOSE_PEOPLE, Data, World

COUNT = "SELECT COUNT(*) FROM visit"
BY_KIND = "SELECT kind, COUNT(*) FROM visit WHERE kind IN ('x', 'y') GROUP BY kind"
OWNERS = "SELECT kind, COUNT(DISTINCT person_id), COUNT(*) FROM visit WHERE kind IN ('x', 'y') GROUP BY kind"


def asked(sql: str, world: World, mechanism: Mechanism = "laplace") -> Plan:
    dataset = duckdb_dataset(world)
    few = replace(
        dataset,
        tables=tuple(
            replace(table, max_rows_per_unit=3) if table.max_rows_per_unit not in (None, 1) else table
            for table in dataset.tables
        ),
    )
    return plan(replace(written(sql, mechanism), counted=True), few)


def visits(*each: int) -> Data:
    """So many visits of each person, of two kinds by turns."""
    columns = [column.name for column in DIRTY_PEOPLE.table("visit").cols]
    rows = []
    for who, count in enumerate(each):
        values = [{"person_id": who, "kind": "xy"[at % 2], "visit_id": 1000 * who + at} for at in range(count)]
        rows += [tuple(value.get(name) for name in columns) for value in values]
    return {"visit": rows}


@pytest.mark.parametrize("sql", [COUNT, BY_KIND, OWNERS])
@pytest.mark.parametrize("world", [DIRTY_PEOPLE, LOOSE_PEOPLE], ids=str)
def test_who_is_weighted_down_is_counted(sql: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releasing, "draw", lambda _noise, count: [0] * count)
    monkeypatch.setattr(releasing, "first_low", lambda _search, _counts: 2)  # three rows
    [planned] = asked(sql, world).releases
    base = DuckdbDatabase(world)
    base.fill(visits(1, 2, 3, 4, 5, 60))
    drawn = release(planned, base.fetch(planned.sql))
    base.fill(visits())
    empty = release(planned, base.fetch(planned.sql))
    base.close()
    assert (planned.clip is None) == (world is DIRTY_PEOPLE)
    assert (drawn.clipped, empty.clipped) == (3, 0)


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
@pytest.mark.parametrize("world", [DIRTY_PEOPLE, LOOSE_PEOPLE], ids=str)
def test_a_tenth_of_the_price_is_its_own(world: World, mechanism: Mechanism) -> None:
    found = asked(BY_KIND, world, mechanism)
    [planned] = found.releases
    assert planned.clipped is not None
    assert isinstance(planned.clipped.noise, Noise)
    assert planned.clipped.loss == price(planned.clipped.noise, 1, 1, 1)
    whole, part = found.loss, planned.clipped.loss
    pair = (part.rho, whole.rho) if mechanism == "gaussian" else (part.epsilon, whole.epsilon)
    assert pair[0] == pytest.approx((pair[1] or 0) / 10, rel=1e-6)
    if mechanism == "laplace":
        assert planned.clipped.noise == calibrate("laplace", 1, EPSILON_UNIT // 10)
        assert EPSILON_UNIT - 4 <= (whole.epsilon or 0) <= EPSILON_UNIT
    ran = recorded(json.dumps(record(found, {})))
    assert ran is not None
    assert ran.within(whole.epsilon, whole.rho, whole.delta)
    items = cost(found).items
    assert sum(item.rho for item in items) == pytest.approx(cost(found).rho)
    assert items[-1].scale == explain(found).releases[0].blocks[-1].scale == planned.clipped.noise.scale


def test_it_is_told_and_kept() -> None:
    found = asked(BY_KIND, DIRTY_PEOPLE)
    table = NoisyTable((("x",), ("y",)), ((9,), (8,)), None, -2)
    assert decode(found, encode((table,))) == (table,)
    [(reading, again)] = opened(seal(found, (table,)))
    assert again == table
    assert reading.statement.clipped == found.releases[0].clipped
    sandbox = Sandbox(memory=2**28, seconds=20)
    try:
        answer = compose(found, (table,), sandbox, 0.95, 10)
        more = compose(found, (replace(table, clipped=50),), sandbox, 0.95, 10)
    finally:
        sandbox.close()
    [told] = answer.clipped
    assert (told.release, told.units, told.interval[0]) == (0, 0, 0)
    assert 25 < told.interval[1] < 30  # 10 ln 20, less 2
    assert any(
        warning.startswith("About 0 units count for less than they have (between 0 and") for warning in answer.warnings
    )
    [told] = more.clipped
    assert told.units == 50
    assert told.interval[0] + told.interval[1] == pytest.approx(100)
    assert any("number of units that count for less" in note for note in found.notes)


def test_what_is_held_with_the_count_is_another_answer() -> None:
    found = asked(BY_KIND, DIRTY_PEOPLE)
    plain = plan(written(BY_KIND), duckdb_dataset(DIRTY_PEOPLE))
    assert same(found, found.releases[0]) != same(plain, plain.releases[0])
    assert plain.releases[0].clipped is None


@pytest.mark.parametrize(
    "sql",
    ["SELECT COUNT(*) FROM person", "SELECT COUNT(DISTINCT person_id) FROM visit", "SELECT MEDIAN(cost) FROM visit"],
)
def test_where_nobody_is_weighted_down_nothing_is_charged(sql: str) -> None:
    [planned] = asked(sql, KEYED_PEOPLE).releases
    assert planned.clipped is None
    assert (planned.loss.epsilon or 0) > 0.99 * EPSILON_UNIT


@pytest.mark.parametrize(
    ("sql", "old", "new"),
    [
        (COUNT, "(SELECT COUNT(*) FROM discreet_h)", "(SELECT COALESCE(SUM(n), 0) FROM discreet_h)"),
        (OWNERS, "(SELECT COUNT(DISTINCT o) FROM", "(SELECT COUNT(*) FROM"),
    ],
)
def test_the_oracle_finds_a_count_of_anything_else(
    sql: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compared() -> list[str]:
        bases = DuckdbDatabase(DIRTY_PEOPLE), DuckdbDatabase(DIRTY_PEOPLE)
        bases[0].fill(visits(1, 2, 3, 4, 60))
        bases[1].fill(visits(1, 2, 3, 4))
        found = neighbours.compare(asked(sql, DIRTY_PEOPLE), bases[0].fetch, bases[1].fetch)
        for base in bases:
            base.close()
        return found

    assert compared() == []
    rewritten(monkeypatch, (old, new))
    assert any("units above" in found for found in compared())
