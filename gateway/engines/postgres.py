"""PostgreSQL over psycopg 3: a read-only REPEATABLE READ transaction a session, Arrow out.

What protects the data is the role, which should hold SELECT and nothing else: the session's own settings could be
undone by SQL, and are there against accidents.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import weakref
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa

from gateway.engines import pgcatalog
from gateway.engines.base import EngineError, EngineUnavailable, Limits
from gateway.engines.pgarrow import to_arrow
from gateway.engines.watchdog import Watchdog
from gateway.policy.model import Dialect, TableShape

if TYPE_CHECKING:
    import psycopg

_Made: TypeAlias = "tuple[psycopg.Connection[tuple[Any, ...]], float]"
"""A connection, and when it was made."""

log = logging.getLogger("discreet.engine")

_CONNECT_SECONDS: Final = 10
_GRACE_SECONDS: Final = 5.0
_KEPT: Final = 8
_KEPT_SECONDS: Final = 60.0
"""How many connections wait for the next session, and how long after they were made: a role that may log in no more, or
a line that something between cut, is felt within a minute."""
SESSION: Final = {
    "TimeZone": "UTC",
    "standard_conforming_strings": "on",
    "client_encoding": "UTF8",
    "extra_float_digits": "1",
    "row_security": "on",
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a PostgreSQL database is; ``options`` are libpq's own words, ``schema`` the one that holds the tables."""

    host: str | None
    port: int | None
    database: str | None
    user: str | None
    password: str | None
    schema: str = "public"
    options: tuple[tuple[str, str], ...] = ()

    @property
    def parameters(self) -> dict[str, Any]:
        """What the driver connects with."""
        given: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": self.user,
            "password": self.password,
            "connect_timeout": _CONNECT_SECONDS,
            "tcp_user_timeout": 30_000,
            "application_name": "discreet",
            **dict(self.options),
        }
        return {name: value for name, value in given.items() if value is not None}

    def __repr__(self) -> str:
        return f"Address({self.user or ''}@{self.host or ''}:{self.port or ''}/{self.database or ''} {self.schema})"


