"""Post-processing SQL over noisy tables: pooled, locked, in-memory DuckDB instances that see nothing else.

What runs here was rendered from our own algebra; that is the first wall. The instance's settings are the second: no
files, no extensions, no change of settings. The third are limits on time, memory and rows, since the settings do not
stop a statement from being large. Nothing private is ever in here, so that a breach would cost honesty, not privacy.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from gateway.engines.watchdog import Watchdog

_SETTINGS: Final = (
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "allow_community_extensions = false",
    "python_enable_replacements = false",
    "temp_directory = ''",
    "enable_external_access = false",
    "TimeZone = 'UTC'",
    "lock_configuration = true",
)
_LEFT_BEHIND: Final = """
SELECT (SELECT count(*) FROM duckdb_tables()) + (SELECT count(*) FROM duckdb_views() WHERE NOT internal)
  + (SELECT count(*) FROM duckdb_databases() WHERE NOT internal) - 1
"""


class SandboxFailed(Exception):
    """Post-processing failed or went over a limit, in words for the admin's log alone."""


class SandboxOpen(Exception):
    """The canary found that an instance lets something through that it must refuse."""


class Sandbox:
    """A pool of instances, shared by threads; each statement has one for itself.

    ``memory`` is in bytes and for one instance, ``seconds`` and ``rows`` for one statement; ``idle`` instances are kept
    for reuse, since a fresh one costs some twenty milliseconds.
    """

    def __init__(self, *, memory: int, seconds: float, rows: int = 100_000, idle: int = 4) -> None:
        self._memory, self._seconds, self._rows, self._idle = memory, seconds, rows, idle
        self._lock = threading.Lock()
        self._pool: list[duckdb.DuckDBPyConnection] = []
        self._closed = False

    def run(self, sql: str, tables: Mapping[str, pa.Table]) -> pa.Table:
        """Return the rows of one SELECT over those tables, in its order; ``SandboxFailed`` on any failure or limit."""
        instance = self._take()
        try:
            rows = self._statement(instance, sql, tables)
            reusable = instance.execute(_LEFT_BEHIND).fetchall() == [(0,)]
        except BaseException:
            # an interrupted or failed instance may still hold memory or a half-done statement
            instance.close()
            raise
        self._give_back(instance, reusable=reusable)
        return rows

    def canary(self) -> None:
        """Assert that a fresh instance computes and that its lock holds; ``SandboxOpen`` if not."""
        if self.run("SELECT 1 + x AS y FROM t", {"t": pa.table({"x": [1]})}).to_pylist() != [{"y": 2}]:
            raise SandboxOpen("the sandbox does not compute")
        instance = _instance(self._memory)
        try:
            with tempfile.TemporaryDirectory(prefix="discreet-canary-") as folder:
                for name, sql in _escapes(Path(__file__), Path(folder)):
                    _refused(instance, name, sql)
                if any(Path(folder).iterdir()):
                    raise SandboxOpen("a file was written")
        finally:
            instance.close()

    def close(self) -> None:
        """Close the instances; those in use are closed when they are done."""
        with self._lock:
            self._closed = True
            for instance in self._pool:
                instance.close()
            self._pool.clear()

    def _take(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if self._closed:
                raise SandboxFailed("the sandbox is closed")
            if self._pool:
                return self._pool.pop()
        with _translated():
            return _instance(self._memory)

    def _give_back(self, instance: duckdb.DuckDBPyConnection, *, reusable: bool) -> None:
        with self._lock:
            if reusable and not self._closed and len(self._pool) < self._idle:
                self._pool.append(instance)
                return
        instance.close()

    def _statement(self, instance: duckdb.DuckDBPyConnection, sql: str, tables: Mapping[str, pa.Table]) -> pa.Table:
        # tables registered on a cursor are invisible to others and go with it
        cursor = instance.cursor()
        try:
            with Watchdog(time.monotonic() + self._seconds, lambda _: cursor.interrupt()) as watchdog:
                try:
                    with _translated():
                        return self._rows_of(cursor, sql, tables)
                except SandboxFailed as error:
                    if watchdog.fired:
                        raise SandboxFailed(f"post-processing took more than {self._seconds} seconds") from error
                    raise
        finally:
            with suppress(duckdb.Error):
                cursor.execute("ROLLBACK")
            cursor.close()

    def _rows_of(self, cursor: duckdb.DuckDBPyConnection, sql: str, tables: Mapping[str, pa.Table]) -> pa.Table:
        for name, table in tables.items():
            cursor.register(name, table)
        statements = cursor.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise SandboxFailed("not one SELECT")
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        relation = cursor.sql(statements[0])
        if relation is None:
            raise SandboxFailed("the statement has no rows")
        reader: pa.RecordBatchReader = relation.to_arrow_reader(10_000)
        batches: list[pa.RecordBatch] = []
        seen = 0
        for batch in reader:
            seen += batch.num_rows
            if seen > self._rows:
                raise SandboxFailed(f"post-processing returned more than {self._rows} rows")
            batches.append(batch)
        return pa.Table.from_batches(batches, schema=reader.schema)


def _instance(memory: int) -> duckdb.DuckDBPyConnection:
    instance = duckdb.connect(":memory:", config={"threads": "1", "memory_limit": f"{int(memory)} bytes"})
    try:
        for setting in _SETTINGS:
            instance.execute(f"SET GLOBAL {setting}")
    except duckdb.Error:
        instance.close()
        raise
    return instance


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, pa.ArrowException, RuntimeError, ValueError, MemoryError, OverflowError) as error:
        raise SandboxFailed(f"{type(error).__name__}: {str(error)[:2_000]}") from error


def _refused(instance: duckdb.DuckDBPyConnection, name: str, sql: str) -> None:
    try:
        instance.execute(sql).fetchall()
    except (duckdb.PermissionException, duckdb.InvalidInputException):
        return
    except duckdb.Error as error:
        # refused for another reason than the lock, which proves nothing
        raise SandboxOpen(f"{name} was not refused by the lock: {type(error).__name__}") from error
    raise SandboxOpen(f"{name} was not refused")


def _escapes(readable: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield statements that an unlocked instance would run, reading a file that exists and writing into a folder."""
    source, target = (str(path).replace("'", "''") for path in (readable, folder))
    yield "reading a file", f"FROM read_text('{source}')"
    yield "reading a CSV", f"FROM read_csv('{source}', sep='\\x01', header=false, strict_mode=false)"
    yield "listing files", f"FROM glob('{source}')"
    yield "COPY TO", f"COPY (SELECT 1) TO '{target}/copy.csv'"
    yield "EXPORT", f"EXPORT DATABASE '{target}/export'"
    yield "ATTACH of a file", f"ATTACH '{target}/attach.duckdb' AS other"
    yield "INSTALL", "INSTALL httpfs"
    yield "a change of memory", "SET memory_limit = '100GB'"
    yield "a change of threads", "SET threads = 64"
    yield "external access", "SET enable_external_access = true"
    yield "unlocking", "SET lock_configuration = false"
    yield "resetting", "RESET memory_limit"
