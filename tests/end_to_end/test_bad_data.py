"""Data at its worst: an answer in finite numbers with honest intervals, or a refusal that text and policy alone decide.

Every question is asked of two datasets of one policy, of which one holds the worst rows and the other holds quiet ones:
what is refused of the one is refused of the other in the same words, so that no refusal shows what rows there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest

from tests.end_to_end.home import Home, make_home, problem, serving

DATASETS: Final = ("worst", "quiet")
LEAST, MOST = -(2**63), 2**63 - 1
POLICY: Final = f"""
dataset: NAME
engine: duckdb:///NAME.duckdb
privacy_unit: {{key: who}}
tables:
  flat:   {{owner: who, max_rows_per_unit: 1, columns: {{x: {{type: number, lower: 7, upper: 7}}}}}}
  heavy:  {{owner: who, max_rows_per_unit: 3, columns: {{x: {{type: number, lower: 0, upper: 100}}}}}}
  nobody: {{owner: who, max_rows_per_unit: 3, columns: {{x: {{type: number, lower: 0, upper: 100}}}}}}
  absent: {{owner: who, max_rows_per_unit: 3, columns: {{x: {{type: number, lower: 0, upper: 100}}}}}}
  odd:    {{owner: who, max_rows_per_unit: 1, columns: {{x: {{type: number, lower: 0, upper: 100}}}}}}
  ends:   {{owner: who, max_rows_per_unit: 1, columns: {{x: {{type: integer, lower: {LEAST}, upper: {MOST}}}}}}}
  few:
    owner: who
    max_rows_per_unit: 1
    columns:
      x: {{type: number, lower: 0, upper: 100}}
      j: {{type: integer, lower: 0, upper: 99, nullable: false}}
      k: {{type: integer, lower: 0, upper: 99, nullable: false}}
