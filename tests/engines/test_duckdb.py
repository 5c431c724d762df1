"""DuckDB files: the catalogue as it is, the lock, the limits, and every failure as one of two errors."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest

from gateway.engines.base import EngineError, EngineUnavailable, Limits
from gateway.engines.duckdb import LARGEST_KEPT, DuckdbEngine, DuckdbSession
from gateway.policy.model import ForeignKey, Physical, TableShape

LIMITS = Limits(30)
ENDLESS = "SELECT count(*) FROM big AS a, big AS b WHERE (a.x * b.x) % 7 = 3"

SCHEMA = """
CREATE TABLE unit (id BIGINT PRIMARY KEY, alt INTEGER UNIQUE);
CREATE TABLE fact (
    person BIGINT REFERENCES unit (id), a INTEGER NOT NULL, b INTEGER NOT NULL, c INTEGER,
    n VARCHAR COLLATE NOCASE UNIQUE, m VARCHAR UNIQUE, d DECIMAL(10, 2) UNIQUE, f DOUBLE UNIQUE,
    h HUGEINT, u UTINYINT, r FLOAT, o BOOLEAN, dt DATE, ts TIMESTAMP, tz TIMESTAMPTZ, ns TIMESTAMP_NS,
    bl BLOB, i INTEGER[], e ENUM ('x', 'y'), "we""ird" VARCHAR,
    UNIQUE (a, b), UNIQUE (a, c), CHECK (a > 0)
);
CREATE UNIQUE INDEX later ON fact (u);
CREATE VIEW seen AS SELECT person, n, m FROM fact;
CREATE TABLE big AS SELECT range AS x FROM range(300000);
CREATE SCHEMA other; CREATE TABLE other.unit (id VARCHAR);
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "data.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute(SCHEMA)
    return file


@pytest.fixture
def engine(path: Path) -> Iterator[DuckdbEngine]:
    engine = DuckdbEngine(path)
    yield engine
    engine.close()


def test_shape(engine: DuckdbEngine) -> None:
    with engine.session(LIMITS) as session:
        found = session.schema(["unit", "fact", "seen", "absent", "Unit"])
    assert found.keys() == {"unit", "fact", "seen"}
    assert found["unit"] == TableShape(
        (("id", Physical("integer", "BIGINT"), True), ("alt", Physical("integer", "INTEGER"), False)),
        frozenset({frozenset({"id"}), frozenset({"alt"})}),
    )
    fact = found["fact"]
    assert {name: physical for name, physical, _ in fact.columns} == {
        "person": Physical("integer", "BIGINT"),
        "a": Physical("integer", "INTEGER"),
        "b": Physical("integer", "INTEGER"),
        "c": Physical("integer", "INTEGER"),
        "n": Physical("text", "VARCHAR with a collation", exact=False),
        "m": Physical("text", "VARCHAR"),
        "d": Physical("decimal", "DECIMAL(10,2)", 2),
        "f": Physical("float", "DOUBLE"),
        "h": Physical("integer", "HUGEINT"),
        "u": Physical("integer", "UTINYINT"),
        "r": Physical("float", "FLOAT"),
        "o": Physical("boolean", "BOOLEAN"),
        "dt": Physical("date", "DATE"),
        "ts": Physical("timestamp", "TIMESTAMP"),
        "tz": None,
        "ns": None,
        "bl": None,
        "i": None,
        "e": None,
        'we"ird': Physical("text", "VARCHAR"),
    }
    assert {name for name, _, not_null in fact.columns if not_null} == {"a", "b"}
    # not (a, c), since c may be NULL; not the collated text nor the float; not an index that is no constraint
    assert fact.unique == frozenset({frozenset({"a", "b"}), frozenset({"m"}), frozenset({"d"})})
    assert fact.foreign_keys == frozenset({ForeignKey(("person",), "unit", ("id",))})


