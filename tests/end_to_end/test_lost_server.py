"""A PostgreSQL server that hangs or cuts the line mid-query, and tables that change after ``apply``.

Analysts are told the same words each time, admins what happened. What was handed to the server stays charged and
suspends, since how a statement ends may hang on data; where the catalogue is not as it was, nothing was handed over and
nothing stays spent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.end_to_end.home import Home, make_home, problem, serving

POLICY = """
dataset: health
engine: {engine}
privacy_unit: {{key: person_id}}
tables:
  visit:
    owner: person_id
    max_rows_per_unit: 3
    columns: {{kind: {{type: text, values: [x, y]}}, cost: {{type: integer, lower: 0, upper: 9}}}}
  slow:
    row_wise_view: true
    owner: person_id
    max_rows_per_unit: 3
    columns: {{kind: {{type: text, values: [x, y]}}}}
budget: {{epsilon: 1000, delta: 1e-6}}
per_query: {{max_epsilon: 100, delta: 1e-9}}
"""
SCHEMA = """
CREATE TABLE visit (person_id bigint, kind text COLLATE "C", cost integer);
INSERT INTO visit SELECT i / 2, CASE i % 2 WHEN 0 THEN 'x' ELSE 'y' END, i % 10 FROM generate_series(0, 999) AS i;
CREATE VIEW slow AS SELECT person_id, kind FROM visit, (SELECT pg_sleep(60)) AS s;
"""
COUNT = "SELECT kind, COUNT(*) AS n FROM visit GROUP BY kind"
SLOW = "SELECT kind, COUNT(*) AS n FROM slow GROUP BY kind"


@pytest.fixture
def home(tmp_path: Path, postgres_url: str) -> Iterator[Home]:
    """A gateway over a database of its own, which a statement may use for four seconds."""
    made = make_home(tmp_path)
    made.settings["DISCREET_STATEMENT_SECONDS"] = "4"
    role = f"clinic_{urlsplit(postgres_url).path[1:]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
        connection.execute(f"CREATE ROLE {role} LOGIN".encode())
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}".encode())
    made.apply(POLICY.format(engine=urlunsplit(urlsplit(postgres_url)._replace(netloc=f"{role}@"))))
    for name in ("ada", "bob"):
        made.grant(name, 100)
    with serving(made):
        yield made
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}".encode())


def ask(home: Home, sql: str, name: str = "ada") -> dict[str, object]:
    with home.http() as http:
        body = {"sql": sql, "dataset": "health", "epsilon": 50}
        response = http.post("/v1/query", json=body, headers=home.bearer(name))
    found: dict[str, object] = response.json()
    if response.is_success:
        return found
    return problem(response, response.status_code, str(found["code"]))


def cut(url: str) -> None:
    """Cut the line of whoever runs the slow statement, as a server does that is shut down at once."""
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(200):
            sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            if connection.execute(sql).fetchall():
                return
            time.sleep(0.05)


def test_a_server_that_hangs_and_one_that_cuts_the_line(home: Home, postgres_url: str) -> None:
    """Both fail in the same words, at the price that was charged, and are told apart in the admin's log alone."""
    hung = ask(home, SLOW)
    cutting = threading.Thread(target=cut, args=(postgres_url,))
    cutting.start()
    lost = ask(home, SLOW, "bob")
    cutting.join()
    same = {name: hung[name] for name in ("code", "title", "status", "detail", "charged")}
    assert same == {name: lost[name] for name in same}
    assert (hung["code"], hung["charged"]) == ("execution-failed", True)
    assert home.spent("ada") == home.spent("bob") == 50
    assert ask(home, COUNT)["code"] == ask(home, COUNT, "bob")["code"] == "suspended"
    told = " ".join(line.get("exception", "") for line in home.lines("discreet.query"))
    assert "time limit" in told
    assert "terminating connection" in told


def test_tables_that_are_no_longer_as_they_were(home: Home, postgres_url: str) -> None:
    changes = (
        "ALTER TABLE visit RENAME TO elsewhere",
        "ALTER TABLE elsewhere RENAME TO visit; DROP VIEW slow; ALTER TABLE visit ALTER cost TYPE numeric(5, 1)",
        "ALTER TABLE visit ALTER cost TYPE integer; ALTER TABLE visit DROP COLUMN kind",
    )
    assert "rows" in ask(home, COUNT)
    for number, statements in enumerate(changes):
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(statements.encode())
        # another question each time, since a stored answer needs no database
        assert ask(home, f"SELECT SUM(cost) AS s FROM visit WHERE cost > {number}")["code"] == "engine-unavailable"
        assert home.spent("ada") == 50, "what was not handed to the server is taken back"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(b'ALTER TABLE visit ADD COLUMN kind text COLLATE "C"')
    assert ask(home, "SELECT SUM(cost) AS s FROM visit")["code"] == "engine-unavailable", "in another place than before"
    with home.http() as http:
        assert http.get("/v1/budget", headers=home.bearer("ada")).json()[0]["suspended"] is False
