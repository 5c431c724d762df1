"""The audit of the count of who is weighted down: beside its answer and alone it loses no more than it costs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from gateway import release as releasing
from gateway.release import release
from gateway.sql.planning.plan import PlannedRelease
from mechanisms.loss import EPSILON_UNIT
from mechanisms.noise import Noise, draw
from tests.audit import certify
from tests.audit.cases import TARGET, Case, everybody
from tests.audit.certify import Projections
from tests.audit.outputs import pooled
from tests.audit.test_parts import excess
from tests.oracles.databases import DuckdbDatabase, duckdb_dataset
from tests.oracles.worlds import KEYED_PEOPLE, without

CASE = Case("counted", "SELECT COUNT(*) FROM visit", 4, dirty=True, counted=True)
TIMES = 20_000


@pytest.fixture(scope="module")
def worlds(base: DuckdbDatabase) -> tuple[PlannedRelease, list[pa.Table]]:
    """The plan, and what the engine says with the target, who has sixty visits, and without."""
    [planned] = CASE.plan(duckdb_dataset(KEYED_PEOPLE)).releases
    found = []
    data = everybody(alone=CASE.alone, dirty=CASE.dirty)
    for each in (data, without(KEYED_PEOPLE, data, TARGET)):
        base.fill(each)
        found.append(base.fetch(planned.sent))
    return planned, found


def read(planned: PlannedRelease, both: list[pa.Table], less: float = 1.0) -> tuple[Projections, Projections]:
    def drawn(noise: Noise, count: int) -> list[int]:
        return draw(Noise(noise.mechanism, noise.scale / less), count)

    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(releasing, "draw", pooled(drawn))
        for table in both:
            tables = [release(planned, table) for _ in range(TIMES)]
            units = np.array([each.clipped for each in tables], float)
            rows = np.array([each.measures[0][-1] for each in tables], float)
            # an attacker who knows that both are more with the target
            likely = np.round(rows / planned.blocks[-1].noise.scale + units / 2.5, 1)
            found.append({"units": units, "rows": np.round(rows / 4096), "both": likely})
    return found[0], found[1]


@pytest.mark.audit
def test_a_count_beside_its_answer_loses_what_they_cost(worlds: tuple[PlannedRelease, list[pa.Table]]) -> None:
    planned, both = worlds
    seen = read(planned, both)
    epsilon = (planned.loss.epsilon or 0) / EPSILON_UNIT
    assert excess(seen, epsilon, 0.0) == []
    assert certify.certify(*seen, certify.epsilon(0.0)).loss > 1
    alone = ({"units": seen[0]["units"]}, {"units": seen[1]["units"]})
    assert excess(alone, epsilon / 10, 0.0) == []
    assert certify.certify(*alone, certify.epsilon(0.0)).loss > 0.1


@pytest.mark.audit
def test_a_count_with_less_noise_is_found(worlds: tuple[PlannedRelease, list[pa.Table]]) -> None:
    planned, both = worlds
    seen = read(planned, both, less=3)
    alone = ({"units": seen[0]["units"]}, {"units": seen[1]["units"]})
    assert excess(alone, (planned.loss.epsilon or 0) / EPSILON_UNIT / 10, 0.0)
