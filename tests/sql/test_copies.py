"""The statements that copy a table: what they make, in both engines' words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.policy.document import load
from gateway.policy.model import Dataset, Dialect, Physical, TableShape
from gateway.policy.prepared import layout
from gateway.policy.resolve import resolve
from gateway.sql.writing.copies import copying, key_check, row_bytes

POLICY = """
dataset: health
engine: {engine}
privacy_unit: {{table: person, key: person_id}}
tables:
  person: {{columns: {{person_id: {{type: text}}}}}}
  visit:
    owner: {{person_id: person.person_id}}
    max_rows_per_unit: 2
    columns: {{visit_id: {{type: integer}}, cost: {{type: number, lower: 0, upper: 9}}}}
  item: {{owner: {{visit_id: visit.visit_id}}, columns: {{qty: {{type: integer, lower: 0, upper: 9}}}}}}
  site: {{public: true, key: site_id, columns: {{site_id: {{type: integer}}}}}}
budget: {{epsilon: 1, delta: 1e-6}}
per_query: {{max_epsilon: 1, delta: 1e-9}}
"""
BIGINT, TEXT, REAL = Physical("integer", "BIGINT"), Physical("text", "VARCHAR"), Physical("float", "REAL")
KEYED = frozenset({frozenset({"visit_id"})})
SHAPES = {
    "person": TableShape((("person_id", TEXT, False),), frozenset()),
    "visit": TableShape((("visit_id", BIGINT, False), ("person_id", TEXT, False), ("cost", REAL, False)), KEYED),
    "item": TableShape((("visit_id", BIGINT, False), ("qty", BIGINT, False)), KEYED),
    "site": TableShape((("site_id", BIGINT, False),), frozenset()),
}


def dataset(dialect: Dialect) -> Dataset:
    engine = "duckdb:///health.duckdb" if dialect == "duckdb" else "postgresql://reader@host/health"
    return resolve(load(POLICY.format(engine=engine)), SHAPES, dialect, 1)


def statements(dialect: Dialect, name: str) -> tuple[str, ...]:
    found = dataset(dialect)
    table = found.table(name)
    assert table is not None
    return copying(table, layout(table, found), found, "copy", "secret").statements


def test_a_table_is_made_filled_and_then_keyed() -> None:
    create, fill, key = statements("duckdb", "visit")
    assert create == (
        'CREATE TABLE copy."visit" ("visit_id" BIGINT, "cost" DOUBLE, "person_id" VARCHAR NOT NULL, '
        '"discreet_rank" BIGINT NOT NULL CHECK ("discreet_rank" BETWEEN 1 AND 2), UNIQUE ("visit_id"))'
    )
    assert fill.startswith('INSERT INTO copy."visit" SELECT c0, c1, c2, r FROM (SELECT *, ROW_NUMBER() OVER (')
    assert "PARTITION BY o ORDER BY md5('secret' || '|' || COALESCE(CAST(o AS VARCHAR), '')" in fill
    assert ", c0, c1, c2) AS r FROM (SELECT" in fill
    assert fill.endswith("WHERE r <= 2 ORDER BY o, r")
    assert key == 'ALTER TABLE copy."visit" ADD PRIMARY KEY ("person_id", "discreet_rank")'


def test_postgresql_adds_every_key_at_the_end() -> None:
    create, _, *keys = statements("postgres", "visit")
    assert '"cost" DOUBLE PRECISION, "person_id" TEXT COLLATE "C" NOT NULL' in create
    assert "UNIQUE" not in create
    assert keys == [
        'ALTER TABLE copy."visit" ADD PRIMARY KEY ("person_id", "discreet_rank")',
        'ALTER TABLE copy."visit" ADD UNIQUE ("visit_id")',
    ]


def test_what_nothing_bounds_is_copied_whole_with_its_owner() -> None:
    create, fill = statements("duckdb", "item")
    assert '"discreet_owner" VARCHAR NOT NULL' in create
    assert "ROW_NUMBER" not in fill
    assert " JOIN " in fill
    assert fill.endswith("ORDER BY o")


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_keys_are_looked_at_of_public_tables_alone(dialect: Dialect) -> None:
    found = dataset(dialect)
    assert [key_check(table, found) is not None for table in found.tables] == [False, False, False, True]


def test_sizes_are_told_from_declarations() -> None:
    found = dataset("duckdb")
    sizes = [row_bytes(table, layout(table, found)) for table in found.tables]
    assert sizes == [32 + 24, 8 + 8 + 32 + 8 + 2 * 24, 8 + 8 + 8 + 24, 8]
    shorter = replace(found.tables[1], columns=found.tables[1].columns[:2])
    assert row_bytes(shorter, layout(found.tables[1], found)) < sizes[1]
