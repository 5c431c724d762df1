"""Owner paths that a question walks by itself: their joins fall away where the database enforces keys, and only there.

What is compared is the bounded SQL with the joins and without them, on rows as dirty as enforced keys leave them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

import pytest

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset, Hop, Owner
from gateway.sql.algebra import feeds
from gateway.sql.inference import paths
from gateway.sql.planning.plan import Plan
from gateway.sql.writing import rows
from tests.oracles import neighbours
from tests.oracles.clinic import CLINIC, KEYED_CLINIC
from tests.oracles.composed import composed
from tests.oracles.databases import Bases, duckdb_dataset
from tests.oracles.neighbours import Exact, exact
from tests.oracles.questions import plan, written
from tests.oracles.worlds import Data, World, generate, shuffled, units, without

PAIRED = (
    "SELECT COUNT(*), SUM(i.qty) FROM item i JOIN visit v ON i.visit_id = v.visit_id",
    "SELECT i.label, COUNT(*), SUM(v.cost) FROM visit v JOIN item i ON v.visit_id = i.visit_id AND v.cost > 10"
    " GROUP BY i.label",
    "SELECT COUNT(*) FROM item i, visit v, person p"
    " WHERE i.visit_id = v.visit_id AND v.person_id = p.person_id AND p.age > 18",
    "SELECT COUNT(*) FROM item i JOIN visit v ON (i.visit_id = v.visit_id AND v.cost > 90)"
    " OR (i.visit_id = v.visit_id AND i.qty > 1)",
    "SELECT SUM(q.qty) FROM (SELECT visit_id AS a, qty FROM item WHERE label = 'a') q"
    " JOIN (SELECT visit_id AS b FROM visit WHERE cost > 10) w ON q.a = w.b",
    "SELECT SUM(i.qty) FROM item i JOIN (SELECT visit_id, COUNT(*) AS n FROM visit GROUP BY visit_id) f"
    " ON f.visit_id = i.visit_id",
    "SELECT s.region, SUM(i.qty) FROM site s JOIN item i ON i.qty = s.site_id JOIN visit v ON v.visit_id = i.visit_id"
    " GROUP BY s.region",
    "SELECT COUNT(*) FROM (SELECT i.visit_id, s.beds FROM item i LEFT JOIN site s ON s.site_id = i.qty) q"
    " JOIN visit v ON v.visit_id = q.visit_id WHERE q.beds IS NULL",
    "SELECT COUNT(*) FROM item i JOIN (SELECT visit_id, ROW_NUMBER() OVER (PARTITION BY person_id ORDER BY cost) AS k"
    " FROM visit) v ON v.visit_id = i.visit_id WHERE v.k = 1",
    "SELECT COUNT(*) FROM visit v WHERE EXISTS (SELECT 1 FROM item i WHERE i.visit_id = v.visit_id AND i.qty > 1)",
    "SELECT COUNT(*) FROM visit v WHERE NOT EXISTS (SELECT 1 FROM item i WHERE i.visit_id = v.visit_id)",
    "SELECT COUNT(*) FROM visit v WHERE v.visit_id IN (SELECT i.visit_id FROM item i WHERE i.label = 'a')",
    "SELECT COUNT(*) FROM item i JOIN visit v ON i.visit_id = v.visit_id"
    " WHERE EXISTS (SELECT 1 FROM item j WHERE j.visit_id = i.visit_id AND j.qty <> i.qty)",
    "SELECT SUM((SELECT SUM(i.qty) FROM item i WHERE i.visit_id = v.visit_id)) FROM visit v",
    "SELECT COUNT(*) FROM visit v WHERE v.cost > 90 OR EXISTS (SELECT 1 FROM item i WHERE i.visit_id = v.visit_id)",
    "SELECT COUNT(*), SUM(i.qty) FROM visit v LEFT JOIN item i ON v.visit_id = i.visit_id AND i.qty > 1",
    "SELECT COUNT(*), SUM(f.n) FROM visit v LEFT JOIN (SELECT visit_id AS a, SUM(qty) AS n FROM item GROUP BY 1) f"
    " ON f.a = v.visit_id WHERE v.cost > 10",
    "SELECT SUM(f.n) FROM visit v JOIN (SELECT visit_id, label, SUM(qty) AS n FROM item GROUP BY visit_id, label) f"
    " ON f.visit_id = v.visit_id WHERE f.n > 1",
    "SELECT COUNT(*) FROM visit v WHERE v.visit_id IN"
    " (SELECT i.visit_id FROM item i GROUP BY i.visit_id HAVING SUM(i.qty) > 3)",
    "SELECT SUM((SELECT MAX(f.n) FROM (SELECT visit_id, COUNT(DISTINCT label) AS n FROM item GROUP BY visit_id) f"
    " WHERE f.visit_id = v.visit_id)) FROM visit v",
    "SELECT COUNT(*) FROM (SELECT v.visit_id, v.person_id, ROW_NUMBER() OVER (PARTITION BY v.person_id ORDER BY v.day)"
    " AS k, f.n FROM visit v LEFT JOIN (SELECT visit_id, SUM(qty) AS n FROM item GROUP BY visit_id) f"
    " ON f.visit_id = v.visit_id) q WHERE q.k = 1 AND q.n > 1",
)
"""Of each row of ``item`` the visit stands beside it, found by the very key that the owner path uses."""

APART = (
    "SELECT SUM(i.qty) FROM item i",
    "SELECT COUNT(*), COUNT(v.kind) FROM item i LEFT JOIN visit v ON v.visit_id = i.visit_id AND v.cost > 10",
    "SELECT COUNT(*) FROM person p LEFT JOIN visit v ON v.person_id = p.person_id AND v.cost > 10"
    " JOIN item i ON i.visit_id = v.visit_id",
    "SELECT COUNT(*) FROM item i WHERE EXISTS (SELECT 1 FROM visit v WHERE v.visit_id = i.visit_id AND v.cost > 90)",
    "SELECT COUNT(*) FROM visit v JOIN (SELECT visit_id, ROW_NUMBER() OVER (PARTITION BY visit_id ORDER BY qty) AS k"
    " FROM item) f ON f.visit_id = v.visit_id WHERE f.k = 1",
    "SELECT SUM((SELECT MAX(v.cost) FROM visit v WHERE v.visit_id = i.visit_id)) FROM item i",
)
"""The visit does not stand there, or may be missing where an outer join has none."""


def walks(sql: str, world: World) -> bool:
    """Whether the bounded SQL joins visits for the owners of items, whatever the question joins."""
    found = plan(written(sql), duckdb_dataset(world))
    return any(re.search(r"\bt\d+_1\b", release.sql) for release in found.statements)


@pytest.mark.parametrize("sql", PAIRED)
def test_a_path_that_the_question_walks_is_not_walked_again(sql: str) -> None:
    assert not walks(sql, KEYED_CLINIC)


@pytest.mark.parametrize("sql", [*PAIRED, *APART])
def test_a_key_that_is_declared_and_not_enforced_keeps_its_joins(sql: str) -> None:
    assert walks(sql, CLINIC)


@pytest.mark.parametrize("sql", APART)
def test_a_path_that_the_question_does_not_walk_keeps_its_joins(sql: str) -> None:
    assert walks(sql, KEYED_CLINIC)


def test_every_key_of_a_path_has_to_be_enforced() -> None:
    dataset = duckdb_dataset(KEYED_CLINIC)
    person, visit, item = (dataset.table(name) for name in ("person", "visit", "item"))
    assert person is not None
    assert visit is not None
    assert item is not None
    # an item's visit, that visit's person by a key that repeats, that person's own key
    last = Hop("person_id", "person", "city")
    further = replace(visit, owner=Owner((last,), "person_id"))
    longer = replace(item, owner=Owner((Hop("visit_id", "visit", "visit_id"), last), "person_id"))
    assert not paths._enforced(longer, dataset)  # visits go on otherwise here
    other = replace(dataset, tables=(person, further, longer))
    assert not paths._enforced(longer, other)
    enforced = replace(person, unique=person.unique | {frozenset({"city"})})
    assert paths._enforced(longer, replace(other, tables=(enforced, further, longer)))


def dirty(world: World, seed: int) -> Data:
    """Visits of nobody and of unknown people, items of no visit, one heavy owner; keys are unique where enforced."""
    return generate(world, Random(seed), 20, dirty=True, heavy=8)  # noqa: S311


def both_ways(sql: str, dataset: Dataset) -> tuple[Plan, Plan]:
    """A question's plan as it is, and with the joins of every owner path."""
    dialect = "duckdb" if dataset.dialect == "sqlite" else None
    short = plan(written(sql), dataset, dialect)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "walked", lambda *_: None)
        return short, plan(written(sql), dataset, dialect)


