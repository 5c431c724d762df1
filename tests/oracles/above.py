"""Random questions over released tables: the same text above them is what the analyst asks and what SQLite answers.

The released tables are SQLite's own: plain GROUP BY over the rows, and each public group that has none.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from math import isclose
from random import Random
from statistics import median, pvariance, variance

from tests.oracles.sqlite import loaded
from tests.oracles.worlds import Data, World

SEXES, TRUTHS, LABELS = ("F", "M", None), (False, True, None), ("a", "b", None)


@dataclass(frozen=True)
class Released:
    """A released table: what the analyst writes, SQLite's plain SQL, columns, and the public groups and
    what stands in those that have no rows.

    A column that is a ``mean`` decides nothing: it is not the same double on both sides.
    """

    text: str
    plain: str
    columns: tuple[tuple[str, str], ...]
    groups: tuple[tuple[object, ...], ...] = ()
    empty: tuple[object, ...] = ()


_ROLLED = "SELECT sex, ok, COUNT(*) AS n FROM person GROUP BY"
TABLES = {
    "sexes": Released(
        "SELECT sex, COUNT(*) AS n, AVG(age) AS a FROM person GROUP BY sex",
        "SELECT sex, 1.0 * COUNT(*) AS n, COALESCE(AVG(age), 55) AS a FROM person GROUP BY sex",
        (("sex", "text"), ("n", "number"), ("a", "mean")),
        tuple((sex,) for sex in SEXES),
        (0.0, 55.0),
    ),
    "kinds": Released(
        "SELECT kind, COUNT(*) AS n, SUM(cost) AS s FROM visit GROUP BY kind",
        "SELECT kind, 1.0 * COUNT(*) AS n, 1.0 * COALESCE(SUM(cost), 0) AS s FROM visit GROUP BY kind",
        (("kind", "text"), ("n", "number"), ("s", "number")),
    ),
    "days": Released(
        "SELECT day, COUNT(*) AS n FROM visit WHERE cost < 60 GROUP BY day",
        "SELECT day, 1.0 * COUNT(*) AS n FROM visit WHERE cost < 60 GROUP BY day",
        (("day", "date"), ("n", "number")),
    ),
    "labels": Released(
        "SELECT label, SUM(qty) AS s, COUNT(*) AS n FROM item GROUP BY label",
        "SELECT label, 1.0 * COALESCE(SUM(qty), 0) AS s, 1.0 * COUNT(*) AS n FROM item GROUP BY label",
        (("label", "text"), ("s", "number"), ("n", "number")),
        tuple((label,) for label in LABELS),
        (0.0, 0.0),
    ),
    "people": Released(
        "SELECT COUNT(*) AS n FROM person", "SELECT 1.0 * COUNT(*) AS n FROM person", (("n", "number"),)
    ),
    "rolled": Released(
        f"{_ROLLED} ROLLUP (sex, ok)",
        f"SELECT sex, ok, 1.0 * n AS n FROM ({_ROLLED} sex, ok)",
        (("sex", "text"), ("ok", "boolean"), ("n", "number")),
        tuple(product(SEXES, TRUTHS)),
        (0.0,),
    ),
}


class _Sum:
    """SUM as windows take it, and what else is folded of values that are there."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def step(self, value: float | None) -> None:
        if value is not None:
            self.values.append(value)

    def inverse(self, value: float | None) -> None:
        if value is not None:
            self.values.remove(value)

    def value(self) -> float:
        return sum(self.values)

    finalize = value


def _folding(function: Callable[[list[float]], float], least: int) -> type:
    class Folded(_Sum):
        def finalize(self) -> float | None:  # type: ignore[override]
            return function(self.values) if len(self.values) >= least else None

    return Folded


