"""The bound on an owner's part where nobody declared one: candidates, and how a layout's vectors scale with them.

``SELECT COUNT(*) FROM orders`` without ``max_rows_per_unit``  →  every owner's rows counted for at most 1, 2, 3, 4, 6,
8, … 2^20 rows, all in one statement; one of these bounds is chosen by AboveThreshold, noise is drawn for that one alone

Why this is sound: how many owners lie above each candidate is a count that one owner changes by one at most, and all of
them in one direction, which is what AboveThreshold asks for (``mechanisms.above_threshold``). Whatever is chosen, the
integers for it are bounded by it for every owner (``writing.rewrite``), and the noise is that of the bound. The two
prices add up, since the second mechanism may depend on what the first one told. The integers for other candidates are
never read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, TypeAlias

from gateway.policy.model import Dialect
from gateway.sql.inference.facts import Facts
from gateway.sql.planning.layout import Layout, Vector
from gateway.sql.planning.plan import Block, Cell, Chooser, Clip, Measure, PlannedRelease, Search
from gateway.sql.refusals import refuse
from mechanisms.above_threshold import calibrate_search, price_search
from mechanisms.accounting import pure_of_rho, rho_of_laplace
from mechanisms.least_error import LONGEST, LeastError, calibrate_least, price_least
from mechanisms.loss import EPSILON_UNIT, FREE, RHO_UNIT, Loss
from mechanisms.noise import Mechanism, Noise, ScaleError, calibrate, norm, price
from mechanisms.race import BETA, Race, calibrate_race, price_race

Wish: TypeAlias = Literal["auto", "declared"] | Chooser
"""What a request says of how an owner is held to its part; ``auto`` leaves it to public facts."""

PART = 4
"""A quarter of the price is spent on choosing."""

WIDEST = (2**20, 2**16, 2**12, 2**8, 2**4)
"""The widest bound that is looked at, in rows of the largest value: narrower where a price affords no noise for it."""

FINEST = 2**10
"""How many times smaller than the largest row of a sum the narrowest bound is, at most."""

MOST_COLUMNS = 1_000
"""Integers of one statement; PostgreSQL's have at most 1,664 columns."""

ROWS_BITS = 37
WIDEST_BITS = 126
"""A product of a sum over 2^37 rows and a bound stays below 2^126."""

ROOTED: frozenset[Dialect] = frozenset({"duckdb", "postgres"})
"""Where the bounded SQL takes roots of whole numbers of 126 bits."""

OWN_BITS = 36
LENGTH_BITS = 27
"""The squares of what 2^36 rows of one owner add, each of a norm below 2^27, add up to less than 2^126."""

FEW = (
    " That is the least bound there is: there may be too few units to choose at this price, and much may be left out; "
    "pay more, or ask an administrator to declare max_rows_per_unit."
)

LOST = 0.1
"""What part of the bound an owner above it is taken to lose, where ways to release are compared."""


def wanted(found: Facts, wish: Wish, many: int) -> Chooser | None:
    """Return how the bound on an owner's rows is to be chosen, None where the declared one stands.

    It is chosen where a request says so, where nobody declared one, and where the declared one is above ``many`` rows:
    where two tables of forty rows an owner meet on the owner alone, 1,600 pairs are possible and a few dozen usual;
    noise for the product costs more than choosing does. All of that is known from text and policy.
    """
    rows = found.rows
    if wish == "declared":
        if rows is None:
            refuse("rows-unbounded", hint="An administrator declares max_rows_per_unit; or ask with bounding: auto.")
        return None
    if wish == "exponential" and (rows is None or rows > 2 ** (LONGEST - 1)):
        hint = f"It chooses among few bounds: up to {2 ** (LONGEST - 1)} declared rows. Ask for above_threshold."
        refuse("bounding-unavailable", hint=hint)
    if wish == "auto":
        return "above_threshold" if rows is None or rows > many else None
    return wish


