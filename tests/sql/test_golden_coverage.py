"""The golden files cover the language: every function of the allow-list, every operator, every kind of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from gateway.sql import algebra, tables
from gateway.sql.above import windows
from gateway.sql.algebra import (
    Aggregate,
    Call,
    FoldAggregate,
    Frame,
    Relation,
    Release,
    WindowFunction,
)
from gateway.sql.functions import FUNCTIONS
from gateway.sql.tables import Exact, Public, Summary, Windowed
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import plan, written
from tests.sql.golden import ACCEPTED, every
from tests.sql.shop import SHOP

PARTS = (Aggregate, FoldAggregate, Frame, Summary, WindowFunction, Windowed)
"""What operators are made of that comes in several kinds."""

OPERATORS = (*get_args(Relation), *get_args(Public), *PARTS)


def _forms(kind: type) -> set[tuple[str, str]]:
    """Every value of each field of a class that is one of a closed list."""
    names = {**vars(algebra), **vars(tables)}
    hints = get_type_hints(kind, globalns=names)
    found = {(kind.__name__, "")}
    for name, hint in hints.items():
        choices = [hint, *get_args(hint)] if get_origin(hint) is not Literal else [hint]
        for choice in choices:
            if get_origin(choice) is Literal and name in ("kind", "how", "unit"):
                found |= {(kind.__name__, str(value)) for value in get_args(choice)}
    return found


def _inside(value: Any) -> Iterator[Any]:
    """Every node of a question: relations, tables, scalars and their parts."""
    if isinstance(value, tuple | frozenset):
        for part in value:
            yield from _inside(part)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield value
        for field in dataclasses.fields(value):
            yield from _inside(getattr(value, field.name))


@pytest.fixture(scope="module")
def nodes() -> list[Any]:
    """The nodes of all accepted questions."""
    found: list[Any] = []
    dataset = duckdb_dataset(SHOP)
    for block in every(ACCEPTED):
        options = dict(block.options)
        asked = written(block.question, "gaussian" if options.get("noise") == "gaussian" else "laplace")
        planned = plan(asked, dataset, options.get("dialect", "duckdb"))
        found += _inside(planned.query.table)
        found += _inside(tuple(value.whole for release in planned.releases for value in release.values))
    return found


def test_every_function_has_a_golden(nodes: list[Any]) -> None:
    assert set(FUNCTIONS) - {node.function for node in nodes if isinstance(node, Call)} == set()


def test_every_operator_has_a_golden_in_every_kind(nodes: list[Any]) -> None:
    shown = {(type(node).__name__, "") for node in nodes}
    for node in nodes:
        shown |= {
            (type(node).__name__, str(getattr(node, name)))
            for name in ("kind", "how", "unit")
            if hasattr(node, name) and isinstance(getattr(node, name), str)
        }
    wanted = set().union(*(_forms(kind) for kind in OPERATORS))
    assert len(wanted) > 80
    assert wanted - shown == set()


def test_windows_above_the_frontier_have_goldens(nodes: list[Any]) -> None:
    tables_ = (windows._PLACES, windows._RANKS, windows._SHIFTS, windows._ENDS, windows._FOLDS)
    wanted = {name for table in tables_ for name in table.values()} | {"ntile"}
    assert wanted - {node.function for node in nodes if isinstance(node, Windowed)} == set()


def test_every_leaf_is_one_of_both_worlds(nodes: list[Any]) -> None:
    assert any(isinstance(node, Release) and node.folded for node in nodes)
    assert any(isinstance(node, Exact) for node in nodes)