@contextmanager
def released(world: World, data: Data) -> Iterator[sqlite3.Connection]:
    """SQLite with the released tables of a world's rows."""
    with loaded(world, data) as connection:
        for name, table in TABLES.items():
            connection.execute(f"CREATE TABLE {name} AS {table.plain}")
            keys = [column for column, _ in table.columns[: len(table.groups[0])]] if table.groups else []
            for group in table.groups:
                same = " AND ".join(f"{key} IS ?" for key in keys)
                if not connection.execute(f"SELECT 1 FROM {name} WHERE {same}", group).fetchall():
                    row = (*group, *table.empty)
                    connection.execute(f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", row)
        rolled = "SELECT sex, NULL, SUM(n) FROM rolled GROUP BY sex UNION ALL SELECT NULL, NULL, SUM(n) FROM rolled"
        connection.executemany("INSERT INTO rolled VALUES (?, ?, ?)", connection.execute(rolled).fetchall())
        connection.create_window_function("SUM", 1, _Sum)
        for word, function, least in (
            ("MEDIAN", median, 1),
            ("VAR_POP", pvariance, 1),
            ("VAR_SAMP", variance, 2),
            ("STDDEV_POP", lambda values: pvariance(values) ** 0.5, 1),
        ):
            connection.create_aggregate(word, 1, _folding(function, least))
        yield connection


@dataclass(frozen=True)
class Column:
    text: str
    kind: str


@dataclass(frozen=True)
class Above:
    """A question over released tables: the tables that it names, and what stands above them."""

    names: tuple[str, ...]
    text: str
    ordered: bool
    features: frozenset[str]

    @property
    def asked(self) -> str:
        """The analyst's text."""
        return f"WITH {', '.join(f'{name} AS ({TABLES[name].text})' for name in self.names)} {self.text}"


@dataclass
class Composer:
    """Composes one question from a seed."""

    random: Random
    names: set[str] = field(default_factory=set)
    features: set[str] = field(default_factory=set)
    taken: int = 0

    def question(self) -> Above:
        """Return a question: a query, or two put together."""
        width, ordered = self.random.choice((1, 2, 3)), False
        kinds = [self.random.choice(("number", "number", "text", "date", "boolean")) for _ in range(width)]
        text = self.query(2, kinds)
        if self.chance(25):
            word = self.random.choice(("UNION ALL", "UNION", "EXCEPT", "INTERSECT"))
            self.features.add(word)
            text = f"{text} {word} {self.query(1, kinds)}"
        if self.chance(50):
            ordered = True
            order = [f"{at + 1} {self.random.choice(('ASC', 'DESC'))} NULLS LAST" for at in range(width)]
            text = f"{text} ORDER BY {', '.join(order)}"
            if self.chance(60):
                self.features.add("LIMIT")
                text += f" LIMIT {self.random.randint(0, 4)}" + (f" OFFSET {self.random.randint(0, 2)}")
        return Above(tuple(sorted(self.names)), text, ordered, frozenset(self.features))

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def alias(self) -> str:
        self.taken += 1
        return f"t{self.taken}"

    def query(self, depth: int, kinds: list[str]) -> str:
        """Return a SELECT with columns c0, c1, … of those kinds."""
        source, columns = self.source(depth)
        where = f" WHERE {self.condition(columns, depth)}" if self.chance(50) else ""
        if self.chance(35):
            self.features.add("GROUP BY")
            return self.grouped(source + where, columns, kinds)
        items = [self.item(columns, kind, depth) for kind in kinds]
        word = "SELECT"
        if self.chance(15):
            self.features.add("DISTINCT")
            word = "SELECT DISTINCT"
        listed = ", ".join(f"{item} AS c{at}" for at, item in enumerate(items))
        return f"{word} {listed} FROM {source}{where}"

    def source(self, depth: int) -> tuple[str, list[Column]]:
        text, columns = self.table(depth)
        for _ in range(self.random.choice((0, 0, 1, 1, 2)) if depth else 0):
            other, more = self.table(depth - 1)
            how = self.random.choice(("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN"))
            self.features.add(how)
            text, columns = f"{text} {how} {other}{self.on(how, columns, more)}", [*columns, *more]
        return text, columns

    def on(self, how: str, left: list[Column], right: list[Column]) -> str:
        if how == "CROSS JOIN":
            return ""
        pairs = [
            (a.text, b.text) for a in left for b in right if a.kind == b.kind and a.kind not in ("mean", "boolean")
        ]
        a, b = self.random.choice(pairs or [("1", "1")])
        return f" ON {a} = {b}"

    def table(self, depth: int) -> tuple[str, list[Column]]:
        alias = self.alias()
        if depth and self.chance(30):
            self.features.add("nested")
            kinds = [self.random.choice(("number", "text")) for _ in range(2)]
            return f"({self.query(depth - 1, kinds)}) AS {alias}", [
                Column(f"{alias}.c{at}", kind) for at, kind in enumerate(kinds)
            ]
        name = self.random.choice(list(TABLES))
        self.names.add(name)
        return f"{name} AS {alias}", [Column(f"{alias}.{column}", kind) for column, kind in TABLES[name].columns]

    # --- expressions

    def pick(self, columns: list[Column], kind: str) -> str:
        """Return a column of a kind, or a constant where there is none."""
        found = [column.text for column in columns if column.kind == kind]
        constants = {"number": "2.0", "text": "'F'", "date": "DATE '2020-01-02'", "boolean": "(1 = 1)"}
        return self.random.choice(found) if found else constants[kind]

    def number(self, columns: list[Column], depth: int) -> str:
        a, b = self.pick(columns, "number"), self.pick(columns, "number")
        forms = [
            a,
            f"{a} + {b} * 0.5",
            f"COALESCE({a}, 1.0) - {b}",
            f"CASE WHEN {self.condition(columns, 0)} THEN {a} ELSE {b} END",
            f"ABS({a} - 3)",
            f"NULLIF({a}, {b})",
        ]
        if depth:
            self.features.add("value")
            name = self.random.choice([name for name in TABLES if name != "people"])
            self.names |= {name, "people"}
            forms += [
                "(SELECT n FROM people)",
                f"(SELECT {self.random.choice(('MAX', 'SUM', 'COUNT'))}(n) FROM {name})",
            ]
            if self.chance(30):
                return self.asked_by(columns)
        return self.random.choice(forms)

    def asked_by(self, columns: list[Column]) -> str:
        """Return a subquery that refers to the rows around it."""
        self.features.add("correlated")
        name = self.random.choice(("kinds", "labels", "sexes"))
        self.names.add(name)
        alias, key = self.alias(), TABLES[name].columns[0][0]
        item = self.random.choice(("SUM({0}.n)", "1.0 * COUNT(*)", "MAX({0}.n)", "SUM({0}.n) + 1.5")).format(alias)
        more = self.random.choice(("", f" AND {alias}.n > 1"))
        return f"(SELECT {item} FROM {name} AS {alias} WHERE {self.pick(columns, 'text')} = {alias}.{key}{more})"

    def item(self, columns: list[Column], kind: str, depth: int) -> str:
        if kind == "number" and self.chance(30):
            return self.window(columns)
        if kind == "boolean":
            return f"({self.condition(columns, 0)})"
        return self.number(columns, depth) if kind == "number" else self.pick(columns, kind)

    def window(self, columns: list[Column]) -> str:
        """Return a window function that no tie decides: places are counted in an order by all columns."""
        self.features.add("window")
        able = [column.text for column in columns if column.kind != "mean"]
        by = self.random.choice(able)
        partition = f"PARTITION BY {by}" if self.chance(50) else ""
        value = self.pick(columns, "number")
        every = f"ORDER BY {', '.join(f'{column} NULLS LAST' for column in able)}"
        some = f"ORDER BY {self.random.choice(able)} DESC NULLS LAST"
        frame = self.random.choice(("ROWS BETWEEN 1 PRECEDING AND CURRENT ROW", "ROWS UNBOUNDED PRECEDING"))
        return self.random.choice(
            (
                f"SUM({value}) OVER ({partition})",
                f"SUM({value}) OVER ({partition} {some})",
                f"COUNT(*) OVER ({partition} {some})",
                f"MAX({value}) OVER ({partition} {every} {frame})",
                f"RANK() OVER ({partition} {some})",
                f"DENSE_RANK() OVER ({some})",
            )
        )

    def condition(self, columns: list[Column], depth: int) -> str:
        value, word = self.pick(columns, "number"), self.pick(columns, "text")
        forms = [
            f"{value} > {self.random.choice(('0', '1.5', '3'))}",
            f"{value} <= {self.pick(columns, 'number')}",
            f"{word} IS {self.random.choice(('NULL', 'NOT NULL'))}",
            f"{word} IN ('F', 'x', 'a')",
            f"NOT ({value} BETWEEN 1 AND 4)",
        ]
        if depth:
            name = self.random.choice(("kinds", "labels", "sexes"))
            key = TABLES[name].columns[0][0]
            self.names.add(name)
            self.features.add("IN")
            forms += [f"{word}{self.random.choice((' NOT', ''))} IN (SELECT {key} FROM {name} WHERE n > 1)"] * 2
            forms.append(f"EXISTS (SELECT 1 FROM {name} WHERE n > {self.random.randint(0, 9)})")
            forms.append(f"({self.condition(columns, 0)} OR {self.condition(columns, 0)})")
            if self.chance(10):
                self.features.add("correlated EXISTS")
                alias, negated = self.alias(), self.random.choice(("", "NOT "))
                tests = f"{alias}.{key} = {word} AND {alias}.n > {self.random.randint(0, 5)}"
                return f"{negated}EXISTS (SELECT 1 FROM {name} AS {alias} WHERE {tests})"
        return self.random.choice(forms)

    def grouped(self, source: str, columns: list[Column], kinds: list[str]) -> str:
        keys: list[str] = []
        items = []
        for kind in kinds:
            if kind == "number":
                items.append(self.summary(columns))
            else:
                key = self.pick(columns, kind) if kind != "boolean" else f"({self.condition(columns, 0)})"
                items.append(key)
                keys += [key] if any(column.text == key for column in columns) or kind == "boolean" else []
        listed = ", ".join(f"{item} AS c{at}" for at, item in enumerate(items))
        by = f" GROUP BY {', '.join(keys)}" if keys else ""
        having = f" HAVING COUNT(*) > {self.random.randint(0, 2)}" if self.chance(30) and "number" in kinds else ""
        if not by and "number" not in kinds:
            return f"SELECT {listed} FROM {source}"
        return f"SELECT {listed} FROM {source}{by}{having}"

    def summary(self, columns: list[Column]) -> str:
        value, word = self.pick(columns, "number"), self.pick(columns, "text")
        found = self.random.choice(
            (
                "COUNT(*)",
                f"SUM({value})",
                f"AVG({value})",
                f"MIN({value})",
                f"MAX({value})",
                f"COUNT(DISTINCT {word})",
                f"COUNT({word}) FILTER (WHERE {self.condition(columns, 0)})",
                f"MEDIAN({value})",
                f"VAR_POP({value})",
                f"VAR_SAMP({value})",
                f"STDDEV_POP({value})",
            )
        )
        return found if "COUNT" not in found else f"1.0 * {found}"


def above(seed: int) -> Above:
    """Return the question of a seed."""
    return Composer(Random(seed)).question()  # noqa: S311 - examples, not noise


_SUMS = re.compile(r"SUM\([^()]*\)(?: OVER \([^()]*\))?")
"""Sums, which over nothing are 0 to Discreet and NULL to SQLite."""


def differences(asked: Above, got: list[list[object]], connection: sqlite3.Connection) -> list[str]:
    """Say how an answer differs from SQLite's: as rows in an order where one is asked for, else as a bag of rows."""
    text = _SUMS.sub(r"COALESCE(\g<0>, 0)", asked.text.replace("DATE '", "'"))
    expected = [list(map(_plain, row)) for row in connection.execute(text)]
    found = [list(map(_plain, row)) for row in got]
    if not asked.ordered:
        expected, found = sorted(expected, key=_sortable), sorted(found, key=_sortable)
    if len(found) != len(expected) or not all(
        _close(mine, theirs)
        for ours, others in zip(found, expected, strict=True)
        for mine, theirs in zip(ours, others, strict=True)
    ):
        return [f"{found} where {expected} is expected of {asked.asked}"]
    return []


def _plain(value: object) -> object:
    return float(value) if isinstance(value, int | float) else value


def _sortable(row: list[object]) -> list[tuple[bool, object]]:
    return [
        (value is None, "" if value is None else round(value, 5) if isinstance(value, float) else value)
        for value in row
    ]


def _close(mine: object, theirs: object) -> bool:
    if isinstance(mine, float) and isinstance(theirs, float):
        return isclose(mine, theirs, rel_tol=1e-9, abs_tol=1e-6)
    return mine == theirs
