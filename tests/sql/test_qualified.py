"""Tables that are named with their schema, as BI tools name them: the dataset's own schema says nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.errors import SqlRefused
from gateway.sql.reading.qualified import schemas
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import plan, written
from tests.sql.shop import SHOP

DATASET = duckdb_dataset(SHOP)


@pytest.mark.parametrize(
    "sql",
    [
        'SELECT "main"."users"."city", COUNT(*) FROM "main"."users" GROUP BY "main"."users"."city"',
        "SELECT u.city, COUNT(*) FROM MAIN.users u GROUP BY u.city",
        f"SELECT users.city, COUNT(*) FROM {DATASET.name}.users GROUP BY {DATASET.name}.users.city",
    ],
)
def test_the_datasets_own_schema_may_stand_before_a_table(sql: str) -> None:
    bare = "SELECT city, COUNT(*) FROM users GROUP BY city"
    assert plan(written(sql), DATASET).releases == plan(written(bare), DATASET).releases


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT COUNT(*) FROM information_schema.users", "not-supported"),
        ("SELECT COUNT(*) FROM other.main.users", "not-supported"),
        ("WITH users AS (SELECT 1 AS id) SELECT COUNT(*) FROM main.users", "not-supported"),
        ("SELECT COUNT(*) FROM main.users WHERE other.users.age > 3", "not-supported"),
        ("SELECT COUNT(*) FROM main.pg_class", "table-unknown"),
    ],
)
def test_any_other_schema_is_refused(sql: str, code: str) -> None:
    with pytest.raises(SqlRefused) as refusal:
        plan(written(sql), DATASET)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("dialect", "url", "expected"),
    [
        ("postgres", "postgresql://ann@host/clinic", {"shop", "public"}),
        ("postgres", "postgresql://ann@host/clinic?schema=Health", {"shop", "health"}),
        ("sqlite", "sqlite:///clinic.sqlite", {"shop", "main"}),
        ("mysql", "mariadb://ann@host/clinic", {"shop", "clinic"}),
        ("spark", "spark://local/clinic", {"shop", "clinic"}),
        ("spark", "spark://local?folder=/data", {"shop"}),
    ],
)
def test_each_database_calls_it_its_own_way(dialect: str, url: str, expected: set[str]) -> None:
    found = schemas(replace(DATASET, name="shop", engine=url, dialect=dialect))  # type: ignore[arg-type]
    assert found == expected
