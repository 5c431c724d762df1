"""The functions that bounded SQL calls in SQLite: exact sums of any size, keyed hashes, text and instants checked.

None of them raises, whatever a row holds: text comes as bytes, since SQLite does not keep it from being no UTF-8.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from gateway.engines.sqlitescalars import add_scalars

_INSTANT: Final = re.compile(rb"(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?)?")
_MOST: Final = 2**63 - 1

Number = int | str | None
"""A whole number as SQLite passes it on: beyond 64 bits as its digits."""


def add_functions(connection: sqlite3.Connection) -> None:
    """Make the functions known to a connection."""
    add_scalars(connection)
    scalars: tuple[tuple[str, int, Callable[..., str | None]], ...] = (
        ("discreet_text", 1, text),
        ("discreet_instant", 1, instant),
        ("discreet_weighted", 3, weighted),
        ("discreet_lot", -1, lot),
    )
    for name, arguments, function in scalars:
        connection.create_function(name, arguments, function, deterministic=True)
    # typeshed knows no aggregate whose step takes a certain number of arguments
    aggregates: tuple[tuple[str, int, Any], ...] = (("discreet_total", 1, Total), ("discreet_part", 1, Part))
    for name, arguments, aggregate in aggregates:
        connection.create_aggregate(name, arguments, aggregate)
    windows: tuple[tuple[str, int, Any], ...] = (("discreet_held", 2, Held), ("discreet_double", 1, Double))
    for name, arguments, window in windows:
        connection.create_window_function(name, arguments, window)


def text(stored: bytes | None) -> str | None:
    """Return bytes as the text that they are in UTF-8, NULL if they are none."""
    try:
        return None if stored is None else stored.decode()
    except UnicodeDecodeError:
        return None


def instant(stored: bytes | None) -> str | None:
    """Return the instant that some text is, with six decimals, as equal instants have one text; NULL if it is none."""
    found = None if stored is None else _INSTANT.fullmatch(stored)
    if found is None:
        return None
    day, time, fraction = (part.decode() if part is not None else "" for part in found.groups())
    written = f"{day} {time or '00:00:00'}.{fraction.ljust(6, '0')}"
    try:
        datetime.fromisoformat(written)
    except ValueError:
        return None
    return written


def weighted(amount: Number, rows: int, total: Number) -> str | None:
    """Return ``amount * rows / total`` rounded toward zero, as digits; NULL of NULL and of a total of zero."""
    if amount is None or total is None or not int(total):
        return None
    product, divisor = int(amount) * rows, int(total)
    quotient = abs(product) // abs(divisor)
    return str(quotient if (product < 0) == (divisor < 0) else -quotient)


def lot(salt: str, *columns: bytes | None) -> str:
    """Return a keyed hash of columns, each by its length and bytes, so that no two lists of them read alike."""
    digest = hashlib.sha256(salt.encode())
    for column in columns:
        digest.update(b"-" if column is None else b"%d:%b" % (len(column), column))
    return digest.hexdigest()


class _Sum:
    """The exact sum of whole numbers, in whatever order they come."""

    def __init__(self) -> None:
        self._total, self._count = 0, 0

    def step(self, value: Number, factor: int = 1) -> None:
        """Add a number; NULL adds nothing."""
        if value is not None:
            self._total += int(value) * factor
            self._count += 1

    def inverse(self, value: Number, factor: int = 1) -> None:
        """Take a number away again that a window's frame has left behind."""
        if value is not None:
            self._total -= int(value) * factor
            self._count -= 1


class Total(_Sum):
    """A measure over a group: tagged digits."""

    def finalize(self) -> bytes:
        """Return the sum."""
        return b"I%d" % self._total


class Part(_Sum):
    """A measure over one owner's rows, to be weighted or summed again."""

    def finalize(self) -> str | None:
        """Return the sum as digits, NULL over nothing."""
        return str(self._total) if self._count else None


class Held(_Sum):
    """A folded sum that stands in further SQL, and so keeps within SQLite's integers."""

    def value(self) -> int:
        """Return the sum, held between the ends of 64 bits."""
        return min(max(self._total, -_MOST), _MOST)

    finalize = value


class Double(_Sum):
    """A folded sum that goes on as a double."""

    def value(self) -> float | None:
        """Return the nearest double, NULL over nothing."""
        return float(self._total) if self._count else None

    finalize = value
