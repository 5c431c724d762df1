"""From exact integers to noisy tables: what is drawn for, what is kept, what is stored."""

from __future__ import annotations

import pyarrow as pa
import pytest

from gateway import release as releasing
from gateway.policy.document import PolicyInvalid, load
from gateway.policy.model import Physical, TableShape
from gateway.policy.resolve import resolve
from gateway.release import NoisyTable, release
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import plan, written
from tests.sql.shop import SHOP


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releasing, "draw", lambda _noise, count: [0] * count)


def test_public_groups_appear_whatever_the_engine_returned() -> None:
    [planned] = plan(written("SELECT status, COUNT(*) FROM orders GROUP BY status"), duckdb_dataset(SHOP)).releases
    rows = pa.table({"status": ["stolen", "paid"], "m0": pa.array([9, 4], pa.int64())})
    assert release(planned, rows) == NoisyTable((("open",), ("paid",), (None,)), ((0,), (4,), (0,)))


def test_private_groups_appear_at_their_threshold_in_an_order_that_is_no_data() -> None:
    [planned] = plan(written("SELECT channel, COUNT(*) FROM orders GROUP BY channel"), duckdb_dataset(SHOP)).releases
    assert planned.threshold is not None
    at = planned.threshold.at
    owners = {"z": at, "b": at - 1, "a": at + 1}
    others = [m.name for m in planned.measures if m.name != planned.threshold.measure]
    rows = pa.table({"channel": list(owners), planned.threshold.measure: list(owners.values())})
    for name in others:
        rows = rows.append_column(name, pa.array([0] * 3, pa.int64()))
    assert release(planned, rows).keys == (("a",), ("z",))


def test_a_group_that_comes_twice_is_an_error() -> None:
    """Were one row of two kept, the engine's order would say which."""
    [planned] = plan(written("SELECT channel, COUNT(*) FROM orders GROUP BY channel"), duckdb_dataset(SHOP)).releases
    rows = pa.table({"channel": ["web", "web"], **{m.name: pa.array([1, 2], pa.int64()) for m in planned.measures}})
    with pytest.raises(ValueError, match="a group twice"):
        release(planned, rows)
    [alone] = plan(written("SELECT COUNT(*) FROM users"), duckdb_dataset(SHOP)).releases
    with pytest.raises(ValueError, match="a group twice"):
        release(alone, pa.table({"m0": pa.array([1, 2], pa.int64())}))


def test_a_measure_that_is_no_whole_number_is_refused() -> None:
    [planned] = plan(written("SELECT COUNT(*) FROM users"), duckdb_dataset(SHOP)).releases
    with pytest.raises(ValueError, match="no whole number"):
        release(planned, pa.table({"m0": [1.5]}))


def test_a_declared_value_that_would_stand_twice_among_the_keys_is_refused() -> None:
    document = load("""
dataset: twice
engine: duckdb:///x
privacy_unit: row
tables: {t: {columns: {x: {type: number, values: [0, 0.5]}}}}
budget: {epsilon: 1}
per_query: {max_epsilon: 1}
""")
    shape = TableShape((("x", Physical("integer", "INTEGER"), False),), frozenset())
    with pytest.raises(PolicyInvalid, match="more decimals than INTEGER holds"):
        resolve(document, {"t": shape}, "duckdb", 1)