def test_view_has_no_facts_but_keeps_its_collation(engine: DuckdbEngine) -> None:
    with engine.session(LIMITS) as session:
        seen = session.schema(["seen"])["seen"]
    assert seen.unique == frozenset()
    assert seen.foreign_keys == frozenset()
    assert not any(not_null for _, _, not_null in seen.columns)
    assert seen.physical("n") == Physical("text", "VARCHAR with a collation", exact=False)
    assert seen.physical("m") == Physical("text", "VARCHAR")


def test_tables(engine: DuckdbEngine) -> None:
    assert sorted(engine.tables()) == ["big", "fact", "seen", "unit"]


def test_rows_come_as_arrow(engine: DuckdbEngine) -> None:
    with engine.session(LIMITS) as session:
        rows = session.fetch("SELECT sum(x) AS s, count(*) AS n FROM big")
    assert rows.to_pylist() == [{"s": 44999850000, "n": 300000}]


def test_session_time_zone_is_utc(engine: DuckdbEngine) -> None:
    with engine.session(LIMITS) as session:
        rows = session.fetch("SELECT CAST(TIMESTAMPTZ '2020-01-01 00:30:00+02:00' AS TIMESTAMP) AS t")
    assert str(rows.column(0)[0]) == "2019-12-31 22:30:00"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; SELECT 2",
        "INSERT INTO unit VALUES (1, 1)",
        "CREATE TEMP TABLE t AS SELECT 1",
        "COPY unit TO '/tmp/discreet-escape.csv'",
        "ATTACH ':memory:' AS m",
        "SET threads = 1",
        "EXPLAIN SELECT 1",
        "SELECT error('a secret')",
        "SELECT CAST('x' AS INTEGER)",
        "SELECT nothing FROM unit",
        "SELECT * FROM absent",
        "SELECT 'unterminated",
        "",
    ],
)
def test_everything_else_is_an_engine_error(engine: DuckdbEngine, sql: str) -> None:
    with engine.session(LIMITS) as session, pytest.raises(EngineError):
        session.fetch(sql)


def test_no_other_file_can_be_read(engine: DuckdbEngine, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a\n1\n")
    for sql in (
        f"SELECT * FROM read_csv('{other}')",
        f"SELECT * FROM '{other}'",
        f"SELECT * FROM glob('{tmp_path}/*')",
    ):
        with engine.session(LIMITS) as session, pytest.raises(EngineError):
            session.fetch(sql)


def test_rights_are_read_only(engine: DuckdbEngine) -> None:
    assert engine.read_only()


def test_rights_of_an_unlocked_file_are_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DuckdbEngine, "_restrict", lambda *_: None)
    engine = DuckdbEngine(path)
    assert not engine.read_only()
    engine.close()


def test_time_limit_interrupts(engine: DuckdbEngine) -> None:
    start = time.monotonic()
    with engine.session(Limits(0.3)) as session:
        with pytest.raises(EngineError, match="time limit"):
            session.fetch(ENDLESS)
        assert time.monotonic() - start < 5
        with pytest.raises(EngineError, match="time limit"):
            session.fetch("SELECT 1")
    with engine.session(LIMITS) as session:
        assert session.fetch("SELECT 1 AS a").to_pylist() == [{"a": 1}]


def test_a_text_that_was_parsed_before_is_bound_anew(tmp_path: Path) -> None:
    sql = "SELECT sum(x) AS s FROM same"
    for name, kind in (("one", "INTEGER"), ("other", "DECIMAL(9, 2)"), ("third", "VARCHAR")):
        with duckdb.connect(str(tmp_path / f"{name}.duckdb")) as connection:
            connection.execute(f"CREATE TABLE same AS SELECT CAST(length('{name}') AS {kind}) AS x")
    found = []
    for name in ("one", "other", "one"):
        engine = DuckdbEngine(tmp_path / f"{name}.duckdb")
        with engine.session(LIMITS) as session:
            found += session.fetch(sql).to_pylist()
        engine.close()
    assert found == [{"s": 3}, {"s": 5}, {"s": 3}]
    third = DuckdbEngine(tmp_path / "third.duckdb")
    with third.session(LIMITS) as session, pytest.raises(EngineError):
        session.fetch(sql)
    third.close()


