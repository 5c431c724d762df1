"""GoogleSQL's privacy clause: a price, a delta, groups and the unit, stated in the text of any dialect."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.errors import RequestInvalid, SqlRefused
from gateway.sql.algebra import Constant
from gateway.sql.compile import Question, compile_query
from gateway.sql.planning.choose import Bounds, Price
from gateway.sql.planning.plan import Plan
from gateway.sql.reading.grammar import DIALECTS
from gateway.sql.reading.parse import TextLimits
from gateway.sql.scalars.bind import Parameter
from mechanisms.loss import EPSILON_UNIT, FREE
from tests.oracles.databases import duckdb_dataset
from tests.sql.shop import SHOP

DELTA = 10**12
NONE = Price(None, None, DELTA, "laplace", gaussian=False)
ONE = replace(NONE, epsilon=EPSILON_UNIT)
WITH = "SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS({}) "


def planned(text: str, price: Price = NONE, dialect: str = "duckdb", groups: int | None = None) -> Plan:
    bounds = Bounds(groups, 10_000, 256)
    question = Question(text, dialect, price, price.epsilon, TextLimits(), bounds, GIVEN if "?" in text else ())
    return compile_query(question, duckdb_dataset(SHOP))


GIVEN = (Parameter("1", Constant(2, "integer")),)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_price_in_the_text_is_the_request_s(dialect: str) -> None:
    stated = planned(WITH.format("epsilon = 1") + "COUNT(*) AS n FROM users", dialect=dialect)
    asked = planned("SELECT COUNT(*) AS n FROM users", ONE, dialect)
    assert stated.price == asked.price == EPSILON_UNIT
    assert [each.sql for each in stated.releases] == [each.sql for each in asked.releases]
    assert [each.blocks for each in stated.releases] == [each.blocks for each in asked.releases]
    assert stated.loss == asked.loss


def test_both_may_say_the_same() -> None:
    text = WITH.format("epsilon = 1.0, delta = 1e-7") + "channel, COUNT(*) FROM orders GROUP BY channel"
    found = planned(text, ONE)
    assert found.price == EPSILON_UNIT
    [release] = found.releases
    assert release.threshold is not None
    assert release.threshold.delta == 10**11


def test_several_clauses_are_summed_and_each_has_its_own_share() -> None:
    first = WITH.format("epsilon = 0.3") + "COUNT(*) AS n FROM users"
    second = WITH.format("epsilon = 0.1") + "SUM(amount) AS s FROM orders"
    found = planned(f"SELECT a.n, b.s FROM ({first}) a CROSS JOIN ({second}) b")
    assert found.price == EPSILON_UNIT * 4 // 10
    assert [release.loss.epsilon for release in found.releases] == [300_000_000, 100_000_000]
    assert found.loss == sum((release.loss for release in found.releases), FREE)


def test_a_share_is_divided_among_grouping_sets() -> None:
    text = WITH.format("epsilon = 1") + "status, COUNT(*) FROM orders GROUP BY ROLLUP (status)"
    found = planned(text)
    assert found.price == EPSILON_UNIT
    assert [release.loss.epsilon for release in found.releases] == [500_000_000, 500_000_000]


def test_gaussian_shares_add_up_to_the_price() -> None:
    first = WITH.format("epsilon = 0.75") + "COUNT(*) AS n FROM users"
    second = WITH.format("epsilon = 0.25") + "COUNT(*) AS s FROM orders"
    gaussian = replace(NONE, mechanism="gaussian")
    found = planned(f"SELECT a.n, b.s FROM ({first}) a CROSS JOIN ({second}) b", gaussian)
    alone = planned(WITH.format("epsilon = 1") + "COUNT(*) AS n FROM users", gaussian)
    shares = [release.loss.rho for release in found.releases]
    assert sum(shares) <= alone.loss.rho + 1_000_000
    assert shares[0] == pytest.approx(3 * shares[1], rel=1e-3)


def test_groups_are_those_of_the_clause() -> None:
    text = "channel, COUNT(*) FROM orders GROUP BY channel"
    stated = planned(WITH.format("epsilon = 1, max_groups_contributed = 3") + text)
    assert stated.releases[0].bounding.groups == 3
    assert planned(WITH.format("max_groups_contributed = ?") + text, ONE).releases[0].bounding.groups == 2
    assert planned(WITH.format("epsilon = 1, max_groups_contributed = 3") + text, groups=3) == stated


@pytest.mark.parametrize(
    "text",
    [
        WITH.format("epsilon = 1, privacy_unit_column = id") + "COUNT(*) FROM users",
        WITH.format("epsilon = 1, privacy_unit_column = u.id") + "COUNT(*) FROM users u",
        WITH.format("epsilon = 1, privacy_unit_column = o.user_id") + "COUNT(*) FROM orders o",
        WITH.format("epsilon = 1, PRIVACY_UNIT_COLUMN = o.user_id") + "COUNT(*) FROM items i "
        "JOIN orders o ON o.id = i.order_id",
        WITH.format("") + "COUNT(*) FROM users",
        "SELECT WITH DIFFERENTIAL_PRIVACY COUNT(*) FROM users",
    ],
)
def test_the_unit_is_the_policy_s(text: str) -> None:
    assert planned(text, NONE if "epsilon" in text else ONE).price == EPSILON_UNIT


@pytest.mark.parametrize(
    ("text", "code", "at"),
    [
        (WITH.format("privacy_unit_column = city") + "COUNT(*) FROM users", "privacy-unit-differs", 64),
        (WITH.format("privacy_unit_column = id") + "COUNT(*) FROM orders", "privacy-unit-differs", 64),
        (WITH.format("privacy_unit_column = i.id") + "COUNT(*) FROM items i", "privacy-unit-differs", 64),
        (WITH.format("privacy_unit_column = 1") + "COUNT(*) FROM users", "privacy-unit-differs", 64),
        (WITH.format("privacy_unit_column = nothing") + "COUNT(*) FROM users", "column-unknown", 64),
        (WITH.format("kappa = 1") + "COUNT(*) FROM users", "privacy-option-unknown", 42),
        (WITH.format("epsilon = 1, epsilon = 1") + "COUNT(*) FROM users", "privacy-option-invalid", 55),
        (WITH.format("epsilon = 0") + "COUNT(*) FROM users", "privacy-option-invalid", 52),
        (WITH.format("epsilon = -1") + "COUNT(*) FROM users", "privacy-option-invalid", 53),
        (WITH.format("epsilon = 1e7") + "COUNT(*) FROM users", "privacy-option-invalid", 52),
        (WITH.format("epsilon = 1e-10") + "COUNT(*) FROM users", "privacy-option-invalid", 52),
        (WITH.format("epsilon = 'a'") + "COUNT(*) FROM users", "privacy-option-invalid", 52),
        (WITH.format("epsilon = TRUE") + "COUNT(*) FROM users", "privacy-option-invalid", 42),
        (WITH.format("epsilon = NULL") + "COUNT(*) FROM users", "privacy-option-invalid", 42),
        (WITH.format("epsilon = age") + "COUNT(*) FROM users", "privacy-option-invalid", 52),
        (WITH.format("delta = 2") + "COUNT(*) FROM users", "privacy-option-invalid", 50),
        (WITH.format("max_groups_contributed = 0") + "COUNT(*) FROM users", "privacy-option-invalid", 67),
        (WITH.format("max_groups_contributed = 1.5") + "COUNT(*) FROM users", "privacy-option-invalid", 67),
        (
            f"SELECT COUNT(*) FROM ({WITH.format('epsilon = 1')} id, age FROM users) t",
            "clause-misplaced",
            35,
        ),
        (
            WITH.format("epsilon = 1") + "AVG(n) FROM (SELECT status, COUNT(*) n FROM orders GROUP BY status) t",
            "clause-misplaced",
            13,
        ),
        (
            f"SELECT COUNT(*) FROM users WHERE id IN ({WITH.format('epsilon = 1')} user_id FROM orders)",
            "subquery-unsupported",
            53,
        ),
    ],
)
def test_refused(text: str, code: str, at: int) -> None:
    with pytest.raises(SqlRefused) as refusal:
        planned(text, ONE)
    place = refusal.value.position
    assert (refusal.value.code, place and place.column) == (code, at)


UNSTATED = (
    f"SELECT a.n FROM (SELECT COUNT(*) n FROM users) a CROSS JOIN ({WITH.format('epsilon = 1')} COUNT(*) FROM orders) b"
)


@pytest.mark.parametrize(
    ("text", "price", "groups", "code"),
    [
        ("SELECT COUNT(*) FROM users", NONE, None, "price-missing"),
        (WITH.format("delta = 0") + "COUNT(*) FROM users", NONE, None, "price-missing"),
        (UNSTATED, NONE, None, "price-missing"),
        (UNSTATED, ONE, None, "price-missing"),
        (WITH.format("epsilon = 0.5") + "COUNT(*) FROM users", ONE, None, "price-conflict"),
        (WITH.format("epsilon = 1") + "COUNT(*) FROM users", replace(NONE, rho=10**10), None, "price-conflict"),
        (WITH.format("max_groups_contributed = 3") + "COUNT(*) FROM users", ONE, 4, "price-conflict"),
        (WITH.format("epsilon = 1, delta = 0.1") + "COUNT(*) FROM users", NONE, None, "price-too-high"),
    ],
)
def test_prices_that_do_not_fit(text: str, price: Price, groups: int | None, code: str) -> None:
    with pytest.raises(RequestInvalid) as refusal:
        planned(text, price, groups=groups)
    assert refusal.value.code == code


def test_a_delta_of_nothing_hides_no_group() -> None:
    with pytest.raises(SqlRefused) as refusal:
        planned(WITH.format("epsilon = 1, delta = 0") + "channel, COUNT(*) FROM orders GROUP BY channel")
    assert refusal.value.code == "delta-missing"


def test_what_is_stated_is_part_of_the_question() -> None:
    text = "channel, COUNT(*) FROM orders GROUP BY channel"
    prints = {
        planned(WITH.format(f"epsilon = 1{more}") + text).fingerprint
        for more in ("", ", delta = 1e-8", ", max_groups_contributed = 2")
    }
    assert len(prints) == 3


@pytest.mark.parametrize("dialect", ["spark", "mysql"])
def test_a_hint_for_the_database_is_no_clause(dialect: str) -> None:
    with pytest.raises(SqlRefused) as refusal:
        planned("SELECT /*+ BROADCAST(users) */ COUNT(*) FROM users", ONE, dialect)
    assert refusal.value.code == "not-supported"
