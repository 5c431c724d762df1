"""Values of different types side by side: whatever the rows hold, no engine raises, and the promise is kept."""

from __future__ import annotations

from random import Random

import pytest

from gateway.sandbox import Sandbox
from gateway.sql.explain import explain
from tests.oracles import neighbours
from tests.oracles.clinic import CLINIC
from tests.oracles.databases import Bases
from tests.oracles.questions import plan, written
from tests.oracles.worlds import EXTREMES, USERS, Data, World, generate, units, without

QUESTIONS: dict[World, tuple[str, ...]] = {
    EXTREMES: (
        "SELECT SUM(whole) FILTER (WHERE small > 0), SUM(wide) FILTER (WHERE small > 0) FROM edge",
        "SELECT SUM(CASE WHEN small > 0 THEN whole ELSE 0.5 END), COUNT(COALESCE(wide, whole, 1)) FROM edge",
        "SELECT COUNT(COALESCE(wide, 9000000000000000000)), SUM(COALESCE(huge, unsigned)) FROM edge",
        "SELECT SUM(COALESCE(small, -1)), SUM(COALESCE(unsigned, -1)) FROM edge",
        "SELECT COUNT(*) FROM edge a JOIN edge b ON a.who = b.who AND a.whole = b.wide AND a.huge = b.unsigned",
        "SELECT COUNT(*) FROM edge a JOIN edge b USING (who) WHERE a.wide <= b.whole AND a.loose = b.flat",
        "SELECT COUNT(*) FROM edge a WHERE a.whole IN (SELECT b.wide FROM edge b WHERE b.who = a.who)",
        "SELECT COUNT(*) FROM edge a WHERE a.small IN (SELECT b.loose FROM edge b WHERE b.who = a.who)",
        "SELECT COUNT(*) FROM (SELECT who FROM edge GROUP BY who HAVING MAX(whole) = MAX(wide)) q",
        "SELECT COUNT(q.a), COUNT(q.b) FROM (SELECT who, COALESCE(MAX(whole), MAX(wide)) AS a,"
        " COALESCE(MIN(whole), 0.5) AS b FROM edge GROUP BY who) q WHERE q.a <> q.b OR q.b IS NULL",
        "SELECT q.s, COUNT(*) FROM (SELECT who, SUM(huge) AS s, AVG(loose) AS l FROM edge GROUP BY who) q GROUP BY q.s",
        "SELECT q.m, COUNT(*) FROM (SELECT who, MIN(late) AS m, MAX(word) AS w FROM edge GROUP BY 1) q GROUP BY q.m",
        "SELECT COUNT(*), SUM(q.n) FROM (SELECT DISTINCT who, 7 AS n, 'x' AS t, NULL AS u FROM edge) q",
        "SELECT SUM(q.n) FROM (SELECT k, who, COUNT(*) AS n FROM (SELECT who, 3 AS k FROM edge) z GROUP BY k, who) q",
        "SELECT COUNT(q.l) FROM edge a LEFT JOIN (SELECT who, COALESCE(loose, 1) AS l, wide IS NULL AS w FROM edge"
        " WHERE late IS NOT NULL) q ON q.who = a.who AND q.l <= a.flat",
        "SELECT SUM(small + unsigned - 3), AVG(small * unsigned), SUM(huge / 7.0), SUM(whole * 1.5 - wide) FROM edge",
        "SELECT SUM(loose / flat), AVG(nought * loose), SUM(nought / NULLIF(flat, 2)),"
        " SUM(ABS(wide) - ABS(loose)) FROM edge",
        "SELECT SUM(ROUND(wide, 2)), SUM(FLOOR(loose)), SUM(CEIL(whole / 1e18)), SUM(ROUND(small, -1)) FROM edge",
        "SELECT SUM(LEAST(small, unsigned, 7)), SUM(GREATEST(LEAST(huge, 100), -100)),"
        " AVG(LEAST(wide, whole)) FROM edge",
        "SELECT AVG(SQRT(loose)), AVG(LN(wide)), AVG(POWER(loose, 3)), AVG(EXP(flat)), SUM(POWER(small, -2)) FROM edge",
        "SELECT FLOOR(small / 100.0), unsigned % 3, SIGN(huge), COUNT(*) FROM edge GROUP BY 1, 2, 3",
        "SELECT WIDTH_BUCKET(wide, -2, 2, 4), FLOOR(loose), COUNT(*) FROM edge GROUP BY 1, 2",
        "SELECT COUNT(*) FROM edge WHERE small * 2 > unsigned OR wide / loose < 1 OR NULLIF(nought, flat) IS NULL",
        "SELECT UPPER(word), LENGTH(word), COUNT(*) FROM edge GROUP BY 1, 2",
        "SELECT word || '-' || small AS k, COUNT(*) FROM edge WHERE word LIKE '%!%%' ESCAPE '!' OR word < 'b'"
        " GROUP BY 1",
        "SELECT YEAR(late), MONTH(late + INTERVAL '1' MONTH), COUNT(*) FROM edge GROUP BY 1, 2",
        "SELECT DATE_TRUNC('year', late), COUNT(*) FROM edge WHERE late - INTERVAL '3' DAY < '9999-12-30' GROUP BY 1",
        "SELECT SUM(GREATEST(LEAST(DATE '2020-01-01' - late, 9), 0)) FROM edge",
        "SELECT SUM(q.s), COUNT(q.m) FROM (SELECT who, SUM(small) OVER (PARTITION BY who ORDER BY late RANGE BETWEEN"
        " INTERVAL '30' DAY PRECEDING AND CURRENT ROW) AS s, MIN(huge) OVER (PARTITION BY who ORDER BY late DESC RANGE"
        " BETWEEN INTERVAL '1' WEEK FOLLOWING AND UNBOUNDED FOLLOWING) AS m FROM edge) q",
        "SELECT SUM(q.s / q.n) FROM (SELECT who, SUM(small) AS s, COUNT(*) AS n FROM edge GROUP BY who) q",
        "SELECT q.k, COUNT(*) FROM (SELECT who, small % 2 AS k, COUNT(*) AS n FROM edge"
        " GROUP BY who, small % 2) q GROUP BY q.k",
        "SELECT COUNT(*) FROM edge a JOIN edge b ON a.who = b.who AND a.small + 1 = b.unsigned * 2",
        "SELECT COUNT(CAST(word AS INTEGER)), COUNT(CAST(late AS VARCHAR)), SUM(CAST(loose AS BIGINT)) FROM edge",
    ),
    USERS: (
        'SELECT e.k0, COUNT(*), SUM(e.n) FROM event e JOIN login l ON e."user" = l."user" GROUP BY e.k0',
        'SELECT COUNT(*) FROM event e LEFT JOIN login l USING ("user") WHERE l.v0 IS NULL OR l.g = e.o',
        'SELECT COUNT(*) FROM login l WHERE l."user" NOT IN (SELECT "user" FROM event) AND l.v0 IS NOT NULL',
        'SELECT q.t, AVG(q.s) FROM (SELECT "user", "t ""0" AS t, SUM(n) AS s FROM event GROUP BY 1, 2) q GROUP BY q.t',
        'SELECT o, COUNT(*) FROM (SELECT "user", MIN(o) AS o FROM event GROUP BY "user") q GROUP BY o',
    ),
    CLINIC: (
        "SELECT COUNT(*) FROM visit v JOIN item i ON i.visit_id = v.visit_id WHERE v.part = i.whole OR v.cost > 1",
        "SELECT SUM(CASE WHEN i.qty > 1 THEN v.part ELSE i.whole END), AVG(COALESCE(i.whole, v.cost, i.qty))"
        " FROM visit v LEFT JOIN item i ON i.visit_id = v.visit_id",
        "SELECT v.day, COUNT(*) FROM visit v LEFT JOIN (SELECT w.person_id, MAX(w.day) AS day FROM visit w"
        " WHERE EXISTS (SELECT 1 FROM item i WHERE i.visit_id = w.visit_id) GROUP BY w.person_id) q"
        " ON q.person_id = v.person_id AND q.day >= v.day GROUP BY v.day",
    ),
}
CASES = [(world, sql) for world, some in QUESTIONS.items() for sql in some]
OFTEN = [
    pytest.param(world, sql, marks=[] if number % 3 == 0 else pytest.mark.audit)
    for number, (world, sql) in enumerate(CASES)
]
"""Each third of them is tried by every check, and all of them by the audit."""


def _rows(data: Data) -> int:
    return sum(map(len, data.values()))


def check(bases: Bases, world: World, sql: str, sandbox: Sandbox) -> None:
    """Ask of six databases, most of them dirty, and of each without one unit."""
    dataset, (first, second) = bases[world]
    planned = plan(written(sql), dataset)
    assert explain(planned).model_dump_json()
    for seed in range(3):
        random = Random(seed)  # noqa: S311 - fixed examples, not noise
        data = generate(world, random, 25, dirty=seed > 0, heavy=6 * seed)
        first.fill(data)
        second.fill(min((without(world, data, unit) for unit in units(world, data)), key=_rows, default=data))
        assert neighbours.compare(planned, first.fetch, second.fetch) == []
        neighbours.answered(planned, first.fetch, sandbox)


@pytest.mark.parametrize(("world", "sql"), OFTEN)
def test_duckdb(duckdbs: Bases, world: World, sql: str, sandbox: Sandbox) -> None:
    check(duckdbs, world, sql, sandbox)


@pytest.mark.audit
@pytest.mark.parametrize(("world", "sql"), CASES)
def test_postgres(postgreses: Bases, world: World, sql: str, sandbox: Sandbox) -> None:
    check(postgreses, world, sql, sandbox)