def test_a_long_text_is_read_as_well(engine: DuckdbEngine) -> None:
    with engine.session(LIMITS) as session:
        listed = ", ".join(map(str, range(LARGEST_KEPT)))
        assert session.fetch(f"SELECT 1 AS a WHERE 7 IN ({listed})").to_pylist() == [{"a": 1}]
        with pytest.raises(EngineError):
            session.fetch(f"SELECT 1 AS a WHERE 7 IN ({listed}); SELECT 2")


def test_cancel_from_another_thread(engine: DuckdbEngine) -> None:
    with engine.session(LIMITS) as session:
        session.cancel()
        assert session.fetch("SELECT 1 AS a").num_rows == 1
        timer = threading.Timer(0.2, session.cancel)
        timer.start()
        start = time.monotonic()
        with pytest.raises(EngineError, match="cancelled"):
            session.fetch(ENDLESS)
        assert time.monotonic() - start < 5
        timer.join()


def test_memory_limit(path: Path) -> None:
    engine = DuckdbEngine(path, 20_000_000)
    with engine.session(LIMITS) as session, pytest.raises(EngineError, match=r"(?i)memory"):
        session.fetch("SELECT list(x || repeat('y', 1000)) AS l FROM big")
    engine.close()


def test_sessions_of_several_threads(engine: DuckdbEngine) -> None:
    sums: list[int] = []

    def ask() -> None:
        with engine.session(LIMITS) as session:
            sums.append(session.fetch("SELECT count(*) AS n FROM big").to_pylist()[0]["n"])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == [300000] * 8


def test_two_engines_and_a_reader_share_a_file(path: Path, engine: DuckdbEngine) -> None:
    other = DuckdbEngine(path)
    with engine.session(LIMITS) as one, other.session(Limits(10)) as two:
        assert one.fetch("SELECT 1 AS a") == two.fetch("SELECT 1 AS a")
    with duckdb.connect(str(path), read_only=True) as reader:
        assert reader.sql("SELECT count(*) FROM big").fetchall() == [(300000,)]
    other.close()


def test_closed_while_a_statement_runs(path: Path, engine: DuckdbEngine) -> None:
    failed: list[EngineError] = []
    begun = threading.Event()

    def run() -> None:
        try:
            with engine.session(LIMITS) as session:
                sessions.append(session)
                begun.set()
                session.fetch(ENDLESS)
        except EngineError as error:
            failed.append(error)

    sessions: list[DuckdbSession] = []
    running = threading.Thread(target=run)
    running.start()
    assert begun.wait(30)
    time.sleep(0.3)
    engine.close()
    sessions.pop().cancel()
    running.join(30)
    assert len(failed) == 1
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE later (x INTEGER)")


def test_closed_and_opened_again_sees_what_changed(path: Path, engine: DuckdbEngine) -> None:
    with engine.session(LIMITS) as session:
        before = session.schema(["unit"])["unit"]
    engine.close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE unit ADD COLUMN extra VARCHAR")
    with engine.session(LIMITS) as session:
        after = session.schema(["unit"])["unit"]
    assert before != after
    assert after.physical("extra") == Physical("text", "VARCHAR")


def replaced(path: Path, rows: int) -> None:
    """Put another database in the place of a file, as one does whose writer the lock keeps away."""
    other = path.with_name("other.duckdb")
    with duckdb.connect(str(other)) as connection:
        connection.execute(f"CREATE TABLE big AS SELECT range AS x FROM range({rows})")
    other.replace(path)


