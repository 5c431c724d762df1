"""Whether a noisy table that was drawn before is the answer to a planned release, and how it is then read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.noisy import NoisyTable
from gateway.reuse.canonical import aggregate_digests, key_digest, same
from gateway.reuse.reading import Reading, as_read
from gateway.sql.inference.domains import canonical_order
from gateway.sql.planning.errors import log_error
from gateway.sql.planning.plan import Plan, PlannedRelease
from mechanisms.noise import Noise

SLACK = 1e-9
"""By how much the logarithm of an error may be larger through rounding alone."""

Entry = tuple[Reading, NoisyTable]


@dataclass(frozen=True, slots=True)
class Match:
    """A noisy table that answers a planned release: ``planned`` is the release as the table is read.

    ``cells`` is how many groups that were drawn make one that was asked for.
    """

    planned: PlannedRelease
    table: NoisyTable
    notes: tuple[str, ...]
    cells: int = 1


def match(plan: Plan, planned: PlannedRelease, entries: Sequence[Entry]) -> Match | None:
    """Return the table among these that has the groups and the aggregates of a release, None if there is none."""
    mark, wanted = same(plan, planned), set(aggregate_digests(planned).values())
    for reading, table in entries:
        if reading.mark == mark and wanted <= dict(reading.estimators).keys():
            return Match(as_read(planned, reading), _ordered(planned, reading, table), reading.notes)
    return None


def no_weaker(drawn: Match, planned: PlannedRelease) -> bool:
    """Return whether each aggregate as drawn errs no more than it would as planned, and no group is hidden that would
    be shown.
    """
    before, now = dict(drawn.planned.estimators), dict(planned.estimators)
    noises, fresh = drawn.planned.noises, planned.noises
    if any(log_error(before[name], noises) > log_error(now[name], fresh) + SLACK for name in now):
        return False
    return _least(drawn.planned) <= _least(planned)


def mechanisms(planned: PlannedRelease) -> frozenset[str]:
    """Return the mechanisms of the noise that a release is drawn with."""
    return frozenset(
        block.noise.mechanism
        for statement in planned.statements
        for block in statement.blocks
        if isinstance(block.noise, Noise)
    )


def _least(planned: PlannedRelease) -> float:
    """Return the noisy number of units from which on a group is shown."""
    if planned.threshold is None:
        return 0.0
    measure = next(found for found in planned.measures if found.name == planned.threshold.measure)
    return float(planned.threshold.at * measure.unit)


def _ordered(planned: PlannedRelease, reading: Reading, table: NoisyTable) -> NoisyTable:
    """Return a table with its key columns, and then its rows, in the order in which a release would have them.

    Why the rows' order is no data: it is that of the public domains, or of the keys that were published.
    """
    drawn = [digest for digest, _ in reading.keys]
    places = [drawn.index(key_digest(key)) for key in planned.keys]
    if places == list(range(len(places))):
        return table
    rows = {tuple(key[place] for place in places): row for key, row in zip(table.keys, table.measures, strict=True)}
    if planned.public:
        orders = [
            {value: at for at, value in enumerate(dict.fromkeys(key[place] for key in table.keys))} for place in places
        ]
        keys = sorted(rows, key=lambda key: tuple(order[value] for order, value in zip(orders, key, strict=True)))
    else:
        keys = sorted(rows, key=canonical_order)
    return replace(table, keys=tuple(keys), measures=tuple(rows[key] for key in keys))
