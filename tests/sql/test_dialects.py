"""One question in each dialect's own spelling is one plan: the fingerprint is that of DuckDB's spelling."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.sql.reading.grammar import DIALECTS
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import plan, written
from tests.sql.shop import SHOP

Spelled = dict[str, str]


def _corpus() -> dict[str, Spelled]:
    found = {}
    for block in Path(__file__).with_name("fixtures").joinpath("dialects.sql").read_text().strip().split("\n\n"):
        title, *lines = block.splitlines()
        found[title.removeprefix("# ")] = {name: sql for name, _, sql in (line.partition(": ") for line in lines)}
    return found


CORPUS = _corpus()
CASES = [(title, dialect) for title, spelled in CORPUS.items() for dialect in spelled if dialect != "duckdb"]


def test_every_dialect_spells_most_questions() -> None:
    for dialect in set(DIALECTS) - {"sqlite"}:  # an engine of its own, whose spelling is mostly DuckDB's
        assert sum(dialect in spelled for spelled in CORPUS.values()) >= len(CORPUS) * 3 / 4, dialect


@pytest.mark.parametrize(("title", "dialect"), CASES)
def test_a_question_is_the_same_in_every_dialect(title: str, dialect: str) -> None:
    spelled = CORPUS[title]
    dataset = duckdb_dataset(SHOP)
    expected = plan(written(spelled["duckdb"]), dataset, "duckdb")
    found = plan(written(spelled[dialect]), dataset, dialect)
    assert found.releases == expected.releases
    assert found.query == expected.query
    assert found.fingerprint == expected.fingerprint
