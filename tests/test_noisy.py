"""Noisy tables as the ledger keeps them: what is read back is what was written, to the type of each value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.noisy import NoisyTable, canonical, decode, decode_one, encode, table_of
from gateway.policy.model import Value
from gateway.sql.algebra import Kind
from gateway.sql.planning.plan import Plan

ZONES = (None, UTC, timezone(timedelta(hours=-9, minutes=-30)), timezone(timedelta(hours=14)))
FIRST, LAST = datetime.fromisoformat("0002-01-01"), datetime.fromisoformat("9998-12-31")
HELD: Mapping[Kind, st.SearchStrategy[Any]] = MappingProxyType(
    {
        "integer": st.one_of(st.integers(), st.decimals(-(10**20), 10**20, places=0)),
        "float": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.just(-0.0)),
        "decimal": st.builds(Decimal.scaleb, st.decimals(-(10**20), 10**20, places=0), st.integers(-9, 0)),
        "text": st.text(),
        "boolean": st.booleans(),
        "date": st.dates(),
        "timestamp": st.builds(
            lambda at, zone: at.replace(tzinfo=zone, fold=0), st.datetimes(FIRST, LAST), st.sampled_from(ZONES)
        ),
    }
)
"""What an engine may return for a key of each kind."""

Kinds = tuple[Kind, ...]


def test_every_kind_of_key_is_tried() -> None:
    assert set(HELD) == set(get_args(Kind))


def _key(kind: Kind) -> st.SearchStrategy[Value]:
    return st.one_of(HELD[kind], HELD[kind], st.none()).map(lambda held: canonical(held, kind))


def _tables_of(kinds: Kinds, width: int) -> st.SearchStrategy[NoisyTable]:
    """Tables with keys of these kinds, of no group too; without keys there is the one group."""
    row = st.tuples(st.tuples(*map(_key, kinds)), st.tuples(*[st.integers(-(2**130), 2**130)] * width))
    return st.builds(
        lambda rows, clip, clipped: NoisyTable(
            tuple(key for key, _ in rows), tuple(numbers for _, numbers in rows), clip, clipped
        ),
        st.lists(row, min_size=0 if kinds else 1, max_size=4 if kinds else 1),
        st.none() | st.integers(0, 40),
        st.none() | st.integers(-(2**70), 2**70),
    )


@st.composite
def _tables(draw: st.DrawFn) -> tuple[Kinds, NoisyTable]:
    kinds = tuple(draw(st.lists(st.sampled_from(sorted(HELD)), max_size=3)))
    return kinds, draw(_tables_of(kinds, draw(st.integers(0, 3))))


def plan_of(kinds: Kinds) -> Any:
    """A planned release with keys of these kinds, as far as reading a payload asks."""
    return SimpleNamespace(keys=[SimpleNamespace(kind=kind) for kind in kinds])


@given(made=st.lists(_tables(), max_size=3), readings=st.lists(st.text(), max_size=2), asked=st.none() | st.text())
def test_what_is_read_back_is_what_was_written(
    made: list[tuple[Kinds, NoisyTable]], readings: list[str], asked: str | None
) -> None:
    tables = tuple(table for _, table in made)
    plan = cast("Plan", SimpleNamespace(releases=[plan_of(kinds) for kinds, _ in made]))
    found = decode(plan, encode(tables, readings, asked))
    assert found == tables
    assert repr(found) == repr(tables)  # 1, TRUE and 1.0 are equal
    for kinds, table in made:
        assert repr(decode_one(plan_of(kinds), encode([table]))) == repr(table)


@pytest.mark.parametrize("kind", sorted(HELD))
def test_each_kind_of_key_is_read_back(kind: Kind) -> None:
    @settings(max_examples=30)
    @given(table=_tables_of((kind,), 1))
    def read_back(table: NoisyTable) -> None:
        assert repr(decode_one(plan_of((kind,)), encode([table]))) == repr(table)

    read_back()


def test_a_payload_of_another_plan_is_an_error() -> None:
    table = NoisyTable((("a", 1),), ((7,),))
    with pytest.raises(ValueError, match="zip"):
        decode_one(plan_of(("text",)), encode([table]))
    with pytest.raises(ValueError, match="zip"):
        decode(cast("Plan", SimpleNamespace(releases=[])), encode([table]))


@pytest.mark.parametrize(
    ("held", "kind", "value"),
    [
        (Decimal("1.50"), "decimal", Fraction(3, 2)),
        (0.1, "float", Fraction(0.1)),
        (-0.0, "float", Fraction(0)),
        (Decimal(7), "integer", 7),
        (
            datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
            "timestamp",
            datetime.fromisoformat("2023-12-31T23:00"),
        ),
        (date(2024, 1, 1), "date", date(2024, 1, 1)),
        (None, "float", None),
    ],
)
def test_equal_keys_are_one(held: Any, kind: Kind, value: Value) -> None:
    found = canonical(held, kind)
    assert (found, type(found)) == (value, type(value))


def test_how_a_table_is_kept() -> None:
    """What was kept by an earlier version is read as it was."""
    told = {"groups": 2, "keys": [["F", None], ["1/2", "3"], ["2024-01-02", None]], "measures": [[1, -2], [3, 4]]}
    kinds: Kinds = ("text", "decimal", "date")
    keys = (("F", Fraction(1, 2), date(2024, 1, 2)), (None, Fraction(3), None))
    assert table_of(kinds, told) == NoisyTable(keys, ((1, 3), (-2, 4)))
    assert table_of((), {"groups": 1, "keys": [], "measures": [[5]], "clip": 0}) == NoisyTable(((),), ((5,),), 0)
