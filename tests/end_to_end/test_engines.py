"""Datasets on files of SQLite and DuckDB and on a folder of Parquet files, from the policy to the answer."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb

from tests.end_to_end.home import make_home, problem, serving

POLICY = """
dataset: {name}
engine: {engine}
privacy_unit: {{table: person, key: person_id}}
tables:
  person: {{columns: {{age: {{type: integer, lower: 0, upper: 110}}}}}}
  visit:
    owner: {{person_id: person.person_id}}
    max_rows_per_unit: 3
    columns: {{kind: {{type: text, values: [x, y]}}}}
budget: {{epsilon: 1000, delta: 1e-6}}
per_query: {{max_epsilon: 100, delta: 1e-9}}
"""


def make_files(folder: Path) -> None:
    """The same rows three times: 500 people with two visits each."""
    with closing(sqlite3.connect(folder / "data.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE person (person_id INTEGER PRIMARY KEY, age INT)")
        connection.execute("CREATE TABLE visit (person_id INTEGER, kind TEXT)")
        connection.executemany("INSERT INTO person VALUES (?, ?)", [(at, at % 90) for at in range(500)])
        connection.executemany("INSERT INTO visit VALUES (?, ?)", [(at // 2, "xy"[at % 2]) for at in range(1000)])
    (folder / "files").mkdir()
    with duckdb.connect(str(folder / "data.duckdb")) as files:
        for name, sql in (
            ("person", "SELECT range AS person_id, CAST(range % 90 AS INTEGER) AS age FROM range(500)"),
            (
                "visit",
                "SELECT range // 2 AS person_id, CASE range % 2 WHEN 0 THEN 'x' ELSE 'y' END AS kind FROM range(1000)",
            ),
        ):
            files.execute(f"CREATE TABLE {name} AS {sql}")
            files.execute(f"COPY {name} TO '{folder / 'files' / name}.parquet'")


def test_questions_are_answered(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    make_files(home.folder)
    engines = {"lite": "sqlite:///data.sqlite", "duck": "duckdb:///data.duckdb", "files": "parquet:///files"}
    for name, engine in engines.items():
        home.apply(POLICY.format(name=name, engine=engine))
        home.grant("ada", 500, dataset=name)
    with serving(home), home.http() as http:
        for name in engines:
            body: dict[str, object] = {
                "dataset": name,
                "epsilon": 50,
                "sql": "SELECT kind, COUNT(*) AS n FROM visit GROUP BY kind",
            }
            found = http.post("/v1/query", json=body, headers=home.bearer("ada")).json()
            assert [row[0] for row in found["rows"]] == ["x", "y", None]
            assert all(abs(row[1] - expected) < 20 for row, expected in zip(found["rows"], (500, 500, 0), strict=True))
        # by a process of its own, while the gateway holds the file
        home.do("dataset", "prepare", "duck")
        copied = http.post(
            "/v1/query", json={**body, "dataset": "duck", "epsilon": 60}, headers=home.bearer("ada")
        ).json()
        assert "discreet_h" not in copied["plan"]["releases"][0]["sql"]
        assert all(abs(row[1] - expected) < 20 for row, expected in zip(copied["rows"], (500, 500, 0), strict=True))
        (home.folder / "files" / "visit.parquet").write_bytes(b"PAR1 half written")
        body["use_cache"] = False
        problem(http.post("/v1/query", json=body, headers=home.bearer("ada")), 503, "engine-unavailable")
        assert home.spent(dataset="files") == 50
