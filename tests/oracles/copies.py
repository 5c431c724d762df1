"""Databases whose rows are copied as ``dataset prepare`` copies them, and whose copies are asked in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import psycopg
import pyarrow as pa

from gateway.engines import pgcatalog
from gateway.engines.duckdb import shape
from gateway.policy.model import Dataset, Preparation, TableShape
from gateway.policy.prepared import layout, prepared
from gateway.sql.writing.copies import copying
from tests.oracles.databases import Bases, Database, DuckdbDatabase, PostgresDatabase
from tests.oracles.worlds import Data, World, quoted

KEY: Final = "00112233445566778899aabbccddeeff"
"""The same for two neighbours: whoever prepares, prepares one of them."""


def statements(source: Dataset, target: str) -> list[str]:
    """Everything that copies the tables of a dataset into an empty schema."""
    return [
        statement
        for table in source.tables
        for statement in copying(table, layout(table, source), source, target, KEY).statements
    ]


class DuckdbCopies(DuckdbDatabase):
    """A DuckDB instance with the source in one database and the copy in another."""

    def __init__(self, world: World, source: Dataset) -> None:
        super().__init__(world)
        self._source = source
        self._connection.execute("ATTACH ':memory:' AS discreet_copy")
        self.fill({})

    def fill(self, data: Data) -> None:
        self._connection.execute("USE memory")
        super().fill(data)
        for table in self._source.tables:
            self._connection.execute(f"DROP TABLE IF EXISTS discreet_copy.main.{quoted(table.name)}")
        for statement in statements(self._source, "discreet_copy.main"):
            self._connection.execute(statement)
        self._connection.execute("USE discreet_copy")

    def shapes(self) -> Mapping[str, TableShape]:
        found = ((table.name, shape(self._connection, table.name)) for table in self._source.tables)
        return {name: each for name, each in found if each is not None}


class PostgresCopies(PostgresDatabase):
    """Two schemas of one database: the source, and the copy."""

    def __init__(
        self, world: World, connection: psycopg.Connection[tuple[Any, ...]], schema: str, source: Dataset
    ) -> None:
        self._source, self._copied = source, f"{schema}_copy"
        super().__init__(world, connection, schema)
        self._run(f"CREATE SCHEMA {quoted(self._copied)}")
        self.fill({})

    def fill(self, data: Data) -> None:
        super().fill(data)
        self._run(f"DROP SCHEMA {quoted(self._copied)} CASCADE; CREATE SCHEMA {quoted(self._copied)}")
        for statement in statements(self._source, quoted(self._copied)):
            self._run(statement)

    def fetch(self, sql: str) -> pa.Table:
        original, self._schema = self._schema, self._copied
        try:
            return super().fetch(sql)
        finally:
            self._schema = original

    def shapes(self) -> Mapping[str, TableShape]:
        return pgcatalog.shapes(self._connection, self._copied, [table.name for table in self._source.tables])


def copied(source: Dataset, base: DuckdbCopies | PostgresCopies) -> Dataset:
    """The dataset that plans are made on where they read the copy."""
    return prepared(source, Preparation("oracle", source.engine), base.shapes())


class Late(Bases):
    """Bases that are made when they are first asked for."""

    def __init__(self, make: Callable[[World], tuple[Dataset, tuple[Database, Database]]]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, world: World) -> tuple[Dataset, tuple[Database, Database]]:
        self[world] = made = self._make(world)
        return made
