"""Quantiles and counts of different values beside a release's sums: what is planned, priced, drawn and shown."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pytest

from gateway import release as releasing
from gateway.answers.estimated import estimate
from gateway.policy.model import Dataset
from gateway.release import release
from gateway.sql.algebra import Ref
from gateway.sql.explain import cost, explain
from gateway.sql.planning.groups import Key
from gateway.sql.planning.parts import bucket_label
from gateway.sql.planning.plan import Plan, PlannedRelease
from mechanisms.accounting import rho_of_epsilon
from mechanisms.loss import EPSILON_UNIT
from mechanisms.noise import Selection, price_selection
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import plan, release_of, written
from tests.oracles.worlds import DIRTY_PEOPLE, KEYED_PEOPLE
from tests.sql.shop import SHOP


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    def least(_selection: Selection, penalties: Sequence[int]) -> int:
        return penalties.index(min(penalties))

    monkeypatch.setattr(releasing, "draw", lambda _noise, count: [0] * count)
    monkeypatch.setattr(releasing, "select", least)


@pytest.fixture(scope="module")
def shop() -> Dataset:
    return duckdb_dataset(SHOP)


def table(planned: PlannedRelease, rows: list[tuple[object, ...]]) -> pa.Table:
    """What the engine returns for a statement: keys, the bucket, and the one measure."""
    names = [key.label for key in planned.keys]
    names += [] if planned.histogram is None else [planned.histogram.label]
    columns = list(zip(*rows, strict=True))
    return pa.table(dict(zip([*names, planned.measures[0].name], columns, strict=True)))


def test_a_quantile_alone_has_one_statement(shop: Dataset) -> None:
    found = release_of("SELECT status, MEDIAN(amount) FROM orders GROUP BY status", shop)
    [part] = found.statements
    assert (found.sql, found.blocks) == ("", ())
    assert part.bounding.rows == 5
    rows = table(
        part, [("paid", 40, 4096), ("paid", 90, 3 * 4096), ("stolen", 7, 1), ("open", 10**6, 5), ("open", -1, 9)]
    )
    drawn = release(found, rows)
    assert drawn.keys == (("open",), ("paid",), (None,))
    # buckets that the grid lacks are nothing, and without rows the first is as good as any
    assert drawn.measures == ((0,), (90,), (0,))
    estimated = estimate(found, drawn, 0.95)["a0"]
    assert (estimated.values.tolist(), estimated.intervals) == ([0.0, 0.9, 0.0], [None] * 3)


def test_private_groups_pass_their_threshold_before_anything_is_drawn_for_them(
    shop: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = release_of("SELECT channel, MEDIAN(amount), COUNT(DISTINCT status) FROM orders GROUP BY channel", shop)
    own, histogram, different = found.statements
    assert found.threshold is not None
    at = found.threshold.at
    drawn_for: list[int] = []

    def counted(_selection: Selection, penalties: Sequence[int]) -> int:
        drawn_for.append(len(penalties))
        return 3

    monkeypatch.setattr(releasing, "select", counted)
    whole = release(
        found,
        table(own, [("web", at), ("phone", at - 1)]),
        table(histogram, [("web", 5, 4096), ("phone", 6, 4096), ("shop", 6, 4096)]),
        table(different, [("web", 2), ("shop", 2)]),
    )
    assert (whole.keys, whole.measures) == ((("web",),), ((at, 3, 2),))
    assert len(drawn_for) == 1


def test_quantiles_of_one_value_share_a_histogram_and_split_the_price(shop: Dataset) -> None:
    asked = "MEDIAN(amount), QUANTILE_DISC(amount, 0.5), QUANTILE_CONT(amount, 0.9), MIN(amount), COUNT(*)"
    found = release_of(f"SELECT {asked} FROM orders", shop)
    [part] = found.parts
    assert len(part.blocks) == 3  # of the median there is one draw, however it is spelt
    assert [block.loss.epsilon for block in part.blocks] == [EPSILON_UNIT // 4] * 3
    assert found.loss.epsilon == EPSILON_UNIT
    assert found.integers == ("m0", "1.b0", "1.b1", "1.b2")
    for block, rank in zip(part.blocks, part.histogram.ranks if part.histogram else (), strict=True):
        assert isinstance(block.noise, Selection)
        assert price_selection(block.noise, rank.sensitivity(block.l1)) == block.loss


@pytest.mark.parametrize(
    ("sql", "mechanism", "pure"),
    [
        ("SELECT MEDIAN(amount), COUNT(*) FROM orders", "gaussian", False),
        ("SELECT COUNT(DISTINCT status) FROM orders", "gaussian", False),
        ("SELECT MEDIAN(amount) FROM orders", "gaussian", True),
        ("SELECT MEDIAN(amount), COUNT(DISTINCT status), SUM(amount) FROM orders", "laplace", True),
    ],
)
def test_the_parts_cost_no_more_than_the_price(shop: Dataset, sql: str, mechanism: str, pure: bool) -> None:
    found = plan(written(sql, mechanism), shop)  # type: ignore[arg-type]
    assert (found.loss.epsilon is not None) == pure
    if pure:
        assert EPSILON_UNIT - 3 <= (found.loss.epsilon or 0) <= EPSILON_UNIT
    else:
        limit = rho_of_epsilon(EPSILON_UNIT, found.conversion_delta)
        assert limit * 0.999 <= found.loss.rho <= limit


@pytest.mark.parametrize(
    ("sql", "most"),
    [
        ("SELECT COUNT(DISTINCT channel) FROM orders", 5),
        ("SELECT COUNT(DISTINCT status) FROM orders", 2),
        ("SELECT status, COUNT(DISTINCT status) FROM orders GROUP BY status", 5),
        ("SELECT COUNT(DISTINCT user_id) FILTER (WHERE amount > 3) FROM orders", 1),
        ("SELECT status, COUNT(DISTINCT user_id) FILTER (WHERE amount > 3) FROM orders GROUP BY status", 3),
        ("SELECT COUNT(DISTINCT sku) FROM items", 8),
    ],
)
def test_how_many_values_one_person_adds(shop: Dataset, sql: str, most: int) -> None:
    [part] = release_of(sql, shop).statements
    assert part.distinct is not None
    assert part.distinct.most == most
    [block] = part.blocks
    assert (block.l1, block.l2_squared, block.linf) == (most, most * most, most)


def test_the_request_bounds_values_too(shop: Dataset) -> None:
    [part] = plan(written("SELECT COUNT(DISTINCT sku) FROM items", groups=2), shop).statements
    assert part.distinct is not None
    assert part.distinct.most == 2


def test_one_enforced_row_a_person_adds_one_value() -> None:
    for world, how in ((KEYED_PEOPLE, "one_row"), (DIRTY_PEOPLE, "owners")):
        [part] = release_of("SELECT COUNT(DISTINCT city) FROM person", duckdb_dataset(world)).statements
        assert part.bounding.how == how
        assert part.distinct is not None
        assert part.distinct.most == 1


def shown(sql: str, dataset: Dataset) -> Plan:
    return plan(written(sql), dataset)


def test_a_dry_run_shows_every_statement_and_what_to_expect(shop: Dataset) -> None:
    found = shown("SELECT status, COUNT(*), MEDIAN(amount) AS m, MAX(amount) FROM orders GROUP BY status", shop)
    read = explain(found)
    assert [[key.name for key in each.keys] for each in read.releases] == [["status"], ["status", "bucket"]]
    assert [key.domain for key in read.releases[1].keys] == ["public", "public"]
    assert [block.mechanism for block in read.releases[1].blocks] == ["exponential"] * 2
    assert read.releases[1].measures[0].expected_error is None
    assert [item.release for item in cost(found).items] == [0, 1, 1]
    median = next(column for column in read.columns if column.name == "m")
    assert median.expected_error is None
    assert "rows" in (median.note or "")
    assert any("MAX is a high quantile" in note for note in found.notes)


def test_no_key_is_called_like_the_bucket() -> None:
    keys = [Key("k0", "Bucket", Ref("a", "text"), "text", None), Key("k1", "bucket_0", Ref("b", "text"), "text", None)]
    assert bucket_label([]) == "bucket"
    assert bucket_label(keys) == "bucket_1"
