"""Intervals of what is computed from noisy tables: the computation repeated with noise of the same laws added anew.

What they cover: the value that the same computation gives of the tables without noise, over the groups that appear and
given the values that were released before other releases. They are no more than an approximation where the computation
is far from linear over the size of the noise; a greatest or a least of groups that the noise cannot tell apart leans,
and its interval is widened, not exact (``mechanisms.simulation``).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from gateway.answers.consistent import add_up, is_whole, ratio
from gateway.answers.estimated import Intervals
from gateway.answers.estimates import Released
from gateway.answers.moments import moment_terms, noiseless
from gateway.answers.nonnegative import names
from gateway.noisy import encode
from gateway.sandbox import Sandbox, SandboxFailed
from gateway.sql.planning.errors import Terms
from gateway.sql.planning.margins import families, mean_of, means
from gateway.sql.planning.plan import Estimator, Linear, Mean, Picked, Plan
from gateway.sql.tables import OutputColumn, ends_of
from gateway.sql.writing.post import public_name, table_name
from gateway.sql.writing.repeated import WORLD, repeated
from mechanisms.simulation import Points, around, repetitions
from mechanisms.tails import Floats

log = logging.getLogger("discreet.query")

MOST_CELLS = 400_000
"""Rows of noisy and public tables, over all worlds, that one answer's intervals may take."""

UNTOLD = "no interval: it rests on too many groups, on too high a confidence, or on what has none."


@dataclass(frozen=True, slots=True)
class Repeated:
    """Noisy tables and public rows to compute with again, and how often."""

    plan: Plan
    found: Sequence[Released]
    publics: Sequence[pa.Table]
    times: int
    non_negative: bool

    @property
    def tables(self) -> dict[str, pa.Table]:
        """The tables by name; world 0 is what was released."""
        points = Points(encode([each.table for each in self.found]))
        again = self._again(points)
        tables = {table_name(place): self._noisy(place, found) for place, found in enumerate(again)}
        tables |= {public_name(place): found for place, found in enumerate(self.publics)}
        return tables | {"worlds": pa.table({WORLD: pa.array(range(self.times + 1), type=pa.int64())})}

    def _again(self, points: Points) -> list[dict[str, Floats]]:
        """Return each release's estimates in all worlds but the first, those that add up made consistent as it was."""
        measures = [self._measures(place, points) for place in range(len(self.found))]
        again = [
            {name: estimated(estimator, measures[place]) for name, estimator in found.planned.estimators}
            for place, found in enumerate(self.found)
        ]
        for family in families(self.plan.releases):
            if is_whole(family, self.found):
                adjusted = add_up(family, [again[place][name] for place, name in family.members])
                for (place, name), values in zip(family.members, adjusted, strict=True):
                    again[place][name] = values
        for family in means(self.plan.releases):
            if is_whole(family, self.found):
                read = [(measures[place], mean_of(self.plan.releases[place], name)) for place, name in family.members]
                spreads = add_up(family, [_sum(mean.spread, each) for each, mean in read])
                counts = add_up(family, [_sum(mean.count, each) for each, mean in read])
                for (place, name), *parts in zip(family.members, spreads, counts, strict=True):
                    again[place][name] = ratio(mean_of(self.plan.releases[place], name), *parts)
        for place, found in enumerate(self.found):
            for name in names(found.planned) if self.non_negative else ():
                again[place][name] = np.maximum(again[place][name], 0.0)
        return again

    def _noisy(self, place: int, made: Mapping[str, Floats]) -> pa.Table:
        released = self.found[place]
        rows, worlds = len(released.table.keys), self.times + 1
        arrow = released.arrow
        taken = arrow.take(np.repeat(np.arange(rows), worlds))
        columns: dict[str, Any] = {name: taken.column(name) for name in arrow.column_names}
        for name, _ in released.planned.estimators:
            values = released.estimates[name].values.astype(np.float64).reshape(rows, 1)
            again = np.concatenate([values, made[name][:, 1:]], axis=1)
            columns[name] = again.reshape(-1)
            for end in ends_of(name):
                # The ends move with the value.
                columns[end] = np.asarray(taken.column(end)) + (again - values).reshape(-1)
        return pa.table(columns | {WORLD: np.tile(np.arange(worlds), rows)})

    def _measures(self, place: int, points: Points) -> dict[str, Floats]:
        """Return each measure, a row a group and a column a world."""
        planned, table = self.found[place].planned, self.found[place].table
        found: dict[str, Floats] = {}
        for at, name in enumerate(planned.integers):
            if name in planned.noises:
                real = np.array([[float(row[at])] for row in table.measures], dtype=np.float64).reshape(-1, 1)
                noise = points.drawn(planned.noises[name], f"{place}.{name}", len(real), self.times)
                found[name] = np.concatenate([real, real + noise], axis=1)
        return found


def estimated(estimator: Estimator, measures: Mapping[str, Floats]) -> Floats:
    """Return an estimate of measures that are arrays of one shape, as ``answers.estimated`` reads it off one row.

    Where there is less than a row, the middle of the bounds stands for a mean.
    """
    match estimator:
        case Linear(terms, step):
            total = _sum(terms, measures)
            return total if step is None else np.round(total / float(step)) * float(step)
        case Mean():
            return ratio(estimator, _sum(estimator.spread, measures), _sum(estimator.count, measures))
        case Picked():
            raise ValueError("what is picked has no law that is known")
        case _:
            terms_of = moment_terms(estimator)
            return noiseless(estimator, {name: _sum(terms, measures) for name, terms in terms_of.items()})


def _sum(terms: Terms, measures: Mapping[str, Floats]) -> Floats:
    return np.asarray(sum(float(weight) * measures[name] for name, weight in terms), dtype=np.float64)


def repeated_intervals(
    plan: Plan,
    found: Sequence[Released],
    publics: Sequence[pa.Table],
    sandbox: Sandbox,
    confidence: float,
    asked: Mapping[OutputColumn, Sequence[object]],
    *,
    non_negative: bool = False,
) -> dict[str, Intervals]:
    """Return the intervals of derived columns by name, given their values in the answer; none where none can be told.

    Why a failure here is none of the answer's: it is of noisy tables alone, and depends on nothing else.
    """
    estimators = [estimator for each in found for _, estimator in each.planned.estimators]
    if any(isinstance(each, Picked) or (isinstance(each, Linear) and each.among > 1) for each in estimators):
        return {}
    cells = sum(len(each.table.keys) for each in found) + sum(each.num_rows for each in publics)
    times = repetitions(confidence, cells, MOST_CELLS)
    if not times:
        return {}
    tables = Repeated(plan, found, publics, times, non_negative).tables
    try:
        told = sandbox.run(repeated(plan.query, [column.column for column in asked]), tables)
    except SandboxFailed:
        log.info("the intervals of derived columns were too large to compute", exc_info=True)
        return {}
    return {
        column.name: [
            _told(value, np.array(again, dtype=np.float64), times, confidence)
            for value, again in zip(values, told.column(place).to_pylist(), strict=False)
        ]
        + [None] * (len(values) - told.num_rows)
        for place, (column, values) in enumerate(asked.items())
    }


def _told(value: object, again: Floats, times: int, confidence: float) -> tuple[float, float] | None:
    """Return the interval of one value; None if world 0 has another, or other worlds often have none."""
    real = math.nan if value is None else float(value)  # type: ignore[arg-type]
    if not 0.99 * times < len(again) <= times + 1 or not math.isclose(real, again[0], rel_tol=1e-6, abs_tol=1e-9):
        return None
    return around(float(again[0]), again[1:], confidence)
