"""What is known of a scalar: kind, decimals, interval, public values, whether it may be NULL.

Each rule says why it is sound; a fact about data holds only where the bounded SQL or the catalogue enforces it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import assert_never

from gateway.policy.model import Value
from gateway.sql.algebra import Call, Constant, Kind, Ref, Scalar

Bounds = tuple[Fraction, Fraction]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a column: kind, decimals, declared bounds and values, whether it may be NULL.

    ``origin`` is the table and column that it is unchanged; ``owner`` whether it is the owner's own key;
    ``padded`` whether a left join puts NULL there for rows without a pair; ``size`` how many nodes it has written out.
    """

    kind: Kind
    scale: int | None = None
    bounds: Bounds | None = None
    values: tuple[Value, ...] | None = None
    nullable: bool = True
    origin: tuple[str, str] | None = None
    owner: bool = False
    padded: bool = False
    size: int = 1


def known(scalar: Scalar, columns: Mapping[str, Known]) -> Known:
    """Return what is known of an expression over columns of which that is known.

    Why the bounds are sound: an expression that picks one of several values lies within the union of their bounds, and
    the value is clamped to those bounds where it is measured.
    """
    match scalar:
        case Ref(name):
            return columns[name]
        case Constant(value, kind):
            exact = Fraction(value) if isinstance(value, int | Fraction) and not isinstance(value, bool) else None
            bounds = None if exact is None else (exact, exact)
            return Known(kind, _places(exact), bounds, None if value is None else (value,), nullable=value is None)
        case Call("case", args):
            parts = [*args[1:-1:2], args[-1]]
            return picked(parts, [known(part, columns) for part in parts])
        case Call("coalesce", args):
            each = [known(arg, columns) for arg in args]
            return replace(picked(args, each), nullable=all(found.nullable for found in each))
        case Call("to_float", (arg,)):
            return replace(known(arg, columns), kind="float", scale=None, origin=None, owner=False, values=None)
        case Call(_, _, kind):
            return Known(kind)
    assert_never(scalar)


def _places(value: Fraction | None) -> int | None:
    """Return how many decimals a number has, None for none or too many."""
    if value is None:
        return None
    return next((places for places in range(13) if (value * 10**places).denominator == 1), None)


def picked(parts: Sequence[Scalar], found: Sequence[Known]) -> Known:
    """Return what is known of a value that is one of several, of each of which that is known."""
    some = [part for part, scalar in zip(found, parts, strict=True) if not _is_null(scalar)]
    kind = next((part.kind for part in some if part.kind == "float"), some[0].kind if some else found[0].kind)
    bounds = [part.bounds for part in some]
    scales = [part.scale for part in some]
    values = [part.values for part in some]
    return Known(
        kind=kind,
        scale=None if any(scale is None for scale in scales) else max((s for s in scales if s is not None), default=0),
        bounds=None
        if not bounds or any(bound is None for bound in bounds)
        else (min(b[0] for b in bounds if b is not None), max(b[1] for b in bounds if b is not None)),
        values=None
        if not values or any(value is None for value in values)
        else tuple(dict.fromkeys(v for value in values if value is not None for v in value)),
        nullable=any(part.nullable for part in found),
    )


def _is_null(scalar: Scalar) -> bool:
    return isinstance(scalar, Constant) and scalar.value is None
