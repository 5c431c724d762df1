"""Python's database interface (PEP 249) over the client, for whatever speaks it: ``pandas.read_sql``, SQLAlchemy.

``connect`` states the price at which each statement is asked; ``cursor.execute(…, epsilon=…)`` states another. There
are no transactions: nothing is written, and what a statement cost stays spent. A cursor's ``result`` holds what tables
cannot: intervals, cost, warnings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeAlias

from gateway.client import errors as gateway_errors
from gateway.client.client import Client, Parameters
from gateway.client.result import Cell, Result

apilevel: Final = "2.0"
threadsafety: Final = 2
"""Threads may share the module and connections."""

paramstyle: Final = "named"
"""``:name``; sequences for ``?`` and ``$1`` are understood as well."""


class Warning(Exception):  # noqa: A001 (PEP 249 calls it so)
    """Never raised; there for those who catch it."""


class Error(Exception):
    """What went wrong; ``__cause__`` is the client's own error, with ``code``, ``position`` and ``hint``."""


class InterfaceError(Error):
    """The interface was used in a way that it does not have."""


class DatabaseError(Error):
    """The gateway refused or failed."""


class DataError(DatabaseError):
    """A parameter is no value that can be sent."""


class OperationalError(DatabaseError):
    """Not the statement's fault: out of reach, not authorized, the budget exhausted, or a charged question failed."""


class IntegrityError(DatabaseError):
    """Never raised; there for those who catch it."""


class InternalError(DatabaseError):
    """The gateway failed in a way that it should not."""


class ProgrammingError(DatabaseError):
    """The statement, or its price, is not admitted; nothing was charged."""


class NotSupportedError(DatabaseError):
    """The gateway has nothing of the kind."""


_RAISED: Final[Mapping[type[gateway_errors.GatewayError], type[DatabaseError]]] = {
    gateway_errors.QueryRefused: ProgrammingError,
    gateway_errors.NotFound: ProgrammingError,
    gateway_errors.Conflict: ProgrammingError,
    gateway_errors.ServerError: InternalError,
}


class TypeObject:
    """A type of PEP 249, equal to each ``type_code`` of a description that is of it."""

    def __init__(self, *codes: str) -> None:
        self._codes = frozenset(codes)

    def __eq__(self, other: object) -> bool:
        return other in self._codes if isinstance(other, str) else other is self

    def __hash__(self) -> int:
        return hash(self._codes)


STRING: Final = TypeObject("text")
BINARY: Final = TypeObject()
NUMBER: Final = TypeObject("integer", "number", "boolean")
DATETIME: Final = TypeObject("date", "timestamp")
ROWID: Final = TypeObject()

Date: Final = date
Time: Final = time
Timestamp: Final = datetime
DateFromTicks: Final = date.fromtimestamp
TimestampFromTicks: Final = datetime.fromtimestamp


def TimeFromTicks(ticks: float) -> time:  # noqa: N802 (PEP 249 calls it so)
    """Return the time of day of an instant, in local time."""
    return datetime.fromtimestamp(ticks).time()  # noqa: DTZ006 (as PEP 249 has it)


def Binary(value: bytes) -> NoReturn:  # noqa: N802
    """Refuse: no parameter is binary."""
    raise NotSupportedError("no parameter is binary")


Row: TypeAlias = tuple[Cell, ...]
Described: TypeAlias = tuple[str, str, None, None, None, None, None]


def connect(
    url: str | None = None,
    token: str | None = None,
    *,
    dataset: str,
    epsilon: float | None = None,
    dialect: str | None = None,
    client: Client | None = None,
) -> Connection:
    """Return a connection to one dataset, on which each statement costs at most ``epsilon`` in all.

    Without ``url`` and ``token`` the environment names the gateway (``Client.from_env``); ``client`` is one to use
    instead, which then stays open. ``dialect`` is that of the SQL, the dataset's own by default.
    """
    if client is not None:
        return Connection(client, dataset, epsilon=epsilon, dialect=dialect, close=lambda: None)
    try:
        made = Client.from_env() if url is None or token is None else Client(url, token)
    except (ValueError, LookupError) as error:
        raise InterfaceError(str(error)) from error
    return Connection(made, dataset, epsilon=epsilon, dialect=dialect, close=made.close)


