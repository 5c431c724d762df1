"""A prepared copy in a DuckDB file of its own: made beside the data, which are attached read-only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import duckdb

from gateway.engines.base import EngineError
from gateway.engines.copier import Begun
from gateway.engines.duckdb import ENCRYPTED, SHADOWS, DuckdbEngine, translated
from gateway.engines.held import Alone

_SETTINGS: Final = (
    *ENCRYPTED,
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "allow_community_extensions = false",
    "python_enable_replacements = false",
    "TimeZone = 'UTC'",
)
_STATE: Final = "discreet_copy.discreet"


class DuckdbCopier:
    """One file in a folder that nobody else reads (0700), itself readable by its owner alone (0600).

    It is locked until ``close``, also once it is finished: who else is to make this copy would make it anew.
    """

    target: Final = "discreet_copy.main"

    def __init__(self, path: Path, source: DuckdbEngine, memory: int) -> None:
        self._path = path
        self._alone: Alone | None = None
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with translated():
            self._connection = duckdb.connect()
        try:
            with translated():
                # what does not fit into memory holds private rows: it stays in the folder, encrypted
                self._connection.execute("SET temp_directory = $folder", {"folder": f"{path}.tmp"})
                self._connection.execute(f"SET memory_limit = '{int(memory)} bytes'")
                for setting in _SETTINGS:
                    self._connection.execute(f"SET {setting}")
                source.attach(self._connection, "discreet_source")
                self._connection.execute(f"ATTACH '{str(path).replace(chr(39), chr(39) * 2)}' AS discreet_copy")
                path.chmod(0o600)
                self._alone = _alone(path)
                self._connection.execute("USE discreet_source")
                shadows = self._connection.execute(SHADOWS).fetchall()
            if shadows:  # of this very file: the engine may hold one that has been replaced since
                raise EngineError(f"the data redefine built-in functions by macros: {', '.join(n for (n,) in shadows)}")
        except BaseException:
            self.close()
            raise

    def begin(self, key: str) -> Begun:
        """Make the file with that key, or return what an earlier run left in it."""
        found = "SELECT 1 FROM duckdb_tables() WHERE database_name = 'discreet_copy' AND schema_name = 'discreet'"
        with translated():
            if self._connection.execute(f"{found} AND table_name = 'done'").fetchall():
                [(kept,)] = self._connection.execute(f"SELECT key FROM {_STATE}.build").fetchall()
                done = self._connection.execute(f"SELECT name FROM {_STATE}.done").fetchall()
                return Begun(str(kept), [str(name) for (name,) in done])
            # last what tells that the rest is there
            self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_STATE}")
            self._connection.execute(f"CREATE OR REPLACE TABLE {_STATE}.build AS SELECT $key AS key", {"key": key})
            self._connection.execute(f"CREATE TABLE {_STATE}.done (name VARCHAR PRIMARY KEY)")
        return Begun(key, ())

    def number(self, sql: str) -> int:
        """Return the one whole number that a query gives."""
        with translated():
            found = self._connection.execute(sql).fetchall()
        return int(found[0][0])

    def copy(self, table: str, statements: Sequence[str]) -> None:
        """Make one table anew, and note that it is done."""
        quoted = '"' + table.replace('"', '""') + '"'
        with translated():
            # not in one transaction: DuckDB adds no primary key to rows that are not committed
            for statement in (f"DROP TABLE IF EXISTS {self.target}.{quoted}", *statements):
                self._connection.execute(statement)
            self._connection.execute(f"INSERT INTO {_STATE}.done VALUES ($name)", {"name": table})

    def finish(self, reader: str) -> None:
        """Forget the key and write everything out; the file's rights say who reads it."""
        del reader
        with translated():
            self._connection.execute(f"DROP SCHEMA {_STATE} CASCADE")
            self._connection.execute("CHECKPOINT discreet_copy")
        self._connection.close()
        try:
            with self._path.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:  # also where an admin dropped the copy meanwhile
            raise EngineError(f"the file of a copy could not be written out: {error.strerror}") from error

    def drop(self) -> None:
        """Remove the file."""
        self.close()
        remove(self._path)

    def close(self) -> None:
        """Release both files."""
        with contextlib.suppress(duckdb.Error):
            self._connection.close()
        if self._alone is not None:
            self._alone.close()


def _alone(path: Path) -> Alone:
    try:
        return Alone(path)
    except OSError as error:
        raise EngineError("another process makes this copy now") from error


def remove(path: Path) -> None:
    """Remove a copy's file, and what may stand beside it; what reads it keeps it until it is closed."""
    try:
        for each in (path, Path(f"{path}.wal")):
            each.unlink(missing_ok=True)
    except OSError as error:
        raise EngineError(f"the file of a copy could not be removed: {error.strerror}") from error
