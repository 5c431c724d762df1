"""Bind parameters: each placeholder becomes a constant of the algebra before anything is analysed, never text.

``WHERE age > :least`` with ``least = 30``  →  ``age > 30``, the 30 an integer that no parser reads

Why this is sound: what is bound is a value of the closed algebra, at the place of an operand; it is public (the analyst
sent it), part of the plan and so of its fingerprint, and it meets every rule that a literal meets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp

from gateway.sql.algebra import Constant
from gateway.sql.refusals import refuse
from gateway.sql.scalars.resolve import only


class Given(exp.Expression):
    """A bound parameter: ``constant`` is its value."""

    arg_types = {"constant": True}  # noqa: RUF012 - sqlglot's own form


@dataclass(frozen=True, slots=True)
class Parameter:
    """The value of a parameter by its name; ``?`` and ``$1`` are called ``1``."""

    name: str
    constant: Constant


def bind(select: exp.Expression, parameters: tuple[Parameter, ...]) -> None:
    """Put the values of a request's parameters where the text refers to them; refuse one that is missing or unused."""
    given: Mapping[str, Constant] = {parameter.name: parameter.constant for parameter in parameters}
    used: set[str] = set()
    places = list(select.find_all(exp.Placeholder, exp.Parameter))
    counted: dict[int, str] = {}  # by place: one may have been copied
    for node in sorted(places, key=lambda found: found.meta.get("start", 0)):
        name = _name(node)
        if name is None:
            name = counted.setdefault(node.meta.get("start", -len(counted)), str(len(counted) + 1))
        if name not in given:
            refuse("parameter-missing", node, hint=f"Send a value for parameter {name} in `parameters`.")
        used.add(name)
        bound = Given(constant=given[name])
        bound.meta["start"] = node.meta.get("start", 0)
        node.replace(bound)
    unused = sorted(given.keys() - used)
    if unused:
        refuse("parameter-unused", hint=f"The text does not refer to {', '.join(unused)}.")


def _name(node: exp.Expression) -> str | None:
    """Return what a placeholder is called, None for one that is counted (``?``, ``%s``)."""
    only(node, "this", "jdbc", "widget", code="parameter-missing")
    this = node.args.get("this")
    if this is None:
        return None
    if isinstance(this, str):
        return this
    if type(this) not in (exp.Var, exp.Identifier, exp.Literal):
        refuse("parameter-missing", node)
    return str(this.this)
