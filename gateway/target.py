"""A price found for an error: the least epsilon at which the columns that a request names are as close as it asks.

The error of a sum or a count is a matter of its noise alone, so that its price is found from text and policy, free. Of
what hangs on the values themselves (a part of a value, a mean, a ratio) it is found in two charges: a first look at a
small price, and from its noisy values the price of the answer.

Why this is sound: the second price is a function of what the first look released, and losses add up when each is
chosen by what was released before (``mechanisms.accounting``); both are ordinary requests, charged before they run.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NoReturn

from budget.records import Record
from gateway import wire
from gateway.errors import RequestInvalid, SqlRefused
from gateway.sql.planning.derived import ONE, Weights, form, noises, terms
from gateway.sql.planning.errors import Terms
from gateway.sql.planning.groups import every
from gateway.sql.planning.plan import Linear, Plan, PlannedRelease
from gateway.sql.tables import OutputColumn
from mechanisms.intervals import MAX_CONFIDENCE, half_width
from mechanisms.loss import EPSILON_UNIT, MAX_EPSILON, epsilon_units, plain
from mechanisms.noise import Noise

FIRST = 20
"""What a first look costs: this part of what the whole request may cost."""

_STEPS = 24
_CLOSE = 1.002  # how far the price may be above the least
_DIGITS = 4

Named = Literal["laplace", "gaussian"]


class Targeted(wire.QueryRequest):
    """A request whose price was found for its target; ``sent`` is what the client sent, which a key is bound to."""

    sent: wire.QueryRequest


def check(request: wire.QueryRequest) -> wire.ErrorTarget:
    """Return the target of a request, or refuse one that says too much or too little."""
    target = request.error_target
    assert target is not None
    if request.epsilon is not None or request.rho is not None:
        raise RequestInvalid("price-conflict", "A price and a target are stated.", hint="State one of them.")
    stated = [part for part in (target.within, target.relative) if part is not None]
    if len(stated) != 1 or not 0 < stated[0] < math.inf or not 0 < target.confidence <= MAX_CONFIDENCE:
        raise RequestInvalid(
            "target-invalid",
            "A target is one positive number, within or relative, and a confidence between 0 and 1.",
            hint='{"within": 50} is 50 either way, {"relative": 0.02} is 2 %.',
        )
    return target


def priced(request: wire.QueryRequest, epsilon: int, mechanism: Named, confidence: float | None = None) -> Targeted:
    """Return the request at a price in units of 1e-9, with intervals of that confidence, else of its own."""
    found = epsilon / EPSILON_UNIT
    if epsilon_units(found, "down") < epsilon:
        found = math.nextafter(found, math.inf)
    fields = {name: getattr(request, name) for name in wire.QueryRequest.model_fields}
    fields |= {"epsilon": found, "mechanism": mechanism, "confidence": confidence or request.confidence}
    return Targeted(**(fields | {"error_target": None}), sent=request)


def named(record: Record) -> Named:
    """Return the mechanism that a charge was made for."""
    return "gaussian" if record.charge.loss.epsilon is None else "laplace"


def first_key(key: str | None) -> str | None:
    """Return the idempotency key of a first look, which is no client's own."""
    return None if key is None else f"first-look:{hashlib.sha256(key.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Known:
    """A column whose error is a matter of noise alone: its terms (``derived.terms``), and in how many groups."""

    terms: Terms
    groups: int

    def error(self, laws: Mapping[str, Noise], confidence: float) -> float:
        """Return how far off it is at most in all groups together."""
        each = min(confidence ** (1 / max(self.groups, 1)), MAX_CONFIDENCE)
        return half_width([(float(weight), laws[name]) for name, weight in self.terms], each)


def columns(plan: Plan, named: str | None) -> list[OutputColumn]:
    """Return the columns that a target is about: the one that it names, or all that noise is in; or refuse."""
    noisy = [column for column in plan.query.columns if column.role in ("noisy", "derived")]
    if named is not None:
        noisy = [column for column in noisy if column.name.lower() == named.lower()]
    if not noisy or not plan.releases:
        raise RequestInvalid(
            "target-unknown", "The target names no column that noise is in.", hint="Name one as the answer calls it."
        )
    return noisy


def known(plan: Plan, found: Iterable[OutputColumn]) -> list[Known] | None:
    """Return what the errors of columns are made of, None where those of one hang on the values."""
    made: list[Known] = []
    for column in found:
        forms = _sums(plan, column)
        if forms is None:
            return None
        made += [
            Known(terms(above, plan.releases), max(_groups(plan.releases[place]) for place, _, _ in above))
            for above in forms
        ]
    return made


def _sums(plan: Plan, column: OutputColumn) -> list[Weights] | None:
    """Return the weighted sums of estimates that a column is, a list since a row of a union is one of several."""
    if column.role == "derived":
        found = form(plan.query, plan.releases, column)
        return None if found is None or found.divided else [{k: w for k, w in found.above.items() if k != ONE}]
    for place, name in column.sources:
        planned = plan.releases[place]
        # A clip that is chosen decides the noise.
        if planned.clip is not None or not isinstance(dict(planned.estimators)[name], Linear):
            return None
    return [{(place, name, ""): Fraction(1)} for place, name in column.sources]


