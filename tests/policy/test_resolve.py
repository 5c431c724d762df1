"""What a policy means against a catalogue: owners, types, domains, amounts; and every problem with its path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy.document import PolicyInvalid, Problem, load
from gateway.policy.model import Cap, Dataset, ForeignKey, Hop, Owner, PerQuery, Physical, RowOwner, Table, TableShape
from gateway.policy.resolve import resolve
from gateway.policy.snapshot import document_from_json, document_to_json, shapes_from_json, shapes_to_json
from tests.policy.health import BIGINT, DOUBLE, FLAG, FOLDED, MONEY, POLICY, SHAPES, TEXT, VISIT


def dataset(text: str = POLICY, shapes: Mapping[str, TableShape] = SHAPES) -> Dataset:
    return resolve(load(text), shapes, "duckdb", 3, 2)


def problems(text: str = POLICY, shapes: Mapping[str, TableShape] = SHAPES) -> list[tuple[str, str]]:
    with pytest.raises(PolicyInvalid) as caught:
        dataset(text, shapes)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def table(found: Dataset, name: str) -> Table:
    one = found.table(name)
    assert one is not None
    return one


def with_columns(
    name: str, *columns: tuple[str, Physical | None, bool], keys: frozenset[ForeignKey] = frozenset()
) -> Mapping[str, TableShape]:
    """The catalogue with a table's columns replaced or added, and foreign keys added."""
    shape = SHAPES[name]
    replaced = {column[0]: column for column in (*shape.columns, *columns)}
    return {**SHAPES, name: TableShape(tuple(replaced.values()), shape.unique, shape.foreign_keys | keys)}


def test_the_design_s_own_policy() -> None:
    found = dataset()
    assert (found.name, found.version, found.data_version, found.dialect) == ("health", 3, 2, "duckdb")
    assert found.cap == Cap(20 * 10**9, 10**12)
    assert found.per_query == PerQuery(2 * 10**9, 10**9)
    assert dict(found.shapes) == SHAPES
    person, visit, item, site = found.tables
    assert person.owner == Owner((), "person_id")
    assert (person.max_rows_per_unit, person.unique_owner) == (1, True)
    assert visit.owner == Owner((), "person_id")
    assert (visit.max_rows_per_unit, visit.unique_owner) == (40, False)
    assert item.owner == Owner((Hop("visit_id", "visit", "visit_id"),), "person_id")
    assert item.max_rows_per_unit is None
    assert (site.public, site.key) == (True, "site_id")


def test_columns() -> None:
    found = dataset()
    person, visit = table(found, "person"), table(found, "visit")
    age, sex, cost, day, at, urgent = (
        one.column(name)
        for one, name in (
            (person, "age"), (person, "sex"), (visit, "cost"), (visit, "day"), (visit, "at"), (visit, "urgent"),
        )
    )  # fmt: skip
    assert age is not None
    assert (age.lower, age.upper, age.nullable) == (Fraction(0), Fraction(110), True)
    assert sex is not None
    assert sex.values == ("F", "M")
    assert cost is not None
    assert (cost.lower, cost.values) == (Fraction(-1, 10), (Fraction(0), Fraction(3, 2)))
    assert day is not None
    assert (day.lower, day.upper, day.nullable) == (date(2020, 1, 1), date(2025, 12, 31), False)
    assert at is not None
    assert (at.lower, at.upper) == (datetime(2020, 1, 1), datetime(2025, 12, 31, 23, 59, 59))  # noqa: DTZ001
    assert urgent is not None
    assert (urgent.values, urgent.nullable) == ((True, False), False)
    # columns of owner paths are columns; those of a public table all are, if their type is read; others are hidden
    assert [column.name for column in visit.columns][-2:] == ["person_id", "visit_id"]
    assert [column.name for column in table(found, "site").columns] == ["site_id", "city"]
    assert person.column("nick") is None


def test_owner_without_a_table_of_units() -> None:
    text = POLICY.replace("{table: person, key: person_id}", "{key: person_id}")
    text = text.replace("  person:\n", "  person:\n    owner: person_id\n")
    text = text.replace("owner: {person_id: person.person_id}", "owner: person_id")
    found = dataset(text)
    assert table(found, "visit").owner == Owner((), "person_id")
    assert table(found, "item").owner == Owner((Hop("visit_id", "visit", "visit_id"),), "person_id")
    assert table(found, "person").max_rows_per_unit is None


