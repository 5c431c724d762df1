"""SQLite files: opened read-only, one statement at a time, with the few exact functions that the dialect needs.

SQLite types values rather than columns and has 64-bit integers alone; what that means for canonical columns and exact
sums is said in ``gateway.sql.writing.dialects.sqlite``.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa
import sqlalchemy as sa

from gateway.engines.alchemy import execute
from gateway.engines.base import EngineUnavailable, Limits
from gateway.engines.keys import enforced_key
from gateway.engines.sqlitefunctions import add_functions
from gateway.policy.model import Dialect, ForeignKey, Physical, TableShape

_OLDEST: Final = (3, 37, 0)
"""STRICT tables, and a list of tables that says which are."""

_EXACT: Final[dict[str, Physical]] = {
    "INTEGER": Physical("integer", "INTEGER"),
    "REAL": Physical("float", "REAL"),
    "TEXT": Physical("text", "TEXT"),
    "BOOLEAN": Physical("boolean", "BOOLEAN"),
    "DATE": Physical("date", "DATE"),
    # Not exact: '2020-01-01' and '2020-01-01 00:00:00' are two keys to an index and one instant at the scan.
    "TIMESTAMP": Physical("timestamp", "TIMESTAMP", exact=False),
}
_WORDS: Final = (
    ("INT", "INTEGER"),
    *((word, "TEXT") for word in ("CHAR", "CLOB", "TEXT")),
    *((word, "REAL") for word in ("REAL", "FLOA", "DOUB", "NUMERIC", "DECIMAL")),
)
"""The words in a declared type that decide its affinity, in SQLite's own order; decimals are doubles there."""

_ALIASES: Final = {"BOOL": "BOOLEAN", "DATETIME": "TIMESTAMP"}
_COLLATED: Final = re.compile(r"\bcollate\b(?!\s+binary\b)", re.IGNORECASE)
"""A collation other than BINARY, or one whose name stands in quotes or behind a comment, whichever it is."""

_ALLOWED: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_TRANSACTION}
)
_CATALOGUE: Final = frozenset(
    {"table_list", "table_xinfo", "index_list", "index_xinfo", "foreign_key_list", "encoding", "query_only"}
)


