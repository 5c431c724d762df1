"""What is answered: from dirty data within the promise, the same question once, and a budget to its last unit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.client.errors import BudgetExhausted
from gateway.client.result import Result
from tests.end_to_end.home import SECRETS, Home, make_home, problem, serving

COUNT = "SELECT sex, COUNT(*) AS n FROM person GROUP BY sex"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = make_home(tmp_path_factory.mktemp("answers"))
    with serving(made):
        yield made
    assert made.command("ledger", "verify").exit_code == 0
    log = made.log.read_text()
    assert "Traceback" not in log
    assert not [word for word in (*SECRETS, "SELECT") if word in log]


def ask(home: Home, sql: str, epsilon: float, analyst: str = "ada", **more: Any) -> Result:
    with home.client(analyst) as client:
        return client.sql(sql, dataset="health", epsilon=epsilon, **more)


# What each question would get without noise: values are moved to their bounds, units over their rows are weighted
# down, keys that nobody declared and rows that belong to nobody are dropped. Of people, 1 has four rows and counts two.
CLEAN = sum(i % 1000 * 100 for i in range(1, 2001))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (COUNT, {"F": 1000 + 1, "M": 1000, None: 1}),
        ("SELECT COUNT(*) AS n FROM person", {"n": 2000 + 1 + 5}),
        ("SELECT COUNT(income) AS n FROM person", {"n": 2000 + 1 + 4}),
        ("SELECT SUM(income) AS n FROM person", {"n": CLEAN + 2 * 200_000}),
        ("SELECT SUM(age) AS n FROM person", {"n": sum(i % 90 for i in range(1, 2001)) + 46 + 110 + 9}),
        ("SELECT AVG(income) AS n FROM person", {"n": (CLEAN + 2 * 200_000) / 2005}),
        ("SELECT COUNT(*) AS n FROM person WHERE age > 110", {"n": 1}),
        ("SELECT COUNT(*) AS n FROM visit", {"n": 4000 + 2 + 5}),
        ("SELECT SUM(cost) AS n FROM visit", {"n": sum(i % 500 for i in range(4000)) + 1000 + 1000 + 4 * 999}),
        (
            "SELECT SUM(cost * 2 - 1) AS n FROM visit",
            {"n": 2 * (sum(i % 500 for i in range(4000)) + 1000 + 1000 + 4 * 999) - (4000 + 2 + 5)},
        ),
        ("SELECT COUNT(*) AS n FROM person WHERE age > 110 AND CURRENT_DATE > DATE '2024-12-31'", {"n": 1}),
        ("SELECT COUNT(*) AS n FROM treatment", {"n": 8000}),
        ("SELECT SUM(dose) AS n FROM treatment", {"n": 12_000}),
    ],
    ids=lambda value: value.removeprefix("SELECT ") if isinstance(value, str) else "",
)
def test_dirty_data(home: Home, sql: str, expected: dict[str | None, float]) -> None:
    result = ask(home, sql, 10.0, confidence=0.999999, use_cache=False)
    found = {row[0]: row[1] for row in result.rows} if len(result.rows[0]) > 1 else {"n": result.rows[0][0]}
    assert found.keys() == expected.keys(), "every declared key, and no other"
    for (key, value), interval in zip(expected.items(), result.intervals["n"], strict=True):
        assert interval is not None
        low, high = interval
        slack = 0.01 * abs(value) + 20  # what weighting down moves, which intervals do not cover
        assert low - slack <= value <= high + slack, (key, value, found)


def test_quantiles_and_different_values(home: Home) -> None:
    sql = (
        "SELECT sex, MEDIAN(age) AS m, QUANTILE_CONT(age, 0.9) AS high, MAX(income) AS most,"
        " COUNT(DISTINCT age) AS ages, MEDIAN(age) * 2 AS twice FROM person GROUP BY sex ORDER BY sex NULLS LAST"
    )
    result = ask(home, sql, 10.0)
    women, men, unknown = result.rows
    for row in (women, men):
        _, median, high, most, ages, twice = (float(value) if isinstance(value, int | float) else 0 for value in row)
        assert abs(median - 44.5) <= 2
        assert abs(high - 81) <= 2
        assert 80_000 <= most <= 200_000
        assert abs(ages - 45) <= 30  # ages of one parity
        assert twice == 2 * median
    assert 0 <= float(str(unknown[1])) <= 110
    assert result.intervals["m"] == [None] * 3
    assert None not in result.intervals["ages"]
    assert any("MAX is a high quantile" in warning for warning in result.warnings)
    assert ask(home, sql, 10.0).rows == result.rows


def test_every_number_is_finite(home: Home) -> None:
    sql = "SELECT site_id, COUNT(*) AS n, SUM(cost) AS s, AVG(cost) AS a, COUNT(day) AS d FROM visit GROUP BY site_id"
    result = ask(home, sql, 4.0)
    assert [row[0] for row in result.rows] == [0, 1, 2, 3]
    assert all(math.isfinite(float(str(value))) for row in result.rows for value in row)
    for name in ("n", "s", "a", "d"):
        for interval in result.intervals[name]:
            assert interval is not None
            low, high = interval
            assert low <= high
            assert math.isfinite(low)
            assert math.isfinite(high)


def test_a_key_without_declared_values_shows_only_what_many_share(home: Home) -> None:
    result = ask(home, "SELECT town, COUNT(*) AS n FROM person GROUP BY town", 5.0)
    assert [row[0] for row in result.rows] == ["Aarau"], "a group of one person stays below the threshold"


def test_where_names_a_secret_and_learns_nothing_for_sure(home: Home) -> None:
    """A question may name any value; its answer is as noisy as any other, and has no other form."""
    sql = "SELECT COUNT(*) AS n FROM person WHERE town = '{}'"
    real, made_up = (ask(home, sql.format(town), 0.5).response for town in ("Aargau-1", "Aargau-2"))
    assert real.columns == made_up.columns
    assert real.cost == made_up.cost
    assert real.warnings == made_up.warnings


def test_the_same_question_again_is_the_same_answer_at_no_charge(home: Home) -> None:
    home.grant("rita", 3.0)
    first = ask(home, COUNT, 0.5, "rita")
    heads = home.heads()
    for sql in (COUNT, "select sex, count(*) as n\nfrom PERSON group by 1 -- again"):
        again = ask(home, sql, 0.5, "rita").response
        assert (again.cached, again.rows, again.intervals) == (True, first.response.rows, first.response.intervals)
        assert (again.cost.epsilon, again.query_id) == (0, first.response.query_id)
    assert home.heads() == heads
    assert home.spent("rita") == 0.5


CITIES = ("Aarau", "Bern", "Chur", "Davos")


def test_public_tables_alone_are_answered_exactly_at_no_price(home: Home) -> None:
    home.grant("petra", 1.0)
    heads = home.heads()
    result = ask(home, "SELECT city, site_id * 2 AS twice FROM site WHERE site_id > 0 ORDER BY city DESC", 0.5, "petra")
    assert result.rows == [("Davos", 6), ("Chur", 4), ("Bern", 2)]
    assert [column.role for column in result.response.columns] == ["public", "public"]
    assert (result.response.cost.epsilon, result.response.query_id, result.response.cached) == (0, None, False)
    assert result.response.intervals == {}
    assert home.heads() == heads
    assert home.spent("petra") == 0


def test_released_tables_meet_each_other_and_public_ones_under_one_price(home: Home) -> None:
    home.grant("ruth", 1.0)
    sql = """
        WITH visits AS (SELECT site_id, COUNT(*) AS n FROM visit GROUP BY site_id)
        SELECT s.city, v.n, DP_INTERVAL_LOW(v.n) AS low, v.n / (SELECT COUNT(*) FROM visit) AS part,
          RANK() OVER (ORDER BY v.n DESC) AS place
        FROM visits v JOIN site s ON s.site_id = v.site_id ORDER BY s.city
    """
    result = ask(home, sql, 0.5, "ruth")
    assert [row[0] for row in result.rows] == list(CITIES)
    assert [column.role for column in result.response.columns] == ["public", "noisy", "derived", "derived", "derived"]
    for row, interval in zip(result.rows, result.intervals["n"], strict=True):
        assert interval is not None
        assert row[2] == interval[0] <= float(str(row[1])) <= interval[1]
    assert sum(float(str(row[3])) for row in result.rows) == pytest.approx(1, abs=0.1)
    counts = [float(str(row[1])) for row in result.rows]
    assert [row[4] for row in result.rows] == [1 + sum(other > count for other in counts) for count in counts]
    assert home.spent("ruth") == 0.5
    assert len(result.response.plan.releases) == 2
    assert sum(item.epsilon or 0 for item in result.response.cost.items) == pytest.approx(0.5)
    again = ask(home, sql, 0.5, "ruth").response
    assert (again.cached, again.rows) == (True, result.response.rows)


def test_a_hundred_repetitions_average_nothing_out(home: Home) -> None:
    home.grant("igor", 3.0)
    with home.client("igor") as client:
        answers = {tuple(map(tuple, client.sql(COUNT, dataset="health", epsilon=0.5).rows)) for _ in range(100)}
    assert len(answers) == 1
    assert home.spent("igor") == 0.5


def cap_spent(home: Home) -> float:
    """Return what the dataset's cap has spent."""
    standings = json.loads(home.do("budget", "list", "--dataset", "health", "--json"))
    return float(next(each["epsilon_spent"] for each in standings if each["kind"] == "cap"))


