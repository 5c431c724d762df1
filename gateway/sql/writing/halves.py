"""Sums in which each owner's rows have the weight of so many, half of the owners at a time.

``SELECT k0, SUM(m0) AS m0 FROM (
SELECT k0, SUM(v0 * 5 / COALESCE(n, 5)) AS m0 FROM discreet_r LEFT JOIN (
SELECT o AS p, COUNT(*) AS n FROM discreet_r WHERE (o & 1) <> 1 GROUP BY o HAVING COUNT(*) > 5) AS discreet_h0 ON o = p
WHERE (o & 1) <> 1 GROUP BY k0 UNION ALL … WHERE (o & 1) <> 0 GROUP BY k0) AS discreet_s GROUP BY k0``

PostgreSQL has each branch of a UNION ALL done by a worker of its own. Counted as a whole instead, owners are counted by
every worker that looks them up, all of them each time, in a table that no longer fits beside the processor.

Why this is sound: the last bit of its number puts an owner, with all of its rows, into exactly one half, so that its
rows are counted in full there; a row adds ``amount * M / n``, rounded toward zero, of n > M rows and exactly
``amount * M / M`` of fewer. Those are the integers of a sum of weighted rows over all owners at once, and NULL, which a
row adds that has no integer, counts as 0 in a sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from gateway.policy.model import Dataset, Owner
from gateway.sql.algebra import Filter, Project, Relation, Scan, conjuncts, references
from gateway.sql.inference.facts import facts
from gateway.sql.planning.plan import Cell, Measure, PlannedRelease
from gateway.sql.writing.cells import added
from gateway.sql.writing.dialects.registry import writer
from gateway.sql.writing.dialects.writer import Writer

_MOST: Final = Fraction(1, 2)
"""The part of a column's declared interval beyond which a condition is taken to let most rows pass."""


def halves(planned: PlannedRelease, dataset: Dataset) -> bool:
    """Whether a release is written in halves: it sums cells of one column each, of owners that are whole numbers.

    Its rows are cheap to read again, and heavy owners are not counted beside the sums, which would count all once more.
    """
    simple = all(isinstance(measure.cell, Cell) for measure in planned.measures)
    halved = writer(dataset.dialect).halves and simple and planned.clipped is None and planned.histogram is None
    source = planned.release.source
    return halved and _whole_numbers(source, dataset) and not worth_keeping(source, dataset)


def _whole_numbers(source: Relation, dataset: Dataset) -> bool:
    found = facts(source, dataset)
    return found.owner is not None and found.columns[found.owner].kind == "integer"


def worth_keeping(source: Relation, dataset: Dataset, *, chosen: bool = False) -> bool:
    """Return whether reading the rows twice could cost more than keeping them.

    They are joined, folded or ranked; of rows that are joined with their owners alone, some have to be left out:
    all rows of a table would take more room than time.
    """
    match source:
        case Filter(below):
            return worth_keeping(below, dataset, chosen=chosen or not _lets_most_pass(source, dataset))
        case Project(below):
            return worth_keeping(below, dataset, chosen=chosen)
        case Scan(name):
            table = dataset.table(name)
            assert table is not None
            hops = isinstance(table.owner, Owner) and bool(table.owner.hops)
            return chosen and hops and writer(dataset.dialect).keeps
        case _:
            return True


def _lets_most_pass(found: Filter, dataset: Dataset) -> bool:
    """Whether a condition does no more than cut a little off the bounds that the policy declares."""
    columns, share = facts(found, dataset).columns, Fraction(1)
    for name in {name for part in conjuncts(found.predicate) for name in references(part)}:
        about = columns[name]
        if about.wide is None or about.bounds is None:
            return False
        (low, high), (first, last) = about.bounds, about.wide
        share *= (high - low) / (last - first) if last > first else 1
    return share > _MOST


def in_halves(
    planned: PlannedRelease, selected: str, most: int, named: Sequence[str], grouped: str, write: Writer
) -> str:
    """Return the SQL of a release; ``named`` and ``grouped`` are the keys of its last stage, and their clause."""
    keys = [key.name for key in planned.keys]
    summed = [f"{write.total(each.name)} AS {each.name}" for each in planned.measures]
    by_key = f" GROUP BY {', '.join(keys)}" if keys else ""
    weighted = ", ".join([*keys, *(_weighted(each, most, write) for each in planned.measures)])
    branches = []
    for half in (0, 1):
        # Said of the other half: PostgreSQL takes nearly all rows to pass then, and leaves each half to one worker.
        here = f"WHERE (o & 1) <> {1 - half}"
        heavy = f"SELECT o AS p, COUNT(*) AS n FROM discreet_r {here} GROUP BY o HAVING COUNT(*) > {most}"
        source = f"discreet_r LEFT JOIN ({heavy}) AS discreet_h{half} ON o = p"
        branches.append(f"SELECT {weighted} FROM {source} {here}{by_key}")
    return (
        f"WITH discreet_r AS NOT MATERIALIZED ({selected}) SELECT {', '.join([*named, *summed])} "
        f"FROM ({' UNION ALL '.join(branches)}) AS discreet_s{grouped}"
    )


def _weighted(measure: Measure, most: int, write: Writer) -> str:
    assert isinstance(measure.cell, Cell)
    amount = added(measure.cell, beside=write.inlines)
    # ``l1`` is the most that one row adds times the rows of an owner: the product that is divided.
    if measure.l1 < 2**63:
        one = write.narrowly_weighted(amount, f"COALESCE(n, {most})", most)
    else:
        one = f"CASE WHEN n IS NULL THEN {amount} ELSE {write.weighted(amount, 'n', most)} END"
    return f"{write.total(one)} AS {measure.name}"
