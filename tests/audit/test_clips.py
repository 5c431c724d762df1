"""The audit of bounds that are chosen: the choice and the noisy number together lose no more than they cost.

An attacker who knows all rows of both worlds reads off each release which bound was chosen, and the number at it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from gateway import release as releasing
from gateway.release import release
from gateway.sql.planning.plan import PlannedRelease
from mechanisms import above_threshold, race
from mechanisms.above_threshold import AboveThreshold
from mechanisms.loss import EPSILON_UNIT
from mechanisms.noise import Noise, draw
from tests.audit import certify
from tests.audit.cases import TARGET, Case, everybody
from tests.audit.certify import Floats, Projections
from tests.audit.outputs import ABSENT
from tests.audit.test_parts import excess
from tests.oracles.databases import DuckdbDatabase, duckdb_dataset
from tests.oracles.worlds import KEYED_PEOPLE, LOOSE_PEOPLE, without

TIMES = 6_000

CASES = (
    (Case("chosen rows", "SELECT COUNT(*) FROM visit", 4), 0.3),
    (Case("chosen rows by key", "SELECT label, COUNT(*) FROM item GROUP BY label", 4, dirty=True), 0.2),
    (Case("chosen sum", "SELECT SUM(cost) FROM visit", 4, dirty=True), 0.2),
    (Case("rows by error", "SELECT COUNT(*) FROM visit", 4, bounding="exponential"), 0.2),
    (Case("raced rows", "SELECT COUNT(*) FROM visit", 4, bounding="r2t"), 0.05),
    (Case("sum by error", "SELECT SUM(cost) FROM visit", 4, dirty=True, bounding="exponential"), 0.2),
)
"""Questions, and the part of the claim that the audit must see at least: half of what it sees, since draws differ."""


def worlds(case: Case, base: DuckdbDatabase) -> tuple[PlannedRelease, list[pa.Table], float]:
    """Return the plan, what the engine says with the target and without, and the claimed epsilon."""
    plan = case.plan(duckdb_dataset(LOOSE_PEOPLE if case.bounding == "auto" else KEYED_PEOPLE))
    [planned] = plan.releases
    assert planned.clip is not None
    data = everybody(alone=case.alone, dirty=case.dirty)
    found = []
    for each in (data, without(LOOSE_PEOPLE, data, TARGET)):
        base.fill(each)
        found.append(base.fetch(planned.sent))
    assert plan.loss.epsilon is not None
    return planned, found, plan.loss.epsilon / EPSILON_UNIT


def read(planned: PlannedRelease, both: list[pa.Table], times: int) -> tuple[Projections, Projections]:
    """Return what is read off so many releases of each world."""
    found = [_numbers(planned, table, times) for table in both]
    for name in found[0].keys() | found[1].keys():
        for each in found:
            each.setdefault(name, np.full(times, ABSENT))
    return found[0], found[1]


def _numbers(planned: PlannedRelease, exact: pa.Table, times: int) -> dict[str, Floats]:
    assert planned.clip is not None
    numbers = {name: np.full(times, ABSENT) for name in ("place", "all", "in bounds")}
    for number in range(times):
        drawn = release(planned, exact)
        assert drawn.clip is not None
        total = float(sum(measures[-1] for measures in drawn.measures))
        numbers["place"][number] = drawn.clip
        numbers["all"][number] = total
        numbers["in bounds"][number] = round(total / planned.clip.bounds[drawn.clip])
        numbers.setdefault(f"at {drawn.clip}", np.full(times, ABSENT))[number] = total
    return numbers


@pytest.mark.audit
@pytest.mark.parametrize(("case", "part"), CASES, ids=str)
def test_a_choice_and_its_number_lose_what_they_cost(case: Case, part: float, base: DuckdbDatabase) -> None:
    planned, both, epsilon = worlds(case, base)
    seen = read(planned, both, TIMES)
    assert excess(seen, epsilon, 0.0) == []
    proven = certify.certify(*seen, certify.epsilon(0.0))
    assert proven.loss >= part * epsilon, proven


@pytest.mark.audit
def test_a_chosen_count_loses_what_it_costs(base: DuckdbDatabase) -> None:
    """The fast case."""
    planned, both, epsilon = worlds(CASES[0][0], base)
    assert excess(read(planned, both, 1_500), epsilon, 0.0) == []


@pytest.mark.audit
def test_the_choice_alone_loses_its_part(base: DuckdbDatabase) -> None:
    planned, both, _ = worlds(CASES[0][0], base)
    assert planned.clip is not None
    first, second = read(planned, both, 1_500)
    part = (planned.clip.loss.epsilon or 0) / EPSILON_UNIT
    assert part == pytest.approx(1, rel=1e-6)
    assert excess(({"place": first["place"]}, {"place": second["place"]}), part, 0.0) == []


CHEAP = Case("chosen rows", "SELECT COUNT(*) FROM visit", 1)


@pytest.mark.audit
def test_noise_of_a_third_of_the_bound_is_found(base: DuckdbDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    planned, both, epsilon = worlds(CHEAP, base)

    def less(noise: Noise, count: int) -> list[int]:
        return draw(Noise(noise.mechanism, noise.scale / 3), count)

    monkeypatch.setattr(releasing, "draw", less)
    assert excess(read(planned, both, 3_000), epsilon, 0.0)


@pytest.mark.audit
def test_a_race_with_less_noise_is_found(base: DuckdbDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    planned, both, epsilon = worlds(replace(CHEAP, bounding="r2t"), base)

    def less(noise: Noise, count: int) -> list[int]:
        return draw(Noise(noise.mechanism, noise.scale / 40), count)

    monkeypatch.setattr(race, "draw", less)
    assert excess(read(planned, both, 3_000), epsilon, 0.0)


def test_a_search_without_noise_is_found(base: DuckdbDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    planned, both, epsilon = worlds(CHEAP, base)
    assert planned.clip is not None
    # 41 people have more than one visit, or 40 without the target: the level lies between
    search = AboveThreshold(Noise("laplace", 9.1), planned.clip.search.candidates)
    assert search.level == 40
    monkeypatch.setattr(above_threshold, "draw", lambda _noise, count: [0] * count)
    broken = replace(planned, clip=replace(planned.clip, search=search))
    assert excess(read(broken, both, 1_500), epsilon, 0.0)
