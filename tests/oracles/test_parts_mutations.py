"""The oracles bite on quantiles and different values: with a rule of theirs broken on purpose, one of them fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from random import Random

import pytest

from gateway.policy.model import Dataset
from gateway.sandbox import Sandbox
from gateway.sql.planning import parts
from gateway.sql.planning.grid import Grid
from gateway.sql.planning.plan import Distinct, PlannedRelease
from gateway.sql.writing import rewrite
from gateway.sql.writing.dialects.writer import Writer
from mechanisms.quantiles import Rank
from tests.oracles import naive, neighbours
from tests.oracles.databases import Bases
from tests.oracles.questions import Aggregated, Asked, plan, written
from tests.oracles.test_infinite import differences, silence
from tests.oracles.worlds import DIRTY_PEOPLE, generate, units, without

pytestmark = pytest.mark.audit

NEIGHBOURS = tuple(
    written(sql)
    for sql in (
        "SELECT kind, MEDIAN(cost), MAX(score) FROM visit GROUP BY kind",
        "SELECT sex, QUANTILE_CONT(age, 0.9), MIN(income) FROM person GROUP BY sex",
        "SELECT COUNT(DISTINCT visit_id), COUNT(DISTINCT cost), COUNT(DISTINCT day) FROM visit",
        "SELECT label, COUNT(DISTINCT visit_id) FROM item GROUP BY label",
    )
)
ANSWERS = (
    Asked("visit", ("kind",), (Aggregated("DISTINCT", "day"), Aggregated("QUANTILE", "cost"))),
    Asked("visit", (), (Aggregated("DISTINCT", "cost"), Aggregated("MIN", "cost"), Aggregated("MAX", "cost"))),
    Asked("item", ("label",), (Aggregated("DISTINCT", "visit_id"), Aggregated("MEDIAN", "qty"))),
    Asked("person", (), (Aggregated("DISTINCT", "city"), Aggregated("QUANTILE", "age"))),
)


def found_by_neighbours(duckdbs: Bases) -> Iterator[str]:
    """What the first oracle says of dirty examples with a heavy owner."""
    dataset, (first, second) = duckdbs[DIRTY_PEOPLE]
    for seed in range(3):
        data = generate(DIRTY_PEOPLE, Random(seed), 40, dirty=True, heavy=60)  # noqa: S311 - fixed examples, not noise
        every = [without(DIRTY_PEOPLE, data, unit) for unit in units(DIRTY_PEOPLE, data)]
        for left in sorted(every, key=lambda left: sum(map(len, left.values())))[:2]:
            first.fill(data)
            second.fill({name: rows[::-1] for name, rows in left.items()})
            for asked in NEIGHBOURS:
                yield from neighbours.compare(plan(asked, dataset), first.fetch, second.fetch)


def found_by_answers(duckdbs: Bases, sandbox: Sandbox) -> Iterator[str]:
    """What the second oracle says of clean examples."""
    dataset, (base, _) = duckdbs[DIRTY_PEOPLE]
    for seed in range(3):
        data = naive.clean(DIRTY_PEOPLE, Random(seed), 30)  # noqa: S311 - fixed examples, not noise
        base.fill(data)
        for asked in ANSWERS:
            difference = differences(asked, DIRTY_PEOPLE, plan(asked, dataset), data, base.fetch, sandbox)
            if difference:
                yield difference


def test_the_fixed_examples_pass(duckdbs: Bases, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(found_by_neighbours(duckdbs)) == []
    silence(monkeypatch)
    assert list(found_by_answers(duckdbs, sandbox)) == []


def _rewritten(patch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Write the SQL of different values otherwise."""
    honest = rewrite._distinct

    def written_otherwise(planned: PlannedRelease, distinct: Distinct, dataset: Dataset) -> str:
        sql = honest(planned, distinct, dataset)
        assert old.format(most=distinct.most) in sql or planned.bounding.how == "one_row"
        return sql.replace(old.format(most=distinct.most), new)

    patch.setattr(rewrite, "_distinct", written_otherwise)


def no_value_cap(patch: pytest.MonkeyPatch) -> None:
    _rewritten(patch, "WHERE g <= {most}", "WHERE g >= 1")


def a_cap_of_each_row(patch: pytest.MonkeyPatch) -> None:
    """The cap is on how often one pair occurs, not on an owner's pairs."""
    _rewritten(patch, "PARTITION BY o ORDER BY", "PARTITION BY o, d ORDER BY")


def no_weights(patch: pytest.MonkeyPatch) -> None:
    for name in ("weighted", "narrowly_weighted"):
        patch.setattr(Writer, name, lambda _self, amount, _total, _rows: amount)


def buckets_beyond_the_grid(patch: pytest.MonkeyPatch) -> None:
    honest = Grid.written
    patch.setattr(Grid, "written", lambda self, column, divided: f"3 * ({honest(self, column, divided)})")


def nulls_counted(patch: pytest.MonkeyPatch) -> None:
    _rewritten(patch, "WHERE d IS NOT NULL", "WHERE TRUE")


def quantiles_from_above(patch: pytest.MonkeyPatch) -> None:
    def upside_down(fraction: Fraction) -> Rank:
        return Rank(fraction.denominator - fraction.numerator, fraction.denominator)

    patch.setattr(parts, "rank_of", upside_down)


def buckets_in_disorder(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Writer, "divided", lambda _self, value, step: f"({value} // {4 * step})")


Mutation = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize(
    ("mutation", "said"),
    [
        (no_value_cap, "is declared"),
        (a_cap_of_each_row, "is declared"),
        (no_weights, "is declared"),
        (buckets_beyond_the_grid, "are not in the public domain"),
    ],
)
def test_neighbours_find(mutation: Mutation, said: str, duckdbs: Bases, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    assert any(said in found for found in found_by_neighbours(duckdbs))


@pytest.mark.parametrize("mutation", [nulls_counted, quantiles_from_above, buckets_in_disorder])
def test_answers_find(mutation: Mutation, duckdbs: Bases, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    silence(monkeypatch)
    mutation(monkeypatch)
    assert any(found_by_answers(duckdbs, sandbox))


def test_values_that_several_people_have_count_once(
    duckdbs: Bases, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence(monkeypatch)
    honest = rewrite._distinct

    def each_owners(planned: PlannedRelease, distinct: Distinct, dataset: Dataset) -> str:
        sql = honest(planned, distinct, dataset)
        head, _, tail = sql.rpartition(" GROUP BY " + ", ".join([*(key.name for key in planned.keys), "d"]))
        return head + tail

    monkeypatch.setattr(rewrite, "_distinct", each_owners)
    assert any(found_by_answers(duckdbs, sandbox))
