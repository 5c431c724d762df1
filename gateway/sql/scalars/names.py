"""What an arm of lowering has at hand: what names mean where an expression stands, and how its parts are lowered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias, runtime_checkable

from sqlglot import exp

from gateway.sql.algebra import Call, Constant, Kind, Ref, Scalar
from gateway.sql.functions import FUNCTIONS, Level
from gateway.sql.inference.known import Known
from gateway.sql.refusals import refuse
from gateway.sql.scalars import constants
from gateway.sql.scalars.constants import NUMERIC


class Names(Protocol):
    """What an expression may refer to at the place where it stands."""

    @property
    def level(self) -> Level:
        """Whether this is over rows or over noisy tables."""

    def column(self, node: exp.Column) -> Scalar:
        """Return what a column name means here, or refuse."""

    def whole(self, node: exp.Expression) -> Scalar | None:
        """Return what a whole expression means here (an aggregate, a group key), None if it has to be taken apart."""

    def scale(self, ref: Ref) -> int | None:
        """Return the decimals of an integer or decimal column, None where they are not fixed."""


@runtime_checkable
class RowNames(Names, Protocol):
    """What an expression over rows may refer to."""

    def known(self, found: Scalar) -> Known:
        """Return what is known of an expression over the columns in reach."""


def about(found: Scalar, names: Names) -> Known:
    """Return what is known of an expression; over noisy tables its kind, since nothing more is needed there."""
    if names.level == "post":
        return Known(found.kind)
    assert isinstance(names, RowNames)
    return names.known(found)


Lower: TypeAlias = Callable[[exp.Expression], Scalar]
"""Lowers a part of an expression, under the same names and one level deeper."""

Arm: TypeAlias = Callable[[exp.Expression, Names, Lower], Scalar]
"""Returns what a node of one type means, or refuses."""


def call(function: str, args: tuple[Scalar, ...], kind: Kind, node: exp.Expression, names: Names) -> Call:
    """Return a function applied to arguments; refuse one that may not stand here."""
    if names.level not in FUNCTIONS[function].levels:
        where = "aggregates" if names.level == "post" else "rows"
        refuse("not-supported", node, message=f"This cannot be computed from {where}.")
    return Call(function, args, kind)


def number(found: Scalar, node: exp.Expression) -> Scalar:
    """Return a number as a double, or refuse what is none."""
    if found.kind not in NUMERIC:
        refuse("type-mismatch", node, message="A number is needed here.")
    if isinstance(found, Constant):
        return constants.as_kind(found, "float", node)
    return found if found.kind == "float" else Call("to_float", (found,), "float")


def is_null(found: Scalar) -> bool:
    """Whether a scalar is the constant NULL."""
    return isinstance(found, Constant) and found.value is None


def literal(
    node: exp.Expression | None, lower: Lower, what: str, least: int, most: int, hint: str | None = None
) -> int:
    """Return a whole number that is written out between two ends, or refuse."""
    found = None if node is None else lower(node)
    value = found.value if isinstance(found, Constant) else None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        refuse(
            "constant-invalid",
            node,
            message=f"{what} is a whole number from {least} to {most}, written out.",
            hint=hint,
        )
    return value