def rows_of(engine: DuckdbEngine) -> int:
    with engine.session(LIMITS) as session:
        return int(session.fetch("SELECT count(*) AS n FROM big").to_pylist()[0]["n"])


def test_a_file_that_takes_its_place_is_read_from_renewal_on(path: Path, engine: DuckdbEngine) -> None:
    assert rows_of(engine) == 300000
    replaced(path, 7)
    assert rows_of(engine) == 300000  # nobody said yet that the data changed
    engine.renew()
    assert rows_of(engine) == 7
    engine.renew()
    assert rows_of(engine) == 7
    replaced(path, 8)
    path.unlink()
    engine.renew()
    with pytest.raises(EngineUnavailable), engine.session(LIMITS):
        pass


def test_a_session_that_runs_keeps_the_file_that_it_reads(path: Path, engine: DuckdbEngine) -> None:
    found: list[int] = []
    later = threading.Thread(target=lambda: found.append(rows_of(engine)))
    with engine.session(LIMITS) as session:
        replaced(path, 7)
        engine.renew()
        later.start()
        later.join(0.2)
        assert found == []  # DuckDB would give it the file that is still open
        assert session.schema(["big"])
        assert session.fetch("SELECT count(*) AS n FROM big").to_pylist() == [{"n": 300000}]
    later.join(30)
    assert found == [7]


def test_an_engine_that_opens_the_path_has_others_let_go_of_the_old_file(path: Path, engine: DuckdbEngine) -> None:
    assert rows_of(engine) == 300000
    replaced(path, 7)
    other = DuckdbEngine(path.parent / "." / path.name)
    assert rows_of(other) == 7  # an admin's, which applies a policy to what stands there now
    assert rows_of(engine) == 7
    other.close()


def test_a_session_between_two_statements_outlives_the_engine(engine: DuckdbEngine) -> None:
    with engine.session(LIMITS) as session:
        engine.close()
        assert session.fetch("SELECT count(*) AS n FROM big").to_pylist() == [{"n": 300000}]


def test_spilled_rows_leave_no_folder_behind(engine: DuckdbEngine) -> None:
    with engine.session(LIMITS) as session:
        folder = Path(str(session.fetch("SELECT current_setting('temp_directory') AS f").column(0)[0]))
    assert folder.stat().st_mode & 0o077 == 0
    engine.close()
    assert not folder.exists()


SPILLING = "SELECT count(*) AS n FROM (SELECT 'secret ' || range AS g, count(*) FROM range(700000) GROUP BY g)"


def test_what_does_not_fit_into_memory_is_spilled_unreadable(path: Path) -> None:
    engine = DuckdbEngine(path, 40_000_000)
    spilled: list[bytes] = []
    with engine.session(LIMITS) as session:
        folder = Path(str(session.fetch("SELECT current_setting('temp_directory') AS f").column(0)[0]))
        asked = threading.Thread(target=lambda: answers.append(session.fetch(SPILLING).to_pylist()))
        answers: list[list[dict[str, int]]] = []
        asked.start()
        while asked.is_alive():
            for file in folder.iterdir():
                with suppress(FileNotFoundError):
                    spilled.append(file.read_bytes()[:1_000_000])
        asked.join()
    engine.close()
    assert answers == [[{"n": 700_000}]]
    assert max(map(len, spilled)) > 100_000
    assert not any(b"secret" in found for found in spilled)


def test_spilled_rows_stay_until_the_last_who_reads_the_file(path: Path) -> None:
    first, second = DuckdbEngine(path), DuckdbEngine(path)
    with first.session(LIMITS) as session, second.session(LIMITS):
        folder = Path(str(session.fetch("SELECT current_setting('temp_directory') AS f").column(0)[0]))
    first.close()
    assert folder.is_dir()
    with second.session(LIMITS):
        second.close()
        assert folder.is_dir()
    assert not folder.exists()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="does not exist"), DuckdbEngine(tmp_path / "none").session(LIMITS):
        pass


