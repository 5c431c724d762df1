"""What the hostile statements that may run do, each as its comment says."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import pytest

from gateway.sandbox import Sandbox
from gateway.sql.planning.plan import Plan
from tests.oracles import neighbours
from tests.oracles.databases import DuckdbDatabase, duckdb_dataset
from tests.oracles.questions import plan, written
from tests.oracles.test_infinite import shown, silence
from tests.oracles.worlds import Data, generate
from tests.sql.shop import SHOP
from tests.sql.test_attacks import STATEMENTS, VICTIM

TEXTS = {name: sql for name, sql, _ in STATEMENTS}
NOBODY: Data = {"users": [], "orders": [], "items": [], "skus": []}


def planned(name: str) -> Plan:
    return plan(written(TEXTS[name]), duckdb_dataset(SHOP))


@pytest.mark.parametrize("name", ["C11", "C13", "E1", "E5", "E9", "J1"])
def test_hidden_groups_pass_a_threshold_of_people(name: str) -> None:
    for release in planned(name).releases:
        assert release.threshold is not None
        [counted] = [measure for measure in release.measures if measure.name == release.threshold.measure]
        assert (counted.kind, counted.linf) == ("owners", 1)


def test_one_person_is_one_in_a_count_of_people() -> None:
    [release] = planned("E11").releases
    [measure] = release.measures
    assert (measure.kind, measure.l1, measure.unit) == ("owners", 1, Fraction(1))


def test_equal_aggregates_are_one_measure() -> None:
    [release] = planned("H4").releases
    assert len(release.measures) == 1
    assert release.loss == planned("H6").releases[0].loss


def test_grouping_sets_share_the_price() -> None:
    found = planned("E7")
    assert len(found.releases) == 2
    assert found.loss.epsilon is not None
    assert found.loss.epsilon <= found.price


def test_a_clone_is_another_question_at_the_same_price() -> None:
    first, clone = planned("H1a"), planned("H2")
    assert first.loss == clone.loss
    assert first.loss.epsilon is not None
    assert first.loss.epsilon > 0


def test_a_fold_is_clipped_after_what_scales_it() -> None:
    """F14: a million times the orders of at most five rows; G2: a million times a noisy sum."""
    [scaled] = planned("F14").releases
    assert scaled.measures[0].linf * scaled.measures[0].unit == 5_000_000
    [plain] = planned("G2").releases
    assert plain.measures[0].linf * plain.measures[0].unit == 5 * 1000


def test_a_name_of_with_hides_the_private_table(sandbox: Sandbox) -> None:
    found = planned("I17")
    assert found.releases == ()
    assert found.loss.epsilon == 0


def test_the_order_is_that_of_noisy_numbers(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    silence(monkeypatch)
    database = DuckdbDatabase(SHOP)
    database.fill(generate(SHOP, Random(3), 40, dirty=False))  # noqa: S311 - a fixed example, not noise
    [most] = shown(planned("C11"), database.fetch, sandbox)
    every = shown(plan(written(TEXTS["C11"].split(" ORDER BY")[0]), duckdb_dataset(SHOP)), database.fetch, sandbox)
    assert most in every
    assert most[1] == max(float(str(row[1])) for row in every)
    database.close()


def test_nobody_s_average_is_a_number_within_bounds(sandbox: Sandbox) -> None:
    database = DuckdbDatabase(SHOP)
    database.fill(NOBODY)
    for _ in range(20):
        [[mean]] = shown(planned("G8"), database.fetch, sandbox)
        assert isinstance(mean, float)
        assert 0 <= mean <= 200_000
    database.close()


def test_a_filter_is_honoured() -> None:
    database = DuckdbDatabase(SHOP)
    orders = [(at, unit, "open", "web", 1, "2024-01-01") for at, unit in enumerate((3, 5, VICTIM, VICTIM))]
    database.fill(NOBODY | {"orders": list(orders)})
    [release] = planned("G12").releases
    [measure] = release.measures
    exact = neighbours.exact(release, database.fetch(release.sql))
    assert exact[()][measure.name] * measure.unit == pytest.approx(2)
    database.close()
