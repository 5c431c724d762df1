"""Real engines under the oracles: a world's schema read through the engine, its rows loaded anew for each case."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit, urlunsplit

import duckdb
import psycopg
import pyarrow as pa

from gateway.engines.base import Limits
from gateway.engines.duckdb import arrow
from gateway.engines.open import open_engine
from gateway.engines.pgarrow import to_arrow
from gateway.policy.document import load
from gateway.policy.model import Dataset, Dialect
from gateway.policy.resolve import resolve
from tests.oracles.worlds import Data, Datum, Row, Tab, World, literal, quoted


class Database(Protocol):
    """Holds one version of a world's rows and runs bounded SQL on it."""

    def fill(self, data: Data) -> None: ...

    def fetch(self, sql: str) -> pa.Table: ...


class Bases(dict[World, tuple[Dataset, tuple[Database, Database]]]):
    """Each world's dataset on an engine, and two databases for two neighbours."""

    def __repr__(self) -> str:
        return "Bases"


def dataset(world: World, dialect: Dialect, url: str) -> Dataset:
    """The world's policy, resolved against the schema that the engine reads."""
    document = load(world.policy(url))
    engine = open_engine(url)
    try:
        with engine.session(Limits(60)) as session:
            held = {table.name: table.listings for table in world.tables}
            return resolve(document, session.schema(list(document.tables)), dialect, 1, listings=held)
    finally:
        engine.close()


@cache
def duckdb_dataset(world: World) -> Dataset:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "world.duckdb"
        with duckdb.connect(str(path)) as connection:
            for statement in world.ddl("duckdb"):
                connection.execute(statement)
        return dataset(world, "duckdb", f"duckdb:///{path}")


class DuckdbDatabase:
    """A DuckDB instance that splits even the smallest scan over its threads."""

    def __init__(self, world: World, *, threads: int = 2) -> None:
        self._world = world
        self._connection = duckdb.connect(config={"threads": threads})
        self._connection.execute("PRAGMA verify_parallelism")

    def fill(self, data: Data) -> None:
        for statement in self._world.ddl("duckdb"):
            self._connection.execute(statement.replace("CREATE TABLE", "CREATE OR REPLACE TABLE", 1))
        for name, rows in data.items():
            if rows:
                self._connection.execute(_insert(name, rows))

    def fetch(self, sql: str) -> pa.Table:
        return arrow(self._connection, sql)

    def close(self) -> None:
        self._connection.close()


class PostgresDatabase:
    """One schema of a PostgreSQL database, filled and read on one connection."""

    def __init__(self, world: World, connection: psycopg.Connection[tuple[Any, ...]], schema: str) -> None:
        self._world, self._connection, self._schema = world, connection, schema
        self._run(f"CREATE SCHEMA {quoted(schema)}")
        self._use()
        for statement in world.ddl("postgres"):
            self._run(statement)

    def _use(self) -> None:
        self._run(f"SET search_path TO {quoted(self._schema)}, pg_temp")

    def _run(self, sql: str) -> None:
        self._connection.execute(sql.encode())

    def fill(self, data: Data) -> None:
        self._use()
        self._run("TRUNCATE " + ", ".join(quoted(table.name) for table in self._world.tables))
        for name, rows in data.items():
            if rows:
                self._run(_insert(name, rows))

    def fetch(self, sql: str) -> pa.Table:
        self._use()
        with self._connection.cursor(binary=True) as cursor:
            cursor.execute(sql.encode())
            return to_arrow(cursor)


class FolderDatabase:
    """A folder of Parquet files, each table in two of them, read through the engine."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world, self._folder = world, folder
        self._engine = open_engine(f"parquet:///{folder}")

    def fill(self, data: Data) -> None:
        with duckdb.connect() as connection:
            for table, statement in zip(self._world.tables, self._world.ddl("duckdb"), strict=True):
                connection.execute(statement)
                if data.get(table.name):
                    connection.execute(_insert(table.name, data[table.name]))
                (self._folder / table.name).mkdir(exist_ok=True)
                for at in (0, 1):
                    part = f"SELECT * FROM {quoted(table.name)} WHERE rowid % 2 = {at}"
                    connection.execute(f"COPY ({part}) TO '{self._folder / table.name / str(at)}.parquet'")
        self._engine.close()  # files are told apart by size and time, which two of a moment may share

    def fetch(self, sql: str) -> pa.Table:
        with self._engine.session(Limits(60)) as session:
            return session.fetch(sql)


def folder_dataset(world: World, folder: Path) -> Dataset:
    FolderDatabase(world, folder).fill({})
    return dataset(world, "duckdb", f"parquet:///{folder}")


class SqliteDatabase:
    """One SQLite file, read through the engine; ``hostile`` puts values of other types than declared into rows.

    Which value is spoilt hangs on the row alone, so that two neighbours hold the same rows.
    """

    def __init__(self, world: World, path: Path, *, hostile: bool) -> None:
        self._world, self._path, self._hostile = world, path, hostile
        self._engine = open_engine(f"sqlite:///{path}")

    def fill(self, data: Data) -> None:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            for table, statement in zip(self._world.tables, self._world.ddl("sqlite"), strict=True):
                connection.execute(f"DROP TABLE IF EXISTS {quoted(table.name)}")
                connection.execute(statement)
                marks = ", ".join("?" * len(table.cols))
                rows = [self._stored(table, row) for row in data.get(table.name, [])]
                connection.executemany(f"INSERT INTO {quoted(table.name)} VALUES ({marks})", rows)

    def _stored(self, table: Tab, row: Row) -> list[object]:
        values = [_plain(value) for value in row]
        chance = Random(repr(row))  # noqa: S311
        if self._hostile and chance.random() < 0.1:
            at = chance.choice([at for at, col in enumerate(table.cols) if col.name not in (table.enforced, "user")])
            # an owner's column may hold what is no whole number, which belongs to nobody, but not another owner
            values[at] = chance.choice(["abc", b"\xff\x00", 2.5, 1e300, "2020-13-01", "\ud7ff", ""])
        return values

    def fetch(self, sql: str) -> pa.Table:
        with self._engine.session(Limits(60)) as session:
            return session.fetch(sql)


def _plain(value: Datum) -> object:
    match value:
        case bool():
            return int(value)
        case Decimal():
            return float(value)
        case int() if not -(2**63) <= value < 2**63:
            return float(value)
        case datetime():
            return value.isoformat(" ", "microseconds")
        case date():
            return value.isoformat()
    return value


def sqlite_dataset(world: World, path: Path) -> Dataset:
    SqliteDatabase(world, path, hostile=False).fill({})
    return dataset(world, "sqlite", f"sqlite:///{path}")


def postgres_dataset(world: World, url: str, schema: str) -> Dataset:
    parts = urlsplit(url)
    query = "&".join(part for part in (parts.query, urlencode({"schema": schema})) if part)
    return dataset(world, "postgres", urlunsplit(parts._replace(query=query)))


@contextmanager
def postgres_connection(url: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection with the settings of the engine's own sessions."""
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET extra_float_digits = 1; SET synchronous_commit = off")
        yield connection


def _insert(table: str, rows: list[Row]) -> str:
    values = ", ".join(f"({', '.join(literal(value) for value in row)})" for row in rows)
    return f"INSERT INTO {quoted(table)} VALUES {values}"
