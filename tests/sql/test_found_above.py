"""What reviewers broke above the frontier: shares of a price, prices in rho, and sizes of what is computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import SqlRefused
from gateway.sql.above.feed import filled, most_rows
from gateway.sql.algebra import Constant, feeds
from gateway.sql.compile import Question, compile_query
from gateway.sql.planning.choose import Bounds, Price
from gateway.sql.planning.plan import Plan
from gateway.sql.reading.parse import TextLimits
from gateway.sql.writing.rewrite import rewrite
from mechanisms.accounting import epsilon_of_rho, pure_of_rho
from mechanisms.loss import EPSILON_UNIT, RHO_UNIT
from tests.oracles.databases import duckdb_dataset, sqlite_dataset
from tests.oracles.questions import plan, written
from tests.sql.shop import SHOP

DELTA = 10**12
ONE = Price(EPSILON_UNIT, None, DELTA, "laplace", gaussian=True)
RHO = Price(None, RHO_UNIT // 50, DELTA, "laplace", gaussian=True)
MEDIANS = "SELECT a.m, b.m AS n FROM (SELECT MEDIAN(age) AS m FROM users) a CROSS JOIN ({}) b"
LATER = "SELECT MEDIAN(age) AS m FROM users WHERE age > 30"
COUNTS = " UNION ALL ".join(f"SELECT COUNT(*) FROM users WHERE age > {age}" for age in range(20, 36))
CHANNELS = "WITH r AS (SELECT channel, COUNT(*) AS n FROM orders GROUP BY channel) "


def planned(text: str, price: Price, epsilon: int | None = None) -> Plan:
    stated = price.epsilon if epsilon is None else epsilon
    bounds = Bounds(None, 10_000, 256)
    return compile_query(Question(text, None, price, stated, TextLimits(), bounds), duckdb_dataset(SHOP))


@pytest.mark.parametrize("mechanism", ["auto", "laplace", "gaussian"])
@pytest.mark.parametrize("delta", [0, DELTA])
def test_several_quantiles_cost_what_was_asked(mechanism: str, delta: int) -> None:
    found = planned(MEDIANS.format(LATER), replace(ONE, mechanism=mechanism, delta=delta))  # type: ignore[arg-type]
    assert len(found.releases) == 2
    assert 0 < (found.loss.epsilon or 0) <= found.price == EPSILON_UNIT


def test_laplace_releases_at_a_price_in_rho_say_the_sum_of_their_epsilons() -> None:
    assert RHO.rho is not None
    found = planned(COUNTS, RHO, pure_of_rho(RHO.rho))
    assert found.price == found.loss.epsilon
    assert found.price > 3 * pure_of_rho(RHO.rho)


def test_gaussian_prices_in_rho_are_converted_at_the_delta_that_thresholds_leave() -> None:
    assert RHO.rho is not None
    price = replace(RHO, mechanism="gaussian")
    found = planned("SELECT channel, COUNT(*) FROM orders GROUP BY channel", price, epsilon_of_rho(RHO.rho, DELTA))
    assert found.conversion_delta < DELTA
    assert found.price == epsilon_of_rho(found.loss.rho, found.conversion_delta) > epsilon_of_rho(RHO.rho, DELTA)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT COUNT(*) FROM r a JOIN r b ON b.channel = b.channel",
        "SELECT COUNT(*) FROM r a, r b WHERE b.channel = b.channel",
        "SELECT COUNT(*) FROM r a JOIN r b ON a.channel = a.channel AND b.channel = b.channel",
        "SELECT COUNT(*) FROM r a, r b, r c WHERE b.channel = b.channel AND c.channel = c.channel",
    ],
)
def test_a_key_equated_with_itself_joins_nothing(text: str) -> None:
    with pytest.raises(SqlRefused) as refusal:
        planned(CHANNELS + text, ONE)
    assert refusal.value.code == "post-too-large"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT COUNT(*) FROM r a JOIN r b ON b.channel = a.channel",
        "SELECT COUNT(*) FROM r a, r b, r c WHERE a.channel = c.channel AND b.channel = c.channel",
    ],
)
def test_joins_on_keys_stay(text: str) -> None:
    assert planned(CHANNELS + text, ONE).releases


@pytest.mark.parametrize("times", [1, 2, 3])
def test_released_tables_fit_into_a_statement_of_sqlite(times: int, tmp_path: Path) -> None:
    dataset = sqlite_dataset(SHOP, tmp_path / "shop.sqlite")
    released = "(SELECT channel FROM orders GROUP BY channel HAVING COUNT(*) > {})"
    tests = " AND ".join(f"channel IN {released.format(time)}" for time in range(times))
    found = plan(written(f"SELECT COUNT(*) FROM orders WHERE {tests}"), dataset)
    reading = found.releases[-1]
    fed = tuple(feeds(reading.release.source))
    most = most_rows(fed, "sqlite")
    assert len(fed) == times
    assert any(f"first {most} rows" in note for note in found.notes)
    rows = {each: tuple((Constant(f"c{at}", "text"),) for at in range(most)) for each in fed}
    assert rewrite(filled(reading, rows), dataset).sql.count("SELECT") > most
