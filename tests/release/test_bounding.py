"""How a request says that a unit is held to its part: planned, priced, drawn, kept and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import pyarrow as pa
import pytest

from budget.report import recorded
from gateway.answers.estimated import estimate
from gateway.errors import SqlRefused
from gateway.policy.model import Dataset
from gateway.release import release
from gateway.reuse.canonical import same
from gateway.reuse.reading import opened, seal
from gateway.sql.compile import Question, compile_query
from gateway.sql.explain import cost, explain, record
from gateway.sql.planning.choose import Bounds, Price
from gateway.sql.planning.clips import Wish
from gateway.sql.planning.plan import Plan
from gateway.sql.reading.parse import TextLimits
from mechanisms.least_error import LeastError, price_least
from mechanisms.loss import EPSILON_UNIT
from mechanisms.noise import Noise, norm, price
from tests.oracles.databases import DuckdbDatabase, duckdb_dataset
from tests.oracles.questions import Mechanism, plan, written
from tests.oracles.worlds import DIRTY_PEOPLE, LOOSE_PEOPLE


@pytest.fixture(scope="module")
def declared() -> Dataset:
    return duckdb_dataset(DIRTY_PEOPLE)


def planned_of(sql: str, dataset: Dataset, bounding: Wish, mechanism: Mechanism = "laplace") -> Plan:
    return plan(replace(written(sql, mechanism), bounding=bounding), dataset)


def with_rows(dataset: Dataset, rows: int) -> Dataset:
    return replace(dataset, tables=tuple(replace(table, max_rows_per_unit=rows) for table in dataset.tables))


def test_auto_is_as_declared_up_to_the_setting(declared: Dataset) -> None:
    def how(rows: int, most: int) -> str:
        bounds = Bounds(None, 10_000, 256, declared_rows=most)
        cost = Price(EPSILON_UNIT, None, 10**9, "laplace", gaussian=False)
        question = Question("SELECT COUNT(*) FROM visit", None, cost, EPSILON_UNIT, TextLimits(), bounds)
        [found] = compile_query(question, with_rows(declared, rows)).releases
        return found.bounding.how

    assert [how(1_000, 1_000), how(1_001, 1_000), how(10_000, 10_000), how(40, 39)] == [
        "weights",
        "chosen",
        "weights",
        "chosen",
    ]


def test_a_request_says_how(declared: Dataset) -> None:
    asked = "SELECT kind, COUNT(*), SUM(cost) FROM visit GROUP BY kind"
    found = {wish: planned_of(asked, declared, wish) for wish in ("auto", "declared", "above_threshold", "exponential")}
    hows = {wish: (each.releases[0].bounding.how, each.releases[0].bounding.by) for wish, each in found.items()}
    assert hows == {
        "auto": ("owners", None),
        "declared": ("owners", None),
        "above_threshold": ("chosen", "above_threshold"),
        "exponential": ("chosen", "exponential"),
    }
    marks = {wish: same(each, each.releases[0]) for wish, each in found.items()}
    assert len(set(marks.values())) == 3  # what is held by one is no answer to another
    assert "by its expected error" in found["exponential"].releases[0].reason


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) FROM visit",
        "SELECT SUM(cost) FROM visit",
        "SELECT kind, SUM(cost), COUNT(*) FROM visit WHERE kind IN ('x', 'y') GROUP BY kind",
    ],
)
def test_a_choice_by_error_costs_what_is_charged(declared: Dataset, sql: str, mechanism: Mechanism) -> None:
    found = planned_of(sql, with_rows(declared, 100), "exponential", mechanism)
    [planned] = found.releases
    clip = planned.clip
    assert clip is not None
    assert isinstance(clip.search, LeastError)
    assert clip.loss == price_least(clip.search)
    assert clip.search.steps == clip.steps
    powers = tuple(2**place for place in range(15))
    assert clip.steps == ((*powers[:7], 100) if clip.norm == "rows" else powers[: len(clip.steps)])
    assert 7 <= len(clip.steps) <= 15
    for place in range(len(clip.steps)):
        for block, charged in zip(planned.at(place).blocks, planned.blocks, strict=True):
            assert isinstance(block.noise, Noise)
            spent = price(block.noise, block.l1, norm(block.l2_squared), block.linf)
            assert spent.rho <= charged.loss.rho
            assert (spent.epsilon or 0) <= (charged.loss.epsilon or 0)
    ran = recorded(json.dumps(record(found, {})))
    assert ran is not None
    assert ran.within(found.loss.epsilon, found.loss.rho, found.loss.delta)
    part = clip.loss.epsilon if mechanism == "laplace" else clip.loss.rho
    whole = found.loss.epsilon if mechanism == "laplace" else found.loss.rho
    assert part is not None
    assert whole is not None
    assert part == pytest.approx(whole / 4, rel=1e-6)
    assert cost(found).items[0].mechanism == explain(found).releases[0].blocks[0].mechanism == "exponential"


def test_the_choice_is_by_error_and_kept(declared: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mechanisms.least_error.select", lambda _selection, errors: errors.index(min(errors)))
    monkeypatch.setattr("gateway.release.draw", lambda _noise, count: [0] * count)
    found = planned_of("SELECT COUNT(*) FROM visit", declared, "exponential")
    [planned] = found.releases
    assert planned.clip is not None
    assert planned.clip.search.level == 2  # 1/.75 units' worth of noise
    base = DuckdbDatabase(DIRTY_PEOPLE)
    # Of a thousand people 30 have four visits, and one has thirty: that one is cut, to lose less than the noise grows.
    rows = [*range(1, 1001), *(who for who in range(1, 31) for _ in range(3)), *[2000] * 30]
    columns = DIRTY_PEOPLE.table("visit").cols
    base.fill({"visit": [tuple(who if c.name == "person_id" else None for c in columns) for who in rows]})
    drawn = release(planned, base.fetch(planned.sql))
    base.close()
    assert drawn.clip is not None
    assert planned.clip.bounds[drawn.clip] in (4, 8)
    held = planned.clip.bounds[drawn.clip]
    assert estimate(planned, drawn, 0.95)["a0"].values == (1000 + 90 + held,)
    [(reading, again)] = opened(seal(found, (drawn,)))
    assert (reading.statement.clip, again) == (planned.clip, drawn)


def test_without_rows_a_bound_is_chosen_all_the_same(declared: Dataset) -> None:
    [planned] = planned_of("SELECT COUNT(*) FROM visit", declared, "exponential").releases
    assert planned.clip is not None
    names = [f"m0_{place}" for place in range(len(planned.clip.steps))]
    names += [f"c{place}" for place in range(len(planned.clip.steps))]
    drawn = release(planned, pa.table({name: [0] for name in names}))
    assert drawn.clip in range(len(planned.clip.steps))


def test_a_sum_is_looked_at_up_to_its_declared_bound(declared: Dataset) -> None:
    [planned] = planned_of("SELECT SUM(cost) FROM visit", with_rows(declared, 100), "exponential").releases
    assert planned.clip is not None
    assert len(planned.clip.steps) == 15
    last = planned.clip.bounds[-1] * planned.clip.unit
    assert Fraction(5000 * 100) / 2 < last <= Fraction(5000 * 100)


@pytest.mark.parametrize(
    ("bounding", "rows", "code"),
    [
        ("declared", None, "rows-unbounded"),
        ("exponential", None, "bounding-unavailable"),
        ("exponential", 20_000, "bounding-unavailable"),
    ],
)
def test_refused(bounding: Wish, rows: int | None, code: str) -> None:
    dataset = duckdb_dataset(LOOSE_PEOPLE)
    dataset = dataset if rows is None else with_rows(dataset, rows)
    with pytest.raises(SqlRefused) as refusal:
        planned_of("SELECT COUNT(*) FROM visit", dataset, bounding)
    assert refusal.value.code == code
    assert refusal.value.hint


def test_where_nothing_is_bounded_there_is_nothing_to_choose(declared: Dataset) -> None:
    for bounding in ("declared", "above_threshold", "exponential"):
        [planned] = planned_of("SELECT COUNT(DISTINCT person_id) FROM visit", declared, bounding).releases
        assert planned.clip is None


@pytest.mark.parametrize(
    ("refused", "code", "advice", "accepted"),
    [
        (
            "SELECT MEDIAN(cost) FROM visit",
            "rows-unbounded",
            "GROUP BY its key",
            "SELECT MEDIAN(x) FROM (SELECT AVG(cost) AS x FROM visit GROUP BY person_id)",
        ),
        (
            "SELECT MEDIAN(visit_id) FROM visit WHERE person_id > 0",
            "bounds-missing",
            "lower and upper for visit_id, or write GREATEST(LEAST(",
            "SELECT MEDIAN(x) FROM (SELECT MAX(GREATEST(LEAST(visit_id, 9), 0)) AS x FROM visit GROUP BY person_id)",
        ),
        (
            "SELECT MEDIAN(n) FROM (SELECT COUNT(*) AS n FROM visit GROUP BY person_id)",
            "bounds-missing",
            "Write GREATEST(LEAST(",
            "SELECT MEDIAN(GREATEST(LEAST(n, 50), 0)) FROM (SELECT COUNT(*) AS n FROM visit GROUP BY person_id)",
        ),
    ],
)
def test_a_quantile_that_nothing_bounds_says_how_to_ask(refused: str, code: str, advice: str, accepted: str) -> None:
    dataset = duckdb_dataset(LOOSE_PEOPLE)
    with pytest.raises(SqlRefused) as refusal:
        planned_of(refused, dataset, "auto")
    assert (refusal.value.code, advice in (refusal.value.hint or "")) == (code, True)
    assert planned_of(accepted, dataset, "auto").releases[0].parts[0].histogram is not None
