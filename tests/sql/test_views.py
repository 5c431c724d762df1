"""Views of the policy are texts of an administrator that stand before the analyst's, and pass the same rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset
from gateway.sql.relations.lower import refused_views
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import plan, written
from tests.sql.shop import SHOP

ADULT = "SELECT * FROM users WHERE age >= 18"
SPENT = "SELECT user_id, SUM(amount) AS s FROM orders GROUP BY user_id"
VIEWS = (
    ("adult", ADULT),
    ("rich", "SELECT id, city FROM adult WHERE income > 100000"),
    ("spent", SPENT),
    ("cities", "SELECT city, COUNT(*) AS n FROM users GROUP BY city"),
)


def viewed(*views: tuple[str, str]) -> Dataset:
    return replace(duckdb_dataset(SHOP), views=views or VIEWS)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("SELECT COUNT(*) AS n FROM adult", f"WITH adult AS ({ADULT}) SELECT COUNT(*) AS n FROM adult"),
        ("SELECT AVG(s) AS a FROM Spent", f"WITH spent AS ({SPENT}) SELECT AVG(s) AS a FROM spent"),
        (
            "SELECT COUNT(*) AS n FROM rich AS r JOIN spent AS s ON r.id = s.user_id",
            f"WITH adult AS ({ADULT}), rich AS (SELECT id, city FROM adult WHERE income > 100000),"
            f" spent AS ({SPENT}) SELECT COUNT(*) AS n FROM rich AS r JOIN spent AS s ON r.id = s.user_id",
        ),
        (
            "SELECT MAX(n) AS most FROM cities",
            "WITH cities AS (SELECT city, COUNT(*) AS n FROM users GROUP BY city) SELECT MAX(n) AS most FROM cities",
        ),
        # A name of WITH comes before the policy's, as before a table's.
        (
            "WITH adult AS (SELECT * FROM users) SELECT COUNT(*) AS n FROM adult",
            "SELECT COUNT(*) AS n FROM (SELECT * FROM users) AS adult",
        ),
    ],
)
def test_a_view_is_a_query_of_with(asked: str, meant: str) -> None:
    found, expected = plan(written(asked), viewed()), plan(written(meant), viewed())
    assert [planned.sql for planned in found.releases] == [planned.sql for planned in expected.releases]
    shown = [[(column.name, column.type, column.role) for column in each.query.columns] for each in (found, expected)]
    assert shown[0] == shown[1]


def test_a_view_lets_nothing_through() -> None:
    with pytest.raises(SqlRefused) as refused:
        plan(written("SELECT id FROM rich"), viewed())
    assert refused.value.code in ("no-aggregate", "not-grouped")


def test_a_view_used_twice_is_released_once() -> None:
    text = "SELECT a.city, a.n FROM cities AS a JOIN cities AS b ON a.city = b.city AND a.n = b.n"
    assert len(plan(written(text), viewed()).releases) == 1


def test_a_view_that_nobody_names_is_not_read() -> None:
    assert plan(written("SELECT COUNT(*) FROM users"), viewed(("broken", "SELECT nothing FROM nowhere"))).releases


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SELECT nope FROM users", "column-unknown"),
        ("SELECT * FROM users LIMIT 5", "subquery-unsupported"),
        ("DROP TABLE users", "sql-not-one-select"),
        ("SELECT * FROM itself", "table-unknown"),
        ("SELECT *, FROM (", "sql-syntax"),
    ],
)
def test_a_view_that_would_be_refused_is_told(text: str, code: str) -> None:
    ((name, refusal),) = refused_views(viewed(("itself", text)))
    assert (name, refusal.code) == ("itself", code)


def test_places_in_a_view_are_not_the_analysts() -> None:
    with pytest.raises(SqlRefused) as refused:
        plan(written("SELECT COUNT(*) FROM broken"), viewed(("broken", "SELECT nope FROM users")))
    assert refused.value.position is None
