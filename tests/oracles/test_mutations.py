"""The oracles bite: with each rule of the rewriting broken on purpose, one of them fails on a fixed set of examples."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from fractions import Fraction
from math import prod
from random import Random
from typing import Any

import duckdb
import pytest

from gateway.answers import moments
from gateway.policy.model import Dataset, Dialect, Table
from gateway.sandbox import Sandbox
from gateway.sql import compile as compiling
from gateway.sql.above import noisy
from gateway.sql.algebra import Aggregate, Call, Constant, Ref
from gateway.sql.below import spread
from gateway.sql.inference import units as units_of
from gateway.sql.planning import choose, layout, twosided
from gateway.sql.planning.plan import Measure, PlannedRelease, Share
from gateway.sql.planning.wanted import Wanted
from gateway.sql.writing import cells, conditions, render, rewrite, rows
from gateway.sql.writing.dialects.writer import Writer
from mechanisms import thresholds
from tests.oracles import naive, neighbours
from tests.oracles.databases import Bases
from tests.oracles.questions import Aggregated, Asked, plan, written
from tests.oracles.test_infinite import differences
from tests.oracles.worlds import DIRTY_PEOPLE, READINGS, Data, World, generate, units, without, without_row

pytestmark = pytest.mark.audit

NEIGHBOURS = {
    DIRTY_PEOPLE: (
        written("SELECT COUNT(*) FROM person"),
        written("SELECT sex, SUM(age), AVG(income) FROM person GROUP BY sex"),
        written("SELECT SUM(cost), COUNT(fine) FROM visit"),
        written("SELECT SUM(cost), AVG(score) FROM visit", "gaussian"),
        written("SELECT SUM(cost * 1.5), AVG(cost * (2 - cost * 0.01)) FROM visit"),
        written("SELECT kind, COUNT(*) FROM visit GROUP BY kind", groups=1),
        written("SELECT day, COUNT(DISTINCT person_id) FROM visit GROUP BY day", groups=1),
        written("SELECT label, COUNT(*), SUM(qty) FROM item GROUP BY label"),
        written("SELECT COUNT(*) FROM item WHERE qty > 0"),
        written("SELECT VAR_POP(income), AVG(income) FROM person"),
        written("SELECT COVAR_POP(cost, score) FROM visit"),
        written("SELECT CORR(age, income) FROM person"),
        written("SELECT CORR(cost, score) FROM visit", "gaussian"),
        written("SELECT AVG(age), AVG(income) FROM person WHERE age IS NOT NULL AND income IS NOT NULL"),
    ),
    READINGS: (
        written("SELECT COUNT(*), SUM(step) FROM reading"),
        written("SELECT place, AVG(step) FROM reading GROUP BY place"),
    ),
}
ANSWERS = (
    Asked("visit", ("kind",), (Aggregated("COUNT"), Aggregated("COUNT", "cost"))),
    Asked("visit", (), (Aggregated("COUNT"), Aggregated("SUM", "cost"), Aggregated("AVG", "cost"))),
    Asked("item", ("label",), (Aggregated("COUNT"), Aggregated("SUM", "qty"))),
    Asked("person", ("sex",), (Aggregated("COUNT", "age"), Aggregated("AVG", "age"))),
    Asked("person", (), (Aggregated("VAR_SAMP", "age"), Aggregated("COVAR_POP", "age", "income"))),
    Asked("person", (), (Aggregated("REGR_SLOPE", "income", "age"),)),
    Asked("person", (), (Aggregated("AVG", "age"), Aggregated("AVG", "income"))),
    Asked(
        "person",
        (),
        (Aggregated("COUNT"), Aggregated("AVG", "age"), Aggregated("SUM", "income")),
        where="age IS NOT NULL AND income IS NOT NULL",
    ),
)


def found_by_neighbours(duckdbs: Bases) -> Iterator[str]:
    """What the first oracle says, over a fixed set of dirty examples; a failing statement is a finding as well."""
    for world, asked in NEIGHBOURS.items():
        dataset, (first, second) = duckdbs[world]
        for data in (*_examples(world), *([_crossed()] if world is DIRTY_PEOPLE else [])):
            for left in _neighbours(world, data):
                first.fill(data)
                second.fill({name: rows[::-1] for name, rows in left.items()})
                for each in asked:
                    planned = plan(each, dataset)
                    try:
                        yield from neighbours.compare(planned, first.fetch, second.fetch)
                    except (AssertionError, duckdb.Error) as wrong:
                        yield repr(wrong)


def _examples(world: World) -> list[Data]:
    randoms = [Random(seed) for seed in range(3)]  # noqa: S311 - fixed examples, not noise
    return [generate(world, random, 40, dirty=True, heavy=60) for random in randoms]


def _crossed() -> Data:
    """Unit 1 holds the visits whose numbers are those of all units, each with many items."""
    visit, item = DIRTY_PEOPLE.table("visit"), DIRTY_PEOPLE.table("item")
    visits = [(number, 1, *(col.clean[0] for col in visit.cols[2:])) for number in range(1, 9)]
    visits += [(10 + number, number, *(col.clean[0] for col in visit.cols[2:])) for number in range(2, 9)]
    items = [(number, *(col.clean[2 % len(col.clean)] for col in item.cols[1:])) for number in range(1, 9)] * 6
    return {"person": [], "visit": visits, "item": items, "log": []}


def _neighbours(world: World, data: Data) -> list[Data]:
    if world.unit == "row":
        return [without_row(data, world.tables[0].name, index) for index in range(0, len(data["reading"]), 9)]
    every = [without(world, data, unit) for unit in units(world, data)]
    return sorted(every, key=lambda left: sum(map(len, left.values())))[:3]


def found_by_answers(duckdbs: Bases, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What the second oracle says: clean rows, and beside them some that belong to nobody."""
    neighbours.quiet(monkeypatch)
    dataset, (base, _) = duckdbs[DIRTY_PEOPLE]
    for random in (Random(0), Random(1), Random(2)):  # noqa: S311 - fixed examples, not noise
        data = naive.clean(DIRTY_PEOPLE, random, 30)
        at = DIRTY_PEOPLE.table("visit").index("person_id")
        ownerless = [(*row[:at], None, *row[at + 1 :]) for row in data["visit"][:5]]
        base.fill({**data, "visit": data["visit"] + [(1000 + nr, *row[1:]) for nr, row in enumerate(ownerless)]})
        for asked in ANSWERS:
            difference = differences(asked, DIRTY_PEOPLE, plan(asked, dataset), data, base.fetch, sandbox)
            if difference:
                yield difference


