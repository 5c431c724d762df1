"""``dataset suggest`` on real databases: the catalogue is read and nothing else, and the proposal can be applied."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import subprocess
import sys
import time
from datetime import date, datetime
from pathlib import Path

import duckdb
import psycopg
import pytest

from gateway.admin.histograms import Bound
from gateway.cli.suggest import _line
from gateway.engines.duckdb import DuckdbSession
from gateway.policy import document
from tests.cli.conftest import Call
from tests.docs.pages import ROOT

TABLES = """
CREATE TABLE person (person_id INTEGER PRIMARY KEY, sex TEXT, age INTEGER);
CREATE TABLE visit (
  visit_id INTEGER PRIMARY KEY, person_id INTEGER REFERENCES person (person_id), site_id INTEGER, cost {double});
CREATE TABLE site (site_id INTEGER PRIMARY KEY, town TEXT);
INSERT INTO person VALUES (1, 'F', 4711);
"""


def proposed(call: Call, url: str) -> str:
    done = call("dataset", "suggest", url)
    assert done.exit_code == 0, done.stderr
    assert "4711" not in done.stdout
    assert "owner: {person_id: person.person_id}" in done.stdout
    assert "privacy_unit: {table: person, key: person_id}" in done.stdout
    assert "  site:\n" in done.stdout
    return done.stdout


def decided(policy: str) -> str:
    for before, after in (
        ("lower: ?, upper: ?", "lower: 0, upper: 9"),
        ("public: ?", "public: true"),
        ("epsilon: ?", "epsilon: 2"),
    ):
        policy = policy.replace(before, after)
    return policy


def test_duckdb(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with duckdb.connect(str(tmp_path / "Our Clinic.duckdb")) as connection:
        connection.execute(TABLES.format(double="DOUBLE"))

    def refuse(self: DuckdbSession, sql: str) -> None:
        raise AssertionError(sql)

    with monkeypatch.context() as patch:
        patch.setattr(DuckdbSession, "fetch", refuse)  # no statement reads a table
        policy = proposed(call, f"duckdb:///{tmp_path}/Our%20Clinic.duckdb")
    assert "dataset: our_clinic\n" in policy
    assert "# a declared foreign key" in policy
    file = tmp_path / "clinic.yaml"
    file.write_text(policy)
    call("init")
    refused = call("dataset", "apply", str(file))
    assert refused.exit_code == 1
    assert "tables.person.columns.age.lower: still to be decided" in refused.stderr
    file.write_text(decided(policy))
    applied = call("dataset", "apply", str(file))
    assert (applied.exit_code, applied.stdout) == (0, "our_clinic: version 1 is in force\n"), applied.stderr


def test_sqlite(call: Call, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "clinic.sqlite") as connection:
        connection.executescript(TABLES.format(double="DOUBLE"))
    connection.close()
    assert "# a declared foreign key" in proposed(call, f"sqlite:///{tmp_path}/clinic.sqlite")


def test_parquet(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "clinic"
    folder.mkdir()
    with duckdb.connect() as connection:
        connection.execute(TABLES.format(double="DOUBLE"))
        for table in ("person", "visit", "site"):
            connection.execute(f"COPY {table} TO '{folder}/{table}.parquet'")
    assert "# guessed from the names" in proposed(call, f"parquet:///{folder}")


def test_postgres(call: Call, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(TABLES.format(double="DOUBLE PRECISION").encode())
    server, _, options = postgres_url.partition("?")
    secret = f"{server}?{options}&password=geheim"
    policy = proposed(call, secret)
    assert "geheim" not in policy
    assert "password is left out" in policy


def test_json(call: Call, tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "clinic.duckdb")) as connection:
        connection.execute(TABLES.format(double="DOUBLE"))
    found = json.loads(call("dataset", "suggest", f"duckdb:///{tmp_path}/clinic.duckdb", "--json").stdout)
    assert found["privacy_unit"]["table"] == "person"
    assert [(table["name"], table["role"]) for table in found["tables"]] == [
        ("person", "unit"),
        ("visit", "owned"),
        ("site", "undecided"),
    ]
    assert found["policy"].startswith("# Proposed")


def test_bounds_are_bought_of_the_cap(call: Call, clinic: Path) -> None:
    call("init")
    call("dataset", "apply", str(clinic))
    ask = ("dataset", "suggest", "clinic", "--columns", "person.age", "--epsilon", "2")
    priced = call(*ask, "--dry-run", "--json")
    assert json.loads(priced.stdout)["bounds"] == [], priced.stderr
    bought = call(*ask, "--idempotency-key", "k")
    assert bought.exit_code == 0, bought.stderr
    assert "person.age: {lower: " in bought.stdout
    (listed,) = json.loads(call("ledger", "public", "--dataset", "clinic", "--json").stdout)
    assert (listed["publication"], listed["epsilon"]) == ("bounds of person.age", 2.0)
    for wrong in (ask[:3] + ask[5:], ask[:5], (*ask, "--idempotency-key", "é")):
        assert call(*wrong).exit_code == 2


@pytest.mark.parametrize("url", ["clinic", "ftp://host/data", "duckdb:///nowhere.duckdb", "sqlite:///nowhere.sqlite"])
def test_what_is_no_database(call: Call, url: str) -> None:
    done = call("dataset", "suggest", url)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")


def test_a_database_without_tables(call: Call, tmp_path: Path) -> None:
    duckdb.connect(str(tmp_path / "empty.duckdb")).close()
    done = call("dataset", "suggest", f"duckdb:///{tmp_path}/empty.duckdb")
    assert done.exit_code == 1
    assert "no table or view" in done.stderr


@pytest.mark.audit
def test_killed_at_any_instant_it_is_charged_once_and_told_once(call: Call, clinic: Path, tmp_path: Path) -> None:
    """SIGKILL while bounds are bought, then the same command again: one charge a key, and one answer."""
    call("init")
    call("dataset", "apply", str(clinic))
    environment = {**os.environ, "DISCREET_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    program = "import sys; from gateway.cli import main; sys.argv[0] = 'discreet'; main()"
    ask = [sys.executable, "-c", program, "dataset", "suggest", "clinic", "--columns", "person.age", "--epsilon", "1"]
    began = time.monotonic()
    whole = subprocess.run([*ask, "--idempotency-key", "whole"], env=environment, check=True, capture_output=True)
    lasts = time.monotonic() - began
    assert b"person.age" in whole.stdout
    for number in range(2):
        keyed = [*ask, "--idempotency-key", f"killed{number}", "--json"]
        with subprocess.Popen(keyed, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            time.sleep(lasts * (0.5 + secrets.randbelow(500) / 1000))
            running.kill()
        told = [subprocess.run(keyed, env=environment, check=True, capture_output=True).stdout for _ in range(2)]
        assert told[0] == told[1]
        assert json.loads(told[0])["bounds"][0]["upper"] is not None
    published = json.loads(call("ledger", "public", "--dataset", "clinic", "--json").stdout)
    assert [row["epsilon"] for row in published] == [1.0] * 3
    assert call("ledger", "verify").exit_code == 0


POLICY_OF_TIMES = """
dataset: clinic
engine: duckdb:///clinic.duckdb
privacy_unit: {{key: person_id}}
tables: {{visit: {{owner: person_id, columns: {{began: {{type: timestamp, {line}}}}}}}}}
budget: {{epsilon: 1}}
per_query: {{max_epsilon: 1}}
"""


def test_ends_of_times_are_written_as_a_policy_holds_them() -> None:
    day = Bound("visit", "day", date(2020, 1, 1), date(2025, 12, 31))
    assert _line(day) == "visit.day: {lower: 2020-01-01, upper: 2025-12-31}"
    began = Bound("visit", "began", datetime(2020, 1, 1), datetime(2025, 12, 31, 23, 59, 59, 999_999))  # noqa: DTZ001
    text = POLICY_OF_TIMES.format(line=_line(began).partition(": ")[2].strip("{}"))
    columns = document.load(text).tables["visit"].columns
    assert columns is not None
    assert (columns["began"].lower, columns["began"].upper) == (began.lower, began.upper)