class Connection:
    """A dataset at a gateway, and the price of a statement."""

    def __init__(
        self, client: Client, dataset: str, *, epsilon: float | None, dialect: str | None, close: Callable[[], None]
    ) -> None:
        self.client, self.dataset, self.epsilon, self.dialect = client, dataset, epsilon, dialect
        self._close, self._open = close, True

    def cursor(self) -> Cursor:
        """Return a new cursor."""
        self.check()
        return Cursor(self)

    def commit(self) -> None:
        """Do nothing: nothing is ever written."""
        self.check()

    def rollback(self) -> None:
        """Do nothing: nothing is ever written, and what was asked stays spent."""
        self.check()

    def close(self) -> None:
        """Close the connection; closed again, it stays closed."""
        if self._open:
            self._open = False
            self._close()

    def check(self) -> None:
        """Raise unless the connection is open."""
        if not self._open:
            raise InterfaceError("the connection is closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Cursor:
    """One statement at a time, and its rows."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.arraysize = 1
        self.result: Result | None = None
        self._rows: list[Row] = []
        self._next = 0
        self._open = True

    @property
    def description(self) -> list[Described] | None:
        """Name and type of each column, None before a statement."""
        if self.result is None:
            return None
        return [(column.name, column.type, None, None, None, None, None) for column in self.result.columns]

    @property
    def rowcount(self) -> int:
        """The number of rows, -1 before a statement."""
        return -1 if self.result is None else len(self._rows)

    def execute(self, operation: str, parameters: Parameters = None, *, epsilon: float | None = None) -> Self:
        """Ask one question, at the connection's price unless another is stated, and return the cursor.

        Without any price the statement names its own, in a privacy clause. ``parameters`` are a mapping for
        ``:name`` or a sequence for ``?`` and ``$1``.
        """
        self._check()
        self.result, self._rows, self._next = None, [], 0
        price = self.connection.epsilon if epsilon is None else epsilon
        with _translated():
            self.result = self.connection.client.sql(
                operation,
                dataset=self.connection.dataset,
                epsilon=price,
                parameters=_plain(parameters),
                dialect=self.connection.dialect,
            )
        self._rows = self.result.rows
        return self

    def executemany(self, operation: str, seq_of_parameters: Sequence[Parameters]) -> NoReturn:
        """Refuse: every question has its own price, and its own rows."""
        raise NotSupportedError("ask one question at a time: each has its price")

    def fetchone(self) -> Row | None:
        """Return the next row, None after the last."""
        found = self.fetchmany(1)
        return found[0] if found else None

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """Return so many of the next rows, ``arraysize`` by default."""
        self._check()
        if self.result is None:
            raise InterfaceError("nothing was asked")
        start = self._next
        self._next = min(len(self._rows), start + max(0, self.arraysize if size is None else size))
        return self._rows[start : self._next]

    def fetchall(self) -> list[Row]:
        """Return all rows that are left."""
        return self.fetchmany(len(self._rows))

    def setinputsizes(self, sizes: Sequence[object]) -> None:
        """Do nothing: parameters are sent with their types."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Do nothing: no column is too large to fetch."""

    def close(self) -> None:
        """Close the cursor."""
        self._open, self.result, self._rows = False, None, []

    def __iter__(self) -> Iterator[Row]:
        while (row := self.fetchone()) is not None:
            yield row

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self) -> None:
        self.connection.check()
        if not self._open:
            raise InterfaceError("the cursor is closed")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except gateway_errors.GatewayError as error:
        raise _RAISED.get(type(error), OperationalError)(str(error)) from error
    except (TypeError, ValueError) as error:
        raise DataError(str(error)) from error


def _plain(parameters: Parameters) -> Parameters:
    """Return parameters as the client sends them: what pandas, numpy and decimals have for numbers as Python's own."""
    if not parameters:
        return None
    if isinstance(parameters, Mapping):
        return {name: _value(value) for name, value in parameters.items()}
    if isinstance(parameters, str):
        raise TypeError("parameters are a sequence or a mapping of values, not a text")
    return [_value(value) for value in parameters]


def _value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    item = getattr(value, "item", None)
    return value if item is None else item()
