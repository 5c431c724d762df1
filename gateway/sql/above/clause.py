"""GoogleSQL's privacy clause: what a SELECT states of its own price, and what that makes of the request's.

``SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = 0.5, max_groups_contributed = 3) …``
→  ``Terms(epsilon=500000000, groups=3)`` on the release of that SELECT

Why this is sound: a clause can only say how a price is divided, how many groups a unit reaches (which the bounded SQL
enforces) and that less of the policy's delta is used; it names the unit, and never chooses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from sqlglot import exp

from gateway.errors import RequestInvalid
from gateway.policy.model import Dataset
from gateway.sql.algebra import Constant, Ref, Release, Terms
from gateway.sql.inference.facts import Facts
from gateway.sql.planning.choose import Price
from gateway.sql.reading.grammar import Privacy
from gateway.sql.refusals import refuse
from gateway.sql.scalars.resolve import RowNames, only
from gateway.sql.scalars.scalar import scalar
from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT, AmountError, delta_units, epsilon_units, plain

OPTIONS = ("epsilon", "delta", "max_groups_contributed", "privacy_unit_column")
MOST_GROUPS = 2**31


def clause(select: exp.Select) -> Privacy | None:
    """Return a SELECT's privacy clause, None if it has none."""
    found = select.args.get("hint")
    return found if type(found) is Privacy else None


def terms(select: exp.Select, rows: RowNames, about: Facts) -> Terms | None:
    """Return what the privacy clause of a frontier states, None if it has none or an empty one."""
    found = clause(select)
    if found is None:
        return None
    only(found, "expressions")
    stated: dict[str, exp.Expression] = {}
    for option in found.expressions:
        only(option, "this", "expression")
        only(option.this, "this", "quoted")
        name = str(option.this.name).lower()
        if name not in OPTIONS:
            refuse("privacy-option-unknown", option, hint=f"Options are {', '.join(OPTIONS)}.")
        if name in stated:
            refuse("privacy-option-invalid", option, message="An option of the privacy clause is stated twice.")
        stated[name] = option.expression
    if "privacy_unit_column" in stated:
        _unit(stated["privacy_unit_column"], rows, about)
    return Terms(
        _amount(stated.get("epsilon"), rows, "epsilon"),
        _amount(stated.get("delta"), rows, "delta"),
        _groups(stated.get("max_groups_contributed"), rows),
    )


def _unit(node: exp.Expression, rows: RowNames, about: Facts) -> None:
    """Refuse a column that does not hold the owner of each row."""
    if type(node) is not exp.Column:
        refuse("privacy-unit-differs", node)
    found = rows.column(node)
    known = about.columns.get(found.name) if isinstance(found, Ref) else None
    if known is None or not known.owner:
        owners = sorted({f"{f.origin[0]}.{f.origin[1]}" for f in about.columns.values() if f.owner and f.origin})
        hint = f"Here it is {owners[0]}." if owners else "Leave it out: the policy says who owns a row."
        refuse("privacy-unit-differs", node, hint=hint)


def _amount(node: exp.Expression | None, rows: RowNames, name: str) -> int | None:
    """Return an epsilon or a delta in its units, rounded down."""
    if node is None:
        return None
    value = _number(node, rows)
    try:
        units = epsilon_units(value, "down") if name == "epsilon" else delta_units(value, "down")
    except AmountError:
        units = -1
    if units < 0 or (name == "epsilon" and units == 0):
        limits = "from 1e-9 to 1e6" if name == "epsilon" else "from 0 to 1"
        refuse("privacy-option-invalid", node, hint=f"The {name} of a privacy clause lies {limits}.")
    return units


def _groups(node: exp.Expression | None, rows: RowNames) -> int | None:
    if node is None:
        return None
    value = _number(node, rows)
    if value.denominator != 1 or not 1 <= value < MOST_GROUPS:
        refuse("privacy-option-invalid", node, hint="max_groups_contributed is a whole number, at least 1.")
    return int(value)


def _number(node: exp.Expression, rows: RowNames) -> Fraction:
    found = scalar(node, rows)
    if not isinstance(found, Constant) or isinstance(found.value, bool) or not isinstance(found.value, int | Fraction):
        refuse("privacy-option-invalid", node, hint="Write a number.")
    return Fraction(found.value)


def divided(found: Terms | None, count: int) -> tuple[Terms | None, ...]:
    """Return the terms of the releases that one SELECT makes: its epsilon and delta divided, nothing lost."""
    if found is None:
        return (None,) * count
    epsilons, deltas = _parts(found.epsilon, count), _parts(found.delta, count)
    return tuple(Terms(epsilons[at], deltas[at], found.groups) for at in range(count))


def _parts(units: int | None, count: int) -> tuple[int | None, ...]:
    if units is None:
        return (None,) * count
    share, rest = divmod(units, count)
    return (share + rest, *((share,) * (count - 1)))


def priced(cost: Price, releases: Sequence[Release], dataset: Dataset, groups: int | None) -> Price:
    """Return the price of a request: its own, or the sum of its clauses; refuse none, and two that differ.

    A request that states none has ``cost.epsilon`` and ``cost.rho`` of None; ``groups`` are its
    max_groups_contributed.
    """
    stated = [release.terms or Terms(None, None, None) for release in releases]
    epsilon = _sum([found.epsilon for found in stated], "epsilon")
    delta = _sum([found.delta for found in stated], "delta")
    if epsilon is None and cost.epsilon is None and cost.rho is None:
        raise RequestInvalid("price-missing", "Say what the request may cost.", hint='Add "epsilon": 0.1, for example.')
    if epsilon is not None and (cost.rho is not None or cost.epsilon not in (None, epsilon)):
        raise RequestInvalid(
            "price-conflict",
            f"The privacy clauses state epsilon {plain(epsilon, EPSILON_UNIT)} in all, the request another price.",
            hint="State the price in one place.",
        )
    if groups is not None and any(found.groups not in (None, groups) for found in stated):
        raise RequestInvalid("price-conflict", "Clause and request state different max_groups_contributed.")
    if delta is not None and delta > cost.delta:
        raise RequestInvalid(
            "price-too-high",
            f"One request on dataset {dataset.name} has at most delta {plain(cost.delta, DELTA_UNIT)}.",
        )
    return replace(
        cost,
        epsilon=cost.epsilon if epsilon is None else epsilon,
        delta=cost.delta if delta is None else delta,
    )


def _sum(stated: list[int | None], name: str) -> int | None:
    """Return what all clauses state together, None if none states it; refuse some that do and some that do not."""
    said = [units for units in stated if units is not None]
    if said and len(said) < len(stated):
        raise RequestInvalid(
            "price-missing",
            f"One SELECT states its {name}, and another does not.",
            hint=f"State {name} in the clause of every SELECT that aggregates people, or in none.",
        )
    return sum(said) if said else None
