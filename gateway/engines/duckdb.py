"""DuckDB files: opened read-only and locked, one cursor and one snapshot a session, Arrow out.

The file is opened by the first session and stays open until ``close``. DuckDB holds a lock on it as long, so that no
other process changes data or schema under a running gateway; other read-only openings coexist.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from gateway.engines.base import EngineError, EngineUnavailable, Limits
from gateway.engines.held import Held
from gateway.engines.keys import enforced_key
from gateway.engines.watchdog import Watchdog
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

_SETTINGS: Final = (
    "temp_file_encryption = true",
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "allow_community_extensions = false",
    "python_enable_replacements = false",
    "enable_external_access = false",
    "TimeZone = 'UTC'",
    "lock_configuration = true",
)
_OPENING: Final = threading.Lock()

_TABLES = """
SELECT table_name FROM duckdb_tables()
WHERE database_name = current_database() AND schema_name = 'main' AND NOT internal AND NOT temporary
UNION ALL SELECT view_name FROM duckdb_views()
WHERE database_name = current_database() AND schema_name = 'main' AND NOT internal AND NOT temporary
"""
_COLUMNS = """
SELECT column_name, data_type, numeric_scale, NOT is_nullable FROM duckdb_columns()
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
    """One DuckDB file. The memory limit of the first session holds for the opened file, until ``close``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._spill: weakref.finalize[..., DuckdbEngine] | None = None
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
            return tuple(str(row[0]) for row in self._cursor(Limits(60)).execute(_TABLES).fetchall())

    @contextmanager
    def session(self, limits: Limits) -> Iterator[DuckdbSession]:
        """Open a read-only transaction on a cursor of its own."""
        cursor, held = self._cursor(limits), self._held
        try:
            with translated():
                cursor.execute("BEGIN TRANSACTION READ ONLY")
            yield DuckdbSession(self, cursor, time.monotonic() + limits.seconds)
        finally:
            with suppress(duckdb.Error):
                cursor.execute("ROLLBACK")
            cursor.close()
            del held  # the file stays held until here, also if the engine was closed meanwhile

    def read_only(self) -> bool:
        """Whether the file is attached read-only under a locked configuration without access to other files."""
        sql = (
            "SELECT bool_and(readonly), current_setting('lock_configuration'), "
            "NOT current_setting('enable_external_access') FROM duckdb_databases() WHERE NOT internal"
        )
        with translated():
            return self._cursor(Limits(60)).execute(sql).fetchall() == [(True, True, True)]

    def close(self) -> None:
        """Close the file; sessions that run keep it open until they end."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            if self._spill is not None:
                self._spill()
            self._connection, self._spill, self._held = None, None, None
            self._shapes = {}

    def _cursor(self, limits: Limits) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if self._connection is None:
                self._connection = self._open(limits)
            with translated():
                return self._connection.cursor()

    def _open(self, limits: Limits) -> duckdb.DuckDBPyConnection:
        with _OPENING:
            try:
                connection = self._connect()
                self._held = self._hold()
            except (duckdb.Error, OSError, RuntimeError) as error:
                raise EngineUnavailable(f"{self._path} could not be opened: {_brief(error)}") from error
            try:
                # a second engine on the same file shares the database that the first one has locked
                if connection.execute("SELECT current_setting('lock_configuration')").fetchall() != [(True,)]:
                    self._restrict(connection, limits)
                shadows = [str(row[0]) for row in connection.execute(SHADOWS).fetchall()]
            except (duckdb.Error, OSError) as error:
                connection.close()
                self._held = None
                raise EngineUnavailable(f"{self._path} could not be locked: {_brief(error)}") from error
            if shadows:
                connection.close()
                self._held = None
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

    def _restrict(self, connection: duckdb.DuckDBPyConnection, limits: Limits) -> None:
        # intermediate results hold private rows: they spill, encrypted, into a folder of our own (0700)
        folder = tempfile.mkdtemp(prefix="discreet-")
        self._spill = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        connection.execute("SET GLOBAL temp_directory = $folder", {"folder": folder})
        if limits.memory is not None:
            connection.execute(f"SET GLOBAL memory_limit = '{int(limits.memory)} bytes'")
        for setting in _SETTINGS:
            connection.execute(f"SET GLOBAL {setting}")

    def shape(self, table: str) -> TableShape | None:
        """Return the catalogue's entry of a table or view, None if there is none; read once while the file is open."""
        if table not in self._shapes:
            # a cursor apart: a collation shows in a binding error, and an error aborts the session's transaction
            cursor = self._cursor(Limits(60))
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


def arrow(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """Run exactly one SELECT and return its rows; ``EngineError`` if it is none; DuckDB's own errors pass."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise EngineError("not one SELECT")
    # sql() rather than execute(): its relation exports Arrow without a warning
    relation = connection.sql(statements[0])
    if relation is None:
        raise EngineError("the statement has no rows")
    rows: pa.Table = relation.to_arrow_table()
    return rows


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
    """Return what the catalogue of a cursor's database says of a table or view, None if there is none."""
    columns: list[tuple[str, Physical | None, bool]] = []
    for name, data_type, scale, not_null in cursor.execute(_COLUMNS, {"table": table}).fetchall():
        physical = _KINDS.get(data_type)
        if str(data_type).startswith("DECIMAL(") and int(scale) <= _MOST_DECIMALS:
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
