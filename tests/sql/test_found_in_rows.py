"""What a reviewer broke below the frontier, each kept as a test: the exploit of then is harmless now."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import duckdb
import pytest

from gateway.engines.base import Limits
from gateway.engines.open import open_engine
from gateway.errors import SqlRefused
from gateway.feeding import _constant
from gateway.policy.document import load
from gateway.policy.model import Dataset
from gateway.policy.resolve import resolve
from gateway.sql.algebra import Call, Constant, FedColumn, Ref
from gateway.sql.inference.known import Known, known
from tests.oracles.neighbours import breaches, exact
from tests.oracles.questions import plan, written

POLICY = """
dataset: rows
engine: {url}
privacy_unit: {{table: person, key: person_id}}
tables:
  person:
    columns:
      weight: {{type: number, lower: 0, upper: 10}}
      age: {{type: integer, lower: 0, upper: 110}}
      name: {{type: text}}
  place: {{public: true, key: id}}
budget: {{epsilon: 20, delta: 1e-6}}
per_query: {{max_epsilon: 10, delta: 1e-9}}
"""
TABLES = (
    "CREATE TABLE person(person_id BIGINT PRIMARY KEY, weight DOUBLE, age INTEGER, name VARCHAR)",
    "CREATE TABLE place(id INTEGER PRIMARY KEY)",
    "INSERT INTO place VALUES (1), (2), (3)",
    "INSERT INTO person SELECT i, 0.1, i, CASE WHEN i = 0 THEN '-0' ELSE '0' END FROM range(20) t(i)",
)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Dataset, duckdb.DuckDBPyConnection]]:
    path = tmp_path_factory.mktemp("rows") / "data.duckdb"
    url = f"duckdb:///{path}"
    with duckdb.connect(str(path)) as connection:
        for statement in TABLES:
            connection.execute(statement)
    dataset = _dataset(POLICY.format(url=url), url, ("person", "place"))
    with duckdb.connect(str(path)) as connection:
        yield dataset, connection


def _dataset(policy: str, url: str, tables: tuple[str, ...]) -> Dataset:
    engine = open_engine(url)
    try:
        with engine.session(Limits(20)) as session:
            shapes = session.schema(tables)
    finally:
        engine.close()
    return resolve(load(policy), shapes, engine.dialect, 1)


@pytest.mark.parametrize(
    "rows",
    [
        "VALUES " + ", ".join(f"(0.1000000000000000000{number:03d})" for number in range(50)),
        "SELECT 0.1 AS x UNION ALL SELECT 0.10000000000000000000001",
        "VALUES (9007199254740993.0), (9007199254740992.0)",
    ],
)
def test_constants_that_are_one_double_are_no_key(rows: str, people: tuple[Dataset, duckdb.DuckDBPyConnection]) -> None:
    # They were told apart as texts, so that a person was held to have one pair among them, and had fifty.
    found = plan(written(f"SELECT COUNT(*) FROM person p JOIN ({rows}) AS v(x) ON p.weight = v.x"), people[0])
    assert found.releases[0].bounding.how == "chosen"


def test_constants_that_are_two_doubles_are_a_key(people: tuple[Dataset, duckdb.DuckDBPyConnection]) -> None:
    sql = "SELECT COUNT(*) FROM person p JOIN (VALUES (0.1), (0.2)) AS v(x) ON p.weight = v.x"
    assert plan(written(sql), people[0]).releases[0].bounding.how == "one_row"


def test_a_text_that_is_zero_with_a_sign_is_the_zero_of_all(
    people: tuple[Dataset, duckdb.DuckDBPyConnection],
) -> None:
    dataset, connection = people
    (planned,) = plan(written("SELECT CAST(name AS DOUBLE) AS k, COUNT(*) FROM person GROUP BY 1"), dataset).releases
    ((key, _),) = connection.sql(planned.sql).fetchall()
    assert str(key) == "0.0"


@pytest.mark.parametrize("exponent", ["0.000000000000001", "-0.000000000000001", "1e-300"])
def test_powers_next_to_zero_are_planned_at_once(
    exponent: str, people: tuple[Dataset, duckdb.DuckDBPyConnection]
) -> None:
    # The limit of the base was two to the inverse of the exponent, written out as a whole number.
    dataset, connection = people
    (planned,) = plan(written(f"SELECT SUM(LEAST(POWER(weight, {exponent}), 9)) FROM person"), dataset).releases
    assert connection.sql(planned.sql).fetchall()


def test_a_power_of_what_no_double_says_is_refused(people: tuple[Dataset, duckdb.DuckDBPyConnection]) -> None:
    with pytest.raises(SqlRefused) as refused:
        plan(written("SELECT SUM(LEAST(POWER(1e-390, weight), 9)) FROM person"), people[0])
    assert refused.value.code == "constant-invalid"


def test_a_clamp_is_as_narrow_as_its_own_ends_and_no_declaration() -> None:
    ends = (Constant(-1000, "integer"), Constant(1000, "integer"))
    declared = (Fraction(0), Fraction(110))
    found = known(Call("clamp", (Ref("x", "integer"), *ends), "integer"), {"x": Known("integer", 0, declared)})
    assert found.bounds == (Fraction(-1000), Fraction(1000))


@pytest.mark.parametrize("aggregate", ["SUM(x, {})", "COUNT(x, {})", "COUNT(*, {})"])
def test_rows_that_are_units_are_not_folded_together(aggregate: str, tmp_path: Path) -> None:
    # The clamp held the sum of all rows, so that one row could move it from the one end to the other: by 10, not by 5.
    url = f"duckdb:///{tmp_path / 'events.duckdb'}"
    with duckdb.connect(str(tmp_path / "events.duckdb")) as connection:
        connection.execute("CREATE TABLE event(x INTEGER, kind BOOLEAN)")
        connection.execute("INSERT INTO event VALUES (-50, TRUE), (100, TRUE)")
    policy = f"""
