"""The oracles bite on what conditions narrow: with a rule of it broken on purpose, one of them fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from types import MappingProxyType
from typing import Any

import duckdb
import pytest

from gateway.sandbox import Sandbox
from gateway.sql.algebra import Ref, Scalar
from gateway.sql.inference import facts, narrowed, truth
from gateway.sql.inference.known import Known
from gateway.sql.planning import possible
from gateway.sql.writing import render, rewrite
from tests.oracles import naive, neighbours
from tests.oracles.clinic import CLINIC, tidy
from tests.oracles.composed import Composed
from tests.oracles.databases import Bases
from tests.oracles.questions import Aggregated, Asked, plan, written
from tests.oracles.sqlite import differences as composed_differences
from tests.oracles.sqlite import loaded
from tests.oracles.test_infinite import bounded, differences, shown, silence
from tests.oracles.worlds import DIRTY_PEOPLE, generate, units, without

pytestmark = pytest.mark.audit

NEIGHBOURS = tuple(
    written(sql)
    for sql in (
        "SELECT SUM(age), SUM(age * 2), COUNT(*) FROM person WHERE age < 40",
        "SELECT SUM(income), AVG(income) FROM person WHERE income >= 1.5",
        "SELECT SUM(vast * 2) FROM person WHERE vast <= 500",
        "SELECT SUM(cost + score) FROM visit WHERE cost <= 4999.99 AND score > -5",
        "SELECT tiny, COUNT(*), SUM(tiny) FROM person WHERE tiny < 2 GROUP BY tiny",
        "SELECT SUM(visit_id * 2) FROM visit WHERE visit_id BETWEEN 1 AND 10",
        "SELECT YEAR(born), COUNT(*) FROM person WHERE born >= DATE '2020-01-02' GROUP BY 1",
        "SELECT sex, tiny, COUNT(*), SUM(age) FROM person"
        " WHERE (sex = 'F' AND tiny = 1) OR (sex = 'M' AND tiny = 2) GROUP BY sex, tiny",
        "SELECT sex, tiny, COUNT(*) FROM person WHERE (sex = 'F' AND tiny < 2) OR (sex = 'M' AND tiny >= 2)"
        " OR (sex IS NULL AND tiny IN (0, 3)) GROUP BY sex, tiny",
        "SELECT label, tiny, COUNT(*) FROM item i JOIN visit v ON v.visit_id = i.visit_id"
        " JOIN person p ON p.person_id = v.person_id AND p.tiny > 0"
        " WHERE (label = 'a' AND tiny < 2) OR (label = 'b' AND tiny >= 2) GROUP BY label, tiny",
        "SELECT COUNT(*), SUM(n) FROM (SELECT person_id, COUNT(*) AS n, SUM(cost) AS s FROM visit GROUP BY person_id"
        " HAVING COUNT(*) BETWEEN 2 AND 3 AND SUM(cost) > 10) f WHERE s < 9000",
        "SELECT SUM(p.age * 3) FROM visit v JOIN person p ON p.person_id = v.person_id AND p.age > 18",
        "SELECT COUNT(*), AVG(age), AVG(income) FROM person WHERE age IS NOT NULL AND age < 60 AND income > 0",
    )
)
"""Conditions on columns whose values may lie outside of what is declared of them."""

_COUNTED = (Aggregated("COUNT"), Aggregated("COUNT", "age"), Aggregated("AVG", "age"), Aggregated("SUM", "age"))
ANSWERS = (
    Asked("person", (), _COUNTED, where="age <= 44"),
    Asked("person", (), _COUNTED, where="age > 18 OR age = 0"),
    Asked("person", (), _COUNTED, where="(age BETWEEN 10 AND 50) OR age IS NULL"),
    Asked("person", (), _COUNTED, where="age IS NOT NULL OR income > 1.5"),
    Asked("person", ("sex",), _COUNTED, where="sex = 'F' OR age > 20"),
    Asked("person", ("sex", "tiny"), (Aggregated("COUNT"),), where="(sex = 'F' AND tiny = 1) OR tiny > 2"),
    Asked("person", ("sex", "tiny"), (Aggregated("COUNT"),), where="NOT (sex = 'M' AND (tiny < 2 OR age < 40))"),
    Asked("visit", (), (Aggregated("COUNT"), Aggregated("SUM", "cost"), Aggregated("AVG", "cost")), where="cost > 10"),
)
COMPOSED = tuple(
    Composed(f"SELECT {', '.join((*keys, *aggregates))} FROM {source}", len(keys), aggregates, frozenset())
    for keys, aggregates, source in (
        ((), ("COUNT(*)", "SUM(v.cost)"), "visit v JOIN person p ON p.person_id = v.person_id AND v.cost <= 40"),
        ((), ("COUNT(v.kind)", "SUM(p.age)"), "person p LEFT JOIN visit v ON v.person_id = p.person_id AND p.age < 20"),
        (
            (),
            ("COUNT(*)", "SUM(f.s)"),
            "(SELECT v.person_id, SUM(v.cost) AS s FROM visit v GROUP BY v.person_id"
            " HAVING COUNT(*) >= 2 AND SUM(v.cost) >= 20) f",
        ),
        (
            ("p.sex", "i.label"),
            ("COUNT(*)", "SUM(i.qty)"),
            "item i JOIN visit v ON v.visit_id = i.visit_id JOIN person p ON p.person_id = v.person_id"
            " WHERE (p.sex = 'F' AND i.label = 'a') OR (p.sex = 'M' AND i.qty > 0) GROUP BY 1, 2",
        ),
    )
)


def found_by_neighbours(duckdbs: Bases) -> Iterator[str]:
    """What the first oracle says of dirty examples with a heavy owner; a failing statement is a finding as well."""
    dataset, (first, second) = duckdbs[DIRTY_PEOPLE]
    for seed in range(3):
        data = generate(DIRTY_PEOPLE, Random(seed), 40, dirty=True, heavy=60)  # noqa: S311 - fixed examples, not noise
        every = [without(DIRTY_PEOPLE, data, unit) for unit in units(DIRTY_PEOPLE, data)]
        for left in sorted(every, key=lambda left: sum(map(len, left.values())))[:3]:
            first.fill(data)
            second.fill({name: rows[::-1] for name, rows in left.items()})
            for asked in NEIGHBOURS:
                try:
                    yield from neighbours.compare(plan(asked, dataset), first.fetch, second.fetch)
                except (AssertionError, duckdb.Error) as wrong:
                    yield repr(wrong)


def found_by_answers(duckdbs: Bases, sandbox: Sandbox) -> Iterator[str]:
    """What the second oracle says of clean examples."""
    dataset, (base, _) = duckdbs[DIRTY_PEOPLE]
    for seed in range(3):
        data = naive.clean(DIRTY_PEOPLE, Random(seed), 40)  # noqa: S311 - fixed examples, not noise
        base.fill(data)
        for asked in ANSWERS:
            planned = plan(asked, dataset)
            world = bounded(DIRTY_PEOPLE, planned, dataset)
            try:
                difference = differences(asked, world, planned, data, base.fetch, sandbox)
            except AssertionError as wrong:
                difference = repr(wrong)
            if difference:
                yield difference
    dataset, (base, _) = duckdbs[CLINIC]
    for seed in range(3):
        data = tidy(CLINIC, Random(seed), 25)  # noqa: S311 - fixed examples, not noise
        base.fill(data)
        with loaded(CLINIC, data) as connection:
            for composed in COMPOSED:
                planned = plan(replace(written(composed.text), groups=1000), dataset)
                yield from composed_differences(composed, shown(planned, base.fetch, sandbox), connection)


def test_the_fixed_examples_pass(duckdbs: Bases, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(found_by_neighbours(duckdbs)) == []
    silence(monkeypatch)
    assert list(found_by_answers(duckdbs, sandbox)) == []


Columns = Mapping[str, Known]


def taken_as_proven(patch: pytest.MonkeyPatch) -> None:
    """What a condition leaves of a column is a fact about its rows: no clamp holds them to it."""
    left: set[tuple[str, str]] = set()
    narrow, clamp = narrowed.narrowed, render.clamped

    def proven(columns: Columns, predicate: Scalar) -> Columns:
        found = dict(narrow(columns, predicate))
        for name, about in found.items():
            if about.bounds is not None and about.bounds != columns[name].bounds:
                left.add((str(about.bounds[0]), str(about.bounds[1])))
                found[name] = replace(about, proven=True)
        return MappingProxyType(found)

    def clamped(value: str, low: str, high: str, most: str | None = None) -> str:
        return value if (low, high) in left else clamp(value, low, high, most)

    patch.setattr(facts, "narrowed", proven)
    patch.setattr(render, "clamped", clamped)


def from_both_sides(patch: pytest.MonkeyPatch) -> None:
    """``age <= 44`` says that it is above 39, too."""
    honest = narrowed._compared

    def compared(function: str, column: Ref, value: Any) -> dict[str, narrowed.Ends]:
        found = honest(function, column, value)
        return {
            name: (
                high - 5 if low is None and high is not None else low,
                low + 5 if high is None and low is not None else high,
            )
            for name, (low, high) in found.items()
        }

    patch.setattr(narrowed, "_compared", compared)


def either_is_both(patch: pytest.MonkeyPatch) -> None:
    """``a > 18 OR a = 0`` leaves what ``a > 18 AND a = 0`` would."""
    patch.setattr(narrowed, "_either", lambda one, _other: one)


def present_in_one(patch: pytest.MonkeyPatch) -> None:
    """``a IS NOT NULL OR b > 1`` says that a is not NULL."""
    honest = narrowed._present

    def present(condition: Any) -> frozenset[str]:
        parts = condition.args if getattr(condition, "function", None) == "or" else (condition,)
        return frozenset().union(*map(honest, parts))

    patch.setattr(narrowed, "_present", present)


def through_outer_joins(patch: pytest.MonkeyPatch) -> None:
    """The condition of a left join narrows the rows that it keeps."""
    honest = facts.joined

    def joined(kind: Any, left: facts.Facts, right: facts.Facts, on: Any) -> facts.Facts:
        made = honest(kind, left, right, on)
        return made if not on else replace(made, columns=narrowed.narrowed(made.columns, *on))

    patch.setattr(facts, "joined", joined)


def untold_is_false(patch: pytest.MonkeyPatch) -> None:
    """A group of which it cannot be told whether there is a row is none."""
    patch.setattr(truth, "_UNTOLD", frozenset({False}))


def first_alone(patch: pytest.MonkeyPatch) -> None:
    """Of two conditions that one or the other of which holds, the first decides."""
    honest = truth._joined
    patch.setattr(truth, "_joined", lambda parts, *, decides: honest(parts[:1] if decides else parts, decides=decides))


def one_row_lost(patch: pytest.MonkeyPatch) -> None:
    """A group of several keys is taken for impossible, and there may be rows in it."""
    honest = possible._kept

    def kept(names: Sequence[str], rows: Sequence[truth.Row], conditions: Sequence[Scalar]) -> Sequence[truth.Row]:
        found = honest(names, rows, conditions)
        return found[:-1] if len(names) > 1 else found

    patch.setattr(possible, "_kept", kept)


def rows_lost_and_kept(patch: pytest.MonkeyPatch) -> None:
    """Nor does the bounded SQL drop them."""
    one_row_lost(patch)
    patch.setattr(rewrite, "within", lambda _value, _key, _dialect: "TRUE")
    patch.setattr(rewrite, "together", lambda _planned, _dialect: "TRUE")


Mutation = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize(
    ("mutation", "said"),
    [
        (taken_as_proven, "is declared"),
        (rows_lost_and_kept, "do not stand together"),
        (rows_lost_and_kept, "not in the public domain"),
    ],
)
def test_neighbours_find(mutation: Mutation, said: str, duckdbs: Bases, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    assert any(said in found for found in found_by_neighbours(duckdbs))


@pytest.mark.parametrize(
    "mutation",
    [
        from_both_sides,
        either_is_both,
        present_in_one,
        through_outer_joins,
        untold_is_false,
        first_alone,
        one_row_lost,
    ],
)
def test_answers_find(mutation: Mutation, duckdbs: Bases, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    silence(monkeypatch)
    mutation(monkeypatch)
    assert any(found_by_answers(duckdbs, sandbox))
