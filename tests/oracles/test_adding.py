"""What is said to add up does so to the unit, in the exact integers of dirty data; and what does not is left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from random import Random

import pytest

from gateway.sql.inference import domains
from gateway.sql.planning import choose, keys, margins
from gateway.sql.planning.errors import Terms
from gateway.sql.planning.margins import Family, families, means
from gateway.sql.planning.plan import Linear, Mean, Plan, PlannedRelease
from tests.oracles import neighbours
from tests.oracles.clinic import CLINIC, GAUGES, KEYED_CLINIC
from tests.oracles.databases import Bases, Database
from tests.oracles.questions import Mechanism, plan, written
from tests.oracles.worlds import World, generate

TRUTHS = "FROM person GROUP BY ok"
IN = "WHERE sex IN ('F', 'M')"
AGES = "CASE WHEN age < 30 THEN 'young' WHEN age < 60 THEN 'old' END"

# The world, the question, and how many of its estimates add up with others.
ADDING: tuple[tuple[World, str, int], ...] = (
    (CLINIC, "SELECT sex, COUNT(*), SUM(age) FROM person GROUP BY ROLLUP (sex)", 4),
    (KEYED_CLINIC, "SELECT sex, COUNT(*), COUNT(age), SUM(age) FROM person GROUP BY ROLLUP (sex)", 6),
    (KEYED_CLINIC, "SELECT sex, COUNT(*), AVG(age) FROM person GROUP BY ROLLUP (sex)", 4),
    (KEYED_CLINIC, "SELECT sex, MEDIAN(age), AVG(age), VAR_POP(age) FROM person GROUP BY ROLLUP (sex)", 2),
    (KEYED_CLINIC, f"SELECT AVG(age) FROM person UNION ALL SELECT AVG(age) {TRUTHS}", 2),
    (KEYED_CLINIC, "SELECT sex, ok, AVG(age), SUM(age), AVG(age + 1) FROM person GROUP BY CUBE (sex, ok)", 12),
    (CLINIC, "SELECT label, AVG(qty), AVG(whole) FROM item GROUP BY ROLLUP (label)", 4),
    (KEYED_CLINIC, "SELECT sex, ok, COUNT(*), SUM(age) FROM person GROUP BY CUBE (sex, ok)", 8),
    (KEYED_CLINIC, "SELECT sex, ok, COUNT(DISTINCT person_id) FROM person GROUP BY GROUPING SETS ((sex), (ok))", 2),
    (KEYED_CLINIC, f"SELECT COUNT(*) FROM person UNION ALL SELECT COUNT(*) {TRUTHS}", 2),
    (KEYED_CLINIC, f"SELECT n, (SELECT COUNT(*) FROM person) AS t FROM (SELECT COUNT(*) AS n {TRUTHS}) AS p", 2),
    (KEYED_CLINIC, f"SELECT COUNT(*), SUM(age) FROM person UNION ALL SELECT COUNT(*), AVG(age) {TRUTHS}", 2),
    (
        KEYED_CLINIC,
        f"SELECT sex, COUNT(*) FROM person {IN} GROUP BY sex UNION ALL SELECT 'all', COUNT(*) FROM person {IN}",
        2,
    ),
    (
        KEYED_CLINIC,
        f"SELECT {AGES} AS a, COUNT(*) FROM person GROUP BY 1 UNION ALL SELECT 'all', COUNT(*) FROM person",
        2,
    ),
    (KEYED_CLINIC, "SELECT age % 3 AS a, COUNT(*) FROM person GROUP BY 1 UNION ALL SELECT 0, COUNT(*) FROM person", 2),
    (KEYED_CLINIC, "SELECT UPPER(sex) AS u, ok, COUNT(*), SUM(age) FROM person GROUP BY ROLLUP (1, 2)", 6),
    (CLINIC, "SELECT label, SUM(qty), COUNT(*) FROM item GROUP BY ROLLUP (label)", 4),
    (GAUGES, "SELECT tag, COUNT(*), SUM(level) FROM gauge GROUP BY ROLLUP (tag)", 4),
)

ALONE: tuple[tuple[World, str], ...] = (
    # Rows of other values are dropped from the groups, and not from the total.
    (KEYED_CLINIC, "SELECT sex, COUNT(*) FROM person GROUP BY sex UNION ALL SELECT 'all', COUNT(*) FROM person"),
    (
        KEYED_CLINIC,
        "SELECT UPPER(sex) AS u, COUNT(*) FROM person GROUP BY 1 UNION ALL SELECT 'all', COUNT(*) FROM person",
    ),
    (
        KEYED_CLINIC,
        f"SELECT COUNT(*) FROM person {IN} UNION ALL SELECT COUNT(*) FROM person GROUP BY ok",
    ),
    # Groups are hidden below a threshold.
    (KEYED_CLINIC, "SELECT city, COUNT(*) FROM person GROUP BY ROLLUP (city)"),
    # A unit may be in several groups, and reach only some of them.
    (CLINIC, "SELECT label, COUNT(DISTINCT person_id) FROM item JOIN visit USING (visit_id) GROUP BY ROLLUP (label)"),
    (CLINIC, "SELECT label, COUNT(DISTINCT qty) FROM item GROUP BY ROLLUP (label)"),
    (KEYED_CLINIC, "SELECT sex, MEDIAN(age), VAR_POP(age) FROM person GROUP BY ROLLUP (sex)"),
    (KEYED_CLINIC, f"SELECT AVG(age) FROM person WHERE sex IS NOT NULL UNION ALL SELECT AVG(age) {TRUTHS}"),
    (KEYED_CLINIC, "SELECT sex, AVG(age) FROM person GROUP BY sex UNION ALL SELECT 'all', AVG(age) FROM person"),
    # What another release was computed from stays as it was.
    (
        KEYED_CLINIC,
        f"SELECT (SELECT COUNT(*) FROM person WHERE age > (SELECT COUNT(*) FROM person)), COUNT(*) {TRUTHS}",
    ),
)


def _sums_of(planned: Plan, member: tuple[int, str]) -> tuple[Terms, ...]:
    """The weighted sums of measures that are said to add up: of a mean both parts."""
    place, name = member
    estimator = dict(planned.releases[place].estimators)[name]
    assert isinstance(estimator, Linear | Mean)
    return (estimator.terms,) if isinstance(estimator, Linear) else (estimator.spread, estimator.count)


def exact(planned: Plan, family: Family, base: Database, part: int) -> list[dict[tuple[object, ...], Fraction]]:
    """What the engine's integers say of each member, by key values in the order of the keys' numbers."""
    found = []
    for member, order in zip(family.members, family.orders, strict=True):
        release = planned.releases[member[0]]
        rows = neighbours.exact(release, base.fetch(release.sql))
        public = [frozenset(key.values or ()) for key in release.keys]
        found.append(
            {
                tuple(key[order.index(axis)] for axis in sorted(order)): sum(
                    (weight * row[measure] for measure, weight in _sums_of(planned, member)[part]), Fraction(0)
                )
                for key, row in rows.items()
                if all(value in values for value, values in zip(key, public, strict=True))
            }
        )
    return found


def disagreements(planned: Plan, base: Database) -> list[str]:
    """Where two tables of a family say different things of what both can say."""
    found = []
    adding = (*families(planned.releases), *means(planned.releases))
    for family, part in ((each, part) for each in adding for part in range(len(_sums_of(planned, each.members[0])))):
        tables = exact(planned, family, base, part)
        axes = [sorted(order) for order in family.orders]
        for one, mine in enumerate(axes):
            for other in range(one):
                shared = [axis for axis in mine if axis in axes[other]]
                first, second = (_summed(tables[at], [axes[at].index(axis) for axis in shared]) for at in (one, other))
                if first != second:
                    found.append(f"{family.members[one]} and {family.members[other]}: {first} and {second}")
    return found


def _summed(table: dict[tuple[object, ...], Fraction], places: list[int]) -> dict[tuple[object, ...], Fraction]:
    sums: dict[tuple[object, ...], Fraction] = {}
    for key, value in table.items():
        coarse = tuple(key[place] for place in places)
        sums[coarse] = sums.get(coarse, Fraction(0)) + value
    return {key: value for key, value in sums.items() if value}


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
@pytest.mark.parametrize(("world", "sql", "count"), ADDING, ids=[sql for _, sql, _ in ADDING])
def test_what_is_said_to_add_up_does(world: World, sql: str, count: int, mechanism: Mechanism, duckdbs: Bases) -> None:
    dataset, (base, _) = duckdbs[world]
    planned = plan(written(sql, mechanism), dataset)
    found = (*families(planned.releases), *means(planned.releases))
    assert sum(len(family.members) for family in found) == count
    for seed in range(2):
        base.fill(generate(world, Random(seed), 40, dirty=True, heavy=20 * (seed % 2)))  # noqa: S311
        assert disagreements(planned, base) == []


@pytest.mark.parametrize(("world", "sql"), ALONE, ids=[sql for _, sql in ALONE])
def test_what_does_not_add_up_is_left_alone(world: World, sql: str, duckdbs: Bases) -> None:
    releases = plan(written(sql, "laplace"), duckdbs[world][0]).releases
    assert (families(releases), means(releases)) == ((), ())


def _dropped_nowhere_else(patch: pytest.MonkeyPatch) -> None:
    honest = choose.choose
    patch.setattr("gateway.sql.planning.shares.choose", lambda *args: replace(honest(*args), within=()))
    patch.setattr(margins, "_rows", lambda planned: (planned.release.source, planned.bounding))


def _complete_by_declaration(patch: pytest.MonkeyPatch) -> None:
    honest = domains.complete
    patch.setattr(keys, "complete", lambda *args: args[0].kind == "text" or honest(*args))


def _rounded_apart(patch: pytest.MonkeyPatch) -> None:
    def read(planned: PlannedRelease, name: str) -> str | None:
        return "count" if isinstance(dict(planned.estimators)[name], Linear) else None

    patch.setattr(margins, "_read", read)


def _means_of_any_column(patch: pytest.MonkeyPatch) -> None:
    def read(planned: PlannedRelease, name: str) -> str | None:
        return "mean" if isinstance(dict(planned.estimators)[name], Mean) else None

    patch.setattr(margins, "_read", read)


BROKEN: tuple[tuple[Callable[[pytest.MonkeyPatch], None], str], ...] = (
    (_dropped_nowhere_else, ADDING[1][1]),
    (_complete_by_declaration, ALONE[0][1]),
    (_rounded_apart, "SELECT COUNT(*) FROM item UNION ALL SELECT COUNT(*) + AVG(whole) FROM item GROUP BY qty IS NULL"),
    (_means_of_any_column, "SELECT AVG(qty) FROM item UNION ALL SELECT AVG(whole) FROM item GROUP BY qty IS NULL"),
)


@pytest.mark.parametrize(("broken", "sql"), BROKEN, ids=[broken.__name__[1:] for broken, _ in BROKEN])
def test_a_broken_rule_is_seen(
    broken: Callable[[pytest.MonkeyPatch], None], sql: str, duckdbs: Bases, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = CLINIC if " item " in sql else KEYED_CLINIC
    dataset, (base, _) = duckdbs[world]
    broken(monkeypatch)
    planned = plan(written(sql, "laplace"), dataset)
    seen = []
    for seed in range(20):
        base.fill(generate(world, Random(seed), 40, dirty=True, heavy=20))  # noqa: S311
        seen += disagreements(planned, base)
        if seen:
            break
    assert seen
