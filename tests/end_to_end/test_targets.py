"""An error stated in place of a price: what it costs, and that the answer is as close as was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.client.errors import GatewayError
from gateway.client.result import Result
from tests.end_to_end.home import Home, make_home, serving

COUNT = "SELECT COUNT(*) AS n FROM person"
BY_SEX = "SELECT sex, COUNT(*) AS n FROM person GROUP BY sex"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = make_home(tmp_path_factory.mktemp("targets"))
    with serving(made):
        yield made
    assert "Traceback" not in made.log.read_text()


def ask(home: Home, sql: str, target: dict[str, Any], **more: Any) -> Result:
    with home.client("ada") as client:
        return client.sql(sql, dataset="health", error_target=target, **more)


def spent(home: Home) -> float:
    with home.client("ada") as client:
        return client.budget("health").epsilon_spent


def refused(home: Home, sql: str, target: dict[str, Any], **more: Any) -> GatewayError:
    before = spent(home)
    with pytest.raises(GatewayError) as caught:
        ask(home, sql, target, **more)
    assert spent(home) == before
    return caught.value


def expected(result: Result, name: str) -> float:
    [error] = [column.expected_error for column in result.response.plan.columns if column.name == name]
    assert error is not None
    return error


def test_the_price_of_a_width_is_the_least_and_known_beforehand(home: Home) -> None:
    plan = ask(home, COUNT, {"within": 50}, dry_run=True)
    assert 40 < expected(plan, "n") <= 50
    with home.client("ada") as client:
        less = client.sql(COUNT, dataset="health", epsilon=plan.response.cost.epsilon * 0.97, dry_run=True)
    assert expected(less, "n") > 50
    before = spent(home)
    answer = ask(home, COUNT, {"within": 50}, plan_id=plan.response.plan.id)
    assert spent(home) - before == pytest.approx(plan.response.cost.epsilon)
    [interval] = answer.intervals["n"]
    assert interval is not None
    assert interval[1] - interval[0] <= 100


def test_all_public_groups_are_as_close_together(home: Home) -> None:
    # Three groups: each has to hold with 98.3 %.
    one = ask(home, f"{COUNT} WHERE sex IS NULL", {"within": 20}, dry_run=True).response.cost.epsilon
    three = ask(home, BY_SEX, {"within": 20}, dry_run=True)
    assert three.response.cost.epsilon > 1.15 * one
    assert expected(three, "n") < 16


def test_a_surer_or_closer_target_costs_more(home: Home) -> None:
    plain, surer, closer = (
        ask(home, COUNT, target, dry_run=True).response.cost.epsilon
        for target in ({"within": 50}, {"within": 50, "confidence": 0.999}, {"within": 10})
    )
    assert surer > 1.5 * plain
    assert closer > 4 * plain


def test_of_several_columns_one_may_be_named(home: Home) -> None:
    sql = "SELECT COUNT(*) AS n, SUM(income) AS s FROM person"
    one = ask(home, sql, {"within": 500, "column": "N"}, dry_run=True).response.cost.epsilon
    both = ask(home, sql, {"within": 2_000_000}, dry_run=True)
    assert one < both.response.cost.epsilon
    assert expected(both, "s") <= 2_000_000
    assert refused(home, sql, {"within": 500}, dry_run=True).code == "target-unreachable"
    assert refused(home, sql, {"within": 50, "column": "x"}).code == "target-unknown"


def test_a_weighted_sum_is_priced_at_once(home: Home) -> None:
    sql = "SELECT COUNT(*) - 2 * COUNT(income) AS d FROM person"
    plan = ask(home, sql, {"within": 100}, dry_run=True)
    assert 85 < expected(plan, "d") <= 100
    answer = ask(home, sql, {"within": 100})
    [interval] = answer.intervals["d"]
    assert interval is not None
    assert (interval[1] - interval[0]) / 2 == pytest.approx(expected(plan, "d"), rel=0.15)


def test_a_relative_target_takes_a_first_look(home: Home) -> None:
    plan = ask(home, COUNT, {"relative": 0.0005}, dry_run=True)
    assert any("first look" in warning for warning in plan.warnings)
    before = spent(home)
    answer = ask(home, COUNT, {"relative": 0.0005}, idempotency_key="half-a-per-mille")
    [interval] = answer.intervals["n"]
    [[value]] = answer.rows
    assert interval is not None
    assert isinstance(value, int)
    assert (interval[1] - interval[0]) / 2 <= 0.0005 * value + 0.5
    assert any("first look" in warning for warning in answer.warnings)
    cost = answer.response.cost
    assert spent(home) - before == pytest.approx(cost.epsilon)
    assert cost.epsilon <= plan.response.cost.epsilon
    assert len(cost.items) == 2
    again = ask(home, COUNT, {"relative": 0.0005}, idempotency_key="half-a-per-mille")
    assert again.rows == answer.rows
    assert spent(home) - before == pytest.approx(cost.epsilon)


def test_a_mean_is_priced_by_a_first_look(home: Home) -> None:
    answer = ask(home, "SELECT AVG(age) AS m FROM person", {"within": 0.1})
    [interval] = answer.intervals["m"]
    assert interval is not None
    assert (interval[1] - interval[0]) / 2 <= 0.1


def test_a_first_look_that_is_close_enough_is_the_answer(home: Home) -> None:
    before = spent(home)
    answer = ask(home, COUNT, {"relative": 0.3}, use_cache=False)
    assert answer.response.cost.epsilon == pytest.approx(0.5)
    assert spent(home) - before == pytest.approx(0.5)


def test_groups_of_next_to_nobody_do_not_hold_up_the_others(home: Home) -> None:
    answer = ask(home, BY_SEX, {"relative": 0.005})
    assert any(warning.startswith("1 values are further off") for warning in answer.warnings)
    for (sex, value), interval in zip(answer.rows, answer.intervals["n"], strict=True):
        assert interval is not None
        assert isinstance(value, int)
        if sex is not None:
            assert (interval[1] - interval[0]) / 2 <= 0.005 * value + 0.5


def test_a_target_out_of_reach_costs_the_first_look_alone(home: Home) -> None:
    before = spent(home)
    answer = ask(home, f"{COUNT} WHERE age > 110", {"relative": 0.001}, use_cache=False)
    assert any("out of reach" in warning for warning in answer.warnings)
    assert spent(home) - before == pytest.approx(0.5)
    error = refused(home, COUNT, {"within": 1e-6})
    assert error.code == "target-unreachable"
    far = refused(home, COUNT, {"within": 0.01})
    assert "epsilon" in str(far)


@pytest.mark.parametrize(
    ("target", "more", "code"),
    [
        ({}, {}, "target-invalid"),
        ({"within": 5, "relative": 0.1}, {}, "target-invalid"),
        ({"within": 0}, {}, "target-invalid"),
        ({"relative": -1}, {}, "target-invalid"),
        ({"within": 5, "confidence": 1}, {}, "target-invalid"),
        ({"within": 5, "confidence": 0}, {}, "target-invalid"),
        ({"within": 5}, {"epsilon": 1.0}, "price-conflict"),
        ({"relative": 0.1}, {"plan_id": "x"}, "target-invalid"),
    ],
    ids=str,
)
def test_targets_that_mean_nothing_are_refused(
    home: Home, target: dict[str, Any], more: dict[str, Any], code: str
) -> None:
    assert refused(home, COUNT, target, **more).code == code


def test_a_key_is_bound_to_the_target(home: Home) -> None:
    ask(home, COUNT, {"within": 60}, idempotency_key="bound", use_cache=False)
    for target in ({"within": 61}, {"relative": 0.2}):
        assert refused(home, COUNT, target, idempotency_key="bound", use_cache=False).code == "idempotency-key-reused"


def test_the_command_line_takes_a_width(home: Home) -> None:
    found = home.command("explain", COUNT, "--dataset", "health", "--within", "50", "--analyst", "ada", "--json")
    assert found.exit_code == 0, found.output
    assert (
        home.command("explain", COUNT, "--dataset", "health", "--target-column", "n", "--analyst", "ada").exit_code == 2
    )