def differing(world: World, bases: Bases, *seeds: int, asked: Sequence[str] = PAIRED) -> list[str]:
    """The questions whose exact integers are other ones without the joins, or that a unit changes beyond its bound."""
    dataset, (first, second) = bases[world]
    found = []
    for seed in seeds:
        data, random = dirty(world, seed), Random(seed)  # noqa: S311
        unit = random.choice(units(world, data))
        first.fill(data)
        second.fill(shuffled(without(world, data, unit), random))

        def results(planned: Plan) -> list[Exact]:
            return [exact(release, first.fetch(release.sql)) for release in planned.statements]

        for sql in asked:
            short, long = both_ways(sql, dataset)
            if results(short) != results(long):
                found.append(sql)
            found += neighbours.compare(short, first.fetch, second.fetch, dataset)
    return found


@pytest.mark.parametrize("engine", ["duckdbs", "postgreses", "sqlites"])
def test_the_integers_are_those_with_the_joins(engine: str, request: pytest.FixtureRequest) -> None:
    assert differing(KEYED_CLINIC, request.getfixturevalue(engine), 1) == []


def test_without_enforced_keys_they_would_be_others_and_bounded_all_the_same(
    duckdbs: Bases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "leads_once", lambda *_: True)
    assert not walks(PAIRED[0], CLINIC)
    found = differing(CLINIC, duckdbs, 1)
    assert PAIRED[0] in found
    assert set(found) <= set(PAIRED)  # nothing of what a unit changes


