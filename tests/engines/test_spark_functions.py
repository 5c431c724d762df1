"""Every function over rows in Spark: on the hostile table nothing raises, and each value is the one that is meant.

Many expressions go into one statement, since each statement takes about a second.
"""

from __future__ import annotations

import re
from random import Random

import pytest

from gateway.engines.base import EngineError, Limits
from gateway.policy.document import load
from gateway.policy.model import Dataset
from gateway.policy.resolve import resolve
from gateway.sql.functions import template
from gateway.sql.writing import render
from tests.engines.test_spark import SparkDatabase
from tests.oracles.worlds import Data
from tests.sql.hostile import EXPRESSIONS, HOSTILE, data
from tests.sql.test_conditions import Held, differences, kept_rows, predicates
from tests.sql.test_functions import lowered, mistakes, values
from tests.sql.test_units import MEANT, check

pytestmark = [
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
AT_ONCE = 25
CHUNKS = [EXPRESSIONS[at : at + AT_ONCE] for at in range(0, len(EXPRESSIONS), AT_ONCE)]


@pytest.fixture(scope="module")
def hostile() -> Data:
    return data(Random(7), 60)  # noqa: S311 - fixed examples, not noise


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, hostile: Data) -> SparkDatabase:
    opened = SparkDatabase(HOSTILE, tmp_path_factory.mktemp("hostile"))
    opened.fill(hostile)
    return opened


@pytest.fixture(scope="module")
def dataset(base: SparkDatabase) -> Dataset:
    document = load(HOSTILE.policy("spark://local?folder=x"))
    with base.engine.session(Limits(120)) as session:
        return resolve(document, session.schema(list(document.tables)), "spark", 1)


def test_conditions_keep_the_same_rows(base: SparkDatabase, dataset: Dataset) -> None:
    [table] = dataset.tables
    held = Held("spark", table.columns, lambda sql: kept_rows(base.fetch(sql)))
    found = predicates(held.columns, Random(11), 60)  # noqa: S311 - fixed examples, not noise
    assert differences(held, found, "hostile") == []


def test_sums_and_products_of_decimals_are_exact(base: SparkDatabase, dataset: Dataset, hostile: Data) -> None:
    assert [check(meant, [(dataset, base)], hostile) for meant in MEANT] == [1] * len(MEANT)


@pytest.mark.parametrize("chunk", CHUNKS, ids=[chunk[0][1] for chunk in CHUNKS])
def test_functions(chunk: tuple[tuple[str, str], ...], base: SparkDatabase, dataset: Dataset, hostile: Data) -> None:
    made = [lowered(expression, dialect, dataset) for dialect, expression in chunk]
    [(key, source)] = {(each.key, each.source) for each in made}
    items = ", ".join(f"{each.value} AS v{at}" for at, each in enumerate(made))
    rows = base.fetch(f"SELECT {key} AS id, {items} FROM {source}").to_pylist()
    wrong = [
        mistake
        for at, ((_, expression), each) in enumerate(zip(chunk, made, strict=True))
        for mistake in mistakes(expression, each, "spark", {row["id"]: row[f"v{at}"] for row in rows}, hostile)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("expression", "mark", "instead"),
    [
        ("i // j", r"NULLIF\(\{1\}, 0\)", "{1}"),
        ("CAST(t AS INTEGER)", r"TRY_CAST\(CASE .* END", "CAST({0}"),
        ("n + n", r"CASE WHEN \{0\} <= .* END", "{0}"),
        ("EXTRACT(DOW FROM e)", r" - 1", ""),
    ],
)
def test_what_is_broken_on_purpose_is_caught(
    expression: str,
    mark: str,
    instead: str,
    base: SparkDatabase,
    dataset: Dataset,
    hostile: Data,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(render, "template", lambda function, engine: re.sub(mark, instead, template(function, engine)))
    made = lowered(expression, "duckdb", dataset)
    try:
        got = values(base.fetch, made.sql)
    except EngineError:
        return
    assert list(mistakes(expression, made, "spark", got, hostile)) != []
