"""The parameters of a request as constants of the algebra: typed, exact, and never text of a query.

``{"least": 30, "since": {"type": "date", "value": "2024-01-01"}}``  →  an integer and a date
"""

from __future__ import annotations

import math
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import NoReturn

from gateway import wire
from gateway.errors import RequestInvalid
from gateway.policy.model import Value
from gateway.sql.algebra import Constant, Kind
from gateway.sql.scalars.bind import Parameter
from gateway.sql.scalars.constants import LARGEST

LONGEST_NAME = 200
SMALLEST = Fraction(1, 10**300)
"""Numbers nearer to zero than this are none that a policy or a database tells from zero."""


def parameters(request: wire.QueryRequest, longest: int) -> tuple[Parameter, ...]:
    """Return a request's parameters, those of a list called ``1``, ``2`` …; texts hold at most ``longest`` bytes."""
    match request.parameters:
        case None:
            return ()
        case list() as given:
            named = {str(place): value for place, value in enumerate(given, 1)}
        case dict() as named:
            pass
    if not all(0 < len(name) <= LONGEST_NAME and name.isprintable() for name in named):
        raise RequestInvalid("parameter-invalid", "The name of a parameter is a word of printable characters.")
    found = tuple(Parameter(name, _constant(name, value)) for name, value in named.items())
    texts = (parameter.constant.value for parameter in found)
    if sum(len(text.encode()) for text in texts if isinstance(text, str)) > longest:
        raise RequestInvalid("parameter-invalid", f"The texts of all parameters hold at most {longest} bytes together.")
    return found


def _constant(name: str, given: wire.ParameterValue) -> Constant:
    kind, value = (given.type, given.value) if isinstance(given, wire.TypedParameter) else (None, given)
    match kind, value:
        case _, None:
            return Constant(None, "boolean" if kind is None else _KINDS[kind])
        case None | "boolean", bool():
            return Constant(value, "boolean")
        case None | "integer", int() if not isinstance(value, bool):
            return Constant(_exact(name, value), "integer")
        case None | "number", int() | float() if not isinstance(value, bool):
            return Constant(_exact(name, value), "decimal")
        case None | "text", str():
            return Constant(_text(name, value), "text")
        case "date" | "timestamp" as moment, str():
            return Constant(_moment(name, moment, value), moment)
        case _:
            _invalid(name, f"is no {kind}")


_KINDS: dict[str, Kind] = {
    "integer": "integer",
    "number": "decimal",
    "text": "text",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp",
}


def _exact(name: str, value: float) -> Value:
    """Return the number that the shortest writing of a value says: 0.1 is a tenth, as it is in SQL."""
    if not math.isfinite(value):
        _invalid(name, "is not finite")
    exact = Fraction(value) if isinstance(value, int) else Fraction(Decimal(repr(value)))
    if abs(exact) >= LARGEST or 0 < abs(exact) < SMALLEST:
        _invalid(name, "does not lie between -2^63 and 2^63")
    return int(exact) if isinstance(value, int) else exact


def _text(name: str, value: str) -> str:
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        _invalid(name, "holds a NUL or half a character")
    return value


def _moment(name: str, kind: Kind, value: str) -> date | datetime:
    try:
        found = datetime.fromisoformat(value)
        if kind == "date" and len(value) == 10:
            return found.date()
        if kind == "timestamp" and found.tzinfo is None:
            return found
    except ValueError:
        pass
    form = "'2024-12-31'" if kind == "date" else "'2024-12-31 23:59:59', without a time zone"
    _invalid(name, f"is no {kind} such as {form}")


def _invalid(name: str, wrong: str) -> NoReturn:
    raise RequestInvalid("parameter-invalid", f"Parameter {name} {wrong}.")
