"""What all systems are asked, and how they tell what they answered; the standard library alone, for any environment.

The owners' rows, the public keys, the bounds of the column and of an owner's rows, and the total price are the same
for all.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

GROUPS: Final = tuple(f"g{number}" for number in range(10))
LOWER, UPPER = 0.0, 100.0
EPSILON, DELTA = 1.0, 1e-6

Value = Mapping[str, Mapping[str, Sequence[float]]]
"""By column and group (the empty text where there is none): what was answered, draw by draw."""


@dataclass(frozen=True)
class Shape:
    """A question; ``{table}`` and ``{var}`` stand for what a system calls the table and the population variance."""

    name: str
    items: tuple[tuple[str, str], ...]
    grouped: bool

    def sql(self, table: str, var: str) -> str:
        items = ", ".join(f"{item.format(var=var)} AS {name}" for name, item in self.items)
        return f"SELECT g, {items} FROM {table} GROUP BY g" if self.grouped else f"SELECT {items} FROM {table}"


_COUNT, _SUM, _AVG, _VAR = ("n", "COUNT(x)"), ("s", "SUM(x)"), ("a", "AVG(x)"), ("v", "{var}(x)")
SHAPES: Final = tuple(
    Shape(f"{name}{' by group' if grouped else ''}", items, grouped)
    for grouped in (False, True)
    for name, items in (
        ("COUNT", (_COUNT,)),
        ("SUM", (_SUM,)),
        ("AVG", (_AVG,)),
        ("VAR", (_VAR,)),
        ("all four", (_COUNT, _SUM, _AVG, _VAR)),
    )
)


@dataclass(frozen=True)
class Asked:
    """One table on one server, of whose rows each owner has at most ``rows`` by the policy, and how often to draw."""

    host: str
    database: str
    table: str
    rows: int
    draws: int


@dataclass(frozen=True)
class Answered:
    """What one system said of one shape.

    ``seconds`` is one whole answer; ``paid`` says how its price came about; ``refused`` why there is no answer.
    """

    shape: str
    seconds: float = 0.0
    paid: str = ""
    values: Value | None = None
    refused: str = ""


def answering(answer: Callable[[Asked, Shape], Answered]) -> None:
    """Be a program: read what is asked from standard input, write each answer as a line of JSON."""
    asked = Asked(**json.load(sys.stdin))
    for shape in SHAPES:
        try:
            found = answer(asked, shape)
        except Exception as error:
            found = Answered(shape.name, refused=f"{type(error).__name__}: {error}"[:200])
        sys.stdout.write(json.dumps(asdict(found)) + "\n")
        sys.stdout.flush()


def read(lines: Iterable[str]) -> Iterator[Answered]:
    """Read the answers of such a program."""
    for line in lines:
        if line.startswith("{"):
            yield Answered(**json.loads(line))


def collected(shape: Shape, rows: Iterable[Sequence[Any]]) -> Value:
    """Return answers by column and group, from rows that each hold one draw."""
    names = [name for name, _ in shape.items]
    found: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for row in rows:
        group, values = (str(row[0]), row[1:]) if shape.grouped else ("", row)
        for name, value in zip(names, values, strict=True):
            found[name].setdefault(group, []).append(float(value))
    return found


def largest(price: Callable[[float], float], most: float) -> float:
    """Return the largest number whose price is at most so much, to a millionth; the price grows with the number."""
    low, high = 0.0, 1.0
    while price(high) <= most:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if price(middle) <= most else (low, middle)
    return low