def test_without_the_cache_noise_is_drawn_anew_and_charged(home: Home) -> None:
    home.grant("nora", 3.0)
    rows = [ask(home, COUNT, 0.01, "nora", use_cache=False) for _ in range(3)]
    assert not any(each.response.cached for each in rows)
    assert len({each.response.query_id for each in rows}) == 3
    assert len({str(each.rows) for each in rows}) == 3
    assert home.spent("nora") == pytest.approx(0.03, abs=1e-12)


def test_a_higher_price_or_another_analyst_is_another_charge(home: Home) -> None:
    home.grant("paul", 3.0)
    home.grant("quin", 3.0)
    mine = ask(home, COUNT, 0.5, "paul", use_cache=False)
    assert ask(home, COUNT, 0.25, "paul").rows == mine.rows
    assert not ask(home, COUNT, 0.75, "paul").response.cached
    theirs = ask(home, COUNT, 0.5, "quin", use_cache=False)
    assert not theirs.response.cached
    assert theirs.rows != mine.rows
    assert (home.spent("paul"), home.spent("quin")) == (1.25, 0.5)


def test_another_analyst_buys_the_stored_answer_and_the_cap_pays_once(home: Home) -> None:
    home.grant("rhea", 3.0)
    home.grant("sven", 3.0)
    text = "SELECT COUNT(*) AS n FROM person WHERE age > 41"
    mine, cap = ask(home, text, 0.5, "rhea"), cap_spent(home)
    theirs = ask(home, text, 0.5, "sven")
    assert (theirs.response.cached, theirs.response.cost.epsilon, theirs.rows) == (True, 0.5, mine.rows)
    assert theirs.response.query_id != mine.response.query_id
    assert (home.spent("rhea"), home.spent("sven"), cap_spent(home)) == (0.5, 0.5, cap)


