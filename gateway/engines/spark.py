"""Spark 4, classic or over Spark Connect: tables of a catalogue, or a folder of Parquet files.

Spark has no transactions and no rights that a client could ask about. What protects the data is that each statement is
put between the parentheses of a subquery, where nothing but a query parses; beyond that, give the gateway credentials
that cannot write. Every session of ours is a Spark session of its own, whose settings nobody else changes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from gateway.engines.base import EngineError, EngineUnavailable, Limits
from gateway.engines.watchdog import Watchdog
from gateway.policy.model import Dialect, Physical, TableShape

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_SETTINGS: Final = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.variable.substitute": "false",
    "spark.sql.parser.escapedStringLiterals": "false",
    "spark.sql.groupByOrdinal": "true",
    "spark.sql.decimalOperations.allowPrecisionLoss": "true",
    # what a file says of its own calendar and dates never is an error
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
}
"""What the meaning of a statement depends on: set, and asserted, in each session."""

_LOCAL: Final = {
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}
_KINDS: Final[Mapping[str, Physical]] = {
    **{name: Physical("integer", name) for name in ("tinyint", "smallint", "int", "bigint")},
    "float": Physical("float", "float"),
    "double": Physical("float", "double"),
    "string": Physical("text", "string"),
    "boolean": Physical("boolean", "boolean"),
    "date": Physical("date", "date"),
    "timestamp": Physical("timestamp", "timestamp"),
    "timestamp_ntz": Physical("timestamp", "timestamp_ntz"),
}
_MOST_DECIMALS: Final = 19
_STARTING: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where Spark is: a master (``local[*]``, ``spark://host:7077``) or a Connect server, and what holds the tables."""

    master: str | None = None
    remote: str | None = None
    schema: str | None = None
    folder: Path | None = None

    def __repr__(self) -> str:
        where = self.master if self.remote is None else self.remote.partition(";")[0]
        return f"Cluster({where} {self.folder or self.schema})"


class SparkEngine:
    """One Spark cluster and the schema or folder that holds the tables; the session is opened by the first question."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._spark: SparkSession | None = None

    def __repr__(self) -> str:
        return f"SparkEngine({self._cluster!r})"

    @property
    def dialect(self) -> Dialect:
        """Spark's."""
        return "spark"

    def tables(self) -> Collection[str]:
        """Return the tables and views of the schema, or the files and folders of the folder."""
        with self._opened() as spark, _translated():
            return tuple(table.name for table in spark.catalog.listTables() if _plain(table.name))

    def read_only(self) -> bool:
        """Whether nothing but queries is sent: ``fetch`` sees to it; Spark has no rights that it could be asked for."""
        with self._opened() as spark, _translated():
            try:
                _query(spark, "DROP TABLE discreet_absent")
            except Exception as error:
                return "PARSE_SYNTAX_ERROR" in str(error)
        return False

    @contextmanager
    def session(self, limits: Limits) -> Iterator[OneSession]:
        """Open a Spark session of its own."""
        deadline = time.monotonic() + limits.seconds
        with self._opened() as spark:
            yield OneSession(spark, deadline)

    def renew(self) -> None:
        """Nothing: each session reads the data as they are."""

    def close(self) -> None:
        """Let the session go; a local Spark ends with the gateway, since another engine may use it."""
        self._spark = None

    @contextmanager
    def _opened(self) -> Iterator[SparkSession]:
        try:
            spark = self._fresh()
            for name, value in _SETTINGS.items():
                spark.conf.set(name, value)
            for name, value in _SETTINGS.items():
                if spark.conf.get(name) != value:
                    raise EngineUnavailable(f"{self!r} keeps {name} at {spark.conf.get(name)!r} instead of {value!r}")
            self._enter(spark)
        except EngineError:
            raise
        except Exception as error:
            raise EngineUnavailable(f"{self!r} could not be reached: {_brief(error)}") from error
        try:
            yield spark
        finally:
            if self._cluster.remote is not None:
                with suppress(Exception):  # the server keeps a session that nobody lets go
                    spark.client.release_session()
                    spark.client.close()

    def _fresh(self) -> SparkSession:
        try:
            from pyspark.sql import SparkSession
        except ImportError as error:
            raise EngineUnavailable("Spark needs the extra: pip install 'discreet[spark]', and Java 17") from error
        # PySpark logs each failing statement with its literals; what went wrong is in our own log
        for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger", "pyspark.sql.connect.logging"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        if self._cluster.remote is not None:
            return SparkSession.builder.remote(self._cluster.remote).create()
        with _STARTING:
            if self._spark is None:
                builder = SparkSession.builder.master(self._cluster.master or "local[*]").appName("discreet")
                for name, value in _LOCAL.items():
                    builder = builder.config(name, value)
                self._spark = builder.getOrCreate()
                self._spark.sparkContext.setLogLevel("OFF")
            return self._spark.newSession()

    def _enter(self, spark: SparkSession) -> None:
        """Make the tables known: those of the schema, or a view of each file or folder of Parquet files."""
        if self._cluster.schema is not None:
            spark.catalog.setCurrentDatabase(self._cluster.schema)
        if self._cluster.folder is None:
            return
        if not self._cluster.folder.is_dir():
            raise EngineUnavailable(f"{self._cluster.folder} is no folder")
        for entry in sorted(self._cluster.folder.iterdir()):
            if entry.suffix == ".parquet" or (entry.is_dir() and any(entry.rglob("*.parquet"))):
                name = entry.stem if entry.suffix == ".parquet" else entry.name
                if _plain(name):
                    spark.read.parquet(str(entry)).createOrReplaceTempView(name)


