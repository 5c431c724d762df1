"""Plans are made once for each question, and for each of the versions it is asked under."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway import plans
from gateway.errors import SqlRefused
from gateway.plans import Plans
from gateway.sql.algebra import Constant, Kind, feeds
from gateway.sql.compile import Question
from gateway.sql.planning.choose import Bounds, Price
from gateway.sql.planning.groups import Given
from gateway.sql.reading.parse import TextLimits
from gateway.sql.scalars.bind import Parameter
from mechanisms.loss import EPSILON_UNIT
from tests.oracles.databases import duckdb_dataset
from tests.sql.shop import SHOP

PRICE = Price(EPSILON_UNIT, None, 10**9, "laplace", gaussian=False)
COUNTED = Question(
    "SELECT COUNT(*) FROM users WHERE age > ?",
    None,
    PRICE,
    EPSILON_UNIT,
    TextLimits(),
    Bounds(None, 10_000, 256),
    (Parameter("1", Constant(1, "integer")),),
)
OTHERS = (
    replace(COUNTED, text="SELECT COUNT(*) FROM users WHERE age >= ?"),
    replace(COUNTED, dialect="postgres"),
    replace(COUNTED, price=replace(PRICE, epsilon=2 * EPSILON_UNIT)),
    replace(COUNTED, price=replace(PRICE, delta=10**8)),
    replace(COUNTED, price=replace(PRICE, mechanism="auto")),
    replace(COUNTED, price_epsilon=2 * EPSILON_UNIT),
    replace(COUNTED, bounds=Bounds(3, 10_000, 256)),
    replace(COUNTED, parameters=(Parameter("1", Constant(2, "integer")),)),
)


def test_a_plan_is_made_once() -> None:
    kept = Plans(8)
    first = kept.get(COUNTED, duckdb_dataset(SHOP))
    assert kept.get(replace(COUNTED), replace(duckdb_dataset(SHOP))) is first


@pytest.mark.parametrize("other", OTHERS)
def test_another_question_is_another_plan(other: Question) -> None:
    kept, dataset = Plans(8), duckdb_dataset(SHOP)
    kept.get(COUNTED, dataset)
    kept.get(other, dataset)
    assert len(kept) == 2


def test_values_that_python_calls_equal_are_different() -> None:
    kept, dataset = Plans(8), duckdb_dataset(SHOP)
    kept.get(COUNTED, dataset)
    with pytest.raises(SqlRefused):
        kept.get(replace(COUNTED, parameters=(Parameter("1", Constant(True, "boolean")),)), dataset)


@pytest.mark.parametrize("changed", [{"version": 2}, {"data_version": 2}, {"name": "market"}])
def test_another_version_is_another_plan(changed: dict[str, Any]) -> None:
    kept, dataset = Plans(8), duckdb_dataset(SHOP)
    first = kept.get(COUNTED, dataset)
    assert kept.get(COUNTED, replace(dataset, **changed)).fingerprint != first.fingerprint
    assert kept.get(COUNTED, dataset) is first


def test_the_least_used_is_let_go() -> None:
    kept, dataset = Plans(2), duckdb_dataset(SHOP)
    first = kept.get(COUNTED, dataset)
    kept.get(OTHERS[0], dataset)
    assert kept.get(COUNTED, dataset) is first
    kept.get(OTHERS[1], dataset)
    assert len(kept) == 2
    assert kept.get(COUNTED, dataset) is first


def test_nothing_is_kept_of_what_is_refused_or_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, dataset = Plans(8), duckdb_dataset(SHOP)
    with pytest.raises(SqlRefused):
        kept.get(replace(COUNTED, parameters=()), dataset)
    monkeypatch.setattr(plans, "LARGEST", 50)
    assert kept.get(COUNTED, dataset) == kept.get(COUNTED, dataset)
    assert len(kept) == len(Plans(0)) == 0


def test_a_gateway_may_keep_none() -> None:
    kept, dataset = Plans(0), duckdb_dataset(SHOP)
    assert kept.get(COUNTED, dataset) == kept.get(COUNTED, dataset)
    assert len(kept) == 0


def test_only_a_text_that_names_the_time_is_planned_for_its_minute() -> None:
    kept, dataset = Plans(8), duckdb_dataset(SHOP)
    noon = datetime(2024, 1, 31, 12, tzinfo=UTC)
    first = kept.get(replace(COUNTED, now=noon), dataset)
    assert kept.get(replace(COUNTED, now=noon + timedelta(minutes=1)), dataset) is first
    asked = replace(COUNTED, text="SELECT COUNT(*) FROM orders WHERE day < CURRENT_DATE", parameters=(), now=noon)
    today = kept.get(asked, dataset)
    assert kept.get(asked, dataset) is today
    assert kept.get(replace(asked, now=noon + timedelta(days=1)), dataset).fingerprint != today.fingerprint


def test_groups_that_a_question_takes_from_an_answer_are_part_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, dataset = Plans(8), duckdb_dataset(SHOP)
    asked = replace(COUNTED, text="SELECT channel, COUNT(*) FROM orders GROUP BY channel", parameters=())
    [release] = kept.get(asked, dataset).releases
    monkeypatch.setattr(plans, "LARGEST", 5_000)
    for size, number in ((1, 2), (1_000, 3), (3_000, 3)):
        columns: tuple[tuple[str, Kind], ...] = ((release.keys[0].meaning, "text"), ("another's", "integer"))
        given = Given("0" * 32, columns, tuple(("web", at) for at in range(size)))
        made = kept.get(replace(asked, bounds=replace(asked.bounds, given=(given,))), dataset)
        assert [key.values for key in made.releases[0].keys] == [("web",)]
        assert len(kept) == number


def test_a_plan_has_one_fingerprint_in_every_process() -> None:
    """The order of a set of texts is another one in each, and a charge that is taken over is told by its plan."""
    sql = (
        "SELECT COUNT(*) FROM orders o JOIN (SELECT status, channel, COUNT(*) AS n FROM orders GROUP BY 1, 2) f"
        " ON f.status = o.status AND f.channel = o.channel WHERE f.n > 3"
    )
    plan = Plans(1).get(replace(COUNTED, text=sql, parameters=()), duckdb_dataset(SHOP))
    fed = [found for release in plan.releases for found in feeds(release.release.source)]
    assert [len(keys) for found in fed for keys in found.unique] == [2]
    assert "set(" not in repr(plan)
