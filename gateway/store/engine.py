"""The control database's engine: SQLite in one file by default, or PostgreSQL.

SQLite: every transaction begins IMMEDIATE, which makes reading balances and charging one step; ``reader(engine)`` gives
the same database for reads alone, whose transactions take no write lock.

Why a rollback journal and not WAL: SQLite from 3.7.0 to 3.51.2 can lose committed pages when a write and a checkpoint
meet ("the WAL-reset bug", sqlite.org/wal.html), Python brings its own SQLite, and a lost charge grants again what was
spent. Ledger transactions are short, TRUNCATE with ``synchronous=FULL`` syncs the journal, the file and the journal's
truncation, and was measured at under twice a WAL commit (0.86 ms against 0.48). The price: a reading transaction delays
the commits that fall into it, so that none should be long. FULL and not NORMAL: NORMAL may lose a committed charge when
the power fails.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

WAIT_SECONDS: Final = 20
"""How long a transaction waits for another's lock before it fails; nothing is charged then."""

LOOK_SECONDS: Final = 0.002
"""How long who waits for the turn on SQLite sleeps between two looks: a fraction of a durable commit."""

CONNECTIONS: Final = 15
"""How many connections a process has at most. All of them are kept: the library keeps five by default, and what each
request beyond those opens and closes again costs more than what it reads.
"""

_POOL: Final[Mapping[str, Any]] = {"pool_size": CONNECTIONS, "max_overflow": 0, "pool_use_lifo": True}

_PRAGMAS: Final = (
    "PRAGMA journal_mode = TRUNCATE",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # Lets DELETE triggers see the rows that a REPLACE removes; the append-only triggers do not rest on it.
    "PRAGMA recursive_triggers = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
)


class ControlDatabaseError(Exception):
    """The control database's URL is not usable, in words for the admin."""


def control_engine(url: str | URL, *, create: bool = False) -> Engine:
    """Open the control database: ``sqlite:////absolute/file`` or ``postgresql://…``.

    A file whose path holds ``%`` or ``?`` is best given as ``URL.create("sqlite", database=path)``: in text they are
    the URL's own.

    A SQLite file that does not exist is made (readable by its owner alone) if ``create`` is given, as ``init`` does,
    and an error otherwise: an empty ledger in the place of a lost one would grant everything again.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ControlDatabaseError("the control database's URL cannot be read") from None
    match parsed.get_backend_name():
        case "sqlite":
            return _sqlite(parsed, create=create)
        case "postgresql":
            return _postgresql(parsed)
        case _:
            raise ControlDatabaseError("the control database is SQLite or PostgreSQL")


def reader(engine: Engine) -> Engine:
    """Return the same engine for transactions that only read: on SQLite they wait for no writer's turn."""
    return engine.execution_options(discreet_reads_only=True)


def present(engine: Engine) -> bool:
    """Return whether the control database's file stands where it was, or the database is a server.

    A file that was taken away can be read on by those who have it open, and written by nobody.
    """
    file = engine.url.database or ""
    return not file.startswith("file:") or Path(unquote(file.removeprefix("file:"))).is_file()


def _sqlite(url: URL, *, create: bool) -> Engine:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ControlDatabaseError("the control database needs a file of its own")
    path = Path(url.database).absolute()
    if create and not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    if not path.is_file():
        raise ControlDatabaseError("the control database's file does not exist; `discreet init` makes it")
    engine = create_engine(
        # mode=rw: a file that is taken away later is an error, never an empty ledger.
        URL.create("sqlite", database="file:" + quote(str(path)), query={"mode": "rw", "uri": "true"}),
        connect_args={"timeout": WAIT_SECONDS},
        hide_parameters=True,
        **_POOL,
    )

    @event.listens_for(engine, "connect")
    def connect(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # the driver begins nothing by itself
        cursor = dbapi_connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(pragma).fetchall()
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(conn: Connection) -> None:
        if conn.get_execution_options().get("discreet_reads_only", False):
            conn.exec_driver_sql("BEGIN DEFERRED")
        else:
            _take_turn(conn)

    return engine


def _take_turn(conn: Connection) -> None:
    """Begin a transaction that writes, waiting for the turn as long as the connection's timeout says.

    Why not SQLite's own waiting: it sleeps longer the longer it has waited, up to a tenth of a second, so that those
    who come later pass; among many processes one may starve. All who wait here look equally often.
    """
    raw = conn.connection.cursor()
    try:
        (milliseconds,) = raw.execute("PRAGMA busy_timeout").fetchone()
        until = time.monotonic() + milliseconds / 1000
        raw.execute("PRAGMA busy_timeout = 0").fetchall()
        try:
            while not _begun(raw) and time.monotonic() < until:
                time.sleep(LOOK_SECONDS)
            if not raw.connection.in_transaction:
                conn.exec_driver_sql("BEGIN IMMEDIATE")  # for the error, as the driver says it
        finally:
            raw.execute(f"PRAGMA busy_timeout = {milliseconds}").fetchall()
    finally:
        raw.close()


def _begun(cursor: Any) -> bool:
    """Try to begin; False if it is another's turn. Another error would come again: looking ends."""
    try:
        cursor.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY
    return True


def _postgresql(url: URL) -> Engine:
    try:
        from psycopg.types.numeric import Int8Dumper

        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",
            hide_parameters=True,
            connect_args={"connect_timeout": WAIT_SECONDS},
            **_POOL,
        )
    except ImportError:
        raise ControlDatabaseError("PostgreSQL needs the driver of the extra `discreet[postgres]`") from None

    @event.listens_for(engine, "connect")
    def connect(dbapi_connection: Any, _record: Any) -> None:
        # The driver types an integer by its size, and prepares a statement anew for each combination of types.
        dbapi_connection.adapters.register_dumper(int, Int8Dumper)
        with dbapi_connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{WAIT_SECONDS}s'")
            # A server told not to wait for its disk would lose charges; one told to wait for more is left alone.
            cursor.execute(
                "SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') = 'off'"
            )
        dbapi_connection.commit()

    return engine
