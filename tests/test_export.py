"""The ledger as a file holds every fact, and the chain can be computed from it again."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine

from budget import chain, entries, grants, ledger, schema
from budget.grants import Grant
from budget.verify import verify
from gateway import export
from gateway.store import migrate
from gateway.store.engine import control_engine, reader
from tests.budget.ledgers import EPSILON, grant_all, request


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'control.sqlite'}" if sqlite else str(request.getfixturevalue("postgres_url"))
    engine = control_engine(url, create=True)
    migrate.upgrade(engine)
    fill(engine)
    yield engine
    engine.dispose()


def fill(engine: Engine) -> None:
    grant_all(engine, analysts=("ann", "=cmd"))
    with engine.begin() as conn:
        grants.set_project(conn, "health", "p", Grant(EPSILON, window="daily", timezone="UTC"), actor="root")
        grants.join(conn, "health", "p", "ann", actor="root")
        first = ledger.charge(conn, request(EPSILON // 2, idempotency_key="k")).record.charge.id
        ledger.settle(conn, first, "answered", b"rows")
        grants.set_cap(conn, "other", Grant(EPSILON), actor="root")


def written(engine: Engine, path: Path, form: export.Format, dataset: str | None = None) -> int:
    with engine.connect() as conn:
        return export.write(conn, path, form, dataset)


def test_a_long_reading_holds_up_no_commit(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of two facts; another connection charges between any two of them."""
    monkeypatch.setattr(entries, "_PAGE", 2)
    grant_all(engine, epsilon=100 * EPSILON, cap=100 * EPSILON)
    other = control_engine(engine.url) if engine.dialect.name == "postgresql" else engine
    charged = 0

    def charge() -> None:
        nonlocal charged
        charged += 1
        with other.begin() as conn:
            ledger.charge(conn, request(1))

    with reader(engine).connect() as conn:

        def rest() -> None:
            conn.rollback()
            charge()

        assert verify(conn, "health", rest).ok
        assert sum(1 for _ in export.rows(conn, ["health"], rest)) >= 10
    assert charged > 8
    other.dispose()
    with engine.begin() as conn:
        assert verify(conn).ok


def rechained(rows: list[dict[str, Any]]) -> None:
    """Compute the chain of each dataset from the export alone."""
    ends: dict[str, bytes] = {}
    for row in rows:
        columns = [column.name for column in schema.FACTS[row["kind"]].columns]
        names = [name for name in columns if name not in chain.PLACE]
        said = []
        for name in names:
            value = row.get("payload_sha256" if name == "digest" else name)
            said.append(int(value) if isinstance(value, bool) else value)
        while said[-1] is None:
            said.pop()
        text = json.dumps([row["kind"], *said], separators=(",", ":"))
        before = ends.get(row["dataset"], chain.beginning(row["dataset"]))
        after = chain.link(before, sha256(text.encode()).digest(), row["seq"], row["at"])
        assert after.hex() == row["hash"], row
        ends[row["dataset"]] = after


def test_json_lines_and_parquet_hold_the_chain(engine: Engine, tmp_path: Path) -> None:
    lines, parquet = tmp_path / "ledger.jsonl", tmp_path / "ledger.parquet"
    assert written(engine, lines, "jsonl") == written(engine, parquet, "parquet") == 8
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [row["kind"] for row in rows[:3]] == ["grant", "grant", "grant"]
    rechained(rows)
    table = pq.read_table(parquet)
    assert table.column_names == list(export.columns())
    again = [{name: value for name, value in row.items() if value is not None} for row in table.to_pylist()]
    assert again == rows
    assert b"rows" not in lines.read_bytes()
    assert lines.stat().st_mode & 0o077 == 0


def test_csv_holds_every_fact_and_no_formula(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    assert written(engine, path, "csv", "health") == 7
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["seq"]) for row in rows] == list(range(1, 8))
    assert all(row["dataset"] == "health" for row in rows)
    assert not [value for row in rows for value in row.values() if value.startswith(("=", "+", "-", "@"))]


def test_an_export_replaces_no_file(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        written(engine, path, "csv")
    assert path.read_text() == "mine"
