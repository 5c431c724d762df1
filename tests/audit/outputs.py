"""What leaves the gateway, drawn thousands of times for two neighbours, and the numbers an attacker would read off it.

The release is the gateway's own; only its noise is taken from one long vector, which the same source drew at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pytest

from gateway import release as releasing
from gateway.answers.compose import compose
from gateway.answers.estimated import estimate
from gateway.noisy import NoisyTable
from gateway.release import release
from gateway.sandbox import Sandbox
from gateway.sql.planning.plan import Plan, PlannedRelease
from mechanisms.noise import Noise, Selection, draw
from tests.audit.certify import Floats, Projections
from tests.oracles import neighbours
from tests.oracles.neighbours import Exact, Group

Source: TypeAlias = Callable[[Noise, int], list[int]]

ABSENT = -1e30
"""What stands for a number of a group that does not appear: itself something to see."""

_ALONE = 60.0
"""Log-likelihood ratio of the sight of a group that one of the worlds does not have; any large number will do."""

_AT_ONCE = 2_000


@dataclass(frozen=True)
class Neighbours:
    """A plan, and what the engine returned for it with the unit and without."""

    plan: Plan
    with_unit: pa.Table
    without_unit: pa.Table

    @property
    def planned(self) -> PlannedRelease:
        [found] = self.plan.releases
        return found


def pooled(source: Source) -> Source:
    """Return a source that hands out, piece by piece and each value once, what ``source`` drew in long vectors."""
    pools: dict[Noise, Iterator[int]] = {}

    def values(noise: Noise) -> Iterator[int]:
        while True:
            yield from source(noise, 20_000)

    def taken(noise: Noise, count: int) -> list[int]:
        return list(islice(pools.setdefault(noise, values(noise)), count))

    return taken


def tables(planned: PlannedRelease, exact: pa.Table, times: int, source: Source) -> list[NoisyTable]:
    """Release so many times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(releasing, "draw", source)
        return [release(planned, exact) for _ in range(times)]


def seen(pair: Neighbours, times: int, source: Source | None = None) -> tuple[Projections, Projections]:
    """Return what an attacker reads off so many releases, with the unit and without."""
    drawn = pooled(draw) if source is None else source
    planned = pair.planned
    with_unit, without_unit = (
        neighbours.exact(planned, pair.with_unit),
        neighbours.exact(planned, pair.without_unit),
    )
    reader = _Reader(planned, with_unit, without_unit)
    first, second = (reader.read(tables(planned, exact, times, drawn)) for exact in (pair.with_unit, pair.without_unit))
    return first, second


