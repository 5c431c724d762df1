"""What is computed from decimals by sums and products: in whole numbers, the same on every engine, within its ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.policy.model import Dataset
from gateway.sql.inference import units as units_of
from gateway.sql.inference.facts import facts
from gateway.sql.inference.units import Units, units
from gateway.sql.planning.quantum import EXACT, quantum
from gateway.sql.position import DIALECT
from gateway.sql.reading.parse import TextLimits, parse
from gateway.sql.relations.lower import lower
from gateway.sql.writing.rows import rows
from tests.oracles.databases import (
    Database,
    DuckdbDatabase,
    PostgresDatabase,
    duckdb_dataset,
    postgres_connection,
    postgres_dataset,
    sqlite_dataset,
)
from tests.oracles.worlds import Data
from tests.sql.hostile import COLUMNS, HOSTILE, data
from tests.sql.reference import canonical

Row = Mapping[str, Any]
Engines = list[tuple[Dataset, Database]]


@dataclass(frozen=True)
class Meant:
    """An expression, and what it is of a row, exactly."""

    text: str
    of: Callable[[Row], Fraction | None]


def column(name: str, low: int, high: int) -> Meant:
    def held(row: Row) -> Fraction | None:
        value = row[name]
        return None if value is None else min(max(Fraction(value), Fraction(low)), Fraction(high))

    return Meant(name, held)


def number(text: str) -> Meant:
    return Meant(text, lambda _: Fraction(text))


MONEY, WHOLE, SMALL = column("m", 0, 5000), column("i", -7, 110), column("j", 0, 9)
COMPUTE: Mapping[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}


def computed(sign: str, left: Meant, right: Meant) -> Meant:
    def of(row: Row) -> Fraction | None:
        first, second = left.of(row), right.of(row)
        return None if first is None or second is None else COMPUTE[sign](first, second)

    return Meant(f"({left.text} {sign} {right.text})", of)


def chosen(column: str, above: int, then: Meant, other: Meant | None) -> Meant:
    def of(row: Row) -> Fraction | None:
        if row[column] is not None and row[column] > above:
            return then.of(row)
        return None if other is None else other.of(row)

    ending = "" if other is None else f" ELSE {other.text}"
    return Meant(f"CASE WHEN {column} > {above} THEN {then.text}{ending} END", of)


def first_of(left: Meant, right: Meant) -> Meant:
    def of(row: Row) -> Fraction | None:
        found = left.of(row)
        return right.of(row) if found is None else found

    return Meant(f"COALESCE({left.text}, {right.text})", of)


PRICE = computed("*", MONEY, computed("-", number("1"), number("0.07")))
MEANT = (
    PRICE,
    computed("*", MONEY, computed("-", number("1.05"), SMALL)),
    computed("-", number("0"), MONEY),
    computed("+", computed("*", MONEY, number("0.001")), WHOLE),
    chosen("i", 3, PRICE, number("0")),
    computed("*", chosen("i", 3, MONEY, None), number("2")),
    computed("*", first_of(computed("*", MONEY, number("1.5")), WHOLE), number("1")),
    computed("*", chosen("j", 1, MONEY, SMALL), computed("*", WHOLE, number("0.25"))),
)
OTHERWISE = (
    "m / 2",  # a quotient
    "f * m",  # a double
    "SQRT(m)",
    "LEAST(m, 12.5) * 2",
    "m * m * m",  # too many units
    "m * 0.0000000000001",  # too many decimals
    "m * 1e18",
    "i * 2",  # a whole number already
    "m - 1000000 + 0.00000001 - 1000000",  # what it is computed from has too many units
)


def lowered(expression: str, dataset: Dataset) -> tuple[Units | None, str]:
    """Return an expression in units, and the statement that computes them for each row."""
    tree = parse(f"SELECT SUM({expression}) FROM hostile", "duckdb", TextLimits())
    tree.meta[DIALECT] = "duckdb"
    (release,) = lower(tree, dataset).releases
    ((_, aggregate),) = release.aggregates
    assert aggregate.argument is not None
    made = units(aggregate.argument, facts(release.source, dataset).columns)
    below = rows(release.source, dataset)
    value = "NULL" if made is None else below.write(made.scalar, dataset.dialect)
    return made, f"SELECT {below.columns['id#0']} AS id, {value} AS v FROM {below.source}"


@pytest.fixture(scope="module")
def hostile() -> Data:
    return data(Random(11), 60)  # noqa: S311 - fixed examples, not noise


@pytest.fixture(scope="module")
def engines(postgres_server: str, hostile: Data) -> Iterator[Engines]:
    base = DuckdbDatabase(HOSTILE)
    base.fill(hostile)
    with postgres_connection(postgres_server) as connection:
        other = PostgresDatabase(HOSTILE, connection, "units")
        other.fill(hostile)
        yield [(duckdb_dataset(HOSTILE), base), (postgres_dataset(HOSTILE, postgres_server, "units"), other)]
        connection.execute(b"DROP SCHEMA units CASCADE")
    base.close()


def check(meant: Meant, engines: Engines, hostile: Data) -> int:
    """Compare an expression's units on each engine with what is meant; return on how many engines it has any."""
    tried = 0
    for dataset, database in engines:
        made, statement = lowered(meant.text, dataset)
        if made is None:
            continue
        tried += 1
        got = {row["id"]: row["v"] for row in database.fetch(statement).to_pylist()}
        low, high = made.bounds
        assert -EXACT <= low <= high <= EXACT
        for stored in hostile["hostile"]:
            row = {
                col.name: canonical(value, col.stored(dataset.dialect))
                for col, value in zip(COLUMNS, stored, strict=True)
            }
            exact = meant.of(row)
            whole = None if exact is None else exact * 10**made.scale
            assert got[row["id"]] == whole, (dataset.dialect, meant.text, row)
            assert whole is None or low <= whole <= high, (meant.text, row)
    return tried


