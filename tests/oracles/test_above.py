"""Questions over released tables, under the oracles: each release alone, and the answer as SQLite gives it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from sqlglot import exp

from gateway.answers import repeated
from gateway.errors import SqlRefused
from gateway.sandbox import Sandbox
from gateway.sql.above import attached, correlated, outer
from gateway.sql.explain import explain
from gateway.sql.planning.plan import Plan
from gateway.sql.relations import sources
from gateway.sql.writing import post
from mechanisms.loss import EPSILON_UNIT
from tests.oracles import neighbours
from tests.oracles.above import Above, above, differences, released
from tests.oracles.clinic import CLINIC, tidy
from tests.oracles.databases import Bases, duckdb_dataset
from tests.oracles.questions import Mechanism, plan, written
from tests.oracles.test_composed import neighbour
from tests.oracles.test_infinite import shown
from tests.oracles.test_neighbours import RANDOM, SLOW
from tests.oracles.worlds import generate, shuffled

SEEDS = st.lists(st.integers(0, 10**9), min_size=6, max_size=6, unique=True)
MECHANISMS: tuple[Mechanism, ...] = ("auto", "laplace", "gaussian")


@pytest.fixture(autouse=True, scope="module")
def _loud() -> Iterator[None]:
    """Let a statement over many worlds that fails be seen: of an answer it would cost the intervals alone."""

    def failed(*_: object, **__: object) -> None:
        raise AssertionError("the intervals of derived columns could not be computed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeated.log, "info", failed)
        yield


def check(bases: Bases, sandbox: Sandbox, asked: list[Above], random: Random) -> None:
    dataset, (first, second) = bases[CLINIC]
    data = generate(CLINIC, random, random.choice((4, 20)), dirty=True, heavy=8)
    clean = tidy(CLINIC, random, random.choice((4, 12, 25)))
    first.fill(data)
    second.fill(shuffled(neighbour(CLINIC, data, random), random))
    plans: list[tuple[Above, Plan]] = []
    for each in asked:
        note(each.asked)
        try:
            found = plan(written(each.asked, random.choice(MECHANISMS)), dataset, shown=20)
        except SqlRefused as refusal:
            assert refusal.code == "key-unsupported", refusal.code  # noqa: PT017 - a comparison of two constants
            continue
        plans.append((each, found))
        assert neighbours.compare(found, first.fetch, second.fetch) == []
        neighbours.answered(found, first.fetch, sandbox)
        assert explain(found).model_dump_json()
    first.fill(clean)
    with released(CLINIC, clean) as connection, pytest.MonkeyPatch.context() as patch:
        neighbours.quiet(patch)
        for each, found in plans:
            note(each.asked)
            assert differences(each, shown(found, first.fetch, sandbox), connection) == []


@settings(max_examples=3, deadline=None, suppress_health_check=SLOW)
@given(seeds=SEEDS, random=RANDOM)
def test_duckdb(duckdbs: Bases, sandbox: Sandbox, seeds: list[int], random: Random) -> None:
    check(duckdbs, sandbox, [above(seed) for seed in seeds], random)


@pytest.mark.audit
@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(seeds=SEEDS, random=RANDOM)
def test_duckdb_at_length(duckdbs: Bases, sandbox: Sandbox, seeds: list[int], random: Random) -> None:
    check(duckdbs, sandbox, [above(seed) for seed in seeds], random)


def test_every_feature_is_asked() -> None:
    asked: Counter[str] = Counter()
    for seed in range(150):
        asked.update(above(seed).features)
    wanted = {"JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN", "GROUP BY", "DISTINCT", "window", "value"}
    wanted |= {"UNION ALL", "UNION", "EXCEPT", "INTERSECT", "LIMIT", "nested", "IN"}
    wanted |= {"correlated", "correlated EXISTS"}
    assert {name: asked[name] for name in wanted if asked[name] < 5} == {}


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_several_releases_stay_within_one_price(mechanism: Mechanism) -> None:
    dataset = duckdb_dataset(CLINIC)
    seen = 0
    for seed in range(60):
        try:
            found = plan(written(above(seed).asked, mechanism), dataset, shown=20)
        except SqlRefused:
            continue
        seen += 1
        assert found.loss.delta + found.conversion_delta <= dataset.per_query.delta
        if found.loss.epsilon is not None:
            assert found.loss.epsilon <= EPSILON_UNIT
        assert len(set(found.query.releases)) == len(found.releases)
    assert seen > 50


def _left_joins_as_inner(patch: pytest.MonkeyPatch) -> None:
    honest = post.Writer._pair
    patch.setattr(post.Writer, "_pair", lambda self, pair: honest(self, replace(pair, kind="inner")))


def _frames_dropped(patch: pytest.MonkeyPatch) -> None:
    honest = post._window
    patch.setattr(post, "_window", lambda window, *rest: honest(replace(window, frame=None, order=()), *rest))


def _equal_rows_kept(patch: pytest.MonkeyPatch) -> None:
    honest = post.Writer._combine
    patch.setattr(post.Writer, "_combine", lambda self, found: honest(self, replace(found, every=True)))


def _limits_dropped(patch: pytest.MonkeyPatch) -> None:
    honest = post.Writer._sort
    patch.setattr(post.Writer, "_sort", lambda self, sort: honest(self, replace(sort, limit=None)))


def _conditions_dropped(patch: pytest.MonkeyPatch) -> None:
    honest = outer.over

    def over(select: exp.Select, *rest: Any) -> Any:
        select.args.pop("where", None)
        return honest(select, *rest)

    patch.setattr(sources, "over", over)


def _groups_that_no_row_asks_for(patch: pytest.MonkeyPatch) -> None:
    """A subquery that refers to the rows around gives each of them the value over nothing."""
    honest = correlated.grouped

    def nobodys(*args: Any) -> Any:
        found = honest(*args)
        return found if found is None else replace(found, outer=tuple(exp.Literal.string("-") for _ in found.outer))

    patch.setattr(attached, "grouped", nobodys)


@pytest.mark.parametrize(
    "mutation",
    [
        _groups_that_no_row_asks_for,
        _left_joins_as_inner,
        _frames_dropped,
        _equal_rows_kept,
        _limits_dropped,
        _conditions_dropped,
    ],
)
@pytest.mark.audit
def test_answers_find(
    mutation: Callable[[pytest.MonkeyPatch], None], duckdbs: Bases, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, (base, _) = duckdbs[CLINIC]
    clean = tidy(CLINIC, Random(3), 25)  # noqa: S311 - a fixed example, not noise
    base.fill(clean)
    neighbours.quiet(monkeypatch)
    mutation(monkeypatch)
    with released(CLINIC, clean) as connection:
        for seed in range(120):
            asked = above(seed)
            with suppress(SqlRefused):
                if differences(
                    asked, shown(plan(written(asked.asked), dataset, shown=20), base.fetch, sandbox), connection
                ):
                    return
    pytest.fail("the mutation is not found")
