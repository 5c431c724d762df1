"""The dialects that bounded SQL is written in, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gateway.policy.model import Dialect
from gateway.sql.writing.dialects.duckdb import DuckdbWriter
from gateway.sql.writing.dialects.mysql import MysqlWriter
from gateway.sql.writing.dialects.postgres import PostgresWriter
from gateway.sql.writing.dialects.spark import SparkWriter
from gateway.sql.writing.dialects.sqlite import SqliteWriter
from gateway.sql.writing.dialects.writer import Writer

WRITERS: Mapping[Dialect, Writer] = MappingProxyType(
    {
        "duckdb": DuckdbWriter(),
        "postgres": PostgresWriter(),
        "spark": SparkWriter(),
        "sqlite": SqliteWriter(),
        "mysql": MysqlWriter(),
    }
)


def writer(dialect: Dialect) -> Writer:
    """Return how a dialect is written."""
    return WRITERS[dialect]
