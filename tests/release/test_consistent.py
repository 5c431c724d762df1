"""Answers whose counts and sums are known to add up: they do, they are closer, and what is computed of them follows."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import pytest

from gateway.answers.compose import Answer, compose
from gateway.answers.consistent import consistent
from gateway.answers.estimates import released
from gateway.noisy import NoisyTable
from gateway.sandbox import Sandbox
from gateway.sql.explain import explain
from gateway.sql.planning.plan import Mean, Plan, PlannedRelease
from mechanisms.noise import draw
from tests.oracles.clinic import KEYED_CLINIC
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import Mechanism, plan, written

ROLLED = "SELECT sex, GROUPING(sex) AS g, COUNT(*) AS n, SUM(age) AS s, AVG(age) AS a FROM person GROUP BY ROLLUP (sex)"
CUBED = "SELECT sex, ok, GROUPING(sex, ok) AS g, COUNT(*) AS n FROM person GROUP BY CUBE (ok, sex)"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    opened = Sandbox(memory=1 << 28, seconds=20)
    yield opened
    opened.close()


def planned(sql: str, mechanism: Mechanism = "laplace", epsilon: float = 1.0) -> Plan:
    return plan(replace(written(sql, mechanism), epsilon=epsilon), duckdb_dataset(KEYED_CLINIC))


def noisy(found: Plan) -> list[NoisyTable]:
    """Tables of an empty database: nothing but noise."""
    tables = []
    for release in found.releases:
        keys: list[tuple[object, ...]] = [()]
        for key in release.keys:
            keys = [(*before, value) for before in keys for value in key.values or ()]
        columns = [draw(release.noises[name], len(keys)) for name in release.integers]
        tables.append(NoisyTable(tuple(keys), tuple(zip(*columns, strict=True))))  # type: ignore[arg-type]
    return tables


def answered(found: Plan, tables: list[NoisyTable], sandbox: Sandbox) -> Answer:
    return compose(found, tables, sandbox, 0.95, 1_000)


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
def test_a_rollup_adds_up(mechanism: Mechanism, sandbox: Sandbox) -> None:
    found = planned(ROLLED, mechanism)
    answer = answered(found, noisy(found), sandbox)
    groups, [total] = ([row for row in answer.rows if row[1] == at] for at in (0, 1))
    assert len(groups) == 3
    for place in (2, 3):
        values = [row[place] for row in groups]
        assert all(type(value) is int for value in values)
        assert sum(values) == total[place]  # type: ignore[arg-type]


def test_a_cube_adds_up_but_for_rounding(sandbox: Sandbox) -> None:
    found = planned(CUBED)
    rows = answered(found, noisy(found), sandbox).rows
    by_level = [sum(row[3] for row in rows if row[2] == level) for level in range(4)]  # type: ignore[misc]
    assert max(by_level) - min(by_level) <= 7, "nine groups, six, and a total, each rounded by a half"


def test_intervals_are_those_that_the_dry_run_says(sandbox: Sandbox) -> None:
    found = planned(ROLLED)
    answer = answered(found, noisy(found), sandbox)
    told = {column.name: column for column in explain(found).columns}
    for name in ("n", "s"):
        widths = [(ends[1] - ends[0]) / 2 for ends in answer.intervals[name] if ends is not None]
        assert max(widths) == pytest.approx(told[name].expected_error)
        assert "add up" in (told[name].note or "")


def test_least_squares_bring_answers_closer() -> None:
    found = planned(CUBED, epsilon=0.1)
    raw: list[float] = []
    made: list[float] = []
    for _ in range(200):
        tables = [released(each, table, 0.95, 100) for each, table in zip(found.releases, noisy(found), strict=True)]
        raw += [value**2 for table in tables for value in table.estimates["a0"].values]
        tables = consistent(found.releases, tables, 0.95)
        made += [value**2 for table in tables for value in table.estimates["a0"].values]
    # Nine of sixteen degrees of freedom are left.
    assert 0.4 < sum(made) / sum(raw) < 0.75


AVERAGED = (
    "SELECT sex, ok, GROUPING(sex, ok) AS g, AVG(age) AS a, 2 * AVG(age) AS d FROM person GROUP BY CUBE (ok, sex)"
)


def crowded(found: Plan, people: int) -> list[NoisyTable]:
    """Tables as of so many people in each of the finest groups, all of one age."""
    finest = math.prod(len(key.values or ()) for release in found.releases[:1] for key in release.keys)
    tables = []
    for release, table in zip(found.releases, noisy(found), strict=True):
        many = people * finest // len(table.keys)
        exact = {name: int(many * weight) for name, weight in _one(release).items()}
        rows = [
            tuple(value + exact[name] for name, value in zip(release.integers, row, strict=True))
            for row in table.measures
        ]
        tables.append(replace(table, measures=tuple(rows)))
    return tables


def _one(release: PlannedRelease) -> dict[str, Fraction]:
    """What one person of the middle age adds to each measure: all count, and none is off the middle."""
    [mean] = [each for _, each in release.estimators if isinstance(each, Mean)]
    spread, count = dict(mean.spread), dict(mean.count)
    assert len({abs(weight) for weight in spread.values()}) == 1
    shared = [name for name in count if name in spread]
    if not shared:
        return {name: Fraction(0) if name in spread else 1 / count[name] for name in release.integers}
    return {name: 1 / count[name] / len(shared) if name in shared else Fraction(0) for name in release.integers}


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
def test_means_are_of_sums_that_add_up_and_closer(mechanism: Mechanism) -> None:
    found = planned(AVERAGED, mechanism)
    raw: list[float] = []
    made: list[float] = []
    held = []
    for _ in range(40):
        tables = [
            released(each, table, 0.95, 100) for each, table in zip(found.releases, crowded(found, 600), strict=True)
        ]
        before = [dict(table.estimates) for table in tables]
        for table, old in zip(consistent(found.releases, tables, 0.95), before, strict=True):
            [(name, mean)] = [(name, each) for name, each in table.planned.estimators if isinstance(each, Mean)]
            centre = float(mean.centre)
            raw += [(value - centre) ** 2 for value in old[name].values]
            made += [(value - centre) ** 2 for value in table.estimates[name].values]
            ends = [each for each in table.estimates[name].intervals if each is not None]
            held += [low <= centre <= high for low, high in ends]
    assert sum(made) < 0.9 * sum(raw)
    assert len(held) == len(made)
    assert sum(held) > 0.87 * len(held)


def test_what_is_computed_of_means_and_what_is_said_of_them_follows(sandbox: Sandbox) -> None:
    found = planned(AVERAGED)
    answer = answered(found, crowded(found, 5_000), sandbox)
    for row, narrow, wide in zip(answer.rows, answer.intervals["a"], answer.intervals["d"], strict=True):
        assert row[4] == pytest.approx(2 * row[3])  # type: ignore[operator]
        assert narrow is not None
        assert wide is not None
        assert wide[1] - wide[0] == pytest.approx(2 * (narrow[1] - narrow[0]), rel=0.25)
    told = re.match(r"within (\S+) / n of a group of n rows", explain(found).columns[3].note or "")
    assert told is not None
    widest = max(high - low for low, high in filter(None, answer.intervals["a"])) / 2
    assert widest == pytest.approx(float(told[1]) / 5_000, rel=0.1)


def test_derived_columns_are_computed_of_what_adds_up(sandbox: Sandbox) -> None:
    sql = "SELECT sex, GROUPING(sex) AS g, COUNT(*) AS n, 2 * COUNT(*) AS d FROM person GROUP BY ROLLUP (sex)"
    found = planned(sql, epsilon=0.1)
    answer = answered(found, noisy(found), sandbox)
    for row, narrow, wide in zip(answer.rows, answer.intervals["n"], answer.intervals["d"], strict=True):
        assert row[3] == 2 * row[2]  # type: ignore[operator]
        assert narrow is not None
        assert wide is not None
        assert wide[1] - wide[0] == pytest.approx(2 * (narrow[1] - narrow[0]), rel=0.25)


def test_a_table_that_is_cut_is_left_as_it_is() -> None:
    found = planned(ROLLED)
    tables = noisy(found)
    cut = [released(each, table, 0.95, 2) for each, table in zip(found.releases, tables, strict=True)]
    assert consistent(found.releases, cut, 0.95) == cut
