"""The contract of functions over rows: no error, the same value on every engine and in Python, inside its bounds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from random import Random
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, note, reject, settings

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset, Dialect
from gateway.sql import functions as functions_of_rows
from gateway.sql.algebra import Call, Scalar
from gateway.sql.functions import FUNCTIONS
from gateway.sql.inference.facts import facts
from gateway.sql.inference.known import Known, known, position
from gateway.sql.offered import OFFERED
from gateway.sql.position import DIALECT
from gateway.sql.reading.parse import TextLimits, parse
from gateway.sql.relations.lower import lower
from gateway.sql.scalars import dates, powers, texts
from gateway.sql.writing import render
from gateway.sql.writing.dialects.registry import writer
from gateway.sql.writing.rows import rows
from tests.oracles.databases import (
    Database,
    DuckdbDatabase,
    PostgresDatabase,
    SqliteDatabase,
    duckdb_dataset,
    postgres_connection,
    postgres_dataset,
    sqlite_dataset,
)
from tests.oracles.worlds import Data
from tests.sql.hostile import COLUMNS, EXPRESSIONS, HOSTILE, data
from tests.sql.random_expressions import expressions
from tests.sql.reference import LOOSE, MEANINGS, canonical, evaluate

SIZE = 60
LONGEST_STORED = 12_000
"""Characters of the longest text of the table, which no function makes longer."""

FLOATS = ("'NaN'", "'Infinity'", "'-Infinity'", "'-0.0'", "0", "5e-324", "-1e308", "1e308", "0.5", "-2.5", "NULL")
PLANNED = {"units"}
"""Functions that no text asks for: the planner writes them, and each engine in its own way (``test_units``)."""

REFUSED = {"bounds-missing", "type-mismatch", "constant-invalid", "sql-too-deep", "not-supported", "key-unsupported"}
"""What a random expression may be refused for: no bounds, remainders of decimals, constants alone."""


@dataclass(frozen=True)
class Lowered:
    """An expression over rows: what it is, what is known of it, and how each engine writes it."""

    scalar: Scalar
    known: Known
    key: str
    value: str
    source: str

    @property
    def sql(self) -> str:
        return f"SELECT {self.key} AS id, {self.value} AS v FROM {self.source}"


def lowered(expression: str, dialect: str, dataset: Dataset) -> Lowered:
    tree = parse(f"SELECT COUNT(*) FROM hostile GROUP BY {expression}", dialect, TextLimits())
    tree.meta[DIALECT] = dialect
    (release,) = lower(tree, dataset).releases
    ((_, made),) = release.keys
    below = rows(release.source, dataset)
    value = writer(dataset.dialect).shown(below.write(made, dataset.dialect), made.kind)
    about = known(made, facts(release.source, dataset).columns)
    return Lowered(made, about, below.columns["id#0"], value, below.source)


def functions(found: Scalar) -> Iterator[str]:
    if isinstance(found, Call):
        yield found.function
        for arg in found.args:
            yield from functions(arg)


Engines = list[tuple[Dataset, Database]]


@pytest.fixture(scope="module")
def hostile() -> Data:
    return data(Random(7), SIZE)  # noqa: S311 - fixed examples, not noise


@pytest.fixture(scope="module")
def engines(postgres_server: str, hostile: Data, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    base = DuckdbDatabase(HOSTILE)
    base.fill(hostile)
    path = tmp_path_factory.mktemp("hostile") / "hostile.sqlite"
    file = sqlite_dataset(HOSTILE, path), SqliteDatabase(HOSTILE, path, hostile=False)
    file[1].fill(hostile)
    with postgres_connection(postgres_server) as connection:
        other = PostgresDatabase(HOSTILE, connection, "hostile")
        other.fill(hostile)
        yield [(duckdb_dataset(HOSTILE), base), (postgres_dataset(HOSTILE, postgres_server, "hostile"), other), file]
        connection.execute(b"DROP SCHEMA hostile CASCADE")
    base.close()


def values(fetch: Callable[[str], pa.Table], sql: str) -> dict[int, Any]:
    return {row["id"]: row["v"] for row in fetch(sql).to_pylist()}


def close(mine: Any, theirs: Any) -> bool:
    """Whether two values are the same: doubles within a few units, since libraries differ there."""
    if isinstance(mine, bool) or isinstance(theirs, bool) or mine is None or theirs is None:
        return mine is theirs
    if isinstance(mine, float) or isinstance(theirs, float):
        return math.isclose(mine, theirs, rel_tol=1e-14, abs_tol=1e-300)
    return type(mine) is type(theirs) and bool(mine == theirs)


def differences(expression: str, dialect: str, engines: Engines, hostile: Data) -> list[str]:
    """What is wrong with an expression over the hostile rows."""
    found: list[str] = []
    for dataset, base in engines:
        made = lowered(expression, dialect, dataset)
        if not writer(dataset.dialect).admits(made.sql):
            continue  # refused as too deep
        found += mistakes(expression, made, dataset.dialect, values(base.fetch, made.sql), hostile)
    return found


def mistakes(expression: str, made: Lowered, engine: Dialect, got: dict[int, Any], hostile: Data) -> Iterator[str]:
    """Say where an engine's values of an expression are others than those that are meant, or outside its bounds."""
    for row in hostile["hostile"]:
        held = {f"{col.name}#0": canonical(value, col.stored(engine)) for col, value in zip(COLUMNS, row, strict=True)}
        expected = evaluate(made.scalar, held)
        mine = got[held["id#0"]]
        mine = Fraction(mine) if isinstance(expected, Fraction) and mine is not None else mine
        if not close(mine, expected):
            used = {name: value for name, value in held.items() if name.split("#")[0] in expression}
            yield f"{engine}: {expression} of {used} is {mine!r} where {expected!r} is meant"
        yield from outside(expression, mine, made.known)