dataset: events
engine: {url}
privacy_unit: row
tables:
  event: {{columns: {{x: {{type: integer, lower: -100, upper: 100}}, kind: {{type: boolean}}}}}}
budget: {{epsilon: 20}}
per_query: {{max_epsilon: 10}}
"""
    dataset = _dataset(policy, url, ("event",))
    call = aggregate.format("contribution_bounds_per_group => (-5, 5)")
    clause = "WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = 1)"
    with pytest.raises(SqlRefused) as refused:
        plan(written(f"SELECT {clause} kind, {call} FROM event GROUP BY kind"), dataset)
    assert refused.value.code == "contribution-bounds-invalid"
    per_row = f"SELECT {clause} kind, SUM(x, contribution_bounds_per_row => (-5, 5)) FROM event GROUP BY kind"
    (planned,) = plan(written(per_row), dataset).releases
    with duckdb.connect(str(tmp_path / "events.duckdb")) as connection:
        whole = exact(planned, connection.sql(planned.sql).to_arrow_table())
        connection.execute("DELETE FROM event WHERE x = 100")
        less = exact(planned, connection.sql(planned.sql).to_arrow_table())
    assert list(breaches(planned, whole, less)) == []


def test_texts_that_are_one_instant_are_no_key_in_sqlite(tmp_path: Path) -> None:
    # An index tells them apart, the scan does not: a person who met all of them counted as often.
    url = f"sqlite:///{tmp_path / 'people.sqlite'}"
    with sqlite3.connect(tmp_path / "people.sqlite") as connection:
        connection.execute("CREATE TABLE person(person_id INTEGER PRIMARY KEY, seen TIMESTAMP)")
        connection.execute("CREATE TABLE moment(at TIMESTAMP PRIMARY KEY)")
        connection.execute("INSERT INTO person VALUES (1, '2020-01-01'), (17, '2020-01-01')")
        moments = ("2020-01-01", "2020-01-01 00:00:00", "2020-01-01T00:00:00", "2020-01-01 00:00:00.0")
        connection.executemany("INSERT INTO moment VALUES (?)", [(moment,) for moment in moments])
    connection.close()
    policy = f"""
dataset: people
engine: {url}
privacy_unit: {{table: person, key: person_id}}
tables:
  person: {{columns: {{seen: {{type: timestamp}}}}}}
  moment: {{public: true}}
budget: {{epsilon: 20}}
per_query: {{max_epsilon: 10}}
"""
    dataset = _dataset(policy, url, ("person", "moment"))
    found = plan(written("SELECT COUNT(*) FROM person JOIN moment ON person.seen = moment.at"), dataset)
    assert found.releases[0].bounding.how == "chosen"


def test_released_values_that_are_written_alike_are_equal() -> None:
    # A third is no double: the one that stands for it, and what is above it, are one number in the statement.
    column = FedColumn("f0#1", "float", "a", (Fraction(0), Fraction(1, 3)))
    assert {_constant(value, column) for value in (1 / 3, 0.4)} == {Constant(Fraction(1 / 3), "float")}


@pytest.mark.parametrize(("where", "found"), [("", 17), (" WHERE id > 5", 20)])
def test_public_rows_folded_as_a_whole_are_one_row(
    where: str, found: int, people: tuple[Dataset, duckdb.DuckDBPyConnection]
) -> None:
    # Its GROUP BY had no keys: an error of the engine, after the charge.
    dataset, connection = people
    sql = f"SELECT COUNT(*) FROM person p JOIN (SELECT COUNT(*) AS c FROM place{where}) AS q ON p.age >= q.c"
    (planned,) = plan(written(sql), dataset).releases
    assert planned.bounding.how == "one_row"
    assert connection.sql(planned.sql).fetchall() == [(found,)]