@pytest.mark.audit
@pytest.mark.parametrize("engine", ["duckdbs", "postgreses", "sqlites"])
def test_the_integers_are_those_with_the_joins_at_length(engine: str, request: pytest.FixtureRequest) -> None:
    assert differing(KEYED_CLINIC, request.getfixturevalue(engine), *range(2, 12)) == []


def composed_paths(dataset: Dataset, seeds: range) -> Iterator[str]:
    """Questions of every kind in which some join of an owner path falls away."""
    for seed in seeds:
        sql = composed(KEYED_CLINIC, seed).text
        try:
            short, long = both_ways(sql, dataset)
        except SqlRefused:
            continue
        fed = [found for release in short.statements for found in feeds(release.release.source)]
        if not fed and [each.sql for each in short.statements] != [each.sql for each in long.statements]:
            yield sql


def test_questions_of_every_kind_have_the_integers_that_they_have_with_the_joins(duckdbs: Bases) -> None:
    asked = tuple(composed_paths(duckdbs[KEYED_CLINIC][0], range(20)))
    assert len(asked) > 1
    assert differing(KEYED_CLINIC, duckdbs, 3, asked=asked) == []


@pytest.mark.audit
@pytest.mark.parametrize("engine", ["duckdbs", "postgreses", "sqlites"])
def test_questions_of_every_kind_at_length(engine: str, request: pytest.FixtureRequest) -> None:
    bases = request.getfixturevalue(engine)
    asked = tuple(composed_paths(bases[KEYED_CLINIC][0], range(60, 360)))
    assert len(asked) > 10
    assert differing(KEYED_CLINIC, bases, 4, 5, asked=asked) == []
