"""What conditions leave of declared bounds, of public values, and of the groups that there may be."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from itertools import product
from unittest.mock import patch

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy.model import Dataset, Value
from gateway.sql.inference import truth
from gateway.sql.inference.images import IMAGES
from gateway.sql.planning import possible as reading
from gateway.sql.planning.groups import every
from gateway.sql.planning.plan import Linear, Mean
from gateway.sql.planning.possible import MOST_ROWS
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import plan, release_of, written
from tests.oracles.worlds import Col, Tab, World

KINDS = ("ab", "b", "c")
WORLD = World(
    "narrow",
    "{key: who}",
    (
        Tab(
            "t",
            (
                Col("who", "integer", "BIGINT", "bigint", (1, 2, 3)),
                Col("small", "integer", "INTEGER", "integer", (1, 2), (None,), "lower: 0, upper: 6", bounded=True),
                Col("wide", "integer", "INTEGER", "integer", (1, 2), (None,), "lower: 0, upper: 99", bounded=True),
                Col("kind", "text", "VARCHAR", "text", KINDS, (None, "z"), f"values: [{', '.join(KINDS)}]"),
                Col("vast", "integer", "INTEGER", "integer", (1, 2), (None,)),
                Col("free", "number", "DOUBLE", "double precision", (1.0,), (None,)),
                Col(
                    "amount",
                    "number",
                    "DOUBLE",
                    "double precision",
                    (1.0, 700.5),
                    (None,),
                    "lower: 0, upper: 1000",
                    bounded=True,
                ),
                Col(
                    "day",
                    "date",
                    "DATE",
                    "date",
                    (date(2020, 3, 1),),
                    (None,),
                    "lower: 2019-01-01, upper: 2024-12-31",
                    bounded=True,
                ),
            ),
            "who",
            policy="owner: who\n    max_rows_per_unit: 3",
        ),
    ),
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return duckdb_dataset(WORLD)


def groups(sql: str, dataset: Dataset) -> set[tuple[Value, ...]]:
    found = release_of(sql, dataset)
    assert found.public
    listed = every(found.keys, found.joint)
    assert len(set(listed)) == len(listed)
    return set(listed)


def _atoms() -> st.SearchStrategy[str]:
    numbers, kinds = st.integers(-1, 8), st.sampled_from([*(f"'{kind}'" for kind in KINDS), "'0'", "'bb'"])
    compared = st.sampled_from(("=", "<>", "<", "<=", ">", ">="))
    return st.one_of(
        st.builds("small {} {}".format, compared, numbers),
        st.builds("kind {} {}".format, compared, kinds),
        st.builds("{} {} small".format, numbers, compared),
        st.builds("small BETWEEN {} AND {}".format, numbers, numbers),
        st.builds("small IN ({}, {})".format, numbers, numbers),
        st.builds("kind IN ({}, {})".format, kinds, kinds),
        st.builds("kind LIKE '%{}%'".format, st.sampled_from("abcz")),
        st.sampled_from(("small IS NULL", "kind IS NULL", "small IS NOT NULL", "kind IS NOT NULL", "wide > 4")),
        st.builds("small {} wide".format, compared),
    )


def _conditions() -> st.SearchStrategy[str]:
    return st.recursive(
        _atoms(),
        lambda inner: st.one_of(
            st.builds("({} AND {})".format, inner, inner),
            st.builds("({} OR {})".format, inner, inner),
            st.builds("NOT ({})".format, inner),
        ),
        max_leaves=5,
    )


@pytest.fixture(scope="module")
def possible() -> Iterator[duckdb.DuckDBPyConnection]:
    """All values that the policy declares, and NULL, in all combinations: what a row might hold."""
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT * FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (NULL)) s(small)"
        )
        connection.execute(f"CREATE TABLE k AS SELECT unnest([{', '.join(map(repr, KINDS))}, NULL]) AS kind")
        connection.execute("CREATE TABLE w AS SELECT * FROM range(100) w(wide) UNION ALL SELECT NULL")
        yield connection


@settings(max_examples=50, deadline=None)
@given(condition=_conditions())
def test_groups_are_those_that_the_condition_may_let_through(
    condition: str, dataset: Dataset, possible: duckdb.DuckDBPyConnection
) -> None:
    """No group that a row may be in is missing; of small domains none is there that no row may be in.

    Where every combination is possible that the keys' own values make, or nearly, these are listed.
    """
    found = groups(f"SELECT small, kind, COUNT(*) FROM t WHERE {condition} GROUP BY small, kind", dataset)
    met = set(possible.execute(f"SELECT DISTINCT small, kind FROM t, k, w WHERE {condition}").fetchall())
    if not met:
        return
    assert met <= found
    if "wide" not in condition:
        each = [{row[place] for row in met} for place in (0, 1)]
        crossed = set(product(*each))
        assert found == met or (found == crossed and len(met) > len(crossed) // 2)


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        ("SELECT small, COUNT(*) FROM t WHERE small < 3 GROUP BY small", {0, 1, 2}),
        ("SELECT small, COUNT(*) FROM t WHERE 2.5 < small GROUP BY small", {3, 4, 5, 6}),
        ("SELECT s, COUNT(*) FROM (SELECT small AS s FROM t WHERE small > 4) u GROUP BY s", {5, 6}),
        ("SELECT wide, COUNT(*) FROM t WHERE small = wide AND small < 2 GROUP BY wide", {0, 1}),
        ("SELECT YEAR(day), COUNT(*) FROM t WHERE day >= DATE '2023-02-01' GROUP BY 1", {2023, 2024}),
        ("SELECT YEAR(day), COUNT(*) FROM t WHERE day < DATE '2020-01-01' GROUP BY 1", {2019}),
        (
            "SELECT y, COUNT(*) FROM (SELECT YEAR(day) AS y FROM t WHERE day > DATE '2021-12-31') u GROUP BY y",
            {2022, 2023, 2024},
        ),
        (
            "SELECT DATE_TRUNC('month', day), COUNT(*) FROM t"
            " WHERE day BETWEEN DATE '2020-02-10' AND DATE '2020-03-01' GROUP BY 1",
            {date(2020, 2, 1), date(2020, 3, 1)},
        ),
        ("SELECT kind, COUNT(*) FROM t WHERE kind <> 'b' AND small > 9 GROUP BY kind", {"ab", "c"}),
    ],
)
def test_one_key(sql: str, values: set[Value], dataset: Dataset) -> None:
    assert groups(sql, dataset) == {(value,) for value in values}


PAIRS = (
    "SELECT a.wide, b.wide, COUNT(*) FROM t a JOIN t b USING (who)"
    " WHERE (a.wide < {0} AND b.wide < {0}) OR (a.wide > {1} AND b.wide > {1}) GROUP BY 1, 2"
)


@pytest.mark.parametrize(("below", "above"), [(40, 59), (23, 76), (20, 89)])
def test_many_combinations_are_not_listed(below: int, above: int, dataset: Dataset) -> None:
    """What stands together is listed in the bounded SQL: of more rows than it holds, all combinations are drawn for.

    3,200 and 1,058 are more, and half of what the values make; 500 are not, but more than half of 30 * 30.
    """
    found = release_of(PAIRS.format(below, above), dataset)
    values = {*range(below), *range(above + 1, 100)}
    assert found.joint == ()
    assert [key.values for key in found.keys] == [(*sorted(values),)] * 2
    assert len(every(found.keys, found.joint)) == len(values) ** 2


@pytest.mark.parametrize(("below", "above"), [(20, 79), (22, 77), (1, 98)])
def test_few_combinations_are_listed(below: int, above: int, dataset: Dataset) -> None:
    low, high = range(below), range(above + 1, 100)
    rows = {*product(low, low), *product(high, high)}
    assert len(rows) <= MOST_ROWS
    found = release_of(PAIRS.format(below, above), dataset)
    assert [set(each.rows) for each in found.joint] == [rows]
    assert groups(PAIRS.format(below, above), dataset) == rows


def spread(sql: str, dataset: Dataset) -> list[Fraction]:
    """The bounds that a mean is held to."""
    [mean] = [found for _, found in release_of(sql, dataset).estimators if isinstance(found, Mean)]
    return [mean.lower, mean.upper]


@pytest.mark.parametrize(
    ("condition", "bounds"),
    [
        ("amount > 900", [900, 1000]),
        ("amount BETWEEN 10 AND 20.5", [10, Fraction(41, 2)]),
        ("amount BETWEEN 10 AND 20 OR amount = 30", [10, 30]),
        ("NOT amount > 5", [0, 1000]),
        ("amount > 2000", [0, 1000]),
        ("amount = 30", [0, 1000]),
        ("amount BETWEEN 999.999 AND 1000", [0, 1000]),
        ("amount > 5 OR small = 1", [0, 1000]),
        ("-5 <= amount AND amount < 1e9", [0, 1000]),
    ],
)
def test_bounds_of_a_measure(condition: str, bounds: list[Fraction], dataset: Dataset) -> None:
    assert spread(f"SELECT AVG(amount) FROM t WHERE {condition}", dataset) == bounds


def test_a_text_bounds_what_the_policy_does_not(dataset: Dataset) -> None:
    assert spread("SELECT AVG(free) FROM t WHERE free BETWEEN -3 AND 3", dataset) == [-3, 3]


def test_a_text_that_bounds_too_many_groups_leaves_them_private(dataset: Dataset) -> None:
    found = release_of(
        "SELECT who, vast, COUNT(*) FROM t WHERE who BETWEEN 1 AND 200 AND vast BETWEEN 1 AND 200 GROUP BY 1, 2",
        dataset,
    )
    assert found.threshold is not None
    assert groups("SELECT vast, COUNT(*) FROM t WHERE vast BETWEEN 1 AND 3 GROUP BY 1", dataset) == {(1,), (2,), (3,)}


def test_bounds_of_a_row_are_compared_with_the_declared_ones(dataset: Dataset) -> None:
    sql = (
        "SELECT WITH DIFFERENTIAL_PRIVACY SUM(amount, contribution_bounds_per_row => (0, 100)) FROM t WHERE amount > 50"
    )
    assert plan(written(sql), dataset, "bigquery").releases


def test_narrower_bounds_cost_less_noise(dataset: Dataset) -> None:
    """A sum of values up to ten has a hundredth of the noise of one of values up to a thousand."""

    def scale(condition: str) -> Fraction:
        found = release_of(f"SELECT SUM(amount) FROM t{condition}", dataset)
        [linear] = [each for _, each in found.estimators if isinstance(each, Linear)]
        return sum((abs(weight) * Fraction(found.noises[name].scale) for name, weight in linear.terms), Fraction(0))

    assert float(scale("") / scale(" WHERE amount BETWEEN 0 AND 10")) == pytest.approx(100, rel=1e-3)


def test_what_was_compared_is_not_null(dataset: Dataset) -> None:
    """One count serves rows and values where no row that is asked for lacks the value."""
    sql = "SELECT COUNT(*), AVG(amount) FROM t{}"
    assert len(release_of(sql.format(" WHERE amount >= 0"), dataset).integers) < len(
        release_of(sql.format(""), dataset).integers
    )


def test_conditions_over_the_same_keys_are_read_once(dataset: Dataset) -> None:
    """Each read all the others again: two hundred took a minute and a half, in which nobody else was answered."""
    conditions = " AND ".join(f"(a.wide <> b.wide OR a.amount = {at})" for at in range(200))
    sql = f"SELECT a.wide, b.small, COUNT(*) FROM t a JOIN t b USING (who) WHERE {conditions} GROUP BY 1, 2"
    with patch.object(reading, "let_through", wraps=truth.let_through) as read:
        release_of(sql, dataset)
    assert read.call_count < 20


@given(text=st.text("ab!\n", max_size=8), pattern=st.text("ab%_!", max_size=8), escaped=st.booleans())
def test_like_is_what_it_is_defined_as(text: str, pattern: str, *, escaped: bool) -> None:
    escaped = escaped and "!" not in pattern
    name = "like_escaped" if escaped else "like"

    def like(rest: str, pattern: str) -> bool:
        if not pattern:
            return not rest
        if pattern[0] == "%":
            return any(like(rest[at:], pattern[1:]) for at in range(len(rest) + 1))
        return bool(rest) and pattern[0] in ("_", rest[0]) and like(rest[1:], pattern[1:])

    assert IMAGES[name](text, pattern) is like(text, pattern)


def test_like_goes_back_nowhere() -> None:
    """The expression for ``%a%a%a…`` took longer than anybody waits, with the interpreter in its hand."""
    assert IMAGES["like"]("a" * 5_000 + "b", "%a" * 50 + "%zz") is False
    assert IMAGES["like_escaped"]("a" * 5_000 + "%zz", "%a" * 50 + "%!%zz") is True


def test_values_of_many_columns_are_read_within_limits() -> None:
    """Each of twenty columns had as many steps as all may have: three subqueries took twenty seconds to plan."""
    declared = f"values: [{', '.join(map(str, range(200)))}]"
    names = [f"c{at}" for at in range(20)]
    who = Col("who", "integer", "BIGINT", "bigint", (1,))
    cols = (who, *(Col(name, "integer", "BIGINT", "bigint", (1,), (), declared) for name in names))
    wide = duckdb_dataset(World("many", "{key: who}", (Tab("t", cols, "who", policy="owner: who"),)))
    conditions = " AND ".join(f"({' OR '.join(f'{name} <> {at}' for name in names)} OR who = 1)" for at in range(10))
    with patch.object(truth, "truth", wraps=truth.truth) as read:
        plan(written(f"SELECT COUNT(*) FROM t WHERE {conditions}"), wide)
    assert read.call_count <= truth.MOST_STEPS // 10
