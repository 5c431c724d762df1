"""A policy and the catalogue that it fits, for the tests of this folder to spoil in one place each."""

from __future__ import annotations

from gateway.policy.model import ForeignKey, Physical, TableShape

BIGINT = Physical("integer", "BIGINT")
TEXT = Physical("text", "VARCHAR")
FOLDED = Physical("text", "VARCHAR with a collation", exact=False)
DOUBLE = Physical("float", "DOUBLE")
MONEY = Physical("decimal", "DECIMAL(10,2)", 2)
LOOSE = Physical("decimal", "numeric")
DAY = Physical("date", "DATE")
INSTANT = Physical("timestamp", "TIMESTAMP")
FLAG = Physical("boolean", "BOOLEAN")

POLICY = """
dataset: health
engine: duckdb:///data/health.duckdb
privacy_unit: {table: person, key: person_id}
tables:
  person:
    columns:
      person_id: {type: integer}
      sex: {type: text, values: [F, M]}
      age: {type: integer, lower: 0, upper: 110}
      income: {type: number, lower: 0, upper: 2e5, nullable: true}
  visit:
    owner: {person_id: person.person_id}
    max_rows_per_unit: 40
    columns:
      cost: {type: number, lower: -0.10, upper: 5000, values: [0, 1.50]}
      day: {type: date, lower: 2020-01-01, upper: 2025-12-31, nullable: false}
      at: {type: timestamp, lower: 2020-01-01, upper: 2025-12-31T23:59:59Z}
      urgent: {type: boolean, values: [true, false]}
      site_id: {type: integer}
  item:
    owner: {visit_id: visit.visit_id}
    columns: {price: {type: number, lower: 0, upper: 100}}
  site: {public: true, key: site_id}
budget: {epsilon: 20, delta: 1e-6}
per_query: {max_epsilon: 2, delta: 1e-9}
"""

Columns = tuple[tuple[str, Physical | None, bool], ...]

PERSON: Columns = (
    ("person_id", BIGINT, True),
    ("sex", TEXT, False),
    ("age", BIGINT, False),
    ("income", DOUBLE, False),
    ("photo", None, False),
    ("nick", FOLDED, False),
)
VISIT: Columns = (
    ("visit_id", BIGINT, True),
    ("person_id", BIGINT, False),
    ("cost", MONEY, False),
    ("day", DAY, False),
    ("at", INSTANT, False),
    ("urgent", FLAG, True),
    ("site_id", BIGINT, False),
    ("ratio", DOUBLE, False),
    ("loose", LOOSE, False),
    ("nick", FOLDED, False),
    ("name", TEXT, False),
)
SHAPES = {
    "person": TableShape(PERSON, frozenset({frozenset({"person_id"})})),
    "visit": TableShape(
        VISIT, frozenset({frozenset({"visit_id"})}), frozenset({ForeignKey(("person_id",), "person", ("person_id",))})
    ),
    "item": TableShape((("visit_id", BIGINT, False), ("price", MONEY, False)), frozenset()),
    "site": TableShape((("site_id", BIGINT, False), ("city", TEXT, False), ("map", None, False)), frozenset()),
}
