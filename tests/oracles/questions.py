"""Questions that lowering admits: every clause, type and aggregate, over the tables of a world.

A question is kept in its parts, so that the second implementation needs no parser; ``sql`` is what the analyst writes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, Literal

from hypothesis import strategies as st

from gateway.policy.model import Dataset
from gateway.sql.compile import Question, compile_query
from gateway.sql.planning.choose import Bounds, Price
from gateway.sql.planning.clips import Wish
from gateway.sql.planning.groups import Given
from gateway.sql.planning.plan import Plan, PlannedRelease
from gateway.sql.reading.parse import TextLimits
from mechanisms.loss import EPSILON_UNIT
from tests.oracles.worlds import Col, Tab, World, quoted

Mechanism = Literal["auto", "laplace", "gaussian"]
SPREADS = ("VAR_POP", "VAR_SAMP", "STDDEV_POP", "STDDEV_SAMP")
PAIRS = ("COVAR_POP", "COVAR_SAMP", "CORR", "REGR_SLOPE", "REGR_INTERCEPT", "REGR_R2", "REGR_COUNT", "REGR_AVGX")
_COMPARED = ("=", "<>", "<", "<=", ">", ">=")
_NUMERIC = ("integer", "number")


@dataclass(frozen=True)
class Formula:
    """An expression over two aggregates and a constant, as the analyst and as SQLite writes it."""

    analyst: str
    sqlite: str
    first: int
    second: int
    limit: str

    def written(self, items: list[str]) -> str:
        return self.analyst.format(items[self.first], items[self.second], self.limit)

    def naive(self, names: list[str]) -> str:
        return self.sqlite.format(names[self.first], names[self.second], self.limit)


@dataclass(frozen=True)
class Aggregated:
    """One aggregate; ``other`` is the second argument of those that take two."""

    function: str
    column: str | None = None
    other: str | None = None

    @property
    def picks(self) -> bool:
        """Whether this is a quantile."""
        return self.function in ("MIN", "MAX", "MEDIAN", "QUANTILE")

    def __str__(self) -> str:
        if self.function == "QUANTILE":
            return f"PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY {quoted(str(self.column))})"
        if self.other is not None:
            return f"{self.function}({quoted(str(self.column))}, {quoted(self.other)})"
        if self.function == "DISTINCT":
            return f"COUNT(DISTINCT {quoted(str(self.column))})"
        return f"{self.function}({'*' if self.column is None else quoted(self.column)})"


@dataclass(frozen=True)
class Asked:
    """A question on one table, and how it is priced; ``order`` holds positions and their suffixes."""

    table: str
    keys: tuple[str, ...] = ()
    aggregates: tuple[Aggregated, ...] = ()
    where: str | None = None
    having: Formula | None = None
    derived: Formula | None = None
    order: tuple[tuple[int, str], ...] = ()
    limit: int | None = None
    offset: int = 0
    by_number: bool = False
    aliased: bool = False
    mechanism: Mechanism = "auto"
    epsilon: float = 1.0
    groups: int | None = None
    text: str = field(default="", repr=False)
    bounding: Wish = "auto"
    counted: bool = False
    given: tuple[Given, ...] = field(default=(), repr=False)

    @property
    def sql(self) -> str:
        if self.text:
            return self.text
        numbers = [str(aggregate) for aggregate in self.aggregates]
        items = [*map(quoted, self.keys), *numbers]
        if self.derived is not None:
            items.append(self.derived.written(numbers))
        outputs = [f"{item} AS c_{number}" if self.aliased else item for number, item in enumerate(items)]
        found = f"SELECT {', '.join(outputs)} FROM {quoted(self.table)}"
        if self.where is not None:
            found += f" WHERE {self.where}"
        if self.keys:
            keys = [str(at + 1) if self.by_number else quoted(name) for at, name in enumerate(self.keys)]
            found += f" GROUP BY {', '.join(keys)}"
        if self.having is not None:
            found += f" HAVING {self.having.written(numbers)}"
        if self.order:
            found += " ORDER BY " + ", ".join(f"{at}{suffix}" for at, suffix in self.order)
        if self.limit is not None:
            found += f" LIMIT {self.limit}" + (f" OFFSET {self.offset}" if self.offset else "")
        return found

    def __str__(self) -> str:
        return f"{self.sql} [{self.mechanism}, epsilon {self.epsilon}, groups {self.groups}, {self.bounding}]"


def plan(
    asked: Asked, dataset: Dataset, dialect: str | None = None, shown: int = 100_000, public: int = 10_000
) -> Plan:
    """The plan of a question, at its price; at most ``shown`` groups of a release are shown, ``public`` drawn for."""
    epsilon = round(asked.epsilon * EPSILON_UNIT)
    price = Price(epsilon, None, dataset.per_query.delta, asked.mechanism, asked.mechanism != "laplace")
    if dataset.dialect == "mysql":
        dialect = dialect or "duckdb"  # in MySQL's own, double quotes stand around texts
    bounds = Bounds(
        asked.groups, public, 256, shown, bounding=asked.bounding, clipped_count=asked.counted, given=asked.given
    )
    question = Question(asked.sql, dialect, price, epsilon, TextLimits(), bounds)
    return compile_query(question, dataset)


def written(sql: str, mechanism: Mechanism = "laplace", groups: int | None = None) -> Asked:
    """A question written out."""
    return Asked("", mechanism=mechanism, groups=groups, text=sql)


def release_of(sql: str, dataset: Dataset, mechanism: Mechanism = "laplace") -> PlannedRelease:
    """The one release of a question written out."""
    [found] = plan(written(sql, mechanism), dataset).releases
    return found


def questions(world: World) -> st.SearchStrategy[Asked]:
    return st.sampled_from(world.tables).flatmap(_asked)


@st.composite
def _asked(draw: st.DrawFn, table: Tab) -> Asked:
    keys = draw(st.lists(st.sampled_from(table.cols), max_size=2, unique=True))
    aggregates = draw(st.lists(_aggregate(table), min_size=0 if keys else 1, max_size=4, unique=True))
    filtered = draw(st.booleans())
    if not aggregates and (filtered or all(_public(key) for key in keys)):
        aggregates = [Aggregated("COUNT")]  # WHERE may make any key public, and a list of public keys is no question
    count = len(aggregates)
    having = draw(_formula(_CONDITIONS, count)) if count and draw(st.integers(0, 3)) == 0 else None
    derived = draw(_formula(_VALUES, count)) if count and draw(st.integers(0, 3)) == 0 else None
    width = len(keys) + count + (derived is not None)
    orders = st.tuples(st.integers(1, width), st.sampled_from(("", " DESC", " ASC NULLS FIRST", " DESC NULLS LAST")))
    ordered = draw(st.integers(0, 3)) == 0
    order = draw(st.lists(orders, min_size=1, max_size=2, unique_by=lambda pair: pair[0])) if ordered else []
    limited = draw(st.integers(0, 5)) == 0
    return Asked(
        table.name,
        tuple(key.name for key in keys),
        tuple(aggregates),
        draw(_condition(table.cols, 2)) if filtered else None,
        having,
        derived,
        tuple(order),
        draw(st.integers(0, 5)) if limited else None,
        draw(st.integers(0, 2)) if limited else 0,
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.sampled_from(("auto", "laplace", "gaussian"))),
        draw(st.sampled_from((0.01, 1.0, 10.0))),
        draw(st.sampled_from((None, None, 1, 2, 3))),
        bounding=draw(st.sampled_from(_BOUNDED)),
        counted=draw(st.integers(0, 4)) == 0,
    )


_BOUNDED: tuple[Wish, ...] = ("auto", "auto", "auto", "auto", "above_threshold", "exponential", "r2t")

_ONE_VALUE = re.compile(r"lower: ([-0-9.e]+), upper: \1(?![0-9.])")
"""Bounds that leave a single value, of which there is no correlation."""


def _public(col: Col) -> bool:
    return "values" in col.declared or col.kind == "boolean" or (col.kind == "integer" and "lower" in col.declared)


def _aggregate(table: Tab) -> st.SearchStrategy[Aggregated]:
    owners = [Aggregated("DISTINCT", table.owner)] if table.owner and not table.path else []
    choices = [Aggregated("COUNT"), *owners, *owners]
    choices += [Aggregated("COUNT", col.name) for col in table.cols]
    choices += [Aggregated("DISTINCT", col.name) for col in table.cols]
    for picked in ("MIN", "MAX", "MEDIAN", "QUANTILE"):
        choices += [Aggregated(picked, col.name) for col in table.cols if col.bounded]
    numbers = [col.name for col in table.cols if col.bounded]
    for function in ("SUM", "AVG", "AVG"):
        choices += [Aggregated(function, name) for name in numbers]
    for at, name in enumerate(numbers):
        choices += [Aggregated(SPREADS[(at + more) % len(SPREADS)], name) for more in (0, 1)]
        others = [other for other in numbers if other != name]
        choices += [Aggregated(PAIRS[at % 2], name, other) for other in others]
    varying = [col.name for col in table.cols if col.bounded and not _ONE_VALUE.search(col.declared)]
    for at, (name, other) in enumerate(permutations(varying, 2)):
        choices.append(Aggregated(PAIRS[2 + at % (len(PAIRS) - 2)], name, other))
    return st.sampled_from(choices)


@st.composite
def _condition(draw: st.DrawFn, cols: tuple[Col, ...], depth: int) -> str:
    form = draw(st.integers(0, 13 if depth else 8))
    col = draw(st.sampled_from([col for col in cols if col.literals] or list(cols)))
    name = quoted(col.name)
    constant = st.sampled_from(col.literals or ("TRUE",))
    if form <= 2:
        return f"{name} {draw(st.sampled_from(_COMPARED))} {draw(constant)}"
    if form == 3:
        return f"{name}{draw(_NOT)} IN ({', '.join(draw(st.lists(constant, min_size=1, max_size=4)))})"
    if form == 4:
        return f"{name} IS{draw(_NOT)} NULL"
    if form == 5 and col.kind != "boolean":
        return f"{name}{draw(_NOT)} BETWEEN {draw(constant)} AND {draw(constant)}"
    if form == 6:
        return _flags(draw, cols)
    if form == 7:
        return f"{draw(constant)} {draw(st.sampled_from(_COMPARED))} {name}"
    if form <= 8:
        same = [other for other in cols if _comparable(col, other)]
        return f"{name} {draw(st.sampled_from(_COMPARED))} {quoted(draw(st.sampled_from(same)).name)}"
    if form == 9:
        return f"NOT ({draw(_condition(cols, depth - 1))})"
    if form == 13:
        other = draw(st.sampled_from([col for col in cols if col.literals] or list(cols)))
        pairs = draw(
            st.lists(st.tuples(constant, st.sampled_from(other.literals or ("TRUE",))), min_size=2, max_size=3)
        )
        return f"({' OR '.join(f'({name} = {mine} AND {quoted(other.name)} = {theirs})' for mine, theirs in pairs)})"
    left, right = draw(_condition(cols, depth - 1)), draw(_condition(cols, depth - 1))
    return f"({left} {'AND' if form <= 11 else 'OR'} {right})"


_NOT = st.sampled_from(("", " NOT"))


def _flags(draw: Any, cols: tuple[Col, ...]) -> str:
    flags = [col for col in cols if col.kind == "boolean"]
    if not flags:
        return "TRUE"
    name = quoted(draw(st.sampled_from(flags)).name)
    form: str = draw(st.sampled_from(("{0}", "NOT {0}", "{0} IS TRUE", "{0} IS NOT FALSE", "{0} IS FALSE OR 1 = 1")))
    return form.format(name)


def _comparable(left: Col, right: Col) -> bool:
    return left.kind == right.kind or (left.kind in _NUMERIC and right.kind in _NUMERIC)


_CONDITIONS = (
    ("{0} > {2}", "{0} > {2}"),
    ("{0} + {1} * 2 >= {2}", "{0} + {1} * 2 >= {2}"),
    ("{0} / {1} < {2}", "{0} / nullif({1}, 0) < {2}"),
    ("CASE WHEN {0} > {2} THEN {0} ELSE -{1} END <> 1", "CASE WHEN {0} > {2} THEN {0} ELSE -{1} END <> 1"),
    ("NOT ({0} BETWEEN {2} AND 4.0)", "NOT ({0} BETWEEN {2} AND 4.0)"),
    ("{0} IN (0, {2}) OR {1} NOT IN (0, 2)", "{0} IN (0, {2}) OR {1} NOT IN (0, 2)"),
    ("ROUND({0}, 1) % 3 <= {2}", "fmod(half_away({0}, 1), 3) <= {2}"),
    ("GREATEST({0}, {1}) > {2} OR ABS({0}) < 5", "max({0}, {1}) > {2} OR abs({0}) < 5"),
)
_VALUES = (
    ("{0} + {1} * {2}", "{0} + {1} * {2}"),
    ("{0} / {1}", "{0} / nullif({1}, 0)"),
    ("COALESCE({0} / {1}, {2}) - 1", "coalesce({0} / nullif({1}, 0), {2}) - 1"),
    ("CASE WHEN {0} > {2} THEN {0} WHEN {1} IS NULL THEN 7 END", "CASE WHEN {0} > {2} THEN {0} END"),
    ("LEAST({0}, {1}, {2})", "min({0}, {1}, {2})"),
    ("NULLIF({0}, 3) * -{1}", "nullif({0}, 3) * -{1}"),
    ("FLOOR({0}) - CEIL({1})", "floor({0}) - ceil({1})"),
    ("SQRT({0})", "root({0})"),
)


@st.composite
def _formula(draw: st.DrawFn, forms: tuple[tuple[str, str], ...], count: int) -> Formula:
    analyst, sqlite = draw(st.sampled_from(forms))
    at = st.integers(0, count - 1)
    return Formula(analyst, sqlite, draw(at), draw(at), draw(st.sampled_from(("0.0", "3.0", "-2.5"))))
