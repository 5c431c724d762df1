"""Any database that SQLAlchemy reaches and that Discreet has a dialect for: one connection and snapshot a session.

What differs from one database to the next (how it is opened and settled, what its catalogue says, how a statement is
interrupted, what its values look like) is a ``Backend``; the order of a session is here.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import pyarrow as pa
import sqlalchemy as sa

from gateway.engines.base import EngineError, EngineUnavailable, Limits
from gateway.engines.watchdog import Watchdog
from gateway.policy.model import Dialect, TableShape

_CATALOGUE_SECONDS = 60


class Backend(Protocol):
    """One kind of database, and where this one is."""

    @property
    def dialect(self) -> Dialect:
        """The dialect of its bounded SQL."""

    @property
    def name(self) -> str:
        """What messages to the admin call this database, without its password."""

    def engine(self) -> sa.Engine:
        """Return SQLAlchemy's engine, not connected; ``EngineUnavailable`` where its driver is missing."""

    def settle(self, connection: sa.Connection, limits: Limits) -> None:
        """Set and assert what the meaning of a statement depends on, and begin a read-only snapshot."""

    def tables(self, connection: sa.Connection) -> Collection[str]:
        """Return the tables and views that can be read."""

    def shape(self, connection: sa.Connection, table: str) -> TableShape | None:
        """Return the catalogue's entry of a table or view, None if there is none."""

    def read_only(self, connection: sa.Connection) -> bool:
        """Whether this connection's rights cannot change the data."""

    def interrupt(self, connection: sa.Connection) -> None:
        """Stop the statement that runs on a connection, from another thread."""

    def array(self, values: Sequence[Any], code: object) -> pa.Array[Any]:
        """Return a column of a result, given the driver's type code."""

    def redact(self, text: str) -> str:
        """Return a driver's words without the password."""


class AlchemyEngine:
    """A database behind SQLAlchemy."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._engine: sa.Engine | None = None

    def __repr__(self) -> str:
        return f"AlchemyEngine({self._backend.name})"

    @property
    def dialect(self) -> Dialect:
        """The dialect in which bounded SQL is to be written."""
        return self._backend.dialect

    def tables(self) -> Collection[str]:
        """Return the names of the tables and views that the gateway could read."""
        with self._connected(Limits(_CATALOGUE_SECONDS)) as connection, translated(self._backend):
            return tuple(self._backend.tables(connection))

    def read_only(self) -> bool:
        """Whether the rights that the gateway holds cannot change the data."""
        with self._connected(Limits(_CATALOGUE_SECONDS)) as connection, translated(self._backend):
            return self._backend.read_only(connection)

    @contextmanager
    def session(self, limits: Limits) -> Iterator[AlchemySession]:
        """Open a connection and on it one read-only snapshot."""
        deadline = time.monotonic() + limits.seconds
        with self._connected(limits) as connection:
            yield AlchemySession(self._backend, connection, deadline)

    def renew(self) -> None:
        """Nothing: each session reads the data as they are."""

    def close(self) -> None:
        """Nothing is held between sessions."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    @contextmanager
    def _connected(self, limits: Limits) -> Iterator[sa.Connection]:
        connection = None
        try:
            if self._engine is None:
                self._engine = self._backend.engine()
            connection = self._engine.connect()
            self._backend.settle(connection, limits)
        except Exception as error:
            # whatever a driver or a server says, a database that cannot be reached is one and the same event
            if connection is not None:
                with suppress(Exception):
                    connection.close()
            if isinstance(error, EngineError):
                raise
            raise EngineUnavailable(
                f"{self._backend.name} could not be reached: {brief(self._backend, error)}"
            ) from error
        try:
            yield connection
        finally:
            with suppress(Exception):
                connection.close()


class AlchemySession:
    """One read-only snapshot on one connection."""

    def __init__(self, backend: Backend, connection: sa.Connection, deadline: float) -> None:
        self._backend, self._connection, self._deadline = backend, connection, deadline
        self._running: Watchdog | None = None

    def schema(self, tables: Collection[str]) -> Mapping[str, TableShape]:
        """Return the catalogue's entries of those tables that exist."""
        with self._watched():
            found = {table: self._backend.shape(self._connection, table) for table in tables}
        return {table: shape for table, shape in found.items() if shape is not None}

    def fetch(self, sql: str) -> pa.Table:
        """Run one SELECT and return its rows."""
        with self._watched():
            result = execute(self._connection, sql)
            if not result.returns_rows:
                raise EngineError("the statement has no rows")
            cursor: Any = result.cursor
            codes = [column[1] for column in cursor.description]
            names = list(result.keys())
            rows = result.fetchall()
            columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(names)
            arrays = [self._backend.array(values, code) for values, code in zip(columns, codes, strict=True)]
            return pa.Table.from_arrays(arrays, names=names)

    def cancel(self) -> None:
        """Stop the statement that runs, if one does."""
        watchdog = self._running
        if watchdog is not None:
            watchdog.cancel()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        if time.monotonic() >= self._deadline:
            raise EngineError("the session's time limit is reached")
        with Watchdog(self._deadline, self._interrupt) as watchdog:
            self._running = watchdog
            try:
                with translated(self._backend):
                    yield
            except EngineError as error:
                if watchdog.fired:
                    raise EngineError("interrupted: the session's time limit is reached or it was cancelled") from error
                raise
            finally:
                self._running = None

    def _interrupt(self, _late: float) -> None:
        with suppress(Exception):
            self._backend.interrupt(self._connection)


def execute(connection: sa.Connection, sql: str) -> sa.CursorResult[*tuple[Any, ...]]:
    """Hand one statement to the driver as it is: no parameter style of any driver reads a percent sign in it."""
    return connection.execution_options(no_parameters=True).exec_driver_sql(sql)


@contextmanager
def translated(backend: Backend) -> Iterator[None]:
    """Turn whatever a driver raises into ``EngineError``, in words for the admin's log."""
    try:
        yield
    except EngineError:
        raise
    except Exception as error:
        raise EngineError(brief(backend, error)) from error


def brief(backend: Backend, error: BaseException) -> str:
    """Return what an error says, without its statement and without a password."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error
    return backend.redact(f"{type(cause).__name__}: {str(cause)[:2_000]}")
