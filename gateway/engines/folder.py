"""A folder of Parquet or CSV files as read-only tables, read by DuckDB where they lie.

``visit.parquet`` and ``visit/*.parquet`` are the table ``visit``, and so with ``.csv``. A Parquet file says what its
columns are. A CSV file does not, and guessing its types from its rows would let one row decide what the others mean:
the folder's ``schema.sql`` says it, in a CREATE TABLE each; a value that is none of its column's type is NULL.

The gateway names every file by itself; DuckDB may open those and no other, and no path stands in any statement. Files
are compared with what was opened (names, sizes, times) when a session begins, and opened anew where they differ.
"""

from __future__ import annotations

import csv
import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, Literal

import duckdb

from gateway.engines.base import EngineUnavailable
from gateway.engines.duckdb import DuckdbEngine
from gateway.engines.held import Held
from gateway.engines.spill import Spill
from gateway.policy.model import TableShape

SCHEMA: Final = "schema.sql"
MOST_FILES: Final = 100_000
_PATTERN: Final = re.compile(r"[*?\[{]")

_FILES_DIFFER: Final = """
SELECT file_name FROM parquet_schema($files)
GROUP BY file_name HAVING list((column_id, name, duckdb_type) ORDER BY column_id) <> (
  SELECT list((column_id, name, duckdb_type) ORDER BY column_id) FROM parquet_schema($first))
ORDER BY 1 LIMIT 1
"""
_MILLISECONDS: Final = """
SELECT DISTINCT name FROM parquet_schema($files)
WHERE converted_type = 'TIMESTAMP_MILLIS' OR logical_type LIKE '%MILLIS=M%'
"""
"""The columns of instants that DuckDB makes microseconds of, which raises where one does not fit 64 bits then."""

_DECLARED: Final = """
SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index
"""

Files = Mapping[str, tuple[Path, ...]]
Print = tuple[tuple[str, int, int], ...]


