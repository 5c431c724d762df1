"""The second implementation of questions over several relations: SQLite over the same rows, the analyst's own text.

Where Discreet means something else than SQL (SUM over nothing is 0), the function is SQLite's no more but ours.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from math import isclose
from typing import Any

from tests.oracles.composed import Composed
from tests.oracles.worlds import Data, Datum, World, quoted

SLACK = 0.02
"""What rounding values to a float's grid may add up to; the worlds' own values differ by 0.5 and more."""


class _Count:
    """COUNT_IF, which SQLite has not."""

    def __init__(self) -> None:
        self.total: float = 0

    def step(self, value: float | None) -> None:
        self.total += 0 if value is None else value

    def finalize(self) -> float:
        return self.total


def _strict(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *values: None if None in values else function(*values)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "FLOOR": _strict(math.floor),
    "SQRT": _strict(math.sqrt),
    "YEAR": _strict(lambda day: int(day[:4])),
    "MONTH": _strict(lambda day: int(day[5:7])),
    "DAY": _strict(lambda day: int(day[8:10])),
    "DATE_TRUNC": _strict(lambda _unit, day: f"{day[:7]}-01"),
    "LEAST": lambda *values: min((value for value in values if value is not None), default=None),
    "GREATEST": lambda *values: max((value for value in values if value is not None), default=None),
}
"""What SQLite has not, or means otherwise: NULLs do not count in LEAST and GREATEST."""


@contextmanager
def loaded(world: World, data: Data) -> Iterator[sqlite3.Connection]:
    """A database in memory with the rows of a world."""
    connection = sqlite3.connect(":memory:")
    # typeshed has no type for an aggregate class whose step takes one argument
    connection.create_aggregate("COUNT_IF", 1, _Count)  # type: ignore[arg-type]
    connection.execute("PRAGMA case_sensitive_like = ON")
    for name, function in _FUNCTIONS.items():
        connection.create_function(name, -1, function, deterministic=True)
    for table in world.tables:
        connection.execute(f"CREATE TABLE {quoted(table.name)} ({', '.join(quoted(col.name) for col in table.cols)})")
        marks = ", ".join("?" * len(table.cols))
        rows = [tuple(map(_held, row)) for row in data[table.name]]
        connection.executemany(f"INSERT INTO {quoted(table.name)} VALUES ({marks})", rows)
    yield connection
    connection.close()


def _spelled(text: str) -> str:
    """The text in SQLite's words; its TOTAL is 0 over nothing, as Discreet's SUM is, where its SUM is NULL."""
    return text.replace("DATE '", "'").replace("SUM(", "TOTAL(")


def _held(value: Datum) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    return value.isoformat() if isinstance(value, date) else value


def differences(asked: Composed, got: list[list[object]], connection: sqlite3.Connection) -> list[str]:
    """Say how an answer differs from SQLite's; a public group that has no rows is one of zeros."""
    expected = {
        tuple(map(_plain, row[: asked.keys])): row[asked.keys :] for row in connection.execute(_spelled(asked.text))
    }
    found = {tuple(map(_plain, row[: asked.keys])): row[asked.keys :] for row in got}
    wrong = [f"group {group} is missing" for group in expected.keys() - found.keys()]
    if len(found) != len(got):
        wrong.append("a group comes twice")
    for group, values in found.items():
        theirs = expected.get(group, (None,) * len(values))
        for aggregate, mine, other in zip(asked.aggregates, values, theirs, strict=True):
            if other is None and aggregate.startswith("AVG"):
                continue  # the middle of the bounds, which the questions over one table look at
            if not isinstance(mine, int | float) or not isclose(mine, other or 0, rel_tol=1e-6, abs_tol=SLACK):
                wrong.append(f"{aggregate} of {group} is {mine} where {other} is expected")
    return [f"{each} in {asked.text}" for each in wrong]


def _plain(value: Any) -> object:
    return value if value is None or isinstance(value, str) else float(value)
