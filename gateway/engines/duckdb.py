"""DuckDB files: opened read-only and locked, one cursor and one snapshot a session, Arrow out.

The file is opened by the first session and stays open until ``close``. DuckDB holds a lock on it as long, so that no
other process changes data or schema under a running gateway; other read-only openings coexist. A file that takes its
place is read from ``renew`` on, which follows an admin's word that the data changed.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from gateway.engines import spill
from gateway.engines.base import EngineError, EngineUnavailable, Limits
from gateway.engines.held import Held
from gateway.engines.keys import enforced_key
from gateway.engines.spill import Spill
from gateway.engines.watchdog import Watchdog
from gateway.kept import Kept
from gateway.policy.model import Dialect, ForeignKey, Physical, TableShape

_INTEGERS: Final = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"} | {"UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
)
"""Not UHUGEINT: beside a negative constant or a signed column its values are cast, and large ones raise."""

_MOST_DECIMALS: Final = 19
"""With more decimals a DECIMAL(38) holds less than 64 bits before the point, and constants that do not fit raise."""

_KINDS: Final[Mapping[str, Physical]] = {
    **{name: Physical("integer", name) for name in _INTEGERS},
    "FLOAT": Physical("float", "FLOAT"),
    "DOUBLE": Physical("float", "DOUBLE"),
    "VARCHAR": Physical("text", "VARCHAR"),
    "BOOLEAN": Physical("boolean", "BOOLEAN"),
    "DATE": Physical("date", "DATE"),
    "TIMESTAMP": Physical("timestamp", "TIMESTAMP"),
    # not TIMESTAMP_S, _MS and _NS, whose values may overflow where they meet a TIMESTAMP, nor WITH TIME ZONE, whose
    # reading depends on the session: a view casts them
}
_COLLATED: Final = Physical("text", "VARCHAR with a collation", exact=False)

ENCRYPTED: Final = ("temp_file_encryption = true", "force_mbedtls_unsafe = true")
"""Intermediate results that are spilled hold private rows, and are encrypted.

