"""The audit of quantiles and of counts of different values: they lose no more than they cost; broken ones are found.

An attacker who knows all rows of both worlds reads off each release its integers, and the likelihood ratio of the
buckets that were drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pytest

from gateway import release as releasing
from gateway.noisy import NoisyTable
from gateway.release import release
from gateway.sql.planning.plan import PlannedRelease
from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT
from mechanisms.noise import Noise, Selection, draw, select
from tests.audit import certify
from tests.audit.cases import Case, everybody
from tests.audit.certify import Projections
from tests.audit.outputs import ABSENT, Source, pooled
from tests.oracles.databases import DuckdbDatabase, duckdb_dataset
from tests.oracles.neighbours import Group
from tests.oracles.worlds import KEYED_PEOPLE, without

TARGET = 1
TIMES = 6_000

Laws: TypeAlias = dict[tuple[str, Group], list[float]]
"""The law of each bucket that is drawn, by the name of its integer and its group."""

Select: TypeAlias = Callable[[Selection, Sequence[int]], int]

CASES = (
    (Case("median of one", "SELECT MEDIAN(tiny) FROM person WHERE vast > 100", 4), 0.1),
    (Case("quantiles by key", "SELECT sex, QUANTILE_CONT(tiny, 0.9), MIN(tiny) FROM person GROUP BY sex", 4), 0.0),
    (Case("heavy owner's quantile", "SELECT label, MEDIAN(qty) FROM item GROUP BY label", 2), 0.1),
    (Case("heavy owner's values", "SELECT COUNT(DISTINCT visit_id) FROM visit", 1), 0.45),
    (
        Case("hidden city", "SELECT city, MEDIAN(tiny), COUNT(*) FROM person GROUP BY city", 1, delta=0.05, alone=True),
        0.0,
    ),
)
"""Questions, and the part of the claim that the audit must see at least, if any: a selection is rarely at its worst."""


def worlds(case: Case, base: DuckdbDatabase) -> tuple[PlannedRelease, list[list[pa.Table]], float, float]:
    """Return the plan, what the engine says with the target and without, and the claimed epsilon and delta."""
    plan = case.plan(duckdb_dataset(KEYED_PEOPLE))
    [planned] = plan.releases
    data = everybody(alone=case.alone, dirty=case.dirty)
    found = []
    for each in (data, without(KEYED_PEOPLE, data, TARGET)):
        base.fill(each)
        found.append([base.fetch(statement.sent) for statement in planned.statements])
    assert plan.loss.epsilon is not None
    return planned, found, plan.loss.epsilon / EPSILON_UNIT, plan.loss.delta / DELTA_UNIT


def law(penalties: Sequence[int], scale: float) -> list[float]:
    weights = [math.exp(-penalty / scale) for penalty in penalties]
    return [weight / sum(weights) for weight in weights]


def read(
    planned: PlannedRelease, both: list[list[pa.Table]], times: int, choose: Select, noise: Source | None = None
) -> tuple[Projections, Projections]:
    """Return what is read off so many releases of each world."""
    laws: list[Laws] = [{}, {}]
    drawn = pooled(draw if noise is None else noise)
    tables: list[list[NoisyTable]] = []
    for at, exact in enumerate(both):
        seen: list[list[float]] = []

        def noted(selection: Selection, penalties: Sequence[int], seen: list[list[float]] = seen) -> int:
            seen.append(law(penalties, selection.scale))
            return 0

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(releasing, "draw", drawn)
            patch.setattr(releasing, "select", noted)
            first = release(planned, *exact)
            names = [name for name in planned.integers if ".b" in name]
            order = [(name, key) for name in names for key in first.keys]
            laws[at] = dict(zip(order, seen, strict=True))
            patch.setattr(releasing, "select", choose)
            tables.append([release(planned, *exact) for _ in range(times)])
    first_read, second_read = ({**_numbers(planned, found, laws)} for found in tables)
    for name in first_read.keys() | second_read.keys():
        for found in (first_read, second_read):
            found.setdefault(name, np.full(times, ABSENT))
    return first_read, second_read


def _numbers(planned: PlannedRelease, found: list[NoisyTable], laws: list[Laws]) -> dict[str, certify.Floats]:
    numbers: dict[str, certify.Floats] = {
        "groups": np.array([len(table.keys) for table in found], float),
        "likelihood": np.zeros(len(found)),
    }
    for number, table in enumerate(found):
        for key, row in zip(table.keys, table.measures, strict=True):
            for name, value in zip(planned.integers, row, strict=True):
                label = f"{name} of {key}"
                numbers.setdefault(label, np.full(len(found), ABSENT))[number] = value
                where = (name, key)
                if all(where in each for each in laws):
                    numbers["likelihood"][number] += math.log(laws[0][where][value] / laws[1][where][value])
    numbers["likelihood"] = np.round(numbers["likelihood"], 9)
    return numbers


def excess(both: tuple[Projections, Projections], epsilon: float, delta: float) -> list[str]:
    """Return the ways in which samples prove more loss than is claimed."""
    proven = certify.certify(*both, certify.epsilon(delta))
    lost = certify.certify(*both, certify.delta(epsilon))
    found = [f"{proven} where epsilon is {epsilon}"] if proven.loss > epsilon else []
    return found + ([f"{lost} where delta is {delta}"] if lost.loss > delta else [])


@pytest.mark.audit
@pytest.mark.parametrize(("case", "part"), CASES, ids=str)
def test_parts_lose_what_they_cost(case: Case, part: float, base: DuckdbDatabase) -> None:
    planned, both, epsilon, delta = worlds(case, base)
    seen = read(planned, both, TIMES, select)
    assert excess(seen, epsilon, delta) == []
    if part:
        proven = certify.certify(*seen, certify.epsilon(delta))
        assert proven.loss >= part * epsilon, proven


def test_a_median_loses_what_it_costs(base: DuckdbDatabase) -> None:
    """The fast case."""
    planned, both, epsilon, delta = worlds(CASES[0][0], base)
    assert excess(read(planned, both, 3_000, select), epsilon, delta) == []


@pytest.mark.audit
def test_a_selection_of_a_fifth_of_the_scale_is_found(base: DuckdbDatabase) -> None:
    def sharper(selection: Selection, penalties: Sequence[int]) -> int:
        return select(Selection(selection.scale / 5), penalties)

    planned, both, epsilon, delta = worlds(CASES[0][0], base)
    assert excess(read(planned, both, TIMES, sharper), epsilon, delta)


@pytest.mark.audit
def test_different_values_with_noise_of_half_the_scale_are_found(base: DuckdbDatabase) -> None:
    def halved(noise: Noise, count: int) -> list[int]:
        return draw(Noise(noise.mechanism, noise.scale / 2), count)

    planned, both, epsilon, delta = worlds(CASES[3][0], base)
    assert excess(read(planned, both, TIMES, select, halved), epsilon, delta)