def test_the_fixed_examples_pass(duckdbs: Bases, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(found_by_neighbours(duckdbs)) == []
    assert list(found_by_answers(duckdbs, sandbox, monkeypatch)) == []


def halved_sensitivity(patch: pytest.MonkeyPatch) -> None:
    def halved(measures: tuple[Measure, ...], l1: int, l2_squared: int, linf: int) -> layout.Vector:
        return layout_vector(measures, max(l1 // 2, 1), l2_squared, linf)

    layout_vector = layout.Vector
    patch.setattr(layout, "Vector", halved)


def no_clamp(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(render, "clamped", lambda value, _low, _high, _most=None: value)


def decimals_as_they_are(patch: pytest.MonkeyPatch) -> None:
    """What is computed from decimals is computed from what is stored, not from what their clamp leaves."""
    honest = units_of._column

    def unclamped(*args: Any) -> units_of.Units | None:
        made = honest(*args)
        if made is None or not isinstance(made.scalar, Call) or made.scalar.function != "units":
            return made
        column, _, _, scale = made.scalar.args
        ends = (Constant(Fraction(end), "decimal") for end in (-(10**7), 10**7))
        return replace(made, scalar=Call("units", (column, *ends, scale), "integer"))

    patch.setattr(units_of, "_column", unclamped)


def float_aggregate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Writer, "total", lambda _self, amount: f"COALESCE(SUM(CAST({amount} AS DOUBLE)), 0)")


def no_weights(patch: pytest.MonkeyPatch) -> None:
    for name in ("weighted", "narrowly_weighted"):
        patch.setattr(Writer, name, lambda _self, amount, _total, _rows: amount)


def wrong_join(patch: pytest.MonkeyPatch) -> None:
    honest = conditions.met

    def met(left: tuple[Table, str, str], right: tuple[Table, str, str], dialect: Dialect) -> str:
        table, key, alias = right
        return honest(left, (table, "person_id" if key == "visit_id" else key, alias), dialect)

    patch.setattr(rows, "met", met)


def no_domain(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rewrite, "within", lambda _value, _key, _dialect: "TRUE")


def no_group_cap(patch: pytest.MonkeyPatch) -> None:
    honest = rewrite.rewrite

    def uncapped(planned: PlannedRelease, dataset: Dataset) -> PlannedRelease:
        made = honest(planned, dataset)
        return replace(made, sql=made.sql.replace(f" WHERE g <= {made.bounding.groups}", ""))

    patch.setattr(compiling, "rewrite", uncapped)


def no_threshold_reach(patch: pytest.MonkeyPatch) -> None:
    """The threshold is computed as if one unit reached one group, whatever the cap."""
    honest = thresholds.threshold
    patch.setattr(choose, "threshold", lambda noise, _reach, delta: honest(noise, 1, delta) - 1)


def no_rise_of_threshold(patch: pytest.MonkeyPatch) -> None:
    """Groups are left out beforehand, and the threshold is that of all groups."""
    honest = thresholds.beyond
    patch.setattr(choose, "beyond", lambda base, part, _least: honest(base, part, 1))


def one_group_too_few(patch: pytest.MonkeyPatch) -> None:
    """What is sent leaves out a group at the very pre-threshold."""
    honest = vars(PlannedRelease)["sent"].fget
    patch.setattr(PlannedRelease, "sent", property(lambda planned: f"{honest(planned)} + 1"))


def values_counted_as_rows(patch: pytest.MonkeyPatch) -> None:
    honest = noisy.Noisy._add

    def add(self: Any, aggregate: Aggregate) -> Ref:
        rows = Aggregate("count_rows", None, "integer")
        return honest(self, rows if aggregate.kind == "count" else aggregate)

    patch.setattr(noisy.Noisy, "_add", add)


def ownerless_rows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rows, "_owned", lambda _owner: ())


def cells_rounded_apart(patch: pytest.MonkeyPatch) -> None:
    """Each cell of a row is rounded by itself, upward, so that together they may be more than the whole."""

    def share(found: Share, write: Writer) -> str:
        numerators = [cells._bernstein(factor, at, write) for factor, at in zip(found.factors, found.at, strict=True)]
        denominator = prod(factor.grid**factor.power for factor in found.factors)
        return write.quotient(f"{' * '.join(numerators)} * {found.whole} + {denominator - 1}", denominator)

    patch.setattr(cells, "_share", share)


def uncentred_products(patch: pytest.MonkeyPatch) -> None:
    """A product reaches its factors' squares, as sums of x * y would that nobody centred."""
    honest = cells._centred
    patch.setattr(cells, "_centred", lambda found, write: f"(4 * {honest(found, write)})")


def signs_lost(patch: pytest.MonkeyPatch) -> None:
    """What a product of places is multiplied out to is added up where it should be taken away."""
    honest = cells._times
    patch.setattr(cells, "_times", lambda factor, counted, write: honest(abs(factor), counted, write))


def nulls_crossed(patch: pytest.MonkeyPatch) -> None:
    """Columns that may be NULL share out rows together, so that a row without the one is lost to the other."""

    def crossed(wanted: Wanted, told: Container[str], together: int) -> list[list[str]]:
        names = [name for name in wanted.measured if name not in told]
        return [names] if len(names) == together == 2 else []

    for module in (choose, twosided):
        patch.setattr(module, "crossed", crossed)


def samples_read_as_populations(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(moments, "_sampled", lambda found, _noisy, _confidence: found)


def arguments_turned_round(patch: pytest.MonkeyPatch) -> None:
    """A regression of x on y instead of y on x."""
    honest = spread._paired

    def turned(*args: Any) -> Aggregate:
        made = honest(*args)
        return made if made.second is None else replace(made, argument=made.second, second=made.argument)

    patch.setattr(spread, "_paired", turned)


Mutation = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize(
    ("mutation", "said"),
    [
        (halved_sensitivity, "is declared"),
        (no_clamp, "is declared"),
        (decimals_as_they_are, "is declared"),
        (float_aggregate, "is summed as double"),
        (no_weights, "is declared"),
        (wrong_join, "is declared"),
        (no_domain, "not in the public domain"),
        (no_group_cap, "is declared"),
        (no_group_cap, "is alone in"),
        (no_threshold_reach, "lower than its delta allows"),
        (no_rise_of_threshold, "lower than its delta allows"),
        (one_group_too_few, "leaves out others"),
        (cells_rounded_apart, "is declared"),
        (uncentred_products, "is declared"),
        (signs_lost, "is declared"),
    ],
)
def test_neighbours_find(mutation: Mutation, said: str, duckdbs: Bases, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    assert any(said in found for found in found_by_neighbours(duckdbs))


@pytest.mark.parametrize(
    "mutation",
    [
        values_counted_as_rows,
        ownerless_rows,
        wrong_join,
        samples_read_as_populations,
        arguments_turned_round,
        signs_lost,
        nulls_crossed,
    ],
)
def test_answers_find(mutation: Mutation, duckdbs: Bases, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    assert any(found_by_answers(duckdbs, sandbox, monkeypatch))
