"""Groups that are left out before they are read: by a public number, which raises the threshold by as much."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.sql.explain import explain
from gateway.sql.planning.choose import BEFOREHAND
from gateway.sql.planning.clips import Wish
from gateway.sql.planning.plan import PlannedRelease
from mechanisms.noise import Noise
from mechanisms.thresholds import threshold
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import plan, written
from tests.sql.shop import SHOP

PRIVATE = "SELECT channel, COUNT(*) AS n FROM orders GROUP BY channel"


def planned(epsilon: float, sql: str = PRIVATE, bounding: Wish = "declared") -> PlannedRelease:
    asked = replace(written(sql), epsilon=epsilon, bounding=bounding)
    return plan(asked, duckdb_dataset(SHOP)).releases[0]


@pytest.mark.parametrize("epsilon", [2.0, 0.5, 0.01])
def test_the_threshold_rises_by_what_is_left_out(epsilon: float) -> None:
    made = planned(epsilon)
    assert made.threshold is not None
    [(noise, measure)] = [
        (block.noise, each) for block in made.blocks for each in block.measures if each.name == made.threshold.measure
    ]
    assert isinstance(noise, Noise)
    reach = made.bounding.groups or 1
    least = threshold(noise, reach, made.threshold.delta) - 1 + measure.linf
    assert made.threshold.at == least + made.threshold.least - 1
    assert made.threshold.least > measure.linf, "groups of one unit never leave the engine"
    assert made.threshold.least - 1 <= max(measure.linf, least / BEFOREHAND), "and the threshold rises by little"


def test_what_is_shown_is_what_is_sent() -> None:
    dataset = duckdb_dataset(SHOP)
    found = plan(written(PRIVATE), dataset)
    [made] = found.releases
    assert made.threshold is not None
    [shown] = explain(found).releases
    assert (
        shown.sql
        == made.sent
        == f"SELECT * FROM ({made.sql}) AS discreet_t WHERE {made.threshold.measure} >= {made.threshold.least}"
    )
    assert any("left out beforehand" in note for note in found.notes)


def test_of_public_groups_none_is_left_out() -> None:
    made = planned(1.0, "SELECT COUNT(*) AS n FROM users")
    assert (made.threshold, made.sent) == (None, made.sql)


def test_where_a_clip_is_chosen_every_group_is_read() -> None:
    """How many units are above each candidate stands beside the groups, and would go with the last of them."""
    made = planned(1.0, "SELECT channel, SUM(amount) AS s FROM orders GROUP BY channel", "above_threshold")
    assert made.clip is not None
    assert made.threshold is not None
    assert (made.threshold.least, made.sent) == (1, made.sql)


def test_where_it_is_counted_how_many_are_clipped_every_group_is_read() -> None:
    found = plan(replace(written(PRIVATE), counted=True), duckdb_dataset(SHOP)).releases[0]
    assert found.clipped is not None
    assert found.threshold is not None
    assert (found.threshold.least, found.sent) == (1, found.sql)
