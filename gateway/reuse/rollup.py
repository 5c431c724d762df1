"""Rolling up: the groups of a release that is held, added up to coarser ones.

``GROUP BY sex, site`` is held  →  ``GROUP BY sex`` is the sum over the sites, and its noise the sum of their noises

Why this is sound: it is computed from one noisy table, and from nothing else. Why it is right: only over public domains
(of a thresholded release some groups are hidden), only where one unit is held to the same part, over all groups
together, whichever way rows are grouped, and only for aggregates that are read off sums of rows. Units may stand in
several groups, so that their number is no such sum, but where the database enforces one row a unit. Every sum of the
coarse group is the sum over its fine groups, and every estimate reads those sums with the noise of all of them: its
interval is as right as that of the release itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from gateway.noisy import KeyTuple, NoisyTable, public_groups
from gateway.reuse.canonical import aggregate_digests, base, key_digest
from gateway.reuse.match import Entry, Match
from gateway.reuse.reading import Reading, as_read
from gateway.sql.planning.plan import Block, Estimator, Linear, Mean, Moments, Plan, PlannedRelease, Variable

MOST_CELLS = 1_000
"""Fine groups that one coarse group may be made of: beyond, adding up takes longer than asking anew."""

Terms = tuple[tuple[str, Fraction], ...]


def rolled_up(plan: Plan, planned: PlannedRelease, entries: Sequence[Entry]) -> Match | None:
    """Return the release made from a finer one among these, None if there is none to make it from."""
    if not planned.public or planned.parts or planned.threshold is not None or planned.bounding.groups is not None:
        return None
    if planned.clip is not None or planned.clipped is not None:
        return None  # chosen for other groups, it would be another one
    mark, wanted = base(plan, planned), [key_digest(key) for key in planned.keys]
    for reading, table in entries:
        drawn = [digest for digest, _ in reading.keys]
        if reading.base != mark or len(set(wanted)) != len(wanted) or not set(wanted) < set(drawn):
            continue
        if _additive(planned, reading):
            made = _made(planned, reading, table, [drawn.index(digest) for digest in wanted])
            if made is not None:
                return made
    return None


def _additive(planned: PlannedRelease, reading: Reading) -> bool:
    """Return whether all that a release asks for is read off sums over rows, in the finer release too."""
    fine, coarse = reading.bounding, planned.bounding
    if not reading.public or reading.statement.clip is not None or fine.groups is not None or fine.rows != coarse.rows:
        return False
    if planned.release.folded or (fine.how == "one_row") != (coarse.how == "one_row"):
        return False
    known, asked = dict(reading.estimators), aggregate_digests(planned)
    for name, aggregate in planned.release.aggregates:
        estimator = known.get(asked[name])
        if not isinstance(estimator, Linear | Mean | Moments) or any("." in measure for measure in _read(estimator)):
            return False
        if aggregate.kind == "count_owners" and fine.how != "one_row":
            return False
    return True


def _made(planned: PlannedRelease, reading: Reading, table: NoisyTable, places: list[int]) -> Match | None:
    """Return the coarse table: the integers of all its fine groups side by side, in the order of the domains."""
    rows: dict[KeyTuple, list[tuple[int, ...]]] = {}
    for key, row in zip(table.keys, table.measures, strict=True):
        rows.setdefault(tuple(key[place] for place in places), []).append(row)
    counts = {len(fine) for fine in rows.values()}
    if len(counts) != 1 or not 1 < (cells := counts.pop()) <= MOST_CELLS:
        return None
    fine = as_read(planned, reading)
    wide = replace(
        fine,
        blocks=tuple(_widened(block, cells) for block in fine.blocks),
        estimators=tuple((name, _summed(estimator, cells)) for name, estimator in fine.estimators),
        parts=(),
    )
    own = [measure.name for measure in fine.measures]
    order = [(own.index(name), cell) for name, cell in (_split(each) for each in wide.integers)]
    keys = public_groups(planned)
    if set(keys) != rows.keys():
        return None
    measures = tuple(tuple(rows[key][cell][at] for at, cell in order) for key in keys)
    return Match(wide, NoisyTable(tuple(keys), measures), reading.notes, cells)


def _widened(block: Block, cells: int) -> Block:
    """Return a vector with each measure once for each fine group: one noise each, as they were drawn."""
    return replace(
        block,
        measures=tuple(
            replace(measure, name=_cell(measure.name, cell)) for measure in block.measures for cell in range(cells)
        ),
    )


def _cell(name: str, cell: int) -> str:
    return f"{name}/{cell}"


def _split(name: str) -> tuple[str, int]:
    measure, _, cell = name.partition("/")
    return measure, int(cell)


def _summed(estimator: Estimator, cells: int) -> Estimator:
    """Return an estimator over the sums of all fine groups."""

    def over(terms: Terms) -> Terms:
        return tuple((_cell(name, cell), weight) for name, weight in terms for cell in range(cells))

    def variable(found: Variable) -> Variable:
        return replace(found, first=over(found.first), second=over(found.second))

    match estimator:
        case Linear(terms):
            return replace(estimator, terms=over(terms))
        case Mean(spread, count):
            return replace(estimator, spread=over(spread), count=over(count))
        case Moments(_, count, x, y, product):
            y = None if y is None else variable(y)
            return replace(estimator, count=over(count), x=variable(x), y=y, product=over(product))
    raise AssertionError("a quantile is no sum of rows")


def _read(estimator: Linear | Mean | Moments) -> list[str]:
    """Return the names of the measures that an estimator reads."""
    parts: list[Any] = []
    match estimator:
        case Linear(terms):
            parts = [terms]
        case Mean(spread, count):
            parts = [spread, count]
        case Moments(_, count, x, y, product):
            parts = [count, product, x.first, x.second]
            parts += [] if y is None else [y.first, y.second]
    return [name for terms in parts for name, _ in terms]
