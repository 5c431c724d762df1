"""The audit bites: noise or a threshold broken on purpose is found with the samples of a few seconds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mechanisms.noise import Noise, draw
from tests.audit.cases import Case, ask
from tests.audit.claims import breaches
from tests.audit.outputs import Neighbours, pooled, seen
from tests.oracles.databases import DuckdbDatabase

pytestmark = pytest.mark.audit

TIMES = 10_000
COUNT = Case("count", "SELECT COUNT(*) FROM person", 1)
SUM = Case("sum", "SELECT SUM(income) FROM person", 1, "gaussian", 0.1)
KEYS = Case("count by public key", "SELECT sex, COUNT(*) FROM person GROUP BY sex", 1)
CITY = Case("lonely city", "SELECT city, COUNT(*) FROM person GROUP BY city", 0.5, delta=0.085, alone=True)
DAYS = Case(
    "owners on lonely days",
    "SELECT day, COUNT(DISTINCT person_id) FROM visit GROUP BY day",
    0.5,
    "gaussian",
    0.2,
    groups=3,
    alone=True,
)


def halved(noise: Noise, count: int) -> list[int]:
    return draw(replace(noise, scale=noise.scale / 2), count)


def lowered(pair: Neighbours) -> Neighbours:
    """The threshold is lower by a third."""
    planned = pair.planned
    assert planned.threshold is not None
    less = replace(planned.threshold, at=planned.threshold.at * 2 // 3)
    return replace(pair, plan=replace(pair.plan, releases=(replace(planned, threshold=less),)))


@pytest.mark.parametrize("case", [COUNT, SUM, KEYS], ids=str)
def test_noise_of_half_the_scale_is_found(case: Case, base: DuckdbDatabase) -> None:
    pair = ask(case, base)
    assert breaches(pair, seen(pair, TIMES)) == []
    assert breaches(pair, seen(pair, TIMES, pooled(halved)))


@pytest.mark.parametrize("case", [CITY, DAYS], ids=str)
def test_a_threshold_lowered_by_a_third_is_found(case: Case, base: DuckdbDatabase) -> None:
    pair = ask(case, base)
    assert breaches(pair, seen(pair, TIMES)) == []
    assert breaches(lowered(pair), seen(lowered(pair), TIMES))


def test_one_noise_for_all_groups_is_found(base: DuckdbDatabase) -> None:
    each = pooled(draw)

    def shared(noise: Noise, count: int) -> list[int]:
        return each(noise, 1) * count

    pair = ask(KEYS, base)
    assert breaches(pair, seen(pair, TIMES)) == []
    assert breaches(pair, seen(pair, TIMES, shared))
