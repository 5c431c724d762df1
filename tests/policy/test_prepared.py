"""How tables are laid out in a prepared copy, and that what is no copy is not taken for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from gateway.policy.document import load
from gateway.policy.model import Dataset, Owner, Physical, Preparation, RowOwner, TableShape
from gateway.policy.prepared import Layout, NotPrepared, layout, prepared
from gateway.policy.resolve import resolve
from tests.policy.health import BIGINT, POLICY, SHAPES

COPY = Preparation("p1", "duckdb:///copy.duckdb")


def dataset(*unique: tuple[str, str], text: str = POLICY) -> Dataset:
    """The policy against a catalogue that enforces those keys and no others."""
    keys = {name: frozenset(frozenset({key}) for table, key in unique if table == name) for name in SHAPES}
    return resolve(load(text), {name: replace(shape, unique=keys[name]) for name, shape in SHAPES.items()}, "duckdb", 1)


def laid(found: Dataset, name: str, checked: frozenset[str] = frozenset()) -> Layout:
    table = found.table(name)
    assert table is not None
    return layout(table, found, checked)


def shapes(found: Dataset, checked: frozenset[str] = frozenset()) -> dict[str, TableShape]:
    """What the catalogue of a sound copy says."""
    made = {}
    for table in found.tables:
        here = layout(table, found, checked)
        added: list[tuple[str, Physical | None, bool]] = [
            (name, BIGINT, True) for name in (here.owner if here.added else None, here.rank) if name is not None
        ]
        columns = [(column.name, column.physical, column.name in here.required) for column in table.columns]
        sets = (*here.unique, *([] if here.primary is None else [here.primary]))
        made[table.name] = TableShape((*columns, *added), frozenset(map(frozenset, sets)))
    return made


def test_the_units_own_table_keeps_one_row_of_each() -> None:
    here = laid(dataset(), "person")
    assert (here.owner, here.added, here.rank, here.most, here.cut) == ("person_id", False, None, 1, True)
    assert here.primary == ("person_id",)


def test_what_the_source_enforces_is_not_cut() -> None:
    assert not laid(dataset(("person", "person_id")), "person").cut


def test_rows_are_ranked_up_to_the_declared_number() -> None:
    here = laid(dataset(), "visit")
    assert (here.owner, here.added, here.rank, here.most, here.cut) == ("person_id", False, "discreet_rank", 40, True)
    assert here.primary == ("person_id", "discreet_rank")
    assert {"person_id", "discreet_rank"} <= here.required


def test_a_path_ends_in_a_column_of_the_copy() -> None:
    here = laid(dataset(), "item")
    assert (here.owner, here.added, here.rank, here.most, here.cut) == ("discreet_owner", True, None, None, False)
    assert here.primary is None


def test_no_key_is_copied_where_a_row_may_lead_to_several_units() -> None:
    loose = dataset(("item", "visit_id"))
    sound = dataset(("item", "visit_id"), ("visit", "visit_id"))
    assert laid(loose, "item").unique == ()
    assert laid(sound, "item").unique == (("visit_id",),)


def test_a_public_key_is_one_where_it_was_checked() -> None:
    assert laid(dataset(), "site").unique == ()
    assert laid(dataset(), "site", frozenset({"site"})).unique == (("site_id",),)


def test_a_declared_column_keeps_its_name() -> None:
    text = POLICY.replace("columns: {price:", "columns: {DISCREET_owner: {type: integer}, price:")
    item = SHAPES["item"]
    named = {**SHAPES, "item": replace(item, columns=(*item.columns, ("DISCREET_owner", BIGINT, False)))}
    assert laid(resolve(load(text), named, "duckdb", 1), "item").owner == "discreet_owner_"


def test_plans_read_the_copy() -> None:
    source = dataset()
    found = prepared(source, COPY, shapes(source))
    assert (found.engine, found.preparation) == (source.engine, COPY)
    item, visit = found.table("item"), found.table("visit")
    assert item is not None
    assert visit is not None
    assert isinstance(item.owner, Owner)
    assert item.owner.hops
    assert item.hops == ()
    assert found.owner_column(item).name == "discreet_owner"
    assert found.owner_column(visit).name == "person_id"
    assert visit.copy is not None
    assert visit.copy.most == 40
    assert not visit.unique_owner


def test_a_row_that_is_a_unit_of_its_own_has_one_row() -> None:
    text = """
dataset: rows
engine: duckdb:///data/health.duckdb
privacy_unit: row
tables: {person: {columns: {age: {type: integer, lower: 0, upper: 110}}}}
budget: {epsilon: 20, delta: 1e-6}
per_query: {max_epsilon: 2, delta: 1e-9}
"""
    source = resolve(load(text), SHAPES, "duckdb", 1)
    person = prepared(source, COPY, shapes(source)).table("person")
    assert person is not None
    assert isinstance(person.owner, RowOwner)
    assert person.copy is not None
    assert (person.copy.owner, person.copy.most) == (None, 1)


def _missing(found: Mapping[str, TableShape]) -> dict[str, TableShape]:
    return {name: shape for name, shape in found.items() if name != "visit"}


def _unenforced(found: Mapping[str, TableShape]) -> dict[str, TableShape]:
    return {name: replace(shape, unique=frozenset()) for name, shape in found.items()}


def _narrow(found: Mapping[str, TableShape]) -> dict[str, TableShape]:
    return {name: replace(shape, columns=shape.columns[1:]) for name, shape in found.items()}


def _views(found: Mapping[str, TableShape]) -> dict[str, TableShape]:
    return {name: replace(shape, view=True) for name, shape in found.items()}


@pytest.mark.parametrize("spoil", [_missing, _unenforced, _narrow, _views])
def test_what_is_no_copy_is_not_taken_for_one(spoil: object) -> None:
    assert callable(spoil)
    source = dataset()
    with pytest.raises(NotPrepared):
        prepared(source, COPY, spoil(shapes(source)))
