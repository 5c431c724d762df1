"""From exact integers to noisy tables: what is drawn for, what is kept, what is stored."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pyarrow as pa
import pytest

from gateway import release as releasing
from gateway.answers.estimated import estimate
from gateway.noisy import NoisyTable
from gateway.policy.document import PolicyInvalid, load
from gateway.policy.model import Physical, TableShape
from gateway.policy.resolve import resolve
from gateway.release import release
from gateway.sql.planning.plan import Cell, Estimator, Linear, Mean, Measure, PlannedRelease
from mechanisms.noise import Noise
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import release_of
from tests.sql.shop import SHOP


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releasing, "draw", lambda _noise, count: [0] * count)


def test_public_groups_appear_whatever_the_engine_returned() -> None:
    planned = release_of("SELECT status, COUNT(*) FROM orders GROUP BY status", duckdb_dataset(SHOP))
    rows = pa.table({"status": ["stolen", "paid"], "m0": pa.array([9, 4], pa.int64())})
    assert release(planned, rows) == NoisyTable((("open",), ("paid",), (None,)), ((0,), (4,), (0,)))


def test_private_groups_appear_at_their_threshold_in_an_order_that_is_no_data() -> None:
    planned = release_of("SELECT channel, COUNT(*) FROM orders GROUP BY channel", duckdb_dataset(SHOP))
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
    planned = release_of("SELECT channel, COUNT(*) FROM orders GROUP BY channel", duckdb_dataset(SHOP))
    rows = pa.table({"channel": ["web", "web"], **{m.name: pa.array([1, 2], pa.int64()) for m in planned.measures}})
    with pytest.raises(ValueError, match="a group twice"):
        release(planned, rows)
    alone = release_of("SELECT COUNT(*) FROM users", duckdb_dataset(SHOP))
    with pytest.raises(ValueError, match="a group twice"):
        release(alone, pa.table({"m0": pa.array([1, 2], pa.int64())}))


def test_a_measure_that_is_no_whole_number_is_refused() -> None:
    planned = release_of("SELECT COUNT(*) FROM users", duckdb_dataset(SHOP))
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


NOISE = Noise("laplace", 7.5)
WEIGHTS = (Fraction(1, 3), Fraction(-7, 2**20), Fraction(10), Fraction(3, 100))
SMALL = (0, 1, -1, 2**15, -(3**17), 5, 150)
EDGES = (2**53 - 1, 2**53 + 1, -(2**53) - 3, 2**62 - 1, -(2**62), 2**63 - 1, -(2**63))
LARGE = (0, 1, -1, 2**15, 3 * 2**62 + 1, -(10**30), 5, 150)


@pytest.mark.parametrize("integers", [SMALL, SMALL + EDGES[:3], SMALL + EDGES, LARGE], ids=len)
@pytest.mark.parametrize("step", [None, Fraction(1), Fraction(1, 100), Fraction(2**7), Fraction(2**70)])
def test_estimates_are_what_fractions_say(step: Fraction | None, integers: tuple[int, ...]) -> None:
    """Sums are whole numbers over one denominator; each value is the double that is nearest to the exact one."""
    measures = tuple((a, b) for a in integers for b in integers)
    table = NoisyTable(tuple((n,) for n in range(len(measures))), measures)
    for weight in WEIGHTS:
        terms, count = (("m0", weight), ("m1", Fraction(1, 2))), (("m1", Fraction(1, 3)),)
        mean = Mean(terms, count, Fraction(50), Fraction(-(10**40)), Fraction(10**40))
        found = estimate(estimated(("s", Linear(terms, step)), ("a", mean)), table, 0.95)
        for place, (a, b) in enumerate(measures):
            exact, number = weight * a + Fraction(b, 2), Fraction(b, 3)
            stepped = exact if step is None else round(exact / step) * step
            whole = step is not None and step.denominator == 1
            assert found["s"].values[place] == (int(stepped) if whole else float(stepped))
            low, high = found["s"].intervals[place] or (0, 0)
            assert low <= float(exact) <= high
            low, high = found["a"].intervals[place] or (0, 0)
            assert found["a"].values[place] == (min(max(50.0, low), high) if number < 1 else float(50 + exact / number))


def estimated(*estimators: tuple[str, Estimator]) -> PlannedRelease:
    planned = release_of("SELECT COUNT(*), COUNT(DISTINCT channel) FROM orders", duckdb_dataset(SHOP))
    measures = [Measure(name, "rows", Cell(None, "always", offset=1), Fraction(1), 1, 1, 1) for name in ("m0", "m1")]
    block = replace(planned.parts[0].blocks[0], measures=tuple(measures), noise=NOISE)
    return replace(planned, blocks=(block,), parts=(), estimators=estimators)
