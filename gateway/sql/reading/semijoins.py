"""Write SEMI and ANTI joins out as what they abbreviate: a condition on the rows beside them.

``FROM person p SEMI JOIN visit v ON v.person_id = p.person_id``
→  ``FROM person p WHERE EXISTS (SELECT 1 FROM visit v WHERE v.person_id = p.person_id)``

Why the condition may wait until WHERE: it is of the rows that stand before the join, and joins after it that keep
these, or drop some, neither change nor add to them. RIGHT and FULL joins do, and so does a join whose condition nobody
wrote: beside these it is left as it is, and lowering refuses it.
"""

from __future__ import annotations

from sqlglot import exp

_KINDS = ("SEMI", "ANTI")


def semi_joins(select: exp.Expr) -> None:
    """Rewrite the joins of a SELECT in place, if all of them that are of this kind can be."""
    joins = list(select.args.get("joins") or ())
    if not any(_kind(join) in _KINDS for join in joins):
        return
    kept: list[exp.Expr] = []
    conditions: list[exp.Expr] = []
    for at, join in enumerate(joins):
        if _kind(join) not in _KINDS:
            kept.append(join)
            continue
        condition = _condition(select, kept, join)
        after = (str(each.args.get("side") or "").upper() for each in joins[at:])
        if condition is None or any(side in ("RIGHT", "FULL") for side in after):
            return
        conditions.append(condition)
    where = select.args.get("where")
    found: exp.Expr | None = None if where is None else exp.Paren(this=where.this)
    for each in conditions:
        found = each if found is None else exp.And(this=found, expression=each)
    select.set("joins", kept)
    select.set("where", exp.Where(this=found))


def _kind(join: exp.Expr) -> str:
    return str(join.args.get("kind") or "").upper()


def _condition(select: exp.Expr, before: list[exp.Expr], join: exp.Expr) -> exp.Expr | None:
    """Return the condition that a join puts to the rows before it, None of one that is not read here."""
    read = ("this", "kind", "side", "on", "using")
    if any(value and name not in read for name, value in join.args.items()):
        return None
    if str(join.args.get("side") or "").upper() not in ("", "LEFT"):
        return None
    on, using = join.args.get("on"), join.args.get("using")
    if using:
        on = _equal(select, before, join, using) if on is None else None
    if on is None:
        return None
    one = exp.Literal.number(1)
    found: exp.Expr = exp.Exists(
        this=exp.Select(expressions=[one], from_=exp.From(this=join.this), where=exp.Where(this=on))
    )
    return found if _kind(join) == "SEMI" else exp.Not(this=found)


def _equal(select: exp.Expr, before: list[exp.Expr], join: exp.Expr, using: list[exp.Expr]) -> exp.Expr | None:
    """Return the equality that USING says, where one table alone stands before and both have names."""
    there, source = join.this.alias_or_name, select.args.get("from_")
    here = "" if source is None or before else source.this.alias_or_name
    if not here or not there or any(not isinstance(each, exp.Identifier) for each in using):
        return None
    found: exp.Expr | None = None
    for each in using:
        sides = (exp.Column(this=each.copy(), table=exp.to_identifier(name)) for name in (here, there))
        same = exp.EQ(**dict(zip(("this", "expression"), sides, strict=True)))
        found = same if found is None else exp.And(this=found, expression=same)
    return found
