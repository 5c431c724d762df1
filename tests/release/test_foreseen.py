"""Noise that is drawn while the engine works: the same that would be drawn after it, each number once and used once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import Any, NoReturn

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import execution as executing
from gateway import release as releasing
from gateway.engines.base import EngineError
from gateway.engines.duckdb import DuckdbSession
from gateway.errors import ExecutionFailed, SqlRefused
from gateway.execution import FEW, _foreseen
from gateway.noisy import NoisyTable
from gateway.policy.model import Dataset
from gateway.release import Foreseen, foresee, release
from gateway.sql.planning.groups import every
from gateway.sql.planning.plan import PlannedRelease
from mechanisms.noise import Noise, Selection
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import Asked, plan, questions, release_of, written
from tests.oracles.worlds import LOOSE_PEOPLE
from tests.reuse.world import PEOPLE, World, world
from tests.sql.shop import SHOP

PUBLIC = (
    "SELECT COUNT(*) FROM users",
    "SELECT status, COUNT(*) FROM orders GROUP BY status",
    "SELECT COUNT(DISTINCT user_id), AVG(amount), VAR_POP(amount) FROM orders",
    "SELECT status, COUNT(*), SUM(amount), COUNT(DISTINCT user_id) FROM orders GROUP BY status",
    "SELECT status, COUNT(*), COUNT(DISTINCT channel), COUNT(DISTINCT day) FROM orders GROUP BY status",
    "SELECT status, SUM(amount), MEDIAN(amount), MAX(amount), COUNT(DISTINCT channel) FROM orders GROUP BY status",
    "SELECT city, MEDIAN(income) FROM users GROUP BY city",
    "SELECT city, age, COUNT(*), AVG(income) FROM users GROUP BY city, age",
    "SELECT city, status, COUNT(*), SUM(amount) FROM users u JOIN orders o ON u.id = o.user_id"
    " WHERE (city = 'Ulm' AND status = 'open') OR (city = 'Bonn' AND status = 'paid') GROUP BY city, status",
)

LEAST = 10**9
"""The first number that is drawn: no bucket is as large."""


@dataclass
class Numbered:
    """Stands where noise is drawn: numbers that never come again, and what was asked for; picks are numbered apart."""

    numbers: Iterator[int] = field(default_factory=lambda: count(LEAST))
    drawn: list[int] = field(default_factory=list)
    asked: list[tuple[Noise, int]] = field(default_factory=list)
    picked: int = 0

    def draw(self, noise: Noise, number: int) -> list[int]:
        found = [next(self.numbers) for _ in range(number)]
        self.drawn += found
        self.asked.append((noise, number))
        return found

    def select(self, _selection: Selection, penalties: Sequence[int]) -> int:
        self.picked += 1
        return (self.picked + sum(penalties)) % len(penalties)


@pytest.fixture(scope="module")
def shop() -> Dataset:
    return duckdb_dataset(SHOP)


@pytest.fixture(scope="module")
def loose() -> Dataset:
    return duckdb_dataset(LOOSE_PEOPLE)


def numbered(patch: pytest.MonkeyPatch) -> Numbered:
    """Number all noise from its beginning."""
    found = Numbered()
    patch.setattr(releasing, "draw", found.draw)
    patch.setattr(releasing, "select", found.select)
    return found


def returned(planned: PlannedRelease, random: Random | None) -> list[pa.Table]:
    """What an engine might return for each statement: integers of some of the groups; of none without ``random``."""
    return [_returned(statement, random) for statement in planned.statements]


def _returned(planned: PlannedRelease, random: Random | None) -> pa.Table:
    groups = every(planned.keys, planned.joint)
    labels = [key.label for key in planned.keys]
    if planned.histogram is not None:
        groups = [(*group, bucket) for group in groups for bucket in (0, 3)]
        labels.append(planned.histogram.label)
    some = [] if random is None else random.sample(groups, random.randint(0, len(groups)))
    columns = dict(zip(labels, zip(*some, strict=True) if some else [()] * len(labels), strict=True))
    for measure in planned.measures:
        columns[measure.name] = tuple(0 if random is None else random.randint(-9, 9) for _ in some)
    if planned.clipped is not None:
        columns["c0"] = (0,) * len(some)
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def check(planned: PlannedRelease, random: Random) -> None:
    """What is foreseen changes nothing, is not drawn again, and each number that was drawn stands in the table once."""
    for tables in (returned(planned, random), returned(planned, None)):
        with pytest.MonkeyPatch.context() as patch:
            afterwards = numbered(patch)
            expected = release(planned, *tables)
        with pytest.MonkeyPatch.context() as patch:
            beforehand = numbered(patch)
            found = foresee(planned)
            assert found is not None
            already = len(beforehand.drawn)
            assert release(planned, *tables, foreseen=found) == expected
        assert beforehand.asked == afterwards.asked
        assert beforehand.picked == afterwards.picked
        assert len(beforehand.drawn) - already == (planned.clipped is not None)
    # Without rows nothing was added to any number.
    assert _numbers(planned, expected) == beforehand.drawn


def _numbers(planned: PlannedRelease, table: NoisyTable) -> list[int]:
    """The numbers of a table that are no buckets, in order."""
    assert all(len(row) == len(planned.integers) for row in table.measures)
    found = [number for row in table.measures for number in row if number >= LEAST]
    return sorted(found + ([] if table.clipped is None else [table.clipped]))


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
@pytest.mark.parametrize("sql", PUBLIC)
def test_what_is_foreseen_changes_nothing(sql: str, mechanism: str, shop: Dataset) -> None:
    planned = release_of(sql, shop, "laplace" if mechanism == "laplace" else "gaussian")
    check(planned, Random(sql))  # noqa: S311 - examples, not noise


def test_who_is_weighted_down_is_counted_apart(shop: Dataset) -> None:
    [planned] = plan(replace(written(PUBLIC[3]), counted=True), shop).releases
    assert planned.clipped is not None
    check(planned, Random(0))  # noqa: S311 - examples, not noise


def test_the_examples_are_of_every_kind(shop: Dataset) -> None:
    found = [release_of(sql, shop) for sql in PUBLIC]
    assert any(len(planned.blocks) > 1 for planned in found)
    assert any(len(planned.statements) > 2 for planned in found)
    assert any(planned.joint for planned in found)
    assert any(not planned.blocks for planned in found)
    assert any(len({part.histogram is None for part in planned.statements}) == 2 for planned in found)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(asked=questions(SHOP), random=st.randoms(use_true_random=False))
def test_whatever_is_asked(asked: Asked, random: Random, shop: Dataset) -> None:
    try:
        releases = plan(asked, shop).releases
    except SqlRefused:
        return
    for planned in releases:
        if planned.public and planned.clip is None:
            check(planned, random)
        else:
            assert foresee(planned) is None


def test_what_the_integers_decide_is_not_foreseen(shop: Dataset, loose: Dataset) -> None:
    hidden = release_of("SELECT channel, COUNT(*) FROM orders GROUP BY channel", shop)
    chosen = release_of("SELECT COUNT(*) FROM visit", loose)
    assert hidden.threshold is not None
    assert chosen.public
    assert chosen.clip is not None
    assert (foresee(hidden), foresee(chosen)) == (None, None)


# --- while the engine works


@pytest.fixture
def drawing() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
def many(shop: Dataset) -> PlannedRelease:
    found = release_of(f"SELECT age, COUNT(*) FROM users WHERE age <= {FEW} GROUP BY age", shop)
    assert len(every(found.keys, found.joint)) == FEW + 1
    return found


def test_many_groups_are_drawn_for_while_the_block_runs(
    many: PlannedRelease, drawing: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def told(planned: PlannedRelease) -> Foreseen | None:
        begun.set()
        return foresee(planned)

    monkeypatch.setattr(executing, "foresee", told)
    with _foreseen(drawing, many) as foreseen:
        assert begun.wait(10)
    found = foreseen()
    assert found is not None
    assert len(found.keys) == FEW + 1


def test_what_nobody_has_begun_to_draw_when_the_engine_has_answered_is_not_foreseen(
    many: PlannedRelease, drawing: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[PlannedRelease] = []
    monkeypatch.setattr(executing, "foresee", asked.append)
    answered = threading.Event()
    drawing.submit(answered.wait, 10)
    with _foreseen(drawing, many) as foreseen:
        pass
    answered.set()
    drawing.shutdown()
    assert (foreseen(), asked) == (None, [])


def test_few_groups_and_private_ones_are_not_foreseen(
    shop: Dataset, loose: Dataset, drawing: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(planned: PlannedRelease) -> Foreseen | None:
        raise AssertionError(planned)

    few = release_of(f"SELECT age, COUNT(*) FROM users WHERE age < {FEW} GROUP BY age", shop)
    assert len(every(few.keys, few.joint)) == FEW
    hidden = release_of("SELECT channel, COUNT(*) FROM orders GROUP BY channel", shop)
    monkeypatch.setattr(executing, "foresee", never)
    for planned in (few, hidden, release_of("SELECT COUNT(*) FROM visit", loose)):
        with _foreseen(drawing, planned) as foreseen:
            assert foreseen() is None


def test_noise_that_cannot_be_drawn_is_an_error(
    many: PlannedRelease, drawing: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def broken(_noise: Noise, _number: int) -> list[int]:
        begun.set()
        raise ValueError("no noise")

    monkeypatch.setattr(releasing, "draw", broken)
    with _foreseen(drawing, many) as foreseen:
        assert begun.wait(10)
    with pytest.raises(ValueError, match="no noise"):
        foreseen()


def _torn(begun: threading.Event) -> NoReturn:
    """What an engine does that fails when noise has begun to be drawn."""
    assert begun.wait(10)
    raise EngineError("torn")


def test_who_draws_is_waited_for_where_the_engine_fails(
    many: PlannedRelease, drawing: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()
    ended: list[PlannedRelease] = []

    def slowly(planned: PlannedRelease) -> Foreseen | None:
        begun.set()
        time.sleep(0.05)
        ended.append(planned)
        return None

    monkeypatch.setattr(executing, "foresee", slowly)
    with pytest.raises(EngineError, match="torn"), _foreseen(drawing, many):
        _torn(begun)
    assert ended == [many]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("foreseen")) as made:
        yield made


QUESTION = "SELECT age, COUNT(*) AS n FROM person GROUP BY age"


def test_a_failing_engine_leaves_nobody_drawing_and_nothing_released(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()
    foretold: list[Foreseen | None] = []
    released: list[PlannedRelease] = []

    def told(planned: PlannedRelease) -> Foreseen | None:
        begun.set()
        foretold.append(foresee(planned))
        return foretold[-1]

    def fetch(_session: DuckdbSession, _sql: str) -> pa.Table:
        _torn(begun)

    monkeypatch.setattr(executing, "foresee", told)
    monkeypatch.setattr(executing, "release", lambda planned, *_tables, **_more: released.append(planned))
    monkeypatch.setattr(DuckdbSession, "fetch", fetch)
    with pytest.raises(ExecutionFailed):
        here.ask(QUESTION, analyst="eve")
    assert [found is not None for found in foretold] == [True]
    assert released == []


@pytest.mark.parametrize("foreseen", [True, False])
def test_an_answer_is_the_noise_of_one_draw(here: World, foreseen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it was drawn beforehand or not, what is answered differs from the truth by each number once."""
    if not foreseen:
        without: AbstractContextManager[object] = nullcontext(lambda: None)
        monkeypatch.setattr(executing, "_foreseen", lambda _drawing, _planned: without)
    noise = numbered(monkeypatch)
    found = here.ask(QUESTION, analyst="bob", use_cache=False)
    exact = {20 + age: PEOPLE // 60 for age in range(60)}
    rows: list[list[Any]] = found.rows
    assert sorted(number - exact.get(age, 0) for age, number in rows) == noise.drawn
    assert len(noise.drawn) == 112  # ages from 0 to 110, and none
