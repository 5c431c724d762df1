"""Contribution bounds narrow a row's value or a unit's part in a group, in the exact integers that are asked for."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from random import Random

import pytest

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset
from gateway.sandbox import Sandbox
from gateway.sql.planning.plan import PlannedRelease
from tests.oracles import neighbours
from tests.oracles.databases import DuckdbDatabase, duckdb_dataset
from tests.oracles.questions import plan, written
from tests.oracles.worlds import Data, generate, shuffled, units, without
from tests.sql.shop import SHOP
from tests.sql.test_attacks import Target, duckdb_target, postgres_target  # noqa: F401 - fixtures

ROW, GROUP = "contribution_bounds_per_row", "contribution_bounds_per_group"
ASKED = (
    f"SELECT SUM(amount, {ROW} => (0, 100)), AVG(amount, {ROW} => (1.5, 7.25)), COUNT(*) FROM orders",
    f"SELECT city, SUM(age, {ROW} => (20, 40)) FILTER (WHERE age > 18) FROM users GROUP BY city",
    f"SELECT MEDIAN(amount, {ROW} => (0, 100)), STDDEV(amount, {ROW} => (0, 50)) FROM orders",
    f"SELECT status, SUM(amount, {GROUP} => (0, 50)), COUNT(*, {GROUP} => (0, 2)) FROM orders GROUP BY status",
    f"SELECT channel, SUM(amount, {GROUP} => (5, 50)), COUNT(DISTINCT user_id) FROM orders GROUP BY channel",
    f"SELECT COUNT(*, {GROUP} => (0, 3)), COUNT(amount, {GROUP} => (1, 3)) FROM orders",
    f"SELECT SUM(qty, {GROUP} => (0, 12)), SUM(price, {GROUP} => (0, 0.5)) FROM items",
    f"SELECT SUM(qty, {ROW} => (1, 2), {GROUP} => (0, 3)) FROM items",
    f"SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(max_groups_contributed = 1) "
    f"channel, COUNT(*, {GROUP} => (0, 2)) FROM orders GROUP BY channel",
)


def data(seed: int) -> Data:
    return generate(SHOP, Random(seed), 40, dirty=True, heavy=25)  # noqa: S311 - fixed examples, not noise


@pytest.mark.parametrize("target", ["duckdb_target", "postgres_target"])
@pytest.mark.parametrize("mechanism", ["laplace", pytest.param("gaussian", marks=pytest.mark.audit)])
def test_neighbours(target: str, mechanism: str, sandbox: Sandbox, request: pytest.FixtureRequest) -> None:
    dataset, first, second = request.getfixturevalue(target)
    plans = [plan(written(sql, "gaussian" if mechanism == "gaussian" else "laplace"), dataset) for sql in ASKED]
    for seed in (1, 2):
        shop = data(seed)
        first.fill(shop)
        for unit in units(SHOP, shop)[::2]:
            second.fill(shuffled(without(SHOP, shop, unit), Random(seed)))  # noqa: S311
            for sql, found in zip(ASKED, plans, strict=True):
                assert neighbours.compare(found, first.fetch, second.fetch) == [], (sql, unit)
        for found in plans:
            neighbours.answered(found, first.fetch, sandbox)


def sums(sql: str, dataset: Dataset, rows: list[tuple[int, str, str, int]]) -> dict[object, Fraction]:
    """The exact sums of the first aggregate, by group, over orders of (user, status, channel, amount)."""
    database = DuckdbDatabase(SHOP)
    orders = [
        (at, user, status, channel, amount, "2024-01-01") for at, (user, status, channel, amount) in enumerate(rows)
    ]
    database.fill({"users": [], "orders": list(orders), "items": [], "skus": []})
    planned: PlannedRelease = plan(written(sql), dataset).releases[0]
    measure = planned.measures[-1]
    found = neighbours.exact(planned, database.fetch(planned.sql))
    database.close()
    return {(group[0] if group else None): value[measure.name] * measure.unit for group, value in found.items()}


ROWS = [(3, "open", "web", 10), (3, "open", "web", 30), (3, "paid", "web", 7), (5, "open", "web", 4)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (f"SELECT SUM(amount, {ROW} => (5, 9)) FROM orders", {None: 9 + 9 + 7 + 5}),
        (f"SELECT SUM(amount, {GROUP} => (0, 15)) FROM orders", {None: 15 + 4}),
        (f"SELECT COUNT(*, {GROUP} => (0, 2)) FROM orders", {None: 2 + 1}),
        (f"SELECT COUNT(*, {GROUP} => (2, 3)) FROM orders", {None: 3 + 2}),
        (f"SELECT SUM(amount, {ROW} => (5, 9), {GROUP} => (0, 20)) FROM orders", {None: 20 + 5}),
        (
            f"SELECT status, SUM(amount, {GROUP} => (6, 15)) FROM orders WHERE status IS NOT NULL GROUP BY status",
            {"open": 15 + 6, "paid": 7},
        ),
    ],
)
def test_what_is_summed(sql: str, expected: dict[object, int]) -> None:
    found = sums(sql, duckdb_dataset(SHOP), ROWS)
    assert {key: float(value) for key, value in found.items()} == pytest.approx(expected, abs=1e-4)


def test_narrower_bounds_mean_less_noise() -> None:
    dataset = duckdb_dataset(SHOP)

    def error(sql: str) -> float:
        [release] = plan(written(sql), dataset).releases
        return float(release.blocks[-1].noise.scale * release.measures[-1].unit)

    plain = error("SELECT SUM(amount) FROM orders")
    assert error(f"SELECT SUM(amount, {ROW} => (0, 100)) FROM orders") == pytest.approx(plain / 10, rel=1e-3)
    assert error(f"SELECT SUM(amount, {GROUP} => (0, 100)) FROM orders") == pytest.approx(plain / 50, rel=1e-3)
    both = f"SELECT status, SUM(amount, {GROUP} => (0, 100)) FROM orders GROUP BY status"
    assert error(both) == pytest.approx(3 * plain / 50, rel=1e-3), "two declared values and NULL"


def test_groups_bound_rows_where_the_policy_bounds_none() -> None:
    dataset = duckdb_dataset(SHOP)
    tables = tuple(replace(table, max_rows_per_unit=None) for table in dataset.tables)
    unbounded = replace(dataset, tables=tables)
    assert plan(written("SELECT COUNT(*) FROM orders"), unbounded).releases[0].bounding.how == "chosen"
    [release] = plan(written(f"SELECT COUNT(*, {GROUP} => (0, 2)) FROM orders"), unbounded).releases
    assert release.measures[-1].linf * release.measures[-1].unit == pytest.approx(2, rel=1e-4)


@pytest.mark.parametrize(
    ("sql", "at"),
    [
        (f"SELECT SUM(amount, {ROW} => (-1, 100)) FROM orders", 8),
        (f"SELECT SUM(amount, {ROW} => (0, 1001)) FROM orders", 8),
        (f"SELECT SUM(amount, {ROW} => (9, 1)) FROM orders", 52),
        (f"SELECT SUM(age, {ROW} => (1.2, 1.8)) FROM users", 8),
        (f"SELECT SUM(amount, {ROW} => (0, 1, 2)) FROM orders", 52),
        (f"SELECT SUM(amount, {ROW} => 5) FROM orders", 51),
        (f"SELECT SUM(amount, {ROW} => (0, amount)) FROM orders", 55),
        (f"SELECT SUM(amount, {ROW} => ('a', 'b')) FROM orders", 52),
        (f"SELECT SUM(amount, {ROW} => (0, 1), {ROW} => (0, 1)) FROM orders", 91),
        (f"SELECT COUNT(*, {ROW} => (0, 1)) FROM orders", 8),
        (f"SELECT CORR(age, income, {ROW} => (0, 1)) FROM users", 8),
        (f"SELECT AVG(amount, {GROUP} => (0, 1)) FROM orders", 8),
        (f"SELECT MEDIAN(amount, {GROUP} => (0, 1)) FROM orders", 8),
        (f"SELECT SUM(amount, {GROUP} => (0, 1)), SUM(amount) FROM orders", 8),
        (f"SELECT UPPER(city, {ROW} => (0, 1)), COUNT(*) FROM users GROUP BY city", 8),
    ],
)
def test_refused(sql: str, at: int) -> None:
    with pytest.raises(SqlRefused) as refusal:
        plan(written(sql), duckdb_dataset(SHOP))
    place = refusal.value.position
    assert (refusal.value.code, place and place.column) == ("contribution-bounds-invalid", at)


def test_bounds_are_no_argument_elsewhere() -> None:
    for sql in (
        f"SELECT COUNT(*) FROM orders WHERE UPPER(status, {ROW} => (0, 1)) = 'A'",
        f"SELECT AVG(n) FROM (SELECT user_id, SUM(amount, {ROW} => (0, 1)) AS n FROM orders GROUP BY user_id) t",
    ):
        with pytest.raises(SqlRefused):
            plan(written(sql), duckdb_dataset(SHOP))
