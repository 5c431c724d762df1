"""R2T end to end: planned, bounded, exact without noise, told with an interval, and refused where it is none."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import pytest

from budget.report import recorded
from gateway.answers.compose import compose
from gateway.answers.estimated import estimate
from gateway.errors import SqlRefused
from gateway.noisy import NoisyTable
from gateway.release import release
from gateway.reuse.reading import opened, seal
from gateway.sandbox import Sandbox
from gateway.sql.explain import cost, explain, record
from gateway.sql.planning.plan import Clip, Plan, PlannedRelease
from mechanisms.race import Race, price_race
from tests.oracles import neighbours
from tests.oracles.databases import Bases, duckdb_dataset
from tests.oracles.questions import Mechanism, plan, written
from tests.oracles.worlds import LOOSE_PEOPLE, generate, units, without

QUESTIONS = (
    "SELECT COUNT(*) FROM visit",
    "SELECT SUM(cost) FROM visit",
    "SELECT COUNT(qty) FROM item WHERE label = 'a'",
)


def asked(sql: str, mechanism: Mechanism = "auto") -> Plan:
    return plan(replace(written(sql, mechanism), bounding="r2t"), duckdb_dataset(LOOSE_PEOPLE))


def race_of(planned: PlannedRelease) -> tuple[Clip, Race]:
    assert planned.clip is not None
    assert isinstance(planned.clip.search, Race)
    return planned.clip, planned.clip.search


def test_nobody_changes_more_than_each_bound(duckdbs: Bases) -> None:
    _, (first, second) = duckdbs[LOOSE_PEOPLE]
    data = generate(LOOSE_PEOPLE, Random(4), 40, dirty=True, heavy=60)  # noqa: S311 - fixed examples, not noise
    every = [without(LOOSE_PEOPLE, data, unit) for unit in units(LOOSE_PEOPLE, data)]
    first.fill(data)
    second.fill(min(every, key=lambda left: sum(map(len, left.values()))))
    for sql in QUESTIONS:
        assert neighbours.compare(asked(sql), first.fetch, second.fetch) == []


def test_without_noise_it_is_exact(duckdbs: Bases, monkeypatch: pytest.MonkeyPatch) -> None:
    neighbours.quiet(monkeypatch)
    _, (base, _) = duckdbs[LOOSE_PEOPLE]
    base.fill(generate(LOOSE_PEOPLE, Random(5), 40, dirty=False, heavy=60))  # noqa: S311 - fixed examples, not noise
    [planned] = asked(QUESTIONS[0]).releases
    [exact] = base.fetch("SELECT COUNT(*) AS n FROM visit WHERE person_id IS NOT NULL").column("n").to_pylist()
    drawn = release(planned, base.fetch(planned.sql))
    assert estimate(planned, drawn, 0.95)["a0"].values.tolist() == [exact]


@pytest.mark.parametrize("sql", QUESTIONS)
def test_all_bounds_are_paid_for(sql: str) -> None:
    found = asked(sql)
    [planned] = found.releases
    clip, race = race_of(planned)
    assert planned.loss == price_race(race)
    assert clip.steps == tuple(2**place for place in range(race.candidates))
    for place, bound in enumerate(clip.bounds):
        [block] = planned.at(place).blocks
        assert block.noise == race.at(place)
        assert block.l1 * race.bound == race.bound * 2**place * race.bound
        assert block.l1 % bound == 0
    ran = recorded(json.dumps(record(found, {})))
    assert ran is not None
    assert ran.within(found.loss.epsilon, found.loss.rho, 0)
    assert ran.epsilon == found.loss.epsilon
    assert [item.epsilon for item in cost(found).items] == [(found.loss.epsilon or 0) / 1e9]
    assert len(explain(found).releases[0].blocks) == race.candidates
    assert "below the exact one" in (explain(found).columns[0].note or "")


def test_what_is_told_lies_in_its_interval_and_is_kept() -> None:
    found = asked(QUESTIONS[0])
    [planned] = found.releases
    clip, race = race_of(planned)
    table = NoisyTable(((),), ((4096 * 100_000,),), 3)
    less = race.handicap(3) / 4096
    for confidence in (0.5, 0.95, 0.999):
        estimated = estimate(planned, table, confidence)["a0"]
        [value], [interval] = estimated.values, estimated.intervals
        assert value == round(100_000 - less)
        assert interval is not None
        assert interval[0] <= value <= 100_000 <= interval[1]
    low = estimate(planned, NoisyTable(((),), ((5,),), 0), 0.95)["a0"]
    assert low.values == (0,)
    [(reading, again)] = opened(seal(found, (table,)))
    assert (reading.statement.clip, again) == (clip, table)
    sandbox = Sandbox(memory=2**28, seconds=20)
    try:
        told = compose(found, (table,), sandbox, 0.95, 10)
        doubled = asked("SELECT COUNT(*) AS n, COUNT(*) * 2 AS m FROM visit")
        derived = compose(doubled, (table,), sandbox, 0.95, 10)
    finally:
        sandbox.close()
    assert any("8 rows: there R2T found the most" in warning for warning in told.warnings)
    assert any("m: no interval" in warning for warning in derived.warnings)


@pytest.mark.parametrize(
    ("sql", "mechanism"),
    [
        ("SELECT kind, COUNT(*) FROM visit GROUP BY kind", "auto"),
        ("SELECT COUNT(*), SUM(cost) FROM visit", "auto"),
        ("SELECT SUM(qty) FROM item", "auto"),
        ("SELECT AVG(cost) FROM visit", "auto"),
        ("SELECT COUNT(*), COUNT(DISTINCT person_id) FROM visit", "auto"),
        ("SELECT COUNT(*) FROM visit", "gaussian"),
    ],
)
def test_refused(sql: str, mechanism: Mechanism) -> None:
    with pytest.raises(SqlRefused) as refusal:
        asked(sql, mechanism)
    assert refusal.value.code == "bounding-unavailable"
    assert refusal.value.hint