@pytest.mark.parametrize("meant", MEANT, ids=lambda meant: meant.text)
def test_sums_and_products_of_decimals_are_exact(meant: Meant, engines: Engines, hostile: Data) -> None:
    assert check(meant, engines, hostile) == len(engines)


@pytest.mark.parametrize("expression", OTHERWISE)
def test_what_is_computed_in_doubles_or_is_whole_already(expression: str) -> None:
    made, _ = lowered(expression, duckdb_dataset(HOSTILE))
    assert made is None or made.scale == 0


def test_sqlite_has_no_decimals(tmp_path: Any) -> None:
    made, _ = lowered("m * 0.5", sqlite_dataset(HOSTILE, tmp_path / "hostile.sqlite"))
    assert made is None


def test_long_expressions_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = duckdb_dataset(HOSTILE)
    terms = " + ".join(f"m * 0.{number}" for number in range(10, 25))
    assert lowered(terms, dataset)[0] is not None
    monkeypatch.setattr(units_of, "LARGEST", 50)
    assert lowered(terms, dataset)[0] is None


def test_the_bound_is_what_sums_are_calibrated_to() -> None:
    assert units_of.WIDEST == EXACT


@st.composite
def polynomials(draw: st.DrawFn, depth: int = 3) -> Meant:
    form = draw(st.integers(0, 8 if depth else 3))
    if form <= 1:
        return MONEY
    if form == 2:
        return draw(st.sampled_from((WHOLE, SMALL)))
    if form == 3:
        return number(draw(st.sampled_from(("0", "1", "2.5", "0.07", "100", "0.001"))))
    left, right = draw(polynomials(depth - 1)), draw(polynomials(depth - 1))
    if form <= 6:
        return computed(draw(st.sampled_from(("+", "-", "*"))), left, right)
    if form == 7:
        return chosen(draw(st.sampled_from(("i", "j"))), draw(st.integers(-8, 50)), left, right)
    return first_of(left, right)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(meant=polynomials())
def test_random_sums_and_products(meant: Meant, engines: Engines, hostile: Data) -> None:
    check(computed("+", computed("*", MONEY, number("0.5")), meant), engines, hostile)


@pytest.mark.parametrize(
    ("lower", "upper", "step"),
    [
        (0, 1000, Fraction(1, 2**14)),
        (-1000, 1000, Fraction(1, 2**14)),  # the largest bound's, as the distance is larger
        (1_700_000_000, 1_700_001_200, Fraction(1, 2**9)),  # twenty minutes of seconds since 1970: the finest
        (20_000, 30_000, Fraction(1, 2**10)),
        (5, 5, Fraction(1, 2**37)),
    ],
)
def test_the_unit_of_doubles_follows_the_distance_of_their_bounds(lower: int, upper: int, step: Fraction) -> None:
    found = quantum("float", None, Fraction(lower), Fraction(upper))
    assert found.step == step
    assert (Fraction(found.lower), Fraction(found.upper)) == (lower / step, upper / step)
    assert max(abs(found.lower), abs(found.upper)) <= EXACT
