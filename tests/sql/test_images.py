"""The groups of a key that is computed from few whole numbers or dates: what the computation may give, and no more."""

from __future__ import annotations

import duckdb
import pytest

from gateway.policy.model import Value
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import release_of
from tests.sql.shop import SHOP

TENS = tuple(range(0, 111, 10))
AGES = [
    ("age // 10 * 10", TENS),
    ("FLOOR(age / 10) * 10", TENS),
    ("CAST(FLOOR(age / 10) AS INTEGER) * 10 + 5", tuple(ten + 5 for ten in TENS)),
    ("age - age % 10", TENS),
    ("age - MOD(age, -10)", TENS),
    ("(age - 55) - (age - 55) % 20", tuple(range(-40, 41, 20))),
    ("(age - 30) // 25 * 25", (-25, 0, 25, 50, 75)),
    ("ABS(age // 50 * 50 - 50)", (0, 50)),
    ("CASE WHEN age < 60 THEN age // 20 ELSE 3 END * 20", tuple(range(0, 101, 20))),
    ("age // 40 * 40 + age % 2", (0, 1, 40, 41, 80, 81)),
    ("age // 40 || '0s'", ("00s", "10s", "20s")),
    ("LPAD(CAST(age // 40 AS VARCHAR), 2, '0')", ("00", "01", "02")),
    ("RPAD(CAST(age // 40 * 40 AS VARCHAR), 2, '_')", ("0_", "40", "80")),
    ("age // 60 * 9223372036854775807", (0, 2**63 - 1)),
]
"""Keys computed from an age of 0 to 110, and the values of each."""


def values(key: str, where: str = "TRUE", table: str = "users") -> list[Value] | None:
    """The public values of a key, but for NULL."""
    [found] = release_of(f"SELECT {key}, COUNT(*) FROM {table} WHERE {where} GROUP BY 1", duckdb_dataset(SHOP)).keys
    return None if found.values is None else [value for value in found.values if value is not None]


@pytest.mark.parametrize(("key", "expected"), AGES)
def test_whole_numbers(key: str, expected: tuple[Value, ...]) -> None:
    found = values(key)
    assert found is not None
    assert sorted(map(str, found)) == sorted(map(str, expected))


@pytest.mark.parametrize("key", [key for key, _ in AGES])
def test_what_the_engine_computes_is_listed(key: str) -> None:
    rows = duckdb.execute(f"SELECT DISTINCT {key} FROM range(111) AS t(age)").fetchall()
    # FLOOR is a double there, and a whole number here
    computed = {value if isinstance(value, str) else int(value) for (value,) in rows}
    assert computed <= set(values(key) or ())


@pytest.mark.parametrize(
    ("key", "days", "expected"),
    [
        ("MONTH(day)", ("2024-03-05", "2024-06-30"), [3, 4, 5, 6]),
        ("QUARTER(day)", ("2024-03-05", "2024-06-30"), [1, 2]),
        ("MONTH(day)", ("2023-12-31", "2024-01-01"), list(range(1, 13))),
        ("YEAR(day) * 100 + MONTH(day)", ("2024-11-05", "2024-12-30"), [202411, 202412]),
        ("YEAR(day) || '-' || LPAD(MONTH(day)::VARCHAR, 2, '0')", ("2024-09-05", "2024-10-30"), ["2024-09", "2024-10"]),
        (
            "DATE_DIFF('day', DATE '2024-01-01', DATE_TRUNC('month', day))",
            ("2024-01-20", "2024-01-21"),
            list(range(21)),
        ),
        ("DATE_DIFF('year', DATE '2020-01-01', DATE_TRUNC('year', day))", ("2024-05-20", "2024-06-21"), [4]),
    ],
)
def test_dates(key: str, days: tuple[str, str], expected: list[Value]) -> None:
    between = "day BETWEEN '{}' AND '{}'".format(*days)
    assert values(key, between, "orders") == expected
    moments = f"range(DATE '{days[0]}', DATE '{days[1]}' + 1, INTERVAL 1 DAY) AS t(day)"
    found = duckdb.execute(f"SELECT DISTINCT {key} FROM (SELECT CAST(day AS DATE) AS day FROM {moments})")
    assert {value for (value,) in found.fetchall()} <= set(expected)


def test_a_key_of_many_numbers_has_a_threshold() -> None:
    assert values("age + age // 2") == list(range(166))
    assert values("age * 2 - age") is None
    assert values("age * 4 - age // 2") is None