class OneSession:
    """One Spark session; Spark has no snapshot, so that data should change only where the data version does."""

    def __init__(self, spark: SparkSession, deadline: float) -> None:
        self._spark, self._deadline = spark, deadline
        self._running: Watchdog | None = None

    def schema(self, tables: Collection[str]) -> Mapping[str, TableShape]:
        """Return what Spark says of those tables that exist; it enforces no key and no NOT NULL."""
        found = {}
        with self._watched():
            listed = {table.name: table for table in self._spark.catalog.listTables()}
            for name in tables:
                table = listed.get(name)
                if table is not None and _plain(name):
                    fields = self._spark.table(f"`{name}`").schema.fields
                    columns = tuple((field.name, _physical(field.dataType), False) for field in fields)
                    view = table.tableType == "VIEW"
                    found[name] = TableShape(columns, frozenset(), frozenset(), view)
        return found

    def fetch(self, sql: str) -> pa.Table:
        """Run one SELECT and return its rows."""
        with self._watched():
            return _query(self._spark, sql)

    def cancel(self) -> None:
        """Stop the statement that runs, if one does."""
        watchdog = self._running
        if watchdog is not None:
            watchdog.cancel()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        if time.monotonic() >= self._deadline:
            raise EngineError("the session's time limit is reached")
        with Watchdog(self._deadline, self._interrupt) as watchdog:
            self._running = watchdog
            try:
                with _translated():
                    yield
            except EngineError as error:
                if watchdog.fired:
                    raise EngineError("interrupted: the session's time limit is reached or it was cancelled") from error
                raise
            finally:
                self._running = None

    def _interrupt(self, _late: float) -> None:
        with suppress(Exception):
            # all that this Spark session runs, which is ours alone; a tag is lost where Arrow is collected
            self._spark.interruptAll()


def _query(spark: SparkSession, sql: str) -> pa.Table:
    """Run a query as a subquery, where a command does not parse."""
    rows: pa.Table = spark.sql(f"SELECT * FROM ({sql}\n) AS discreet_all").toArrow()  # noqa: S608 - ours
    return rows


def _plain(name: str) -> bool:
    return "`" not in name


def _physical(stored: Any) -> Physical | None:
    """Return how a column is read; types within types, intervals and binary are not."""
    said = stored.simpleString()
    if said.startswith("decimal("):
        scale = int(said.partition(",")[2].rstrip(")"))
        return Physical("decimal", said, scale) if scale <= _MOST_DECIMALS else None
    if said.startswith(("varchar(", "char(")):
        # CHAR is padded with blanks; VARCHAR is a string of bounded length
        return Physical("text", said, exact=said.startswith("varchar"))
    if said.startswith("string collate"):
        return Physical("text", said, exact=False)
    return _KINDS.get(said)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except EngineError:
        raise
    except Exception as error:
        raise EngineError(_brief(error)) from error


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:2_000]}"