def test_half_written_file_and_folder(tmp_path: Path) -> None:
    broken = tmp_path / "broken.duckdb"
    broken.write_bytes(b"not a database" * 1000)
    for path in (broken, tmp_path):
        with pytest.raises(EngineUnavailable), DuckdbEngine(path).session(LIMITS):
            pass


def test_file_locked_by_another_process(path: Path) -> None:
    script = f"import duckdb, sys; c = duckdb.connect({str(path)!r}); print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        with pytest.raises(EngineUnavailable, match="lock"):
            DuckdbEngine(path).tables()
        holder.stdin.close()


WRITES = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('CREATE TABLE written (x INTEGER)')"


@pytest.mark.skipif(sys.platform != "linux", reason="there the lock goes with any descriptor of the file")
def test_the_file_stays_locked_whatever_lets_go_of_it(path: Path) -> None:
    """A lock of fcntl is the process's, and gone once it closes any descriptor: what copies the data closes one."""
    engine = DuckdbEngine(path)
    before = engine.tables()
    with duckdb.connect() as maker:
        engine.attach(maker, "source")
    DuckdbEngine(path).tables()
    path.read_bytes()
    with engine.session(LIMITS):
        engine.close()
        refused = subprocess.run([sys.executable, "-c", WRITES, str(path)], capture_output=True, check=False)
        assert b"lock" in refused.stderr
    subprocess.run([sys.executable, "-c", WRITES, str(path)], capture_output=True, check=True)
    assert set(engine.tables()) == {*before, "written"}


def test_macros_that_redefine_functions_are_refused(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE MACRO harmless(x) AS x + 1")
    engine = DuckdbEngine(path)
    assert engine.read_only()
    engine.close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE MACRO isnan(x) AS false; CREATE MACRO SUM(x) AS 0")
    with pytest.raises(EngineUnavailable, match="built-in functions by macros: SUM, isnan"):
        engine.tables()


def test_time_zone_of_the_machine_does_not_matter(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from gateway.engines.base import Limits; "
        "from gateway.engines.duckdb import DuckdbEngine; engine = DuckdbEngine(Path(sys.argv[1]))\n"
        "with engine.session(Limits(30)) as session: "
        "print(session.fetch(\"SELECT current_setting('TimeZone') AS z\").column(0)[0])"
    )
    environment = {**os.environ, "TZ": "Asia/Tokyo", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "UTC"


def test_a_session_is_one_transaction(engine: DuckdbEngine) -> None:
    with engine.session(LIMITS) as session:
        session.fetch("SELECT 1 AS a")
        with pytest.raises(duckdb.TransactionException, match="within a transaction"):
            session._cursor.execute("BEGIN TRANSACTION")
    with engine.session(LIMITS) as session:
        assert session.fetch("SELECT 1 AS a").num_rows == 1


def test_what_is_computed_whenever_it_is_read_is_not_read(tmp_path: Path) -> None:
    # an update is not checked as an insertion is, so that one row may raise an error in everybody's questions
    with duckdb.connect(str(tmp_path / "computed.duckdb")) as connection:
        connection.execute("CREATE TABLE t (id BIGINT, said VARCHAR, n INTEGER AS (CAST(said AS INTEGER)), m INTEGER)")
        connection.execute("INSERT INTO t (id, said) VALUES (1, '7'), (2, '8')")
        connection.execute("UPDATE t SET said = 'x' WHERE id = 2")
    engine = DuckdbEngine(tmp_path / "computed.duckdb")
    with engine.session(LIMITS) as session:
        shape = session.schema(["t"])["t"]
        with pytest.raises(EngineError):
            session.fetch("SELECT SUM(n) FROM t")
    engine.close()
    assert [(name, physical is None) for name, physical, _ in shape.columns] == [
        *(("id", False), ("said", False), ("n", True), ("m", False))
    ]
