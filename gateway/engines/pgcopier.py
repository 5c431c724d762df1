"""A prepared copy in a PostgreSQL schema of its own, made by a role that may write; the gateway's own only reads it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateway.engines.base import EngineError, EngineUnavailable
from gateway.engines.copier import Begun
from gateway.engines.postgres import SESSION, Address

if TYPE_CHECKING:
    import psycopg


class PostgresCopier:
    """Two schemas: the copy's, and while it is made another one beside it for its key and what is done.

    ``source`` is the schema of the data, in the same database. The settings are those under which data are read, so
    that a value is written as it would be there.
    """

    def __init__(self, writer: Address, source: str, schema: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise EngineUnavailable("PostgreSQL needs the extra: pip install 'discreet[postgres]'") from error
        self._password, self._schema, self._source = writer.password, schema, _quoted(source)
        self.target = _quoted(schema)
        self._state = _quoted(f"{schema}_made")
        with self._translated():
            self._connection: psycopg.Connection[tuple[Any, ...]] = psycopg.connect(
                **writer.parameters, autocommit=True, prepare_threshold=None
            )
        try:
            wanted = {**SESSION, "search_path": f"{self._source}, pg_temp"}
            with self._translated():
                for name, value in wanted.items():
                    self._connection.execute("SELECT set_config(%s, %s, false)", (name, value))
            number = int.from_bytes(hashlib.sha256(schema.encode()).digest()[:8], "big", signed=True)
            if not self._one(f"SELECT CAST(pg_try_advisory_lock({number}) AS INT)"):
                raise EngineError("another process makes this copy now")
        except BaseException:
            self.close()
            raise

    def begin(self, key: str) -> Begun:
        """Make both schemas with that key, or return what an earlier run left in them."""
        known = (
            f"SELECT COUNT(*) FROM pg_catalog.pg_tables WHERE schemaname = '{self._schema}_made' AND tablename = 'done'"
        )
        if self._one(known):
            with self._translated():
                [(kept,)] = self._run(f"SELECT key FROM {self._state}.build").fetchall()
                done = self._run(f"SELECT name FROM {self._state}.done").fetchall()
            return Begun(str(kept), [str(name) for (name,) in done])
        with self._translated(), self._connection.transaction():
            self._run(f"DROP SCHEMA IF EXISTS {self.target} CASCADE")
            self._run(f"CREATE SCHEMA {self.target}")
            self._run(f"CREATE SCHEMA {self._state}")
            self._run(f"CREATE TABLE {self._state}.build AS SELECT CAST('{key}' AS TEXT) AS key")
            self._run(f"CREATE TABLE {self._state}.done (name TEXT PRIMARY KEY)")
        return Begun(key, ())

    def number(self, sql: str) -> int:
        """Return the one whole number that a query gives."""
        return self._one(sql)

    def copy(self, table: str, statements: Sequence[str]) -> None:
        """Make one table anew, and note that it is done, all in one transaction."""
        with self._translated(), self._connection.transaction():
            self._unrestricted(table)
            for statement in (f"DROP TABLE IF EXISTS {self.target}.{_quoted(table)}", *statements):
                self._run(statement)
            self._connection.execute(f"INSERT INTO {self._state}.done VALUES (%s)".encode(), (table,))

    def finish(self, reader: str) -> None:
        """Forget the key, and let the reading role read the copy and nothing else."""
        with self._translated(), self._connection.transaction():
            self._run(f"DROP SCHEMA {self._state} CASCADE")
            self._run(f"GRANT USAGE ON SCHEMA {self.target} TO {_quoted(reader)}")
            self._run(f"GRANT SELECT ON ALL TABLES IN SCHEMA {self.target} TO {_quoted(reader)}")
        with self._translated():
            tables = self._run(f"SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = '{self._schema}'")
            for (table,) in tables.fetchall():
                # where it may: rows seen by all are read without a look at each, and joins are planned by what is there
                self._run(f"VACUUM (ANALYZE) {self.target}.{_quoted(str(table))}")

    def drop(self) -> None:
        """Remove both schemas."""
        with self._translated():
            self._run(f"DROP SCHEMA IF EXISTS {self.target}, {self._state} CASCADE")

    def close(self) -> None:
        """Hang up; the lock goes with the connection."""
        with contextlib.suppress(Exception):
            self._connection.close()

    def _unrestricted(self, table: str) -> None:
        """Refuse what shows each role rows of its own: the writer might copy what the reader may not see.

        That is a table under row-level security, and a view that reads its tables with the rights of who asks: the
        rules of those tables are then the asking role's.
        """
        asked = (f"{self._source}.{_quoted(table)}",)
        found = self._connection.execute(
            "SELECT relrowsecurity OR EXISTS (SELECT FROM pg_catalog.pg_options_to_table(reloptions) "
            "WHERE option_name = 'security_invoker' AND CAST(option_value AS BOOL)) "
            "FROM pg_catalog.pg_class WHERE oid = to_regclass(%s)",
            asked,
        ).fetchone()
        if found != (False,):
            raise EngineError(
                f"{table} is under row-level security, a view with security_invoker, or not there: "
                "it cannot be copied by another role"
            )

    def _run(self, sql: str) -> psycopg.Cursor[tuple[Any, ...]]:
        return self._connection.execute(sql.encode())

    def _one(self, sql: str) -> int:
        with self._translated():
            row = self._run(sql).fetchone()
        if row is None:
            raise EngineError("a query gave no number")
        return int(row[0])

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import psycopg

        try:
            yield
        except (psycopg.Error, OSError) as error:
            text = f"{type(error).__name__}: {str(error)[:2_000]}"
            raise EngineError(text.replace(self._password, "***") if self._password else text) from error


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
