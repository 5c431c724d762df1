"""SQLAlchemy's dialect ``discreet``, over PEP 249: ``create_engine("discreet://:TOKEN@host/health?epsilon=0.1")``.

The database of the URL is the dataset. ``discreet://`` speaks HTTPS, ``discreet+http://`` HTTP. Without host and token
the environment names the gateway. A statement's own price is an execution option: ``execution_options(epsilon=0.5)``.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import types
from sqlalchemy.engine import default, reflection
from sqlalchemy.exc import ArgumentError, NoSuchTableError

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.engine.url import URL

    from gateway.wire import DatasetInfo, DatasetTable

_TYPES: Final[dict[str, type[types.TypeEngine[Any]]]] = {
    "integer": types.BigInteger,
    "number": types.Float,
    "text": types.String,
    "boolean": types.Boolean,
    "date": types.Date,
    "timestamp": types.DateTime,
}
_QUERY: Final = frozenset({"epsilon", "dialect"})


class DiscreetDialect(default.DefaultDialect):
    """Questions to a gateway: SELECT alone, in PostgreSQL's spelling, without transactions."""

    name = "discreet"
    driver = "https"
    supports_statement_cache = True
    supports_native_boolean = True
    supports_sane_rowcount = False
    supports_sane_multi_rowcount = False
    insert_returning = update_returning = delete_returning = False
    postfetch_lastrowid = False
    default_paramstyle = "named"

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        """Return the PEP 249 module."""
        from gateway.client import dbapi

        return dbapi

    def create_connect_args(self, url: URL) -> tuple[tuple[()], dict[str, Any]]:
        """Return what ``connect`` takes, from a URL."""
        query = dict(url.query)
        if url.database is None or not query.keys() <= _QUERY or url.username:
            raise ArgumentError("a gateway is written discreet://:TOKEN@host:port/dataset?epsilon=0.1")
        try:
            epsilon = None if "epsilon" not in query else float(str(query["epsilon"]))
        except ValueError:
            raise ArgumentError("epsilon is a number") from None
        address = None
        if url.host is not None:
            host = f"[{url.host}]" if ":" in url.host else url.host
            address = f"{self.driver}://{host}{'' if url.port is None else f':{url.port}'}"
        return (), {
            "url": address,
            "token": None if url.password is None else str(url.password),
            "dataset": url.database,
            "epsilon": epsilon,
            "dialect": str(query.get("dialect", "postgres")),
        }

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """Ask, at the statement's own price if it has one."""
        own = None if context is None else context.execution_options.get("epsilon")
        cursor.execute(statement, parameters, epsilon=own)

    def do_execute_no_params(self, cursor: Any, statement: str, context: Any = None) -> None:
        """Ask a question that has no parameters."""
        self.do_execute(cursor, statement, None, context)

    def do_ping(self, dbapi_connection: DBAPIConnection) -> bool:
        """Look whether the gateway still shows the dataset; no question is asked."""
        _dataset(dbapi_connection)
        return True

    @reflection.cache
    def get_table_names(self, connection: Connection, schema: str | None = None, **_: Any) -> list[str]:
        """Return the dataset's tables."""
        return [table.name for table in _declared(connection).tables]

    @reflection.cache
    def get_view_names(self, connection: Connection, schema: str | None = None, **_: Any) -> list[str]:
        """Return the dataset's views."""
        return list(_declared(connection).views)

    def get_schema_names(self, connection: Connection, **_: Any) -> list[str]:
        """Return none: a dataset has no schemas."""
        return []

    def has_table(self, connection: Connection, table_name: str, schema: str | None = None, **_: Any) -> bool:
        """Return whether there is a table or view of that name."""
        found = _declared(connection)
        return table_name in found.views or any(table.name == table_name for table in found.tables)

    def get_columns(self, connection: Connection, table_name: str, schema: str | None = None, **_: Any) -> list[Any]:
        """Return a table's declared columns."""
        return [
            {"name": column.name, "type": _TYPES[column.type](), "nullable": column.nullable, "default": None}
            for column in _table(connection, table_name).columns
        ]

    def get_pk_constraint(self, connection: Connection, table_name: str, schema: str | None = None, **_: Any) -> Any:
        """Return none: what a database enforces is not told."""
        return {"constrained_columns": [], "name": None}

    def get_foreign_keys(
        self, connection: Connection, table_name: str, schema: str | None = None, **_: Any
    ) -> list[Any]:
        """Return none, likewise."""
        return []

    def get_indexes(self, connection: Connection, table_name: str, schema: str | None = None, **_: Any) -> list[Any]:
        """Return none, likewise."""
        return []


class HttpDialect(DiscreetDialect):
    """The same without TLS, for a gateway on this machine."""

    driver = "http"
    supports_statement_cache = True


def _dataset(connection: Any) -> DatasetInfo:
    info: DatasetInfo = connection.client.dataset(connection.dataset)
    return info


def _declared(connection: Connection) -> DatasetInfo:
    return _dataset(connection.connection.dbapi_connection)


def _table(connection: Connection, name: str) -> DatasetTable:
    found = next((table for table in _declared(connection).tables if table.name == name), None)
    if found is None:
        raise NoSuchTableError(name)
    return found
