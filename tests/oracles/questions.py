"""Questions that lowering admits, as text: every clause, type and aggregate, over the tables of a world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import strategies as st

from gateway.policy.model import Dataset
from gateway.sql.choose import Bounds, Price
from gateway.sql.compile import Question, compile_query
from gateway.sql.parse import TextLimits
from gateway.sql.plan import Plan
from mechanisms.loss import EPSILON_UNIT
from tests.oracles.worlds import Col, Tab, World, quoted

Mechanism = Literal["auto", "laplace", "gaussian"]
_COMPARED = ("=", "<>", "<", "<=", ">", ">=")
_NUMERIC = ("integer", "number")


@dataclass(frozen=True)
class Asked:
    """A question on one table, and how it is priced."""

    sql: str
    mechanism: Mechanism = "auto"
    epsilon: float = 1.0
    groups: int | None = None


def plan(asked: Asked, dataset: Dataset, dialect: str | None = None) -> Plan:
    """The plan of a question, at its price."""
    epsilon = round(asked.epsilon * EPSILON_UNIT)
    price = Price(epsilon, None, dataset.per_query.delta, asked.mechanism, asked.mechanism != "laplace")
    question = Question(asked.sql, dialect, price, epsilon, TextLimits(), Bounds(asked.groups, 10_000, 256))
    return compile_query(question, dataset)


def questions(world: World) -> st.SearchStrategy[Asked]:
    return st.sampled_from(world.tables).flatmap(lambda table: _asked(table))


@st.composite
def _asked(draw: st.DrawFn, table: Tab) -> Asked:
    keys = draw(st.lists(st.sampled_from(table.cols), max_size=2, unique=True))
    aggregates = draw(st.lists(_aggregate(table), min_size=0 if keys else 1, max_size=4, unique=True))
    items = [*(quoted(key.name) for key in keys), *aggregates]
    filtered = draw(st.booleans())
    if not aggregates and (filtered or all(_public(key) for key in keys)):
        items.append(_one(table))  # WHERE may make any key public, and a list of public keys is no question
    outputs = [f"{item} AS c_{number}" if draw(st.booleans()) else item for number, item in enumerate(items)]
    sql = f"SELECT {', '.join(outputs)} FROM {quoted(table.name)}"
    if filtered:
        sql += f" WHERE {draw(_condition(table.cols, 2))}"
    if keys:
        by_number = draw(st.booleans())
        sql += " GROUP BY " + ", ".join(
            str(number + 1) if by_number else quoted(key.name) for number, key in enumerate(keys)
        )
    numbers = [item for item in items[len(keys) :]]
    if numbers and draw(st.integers(0, 3)) == 0:
        sql += f" HAVING {draw(_noisy_condition(numbers))}"
    if draw(st.integers(0, 3)) == 0:
        order = draw(st.lists(st.integers(1, len(items)), min_size=1, max_size=2, unique=True))
        sql += " ORDER BY " + ", ".join(f"{at}{draw(st.sampled_from(_ORDERS))}" for at in order)
    if draw(st.integers(0, 5)) == 0:
        sql += f" LIMIT {draw(st.integers(0, 5))}" + draw(st.sampled_from(("", " OFFSET 1")))
    return Asked(
        sql,
        draw(st.sampled_from(("auto", "laplace", "gaussian"))),
        draw(st.sampled_from((0.01, 1.0, 10.0))),
        draw(st.sampled_from((None, None, 1, 2, 3))),
    )


_ORDERS = ("", " DESC", " ASC NULLS FIRST", " DESC NULLS LAST")


def _public(col: Col) -> bool:
    return "values" in col.declared or col.kind == "boolean" or (col.kind == "integer" and "lower" in col.declared)


def _one(table: Tab) -> str:
    if table.name != "log":
        return "COUNT(*)"
    return f"COUNT(DISTINCT {quoted(str(table.owner))})"


def _aggregate(table: Tab) -> st.SearchStrategy[str]:
    owners = [f"COUNT(DISTINCT {quoted(table.owner)})"] if table.owner and not table.path else []
    if table.name == "log":
        return st.sampled_from(owners)
    names = [quoted(col.name) for col in table.cols]
    bounded = [quoted(col.name) for col in table.cols if col.bounded]
    choices = ["COUNT(*)", "COUNT(1)", *owners, *owners]
    choices += [f"COUNT({name})" for name in names]
    choices += [f"{function}({name})" for name in bounded for function in ("SUM", "AVG", "AVG")]
    return st.sampled_from(choices)


@st.composite
def _condition(draw: st.DrawFn, cols: tuple[Col, ...], depth: int) -> str:
    form = draw(st.integers(0, 12 if depth else 8))
    col = draw(st.sampled_from([col for col in cols if col.literals] or list(cols)))
    name = quoted(col.name)
    constant = st.sampled_from(col.literals or ("TRUE",))
    if form <= 2:
        parts = [name, draw(st.sampled_from(_COMPARED)), draw(constant)]
        return " ".join(parts)
    if form == 3:
        return f"{name}{draw(st.sampled_from(('', ' NOT')))} IN ({', '.join(draw(st.lists(constant, min_size=1)))})"
    if form == 4:
        return f"{name} IS{draw(st.sampled_from(('', ' NOT')))} NULL"
    if form == 5 and col.kind != "boolean":
        return f"{name}{draw(st.sampled_from(('', ' NOT')))} BETWEEN {draw(constant)} AND {draw(constant)}"
    if form == 6:
        return _flags(draw, cols)
    if form == 7:
        return f"{draw(constant)} {draw(st.sampled_from(_COMPARED))} {name}"
    if form <= 8:
        same = [other for other in cols if _comparable(col, other)]
        return f"{name} {draw(st.sampled_from(_COMPARED))} {quoted(draw(st.sampled_from(same)).name)}"
    if form == 9:
        return f"NOT ({draw(_condition(cols, depth - 1))})"
    left, right = draw(_condition(cols, depth - 1)), draw(_condition(cols, depth - 1))
    return f"({left} {'AND' if form <= 11 else 'OR'} {right})"


def _flags(draw: Any, cols: tuple[Col, ...]) -> str:
    flags = [col for col in cols if col.kind == "boolean"]
    if not flags:
        return "TRUE"
    name = quoted(draw(st.sampled_from(flags)).name)
    form: str = draw(st.sampled_from(("{0}", "NOT {0}", "{0} IS TRUE", "{0} IS NOT FALSE", "{0} IS FALSE OR 1 = 1")))
    return form.format(name)


def _comparable(left: Col, right: Col) -> bool:
    return left.kind == right.kind or (left.kind in _NUMERIC and right.kind in _NUMERIC)


@st.composite
def _noisy_condition(draw: st.DrawFn, numbers: list[str]) -> str:
    item = draw(st.sampled_from(numbers))
    other = draw(st.sampled_from(numbers))
    limit = draw(st.sampled_from(("0", "3", "-2.5")))
    form = draw(
        st.sampled_from(
            (
                "{0} > {2}",
                "{0} + {1} * 2 >= {2}",
                "{0} / {1} < {2}",
                "CASE WHEN {0} > {2} THEN {0} ELSE -{1} END <> 1",
                "COALESCE({0}, {1}) IS NOT NULL",
                "ROUND({0}, 1) % 3 <= {2}",
                "GREATEST({0}, {1}) > {2} OR ABS({0}) < 5",
            )
        )
    )
    return form.format(item, other, limit)
