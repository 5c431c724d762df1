"""Parameters become constants of the algebra: the plan is that of the constant written out, whatever the dialect."""

from __future__ import annotations

from datetime import date, datetime
from fractions import Fraction

import pytest
from pydantic import ValidationError

from gateway import wire
from gateway.errors import RequestInvalid, SqlRefused
from gateway.parameters import parameters
from gateway.sql.algebra import Constant
from gateway.sql.compile import Question, compile_query
from gateway.sql.planning.choose import Bounds, Price
from gateway.sql.planning.plan import Plan
from gateway.sql.reading.grammar import DIALECTS
from gateway.sql.reading.parse import TextLimits
from gateway.sql.scalars.bind import Parameter
from mechanisms.loss import EPSILON_UNIT
from tests.oracles.databases import duckdb_dataset
from tests.sql.shop import SHOP

TEN = Constant(datetime.fromisoformat("2024-01-31 10:00:00"), "timestamp")
PRICE = Price(EPSILON_UNIT, None, 10**9, "laplace", gaussian=False)
NAMED = {
    "duckdb": ("$least", ":least"),
    "postgres": (":least", "%(least)s", "@least", "$least"),
    "bigquery": ("@least",),
    "snowflake": (":least", "$least"),
    "spark": (":least", "{least}"),
    "mysql": (":least", "@least"),
    "tsql": ("@least", ":least"),
    "sqlite": (":least", "@least"),
}
COUNTED = {
    "duckdb": ("?", "$1"),
    "postgres": ("?", "$1", "%s"),
    "bigquery": ("?",),
    "snowflake": ("?", ":1"),
    "spark": ("?",),
    "mysql": ("?",),
    "tsql": ("?",),
    "sqlite": ("?",),
}


def sent(given: wire.QueryRequest) -> tuple[Parameter, ...]:
    return parameters(given, 65_536)


def request(given: object) -> wire.QueryRequest:
    return wire.QueryRequest.model_validate({"sql": "", "dataset": "shop", "parameters": given})


def planned(text: str, given: object = None, dialect: str = "duckdb") -> Plan:
    limits, bounds = TextLimits(), Bounds(None, 10_000, 256)
    question = Question(text, dialect, PRICE, EPSILON_UNIT, limits, bounds, sent(request(given)))
    return compile_query(question, duckdb_dataset(SHOP))


def refused(text: str, given: object = None, dialect: str = "duckdb") -> SqlRefused:
    with pytest.raises(SqlRefused) as refusal:
        planned(text, given, dialect)
    return refusal.value


def test_every_dialect_has_its_spellings() -> None:
    assert set(NAMED) == set(COUNTED) == set(DIALECTS)


@pytest.mark.parametrize(("dialect", "word"), [(name, word) for name, words in NAMED.items() for word in words])
def test_named(dialect: str, word: str) -> None:
    text = "SELECT COUNT(*) FROM users WHERE age > {} OR age IN ({}, 7)"
    expected = planned(text.format(30, 30), dialect=dialect)
    found = planned(text.format(word, word), {"least": 30}, dialect)
    assert found == expected
    assert (
        found.fingerprint
        == expected.fingerprint
        != planned(text.format(word, word), {"least": 31}, dialect).fingerprint
    )


@pytest.mark.parametrize(("dialect", "word"), [(name, word) for name, words in COUNTED.items() for word in words])
def test_counted(dialect: str, word: str) -> None:
    second = word.replace("1", "2")
    text = "SELECT COUNT(*) FROM users WHERE age > {} AND city = {}"
    found = planned(text.format(word, second), [30, "Ulm"], dialect)
    assert found == planned(text.format(30, "'Ulm'"), dialect=dialect)


def test_the_order_is_that_of_the_text() -> None:
    text = "SELECT COUNT(*) FILTER (WHERE age > {}), SUM(age) FROM users WHERE age < {} AND city = {} LIMIT {}"
    assert planned(text.format("?", "?", "?", "?"), [1, 90, "Ulm", 5]) == planned(text.format(1, 90, "'Ulm'", 5))