@dataclass(frozen=True)
class _Reader:
    """An attacker who knows all rows of both worlds, the plan, and the law of the noise."""

    planned: PlannedRelease
    with_unit: Exact
    without_unit: Exact

    def read(self, found: Sequence[NoisyTable]) -> Projections:
        groups = self._groups(found)
        index = {group: at for at, group in enumerate(groups)}
        names = [measure.name for measure in self.planned.measures]
        base = np.array([[self._exact(self.without_unit, group, name) for name in names] for group in groups], object)
        values = np.full((len(found), len(groups), len(names)), np.nan)
        for number, table in enumerate(found):
            for key, measures in zip(table.keys, table.measures, strict=True):
                at = index[key]
                # subtracted as whole numbers, so that nothing is lost in turning them into floats
                values[number, at] = [noisy - exact for noisy, exact in zip(measures, base[at], strict=True)]
        read = self._numbers(groups, names, values) | self._estimates(found, groups)
        read["likelihood"] = self._likelihood(groups, values)
        return {name: np.where(np.isnan(numbers), ABSENT, numbers) for name, numbers in read.items()}

    def _groups(self, found: Sequence[NoisyTable]) -> list[Group]:
        """All groups that may appear: those of both worlds, and public ones that neither has."""
        every = set(self.with_unit) | set(self.without_unit) | {key for table in found[:1] for key in table.keys}
        if not self.planned.keys:
            every = {()}
        return sorted(every, key=repr)

    @staticmethod
    def _exact(world: Exact, group: Group, name: str) -> int:
        return world[group][name] if group in world else 0

    def _numbers(self, groups: list[Group], names: list[str], values: Floats) -> dict[str, Floats]:
        """Each noisy number, sums and differences over groups and measures, and how many groups appear."""
        read = {"groups": np.asarray((~np.isnan(values[:, :, 0])).sum(axis=1), dtype=np.float64)}
        filled = np.nan_to_num(values)
        for at, name in enumerate(names):
            for number, group in enumerate(groups):
                read[f"{name} of {group}"] = values[:, number, at]
            if len(groups) > 1:
                read[f"{name} of all groups"] = filled[:, :, at].sum(axis=1)
            for one, other in islice(combinations(range(len(groups)), 2), 6):
                read[f"{name} of {groups[one]} less {groups[other]}"] = values[:, one, at] - values[:, other, at]
        for one, other in islice(combinations(range(len(names)), 2), 6):
            sums = filled.sum(axis=1)
            read[f"{names[one]} plus {names[other]}"] = sums[:, one] + sums[:, other]
            read[f"{names[one]} less {names[other]}"] = sums[:, one] - sums[:, other]
        return read

    def _estimates(self, found: Sequence[NoisyTable], groups: list[Group]) -> dict[str, Floats]:
        """What the analyst is shown of each group: values, and the lower ends of their intervals."""
        read = {
            f"{what} of {group}": np.full(len(found), np.nan)
            for name, _ in self.planned.estimators
            for what in (name, f"{name} at least")
            for group in groups
        }
        for start in range(0, len(found), _AT_ONCE):
            some = found[start : start + _AT_ONCE]
            keys = tuple(key for table in some for key in table.keys)
            rows = [number for number, table in enumerate(some, start) for _ in table.keys]
            whole = NoisyTable(keys, tuple(row for table in some for row in table.measures))
            for name, estimated in estimate(self.planned, whole, 0.95).items():
                lower = [ABSENT if ends is None else ends[0] for ends in estimated.intervals]
                for what, numbers in ((name, estimated.values), (f"{name} at least", lower)):
                    for row, key, value in zip(rows, keys, numbers, strict=True):
                        read[f"{what} of {key}"][row] = value
        return read

    def _likelihood(self, groups: list[Group], values: Floats) -> Floats:
        """Return the log-likelihood ratio of the noisy integers that appear, by the laws that the plan declares."""
        total = np.zeros(len(values))
        for number, group in enumerate(groups):
            at = 0
            if not self.planned.public and (group in self.with_unit) != (group in self.without_unit):
                total += np.where(np.isnan(values[:, number, 0]), 0.0, _ALONE)
                continue
            for block in self.planned.blocks:
                for measure in block.measures:
                    change = self._exact(self.with_unit, group, measure.name) - self._exact(
                        self.without_unit, group, measure.name
                    )
                    total += np.nan_to_num(_ratio(block.noise, values[:, number, at], change))
                    at += 1
        return np.round(total, 9)


def _ratio(noise: Noise | Selection, values: Floats, change: int) -> Floats:
    assert isinstance(noise, Noise)
    if noise.mechanism == "laplace":
        return np.asarray((np.abs(values) - np.abs(values - change)) / noise.scale, dtype=np.float64)
    return np.asarray(change * (2 * values - change) / (2 * noise.scale**2), dtype=np.float64)


def answers(pair: Neighbours, times: int, sandbox: Sandbox) -> tuple[Projections, Projections]:
    """Return what is read off so many composed answers: which groups are in them, where, and with which numbers."""
    drawn = pooled(draw)
    width = len(pair.plan.query.columns)
    keys = [repr(key) for key in sorted(neighbours.exact(pair.planned, pair.with_unit), key=repr)]
    read = []
    for exact in (pair.with_unit, pair.without_unit):
        found: dict[str, Floats] = {"rows": np.zeros(times)}
        for key in keys:
            found |= {f"{what} of {key}": np.full(times, ABSENT) for what in ("place", *map(str, range(1, width)))}
        for number, table in enumerate(tables(pair.planned, exact, times, drawn)):
            rows = compose(pair.plan, (table,), sandbox, 0.95, 10_000).rows
            found["rows"][number] = len(rows)
            for place, row in enumerate(rows):
                key = repr((row[0],))
                if key in keys:
                    found[f"place of {key}"][number] = place
                    for column, value in enumerate(row[1:], 1):
                        assert isinstance(value, int | float)
                        found[f"{column} of {key}"][number] = value
        read.append(found)
    first, second = read
    return first, second