class FolderEngine(DuckdbEngine):
    """One folder, each of whose files or folders of files is a table."""

    def __init__(self, folder: Path, suffix: Literal["parquet", "csv"], memory: int | None = None) -> None:
        super().__init__(folder, memory)
        self._suffix = suffix
        self._opened: Print = ()
        self._raising: Mapping[str, frozenset[str]] = {}
        self._checking = threading.Lock()

    def __repr__(self) -> str:
        return f"FolderEngine({str(self._path)!r}, {self._suffix})"

    def read_only(self) -> bool:
        """Whether the instance is locked to the folder's files; that a statement is a SELECT is the session's part.

        DuckDB would let COPY write to a file that may be read, so that the rights of the process matter too: give the
        gateway a folder that it cannot write.
        """
        sql = "SELECT current_setting('lock_configuration'), NOT current_setting('enable_external_access')"
        with closing(self._cursor()) as cursor:
            return cursor.execute(sql).fetchall() == [(True, True)]

    def shape(self, table: str) -> TableShape | None:
        """Return what the files say of a table; no key of theirs is enforced by anything.

        A column that may raise an error while it is read is of no type that anything can be done with.
        """
        found = super().shape(table)
        if found is None:
            return None
        raising = self._raising.get(table, frozenset())
        columns = ((name, None if name in raising else kind, not_null) for name, kind, not_null in found.columns)
        return TableShape(tuple(columns), frozenset())

    def _lent(self) -> tuple[duckdb.DuckDBPyConnection, tuple[Held | None, Spill | None]]:
        with self._checking:
            if self._opened != _print(self._files()):
                self.close()
            return super()._lent()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        files = self._files()
        connection = duckdb.connect()
        try:
            self._create_views(connection, files, "main")
            parquet = self._suffix == "parquet"
            raising = {table: _raising(connection, paths) for table, paths in files.items()} if parquet else {}
            allowed = ", ".join(_text(path) for paths in files.values() for path in paths)
            connection.execute(f"SET GLOBAL allowed_paths = [{allowed}]")
        except BaseException:
            connection.close()
            raise
        self._opened, self._raising = _print(files), raising
        return connection

    def _seen(self) -> None:
        """Return nothing: what the files are is compared before each session, and ``renew`` finds nothing new."""
        return

    def _hold(self) -> None:
        """Return nothing: a folder's files are nobody's to lock; what they are is compared before each session."""
        return

    def attach(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        """Attach the tables to another connection as views over the files, in a database of that name."""
        connection.execute(f"ATTACH ':memory:' AS {name}")
        self._create_views(connection, self._files(), f"{name}.main")

    def _create_views(self, connection: duckdb.DuckDBPyConnection, files: Files, schema: str) -> None:
        columns = {} if self._suffix == "parquet" else self._declared()
        for table, paths in files.items():
            source = _parquet(connection, paths) if self._suffix == "parquet" else _csv(table, paths, columns)
            connection.execute(f"CREATE VIEW {schema}.{_quoted(table)} AS {source}")

    def _files(self) -> Files:
        """Return the files of each table; a folder that is not there, or holds too many, is no database."""
        if not self._path.is_dir():
            raise EngineUnavailable(f"{self._path} is no folder")
        found: dict[str, tuple[Path, ...]] = {}
        for entry in sorted(self._path.resolve().iterdir()):
            parts = (entry,) if entry.is_file() else tuple(sorted(path for path in entry.rglob("*") if path.is_file()))
            parts = tuple(path for path in parts if path.suffix.lower() == f".{self._suffix}")
            table = entry.stem if entry.is_file() else entry.name
            if parts and table in found:
                raise EngineUnavailable(f"{self._path}: {table} is a file and a folder")
            found |= {table: parts} if parts else {}
        if any(_PATTERN.search(str(path)) for paths in found.values() for path in paths):
            raise EngineUnavailable(f"{self._path}: DuckDB reads a name with * ? [ or {{ as a pattern for other files")
        if sum(map(len, found.values())) > MOST_FILES:
            raise EngineUnavailable(f"{self._path} holds more than {MOST_FILES} files")
        return found

    def _declared(self) -> Mapping[str, Mapping[str, str]]:
        """Return the columns of each table that the folder's schema declares, in their order."""
        path = self._path / SCHEMA
        if not path.is_file():
            raise EngineUnavailable(f"{path} is missing: it holds a CREATE TABLE for each CSV file")
        found: dict[str, dict[str, str]] = {}
        with closing(duckdb.connect(config={"enable_external_access": False})) as scratch:
            for statement in scratch.extract_statements(path.read_text(encoding="utf-8", errors="replace")):
                if statement.type != duckdb.StatementType.CREATE:
                    raise EngineUnavailable(f"{path} holds a statement that is no CREATE TABLE")
                scratch.execute(statement)
            for table, column, kind in scratch.execute(_DECLARED).fetchall():
                found.setdefault(table, {})[column] = kind
        return found


def _parquet(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> str:
    """Return a SELECT over files of one schema; one that differs would raise, or be cast, while it is read.

    Why bytes that are no UTF-8 are replaced: by default such a text raises an error when it is read, which one row
    would decide. What stands in its place hangs on its own bytes alone.

    Why texts are computed: the statistics of a file are of the bytes that it holds, not of what is read in their place,
    and writers have ordered them in several ways. Believing these, DuckDB passes over rows that a condition keeps, and
    one owner's text, the least of its file, would decide whose. It knows nothing of what a function gives.

    Why any double may be NaN: most writers leave NaN out of a file's statistics. Believing these, DuckDB takes no value
    for NaN, or all for the one that is least and greatest, so that the greatest one's owner would decide what everybody
    else's NaN are.
    """
    names = [str(path) for path in paths]
    differ = connection.execute(_FILES_DIFFER, {"files": names, "first": names[0]}).fetchall()
    if differ:
        raise EngineUnavailable(f"{differ[0][0]} has other columns than {names[0]}")
    options = "hive_partitioning = false, utf8_validation = 'replace', can_have_nan = true"
    source = f"read_parquet([{', '.join(map(_text, paths))}], {options})"
    described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608
    texts = [_quoted(name) for name, kind, *_ in described if kind == "VARCHAR"]
    computed = ", ".join(f"SUBSTRING({name}, 1) AS {name}" for name in texts)
    return f"SELECT *{f' REPLACE ({computed})' if texts else ''} FROM {source}"  # noqa: S608


def _raising(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> frozenset[str]:
    found = connection.execute(_MILLISECONDS, {"files": [str(path) for path in paths]}).fetchall()
    return frozenset(name for (name,) in found)


def _csv(table: str, paths: Sequence[Path], declared: Mapping[str, Mapping[str, str]]) -> str:
    """Return a SELECT over CSV files in which no line raises an error: one that is no row is no row of the table.

    Not in DuckDB's strict mode, in which a carriage return that ends no line is an error whatever is ignored. On one
    thread, since what a broken line takes with it would else hang on how a file is cut into parts.
    """
    columns = declared.get(table)
    if columns is None:
        raise EngineUnavailable(f"{SCHEMA} declares no table {table}")
    for path in paths:
        with path.open(encoding="utf-8", errors="replace", newline="") as lines:
            head = next(csv.reader(lines), [])
        if head != list(columns):
            raise EngineUnavailable(f"{path} begins with other columns than {SCHEMA} declares: {', '.join(columns)}")
    texts = ", ".join(f"{_quoted(name)}: 'VARCHAR'" for name in columns)
    options = "auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', parallel = false"
    lenient = "strict_mode = false, null_padding = true, ignore_errors = true"
    # not a bare cast, which DuckDB moves into the reader, where a value that is none takes its row away
    typed = ", ".join(
        f"TRY_CAST(NULLIF({_quoted(name)}, '') AS {kind}) AS {_quoted(name)}" for name, kind in columns.items()
    )
    files = ", ".join(map(_text, paths))
    return f"SELECT {typed} FROM read_csv([{files}], columns = {{{texts}}}, {options}, {lenient})"  # noqa: S608


def _print(files: Files) -> Print:
    """Return what tells files apart from what they were: names, sizes and times."""
    stated = [(str(path), path.stat()) for paths in files.values() for path in paths]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stated)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