Why the second: DuckDB comes without the extension that has its generator of random bytes (httpfs, which speaks to the
network as well), and refuses to write anything encrypted without it: a statement that had to spill would fail. The
cipher is the same; key and nonces come of a generator that is not a cryptographic one. So the folder, which its owner
alone reads and which goes with the process, is the wall, and the cipher what keeps rows from standing readable on a
disk.
"""

_SETTINGS: Final = (
    *ENCRYPTED,
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "allow_community_extensions = false",
    "python_enable_replacements = false",
    "enable_external_access = false",
    "TimeZone = 'UTC'",
    "lock_configuration = true",
)
_OPENING: Final = threading.Lock()
_ALIVE: Final[weakref.WeakSet[DuckdbEngine]] = weakref.WeakSet()
"""Engines that opened a file, under the lock above: a process has a file open once, whatever takes its place."""

_LEAVING: Final = 60.0
"""Seconds that an opening waits for the sessions that still read the file that was replaced."""
_OPENED: Final = "SELECT current_setting('lock_configuration'), current_setting('temp_directory')"

_TABLES = """
SELECT table_name FROM duckdb_tables()
WHERE database_name = current_database() AND schema_name = 'main' AND NOT internal AND NOT temporary
UNION ALL SELECT view_name FROM duckdb_views()
WHERE database_name = current_database() AND schema_name = 'main' AND NOT internal AND NOT temporary
"""
_COLUMNS = """
SELECT column_name, data_type, numeric_scale, NOT is_nullable, is_generated FROM duckdb_columns()
WHERE database_name = current_database() AND schema_name = 'main' AND table_name = $table ORDER BY column_index
"""
_VIEW = """
SELECT 1 FROM duckdb_views()
WHERE database_name = current_database() AND schema_name = 'main' AND view_name = $table
"""
_CONSTRAINTS = """
SELECT constraint_type, constraint_column_names, referenced_table, referenced_column_names FROM duckdb_constraints()
WHERE database_name = current_database() AND schema_name = 'main' AND table_name = $table
"""
# A macro that a file holds stands before the built-in function of its name, sum() and isnan() included.
SHADOWS: Final = """
SELECT DISTINCT function_name FROM duckdb_functions() WHERE NOT internal
AND lower(function_name) IN (SELECT lower(function_name) FROM duckdb_functions() WHERE internal) ORDER BY ALL
"""


class DuckdbEngine:
    """One DuckDB file, which all its sessions together read within ``memory`` bytes: what does not fit is spilled."""

    def __init__(self, path: Path, memory: int | None = None) -> None:
        self._path, self._memory = path, memory
        self._lock = threading.Lock()
        self._left = threading.Condition(self._lock)
        self._sessions, self._retiring = 0, False
        self._state: object = None
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._spill: Spill | None = None
        self._held: Held | None = None
        self._shapes: dict[str, TableShape] = {}

    def __repr__(self) -> str:
        return f"DuckdbEngine({str(self._path)!r})"

    @property
    def dialect(self) -> Dialect:
        """DuckDB's own."""
        return "duckdb"

    def tables(self) -> Collection[str]:
        """Return the tables and views of the schema ``main``."""
        with translated():
            return tuple(str(row[0]) for row in self._cursor().execute(_TABLES).fetchall())

    @contextmanager
    def session(self, limits: Limits) -> Iterator[DuckdbSession]:
        """Open a read-only transaction on a cursor of its own."""
        with self._present():
            cursor, held = self._lent()
            try:
                with translated():
                    cursor.execute("BEGIN TRANSACTION READ ONLY")
                yield DuckdbSession(self, cursor, time.monotonic() + limits.seconds)
            finally:
                with suppress(duckdb.Error):
                    cursor.execute("ROLLBACK")
                cursor.close()
                # the file stays held until here, and its spilled rows, also if the engine was closed meanwhile
                del held

    @contextmanager
    def _present(self) -> Iterator[None]:
        """Count a session, which begins when those that read a file that was replaced have ended."""
        with self._left:
            self._wait()
            self._sessions += 1
        try:
            yield
        finally:
            with self._left:
                self._sessions -= 1
                if self._retiring and not self._sessions:
                    self._shut()
                self._left.notify_all()

    def _wait(self) -> None:
        if not self._left.wait_for(lambda: not self._retiring, _LEAVING):
            raise EngineUnavailable(f"{self._path} was replaced, and the file that was there is still being read")

    def renew(self) -> None:
        """Read the file that stands at the path now from the next session on; sessions that run keep the one they have.

        Why only then, and not when the file changes: until an admin says so the data are what they were. Why a new
        session waits for those that run: DuckDB gives a process the file that it has open already.
        """
        with self._left:
            if self._connection is None or self._state == self._seen():
                return
            self._retiring = bool(self._sessions)
            if not self._retiring:
                self._shut()

    def _seen(self) -> object:
        """Return what tells the file at the path from another one; None if there is none."""
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns

    def read_only(self) -> bool:
        """Whether the file is attached read-only under a locked configuration without access to other files."""
        sql = (
            "SELECT bool_and(readonly), current_setting('lock_configuration'), "
            "NOT current_setting('enable_external_access') FROM duckdb_databases() WHERE NOT internal"
        )
        with translated():
            return self._cursor().execute(sql).fetchall() == [(True, True, True)]

    def close(self) -> None:
        """Close the file; sessions that run keep it open until they end."""
        with self._left:
            self._shut()
            self._left.notify_all()

    def _shut(self) -> None:
        # With its cursors, DuckDB closes those of sessions: let go of, the file closes with the last of these.
        if self._connection is not None and not self._sessions:
            with suppress(duckdb.Error):
                self._connection.close()
        self._connection, self._spill, self._held, self._retiring = None, None, None, False
        self._shapes = {}

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        return self._lent()[0]

    def _lent(self) -> tuple[duckdb.DuckDBPyConnection, tuple[Held | None, Spill | None]]:
        """Return a cursor, and what has to stay as long as it is used."""
        with self._lock:
            if self._connection is not None:
                return self._lend(self._connection)
        with _OPENING:
            # Engines are locked one after the other, and their openings by one lock: none waits for itself.
            self._retire_others()
            with self._lock:
                if self._connection is None:
                    self._connection = self._open()
                return self._lend(self._connection)

    def _lend(
        self, connection: duckdb.DuckDBPyConnection
    ) -> tuple[duckdb.DuckDBPyConnection, tuple[Held | None, Spill | None]]:
        with translated():
            return connection.cursor(), (self._held, self._spill)

    def _retire_others(self) -> None:
        """Have other engines of this process let go of the file that stood at this path, where another one does now."""
        path = self._path.resolve()
        _ALIVE.add(self)
        for other in [each for each in _ALIVE if each is not self and each._path.resolve() == path]:  # noqa: SLF001
            other.renew()
            with other._left:  # noqa: SLF001
                other._wait()  # noqa: SLF001

    def _open(self) -> duckdb.DuckDBPyConnection:
        self._state = self._seen()
        try:
            connection = self._connect()
            self._held = self._hold()
        except (duckdb.Error, OSError, RuntimeError) as error:
            raise EngineUnavailable(f"{self._path} could not be opened: {_brief(error)}") from error
        try:
            # a second engine on the same file shares the database that the first one has locked
            [(locked, folder)] = connection.execute(_OPENED).fetchall()
            if locked:
                self._spill = spill.at(folder)
            else:
                self._restrict(connection)
            shadows = [str(row[0]) for row in connection.execute(SHADOWS).fetchall()]
        except (duckdb.Error, OSError) as error:
            connection.close()
            self._held, self._spill = None, None
            raise EngineUnavailable(f"{self._path} could not be locked: {_brief(error)}") from error
        if shadows:
            connection.close()
            self._held, self._spill = None, None
            raise EngineUnavailable(f"{self._path} redefines built-in functions by macros: {', '.join(shadows)}")
        return connection

    def _connect(self) -> duckdb.DuckDBPyConnection:
        # an empty configuration: one process cannot open a file twice under two of them
        return duckdb.connect(str(self._path), read_only=True)

    def _hold(self) -> Held | None:
        """Return what keeps the file locked, whatever else in this process opens and closes it: a copier does."""
        return Held(self._path)

    def attach(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        """Attach the data to another connection, read-only, as a database of that name."""
        path = str(self._path).replace("'", "''")
        connection.execute(f"ATTACH '{path}' AS {name} (READ_ONLY)")

    def _restrict(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._spill = Spill()
        connection.execute("SET GLOBAL temp_directory = $folder", {"folder": str(self._spill.path)})
        if self._memory is not None:
            connection.execute(f"SET GLOBAL memory_limit = '{int(self._memory)} bytes'")
        for setting in _SETTINGS:
            connection.execute(f"SET GLOBAL {setting}")

    def shape(self, table: str) -> TableShape | None:
        """Return the catalogue's entry of a table or view, None if there is none; read once while the file is open."""
        if table not in self._shapes:
            # a cursor apart: a collation shows in a binding error, and an error aborts the session's transaction
            cursor = self._cursor()
            with translated():
                found = shape(cursor, table)
            cursor.close()
            if found is None:
                return None
            self._shapes[table] = found
        return self._shapes[table]


class DuckdbSession:
    """One read-only transaction on one cursor."""

    def __init__(self, engine: DuckdbEngine, cursor: duckdb.DuckDBPyConnection, deadline: float) -> None:
        self._engine, self._cursor, self._deadline = engine, cursor, deadline
        self._running: Watchdog | None = None

    def schema(self, tables: Collection[str]) -> Mapping[str, TableShape]:
        """Return the catalogue's entries of those tables that exist."""
        found = ((table, self._engine.shape(table)) for table in tables)
        return {table: shape for table, shape in found if shape is not None}

    def fetch(self, sql: str) -> pa.Table:
        """Run one SELECT and return its rows."""
        if time.monotonic() >= self._deadline:
            raise EngineError("the session's time limit is reached")
        with Watchdog(self._deadline, lambda _: self._cursor.interrupt()) as watchdog:
            self._running = watchdog
            try:
                with translated():
                    return arrow(self._cursor, sql)
            except EngineError as error:
                if watchdog.fired:
                    raise EngineError("interrupted: the session's time limit is reached or it was cancelled") from error
                raise
            finally:
                self._running = None

    def cancel(self) -> None:
        """Interrupt the statement that runs, if one does."""
        watchdog = self._running
        if watchdog is not None:
            watchdog.cancel()


_PARSED: Final[Kept[duckdb.Statement]] = Kept(256)

LARGEST_KEPT: Final = 16_384
"""Characters of a statement beyond which it is parsed each time that it is asked."""


def arrow(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """Run exactly one SELECT and return its rows; ``EngineError`` if it is none; DuckDB's own errors pass."""
    if len(sql) > LARGEST_KEPT:
        parsed = _select(connection, sql)
    else:
        # What a text parses to hangs on the text alone: what it names is bound anew, on this connection.
        parsed = _PARSED.get((), sql, lambda: _select(connection, sql))
    # sql() rather than execute(): its relation exports Arrow without a warning
    relation = connection.sql(parsed)
    if relation is None:
        raise EngineError("the statement has no rows")
    rows: pa.Table = relation.to_arrow_table()
    return rows


def _select(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise EngineError("not one SELECT")
    return statements[0]


@contextmanager
def translated() -> Iterator[None]:
    """Turn what DuckDB and Arrow raise into ``EngineError``."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, RuntimeError, ValueError, MemoryError, OverflowError) as error:
        raise EngineError(_brief(error)) from error


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:2_000]}"


def shape(cursor: duckdb.DuckDBPyConnection, table: str) -> TableShape | None:
    """Return what the catalogue of a cursor's database says of a table or view, None if there is none.

    Why a generated column is not read: DuckDB computes it whenever it is read, and what was checked when a row came is
    not checked when it is updated, so that one row may raise an error.
    """
    columns: list[tuple[str, Physical | None, bool]] = []
    for name, data_type, scale, not_null, generated in cursor.execute(_COLUMNS, {"table": table}).fetchall():
        physical = _KINDS.get(data_type)
        if generated:
            physical = None
        elif str(data_type).startswith("DECIMAL(") and int(scale) <= _MOST_DECIMALS:
            physical = Physical("decimal", data_type, int(scale))
        if physical is not None and physical.kind == "text" and _collated(cursor, table, name):
            physical = _COLLATED
        columns.append((name, physical, bool(not_null)))
    if not columns:
        return None
    unique: set[frozenset[str]] = set()
    foreign: set[ForeignKey] = set()
    for kind, names, target, keys in cursor.execute(_CONSTRAINTS, {"table": table}).fetchall():
        match kind:
            case "PRIMARY KEY" | "UNIQUE" if enforced_key(names, columns):
                unique.add(frozenset(names))
            case "FOREIGN KEY":
                foreign.add(ForeignKey(tuple(names), target, tuple(keys)))
            case _:
                pass
    view = bool(cursor.execute(_VIEW, {"table": table}).fetchall())
    return TableShape(tuple(columns), frozenset(unique), frozenset(foreign), view)


def _collated(cursor: duckdb.DuckDBPyConnection, table: str, column: str) -> bool:
    """Whether a text column compares under any collation: the catalogue does not say, but the binder minds.

    A column with a collation does not combine with another one; no column combines with both of these. Nothing is read.
    """
    name, source = (f'"{text.replace(chr(34), chr(34) * 2)}"' for text in (column, table))
    try:
        for collation in ("NOCASE", "NOACCENT"):
            # names are quoted identifiers of the catalogue
            cursor.execute(f"SELECT 1 FROM {source} WHERE false AND {name} = ('a' COLLATE {collation})").fetchall()  # noqa: S608
    except duckdb.BinderException:
        return True
    return False
