"""The questions whose time is compared, and how a peer tells how long it took; the standard library alone.

A peer is a program: it reads what is asked from standard input, and writes a line of JSON for each question.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Final

LOWER, UPPER = 0.0, 1000.0
EPSILON, DELTA = 0.01, 1e-6


@dataclass(frozen=True)
class Line:
    """COUNT, SUM and AVG by a key that has so many values from 0, where an owner has so many rows by the policy."""

    name: str
    table: str
    key: str
    keys: int
    rows: int

    @property
    def sql(self) -> str:
        """The analyst's own question."""
        asked = "COUNT(*) AS n, SUM(amount) AS s, AVG(amount) AS a"
        return f"SELECT {self.key}, {asked} FROM {self.table} GROUP BY {self.key}"


LINES: Final = tuple(
    Line(f"{name}, {keys:,} groups", table, key, keys, rows)
    for name, table, rows in (("one row an owner", "single", 1), ("five rows an owner", "several", 5))
    for key, keys in (("few", 32), ("many", 1_000))
)


@dataclass(frozen=True)
class Server:
    """Where the tables are, and how often each question is asked after the once that is not counted."""

    host: str
    database: str
    rounds: int


@dataclass(frozen=True)
class Took:
    """How many seconds each whole answer of a system took, or why it gave none."""

    who: str
    line: str
    seconds: tuple[float, ...] = ()
    refused: str = ""


Ask = Callable[[], object]
"""Asks one question whole."""


def timing(ways: Callable[[Server, Line], Iterable[tuple[str, Callable[[], Ask]]]]) -> None:
    """Be a program: ask each line in each of the ways in which a system can be asked it, and tell the seconds."""
    server = Server(**json.load(sys.stdin))
    for line in LINES:
        for who, prepared in ways(server, line):
            try:
                ask, seconds = prepared(), []
                for _ in range(server.rounds + 1):
                    began = time.perf_counter()
                    ask()
                    seconds.append(time.perf_counter() - began)
                told = Took(who, line.name, tuple(seconds[1:]))
            except Exception as error:
                told = Took(who, line.name, refused=f"{type(error).__name__}: {error}".splitlines()[0][:200])
            sys.stdout.write(json.dumps(asdict(told)) + "\n")
            sys.stdout.flush()


def read(said: Iterable[str]) -> Iterator[Took]:
    """Read what such a program told."""
    for each in said:
        if each.startswith("{"):
            found = json.loads(each)
            yield Took(**{**found, "seconds": tuple(found["seconds"])})