def test_a_new_data_version_is_a_new_question(home: Home) -> None:
    home.grant("vera", 3.0)
    first = ask(home, COUNT, 0.5, "vera")
    with home.http() as http:
        path = "/v1/admin/datasets/health/data-version"
        assert http.post(path, headers=home.bearer("root")).status_code == 200
    second = ask(home, COUNT, 0.5, "vera")
    assert not second.response.cached
    assert second.response.query_id != first.response.query_id
    assert home.spent("vera") == 1.0


def test_a_policy_edited_meanwhile_answers_a_retry_as_it_was_charged(home: Home) -> None:
    home.grant("hans", 3.0)
    first = ask(home, COUNT, 0.5, "hans", idempotency_key="kept")
    home.apply()
    again = ask(home, COUNT, 0.5, "hans", idempotency_key="kept")
    assert again.response.query_id == first.response.query_id
    assert again.rows == first.rows
    assert home.spent("hans") == 0.5


@pytest.mark.parametrize("delta", ["0", "1e-6"])
def test_a_budget_is_spent_to_its_last_unit(home: Home, delta: str) -> None:
    analyst = f"spender-{delta}"
    home.grant(analyst, 1.123456789, delta=delta)
    spent = ask(home, COUNT, 0.3, analyst)
    with pytest.raises(BudgetExhausted) as caught:
        ask(home, COUNT, 1.2, analyst)
    assert caught.value.required == 1.2
    remaining = caught.value.remaining
    assert remaining is not None
    assert spent.budget is not None
    assert remaining == spent.budget.epsilon_remaining == pytest.approx(0.823456789, abs=1e-9)
    with pytest.raises(BudgetExhausted):
        ask(home, COUNT, remaining + 2e-9, analyst)
    last = ask(home, COUNT, remaining, analyst)
    assert last.budget is not None
    assert last.budget.epsilon_remaining < 2e-9, "what a measurement costs less than its price is below a unit"
    with pytest.raises(BudgetExhausted) as caught:
        ask(home, COUNT, 0.001, analyst, use_cache=False)
    assert caught.value.remaining == last.budget.epsilon_remaining
    assert ask(home, COUNT, 0.3, analyst).response.cached, "what is paid for stays"