def _groups(planned: PlannedRelease) -> int:
    """Return the number of public groups; those of private keys are not known, and the target is of each alone."""
    return len(every(planned.keys, planned.joint)) if planned.public else 1


@dataclass(frozen=True, slots=True)
class Search:
    """A search for the least price: ``plan`` makes the plan of a price and a mechanism, or refuses."""

    plan: Callable[[int, Named], Plan]
    mechanisms: tuple[Named, ...]
    most: int

    def within(self, named: str | None, width: float, confidence: float) -> tuple[int, Named]:
        """Return the price and the mechanism that reach a width in all columns, or refuse where ``most`` does not.

        Of several mechanisms the one of least rho: where Gaussian noise is open unasked, all that pay count by rho.
        """
        reached = [(self._least(mechanism, named, width, confidence), mechanism) for mechanism in self.mechanisms]
        possible: list[tuple[int, int, Named]] = [
            (self.plan(*found).loss.rho, *found) for found in reached if found[0] <= self.most
        ]
        if not possible:
            unreachable(min(epsilon for epsilon, _ in reached), self.most)
        _, epsilon, mechanism = min(possible, key=lambda found: found[0])
        return epsilon, mechanism

    def _error(self, epsilon: int, mechanism: Named, named: str | None, confidence: float) -> float:
        try:
            plan = self.plan(epsilon, mechanism)
        except SqlRefused as refusal:
            if refusal.code == "scale-too-large":
                return math.inf
            raise
        found = known(plan, columns(plan, named))
        assert found is not None
        laws = noises(plan.releases)
        return max(each.error(laws, confidence) for each in found)

    def _least(self, mechanism: Named, named: str | None, width: float, confidence: float) -> int:
        """Return the least price, nearly, whose error is at most ``width``; above ``MAX_EPSILON`` there is none.

        The error falls with the price, about in proportion, which gives the next guess; every other one halves.
        """
        low: int = 0
        high, guess = MAX_EPSILON + 1, self.most
        for step in range(_STEPS):
            found = self._error(guess, mechanism, named, confidence)
            low, high = (low, guess) if found <= width else (guess, high)
            if high <= max(low * _CLOSE, low + 1):
                break
            if step % 2 and low and high <= MAX_EPSILON:
                guess = (low + high) // 2
            else:
                guess = math.ceil(guess * min(found / width * 1.001, 1e3))
            guess = min(max(guess, low + 1), high - 1)
        return _rounded(high) if high <= MAX_EPSILON else high


def _rounded(epsilon: int) -> int:
    """Return a price rounded up to a few digits."""
    grain: int = 10 ** max(len(str(epsilon)) - _DIGITS, 0)
    return -(-epsilon // grain) * grain


def unreachable(epsilon: int, most: int) -> NoReturn:
    """Refuse a target that one request cannot pay for."""
    takes = "more than any price" if epsilon >= MAX_EPSILON else f"about epsilon {plain(epsilon, EPSILON_UNIT)}"
    raise RequestInvalid(
        "target-unreachable",
        f"That takes {takes}; one request may cost {plain(most, EPSILON_UNIT)} now.",
        hint="Ask for less: a wider target, fewer columns, or larger groups.",
    )


@dataclass(frozen=True, slots=True)
class Look:
    """What a first look says: how many times its price reaches the target, and the width that it has to reach.

    ``beyond`` counts the values that the target is out of reach of; where it is of all, ``times`` is inf.
    """

    times: float
    width: float
    beyond: int


def look(response: wire.QueryResponse, target: wire.ErrorTarget, found: Sequence[OutputColumn], most: float) -> Look:
    """Read a first look, of which at most so many times the price may follow.

    Intervals shrink about in proportion to the price. A relative target is one of the least that the value may be by
    its interval, so that the answer meets it also where the first look was too high. Of a group next to nothing no
    price reaches it; the others need not go without.
    """
    names = {column.name for column in found}
    widths: list[tuple[float, float]] = []
    for place, column in enumerate(response.columns):
        if column.name in names:
            intervals = response.intervals.get(column.name, [None] * len(response.rows))
            values = [row[place] for row in response.rows]
            widths += [_needed(value, interval, target) for value, interval in zip(values, intervals, strict=True)]
    reached = [(times, width) for times, width in widths if times <= most]
    beyond = len(widths) - len(reached)
    if not reached:
        return Look(math.inf, 0.0, beyond)
    return Look(max(times for times, _ in reached), min(width for _, width in reached), beyond)


def _needed(
    value: wire.JsonValue, interval: tuple[float, float] | None, target: wire.ErrorTarget
) -> tuple[float, float]:
    """Return how many times the price one value needs, and the width that the target is of it."""
    if interval is None or value is None:
        return math.inf, 0.0
    low, high = interval
    size = min(abs(low), abs(high)) if low * high > 0 else 0.0
    width, half = target.within or (target.relative or 0) * size, (high - low) / 2
    return (half / width if width > 0 else math.inf if half > 0 else 0.0), width
