"""A command line to call, a home to call it in, and a data file to point a policy at."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner, Result

from gateway.cli.commands import app

Call = Callable[..., Result]

POLICY = """
dataset: clinic
engine: duckdb:///clinic.duckdb
privacy_unit: {table: person, key: person_id}
tables:
  person:
    columns:
      person_id: {type: integer}
      sex:       {type: text, values: [F, M]}
      age:       {type: integer, lower: 0, upper: 110}
      town:      {type: text}
budget: {epsilon: 20, delta: 1e-6}
per_query: {max_epsilon: 2, delta: 1e-9}
"""


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Return a function that runs one command in a home of this test's own."""
    for name in [name for name in os.environ if name.startswith("DISCREET_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DISCREET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DISCREET_LATENCY_QUANTUM_MS", "0")

    def run(*words: str, env: dict[str, str] | None = None, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, list(words), env=env, input=stdin)

    return run


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """Return a policy file beside its DuckDB file of 400 people."""
    with duckdb.connect(str(tmp_path / "clinic.duckdb")) as connection:
        connection.execute(
            "CREATE TABLE person (person_id INTEGER PRIMARY KEY, sex VARCHAR, age INTEGER, town VARCHAR)"
        )
        connection.execute(
            "INSERT INTO person SELECT i, CASE WHEN i % 2 = 0 THEN 'F' ELSE 'M' END, i % 90, 'X' FROM range(400) t(i)"
        )
    path = tmp_path / "clinic.yaml"
    path.write_text(POLICY)
    return path