def test_a_reference_to_another_key_of_the_unit_s_table_is_a_hop() -> None:
    shapes = {**with_columns("person", ("mail", TEXT, False))}
    text = POLICY.replace("{person_id: person.person_id}", "{name: person.mail}")
    text = text.replace("max_rows_per_unit: 40", "also_about: {person_id: unprotected}")
    assert table(dataset(text, shapes), "visit").owner == Owner((Hop("name", "person", "mail"),), "person_id")
    assert table(dataset(text, shapes), "visit").also_about == ("person_id",)


def test_row_is_the_unit() -> None:
    text = POLICY.replace("{table: person, key: person_id}", "row")
    text = text.replace("    owner: {person_id: person.person_id}\n    max_rows_per_unit: 40\n", "")
    text = text.replace("    owner: {visit_id: visit.visit_id}\n", "")
    found = dataset(text)
    assert [one.owner for one in found.tables] == [RowOwner(), RowOwner(), RowOwner(), None]
    assert table(found, "visit").max_rows_per_unit == 1
    with_owner = text.replace(
        "  visit:\n", "  visit:\n    owner: {person_id: person.person_id}\n    max_rows_per_unit: 2\n"
    )
    assert problems(with_owner) == [
        ("tables.visit.owner", "with privacy_unit: row each row is its own owner"),
        ("tables.visit.max_rows_per_unit", "with privacy_unit: row a unit has one row"),
    ]


OWNER = "owner: {person_id: person.person_id}"
NICK = "owner: {nick: person.nick}\n    also_about: {person_id: unprotected}"

