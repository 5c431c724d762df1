"""What dialects say of dates means what the databases make of it themselves, on dates within the declared bounds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from random import Random

import pytest

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset
from tests.oracles.databases import (
    Database,
    DuckdbDatabase,
    PostgresDatabase,
    duckdb_dataset,
    postgres_connection,
    postgres_dataset,
)
from tests.oracles.questions import plan, release_of, written
from tests.oracles.worlds import Data, Row
from tests.sql.hostile import COLUMNS, HOSTILE
from tests.sql.shop import SHOP
from tests.sql.test_functions import lowered, values

E = "GREATEST(LEAST(e, DATE '2025-12-31'), DATE '2020-01-01')"
W = "GREATEST(LEAST(w, TIMESTAMP '2025-12-31 23:59:59'), TIMESTAMP '2020-01-01 00:00:00')"
"""Held by hand, since of days without bounds there is no bounded difference."""

DUCKDB = (
    "STRFTIME(d, '%Y-%m')",
    "STRFTIME(w, '%Y-%m-%d')",
    "STRFTIME(w, '%d/%m/%y %H:%M:%S')",
    "STRFTIME(e, '%A, %-d %B %Y')",
    "STRFTIME(e, '%a %b %j %G-%V %u %%')",
    "STRFTIME(w, '%Y%m%d')",
    "STRFTIME(w, 'at %H h')",
    "MONTHNAME(e)",
    "DAYNAME(w)",
    "LAST_DAY(e)",
    "LAST_DAY(w)",
    "ISODOW(e)",
    "ISOYEAR(e)",
    "WEEKDAY(e)",
    *(f"DATE_DIFF('{unit}', {E}, CAST({W} AS DATE))" for unit in ("year", "quarter", "month", "week", "day")),
    *(f"DATE_DIFF('{unit}', CAST({E} AS TIMESTAMP), {W})" for unit in ("week", "day", "hour", "minute", "second")),
    *(f"DATE_SUB('{unit}', {E}, d)" for unit in ("year", "quarter", "month", "week", "day")),
    *(f"DATE_SUB('{unit}', CAST({E} AS TIMESTAMP), {W})" for unit in ("week", "day", "hour", "minute", "second")),
    *(f"DATE_SUB('{unit}', CAST(e AS TIMESTAMP), w)" for unit in ("year", "quarter", "month")),
    "DATE_SUB('year', e, DATE '2024-02-29')",
    "DATE_SUB('month', e, DATE '2021-02-28')",
    "DATE_SUB('month', TIMESTAMP '2022-04-30 12:00:00', w)",
    "EXTRACT(YEAR FROM AGE(CAST(d AS TIMESTAMP), CAST(e AS TIMESTAMP)))",
    "e > TIMESTAMP '2022-05-31 12:00:00'",
    "e = TIMESTAMP '2022-05-31 00:00:00'",
    "e >= DATE_TRUNC('quarter', DATE '2022-05-31')",
    "w < DATE_TRUNC('hour', TIMESTAMP '2022-05-31 12:34:56')",
)
POSTGRES = (
    "TO_CHAR(d, 'YYYY-MM')",
    "TO_CHAR(w, 'DD.MM.YYYY HH24:MI:SS')",
    "TO_CHAR(w, 'YYYY/MM')",
    "EXTRACT(YEAR FROM AGE(d, e))::bigint",
    "DATE_PART('year', AGE(w, e))::bigint",
    "e + INTERVAL '1 year 2 months' > w",
    "e + INTERVAL '1 month - 1 day' < w",
    "(e - INTERVAL '3 months 10 days')::date",
)


def _tidy(random: Random) -> Data:
    """Dates around ends of months, leap days and the turns of years."""
    days = [date(2020, 1, 1), date(2020, 2, 29), date(2021, 2, 28), date(2022, 5, 31), date(2024, 12, 30)]
    days += [date(2020, 1, 1) + timedelta(days=random.randrange(2190)) for _ in range(60)]
    # DuckDB's months are over on the last day of a shorter one.
    days += [date(2020, month, 1) - timedelta(days=1) for month in range(2, 13)] * 4

    def moment() -> datetime:
        at = random.choice(days)
        return datetime(at.year, at.month, at.day) + timedelta(seconds=random.choice((0, 1, 43_200, 86_399)))  # noqa: DTZ001

    given = {"d": lambda: random.choice(days), "e": lambda: random.choice(days), "w": moment}
    rows: list[Row] = [
        tuple(at if c.name == "id" else given.get(c.name, lambda: None)() for c in COLUMNS) for at in range(150)
    ]
    return {"hostile": rows}


@pytest.fixture(scope="module")
def tidy() -> Data:
    return _tidy(Random(3))  # noqa: S311 - fixed examples, not noise


@pytest.fixture(scope="module")
def base(tidy: Data) -> Iterator[DuckdbDatabase]:
    found = DuckdbDatabase(HOSTILE)
    found.fill(tidy)
    yield found
    found.close()


@pytest.fixture(scope="module")
def other(postgres_server: str, tidy: Data) -> Iterator[tuple[Dataset, PostgresDatabase]]:
    with postgres_connection(postgres_server) as connection:
        found = PostgresDatabase(HOSTILE, connection, "moments")
        found.fill(tidy)
        yield postgres_dataset(HOSTILE, postgres_server, "moments"), found
        connection.execute(b"DROP SCHEMA moments CASCADE")


def both(expression: str, dialect: str, dataset: Dataset, base: Database) -> tuple[object, object]:
    """The values of an expression as it is rewritten, and as the database has it."""
    own = f"SELECT id, {expression} AS v FROM hostile"
    return values(base.fetch, lowered(expression, dialect, dataset).sql), values(base.fetch, own)


@pytest.mark.parametrize("expression", DUCKDB)
def test_duckdb_says_the_same(expression: str, base: DuckdbDatabase) -> None:
    mine, theirs = both(expression, "duckdb", duckdb_dataset(HOSTILE), base)
    assert mine == theirs


@pytest.mark.parametrize("expression", POSTGRES)
def test_postgres_says_the_same(expression: str, other: tuple[Dataset, PostgresDatabase]) -> None:
    mine, theirs = both(expression, "postgres", *other)
    assert mine == theirs


@pytest.mark.parametrize(
    ("dialect", "expression", "first"),
    [
        ("snowflake", f"DATEDIFF(week, d, {W})", 1),
        ("bigquery", f"DATE_DIFF({W}, d, ISOWEEK)", 1),
        ("bigquery", f"DATE_DIFF({W}, d, WEEK(MONDAY))", 1),
        ("bigquery", f"DATE_DIFF({W}, d, WEEK)", 7),
        ("tsql", f"DATEDIFF(week, d, {W.replace('TIMESTAMP', 'DATETIME')})", 7),
        ("spark", f"DATEDIFF(week, d, {W})", None),
    ],
)
def test_weeks_are_those_of_the_dialect(
    dialect: str, expression: str, first: int | None, base: DuckdbDatabase, tidy: Data
) -> None:
    """Each counts the days of the week that start one, or (Spark) seven days."""
    places = [col.name for col in COLUMNS]
    expected = {}
    for row in tidy["hostile"]:
        given = dict(zip(places, row, strict=True))
        low, at = given["d"], given["w"]
        assert isinstance(low, date)
        assert isinstance(at, datetime)
        high = at.date()
        early, late = min(low, high), max(low, high)
        days = [early + timedelta(days=n + 1) for n in range((late - early).days)]
        count = len(days) // 7 if first is None else sum(day.isoweekday() == first for day in days)
        expected[given["id"]] = count if low <= high else -count
    assert values(base.fetch, lowered(expression, dialect, duckdb_dataset(HOSTILE)).sql) == expected


@pytest.mark.parametrize(
    ("dialect", "expression"),
    [
        ("postgres", "TO_CHAR(day, 'Month')"),  # sqlglot leaves it as it is: a text that would be the same for all
        ("postgres", "TO_CHAR(day, 'FMMonth')"),
        ("postgres", "TO_CHAR(day, 'YYYY\"a\"')"),
        ("snowflake", "TO_CHAR(day, 'Q')"),
        ("spark", "DATE_FORMAT(day, 'QQQ')"),
        ("tsql", "FORMAT(day, 'D')"),
        ("duckdb", "STRFTIME(day, '%c')"),
        ("duckdb", "STRFTIME(day, '')"),
        ("duckdb", "STRFTIME(day, '100%')"),
    ],
)
def test_a_format_that_is_not_known_is_refused(dialect: str, expression: str) -> None:
    with pytest.raises(SqlRefused) as refused:
        plan(written(f"SELECT COUNT(*) FROM orders WHERE {expression} = '1'"), duckdb_dataset(SHOP), dialect)
    assert refused.value.code == "constant-invalid"


def test_a_format_that_is_data_is_refused() -> None:
    with pytest.raises(SqlRefused):
        plan(written("SELECT COUNT(*) FROM orders WHERE STRFTIME(day, status) = '1'"), duckdb_dataset(SHOP))


def test_months_as_texts_are_public_groups() -> None:
    bounded = "GREATEST(LEAST(day, DATE '2024-03-31'), DATE '2024-01-01')"
    asked = f"SELECT STRFTIME({bounded}, '%Y-%m'), COUNT(*) FROM orders WHERE day IS NOT NULL GROUP BY 1"
    found = release_of(asked, duckdb_dataset(SHOP))
    assert found.threshold is None
    assert found.keys[0].values == ("2024-01", "2024-02", "2024-03", None)
