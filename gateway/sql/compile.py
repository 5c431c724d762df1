"""Compile an analyst's text into a plan: the passes in their order, reading text and policy alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset, Dialect
from gateway.sql.above.clause import priced
from gateway.sql.above.exact import read
from gateway.sql.above.feed import notes as fed_notes
from gateway.sql.above.sizes import check
from gateway.sql.algebra import Ref, feeds
from gateway.sql.planning import clips, counted
from gateway.sql.planning.choose import Bounds, Price
from gateway.sql.planning.groups import Key
from gateway.sql.planning.plan import Bounding, MeasuredValue, Plan, PlannedRelease, PublicRead
from gateway.sql.planning.shares import share
from gateway.sql.position import DIALECT, INSTANT
from gateway.sql.reading.parse import TextLimits, parse
from gateway.sql.reading.qualified import unqualify
from gateway.sql.refusals import CODES, refuse
from gateway.sql.relations.lower import lower
from gateway.sql.remember import remembering
from gateway.sql.scalars.bind import Parameter, bind
from gateway.sql.tables import Query
from gateway.sql.writing.post import post
from gateway.sql.writing.rewrite import rewrite
from mechanisms.accounting import epsilon_of_rho
from mechanisms.loss import FREE, Loss


@dataclass(frozen=True, slots=True)
class Question:
    """What an analyst asks and at which price; ``price_epsilon`` is the price as epsilon, whatever it was stated in.

    Its epsilon and rho, and ``price_epsilon``, are None where the request leaves the price to the text's privacy
    clauses. ``now`` is what CURRENT_DATE and NOW mean, in UTC and without seconds; without it the text may not name
    them.
    """

    text: str
    dialect: str | None
    price: Price
    price_epsilon: int | None
    limits: TextLimits
    bounds: Bounds
    parameters: tuple[Parameter, ...] = ()
    now: datetime | None = None


def compile_query(question: Question, dataset: Dataset) -> Plan:
    """Return the plan that answers a question on a dataset, or refuse it."""
    try:
        with remembering():
            return _compiled(question, dataset)
    except RecursionError:
        # The limits on words, nesting and expressions come first; this is for what none of them foresaw.
        raise SqlRefused("sql-too-deep", CODES["sql-too-deep"]) from None


def _compiled(question: Question, dataset: Dataset) -> Plan:
    dialect = question.dialect or dataset.dialect
    tree = parse(question.text, dialect, question.limits)
    tree.meta.update({DIALECT: dialect, INSTANT: question.now})
    unqualify(tree, dataset)
    bind(tree, question.parameters)
    query = lower(tree, dataset)
    if len(query.releases) > question.bounds.releases:
        refuse("releases-too-many", hint=f"At most {question.bounds.releases} in one request.")
    if not query.releases:
        return _public_plan(query, dataset, question.bounds)
    price = priced(question.price, query.releases, dataset, question.bounds.max_groups_contributed)
    shared = share(query.releases, dataset, price, question.bounds)
    if question.bounds.given and not any(key.given for found in shared for key in found.keys):
        refuse("keys-unmatched", hint="Group by what that query is grouped by; or leave keys_from out.")
    check(query, shared, dataset, question.bounds)
    planned = tuple(rewrite(found, dataset) for found in shared)
    loss = sum((release.loss for release in planned), FREE)
    conversion_delta = 0 if loss.epsilon is not None else _conversion_delta(planned, price.delta)
    return Plan(
        dataset=dataset.name,
        policy_version=dataset.version,
        preparation=None if dataset.preparation is None else dataset.preparation.id,
        data_version=dataset.data_version,
        dialect=dataset.dialect,
        query=query,
        releases=planned,
        loss=loss,
        price=_price(question, price, loss, conversion_delta),
        conversion_delta=conversion_delta,
        notes=tuple(dict.fromkeys(note for release in planned for note in notes(release, dataset.dialect))),
        publics=_publics(query, dataset, question.bounds),
    )


def _publics(query: Query, dataset: Dataset, bounds: Bounds) -> tuple[PublicRead, ...]:
    """Return what is read of each public table by itself."""
    return tuple(read(found, dataset, bounds.public_rows) for found in query.exacts)


def _public_plan(query: Query, dataset: Dataset, bounds: Bounds) -> Plan:
    """Return the plan of a question over public tables alone, which has no price.

    DuckDB computes all of the answer where the rows are; of other engines the rows are read, and computed with here.

    Why sizes are asked of both: what costs nothing may be asked without end, and an engine that a product of tables
    has filled fails, and so suspends, whoever asks of private tables meanwhile.
    """
    check(query, (), dataset, bounds)
    if dataset.dialect == "duckdb":
        reads = {found: read(found, dataset) for found in query.exacts}
        text = post(query, bounds.released_groups + 1, {found: made.sql for found, made in reads.items()})
        assert text is not None
        tables = dict.fromkeys(table for made in reads.values() for table in made.tables)
        publics: tuple[PublicRead, ...] = (PublicRead(text, tuple(tables)),)
    else:
        publics = _publics(query, dataset, bounds)
    return Plan(
        dataset=dataset.name,
        policy_version=dataset.version,
        preparation=None if dataset.preparation is None else dataset.preparation.id,
        data_version=dataset.data_version,
        dialect=dataset.dialect,
        query=query,
        releases=(),
        loss=FREE,
        price=0,
        conversion_delta=0,
        notes=(),
        publics=publics,
    )


def _price(question: Question, price: Price, loss: Loss, conversion_delta: int) -> int:
    """Return the epsilon that a plan is said to cost, and that the policy's limit applies to: never less than it does.

    Why a price in rho is looked at again: the epsilons of several releases add up to more than the epsilon of their
    rhos' sum, and thresholds leave a Gaussian price less delta to be converted at.
    """
    stated = question.price_epsilon if question.price_epsilon is not None else price.epsilon or 0
    if price.rho is not None:
        whole = loss.epsilon if loss.epsilon is not None else epsilon_of_rho(loss.rho, conversion_delta)
        return max(stated, whole)
    if loss.epsilon is not None and loss.epsilon > (price.epsilon or 0):
        raise AssertionError("a plan costs more than was asked")
    return stated


def _conversion_delta(planned: tuple[PlannedRelease, ...], delta: int) -> int:
    """Return the delta at which a Gaussian price was converted: all of it, or half where thresholds take the other."""
    return delta - sum(release.threshold.delta for release in planned if release.threshold is not None)


def notes(planned: PlannedRelease, dialect: Dialect) -> list[str]:
    """Return what a reader of the answer has to know, from the plan alone."""
    found = []
    if planned.bounding.rows is not None:
        found.append(_counted(planned.bounding))
    if planned.clip is not None:
        found.append(clips.note(planned.clip))
    if planned.clipped is not None:
        found.append(counted.note())
    if planned.bounding.groups is not None:
        found.append(f"A unit is counted in at most {planned.bounding.groups} groups.")
    found += [_held(value) for value in planned.values if value.quantum is not None]
    found += [
        _listed(key)
        for key in (*planned.keys, *planned.within)
        if key.values is not None and (planned.public or key.given is not None) and not key.complete
    ]
    if planned.threshold is not None:
        step = next(m for m in planned.measures if m.name == planned.threshold.measure).unit
        at = float(planned.threshold.at * step)
        found.append(f"Groups appear only if their noisy number of units reaches {at:g}.")
        if planned.threshold.least > 1:
            fewest = float(planned.threshold.least * step)
            found.append(f"Groups of fewer than {math.ceil(fewest):,} units are left out beforehand, and none appears.")
    found += fed_notes(tuple(feeds(planned.release.source)), dialect)
    return list(dict.fromkeys([*found, *(note for part in planned.parts for note in _part_notes(part))]))


def _listed(key: Key) -> str:
    """Say which values of a key are counted."""
    if key.given is None:
        return f"{key.label}: only its public values are counted; rows with any other value are dropped."
    return (
        f"{key.label}: only the values that an earlier answer listed are counted; rows with any other are dropped, "
        "also with what is new in the data."
    )


def _counted(bounding: Bounding) -> str:
    """Say how many rows of a unit count, which the policy says whatever the rows are."""
    more = "no more are in the prepared copy" if bounding.held else "more are weighted down"
    return f"A unit's rows count for at most {bounding.rows} rows in all; {more}."


def _held(value: MeasuredValue) -> str:
    """Say to what a summed value is clipped, which the intervals know nothing of."""
    assert value.quantum is not None
    ends = (f"{float(end * value.quantum.step):.12g}" for end in (value.quantum.lower, value.quantum.upper))
    name = value.scalar.name.split("#")[0] if isinstance(value.scalar, Ref) else "A summed value"
    return f"{name} is held to [{', '.join(ends)}]; intervals cover the noise, not what that changes."


def _part_notes(part: PlannedRelease) -> list[str]:
    """Return what a reader has to know of quantiles and of counts of different values."""
    if part.distinct is not None:
        return [f"A unit adds at most {part.distinct.most} to a count of different values, over all groups together."]
    found = []
    if part.bounding.rows is not None:
        found.append(_counted(part.bounding))
    assert part.histogram is not None
    found.append("A quantile is one of public values, drawn so that few rows lie between; without rows it is any.")
    inside = [Fraction(abs(rank.offset), rank.denominator) * part.measures[0].unit for rank in part.histogram.ranks]
    extremes = ("MIN is a low", "MAX is a high")
    found += [
        f"{extremes[rank.numerator > 0]} quantile, about {float(rows):.3g} rows from the end."
        for rank, rows in zip(part.histogram.ranks, inside, strict=True)
        if rank.offset
    ]
    return found