BAD: list[tuple[str, str, str, str]] = [
    ("lower: 0, upper: 110", "lower: 110, upper: 0", "tables.person.columns.age",
     "the bounds are upside down: lower is above upper"),
    ("lower: 0, upper: 110", "lower: 0", "tables.person.columns.age.upper",
     "missing beside lower: a column has both bounds or none"),
    ("delta: 1e-6", "delta: 1", "budget.delta", "must be below 1: with delta 1 anything may happen"),
    ("upper: 110", "upper: .nan", "tables.person.columns.age.upper", "a finite number is needed here"),
    ("upper: 110", "upper: .inf", "tables.person.columns.age.upper", "a finite number is needed here"),
    ("upper: 2e5", "upper: -.inf", "tables.person.columns.income.upper", "a finite number is needed here"),
    ("upper: 110", "upper: 1e999999999", "tables.person.columns.age.upper", "a finite number is needed here"),
    ("upper: 110", "upper: 1e38", "tables.person.columns.age.upper", "beyond 38 digits"),
    ("upper: 110", "upper: 110.5", "tables.person.columns.age.upper", "an integer is needed here"),
    ("upper: 110", "upper: old", "tables.person.columns.age.upper", "a finite number is needed here"),
    ("upper: 110", "upper: true", "tables.person.columns.age.upper", "a finite number is needed here"),
    ("upper: 2025-12-31,", "upper: 5,", "tables.visit.columns.day.upper", "a date is needed here, as 2020-12-31"),
    ("upper: 2025-12-31,", "upper: 2025-12-31 10:00:00,", "tables.visit.columns.day.upper",
     "a date without a time is needed here"),
    ("upper: 2025-12-31T23:59:59Z", "upper: soon", "tables.visit.columns.at.upper",
     "a timestamp is needed here, as 2020-12-31"),
    ("values: [F, M]", "lower: 1, upper: 2", "tables.person.columns.sex", "a text column has values, not bounds"),
    ("values: [F, M]", "values: [F, F]", "tables.person.columns.sex.values.1", "stands here twice"),
    ("values: [F, M]", "values: [F, 1]", "tables.person.columns.sex.values.1", "text is needed here (quote it)"),
    ("values: [F, M]", "values: [F, true]", "tables.person.columns.sex.values.1", "text is needed here (quote it)"),
    ("values: [F, M]", 'values: ["\\0"]', "tables.person.columns.sex.values.0",
     "no database text holds the character NUL"),
    ("values: [F, M]", f"values: [{'x' * 1001}]", "tables.person.columns.sex.values.0",
     "longer than 1000 characters"),
    ("values: [true, false]", "values: [1]", "tables.visit.columns.urgent.values.0", "true or false is needed here"),
    ("values: [0, 1.50]", "values: [0, 0.0]", "tables.visit.columns.cost.values.1", "stands here twice"),
    ("values: [0, 1.50]", "values: [0.125]", "tables.visit.columns.cost.values.0",
     "has more decimals than DECIMAL(10,2) holds"),
    ("values: [0, 1.50]", "values: [6000]", "tables.visit.columns.cost.values",
     "6000 lies outside the declared bounds"),
    ("upper: 2e5", "upper: 2e5, values: [1]", "tables.person.columns.income.values",
     "DOUBLE has no exact values: declare bounds instead"),
    ("sex: {type: text, values: [F, M]}", "sex: {type: integer}", "tables.person.columns.sex.type",
     "declared integer, but stored as VARCHAR"),
    ("cost: {type: number,", "cost: {type: integer,", "tables.visit.columns.cost.type",
     "declared integer, but stored as DECIMAL(10,2)"),
    ("day: {type: date,", "at_: {type: date,", "tables.visit.columns.at_", "visit has no such column"),
    ("sex: {type: text, values: [F, M]}", "photo: {type: text}", "tables.person.columns.photo",
     "of a type that is not read: declare a view that casts it"),
    ("sex:", "Age: {type: integer}\n      sex:", "tables.person.columns.age",
     "differs from Age only in upper and lower case"),
    (OWNER, "owner: {person_id: nobody.person_id}", "tables.visit.owner",
     "nobody.person_id leads nowhere: it is not table.key of a declared table"),
    (OWNER, "owner: {person_id: person_id}", "tables.visit.owner",
     "person_id leads nowhere: it is not table.key of a declared table"),
    (OWNER, "owner: {person_id: person.nothing}", "tables.visit.owner", "person has no column nothing"),
    (OWNER, "owner: {nothing: person.person_id}", "tables.visit.owner", "visit has no column nothing"),
    (OWNER, "owner: {site_id: site.site_id}", "tables.visit.owner",
     "site is public: an owner path leads through private tables"),
    (OWNER, "owner: {visit_id: item.visit_id}", "tables.visit.owner",
     "the owner path runs in a circle through visit"),
    (OWNER, "owner: person_id", "tables.visit.owner", "say which key it references: {person_id: person.person_id}"),
    (OWNER, "owner: {person_id: person.person_id, site_id: person.person_id}", "tables.visit.owner",
     "one column references one key: {column: table.key}"),
    (OWNER, "owner: {ratio: person.person_id}", "tables.visit.owner",
     "visit.ratio is DOUBLE: an owner column has one exact form for each value"),
    (OWNER, "owner: {loose: person.person_id}", "tables.visit.owner",
     "visit.loose is numeric: an owner column has one exact form for each value"),
    (OWNER, NICK, "tables.visit.owner",
     "visit.nick is VARCHAR with a collation: an owner column has one exact form for each value"),
    (OWNER, "owner: {name: person.person_id}", "tables.visit.owner",
     "visit.name is VARCHAR, but person.person_id is BIGINT"),
    (OWNER, "columns_: 1", "tables.visit.columns_", "unknown key"),
    ("    owner: {visit_id: visit.visit_id}\n", "", "tables.item",
     "neither public nor owned: add owner: {column: table.key}, or public"),
    ("per_unit: 40", "per_unit: 40\n    also_about: {nothing: unprotected}", "tables.visit.also_about.nothing",
     "visit has no column nothing"),
    ("per_unit: 40", "per_unit: 40\n    also_about: {person_id: unprotected}", "tables.visit.also_about.person_id",
     "this is the owner itself"),
    ("  person:\n", "  person:\n    owner: {person_id: person.person_id}\n", "tables.person.owner",
     "the privacy unit's own table is owned by its key: leave this out"),
    ("  person:\n", "  person:\n    public: true\n", "tables.person.public",
     "the privacy unit's own table cannot be public"),
    ("table: person,", "table: people,", "privacy_unit.table", "people is not among the tables"),
    ("key: person_id}", "key: nothing}", "tables.person.owner", "person has no column nothing"),
    ("key: person_id}", "key: photo}", "tables.person.owner", "person.photo is of a type that is not read"),
    ("public: true,", "public: true, max_rows_per_unit: 3,", "tables.site.max_rows_per_unit",
     "a public table has no owner: say either this or public"),
    ("key: site_id}", "key: nothing}", "tables.site.key", "site has no column nothing of a type that is read"),
    ("per_unit: 40", "per_unit: 40\n    key: visit_id", "tables.visit.key",
     "only a public table declares a key; a private one has an owner"),
    ("  site: {", "  place: {public: true}\n  site: {", "tables.place", "the database has no such table or view"),
    ("  site: {", "  Visit: {public: true}\n  site: {", "tables.Visit",
     "differs from visit only in upper and lower case"),
    ("budget:", "views: {Visit: SELECT * FROM person}\nbudget:", "views.Visit", "the name is that of visit"),
    ("budget:", "views: {site: SELECT * FROM person}\nbudget:", "views.site", "the name is that of site"),
    ("epsilon: 20", "epsilon: 0", "budget.epsilon", "must be above 0"),
    ("epsilon: 20", "epsilon: -1", "budget.epsilon", "out of range"),
    ("epsilon: 20", "epsilon: 1e7", "budget.epsilon", "out of range"),
    ("epsilon: 20", "epsilon: 1e-10", "budget.epsilon", "must be above 0"),
    ("delta: 1e-6", "delta: 2", "budget.delta", "out of range"),
    ("max_epsilon: 2", "max_epsilon: 0", "per_query.max_epsilon", "must be above 0"),
    ("delta: 1e-9", "delta: 1e-5", "per_query.delta", "above budget.delta: no request that needs a delta would fit"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "path", "message"), BAD)
