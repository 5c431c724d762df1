"""Whether a row has a value, asked of the value where PostgreSQL would compute its integer again: as it would be."""

from __future__ import annotations

from random import Random

import pytest

from gateway.sql.writing import rewrite
from tests.oracles.databases import Bases
from tests.oracles.neighbours import exact
from tests.oracles.questions import plan, written
from tests.oracles.worlds import KEYED_PEOPLE, generate

ASKED = (
    "SELECT sex, COUNT(*), COUNT(income), SUM(income), AVG(income) FROM person GROUP BY sex",
    "SELECT COUNT(income), COUNT(age), AVG(age), VAR_POP(income), COUNT(city) FROM person",
    "SELECT AVG(vast), COUNT(vast), SUM(income * 2), AVG(income + age), COUNT(born) FROM person",
    "SELECT AVG(LN(income)), COUNT(LN(income)), AVG(age / tiny), CORR(age, income) FROM person",
    "SELECT AVG(tiny), SUM(CASE WHEN ok THEN income END), AVG(CAST(vast AS DOUBLE)) FROM person",
)
"""One row a person; NaN, infinities, NULL and values far outside their bounds in every column."""


@pytest.mark.parametrize("sql", ASKED)
def test_a_row_counts_where_it_has_an_integer(sql: str, postgreses: Bases, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, (base, _) = postgreses[KEYED_PEOPLE]
    [beside] = plan(written(sql), dataset).statements
    monkeypatch.setattr(rewrite, "_beside", lambda *_: False)
    [within] = plan(written(sql), dataset).statements
    assert "AS pv0" in beside.sql
    assert "AS pv0" not in within.sql
    for seed in range(2):
        base.fill(generate(KEYED_PEOPLE, Random(seed), 60, dirty=True))  # noqa: S311
        assert exact(beside, base.fetch(beside.sql)) == exact(within, base.fetch(within.sql))


def test_nan_would_count_without_having_one(postgreses: Bases, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, (base, _) = postgreses[KEYED_PEOPLE]
    [within] = plan(written(ASKED[0]), dataset).statements
    monkeypatch.setattr(rewrite, "_present", lambda value, *_: f"x{value.name}")
    [beside] = plan(written(ASKED[0]), dataset).statements
    base.fill(generate(KEYED_PEOPLE, Random(0), 60, dirty=True))  # noqa: S311
    assert exact(beside, base.fetch(beside.sql)) != exact(within, base.fetch(within.sql))
