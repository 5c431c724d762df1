"""Bounds that are chosen privately: planned, priced, read, kept and said."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pyarrow as pa
import pytest

from gateway import release as releasing
from gateway.answers.compose import compose
from gateway.answers.estimated import estimate
from gateway.errors import SqlRefused
from gateway.noisy import NoisyTable, decode, encode
from gateway.policy.model import Dataset
from gateway.release import release
from gateway.sandbox import Sandbox
from gateway.sql.explain import cost, explain
from gateway.sql.planning.clips import columns, told
from gateway.sql.planning.plan import Plan, PlannedRelease
from mechanisms.above_threshold import AboveThreshold, price_search
from mechanisms.loss import EPSILON_UNIT
from mechanisms.noise import Noise, norm, price
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import Mechanism, plan, release_of, written
from tests.oracles.worlds import LOOSE_PEOPLE


@pytest.fixture(scope="module")
def loose() -> Dataset:
    return duckdb_dataset(LOOSE_PEOPLE)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releasing, "draw", lambda _noise, count: [0] * count)
    monkeypatch.setattr(releasing, "first_low", lambda _search, counts: counts.index(0))


def planned_of(sql: str, dataset: Dataset, mechanism: Mechanism = "laplace") -> PlannedRelease:
    found = release_of(sql, dataset, mechanism)
    assert found.clip is not None
    return found


def table(planned: PlannedRelease, chosen: int, keys: list[object], sums: list[int]) -> pa.Table:
    """What the engine returns if nobody is above the candidate of that place: other sums are no numbers at all."""
    found: dict[str, list[object]] = {key.label: keys for key in planned.keys}
    for measure in columns(planned):
        if measure.name.startswith("c"):
            found[measure.name] = [3 * (int(measure.name[1:]) < chosen)] * len(sums)
        elif "_" not in measure.name or measure.name.endswith(f"_{chosen}"):
            found[measure.name] = list(sums)
        else:
            found[measure.name] = [None] * len(sums)
    return pa.table(found)


@pytest.mark.usefixtures("silent")
def test_only_the_integers_of_the_chosen_bound_are_read(loose: Dataset) -> None:
    planned = planned_of("SELECT ok, COUNT(*) FROM person JOIN visit USING (person_id) GROUP BY ok", loose)
    assert planned.clip is not None
    drawn = release(planned, table(planned, 4, [True, None], [4096 * 6, 4096]))
    assert planned.clip.bounds[:6] == (1, 2, 3, 4, 6, 8)
    assert drawn == NoisyTable(((False,), (True,), (None,)), ((0,), (4096 * 6,), (4096,)), 4)
    assert estimate(planned, drawn, 0.95)["a0"].values.tolist() == [0, 6, 1]


@pytest.mark.usefixtures("silent")
def test_without_rows_nobody_is_above_the_first_bound(loose: Dataset) -> None:
    planned = planned_of("SELECT ok, COUNT(*) FROM person JOIN visit USING (person_id) GROUP BY ok", loose)
    assert release(planned, table(planned, 0, [], [])) == NoisyTable(((False,), (True,), (None,)), ((0,),) * 3, 0)


def test_intervals_are_those_of_the_chosen_bound(loose: Dataset) -> None:
    planned = planned_of("SELECT COUNT(*) FROM visit", loose)
    widths = []
    for place in (0, 2, 7):
        [(low, high)] = filter(None, estimate(planned, NoisyTable(((),), ((0,),), place), 0.95)["a0"].intervals)
        widths.append(high - low)
    assert planned.clip is not None
    assert [planned.clip.bounds[place] for place in (0, 2, 7)] == [1, 3, 16]
    assert widths[1:] == pytest.approx([3 * widths[0], 16 * widths[0]], rel=1e-2)


def test_the_choice_is_kept_with_the_answer_and_said(loose: Dataset) -> None:
    found = plan(written("SELECT SUM(cost) FROM visit"), loose)
    clip = found.releases[0].clip
    assert clip is not None
    drawn = (NoisyTable(((),), ((900,),), 9),)
    assert decode(found, encode(drawn)) == drawn
    sandbox = Sandbox(memory=2**28, seconds=20)
    try:
        warnings = compose(found, drawn, sandbox, 0.95, 10).warnings
    finally:
        sandbox.close()
    bound = float(clip.bounds[9] * clip.unit)
    assert f"A unit counts for at most {bound:,g} in the sum of all its values, chosen privately" in warnings[-1]


@pytest.mark.parametrize(
    ("sql", "mechanism"),
    [
        ("SELECT COUNT(*) FROM visit", "laplace"),
        ("SELECT COUNT(*) FROM visit", "gaussian"),
        ("SELECT SUM(cost) FROM visit", "laplace"),
        ("SELECT SUM(cost), COUNT(*), AVG(score) FROM visit", "gaussian"),
        ("SELECT kind, COUNT(DISTINCT person_id), VAR_POP(cost) FROM visit GROUP BY kind", "laplace"),
        ("SELECT label, SUM(far), AVG(price) FROM item GROUP BY label", "laplace"),
    ],
)
def test_every_candidate_costs_what_is_charged(loose: Dataset, sql: str, mechanism: Mechanism) -> None:
    planned = planned_of(sql, loose, mechanism)
    clip = planned.clip
    assert clip is not None
    assert isinstance(clip.search, AboveThreshold)
    assert clip.loss == price_search(clip.search)
    for place, bound in enumerate(clip.bounds):
        chosen = planned.at(place)
        spent = [price(b.noise, b.l1, norm(b.l2_squared), b.linf) for b in chosen.blocks if isinstance(b.noise, Noise)]
        for loss, block, charged in zip(spent, chosen.blocks, planned.blocks, strict=True):
            assert loss.rho <= charged.loss.rho
            assert (loss.epsilon is None) == (charged.loss.epsilon is None) == (mechanism == "gaussian")
            assert (loss.epsilon or 0) <= (charged.loss.epsilon or 0) <= (loss.epsilon or 0) + 2
            assert all(measure.linf <= block.linf for measure in block.measures)
        if clip.norm == "values":
            assert [(block.l1, block.linf) for block in chosen.blocks if block.measures[0].cell] == [(bound, bound)]
    if mechanism == "laplace":
        assert EPSILON_UNIT - 3 <= (planned.loss.epsilon or 0) <= EPSILON_UNIT
        assert (clip.loss.epsilon or 0) == pytest.approx(EPSILON_UNIT / 4, abs=4)


def test_a_dry_run_shows_every_candidate(loose: Dataset) -> None:
    found = plan(written("SELECT COUNT(*), COUNT(DISTINCT person_id) FROM visit"), loose)
    [read] = explain(found).releases
    clip = found.releases[0].clip
    assert clip is not None
    size = len(clip.steps)
    assert read.parameters["clip"] == {
        "of": "rows",
        "candidates": [float(bound) for bound in clip.bounds],
        "level": clip.search.level,
    }
    by_name = {measure.name: measure for measure in read.measures}
    assert [by_name[f"m1_{place}"].l1 for place in range(size)] == [4096 * bound for bound in clip.bounds]
    assert [by_name[f"c{place}"].l1 for place in range(size)] == [1] * size
    assert by_name["m0"].expected_error is not None
    assert by_name["c0"].expected_error is None
    assert by_name["m1_0"].expected_error == pytest.approx((by_name["m1_8"].expected_error or 0) / clip.bounds[8], 1e-3)
    assert sorted(name for block in read.blocks for name in block.measures) == sorted(by_name)
    assert [item.mechanism for item in cost(found).items] == ["above_threshold", "laplace", "laplace"]
    count, owners = explain(found).columns
    assert "times the bound that is chosen" in (count.note or "")
    assert owners.expected_error is not None


def test_a_question_of_many_numbers_looks_at_fewer_bounds(loose: Dataset) -> None:
    def asked(count: int) -> Plan:
        numbers = ", ".join(f"COUNT(*) FILTER (WHERE cost > {number})" for number in range(count))
        return plan(written(f"SELECT {numbers} FROM visit"), loose)

    few, many = (asked(count).releases[0].clip for count in (3, 40))
    assert few is not None
    assert many is not None
    assert many.steps == tuple(2**place for place in range(21))
    assert len(few.steps) == 40
    with pytest.raises(SqlRefused) as refused:
        asked(48)
    assert refused.value.code == "sql-too-deep"


def test_a_small_price_looks_at_narrower_bounds(loose: Dataset) -> None:
    dear = plan(written("SELECT AVG(far) FROM item"), loose).releases[0].clip
    cheap = plan(replace(written("SELECT AVG(far) FROM item"), epsilon=1e-5), loose).releases[0].clip
    assert dear is not None
    assert cheap is not None
    assert cheap.steps == dear.steps[: len(cheap.steps)]
    assert len(cheap.steps) < len(dear.steps)


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
def test_at_every_bound_the_noise_costs_at_most_its_share_whatever_is_declared(
    loose: Dataset, mechanism: Mechanism
) -> None:
    """A declared bound is 2^k or 3 * 2^k by chance alone, and a noise may be scaled exactly by powers of two alone."""
    random = Random(13)  # noqa: S311
    for most in (5, 7, 99, 1000, *(random.randrange(2, 10_000) for _ in range(30))):
        declared = replace(loose, tables=tuple(replace(t, max_rows_per_unit=most) for t in loose.tables))
        asked = replace(
            written("SELECT COUNT(*), AVG(cost) FROM visit", mechanism),
            epsilon=10 ** random.uniform(-3, 1),
            bounding="above_threshold",
        )
        [planned] = plan(asked, declared).releases
        clip = planned.clip
        assert clip is not None
        assert clip.norm != "rows" or clip.bounds[-1] == most
        for place in range(len(clip.steps)):
            for block in planned.at(place).blocks:
                assert isinstance(block.noise, Noise)
                paid = price(block.noise, block.l1, norm(block.l2_squared), block.linf)
                assert (paid.epsilon or 0) <= (block.loss.epsilon or 0)
                assert paid.rho <= block.loss.rho


def test_a_wide_product_of_declared_bounds_is_chosen_within_them(loose: Dataset) -> None:
    many = {"visit": 40, "item": 30, "log": None, "person": None}
    declared = replace(loose, tables=tuple(replace(t, max_rows_per_unit=many[t.name]) for t in loose.tables))
    joined = "SELECT COUNT(*) FROM visit v JOIN item i ON v.visit_id {} JOIN person USING (person_id)"
    pairs = "SELECT COUNT(*) FROM visit v JOIN {} w ON v.person_id = w.person_id"
    clip = planned_of(pairs.format("visit"), declared).clip
    assert clip is not None
    assert clip.bounds[-1] == 1600
    for sql in (pairs.format("person"), "SELECT COUNT(*) FROM visit", joined.format("= i.visit_id")):
        planned = release_of(sql, declared)
        assert planned.clip is None
        assert planned.bounding.rows in (30, 40)
    few = replace(declared, tables=tuple(replace(t, max_rows_per_unit=31) for t in declared.tables))
    assert plan(written(pairs.format("visit")), few).releases[0].bounding.rows == 961


def test_the_least_bound_is_said_to_leave_much_out(loose: Dataset) -> None:
    clip = planned_of("SELECT COUNT(*) FROM visit", loose).clip
    assert clip is not None
    assert "too few units" in told(clip, 0)
    assert "too few units" not in told(clip, 1)