def test_bad_policy(old: str, new: str, path: str, message: str) -> None:
    assert old in POLICY
    assert (path, message) in problems(POLICY.replace(old, new, 1))


def test_all_problems_at_once() -> None:
    text = POLICY.replace("lower: 0, upper: 110", "lower: 5, upper: 1").replace("epsilon: 20", "epsilon: -1")
    text = text.replace("visit.visit_id}", "nowhere.x}")
    assert {path for path, _ in problems(text)} == {"tables.person.columns.age", "budget.epsilon", "tables.item.owner"}


def test_the_unit_has_one_exact_type() -> None:
    shapes = with_columns("visit", ("person_id", Physical("integer", "INTEGER"), False))
    assert ("tables.visit.owner", "visit.person_id is INTEGER, but person.person_id is BIGINT") in problems(
        shapes=shapes
    )
    text = POLICY.replace("{table: person, key: person_id}", "{key: person_id}")
    text = text.replace("  person:\n", "  person:\n    owner: person_id\n")
    text = text.replace("owner: {person_id: person.person_id}", "owner: person_id")
    message = "visit.person_id is INTEGER, but person.person_id is BIGINT: one unit has one exact type"
    assert problems(text, shapes) == [("tables.visit.owner", message), ("tables.item.owner", message)]


@pytest.mark.parametrize("physical", [DOUBLE, FOLDED, FLAG, None])
def test_a_unit_s_key_that_names_nobody_exactly(physical: Physical | None) -> None:
    shapes = with_columns("person", ("person_id", physical, True))
    found = [path for path, _ in problems(shapes=shapes)]
    assert "tables.visit.owner" in found
    assert ("tables.person.owner" in found) == (physical is not FLAG)


RECEIVER = ("receiver", BIGINT, False)
SECOND = frozenset({ForeignKey(("receiver",), "person", ("person_id",))})


def test_a_second_way_to_the_unit_must_be_accepted() -> None:
    shapes = with_columns("visit", RECEIVER, keys=SECOND)
    found = problems(shapes=shapes)
    assert [path for path, _ in found] == ["tables.visit"]
    assert "receiver leads to a second privacy unit" in found[0][1]
    accepted = POLICY.replace("per_unit: 40", "per_unit: 40\n    also_about: {receiver: unprotected}")
    assert table(dataset(accepted, shapes), "visit").also_about == ("receiver",)


def test_an_owner_path_that_leads_past_whom_the_database_names() -> None:
    named = frozenset({ForeignKey(("person_id",), "person", ("person_id",))})
    shapes = with_columns("visit", keys=named)
    assert dataset(POLICY, shapes)
    wrong = POLICY.replace(OWNER, "owner: {person_id: person.other_id}")
    assert wrong != POLICY
    other = {**with_columns("person", ("other_id", BIGINT, False)), "visit": shapes["visit"]}
    assert problems(wrong, other) == [
        ("tables.visit.owner", "the database says that person_id references person.person_id, not person.other_id")
    ]


