"""What SQLite has no word for, beside DuckDB's own: EXCEPT ALL, INTERSECT ALL, pairs of values, QUALIFY."""

from __future__ import annotations

from random import Random

import pytest

from gateway.sandbox import Sandbox
from tests.oracles import neighbours
from tests.oracles.clinic import CLINIC, tidy
from tests.oracles.databases import Bases
from tests.oracles.questions import plan, written
from tests.oracles.test_infinite import shown

LEFT = "SELECT v.person_id, v.kind FROM visit v WHERE v.cost < 50 OR v.kind IS NULL"
RIGHT = "SELECT w.person_id, w.kind FROM visit w WHERE w.cost > 20"
ONES = "SELECT v.person_id, 1 AS k FROM visit v"
PEOPLE = "SELECT p.person_id, 1 FROM person p"
THERE = "SELECT COUNT(*) FROM visit v WHERE v.kind IS NOT NULL AND v.site_id IS NOT NULL"

QUESTIONS = {
    f"SELECT COUNT(*) FROM ({left} {word} {right}) AS q": None
    for word in ("EXCEPT ALL", "INTERSECT ALL")
    for left, right in ((LEFT, RIGHT), (RIGHT, LEFT), (ONES, PEOPLE), (PEOPLE, ONES))
} | {
    "SELECT SUM(q.n) FROM (SELECT v.person_id, COUNT(DISTINCT v.kind, v.day) AS n FROM visit v GROUP BY 1) AS q": (
        "SELECT SUM(q.n) FROM (SELECT v.person_id, COUNT(DISTINCT (v.kind, v.day))"
        " FILTER (WHERE v.kind IS NOT NULL AND v.day IS NOT NULL) AS n FROM visit v GROUP BY 1) AS q"
    ),
    "SELECT SUM(n) FROM (SELECT v.kind, COUNT(*) AS n FROM visit v WHERE v.cost > 9 GROUP BY v.kind"
    " QUALIFY RANK() OVER (ORDER BY n DESC) <= 1) AS t": None,
    "SELECT COUNT(DISTINCT v.kind, v.site_id) FROM visit v": (
        "SELECT COUNT(DISTINCT (v.kind, v.site_id)) FROM visit v WHERE v.kind IS NOT NULL AND v.site_id IS NOT NULL"
    ),
    "SELECT COUNT(*) FROM visit v WHERE (v.kind, v.site_id) IN (('x', 1), ('y', 2))": None,
    # of NULLs DuckDB's rows are equal or not, where SQL's are neither
    f"{THERE} AND (v.kind, v.site_id) NOT IN (('x', 1), ('y', 2))": None,
    f"{THERE} AND (v.kind, v.site_id) <> ('x', 1) AND v.kind = ANY(['x', 'y'])": None,
}


@pytest.mark.parametrize(("asked", "naive"), QUESTIONS.items(), ids=range(len(QUESTIONS)))
def test_the_answer_is_that_of_the_database(
    asked: str, naive: str | None, duckdbs: Bases, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbours.quiet(monkeypatch)
    dataset, (base, _) = duckdbs[CLINIC]
    seen = set()
    for seed in range(6):
        base.fill(tidy(CLINIC, Random(seed), 25))  # noqa: S311 - fixed examples, not noise
        [expected] = base.fetch(naive or asked).column(0).to_pylist()
        planned = plan(written(asked, groups=1000), dataset)
        [[got]] = shown(planned, base.fetch, sandbox, dataset)
        assert got == pytest.approx(float(expected or 0), abs=0.01)
        seen.add(expected)
    assert len(seen) > 1
