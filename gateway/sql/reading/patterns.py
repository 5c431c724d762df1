"""Write out regular expressions that say what stands at fixed places, and functions of texts that others are made of.

``code ~ '^J[0-9]{2}'``  →  ``SUBSTRING(code, 1, 1) = 'J' AND SUBSTRING(code, 2, 1) >= '0' AND … <= '9' AND …``
``LPAD(x, 3, '0')``  →  ``CASE WHEN LENGTH(x) >= 3 THEN LEFT(x, 3) ELSE RIGHT('000' || x, 3) END``

Why only these: engines differ in what a regular expression means and in how long one may take, which a hostile pattern
makes exponential; comparisons at fixed places are total, the same everywhere, and take no longer than their text says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from sqlglot import exp

from gateway.sql.refusals import refuse

MOST_PLACES = 40
MOST_CHOICES = 60
MOST_PADDED = 100

_TOKEN = re.compile(
    r"(?P<set>\[\^?[^][\\]+\])|\\(?P<class>[dw])|\\(?P<quoted>[^A-Za-z0-9])|(?P<any>\.)|(?P<plain>[^][\\(){}*+?|^$.])"
)
_TIMES = re.compile(r"\{(\d{1,2})\}")
_CLASSES = MappingProxyType({"d": (("0", "9"),), "w": (("A", "Z"), ("a", "z"), ("0", "9"), ("_", "_"))})
_RANGE = re.compile(r"(.)-(.)|(.)", re.DOTALL)

_PLAIN = r"(?:[^()\\|]|\\.)*"
_GROUP = re.compile(rf"({_PLAIN})\((?:\?:)?((?:[^()\\]|\\.)*)\)(?![*+?{{]){_PLAIN.join('()')}")
"""One group that is not repeated, with what stands before and behind it."""

Ranges = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """What may stand at one place: one of some ranges of characters (``other``: any but those), or anything."""

    ranges: Ranges | None
    other: bool = False

    @property
    def literal(self) -> str | None:
        """The one character that may stand here."""
        [*only] = self.ranges or ()
        return only[0][0] if len(only) == 1 and only[0][0] == only[0][1] and not self.other else None


@dataclass(frozen=True, slots=True)
class Choice:
    """Places in their order, from the beginning of the text, up to its end, both or neither."""

    places: tuple[Place, ...]
    start: bool
    end: bool


def choices(pattern: str, *, whole: bool) -> list[Choice] | None:
    """Return what a regular expression may match, None of one that is not of fixed places."""
    found: list[Choice] = []
    for written in _expanded(pattern):
        start, end = written.startswith("^") or whole, whole
        body = written.removeprefix("^")
        if body.endswith("$") and not body.endswith("\\$"):
            body, end = body[:-1], True
        if body.endswith(".*") and not body.endswith("\\.*"):
            body, end = body[:-2], False
        if body.startswith(".*"):
            body, start = body[2:], False
        places = _places(body, repeated=not end)
        if places is None or len(places) > MOST_PLACES or len(found) >= MOST_CHOICES:
            return None
        if not start and not (places and all(place.literal for place in places)):
            return None
        found.append(Choice(places, start, end))
    return found


def _expanded(pattern: str) -> list[str]:
    """Return the alternatives of a pattern, those of one group written out."""
    group = _GROUP.fullmatch(pattern)
    if group is not None:
        return [f"{group[1]}{part}{group[3]}" for part in _divided(group[2])]
    return _divided(pattern)


def _divided(pattern: str) -> list[str]:
    """Return the parts of a pattern between its bars, none of which is escaped or in brackets."""
    found, at, inside = [""], 0, False
    while at < len(pattern):
        piece = pattern[at : at + 2] if pattern[at] == "\\" else pattern[at]
        inside = (inside or piece == "[") and piece != "]"
        if piece == "|" and not inside:
            found.append("")
        else:
            found[-1] += piece
        at += len(piece)
    return found


def _places(body: str, *, repeated: bool) -> tuple[Place, ...] | None:
    """Return what stands where; ``repeated`` where a last one may follow once or more often, which is once here."""
    found: list[Place] = []
    at = 0
    while at < len(body):
        token = _TOKEN.match(body, at)
        if token is None:
            return None
        at = token.end()
        place = _place(token)
        times = _TIMES.match(body, at)
        count = 1
        if times is not None:
            at, count = times.end(), int(times[1])
        elif repeated and body[at:] == "+":
            at += 1
        found += [place] * count
    return tuple(found)


def _place(token: re.Match[str]) -> Place:
    if token["any"]:
        return Place(None)
    if token["class"]:
        return Place(_CLASSES[token["class"]])
    if token["set"]:
        inside = token["set"][1:-1]
        other = inside.startswith("^")
        each = _RANGE.findall(inside.removeprefix("^"))
        return Place(tuple((a, b) if a else (one, one) for a, b, one in each), other)
    character = token["quoted"] or token["plain"]
    return Place(((character, character),))


# --- as conditions


def _all(parts: Sequence[exp.Expr], word: type[exp.And | exp.Or]) -> exp.Expr:
    found = parts[0]
    for part in parts[1:]:
        found = word(this=found, expression=part)
    return exp.Paren(this=found)


def _cut(value: exp.Expr, first: int, count: int) -> exp.Expr:
    return exp.Substring(this=value.copy(), start=exp.Literal.number(first), length=exp.Literal.number(count))


def _held(value: exp.Expr, at: int, place: Place) -> exp.Expr:
    """Return the condition that what stands at a place may stand there."""
    long_enough = exp.GTE(this=exp.Length(this=value.copy()), expression=exp.Literal.number(at))
    if place.ranges is None:
        return long_enough
    tests: list[exp.Expr] = []
    for low, high in place.ranges:
        from_, to = exp.Literal.string(low), exp.Literal.string(high)
        if low == high:
            tests.append(exp.EQ(this=_cut(value, at, 1), expression=from_))
        else:
            tests.append(exp.Paren(this=exp.Between(this=_cut(value, at, 1), low=from_, high=to)))
    found = _all(tests, exp.Or)
    return exp.And(this=long_enough, expression=exp.Not(this=found)) if place.other else found


def _condition(value: exp.Expr, choice: Choice) -> exp.Expr:
    places = choice.places
    text = "".join(place.literal or "" for place in places)
    if not choice.start:
        return (exp.EndsWith if choice.end else exp.Contains)(this=value.copy(), expression=exp.Literal.string(text))
    parts: list[exp.Expr] = []
    at = 0
    while at < len(places):
        run = at
        while run < len(places) and places[run].literal is not None:
            run += 1
        if run > at:
            text = "".join(place.literal or "" for place in places[at:run])
            parts.append(exp.EQ(this=_cut(value, at + 1, run - at), expression=exp.Literal.string(text)))
            at = run
        else:
            parts.append(_held(value, at + 1, places[at]))
            at += 1
    size = exp.Length(this=value.copy())
    if choice.end or not parts:
        op = exp.EQ if choice.end else exp.GTE
        parts.append(op(this=size, expression=exp.Literal.number(len(places))))
    return _all(parts, exp.And)


def _written(node: exp.Expr | None) -> str | None:
    if type(node) is exp.RawString or (type(node) is exp.Literal and node.args.get("is_string")):
        return str(node.this)
    return None


def _read(node: exp.Expr, pattern: exp.Expr | None, *, whole: bool, small: bool = False) -> list[Choice]:
    written = _written(pattern)
    if small and written is not None and re.search(r"\\[A-Z]", written):
        written = None  # a class whose letter says that it is the other one
    found = None if written is None else choices(written.lower() if small else written, whole=whole)
    if not found:
        hint = "Write LIKE, or a regular expression of fixed places: '^J[0-9]{2}', '^(I20|I21)', 'burg$'."
        where = node if isinstance(node, exp.Expression) else None
        refuse("function-unknown", where, message="This regular expression is not known here.", hint=hint)
    return found


def _matches(node: exp.Expr) -> exp.Expr | None:
    """``x ~ '^J'``, REGEXP_LIKE, REGEXP_CONTAINS, RLIKE and their like; ``~*`` whatever the case of letters."""
    whole = bool(node.args.get("full_match")) or type(node) is exp.RegexpFullMatch
    small = type(node) is exp.RegexpILike
    value = exp.Lower(this=node.this.copy()) if small else node.this
    found = _read(node, node.args.get("expression"), whole=whole, small=small)
    return _all([_condition(value, choice) for choice in found], exp.Or)


def _extracted(node: exp.Expr) -> exp.Expr | None:
    """REGEXP_EXTRACT of what stands at the beginning: the whole match, or the one group that it is."""
    written, group = _written(node.args.get("expression")), node.args.get("group")
    number = "0" if group is None else group.name
    if written is not None and number == "1":
        inner = re.fullmatch(r"\^\(((?:[^()\\]|\\.)*)\)", written)
        written = None if inner is None else "|".join(f"^{part}" for part in _divided(inner[1]))
    elif written is not None and (number != "0" or written.endswith(("+", "*"))):
        written = None
    plain = None if written is None or written.endswith(("+", "*")) else exp.Literal.string(written)
    found = _read(node, plain, whole=False)
    sizes = {len(choice.places) for choice in found}
    if len(sizes) != 1 or not all(choice.start for choice in found):
        _read(node, None, whole=False)
    match = exp.If(
        this=_all([_condition(node.this, choice) for choice in found], exp.Or), true=_cut(node.this, 1, sizes.pop())
    )
    nothing = exp.Null() if node.args.get("null_if_no_match") else exp.Literal.string("")
    absent = exp.If(this=exp.Is(this=node.this.copy(), expression=exp.Null()), true=exp.Null())
    return exp.Case(ifs=[absent, match], default=nothing)


# --- functions of texts


def _padded(node: exp.Expr) -> exp.Expr | None:
    """LPAD and RPAD to a written length with one character: what is cut to it is filled, and cut again at the fill."""
    fill = node.args.get("fill_pattern")
    text = " " if fill is None else _written(fill)
    size = node.expression
    if text is None or len(text) != 1 or type(size) is not exp.Literal or not re.fullmatch("[0-9]{1,3}", size.name):
        return None
    count = int(size.name)
    if count > MOST_PADDED:
        return None
    fills, start = exp.Literal.string(text * count), exp.Left(this=node.this.copy(), expression=size.copy())
    if not node.args.get("is_left"):
        return exp.Left(this=exp.Paren(this=exp.DPipe(this=start, expression=fills)), expression=size.copy())
    return exp.Right(this=exp.Paren(this=exp.DPipe(this=fills, expression=start)), expression=size.copy())


def _joined(node: exp.Expr) -> exp.Expr | None:
    """CONCAT_WS with a written separator, which skips NULLs (in Snowflake one NULL makes all of it NULL)."""
    [*parts] = node.expressions
    between = _written(parts[0]) if parts else None
    if between is None or len(parts) < 2:
        return None
    whole: exp.Expr | None = None
    for part in parts[1:]:
        piece: exp.Expr = exp.DPipe(this=exp.Literal.string(between), expression=part.copy())
        if node.args.get("coalesce"):
            piece = exp.Coalesce(this=piece, expressions=[exp.Literal.string("")])
        whole = piece if whole is None else exp.DPipe(this=whole, expression=piece)
    assert whole is not None
    return exp.Substring(this=exp.Paren(this=whole), start=exp.Literal.number(len(between) + 1))


def _part(node: exp.Expr) -> exp.Expr | None:
    """SUBSTRING_INDEX(x, '@', 1), which is the first part."""
    count = node.args.get("count")
    if type(count) is not exp.Literal or count.name != "1":
        return None
    return exp.SplitPart(this=node.this.copy(), delimiter=node.args["delimiter"].copy(), part_index=count.copy())


PATTERNS: Mapping[type[exp.Expr], tuple[Callable[[exp.Expr], exp.Expr | None], tuple[str, ...]]] = MappingProxyType(
    {
        exp.RegexpLike: (_matches, ("this", "expression", "full_match")),
        exp.RegexpILike: (_matches, ("this", "expression")),
        exp.RegexpFullMatch: (_matches, ("this", "expression")),
        exp.RegexpExtract: (
            _extracted,
            ("this", "expression", "group", "null_if_pos_overflow", "null_if_no_match", "empty_if_group_missing"),
        ),
        exp.Pad: (_padded, ("this", "expression", "fill_pattern", "is_left")),
        exp.ConcatWs: (_joined, ("expressions", "safe", "coalesce", "flatten")),
        exp.SubstringIndex: (_part, ("this", "delimiter", "count")),
    }
)