def test_a_second_way_by_name_or_from_the_unit_s_own_table() -> None:
    by_name = with_columns("item", ("Person_ID", BIGINT, False))
    assert [path for path, _ in problems(shapes=by_name)] == ["tables.item"]
    spouse = frozenset({ForeignKey(("spouse",), "person", ("person_id",))})
    own = with_columns("person", ("spouse", BIGINT, False), keys=spouse)
    assert [path for path, _ in problems(shapes=own)] == ["tables.person"]


def test_a_second_way_without_a_table_of_units() -> None:
    text = POLICY.replace("{table: person, key: person_id}", "{key: person_id}")
    text = text.replace("  person:\n", "  person:\n    owner: person_id\n")
    text = text.replace("owner: {person_id: person.person_id}", "owner: person_id")
    assert [path for path, _ in problems(text, with_columns("visit", RECEIVER, keys=SECOND))] == ["tables.visit"]


def test_a_key_that_the_catalogue_enforces_makes_the_owner_unique() -> None:
    shape = TableShape(VISIT, frozenset({frozenset({"person_id"})}), SHAPES["visit"].foreign_keys)
    assert table(dataset(shapes={**SHAPES, "visit": shape}), "visit").unique_owner


def again(text: str, shapes: Mapping[str, TableShape]) -> Dataset:
    document = document_from_json(document_to_json(load(text)))
    return resolve(document, shapes_from_json(shapes_to_json(shapes)), "duckdb", 3, 2)


def test_snapshot_rebuilds_the_same_dataset() -> None:
    assert again(POLICY, SHAPES) == dataset()
    text = document_to_json(load(POLICY))
    assert document_to_json(document_from_json(text)) == text
    shapes = shapes_to_json(SHAPES)
    assert shapes_from_json(shapes) == SHAPES
    assert shapes_to_json(dict(reversed(SHAPES.items()))) == shapes


def test_snapshot_keeps_values_of_every_type() -> None:
    text = POLICY.replace("values: [F, M]", "values: ['1', 'true', '2020-01-01', 'ä', ' ']")
    text = text.replace("values: [0, 1.50]", "values: [1e2, 0.10, 4999.99]")
    text = text.replace("per_unit: 40", "per_unit: 40\n    also_about: {name: unprotected}")
    narrow = Physical("decimal", "DECIMAL(3,1)", 1)
    shapes = with_columns("item", ("x", narrow, True), ("y", None, False), ("z", MONEY, False))
    assert again(text, shapes) == dataset(text, shapes)


@pytest.mark.parametrize("text", ["{}", "[]", '{"format": 2}', "null"])
def test_no_snapshot(text: str) -> None:
    for read in (document_from_json, shapes_from_json):
        with pytest.raises(ValueError, match="not a policy snapshot"):
            read(text)


SNIPPETS = [
    "",
    "{",
    "}",
    "[1]",
    ": ",
    "\n",
    "- ",
    "null",
    "true",
    "-1",
    "1e400",
    ".nan",
    "2020-02-30",
    "9999-12-31T23:59:59-14:00",
]
SNIPPETS += [
    "'",
    '"',
    "person",
    "visit.visit_id",
    "also_about: {site_id: unprotected}",
    "&a ",
    "*a",
    "!!set ",
    "\t",
    "ä",
    "\x85",
    "? ",
]


@settings(max_examples=75, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(POLICY)), st.integers(0, 12), st.sampled_from(SNIPPETS)), min_size=1, max_size=3
    )
)
def test_no_policy_text_crashes(edits: list[tuple[int, int, str]]) -> None:
    text = POLICY
    for at, length, snippet in edits:
        text = text[:at] + snippet + text[at + length :]
    found: Dataset | tuple[Problem, ...]
    try:
        found = dataset(text)
    except PolicyInvalid as error:
        found = error.problems
    assert found
    if isinstance(found, Dataset):
        assert again(text, SHAPES) == found


def test_a_private_view_needs_somebody_who_vouches_for_it() -> None:
    viewed = {**SHAPES, "visit": replace(SHAPES["visit"], view=True)}
    vouched = POLICY.replace("  visit:\n", "  visit:\n    row_wise_view: true\n")
    assert [path for path, _ in problems(POLICY, viewed)] == ["tables.visit"]
    assert table(dataset(vouched, viewed), "visit").owner is not None
    assert [path for path, _ in problems(vouched, SHAPES)] == ["tables.visit.row_wise_view"]
