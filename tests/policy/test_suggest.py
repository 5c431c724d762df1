"""What is guessed from a catalogue, what is left to people, and that the text is a policy but for their decisions."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy import document, proposal
from gateway.policy.model import ForeignKey, Physical, TableShape
from gateway.policy.resolve import resolve
from gateway.policy.suggest import Link, TableGuess, guess
from tests.policy.health import BIGINT, DAY, DOUBLE, FLAG, FOLDED, INSTANT, MONEY, SHAPES, TEXT

UNDECIDED = "still to be decided"
Shapes = dict[str, TableShape]


def shape(
    *columns: tuple[str, Physical | None], unique: str = "", links: str = "", not_null: bool = False, view: bool = False
) -> TableShape:
    """Return a table: ``unique`` names columns that are keys, ``links`` says ``column>table.key``."""
    foreign = (ForeignKey((here,), *there) for here, there in map(linked, links.split()))
    keys = frozenset(frozenset({name}) for name in unique.split())
    return TableShape(tuple((name, kind, not_null) for name, kind in columns), keys, frozenset(foreign), view)


def linked(text: str) -> tuple[str, tuple[str, tuple[str, ...]]]:
    here, _, there = text.partition(">")
    table, _, key = there.partition(".")
    return here, (table, (key,))


SHOP: Shapes = {
    "customer": shape(("custkey", BIGINT), ("name", TEXT), ("age", BIGINT), unique="custkey"),
    "orders": shape(
        ("orderkey", BIGINT),
        ("gift", BIGINT),
        ("custkey", BIGINT),
        ("total", MONEY),
        ("day", DAY),
        unique="orderkey",
        links="custkey>customer.custkey gift>customer.custkey",
    ),
    "item": shape(
        ("orderkey", BIGINT),
        ("part", BIGINT),
        ("qty", DOUBLE),
        links="orderkey>orders.orderkey part>part.partkey",
    ),
    "part": shape(("partkey", BIGINT), ("label", TEXT), unique="partkey"),
    "nation": shape(("nationkey", BIGINT), ("label", TEXT), unique="nationkey"),
    "seen": shape(("custkey", BIGINT), view=True),
}


def told(shapes: Shapes) -> dict[str, TableGuess]:
    return {table.name: table for table in guess(shapes).tables}


def text(shapes: Shapes) -> str:
    return proposal.write(guess(shapes), "shop", "duckdb:///shop.duckdb")


def problems(policy: str) -> tuple[document.Problem, ...]:
    with pytest.raises(document.PolicyInvalid) as caught:
        document.load(policy)
    return caught.value.problems


def decided(policy: str) -> str:
    """Return a proposal with something in place of each question mark."""
    for before, after in (
        ("privacy_unit: ?", "privacy_unit: row"),
        ("public: ?", "public: true"),
        ("type: date, lower: ?, upper: ?", "type: date, lower: 2020-01-01, upper: 2021-01-01"),
        ("type: timestamp, lower: ?, upper: ?", "type: timestamp, lower: 2020-01-01, upper: 2021-01-01"),
        ("lower: ?, upper: ?", "lower: 0, upper: 100"),
        ("epsilon: ?", "epsilon: 1"),
    ):
        policy = policy.replace(before, after)
    return re.sub(r"also_about: \{(.*)\}", lambda found: found[0].replace("?", "unprotected"), policy)


def test_people_are_found_by_name_and_owners_along_foreign_keys() -> None:
    found = told(SHOP)
    unit = guess(SHOP).unit
    assert unit is not None
    assert (unit.table, unit.key) == ("customer", "custkey")
    assert {name: table.role for name, table in found.items()} == {
        "customer": "unit",
        "item": "owned",
        "orders": "owned",
        "nation": "undecided",
        "part": "undecided",
        "seen": "view",
    }
    assert found["orders"].owner == Link("orders", "custkey", "customer", "custkey", declared=True)
    assert found["orders"].also == ("gift",)
    assert found["item"].owner == Link("item", "orderkey", "orders", "orderkey", declared=True)


def test_a_proposal_is_refused_for_what_is_undecided_alone_and_applies_when_decided() -> None:
    policy = text(SHOP)
    found = problems(policy)
    assert {problem.message.partition(":")[0] for problem in found} == {UNDECIDED}
    assert [problem.path for problem in found] == [
        "tables.customer.columns.age.lower",
        "tables.customer.columns.age.upper",
        "tables.orders.also_about.gift",
        "tables.orders.columns.total.lower",
        "tables.orders.columns.total.upper",
        "tables.orders.columns.day.lower",
        "tables.orders.columns.day.upper",
        "tables.item.columns.qty.lower",
        "tables.item.columns.qty.upper",
        "tables.nation.public",
        "tables.part.public",
        "budget.epsilon",
        "per_query.max_epsilon",
    ]
    dataset = resolve(document.load(decided(policy)), SHOP, "duckdb", 1)
    item = dataset.table("item")
    assert item is not None
    assert [hop.table for hop in getattr(item.owner, "hops", ())] == ["orders"]


def test_without_foreign_keys_names_say_what_references_what() -> None:
    shapes = {
        "users": shape(("id", BIGINT), ("email", TEXT)),
        "orders": shape(("id", BIGINT), ("user_id", BIGINT), ("amount", MONEY)),
        "items": shape(("order_id", BIGINT), ("sku", TEXT), ("user_id", TEXT)),
    }
    found = told(shapes)
    assert found["orders"].owner == Link("orders", "user_id", "users", "id", declared=False)
    assert found["items"].owner == Link("items", "order_id", "orders", "id", declared=False)
    assert "# guessed from the names" in text(shapes)
    resolve(document.load(decided(text(shapes))), shapes, "duckdb", 1)


def test_without_a_table_of_people_a_column_names_them() -> None:
    shapes = {
        "events": shape(("id", BIGINT), ("patient_id", BIGINT), ("at", INSTANT), unique="id"),
        "notes": shape(("event_id", BIGINT), ("length", BIGINT)),
        "doses": shape(("patient_id", BIGINT), ("urgent", FLAG)),
    }
    unit = guess(shapes).unit
    assert unit is not None
    assert (unit.table, unit.key) == (None, "patient_id")
    assert told(shapes)["doses"].owner == "patient_id"
    dataset = resolve(document.load(decided(text(shapes))), shapes, "duckdb", 1)
    assert not any(table.public for table in dataset.tables)


def test_where_nothing_looks_like_people_nothing_is_said() -> None:
    shapes = {"a": shape(("k", BIGINT), unique="k"), "b": shape(("x", DOUBLE))}
    assert guess(shapes).unit is None
    policy = text(shapes)
    assert "privacy_unit: ?" in policy
    assert "{table: a, key: k}" in policy
    assert "privacy_unit" in {problem.path for problem in problems(policy)}


def test_the_catalogue_of_the_other_tests() -> None:
    found = told(SHAPES)
    assert {name: table.role for name, table in found.items()} == {
        "person": "unit",
        "visit": "owned",
        "item": "owned",
        "site": "undecided",
    }
    assert found["person"].keys == {"person_id"}


@pytest.mark.parametrize("kind", [FOLDED, DOUBLE, Physical("decimal", "numeric")])
def test_inexact_columns_name_nobody(kind: Physical) -> None:
    shapes = {
        "person": shape(("person_id", kind), unique="person_id"),
        "visit": shape(("person_id", kind), links="person_id>person.person_id"),
    }
    assert guess(shapes).unit is None


def test_names_of_another_type_lead_nowhere() -> None:
    shapes = {
        "person": shape(("person_id", BIGINT), unique="person_id"),
        "visit": shape(("person_id", TEXT), links="person_id>person.person_id"),
    }
    assert told(shapes)["visit"].role == "undecided"


def test_tables_in_a_circle_end() -> None:
    shapes = {
        "person": shape(("id", BIGINT), ("boss_id", BIGINT), unique="id", links="boss_id>person.id"),
        "a": shape(("id", BIGINT), ("b_id", BIGINT), unique="id", links="b_id>b.id"),
        "b": shape(("id", BIGINT), ("a_id", BIGINT), ("person_id", BIGINT), unique="id", links="a_id>a.id"),
    }
    found = told(shapes)
    assert (found["a"].role, found["b"].role) == ("owned", "owned")
    assert found["person"].also == ("boss_id",)
    resolve(document.load(decided(text(shapes))), shapes, "duckdb", 1)


NAMES = st.text(string.ascii_letters + "_ :#{}[],?'\"\\\n\t\u2028é.-0", min_size=1, max_size=12).filter(
    lambda name: name.strip()
)
KINDS = st.sampled_from([BIGINT, TEXT, DOUBLE, MONEY, DAY, INSTANT, FLAG, None])


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(NAMES, st.dictionaries(NAMES, KINDS, min_size=1, max_size=4), min_size=1, max_size=4), st.data())
def test_whatever_tables_are_called_the_text_says_nothing_else(
    tables: dict[str, dict[str, Physical | None]], data: st.DataObject
) -> None:
    shapes: Shapes = {}
    for name, columns in tables.items():
        unique = frozenset({frozenset({data.draw(st.sampled_from(sorted(columns)))})})
        target = data.draw(st.sampled_from(sorted(tables)))
        key = ForeignKey(
            (data.draw(st.sampled_from(sorted(columns))),),
            target,
            (data.draw(st.sampled_from(sorted(tables[target]))),),
        )
        kinds = tuple((column, kind, False) for column, kind in columns.items())
        shapes[name] = TableShape(kinds, unique, frozenset({key}))
    found = problems(text(shapes))
    assert {problem.message.partition(":")[0] for problem in found} == {UNDECIDED}


@pytest.mark.parametrize(
    ("stem", "name"),
    [("Health 2024", "health_2024"), ("7up", "data_7up"), ("", "data"), ("é", "data"), ("a" * 99, "a" * 63)],
)
def test_datasets_are_called_after_files(stem: str, name: str) -> None:
    assert proposal.dataset_name(stem) == name
