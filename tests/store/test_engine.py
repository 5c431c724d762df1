"""How the control database is opened: durably, alone while writing, and never anew in the place of a lost one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL, Engine, event, text
from sqlalchemy.exc import OperationalError

from gateway.store.engine import CONNECTIONS, ControlDatabaseError, control_engine, reader


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = control_engine(f"sqlite:///{tmp_path / 'control.sqlite'}", create=True)
    yield engine
    engine.dispose()


def pragma(engine: Engine, name: str) -> object:
    with engine.begin() as conn:
        return conn.exec_driver_sql(f"PRAGMA {name}").scalar_one()


def test_sqlite_is_durable_and_strict(engine: Engine) -> None:
    assert pragma(engine, "journal_mode") == "truncate"
    assert pragma(engine, "synchronous") == 2
    assert pragma(engine, "foreign_keys") == 1
    assert pragma(engine, "recursive_triggers") == 1
    assert pragma(engine, "trusted_schema") == 0
    assert pragma(engine, "busy_timeout") == 20_000


def test_a_transaction_holds_the_write_lock_from_its_beginning(engine: Engine) -> None:
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE t (x INTEGER)"))
    with engine.begin() as writing:
        with reader(engine).begin() as reading:  # who only reads waits for nobody
            assert reading.execute(text("SELECT count(*) FROM t")).scalar_one() == 0
        with engine.connect() as other:
            raw = other.connection.driver_connection
            assert raw is not None
            raw.execute("PRAGMA busy_timeout = 0")
            with pytest.raises(OperationalError, match="locked"):
                other.execute(text("SELECT count(*) FROM t"))
            other.invalidate()
        writing.execute(text("INSERT INTO t VALUES (1)"))
    with reader(engine).begin() as reading:
        assert reading.execute(text("SELECT count(*) FROM t")).scalar_one() == 1


def test_connections_are_kept_as_many_as_were_needed(engine: Engine) -> None:
    made: list[object] = []
    event.listen(engine, "connect", lambda connection, _: made.append(connection))
    for _ in range(3):
        with ExitStack() as together:
            for _ in range(CONNECTIONS):
                together.enter_context(reader(engine).connect()).execute(text("SELECT 1"))
    assert len(made) == CONNECTIONS


@pytest.mark.parametrize("folder", ["a folder", "100%", "50%20", "what?#", "ünï"])
def test_any_path_will_do(tmp_path: Path, folder: str) -> None:
    engine = control_engine(URL.create("sqlite", database=str(tmp_path / folder / "control.sqlite")), create=True)
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE t (x INTEGER)"))
    engine.dispose()
    assert (tmp_path / folder / "control.sqlite").stat().st_size > 0


def test_a_file_that_is_missing_is_an_error_and_never_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'control.sqlite'}"
    with pytest.raises(ControlDatabaseError, match="does not exist"):
        control_engine(url)
    engine = control_engine(url, create=True)
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE t (x INTEGER)"))
    engine.dispose()
    (tmp_path / "control.sqlite").unlink()
    with pytest.raises(OperationalError), engine.begin():
        pass
    assert not (tmp_path / "control.sqlite").exists()


def test_the_file_is_its_owner_s_alone(engine: Engine, tmp_path: Path) -> None:
    assert (tmp_path / "control.sqlite").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true", "mysql://root@host/db", "no url", ""]
)
def test_what_is_no_control_database(url: str) -> None:
    with pytest.raises(ControlDatabaseError):
        control_engine(url, create=True)


def test_postgresql_commits_wait_for_the_disk(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute("ALTER ROLE postgres SET synchronous_commit = off")
    try:
        engine = control_engine(postgres_url)
        with engine.begin() as opened:
            assert opened.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
            assert opened.execute(text("SHOW lock_timeout")).scalar_one() == "20s"
            assert opened.execute(text("SHOW transaction_isolation")).scalar_one() == "read committed"
        engine.dispose()
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as conn:
            conn.execute("ALTER ROLE postgres RESET synchronous_commit")


def test_secrets_are_not_printed(postgres_url: str) -> None:
    engine = control_engine(postgres_url.replace("postgres:@", "postgres:secret@"))
    assert "secret" not in repr(engine)
    engine.dispose()