class PostgresEngine:
    """One PostgreSQL database and schema; each session has a connection to itself, which the next one may take over.

    A session that failed, or that anybody asked the server to interrupt, takes its connection with it: a cancellation
    that arrives late would otherwise meet the statement of somebody else.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock, self._closed = Lock(), False
        self._waiting: list[_Made] = []
        weakref.finalize(self, _hang_up_all, self._waiting)

    def __repr__(self) -> str:
        return f"PostgresEngine({self._address!r})"

    @property
    def dialect(self) -> Dialect:
        """PostgreSQL's."""
        return "postgres"

    def tables(self) -> Collection[str]:
        """Return the tables and views of the schema that the role may read."""
        with self._connected(Limits(_CONNECT_SECONDS)) as connection, self._translated():
            return pgcatalog.tables(connection, self._address.schema)

    def read_only(self) -> bool:
        """Whether the role can change no table of the schema, nor become one that can."""
        with self._connected(Limits(_CONNECT_SECONDS)) as connection, self._translated():
            return pgcatalog.read_only(connection, self._address.schema)

    @contextmanager
    def session(self, limits: Limits) -> Iterator[PostgresSession]:
        """Open one read-only transaction on a connection that nobody else uses meanwhile."""
        deadline = time.monotonic() + limits.seconds
        connection, made = self._taken(limits) or (self._reached(limits), time.monotonic())
        session = PostgresSession(self, connection, deadline)
        try:
            yield session
        except BaseException:
            _hang_up(connection)
            raise
        if session.interrupted:
            _hang_up(connection)
        else:
            self._keep(connection, made)

    def renew(self) -> None:
        """Nothing: each session reads the data as they are."""

    def close(self) -> None:
        """Close the connections that wait; those in use are closed when they are done."""
        with self._lock:
            self._closed = True
        _hang_up_all(self._waiting)

    def _taken(self, limits: Limits) -> _Made | None:
        """Return a connection that waits, as new, and when it was made; None if there is none that is of use."""
        while True:
            with self._lock:
                if not self._waiting:
                    return None
                connection, made = self._waiting.pop()
            try:
                if time.monotonic() - made < _KEPT_SECONDS:
                    connection.autocommit = True
                    connection.execute(b"DISCARD ALL")
                    self._settle(connection, limits)
                    return connection, made
            except Exception:
                log.info("a connection to %r was lost while it waited", self)
            _hang_up(connection)

    def _keep(self, connection: psycopg.Connection[tuple[Any, ...]], made: float) -> None:
        """Let a connection wait for the next session; its transaction is over."""
        with suppress(Exception):
            connection.rollback()
            with self._lock:
                if not self._closed and len(self._waiting) < _KEPT:
                    self._waiting.append((connection, made))
                    return
        _hang_up(connection)

    @contextmanager
    def _connected(self, limits: Limits) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        connection = self._reached(limits)
        try:
            yield connection
        finally:
            _hang_up(connection)

    def _reached(self, limits: Limits) -> psycopg.Connection[tuple[Any, ...]]:
        try:
            return self._connect(limits)
        except EngineError:
            raise
        except Exception as error:
            # whatever a driver or a server says, a database that cannot be reached is one and the same event
            raise EngineUnavailable(f"{self!r} could not be reached: {self._brief(error)}") from error

    def _connect(self, limits: Limits) -> psycopg.Connection[tuple[Any, ...]]:
        try:
            import psycopg
        except ImportError as error:
            raise EngineUnavailable("PostgreSQL needs the extra: pip install 'discreet[postgres]'") from error
        connection = psycopg.connect(**self._address.parameters, autocommit=True, prepare_threshold=None)
        try:
            self._settle(connection, limits)
        except BaseException:
            connection.close()
            raise
        return connection

    def _settle(self, connection: psycopg.Connection[tuple[Any, ...]], limits: Limits) -> None:
        """Set what the meaning of a statement depends on, begin the transaction, and assert that it is so."""
        from psycopg import IsolationLevel

        # pg_temp last: otherwise a temporary table would stand before the schema's own
        wanted = {
            **SESSION,
            "search_path": f'"{self._address.schema.replace(chr(34), chr(34) * 2)}", pg_temp',
            "statement_timeout": f"{max(1, int(limits.seconds * 1000))}ms",
        }
        calls = ", ".join(["set_config(%s, %s, false)"] * len(wanted))
        connection.execute(f"SELECT {calls}".encode(), [word for pair in wanted.items() for word in pair])
        connection.autocommit = False
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        asserted = {
            **SESSION,
            # in another encoding, a letter of some row that UTF-8 lacks, or bytes that are none, would raise an error
            "server_encoding": "UTF8",
            "search_path": wanted["search_path"],
            "transaction_isolation": "repeatable read",
            "transaction_read_only": "on",
        }
        calls = ", ".join(["current_setting(%s)"] * len(asserted))
        row = connection.execute(f"SELECT {calls}".encode(), list(asserted)).fetchone()
        for (name, value), found in zip(asserted.items(), row or (), strict=True):
            if found != value:
                raise EngineUnavailable(f"{self!r} keeps {name} at {found!r} instead of {value!r}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import psycopg

        try:
            yield
        except (psycopg.Error, pa.ArrowException, ValueError, ArithmeticError, MemoryError, OSError) as error:
            raise EngineError(self._brief(error)) from error

    def _brief(self, error: BaseException) -> str:
        text = f"{type(error).__name__}: {str(error)[:2_000]}"
        return text.replace(self._address.password, "***") if self._address.password else text


def _hang_up(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    with suppress(Exception):
        connection.close()


def _hang_up_all(waiting: list[_Made]) -> None:
    while waiting:
        _hang_up(waiting.pop()[0])


class PostgresSession:
    """One read-only transaction on one connection."""

    def __init__(
        self, engine: PostgresEngine, connection: psycopg.Connection[tuple[Any, ...]], deadline: float
    ) -> None:
        self._engine, self._connection, self._deadline = engine, connection, deadline
        self._running: Watchdog | None = None
        self._told = False
        self.interrupted = False

    def schema(self, tables: Collection[str]) -> Mapping[str, TableShape]:
        """Return the catalogue's entries of those tables that exist, as this transaction sees them."""
        with self._watched():
            return pgcatalog.shapes(self._connection, self._engine._address.schema, tables)  # noqa: SLF001

    def fetch(self, sql: str) -> pa.Table:
        """Run one SELECT and return its rows."""
        with self._watched(), self._connection.cursor(binary=True) as cursor:
            # binary results go through the extended protocol, which takes one statement and no more
            cursor.execute(sql.encode())
            return to_arrow(cursor)

    def cancel(self) -> None:
        """Cancel the statement that runs, if one does."""
        watchdog = self._running
        if watchdog is not None:
            watchdog.cancel()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        if time.monotonic() >= self._deadline:
            raise EngineError("the session's time limit is reached")
        self._told = False
        with Watchdog(self._deadline, self._interrupt) as watchdog:
            self._running = watchdog
            try:
                with self._engine._translated():  # noqa: SLF001
                    yield
            except EngineError as error:
                if watchdog.fired:
                    raise EngineError("interrupted: the session's time limit is reached or it was cancelled") from error
                raise
            finally:
                self._running = None

    def _interrupt(self, late: float) -> None:
        """Ask the server to cancel; where it does not answer, cut the line, so that the waiting thread is free."""
        self.interrupted = True
        with suppress(Exception):
            if late < _GRACE_SECONDS:
                self._connection.cancel_safe(timeout=1.0)
            elif not self._told:
                self._told = True
                with socket.socket(fileno=os.dup(self._connection.fileno())) as line:
                    line.shutdown(socket.SHUT_RDWR)
