"""Databases for questions over several relations: owned tables along a path, and public ones with and without a key.

Clean rows keep to the policy: one row a person, known owners, unique keys, no more rows of a unit than declared.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from random import Random

from tests.oracles.worlds import Col, Data, Datum, Row, Tab, World, generate

PEOPLE = (1, 2, 3, 4, 5, 6)
VISITS = tuple(range(1, 13))
MOST = {"visit": 3, "item": 4}


def _number(name: str, pool: tuple[Datum, ...], dirty: tuple[Datum, ...] = (), declared: str = "") -> Col:
    return Col(name, "integer", "BIGINT", "bigint", pool, dirty, declared, bounded=bool(declared))


def _word(name: str, pool: tuple[Datum, ...], dirty: tuple[Datum, ...] = (), declared: str = "") -> Col:
    return Col(name, "text", "VARCHAR", "text", pool, dirty, declared)


def _site(enforced: str | None, *, listed: bool = False) -> tuple[Tab, Tab]:
    """Two public tables, of which the first says that it has a key and the database may enforce it."""
    site = Tab(
        "site",
        (
            _number("site_id", (1, 2, 3), (1, None)),
            _word("region", ("north", "south"), (None, "", "NORTH")),
            _number("beds", (0, 5, 9), (None, -7), "lower: 0, upper: 9"),
        ),
        None,
        policy="public: true\n    key: site_id",
        enforced=enforced,
        public=True,
        listed=listed,
    )
    tariff = Tab(
        "tariff",
        (
            _word("region", ("north", "south", None)),
            _number("fee", (1, 2), (99, None), "lower: 0, upper: 4"),
        ),
        None,
        policy="public: true",
        public=True,
    )
    return site, tariff


def _clinic(name: str, *, keyed: bool) -> World:
    person = Tab(
        "person",
        (
            _number("person_id", PEOPLE, (1, 1, 77, None)),
            _word("sex", ("F", "M", None), ("f", "X", ""), "values: [F, M]"),
            _number("age", (0, 18, 30, 64, None), (-9, 2**62), "lower: 0, upper: 110"),
            Col("ok", "boolean", "BOOLEAN", "boolean", (True, False, None)),
            _word("city", ("Ulm", "Bonn", None), ("", "x" * 40)),
        ),
        "person_id",
        enforced="person_id" if keyed else None,
    )
    visit = Tab(
        "visit",
        (
            _number("visit_id", VISITS, (1, 2, 3, None)),
            _number("person_id", PEOPLE, (55, None)),
            _number("site_id", (1, 2, 3, None), (9,)),
            Col(
                "cost",
                "number",
                "DECIMAL(9,2)",
                "numeric(9, 2)",
                (Decimal("0.00"), Decimal("12.50"), Decimal("40.00"), Decimal("99.50"), None),
                (Decimal("-5.00"), Decimal("9999999.99")),
                "lower: 0, upper: 100",
                bounded=True,
            ),
            Col(
                "part",
                "number",
                "DECIMAL(38,19)",
                "numeric(38, 19)",
                (Decimal("0.5"), Decimal("12.5"), Decimal("40"), None),
                (Decimal("9" * 19 + "." + "9" * 19), Decimal("-" + "9" * 19)),
                "lower: 0, upper: 50",
                bounded=True,
            ),
            Col(
                "score",
                "number",
                "DOUBLE",
                "double precision",
                (0.5, 2.0, -4.0, None),
                (float("nan"), float("inf"), -0.0, 1e300),
                "lower: -4, upper: 4",
                bounded=True,
            ),
            _word("kind", ("x", "y", None), ("", "z")),
            Col("day", "date", "DATE", "date", (date(2020, 1, 1), date(2020, 1, 2), None), ("infinity",)),
        ),
        "person_id",
        policy=f"owner: {{person_id: person.person_id}}\n    max_rows_per_unit: {MOST['visit']}",
        enforced="visit_id" if keyed else None,
    )
    item = Tab(
        "item",
        (
            _number("visit_id", VISITS, (1, 400, None)),
            _number("qty", (0, 1, 5, None), (-3, 2**40), "lower: 0, upper: 5"),
            _word("label", ("a", "b"), ("c", None), "values: [a, b]"),
            Col(
                "whole",
                "number",
                "DECIMAL(38,0)",
                "numeric(38, 0)",
                (Decimal(0), Decimal(3)),
                (Decimal("9" * 38), Decimal("-" + "9" * 38), None),
                "lower: 0, upper: 8",
                bounded=True,
            ),
        ),
        "person_id",
        path=(("visit_id", "visit", "visit_id"),),
        policy=f"owner: {{visit_id: visit.visit_id}}\n    max_rows_per_unit: {MOST['item']}",
    )
    return World(
        name,
        "{table: person, key: person_id}",
        (person, visit, item, *_site("site_id" if keyed else None, listed=keyed)),
    )


def _gauges(enforced: str | None) -> World:
    gauge = Tab(
        "gauge",
        (
            _number("site_id", (1, 2, 3, None), (9,)),
            _number("level", (0, 1, 4), (None, -8, 2**40), "lower: 0, upper: 4"),
            _word("tag", ("r", "s"), (None, "t"), "values: [r, s]"),
        ),
        None,
    )
    name = "gauges" if enforced is None else "gauges_keyed"
    return World(name, "row", (gauge, *_site(enforced, listed=enforced is not None)))


CLINIC = _clinic("clinic", keyed=False)
KEYED_CLINIC = _clinic("clinic_keyed", keyed=True)
GAUGES = _gauges(None)
KEYED_GAUGES = _gauges("site_id")
CLINICS = (CLINIC, KEYED_CLINIC, GAUGES, KEYED_GAUGES)


def tidy(world: World, random: Random, size: int) -> Data:
    """Rows that keep to the policy."""
    data = generate(world, random, size, dirty=False)
    data["site"] = _distinct(data["site"], 0)
    if world.unit == "row":
        return data
    data["person"] = _distinct(data["person"], 0)
    known = [row[0] for row in data["person"]]
    visits = [(row[0], random.choice(known), *row[2:]) for row in _distinct(data["visit"], 0) if known]
    data["visit"] = _held(visits, lambda row: row[1], "visit")
    owners = {row[0]: row[1] for row in data["visit"]}
    items = [(random.choice(list(owners)), *row[1:]) for row in data["item"] if owners]
    data["item"] = _held(items, lambda row: owners[row[0]], "item")
    return data


def _distinct(rows: list[Row], at: int) -> list[Row]:
    return list({row[at]: row for row in rows if row[at] is not None}.values())


def _held(rows: list[Row], owner: Callable[[Row], Datum], table: str) -> list[Row]:
    seen: dict[Datum, int] = {}
    kept = []
    for row in rows:
        seen[owner(row)] = seen.get(owner(row), 0) + 1
        if seen[owner(row)] <= MOST[table]:
            kept.append(row)
    return kept
