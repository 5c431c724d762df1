"""Declared columns given the type of their column: bounds and values as exact, canonical Python values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Final

from gateway.policy.document import ColumnSpec, Problem, exact
from gateway.policy.model import Column, Physical, Type, Value

MAX_WHOLE_DIGITS = 38
MAX_VALUE_CHARACTERS = 1_000

ACCEPTED: Final[dict[Type, frozenset[str]]] = {
    "integer": frozenset({"integer"}),
    "number": frozenset({"integer", "decimal", "float"}),
    "text": frozenset({"text"}),
    "boolean": frozenset({"boolean"}),
    "date": frozenset({"date"}),
    "timestamp": frozenset({"timestamp"}),
}

_NATURAL: Final[dict[str, Type]] = {
    "integer": "integer",
    "decimal": "number",
    "float": "number",
    "text": "text",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp",
}


class _ScalarError(ValueError):
    """A scalar that is no value of its column's type, in words for the admin."""


def undeclared(name: str, physical: Physical, *, not_null: bool) -> Column:
    """Return a column that the policy does not describe: of its natural type, without bounds or values."""
    return Column(name, _NATURAL[physical.kind], physical, nullable=not not_null)


def declared(
    name: str, spec: ColumnSpec, physical: Physical, *, not_null: bool, path: str
) -> tuple[Column | None, Sequence[Problem]]:
    """Return a declared column and what is wrong with it (then None)."""
    if physical.kind not in ACCEPTED[spec.type]:
        return None, [Problem(f"{path}.type", f"declared {spec.type}, but stored as {physical.name}")]
    problems: list[Problem] = []
    lower, upper = _bounds(spec, path, problems)
    values = _values(spec, physical, path, problems)
    problems += [
        Problem(f"{path}.values", f"{_shown(value)} lies outside the declared bounds")
        for value in values or ()
        if lower is not None and upper is not None and not lower <= value <= upper  # type: ignore[operator]
    ]
    nullable = spec.nullable if spec.nullable is not None else not not_null
    column = Column(name, spec.type, physical, lower, upper, values, nullable)
    return (None if problems else column), problems


def _bounds(
    spec: ColumnSpec, path: str, problems: list[Problem]
) -> tuple[Fraction | date | datetime | None, Fraction | date | datetime | None]:
    if spec.lower is None and spec.upper is None:
        return None, None
    if spec.type in ("text", "boolean"):
        problems.append(Problem(path, f"a {spec.type} column has values, not bounds"))
        return None, None
    found: list[Fraction | date | datetime | None] = []
    for side, other in (("lower", "upper"), ("upper", "lower")):
        scalar = getattr(spec, side)
        if scalar is None:
            problems.append(Problem(f"{path}.{side}", f"missing beside {other}: a column has both bounds or none"))
            continue
        try:
            value = typed(scalar, spec.type)
        except _ScalarError as wrong:
            problems.append(Problem(f"{path}.{side}", str(wrong)))
            continue
        found.append(Fraction(value) if isinstance(value, int | Fraction) else value)  # type: ignore[arg-type]
    if len(found) < 2:
        return None, None
    lower, upper = found
    if lower > upper:  # type: ignore[operator]
        problems.append(Problem(path, "the bounds are upside down: lower is above upper"))
        return None, None
    return lower, upper


def _values(spec: ColumnSpec, physical: Physical, path: str, problems: list[Problem]) -> tuple[Value, ...] | None:
    if spec.values is None:
        return None
    if physical.kind == "float":
        problems.append(Problem(f"{path}.values", f"{physical.name} has no exact values: declare bounds instead"))
        return None
    found: dict[Value, None] = {}
    for index, scalar in enumerate(spec.values):
        try:
            value = typed(scalar, spec.type)
            if isinstance(value, Fraction):
                _held(value, physical)
            if value in found:
                raise _ScalarError("stands here twice")
            found[value] = None
        except _ScalarError as wrong:
            problems.append(Problem(f"{path}.values.{index}", str(wrong)))
    return tuple(found)


def typed(scalar: object, kind: Type) -> Value:
    """Return a scalar of the policy file as a canonical value of a type; the inner error says why it is none."""
    match kind:
        case "integer":
            number = _number(scalar)
            if number.denominator != 1:
                raise _ScalarError("an integer is needed here")
            return int(number)
        case "number":
            return _number(scalar)
        case "boolean":
            if not isinstance(scalar, bool):
                raise _ScalarError("true or false is needed here")
            return scalar
        case "text":
            return _text(scalar)
        case "date" | "timestamp":
            return _moment(scalar, kind)


def _number(scalar: object) -> Fraction:
    number = exact(scalar)
    if number is None:
        raise _ScalarError("a finite number is needed here")
    fraction = Fraction(number)
    if abs(fraction) >= 10**MAX_WHOLE_DIGITS:
        raise _ScalarError(f"beyond {MAX_WHOLE_DIGITS} digits")
    return fraction


def _text(scalar: object) -> str:
    if not isinstance(scalar, str):
        raise _ScalarError("text is needed here (quote it)")
    if len(scalar) > MAX_VALUE_CHARACTERS:
        raise _ScalarError(f"longer than {MAX_VALUE_CHARACTERS} characters")
    try:
        scalar.encode()
    except UnicodeEncodeError:
        raise _ScalarError("not valid Unicode text") from None
    if "\0" in scalar:
        raise _ScalarError("no database text holds the character NUL")
    return scalar


def _moment(scalar: object, kind: Type) -> date | datetime:
    if isinstance(scalar, str):
        try:
            scalar = datetime.fromisoformat(scalar) if kind == "timestamp" else date.fromisoformat(scalar)
        except ValueError:
            raise _ScalarError(f"a {kind} is needed here, as 2020-12-31") from None
    if not isinstance(scalar, date):
        raise _ScalarError(f"a {kind} is needed here, as 2020-12-31")
    if kind == "date":
        if isinstance(scalar, datetime):
            raise _ScalarError("a date without a time is needed here")
        return scalar
    if not isinstance(scalar, datetime):
        return datetime(scalar.year, scalar.month, scalar.day)  # noqa: DTZ001 - timestamps are UTC without saying so
    if scalar.tzinfo is None:
        return scalar
    try:
        return scalar.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise _ScalarError("beyond the years 1 to 9999") from None


def _held(value: Fraction, physical: Physical) -> None:
    """Raise for a number that the column cannot hold.

    Why it matters: a key that is turned into another one for the database would stand twice among the public keys, and
    a group that is drawn for twice shows more than was paid; a literal that does not fit the column's type raises.
    """
    scale = 0 if physical.kind == "integer" else physical.scale
    if scale is not None and (value * 10**scale) % 1:
        raise _ScalarError(f"has more decimals than {physical.name} holds")
    if scale is not None and abs(value) * 10**scale >= 10**MAX_WHOLE_DIGITS:
        raise _ScalarError(f"has more digits than {physical.name} holds")


def _shown(value: Value) -> str:
    return str(value)[:100]