class SqliteBackend:
    """One SQLite file."""

    dialect: Dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self._path)

    def redact(self, text: str) -> str:
        """Return the text: a file has no password."""
        return text

    def engine(self) -> sa.Engine:
        """Return SQLAlchemy's engine over read-only connections of our own making."""
        return sa.create_engine("sqlite://", creator=self._connect, poolclass=sa.NullPool)

    def _connect(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < _OLDEST:
            raise EngineUnavailable(f"SQLite {sqlite3.sqlite_version} is too old: 3.37 or later is needed")
        uri = f"file:{quote(str(self._path.absolute()))}?mode=ro"
        # another thread interrupts; statements run on one thread at a time
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            for statement in ("query_only = ON", "trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
                connection.execute(f"PRAGMA {statement}")
            add_functions(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def settle(self, connection: sa.Connection, limits: Limits) -> None:
        """Assert the encoding, and begin: the first read takes the snapshot, which is kept until the end."""
        del limits
        raw: Any = connection.connection.dbapi_connection
        raw.set_authorizer(_authorized)  # after SQLAlchemy's own first questions
        [(encoding,)] = execute(connection, "PRAGMA encoding").fetchall()
        if encoding != "UTF-8":
            raise EngineUnavailable(f"{self.name} keeps text as {encoding}; UTF-8 is needed")
        execute(connection, "BEGIN")
        execute(connection, "SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()

    def read_only(self, connection: sa.Connection) -> bool:
        """Whether the file is open read-only; tried on a connection without the guards that stand before that."""
        guarded = execute(connection, "PRAGMA query_only").fetchall() == [(1,)]
        with closing(self._connect()) as bare:
            bare.execute("PRAGMA query_only = OFF")
            [(version,)] = bare.execute("PRAGMA user_version").fetchall()
            bare.execute("BEGIN")
            try:
                bare.execute(f"PRAGMA user_version = {int(version)}")
            except sqlite3.OperationalError as error:
                return guarded and error.sqlite_errorname.startswith("SQLITE_READONLY")
            bare.execute("ROLLBACK")
        return False

    def tables(self, connection: sa.Connection) -> Collection[str]:
        """Return the tables and views of the file; virtual tables run code of their own and are left out."""
        rows = execute(connection, "PRAGMA main.table_list").fetchall()
        return [name for schema, name, kind, *_ in rows if schema == "main" and _read(name, kind)]

    def shape(self, connection: sa.Connection, table: str) -> TableShape | None:
        """Return what the schema says of a table or view."""
        rows = execute(connection, f"PRAGMA main.table_list({_quoted(table)})").fetchall()
        listed = [row for row in rows if row[0] == "main" and row[1] == table and _read(table, row[2])]
        if not listed:
            return None
        _, _, kind, _, _, strict = listed[0]
        collated = self._collated(connection, table, view=kind == "view")
        columns: list[tuple[str, Physical | None, bool]] = []
        for _, name, declared, not_null, _, _, hidden in self._listed(connection, "table_xinfo", table):
            if hidden != 1:
                # a virtual generated column is computed whenever it is read, which may raise an error at some row
                physical = None if hidden == 2 else _physical(declared, collated, strict=bool(strict))
                # only a STRICT table holds what it declares: elsewhere a value that is not NULL may become so
                columns.append((name, physical, bool(not_null and strict)))
        return TableShape(
            tuple(columns),
            frozenset(self._unique(connection, table, columns, strict=bool(strict))),
            frozenset(self._foreign(connection, table)),
            kind == "view",
        )

    def _listed(self, connection: sa.Connection, what: str, name: str) -> Sequence[Any]:
        return execute(connection, f"PRAGMA main.{what}({_quoted(name)})").fetchall()

    def _collated(self, connection: sa.Connection, table: str, *, view: bool) -> bool:
        """Whether some text of a table may compare otherwise than byte by byte; of a view, of any table."""
        only = "" if view else f" WHERE name = {_quoted(table)}"
        rows = execute(connection, f"SELECT sql FROM sqlite_schema{only}").fetchall()  # noqa: S608 - quoted
        return any(_COLLATED.search(sql or "") for (sql,) in rows)

    def _unique(
        self,
        connection: sa.Connection,
        table: str,
        columns: Collection[tuple[str, Physical | None, bool]],
        *,
        strict: bool,
    ) -> set[frozenset[str]]:
        """Return the enforced keys: whole indexes over plain columns, and the key that is the row's own number.

        Why keys of several columns only in STRICT tables: elsewhere a value of another type than declared is NULL at
        the scan, and then two rows may share what is left of their key.
        """
        found = set()
        for _, index, unique, _, partial in self._listed(connection, "index_list", table):
            if unique and not partial:
                parts = [row for row in self._listed(connection, "index_xinfo", index) if row[5]]
                names = [row[2] for row in parts]
                if None not in names and (strict or len(names) == 1) and enforced_key(names, columns):
                    found.add(frozenset(names))
        keys = [row[1] for row in self._listed(connection, "table_xinfo", table) if row[5]]
        if len(keys) == 1 and enforced_key(keys, columns):
            # a primary key is enforced, by an index or as the number of the row
            found.add(frozenset(keys))
        return found

    def _foreign(self, connection: sa.Connection, table: str) -> set[ForeignKey]:
        links: dict[int, list[Any]] = {}
        for row in self._listed(connection, "foreign_key_list", table):
            links.setdefault(row[0], []).append(row)
        found = set()
        for rows in links.values():
            ordered = sorted(rows, key=lambda row: row[1])
            here, target, there = tuple(row[3] for row in ordered), ordered[0][2], [row[4] for row in ordered]
            if None in there:  # the target's primary key is meant
                there = [
                    row[1]
                    for row in sorted(self._listed(connection, "table_xinfo", target), key=lambda r: r[5])
                    if row[5]
                ]
            found.add(ForeignKey(here, target, tuple(there)))
        return found

    def interrupt(self, connection: sa.Connection) -> None:
        """Stop the statement that runs."""
        raw: Any = connection.connection.dbapi_connection
        raw.interrupt()

    def array(self, values: Sequence[Any], code: object) -> pa.Array[Any]:
        """Return a column: tagged keys and sums as what their tags say, plain numbers as they are."""
        del code
        decoded: list[Any] = [_untagged(value) if isinstance(value, bytes) else value for value in values]
        kinds = {type(value) for value in decoded} - {type(None)}
        if kinds <= {int}:
            fits = all(value is None or -(2**63) <= value < 2**63 for value in decoded)
            return pa.array(decoded, type=pa.int64() if fits else pa.decimal256(76, 0))
        kind = {
            float: pa.float64(),
            str: pa.string(),
            bool: pa.bool_(),
            date: pa.date32(),
            datetime: pa.timestamp("us"),
        }
        [only] = kinds
        return pa.array(decoded, type=kind[only])


def _untagged(value: bytes) -> int | str | bool | date | datetime:
    tag, text = value[:1], value[1:].decode()
    match tag:
        case b"I":
            return int(text)
        case b"S":
            return text
        case b"B":
            return text == "1"
        case b"D":
            return date.fromisoformat(text)
        case b"T":
            return datetime.fromisoformat(text)
    raise ValueError("a column of a type that bounded SQL does not return")


def _read(name: str, kind: str) -> bool:
    return kind in ("table", "view") and not name.startswith("sqlite_")


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


def _physical(declared: str, collated: bool, *, strict: bool) -> Physical | None:
    """Return how a column's values are read; a STRICT table declares one of a few types, any other table any word."""
    word = re.sub(r"\(.*", "", declared).strip().upper()
    word = _ALIASES.get(word, word)
    if word not in _EXACT or strict:
        word = next((kind for part, kind in _WORDS if part in word), "")
    if word == "TEXT" and collated:
        return Physical("text", "TEXT with a collation", exact=False)
    return _EXACT.get(word)


def _authorized(action: int, first: str | None, _second: str | None, _base: str | None, _by: str | None) -> int:
    """Admit reading and the catalogue's own words; no writing, attaching, or setting is admitted on any connection."""
    if action in _ALLOWED or (action == sqlite3.SQLITE_PRAGMA and first in _CATALOGUE):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY
