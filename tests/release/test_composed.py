"""What is told of stored tables is kept: of these very tables, as it was asked, and of no others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from gateway.answers import compose as composing
from gateway.answers.compose import SMALL, compose, composed
from gateway.noisy import NoisyTable
from gateway.sandbox import Sandbox, SandboxFailed
from tests.release.test_consistent import noisy, planned

ASKED = "SELECT sex, COUNT(*) AS n, SUM(age - 50) AS d FROM person GROUP BY sex"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    opened = Sandbox(memory=1 << 28, seconds=20)
    yield opened
    opened.close()


def test_what_is_told_is_computed_once_for_these_tables_and_this_question(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = planned(ASKED, epsilon=0.5)
    tables, others = (tuple(noisy(found)) for _ in range(2))
    computed: list[tuple[Any, ...]] = []

    def counted(*asked: Any) -> composing.Answer:
        computed.append(asked)
        return compose(*asked)

    monkeypatch.setattr(composing, "compose", counted)
    for way in ((0.95, 100), (0.9, 100), (0.95, 1), (0.95, 100, (), True), (0.95, 100)):
        for stored in (tables, others, tables):
            assert composed(found, stored, sandbox, *way) == compose(found, stored, sandbox, *way)
    assert len(computed) == 8
    assert composed(found, tables, sandbox, 0.9, 100).rows != composed(found, others, sandbox, 0.9, 100).rows
    # the same numbers in another table are computed, and public rows are read as they are now
    composed(found, (*tables,)[:1] + tables[1:], sandbox, 0.95, 100)
    for _ in range(2):
        composed(found, tables, sandbox, 0.95, 100, [pa.table({"x": [1]})])
    assert len(computed) == 11


def test_large_answers_are_not_kept(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    found = planned("SELECT age, COUNT(*) AS n FROM person GROUP BY age", epsilon=0.5)
    tables = (NoisyTable(tuple((age,) for age in range(SMALL + 1)), ((7,),) * (SMALL + 1)),)
    computed: list[int] = []
    monkeypatch.setattr(composing, "compose", lambda *asked: computed.append(len(asked)))
    composed(found, tables, sandbox, 0.95, 1000)
    composed(found, tables, sandbox, 0.95, 1000)
    assert len(computed) == 2


def test_an_answer_that_lacks_an_interval_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    found = planned("SELECT SQRT(COUNT(*)) AS r FROM person", epsilon=0.5)
    tables, sandbox = tuple(noisy(found)), Sandbox(memory=1 << 28, seconds=20)

    def busy(sql: str, tables: Any) -> pa.Table:
        if len(next(iter(tables.values()))) > 1:  # the answer as it may have come otherwise
            raise SandboxFailed("too slow")
        return Sandbox.run(sandbox, sql, tables)

    with monkeypatch.context() as patched:
        patched.setattr(sandbox, "run", busy)
        assert composed(found, tables, sandbox, 0.95, 100).intervals == {}
    assert composed(found, tables, sandbox, 0.95, 100).intervals.keys() == {"r"}
    sandbox.close()