budget: {{epsilon: 1000000, delta: 1e-6}}
per_query: {{max_epsilon: 10, delta: 1e-9}}
"""
COLUMNS: Final = {
    "flat": "who BIGINT, x DOUBLE",
    "heavy": "who BIGINT, x DOUBLE",
    "nobody": "who BIGINT, x DOUBLE",
    "absent": "who BIGINT, x DOUBLE",
    "odd": "who BIGINT, x DOUBLE",
    "ends": "who BIGINT, x BIGINT",
    "few": "who BIGINT, x DOUBLE, j INTEGER, k INTEGER",
}
WORST: Final = {
    "flat": "SELECT i, 5 FROM range(300) t(i)",
    "heavy": "SELECT i, 10 FROM range(300) t(i) UNION ALL SELECT 1000, 100 FROM range(50000)",
    "absent": "SELECT i, NULL FROM range(300) t(i)",
    "odd": "SELECT * FROM (VALUES (1, 'NaN'::DOUBLE), (2, 'Infinity'), (3, '-Infinity'), (4, 1.7e308), (5, -1.7e308),"
    " (6, 5e-324), (7, -0.0), (8, NULL), (NULL, 50))",
    "ends": f"SELECT i, CASE i % 3 WHEN 0 THEN {MOST} WHEN 1 THEN {LEAST} ELSE 0 END FROM range(300) t(i)",
    "few": "SELECT i, 50, i * 8, i FROM range(12) t(i)",
}
QUIET: Final = dict.fromkeys(COLUMNS, "SELECT i, 40 FROM range(500) t(i)") | {
    "few": "SELECT i, 40, i % 100, i % 7 FROM range(500) t(i)"
}
PLAIN: Final = "SELECT COUNT(*) AS n, COUNT(x) AS c, SUM(x) AS s, AVG(x) AS a FROM {}"
QUESTIONS: Final = (
    PLAIN,
    "SELECT VAR_POP(x) AS v, STDDEV_SAMP(x) AS d FROM {}",
    "SELECT MIN(x) AS least, MEDIAN(x) AS m, MAX(x) AS most FROM {}",
    "SELECT COUNT(DISTINCT x) AS dx, COUNT(DISTINCT who) AS dw FROM {}",
    "SELECT SUM(x) / COUNT(*) AS r, SUM(x * x) AS q FROM {}",
    "SELECT x, COUNT(*) AS n FROM {} GROUP BY x",
    "SELECT x > 50 AS g, COUNT(*) AS n, SUM(x) AS s, CORR(x, x + 1) AS r FROM {} GROUP BY ROLLUP (1)",
)
GROUPED: Final = "SELECT j, k, COUNT(*) AS n, AVG(x) AS a FROM few GROUP BY j, k ORDER BY j, k"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = make_home(tmp_path_factory.mktemp("bad-data"), data=False)
    for name, rows in zip(DATASETS, (WORST, QUIET), strict=True):
        fill(made.folder / f"{name}.duckdb", rows)
        made.apply(POLICY.replace("NAME", name))
        made.grant("ada", 100_000, dataset=name)
    with serving(made):
        yield made
    assert made.command("ledger", "verify").exit_code == 0
    assert "Traceback" not in made.log.read_text()


def fill(path: Path, rows: dict[str, str]) -> None:
    with duckdb.connect(str(path)) as connection:
        for name, columns in COLUMNS.items():
            connection.execute(f"CREATE TABLE {name} ({columns})")
            if name in rows:
                connection.execute(f"INSERT INTO {name} {rows[name]}")


def asked(home: Home, sql: str, epsilon: float, **more: Any) -> dict[str, Any] | None:
    """The answer of the worst data; None where both datasets refuse the question in the same words."""
    found: dict[str, Any] = {}
    with home.http() as http:
        for name in DATASETS:
            body = {"sql": sql, "dataset": name, "epsilon": epsilon, "use_cache": False, **more}
            found[name] = http.post("/v1/query", json=body, headers=home.bearer())
    worst, quiet = (found[name] for name in DATASETS)
    assert worst.status_code == quiet.status_code, (worst.text, quiet.text)
    if worst.status_code != 200:
        told = [problem(response, 422, response.json()["code"]) for response in (worst, quiet)]
        assert {**told[0], "instance": None} == {**told[1], "instance": None}
        return None
    answered: dict[str, Any] = worst.json()
    assert [c["name"] for c in answered["columns"]] == [c["name"] for c in quiet.json()["columns"]]
    assert answered["cost"] == quiet.json()["cost"]
    honest(answered)
    return answered


def honest(answered: dict[str, Any]) -> None:
    """Hold that every noisy number is a number, and that every interval has its ends in order around it.

    What is derived may be NULL: a quotient by a noisy zero.
    """
    for place, column in enumerate(answered["columns"]):
        if column["role"] not in ("noisy", "derived"):
            continue
        name, values = column["name"], [row[place] for row in answered["rows"]]
        numbers = [value for value in values if value is not None or column["role"] == "noisy"]
        assert all(isinstance(value, int | float) and math.isfinite(value) for value in numbers), (name, values)
        for value, ends in zip(values, answered["intervals"].get(name, [None] * len(values)), strict=True):
            if ends is not None and value is not None:
                low, high = ends
                assert -math.inf < low <= high < math.inf
                slack = 1 + 1e-9 * abs(value)  # counts are shown whole
                assert low - slack <= value <= high + slack, (name, value, ends)


@pytest.mark.parametrize("epsilon", [1e-6, 1.0])
@pytest.mark.parametrize("table", COLUMNS)
def test_every_question_has_an_honest_answer_or_a_refusal_that_shows_nothing(
    table: str, epsilon: float, home: Home
) -> None:
    answers = [asked(home, sql.format(table), epsilon) for sql in QUESTIONS]
    if epsilon >= 1:
        assert sum(answer is not None for answer in answers) >= 4


@pytest.mark.parametrize(
    ("table", "right"),
    [
        ("flat", {"n": 300, "c": 300, "s": 2100, "a": 7}),
        # The heavy owner's fifty thousand rows count for three at most: all their weights rounded down for none.
        ("heavy", {"n": 300, "c": 300, "s": 3000, "a": 10}),
        ("nobody", {"n": 0, "c": 0, "s": 0}),
        ("absent", {"n": 300, "c": 0, "s": 0}),
        ("odd", {"n": 8, "c": 6, "s": 200}),
        ("ends", {"n": 300, "c": 300, "s": -100}),
    ],
)
def test_intervals_hold_what_the_bounded_rows_say(table: str, right: dict[str, float], home: Home) -> None:
    answered = asked(home, PLAIN.format(table), 10.0, confidence=0.999999)
    assert answered is not None
    for name, value in right.items():
        low, high = answered["intervals"][name][0]
        slack = 2.0**40 if table == "ends" and name == "s" else 2.0  # a coarser unit of so wide a column
        assert low - slack <= value <= high + slack, (name, low, high)


def test_ten_thousand_groups_of_twelve_people(home: Home) -> None:
    answered = asked(home, GROUPED, 1.0)
    assert answered is not None
    keys = [(row[0], row[1]) for row in answered["rows"]]
    assert keys == [(j, k) for j in range(100) for k in range(100)], "every public key, whoever is there"
    counts = [row[2] for row in answered["rows"]]
    # Its deviation is some 200: the noise of empty groups is around zero, not above it.
    assert abs(sum(counts)) < 2_000
    assert all(0 <= row[3] <= 100 for row in answered["rows"])


def test_ten_thousand_private_groups_of_twelve_people_show_nobody(home: Home) -> None:
    answered = asked(home, "SELECT x, COUNT(*) AS n FROM few GROUP BY x", 1e-6)
    assert answered is not None
    assert answered["rows"] == []


def test_a_tiny_price_is_honest_about_what_it_buys(home: Home) -> None:
    answered = asked(home, "SELECT COUNT(*) AS n FROM few", 1e-6)
    assert answered is not None
    [[low, high]] = answered["intervals"]["n"]
    assert high - low > 1e6