def outside(expression: str, value: Any, about: Known) -> Iterator[str]:
    """Say where a value lies outside of what is claimed."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        if about.length is not None and len(value) > about.length:
            yield f"{expression} has {len(value)} characters where at most {about.length} are claimed"
        if len(value) > LONGEST_STORED:
            yield f"{expression} has {len(value)} characters"
        return
    if not about.proven:
        return
    assert about.bounds is not None, expression
    low, high = about.bounds
    at = position(value) if isinstance(value, date | datetime) else Fraction(value)
    if not low <= at <= high:
        yield f"{expression} is {value!r}, outside of {low} to {high}"


@pytest.mark.parametrize(("dialect", "expression"), EXPRESSIONS)
def test_a_function(dialect: str, expression: str, engines: Engines, hostile: Data) -> None:
    assert differences(expression, dialect, engines, hostile) == []


def test_every_function_over_rows_is_among_them() -> None:
    dataset = duckdb_dataset(HOSTILE)
    reached = {name for dialect, text in EXPRESSIONS for name in functions(lowered(text, dialect, dataset).scalar)}
    assert reached == {name for name, function in FUNCTIONS.items() if "row" in function.levels} - PLANNED
    assert reached - {"case"} == LOOSE.keys() | MEANINGS.keys()


@pytest.mark.parametrize(("engine", "missing"), [("sqlite", set()), ("spark", set()), ("mysql", {"least", "greatest"})])
def test_what_an_engine_does_not_offer(engine: str, missing: set[str]) -> None:
    """A function that is added is tried on every engine, or refused there on purpose."""
    rows = {name for name, function in FUNCTIONS.items() if "row" in function.levels} - PLANNED
    assert rows - OFFERED[engine].keys() == missing
    assert OFFERED[engine].keys() <= rows
    for name in missing:
        with pytest.raises(SqlRefused) as refused:
            functions_of_rows.template(name, engine)
        assert refused.value.code == "function-unknown"


def check(expression: str, engines: Engines, hostile: Data) -> None:
    note(expression)
    try:
        lowered(expression, "duckdb", engines[0][0])
    except SqlRefused as refusal:
        assert refusal.code in REFUSED, (expression, refusal.code)  # noqa: PT017 - most are not refused
        reject()  # too many of these fail the test
    assert differences(expression, "duckdb", engines, hostile) == []


SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(max_examples=50, deadline=None, suppress_health_check=SLOW)
@given(expression=expressions())
def test_random_expressions(expression: str, engines: Engines, hostile: Data) -> None:
    check(expression, engines, hostile)


@pytest.mark.audit
@settings(max_examples=1_000, deadline=None, suppress_health_check=SLOW)
@given(expression=expressions())
def test_random_expressions_at_length(expression: str, engines: Engines, hostile: Data) -> None:
    check(expression, engines, hostile)


def caught(expression: str, engines: Engines, hostile: Data) -> bool:
    """Whether an engine raises, or a value is another or lies outside."""
    try:
        return differences(expression, "duckdb", engines, hostile) != []
    except (duckdb.Error, psycopg.Error, ArithmeticError, ValueError):
        return True


def bare_template(mark: str, instead: str) -> Callable[[str, str], str]:
    return lambda function, engine: re.sub(mark, instead, functions_of_rows.template(function, engine))


def unclamped(patch: pytest.MonkeyPatch) -> None:
    clamp = r"CASE WHEN \{0\} <= \{1\}.*ELSE (\{0\}) END"
    patch.setattr(render, "template", bare_template(clamp, r"\1"))


MUTATIONS: tuple[tuple[str, str, Callable[[pytest.MonkeyPatch], None]], ...] = (
    ("no clamp of whole numbers", "n + n", unclamped),
    ("no clamp of doubles", "f + g", unclamped),
    ("no clamp of dates", "YEAR(d)", unclamped),
    (
        "products may vanish",
        "f * f * f * f",
        lambda patch: patch.setattr(render, "template", bare_template(r"[+-] CAST\('3\.87[^)]*\)", "")),
    ),
    (
        "division by zero",
        "i // j",
        lambda patch: patch.setattr(render, "template", bare_template(r"NULLIF\((\{\d\}), 0\)", r"\1")),
    ),
    ("no guard of logarithms", "LN(f)", lambda patch: patch.setattr(powers, "_within", lambda found, *_: found)),
    ("no guard of exponentials", "EXP(f)", lambda patch: patch.setattr(powers, "_exponent", lambda found, *_: found)),
    ("texts grow", "t || t", lambda patch: patch.setattr(texts, "LONGEST", 10**6)),
    (
        "any text is cast",
        "CAST(t AS INTEGER)",
        lambda patch: patch.setattr(render, "template", bare_template(r"CASE WHEN .* THEN (\{0\}) END", r"\1")),
    ),
    ("dates beyond the calendar", "e + 30", lambda patch: patch.setattr(dates, "_inside", lambda found, *_: found)),
)


@pytest.mark.parametrize(("what", "expression", "mutation"), MUTATIONS, ids=[what for what, _, _ in MUTATIONS])
def test_what_is_broken_on_purpose_is_caught(
    what: str,
    expression: str,
    mutation: Callable[[pytest.MonkeyPatch], None],
    engines: Engines,
    hostile: Data,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not caught(expression, engines, hostile)
    mutation(monkeypatch)
    assert caught(expression, engines, hostile), what


@pytest.mark.parametrize("name", [name for name, function in FUNCTIONS.items() if "row" not in function.levels])
def test_a_function_over_noisy_tables_raises_nothing(name: str) -> None:
    template = functions_of_rows.template(name, "duckdb")
    second = ("2", "-15", "0") if name == "round_to" else tuple(f"CAST({value} AS DOUBLE)" for value in FLOATS)
    moments = {"date_of_days": "DATE '0001-01-01'", "timestamp_of_seconds": "TIMESTAMP '0001-01-01 00:00:00'"}
    firsts = [moments[name]] if name in moments else [f"CAST({first} AS DOUBLE)" for first in FLOATS]
    with duckdb.connect() as connection:
        for first in firsts:
            for other in second:
                connection.execute(f"SELECT {template.format(first, other)}").fetchall()
