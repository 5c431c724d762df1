"""MariaDB 10.6 and later, through SQLAlchemy and PyMySQL: one read-only snapshot a session, in a mode that is asserted.

MySQL itself is refused: its words differ (limits of time, doubles, texts with spaces at their end), and nobody has
tried them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa

from gateway.engines.alchemy import execute
from gateway.engines.base import EngineUnavailable, Limits
from gateway.engines.keys import enforced_key
from gateway.policy.model import Dialect, ForeignKey, Physical, TableShape

_OLDEST: Final = (10, 6)
_COLLATION: Final = "utf8mb4_nopad_bin"
_MODES: Final = frozenset(
    {"ANSI_QUOTES", "PIPES_AS_CONCAT", "NO_BACKSLASH_ESCAPES", "NO_UNSIGNED_SUBTRACTION"}
    | {"NO_ZERO_DATE", "NO_ZERO_IN_DATE"}
)
_SESSION: Final[Mapping[str, str]] = {
    "time_zone": "'+00:00'",
    "div_precision_increment": "4",
    "old_mode": "''",
    "sql_auto_is_null": "0",
    "sql_big_selects": "1",
    "max_sort_length": "65536",
    "sort_buffer_size": "67108864",
    "default_week_format": "0",
}
"""What the meaning of a statement depends on; texts of functions are sorted by all of their 10,000 characters."""

_CONNECT_SECONDS: Final = 10
_LATE_SECONDS: Final = 10.0
"""How long after its time limit a server that does not answer is waited for."""

_MOST_LETTERS: Final = 1_000
"""The characters of the widest text that is read: wider ones are sorted by their beginnings."""

_MOST_DIGITS, _MOST_DECIMALS = 38, 19
_INTEGERS: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})
_INSTANTS: Final[Mapping[str, Physical]] = {
    "date": Physical("date", "date", exact=False),
    "datetime": Physical("timestamp", "datetime", exact=False),
    "timestamp": Physical("timestamp", "timestamp", exact=False),
}
"""Not exact: days that are none become NULL."""

_TABLES: Final = """
SELECT table_name, table_type FROM information_schema.tables
WHERE table_schema = DATABASE() AND (table_type = 'VIEW' OR (table_type = 'BASE TABLE' AND engine = 'InnoDB'))
"""
_COLUMNS: Final = """
SELECT column_name, data_type, column_type, numeric_precision, numeric_scale, character_maximum_length,
  collation_name, is_nullable, extra LIKE '%VIRTUAL%'
FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = {table} ORDER BY ordinal_position
"""
_KEYS: Final = """
SELECT column_name, sub_part IS NULL FROM information_schema.statistics
WHERE table_schema = DATABASE() AND table_name = {table} AND index_name = 'PRIMARY' ORDER BY seq_in_index
"""
_FOREIGN: Final = """
SELECT constraint_name, column_name, referenced_table_name, referenced_column_name
FROM information_schema.key_column_usage
WHERE table_schema = DATABASE() AND table_name = {table} AND referenced_table_schema = DATABASE()
ORDER BY constraint_name, ordinal_position
"""
_GRANT: Final = re.compile(r"GRANT (?P<rights>.+) ON .+ TO .+", re.DOTALL)
_READING: Final = frozenset({"USAGE", "SELECT", "SHOW VIEW", "SHOW DATABASES"})


@dataclass(frozen=True, slots=True)
class Server:
    """Where a MariaDB server is; the password stays out of its text."""

    database: str
    host: str = "localhost"
    port: int = 3306
    socket: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ssl_ca: str | None = None


class MariadbBackend:
    """One database of a MariaDB server."""

    dialect: Dialect = "mysql"

    def __init__(self, server: Server) -> None:
        self._server = server

    @property
    def name(self) -> str:
        """The server and database, without the password."""
        return f"MariaDB {self._server.socket or f'{self._server.host}:{self._server.port}'}/{self._server.database}"

    def redact(self, text: str) -> str:
        """Return a driver's words without the password."""
        return text.replace(self._server.password, "***") if self._server.password else text

    def engine(self) -> sa.Engine:
        """Return SQLAlchemy's engine over connections of our own making."""
        try:
            import pymysql  # noqa: F401 - whether it is there
        except ImportError as error:
            raise EngineUnavailable("MariaDB needs the extra: pip install 'discreet[mysql]'") from error
        return sa.create_engine("mysql+pymysql://", creator=self._connect, poolclass=sa.NullPool)

    def _connect(self) -> Any:
        import pymysql

        at = self._server
        return pymysql.connect(
            host=at.host,
            port=at.port,
            unix_socket=at.socket,
            user=at.user,
            password=at.password or "",
            database=at.database,
            charset="utf8mb4",
            connect_timeout=_CONNECT_SECONDS,
            local_infile=False,
            ssl_ca=at.ssl_ca,
            ssl_verify_identity=True if at.ssl_ca else None,
        )

    def settle(self, connection: sa.Connection, limits: Limits) -> None:
        """Set what the meaning of a statement depends on, assert that it is so, and take the snapshot."""
        [(version,)] = execute(connection, "SELECT VERSION()").fetchall()
        found = re.match(r"(\d+)\.(\d+)\..*mariadb", str(version), re.IGNORECASE)
        if found is None or (int(found[1]), int(found[2])) < _OLDEST:
            raise EngineUnavailable(
                f"{self.name} is {version}; MariaDB {'.'.join(map(str, _OLDEST))} or later is needed"
            )
        wanted = {**_SESSION, "sql_mode": f"'{','.join(sorted(_MODES))}'", "max_statement_time": repr(limits.seconds)}
        execute(connection, f"SET NAMES utf8mb4 COLLATE {_COLLATION}")
        execute(connection, "SET " + ", ".join(f"SESSION {name} = {value}" for name, value in wanted.items()))
        execute(connection, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        execute(connection, "COMMIT")
        execute(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        self._assert(connection, limits)
        raw: Any = connection.connection.dbapi_connection
        # a server that hangs does not answer KILL either: the line is cut then
        raw._read_timeout = limits.seconds + _LATE_SECONDS  # noqa: SLF001 - the driver takes it when connecting alone

    def _assert(self, connection: sa.Connection, limits: Limits) -> None:
        asked = {**_SESSION, "tx_isolation": "'REPEATABLE-READ'", "collation_connection": f"'{_COLLATION}'"}
        names = ", ".join(f"@@SESSION.{name}" for name in (*asked, "sql_mode", "max_statement_time"))
        [row] = execute(connection, f"SELECT {names}").fetchall()
        *values, mode, seconds = row
        for (name, value), is_now in zip(asked.items(), values, strict=True):
            if str(is_now) != value.strip("'"):
                raise EngineUnavailable(f"{self.name} keeps {name} at {is_now!r} instead of {value}")
        if frozenset(str(mode).split(",")) != _MODES or abs(float(seconds) - limits.seconds) > 0.01:
            raise EngineUnavailable(f"{self.name} keeps sql_mode {mode!r} and max_statement_time {seconds!r}")

    def tables(self, connection: sa.Connection) -> Collection[str]:
        """Return the views and InnoDB tables: other kinds of tables are no part of a snapshot."""
        return [name for name, _ in execute(connection, _TABLES).fetchall()]

    def shape(self, connection: sa.Connection, table: str) -> TableShape | None:
        """Return what the catalogue says of a table or view.

        Primary keys alone are facts: with ``unique_checks`` off, InnoDB lets other unique indexes hold a value twice.
        One that holds the beginning of a text is none: what is left of it may stand in many rows.
        """
        listed = execute(connection, _TABLES).fetchall()
        kind = next((kind for name, kind in listed if name == table), None)
        if kind is None:
            return None
        columns: list[tuple[str, Physical | None, bool]] = []
        for name, *stored, nullable, virtual in execute(connection, _COLUMNS.format(table=_text(table))).fetchall():
            # what is computed whenever it is read may raise an error at some row
            physical = None if virtual else _physical(*stored)
            kept = physical is not None and physical.kind not in ("boolean", "date", "timestamp")
            columns.append((name, physical, kept and nullable == "NO"))
        if kind == "VIEW":
            return TableShape(tuple(columns), frozenset(), frozenset(), view=True)
        parts = execute(connection, _KEYS.format(table=_text(table))).fetchall()
        keys = [name for name, _ in parts] if all(whole for _, whole in parts) else []
        links: dict[str, list[Any]] = {}
        for constraint, *link in execute(connection, _FOREIGN.format(table=_text(table))).fetchall():
            links.setdefault(constraint, []).append(link)
        foreign = {
            ForeignKey(tuple(here for here, _, _ in rows), rows[0][1], tuple(there for _, _, there in rows))
            for rows in links.values()
        }
        unique = {frozenset(keys)} if keys and enforced_key(keys, columns) else set()
        return TableShape(tuple(columns), frozenset(unique), frozenset(foreign))

    def read_only(self, connection: sa.Connection) -> bool:
        """Whether no grant of this user or of a role goes beyond reading."""
        grants = [row[0] for row in execute(connection, "SHOW GRANTS").fetchall()]
        return all(_reads(str(grant)) for grant in grants)

    def interrupt(self, connection: sa.Connection) -> None:
        """Stop the statement that runs, from a connection of its own."""
        raw: Any = connection.connection.dbapi_connection
        other = self._connect()
        try:
            with other.cursor() as cursor:
                cursor.execute(f"KILL QUERY {int(raw.thread_id())}")
        finally:
            other.close()

    def array(self, values: Sequence[Any], code: object) -> pa.Array[Any]:
        """Return a column: whole numbers as such whatever decimals they came as, bytes as truth values."""
        del code
        decoded = [value == b"1" if isinstance(value, bytes) else value for value in values]
        kinds = {type(value) for value in decoded} - {type(None)}
        if kinds == {Decimal}:
            places = max(-int(value.as_tuple().exponent) for value in decoded if isinstance(value, Decimal))
            return pa.array(decoded, type=pa.decimal256(76, max(places, 0)))
        if kinds <= {int}:
            fits = all(value is None or -(2**63) <= value < 2**63 for value in decoded)
            return pa.array(decoded, type=pa.int64() if fits else pa.decimal256(76, 0))
        types = {
            float: pa.float64(),
            str: pa.string(),
            bool: pa.bool_(),
            date: pa.date32(),
            datetime: pa.timestamp("us"),
        }
        [only] = kinds
        return pa.array(decoded, type=types[only])


def _physical(
    kind: str, written: str, digits: int | None, decimals: int | None, letters: int | None, collation: str | None
) -> Physical | None:
    """Return how a column is read; ``tinyint(1)`` is a truth value, as MariaDB's BOOLEAN is."""
    if written.startswith("tinyint(1)"):
        return Physical("boolean", "boolean", exact=False)
    if kind in _INTEGERS:
        return Physical("integer", f"{kind} unsigned" if "unsigned" in written else kind)
    if kind == "decimal" and digits is not None and decimals is not None:
        fits = digits <= _MOST_DIGITS and decimals <= _MOST_DECIMALS
        return Physical("decimal", written, decimals) if fits else None
    if kind in ("float", "double"):
        return Physical("float", kind)
    if kind in ("char", "varchar") and letters is not None and letters <= _MOST_LETTERS:
        # other collations hold for equal what is read as two: 'a' and 'A', or 'a' and 'a '
        return Physical("text", written, exact=str(collation).endswith("_nopad_bin"))
    return _INSTANTS.get(kind)


def _reads(grant: str) -> bool:
    found = _GRANT.fullmatch(grant)
    if found is None or "WITH GRANT OPTION" in grant:
        return False
    rights = re.sub(r"\([^)]*\)", "", found["rights"]).split(",")
    return {right.strip().upper() for right in rights} <= _READING


def _text(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