def test_how_many_more_questions_like_this_one(home: Home) -> None:
    home.grant("counter", 0.5, delta="0")
    with home.client("counter") as client:
        for left in (5, 4, 3):
            dry = client.explain(COUNT, dataset="health", epsilon=0.1).response.budget
            assert dry is not None
            assert dry.more_like_this == left
            (told,) = client.budgets()
            assert told.more_like_this == (None if left == 5 else left)
            answer = client.sql(COUNT, dataset="health", epsilon=0.1, use_cache=False).response.budget
            assert answer is not None
            assert answer.more_like_this == left - 1
        (told,) = client.budgets()
        assert (told.more_like_this, round(told.epsilon_remaining, 9)) == (2, 0.2)


def test_the_cap_over_all_analysts(home: Home) -> None:
    """Two who hold more than the cap together cannot spend more than it together."""
    with home.http() as http:
        policy = (home.folder / "policy.yaml").read_text().replace("dataset: health", "dataset: shared")
        policy = policy.replace("epsilon: 1000", "epsilon: 1").replace("health.duckdb", f"{home.folder}/health.duckdb")
        applied = http.post(
            "/v1/admin/datasets",
            content=policy,
            headers=home.bearer("root") | {"Content-Type": "application/yaml"},
        )
        assert applied.status_code == 200, applied.text
        for name in ("xena", "yves"):
            home.grant(name, 1, delta="0", dataset="shared")
        body = {"sql": COUNT, "dataset": "shared", "epsilon": 0.75, "use_cache": False}
        assert http.post("/v1/query", json=body, headers=home.bearer("xena")).status_code == 200
        found = problem(http.post("/v1/query", json=body, headers=home.bearer("yves")), 403, "budget-exhausted")
        assert found["epsilon_required"] == 0.75
        assert found["epsilon_remaining"] == pytest.approx(0.25, abs=1e-9)
        rest = body | {"epsilon": found["epsilon_remaining"]}
        assert http.post("/v1/query", json=rest, headers=home.bearer("yves")).status_code == 200
    assert home.spent("yves", "shared") == pytest.approx(0.25, abs=1e-9)


def test_answers_as_csv_and_arrow_are_the_same_answer(home: Home) -> None:
    first = ask(home, COUNT, 0.125)
    with home.http() as http:
        body = {"sql": COUNT, "dataset": "health", "epsilon": 0.125}
        found: httpx.Response = http.post("/v1/query", json=body, headers=home.bearer() | {"Accept": "text/csv"})
    assert found.headers["content-type"].startswith("text/csv")
    lines = found.text.split()
    assert [line.split(",")[1] for line in lines[1:]] == [str(row[1]) for row in first.rows]


def test_a_question_about_the_present_time_is_answered_once(home: Home) -> None:
    body = {
        "sql": "SELECT COUNT(*) AS n FROM person WHERE NOW() > TIMESTAMP '2024-12-31 00:00:00'",
        "dataset": "health",
    }
    request: dict[str, Any] = {"json": {**body, "epsilon": 0.01}}
    request["headers"] = {**home.bearer(), "Idempotency-Key": "present-time"}
    with home.http() as client:
        first, second = (client.post("/v1/query", **request).json() for _ in range(2))
    assert (first["query_id"], first["rows"]) == (second["query_id"], second["rows"])
    assert home.spent() > 0


@pytest.mark.parametrize("price", ["NaN", "Infinity", "-1"])
def test_a_key_that_was_charged_takes_no_other_price(home: Home, price: str) -> None:
    body = '{"sql": "SELECT COUNT(*) AS keyed FROM visit", "dataset": "health", "epsilon": 0.001}'
    headers = home.bearer() | {"Idempotency-Key": "one-price", "Content-Type": "application/json"}
    with httpx.Client(base_url=home.url, headers=headers, trust_env=False) as http:
        assert http.post("/v1/query", content=body).status_code == 200
        problem(http.post("/v1/query", content=body.replace("0.001", price)), 409, "idempotency-key-reused")


def test_the_same_question_at_once_is_the_same_answer(home: Home) -> None:
    first, second = (ask(home, "SELECT COUNT(*) AS again FROM treatment", 0.001) for _ in range(2))
    assert first.to_pandas().equals(second.to_pandas())
    assert second.cached


def test_what_is_computed_beside_public_rows_has_intervals(home: Home) -> None:
    counts = "SELECT site_id, COUNT(*) AS n FROM visit GROUP BY site_id"
    sql = f"SELECT s.city, 2 * t.n AS d FROM ({counts}) AS t JOIN site AS s ON s.site_id = t.site_id ORDER BY s.city"
    result = ask(home, sql, 5.0)
    assert [row[0] for row in result.rows] == ["Aarau", "Bern", "Chur", "Davos"]
    for (_, value), interval in zip(result.rows, result.intervals["d"], strict=True):
        assert interval is not None
        assert isinstance(value, int | float)
        assert interval[0] < value < interval[1]
