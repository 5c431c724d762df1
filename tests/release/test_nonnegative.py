"""Numbers that cannot be negative, held at zero for who asks for it: they, their intervals, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.answers.compose import Answer, compose
from gateway.answers.nonnegative import WARNING
from gateway.sandbox import Sandbox
from tests.release.test_consistent import noisy, planned

ASKED = (
    "SELECT sex, COUNT(*) AS n, SUM(age) AS s, SUM(age - 50) AS d, COUNT(DISTINCT person_id) AS u, AVG(age) AS a,"
    " -1 * COUNT(*) AS m FROM person GROUP BY sex"
)
HELD, FREE = ("n", "s", "u"), ("d",)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    opened = Sandbox(memory=1 << 28, seconds=20)
    yield opened
    opened.close()


def answers(sandbox: Sandbox) -> tuple[list[dict[str, Any]], Answer, Answer]:
    """One answer as it is, its values by name, and the same held at zero; of nothing but noise, some of it negative."""
    found = planned(ASKED, epsilon=0.5)
    names = [column.name for column in found.query.columns]
    while True:
        tables = noisy(found)
        plain = compose(found, tables, sandbox, 0.95, 100)
        rows: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in plain.rows]
        if all(min(row[name] for row in rows) < 0 for name in (*HELD, *FREE)):
            return rows, plain, compose(found, tables, sandbox, 0.95, 100, non_negative=True)


def test_what_cannot_be_negative_is_held_at_zero(sandbox: Sandbox) -> None:
    rows, plain, held = answers(sandbox)
    assert WARNING in held.warnings
    assert WARNING not in plain.warnings
    names = ["sex", "n", "s", "d", "u", "a", "m"]
    for at, row in enumerate(rows):
        shown = dict(zip(names, held.rows[at], strict=True))
        for name in HELD:
            assert shown[name] == max(row[name], 0)
            before, after = plain.intervals[name][at], held.intervals[name][at]
            assert before is not None
            assert after == (max(before[0], 0), max(before[1], 0))
        for name in (*FREE, "a"):
            assert shown[name] == row[name]
            assert plain.intervals[name][at] == held.intervals[name][at]
        assert shown["m"] == -max(row["n"], 0)
        derived = held.intervals["m"][at]
        assert derived is not None
        assert derived[1] <= 1e-9


def test_unasked_nothing_is_held(sandbox: Sandbox) -> None:
    rows, _, _ = answers(sandbox)
    assert min(row["n"] for row in rows) < 0