@pytest.mark.parametrize(
    ("column", "given", "literal"),
    [
        ("age", 2**62, str(2**62)),
        ("age", -3, "-3"),
        ("income", 0.1, "0.1"),
        ("amount", 2.5, "2.5"),
        ("amount", {"type": "number", "value": 2}, "2.0"),
        ("city", "O'Hara; DROP TABLE users --", "'O''Hara; DROP TABLE users --'"),
        ("day", "2024-01-31", "'2024-01-31'"),
        ("day", {"type": "date", "value": "2024-01-31"}, "DATE '2024-01-31'"),
    ],
)
def test_a_value_means_what_its_literal_means(column: str, given: object, literal: str) -> None:
    table = "users" if column in ("age", "income", "city") else "orders"
    text = f"SELECT COUNT(*) FROM {table} WHERE {column} <= {{}}"
    if column == "city":
        text = text.replace("<=", "=")
    assert planned(text.format("?"), [given]) == planned(text.format(literal))


@pytest.mark.parametrize(
    ("given", "constant"),
    [
        (True, Constant(True, "boolean")),
        (1, Constant(1, "integer")),
        (1.0, Constant(Fraction(1), "decimal")),
        ("1", Constant("1", "text")),
        (None, Constant(None, "boolean")),
        ({"type": "text", "value": None}, Constant(None, "text")),
        (
            {"type": "timestamp", "value": "2024-01-31 10:00:00"},
            Constant(datetime.fromisoformat("2024-01-31 10:00:00"), "timestamp"),
        ),
        ({"type": "date", "value": "2024-01-31"}, Constant(date(2024, 1, 31), "date")),
    ],
)
def test_types_are_kept(given: object, constant: Constant) -> None:
    [found] = sent(request([given]))
    assert found.constant == constant
    assert type(found.constant.value) is type(constant.value)


@pytest.mark.parametrize(
    "given",
    [
        [2**63],
        [float("nan")],
        [float("inf")],
        [1e-301],
        ["\ud800"],
        ["a\0"],
        [{"type": "integer", "value": 1.5}],
        [{"type": "integer", "value": True}],
        [{"type": "number", "value": False}],
        [{"type": "text", "value": 1}],
        [{"type": "boolean", "value": "true"}],
        [{"type": "date", "value": "31.1.2024"}],
        [{"type": "date", "value": "2024-01-31 10:00:00"}],
        [{"type": "timestamp", "value": "2024-01-31 10:00:00+01:00"}],
        {"": 1},
        {"a\n": 1},
        ["x" * 40_000, "y" * 40_000],
    ],
)
def test_a_value_that_is_none(given: object) -> None:
    with pytest.raises(RequestInvalid) as refusal:
        sent(request(given))
    assert refusal.value.code == "parameter-invalid"


@pytest.mark.parametrize("given", [[[1]], {"a": {"value": 1}}, "x", 1, [{"type": "blob", "value": "x"}]])
def test_a_form_that_is_none(given: object) -> None:
    with pytest.raises(ValidationError):
        request(given)


@pytest.mark.parametrize(
    ("text", "given", "code", "at"),
    [
        ("SELECT COUNT(*) FROM users WHERE age > ?", None, "parameter-missing", 40),
        ("SELECT COUNT(*) FROM users WHERE age > ? AND age < ?", [1], "parameter-missing", 52),
        ("SELECT COUNT(*) FROM users WHERE age > $a", {"A": 1}, "parameter-missing", 40),
        ("SELECT COUNT(*) FROM users WHERE age > ?", [1, 2], "parameter-unused", None),
        ("SELECT COUNT(*) FROM users", {"a": 1}, "parameter-unused", None),
        ("SELECT COUNT(*) FROM users WHERE age > ?", ["x"], "type-mismatch", 34),
        ("SELECT COUNT(*) FROM users WHERE age > ?", [None], "null-comparison", 34),
        ("SELECT COUNT(*) FROM orders WHERE day > ?", ["tomorrow"], "constant-invalid", 35),
        ("SELECT COUNT(*) FROM users LIMIT ?", [-1], "limit-invalid", 34),
        ("SELECT COUNT(*) FROM users LIMIT ?", ["1"], "limit-invalid", 34),
        ("SELECT city, COUNT(*) FROM users GROUP BY ?", [1], "key-unsupported", 43),
        ("SELECT COUNT(*) FROM ?", ["users"], "table-unknown", 22),
        ("SELECT COUNT(*) FROM users GROUP BY age HAVING ?", [1], "type-mismatch", 48),
    ],
)
def test_refused(text: str, given: object, code: str, at: int | None) -> None:
    refusal = refused(text, given)
    assert (refusal.code, refusal.position and refusal.position.column) == (code, at)


def test_a_value_never_reads_as_sql() -> None:
    found = planned("SELECT COUNT(*) FROM users WHERE city = ?", ["' OR 1=1 --"])
    assert "= ''' OR 1=1 --'" in found.releases[0].sql
