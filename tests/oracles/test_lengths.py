"""Bounds on the length of an owner's vector: chosen for Gaussian noise, kept by everybody, no cut of who spreads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isqrt
from random import Random

import pytest

from gateway.release import release
from gateway.sql.planning.plan import PlannedRelease
from gateway.sql.writing.dialects.postgres import PostgresWriter
from gateway.sql.writing.dialects.writer import Writer
from tests.oracles import neighbours
from tests.oracles.databases import Bases, DuckdbDatabase, duckdb_dataset
from tests.oracles.questions import Mechanism, plan, release_of, written
from tests.oracles.test_clip_mutations import rewritten
from tests.oracles.worlds import LOOSE_PEOPLE, Col, Data, Tab, World, generate, units, without

QUESTIONS = (
    "SELECT label, COUNT(*) FROM item GROUP BY label",
    "SELECT kind, SUM(cost) FROM visit WHERE kind IN ('x', 'y') GROUP BY kind",
    "SELECT kind, COUNT(DISTINCT person_id), SUM(size), COUNT(score) FROM visit GROUP BY kind",
    "SELECT COUNT(*), VAR_POP(cost), SUM(qty) FROM visit JOIN item ON item.visit_id = visit.visit_id",
    "SELECT label, SUM(far) FROM item GROUP BY label",
)

SPREAD = World(
    "spread",
    "{key: who}",
    (
        Tab(
            "stay",
            (
                Col("who", "integer", "BIGINT", "bigint", (1, 2, 3)),
                Col("day", "integer", "INTEGER", "integer", (1, 2), (), "lower: 1, upper: 30"),
                Col("cost", "integer", "BIGINT", "bigint", (5,), (), "lower: 0, upper: 100"),
            ),
            "who",
            policy="owner: who",
        ),
    ),
)


def planned_of(sql: str, mechanism: Mechanism = "gaussian", world: World = LOOSE_PEOPLE) -> PlannedRelease:
    found = release_of(sql, duckdb_dataset(world), mechanism)
    assert found.clip is not None
    return found


def test_what_is_bounded_by_its_length() -> None:
    def norm(sql: str, mechanism: Mechanism = "gaussian") -> str:
        clip = planned_of(sql, mechanism).clip
        assert clip is not None
        return clip.norm

    assert [norm(sql) for sql in QUESTIONS] == ["rows_l2", "values_l2", "rows_l2", "rows_l2", "values_l2"]
    assert [norm(sql, "laplace") for sql in QUESTIONS] == ["rows", "values", "rows", "rows", "values"]
    assert norm("SELECT COUNT(*) FROM visit") == "rows"
    assert norm("SELECT SUM(cost) FROM visit") == "values"


def test_the_first_bound_is_one_row_where_rows_are_counted() -> None:
    for planned in (planned_of(QUESTIONS[0]), planned_of(QUESTIONS[2])):
        clip = planned.clip
        assert clip is not None
        assert clip.bounds[0] * clip.unit == 1
        [scaled] = [block for block in planned.at(0).blocks if block.measures[0].cell is not None]
        assert (scaled.linf, scaled.l2_squared) == (clip.first, clip.first**2)


@pytest.fixture
def spread() -> Iterator[DuckdbDatabase]:
    base = DuckdbDatabase(SPREAD)
    yield base
    base.close()


@pytest.mark.parametrize(("mechanism", "rows"), [("laplace", 16), ("gaussian", 4)])
def test_sixteen_rows_in_as_many_groups_are_as_long_as_four_in_one(
    mechanism: Mechanism, rows: int, spread: DuckdbDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread.fill({"stay": [(who, day, 5) for who in range(1, 21) for day in range(1, 17)]})
    planned = planned_of("SELECT day, COUNT(*) FROM stay GROUP BY day", mechanism, SPREAD)
    neighbours.quiet(monkeypatch)
    drawn = release(planned, spread.fetch(planned.sql))
    assert planned.clip is not None
    assert drawn.clip is not None
    assert planned.clip.bounds[drawn.clip] * planned.clip.unit == rows
    assert [count for (count,) in drawn.measures] == [4096 * 20] * 16 + [0] * 15


def found_by_neighbours(duckdbs: Bases, sqls: tuple[str, ...]) -> list[str]:
    """What the first oracle says of dirty examples with a heavy owner."""
    found: list[str] = []
    dataset, (first, second) = duckdbs[LOOSE_PEOPLE]
    for data, left in _neighbours():
        first.fill(data)
        second.fill({name: rows[::-1] for name, rows in left.items()})
        for sql in sqls:
            found += neighbours.compare(plan(written(sql, "gaussian"), dataset), first.fetch, second.fetch)
    return found


def _neighbours() -> Iterator[tuple[Data, Data]]:
    data = generate(LOOSE_PEOPLE, Random(4), 40, dirty=True, heavy=60)  # noqa: S311 - fixed examples, not noise
    every = [without(LOOSE_PEOPLE, data, unit) for unit in units(LOOSE_PEOPLE, data)]
    for left in sorted(every, key=lambda left: sum(map(len, left.values())))[:1]:
        yield data, left


def test_nobody_changes_more_than_a_length(duckdbs: Bases) -> None:
    assert found_by_neighbours(duckdbs, QUESTIONS) == []


def each_group_for_itself(patch: pytest.MonkeyPatch) -> None:
    square = "CAST(m0 AS HUGEINT) * CAST(m0 AS HUGEINT)"
    rewritten(patch, (f"SUM({square}) OVER (PARTITION BY o) AS q", f"{square} AS q"))


def one_number_left_out(patch: pytest.MonkeyPatch) -> None:
    rewritten(patch, ("CAST(m1 AS HUGEINT) * CAST(m1 AS HUGEINT)", "0"))


def half_the_root(patch: pytest.MonkeyPatch) -> None:
    honest = Writer.root
    patch.setattr(Writer, "root", lambda self, whole: f"({honest(self, whole)}) // 2")


Mutation = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize("mutation", [each_group_for_itself, one_number_left_out, half_the_root])
def test_neighbours_find(mutation: Mutation, duckdbs: Bases, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    assert any("is declared" in found for found in found_by_neighbours(duckdbs, QUESTIONS[:3]))


WHOLES = [0, 1, 2, 3, 4096**2, 2**50, 2**50 + 1, (2**31 - 1) ** 2, 10**18 + 1, 2**100, 2**100 + 1, 2**126 - 1]
WHOLES += [root**2 + off for root in (3**20, 10**15 + 7, 2**60 + 12345) for off in (-1, 0, 1)]


def _ceiling(whole: int) -> int:
    root = isqrt(whole)
    return root + (root * root < whole)


def test_a_root_is_never_too_small(spread: DuckdbDatabase) -> None:
    values = ", ".join(f"(CAST({whole} AS HUGEINT))" for whole in WHOLES)
    table = spread.fetch(f"SELECT q, {Writer().root('q')} AS t FROM (VALUES {values}) AS v(q)")
    roots = {int(str(row["q"])): int(str(row["t"])) for row in table.to_pylist()}
    assert len(roots) == len(set(WHOLES))
    for whole, root in roots.items():
        assert _ceiling(whole) <= root <= _ceiling(whole) * (1 + 2**-49)
        assert root == _ceiling(whole) or whole > 2**97


def test_a_root_is_never_too_small_on_postgresql(postgreses: Bases) -> None:
    _, (base, _) = postgreses[LOOSE_PEOPLE]
    values = ", ".join(f"(CAST({whole} AS NUMERIC))" for whole in WHOLES)
    found = base.fetch(f"SELECT {PostgresWriter().root('q')} AS t FROM (VALUES {values}) AS v(q)")
    assert [int(str(root)) for root in found.column("t").to_pylist()] == [_ceiling(whole) for whole in WHOLES]