@dataclass(frozen=True, slots=True)
class Candidates:
    """What is bounded, and the bounds that are looked at; see ``plan.Clip``."""

    norm: Literal["rows", "values", "rows_l2", "values_l2"]
    first: int
    steps: tuple[int, ...]
    unit: Fraction
    cells: int = 1


def candidates(
    layout: Layout, dialect: Dialect, widest: int, mechanism: Mechanism, groups: int, by: Chooser
) -> Candidates:
    """Return the bounds that are looked at for a layout whose vectors are those of one row an owner.

    A sum alone is bounded by the owner's own values, which need not be as large as their bounds allow; everything else
    by rows. SQLite's 64 bits do not compare sums. For Gaussian noise a vector over several numbers or ``groups`` is
    bounded by its own length: an owner of n rows in as many groups is as long as one of the root of n rows in one.
    """
    found = _candidates(layout, dialect, widest, mechanism, groups)
    if by == "above_threshold":
        return found
    if by == "r2t":
        return replace(found, steps=tuple(2**place for place in range(found.steps[-1].bit_length())))
    # Few bounds, each twice the one before, up to the same last one.
    widened = 1 if found.norm == "rows" else max(-(-found.steps[-1] // 2 ** (LONGEST - 1)), 1)
    most = found.steps[-1] // widened
    steps = {*(2**place for place in range(most.bit_length())), *([most] if found.norm == "rows" else [])}
    return replace(found, first=found.first * widened, steps=tuple(sorted(steps)))


def _candidates(layout: Layout, dialect: Dialect, widest: int, mechanism: Mechanism, groups: int) -> Candidates:
    scaled = [vector for vector in layout.vectors if scales(vector)]
    measures = [measure for vector in scaled for measure in vector.measures]
    if mechanism == "gaussian" and dialect in ROOTED and len(scaled) == 1 and len(measures) * groups > 1:
        found = _lengths(scaled[0], widest, groups)
        if found is not None:
            return found
    if len(measures) == 1 and measures[0].kind == "sum" and dialect != "sqlite":
        [measure] = measures
        assert isinstance(measure.cell, Cell)
        first = max(abs(measure.cell.multiplier), measure.linf // FINEST, 1)
        most = min(measure.linf * widest, 2 ** (WIDEST_BITS - ROWS_BITS - measure.linf.bit_length()))
        return Candidates("values", first, _steps(max(most // first, 1), 1), measure.unit)
    # The last one is what is declared, so that nobody who keeps to it counts for less.
    return Candidates("rows", 1, tuple(sorted({*_steps(widest, len(measures)), widest})), Fraction(1))


def _lengths(vector: Vector, widest: int, groups: int) -> Candidates | None:
    """Return the bounds on a vector's length that are looked at, None where squares would be beyond 128 bits.

    Where rows are counted, the first is about that of one row; else it may be far shorter than the bounds allow.
    """
    row = math.ceil(norm(vector.l2_squared))
    if row.bit_length() > LENGTH_BITS:
        return None
    counted = [measure.linf for measure in vector.measures if measure.kind in ("rows", "values")]
    first = min(counted, default=max(row // FINEST, 1))
    most = min(row * widest, 2 ** (WIDEST_BITS - OWN_BITS - row.bit_length()))
    steps, cells = _steps(max(most // first, 1), len(vector.measures)), len(vector.measures) * groups
    if not counted and len(vector.measures) == 1:
        return Candidates("values_l2", first, steps, vector.measures[0].unit, cells)
    return Candidates("rows_l2", first, steps, Fraction(1, first if counted else row), cells)


def scales(vector: Vector) -> bool:
    """Whether a vector is of what rows add; the one that counts owners is bounded without a clip."""
    return all(measure.cell is not None for measure in vector.measures)


def _steps(most: int, measures: int) -> tuple[int, ...]:
    """Return 1, 2, 3, 4, 6, 8, 12, … up to ``most``; powers of two alone where a statement would be too wide."""
    powers = [2**exponent for exponent in range(most.bit_length())]
    fine = sorted({*powers, *(3 * power for power in powers if 3 * power <= most)})
    steps = fine if (measures + 1) * len(fine) <= MOST_COLUMNS else powers
    if (measures + 1) * len(steps) > MOST_COLUMNS:
        refuse("sql-too-deep", hint="Ask for fewer numbers at once, or an administrator declares max_rows_per_unit.")
    return tuple(steps)


@dataclass(frozen=True, slots=True)
class Searched:
    """Candidates with the search among them, its loss, and what it leaves of the price."""

    candidates: Candidates
    search: Search
    loss: Loss
    left: int


def searched(found: Candidates, mechanism: Mechanism, total: int, by: Chooser, worth: int, row: int) -> Searched:
    """Return the search at its part of a price (epsilon, or rho for Gaussian noise), or raise ``ScaleError``.

    ``worth`` is how many numbers there are in all, groups and vectors: so many times the noise of one is what a bound
    of the least error has to be weighed with. ``row`` is the L1 of one row: a race has no price of its own, but each
    bound's draw has.
    """
    if by == "r2t":
        race = calibrate_race(found.first * (row if found.norm == "rows" else 1), len(found.steps), total)
        return Searched(found, race, FREE, total)
    part = total // PART
    search: Search
    if by == "exponential":
        rest = max(total - part, 1)
        noise = EPSILON_UNIT / rest if mechanism == "laplace" else math.sqrt(RHO_UNIT / (2 * rest))
        weight = math.ceil(noise * worth)
        search = calibrate_least(found.steps, weight, part, "epsilon" if mechanism == "laplace" else "rho")
        loss = price_least(search)
    else:
        search = calibrate_search(len(found.steps), part if mechanism == "laplace" else pure_of_rho(part))
        loss = price_search(search)
    spent = loss.epsilon if mechanism == "laplace" else loss.rho
    assert spent is not None
    return Searched(found, search, loss, total - spent)


def mechanism(search: Search) -> Literal["above_threshold", "exponential", "laplace"]:
    """Return the mechanism that a search is."""
    if isinstance(search, Race):
        return "laplace"
    return "exponential" if isinstance(search, LeastError) else "above_threshold"


def scale(search: Search) -> float:
    """Return the scale of a search's noise, in units or in those of its errors."""
    return search.selection.scale if isinstance(search, LeastError) else search.noise.scale


def noises(
    vector: Vector, mechanism: Mechanism, share: int, found: Candidates, search: Search
) -> tuple[Noise, ...] | None:
    """Return the noise of a vector at each bound, calibrated for its share at each odd multiple of the first.

    Why it may be doubled: b at sensitivity s and 2^k b at 2^k s are the same quotient in floating point too, and the
    price is a function of it; with other factors the product would be rounded, and its price might be above the share.
    """
    if not scales(vector):
        return None
    if isinstance(search, Race):
        return tuple(map(search.at, range(len(found.steps))))
    once = vector.l1 if mechanism == "laplace" else norm(vector.l2_squared)
    odds = {step: step // (step & -step) for step in found.steps}
    of = {odd: calibrate(mechanism, found.first * odd * once, share) for odd in set(odds.values())}
    return tuple(Noise(mechanism, of[odd].scale * (step // odd)) for step, odd in odds.items())


def bounded(vector: Vector, found: Candidates) -> Vector:
    """Return a layout's vector with its bounds for one unit of the norm: one row, or one of the sum's integers.

    Why the L1 of a length is bounded: of so many numbers it is at most their root times the L2.
    """
    if found.norm == "rows" or not scales(vector):
        return vector
    if found.norm != "values":
        l1 = math.ceil(norm(found.cells))
        measures = tuple(replace(measure, l1=l1, l2_squared=1, linf=1) for measure in vector.measures)
        return Vector(measures, l1, 1, 1)
    [measure] = vector.measures
    return Vector((replace(measure, l1=1, l2_squared=1, linf=1),), 1, 1, 1)


def block(vector: Vector, own: Sequence[Noise], mechanism: Mechanism, share: int, searched: Searched) -> Block:
    """Return the block of the largest candidate, given the noise of each.

    Its loss is the whole share, which no candidate exceeds; its noise is checked by OpenDP's map here, where a failure
    is still a refusal.
    """
    found, noise = searched.candidates, own[-1]
    most = found.first * found.steps[-1]

    def scaled(measure: Measure) -> Measure:
        return replace(measure, l1=measure.l1 * most, l2_squared=measure.l2_squared * most**2, linf=measure.linf * most)

    l1, l2_squared, linf = vector.l1 * most, vector.l2_squared * most**2, vector.linf * most
    paid = price(noise, l1, most * norm(vector.l2_squared), linf)
    loss = Loss(share, rho_of_laplace(share, l1, linf)) if mechanism == "laplace" else Loss(None, share)
    if isinstance(searched.search, Race):
        loss = price_race(searched.search)
        return Block(tuple(map(scaled, vector.measures)), l1, l2_squared, linf, noise, loss)
    if (paid.epsilon or 0) > (loss.epsilon or 0) or paid.rho > loss.rho:
        raise ScaleError("a scaled noise costs more than its share")
    return Block(tuple(map(scaled, vector.measures)), l1, l2_squared, linf, noise, loss)


def log_bias(clip: Clip, blocks: Sequence[Block], groups: int) -> float:
    """Return by how much, as a logarithm, clipping adds to the noise of a block, spread over so many groups.

    About ``level`` owners are above the bound that is chosen.
    """
    scaled = [found for found, own in zip(blocks, clip.noises, strict=True) if own is not None]
    lost = clip.search.level * LOST / groups
    return sum(math.log1p(lost * found.linf / (3 * found.noise.scale)) for found in scaled) / len(scaled)


def columns(planned: PlannedRelease) -> tuple[Measure, ...]:
    """Return all integers of a statement with their bounds: those of every candidate, where a clip is chosen."""
    clip = planned.clip
    if clip is None:
        return planned.measures if planned.clipped is None else (*planned.measures, *planned.clipped.measures)
    found: list[Measure] = []
    for number, own in enumerate(planned.blocks):
        if clip.noises[number] is None:
            found += own.measures
            continue
        for place in range(len(clip.steps)):
            scaled = clip.block(own, number, place).measures
            found += [replace(measure, name=column(measure.name, place)) for measure in scaled]
    counts = (Measure(f"c{place}", "units", None, Fraction(1), 1, 1, 1) for place in range(len(clip.steps)))
    return (*found, *counts)


def column(measure: str, place: int) -> str:
    """Return what a measure is called for a candidate."""
    return f"{measure}_{place}"


_OF = {
    "rows": "rows",
    "values": "in the sum of all its values",
    "rows_l2": "rows, as the root of the sum of its groups' squares",
    "values_l2": "in value, as the root of the sum of its groups' squares",
}


def told(clip: Clip, place: int) -> str:
    """Say to what an answer was clipped: a function of what was released."""
    bound = float(clip.bounds[place] * clip.unit)
    what = "row" if bound == 1 and clip.norm == "rows" else _OF[clip.norm]
    if isinstance(clip.search, Race):
        return (
            f"A unit counts for at most {bound:,g} {what}: there R2T found the most. With {100 - 50 * BETA:g} % the "
            "answer is not above the exact one."
        )
    said = f"A unit counts for at most {bound:,g} {what}, chosen privately for {100 // PART} % of the price."
    return said + FEW * (place == 0)


def note(clip: Clip) -> str:
    """Say beforehand how the bound will come about."""
    ends = [float(bound * clip.unit) for bound in (clip.bounds[0], clip.bounds[-1])]
    if isinstance(clip.search, Race):
        return (
            f"R2T: what is counted if a unit counts for at most so much is drawn for {clip.search.candidates} bounds "
            f"between {ends[0]:,g} and {ends[1]:,g} {_OF[clip.norm]}, less what the noise of each may add; the largest "
            "is told."
        )
    return (
        f"The most that a unit counts for, between {ends[0]:,g} and {ends[1]:,g} {_OF[clip.norm]}, is chosen privately "
        f"for {100 // PART} % of the price: the least that about {clip.search.level} units or fewer exceed, who are "
        "weighted down."
    )
