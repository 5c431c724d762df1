"""Lower functions of texts: positions and patterns are constants, and every text is cut to a static length.

``SUBSTRING(city, 1, 2) = 'Ul'``  →  ``eq(substring(left(city, 10000), 1, 2), 'Ul')``

Why it is total: positions and lengths are literals of the right sign, so that no engine refuses one; a text is cut to
10,000 characters before a function reads it and after each concatenation, so that none grows without bound; patterns of
LIKE are literals that are read here and written anew, so that none ends within an escape.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from gateway.sql.algebra import Call, Constant, Scalar
from gateway.sql.inference.images import IMAGES, LONGEST
from gateway.sql.inference.images import lower as small
from gateway.sql.position import dialect
from gateway.sql.refusals import refuse
from gateway.sql.scalars.casts import as_text
from gateway.sql.scalars.names import Arm, Lower, Names, about, call, is_null, literal
from gateway.sql.scalars.resolve import only

MOST_PATTERN = 1_000
ESCAPING = ("postgres", "mysql", "bigquery", "spark")
"""Dialects in which a backslash escapes in LIKE where nothing else is said."""

_AFTER = "SPLIT_PART(x, '@', 2) is what stands after the first @."


def text(found: Scalar, node: exp.Expression, names: Names) -> Scalar:
    """Return a text as it enters a function: cut to the static length; refuse what is none."""
    if is_null(found):
        return Constant(None, "text")
    if found.kind != "text":
        refuse("type-mismatch", node, message="A text is needed here.")
    length = about(found, names).length
    if isinstance(found, Constant) or (length is not None and length <= LONGEST):
        return found
    return Call("left", (found, Constant(LONGEST, "integer")), "text")


def made(function: str, args: tuple[Scalar, ...], kind: str, node: exp.Expression, names: Names) -> Scalar:
    """Return a function of texts, computed here where all of its arguments are written out."""
    if all(isinstance(arg, Constant) for arg in args):
        value = IMAGES[function](*(arg.value for arg in args if isinstance(arg, Constant)))
        if isinstance(value, str) and len(value) > LONGEST:
            refuse("constant-invalid", node, message=f"A text has at most {LONGEST} characters.")
        return Constant(value, kind)  # type: ignore[arg-type]
    return call(function, args, kind, node, names)  # type: ignore[arg-type]


def _written(node: exp.Expression | None, lower: Lower, what: str, most: int = MOST_PATTERN) -> str:
    """Return a text that is written out, or refuse."""
    found = None if node is None else lower(node)
    if not isinstance(found, Constant) or not isinstance(found.value, str) or len(found.value) > most:
        refuse("constant-invalid", node, message=f"{what} is a text of at most {most} characters, written out.")
    return found.value


def cased(function: str) -> Arm:
    """Return the arm of UPPER or LOWER, of the letters of ASCII and Latin-1 on every engine."""

    def arm(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
        return made(function, (text(lower(node.this), node, names),), "text", node, names)

    return arm


def end(function: str) -> Arm:
    """Return the arm of LEFT or RIGHT with a constant number of characters."""

    def arm(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
        count = literal(node.expression, lower, f"The number of characters of {function.upper()}", 0, LONGEST)
        found = text(lower(node.this), node, names)
        return made(function, (found, Constant(count, "integer")), "text", node, names)

    return arm


def substring(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return SUBSTRING with constant positions, counted from 1."""
    start = literal(node.args.get("start"), lower, "The first position of SUBSTRING", 1, LONGEST, _AFTER)
    count = LONGEST
    if node.args.get("length") is not None:
        count = literal(node.args["length"], lower, "The length of SUBSTRING", 0, LONGEST)
    found = text(lower(node.this), node, names)
    return made("substring", (found, Constant(start, "integer"), Constant(count, "integer")), "text", node, names)


def trim(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return TRIM, LTRIM or RTRIM of spaces or of the characters written."""
    characters = " "
    if node.args.get("expression") is not None:
        characters = _written(node.expression, lower, "What TRIM takes away", 100)
    where = str(node.args.get("position") or "BOTH").upper()
    function = {"BOTH": "trim", "LEADING": "trim_left", "TRAILING": "trim_right"}.get(where)
    if function is None or not characters:
        refuse("not-supported", node)
    found = text(lower(node.this), node, names)
    return made(function, (found, Constant(characters, "text")), "text", node, names)


def replaced(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return REPLACE of a constant text by another that is at most ten times as long."""
    old = _written(node.expression, lower, "What REPLACE looks for")
    new = _written(node.args.get("replacement"), lower, "What REPLACE puts there")
    if not old or len(new) > 10 * len(old):
        refuse("constant-invalid", node, message="REPLACE puts at most ten times as many characters as it takes away.")
    found = text(lower(node.this), node, names)
    args = (found, Constant(old, "text"), Constant(new, "text"))
    return text(made("replace", args, "text", node, names), node, names)


def split_part(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return SPLIT_PART: what stands between two of a constant character, counted from 1; empty beyond the last.

    Why one character: of longer ones that overlap, engines take others.
    """
    character = _written(node.args.get("delimiter"), lower, "What SPLIT_PART looks for", 1)
    place = literal(node.args.get("part_index"), lower, "The number of the part", 1, 1_000)
    if not character:
        refuse("constant-invalid", node, message="SPLIT_PART looks for one character.")
    found = text(lower(node.this), node, names)
    return made("split_part", (found, Constant(character, "text"), Constant(place, "integer")), "text", node, names)


def concat(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return CONCAT, ``||`` or T-SQL's ``+``, cut after each step; CONCAT skips NULLs in the dialects where it does."""
    parts = list(node.expressions) if type(node) is exp.Concat else [node.this, node.expression]
    found: list[Scalar] = []
    for part in parts:
        piece = text(as_text(lower(part), part, names), part, names)
        if node.args.get("coalesce") and isinstance(piece, Constant):
            piece = Constant(piece.value or "", "text")
        elif node.args.get("coalesce"):
            piece = Call("coalesce", (piece, Constant("", "text")), "text")
        found.append(piece)
    if not found:
        refuse("not-supported", node)
    whole = found[0]
    for piece in found[1:]:
        whole = text(made("concat", (whole, piece), "text", node, names), node, names)
    return whole


def together(parts: Sequence[exp.Expression], names: Names, lower: Lower) -> Scalar:
    """Return several values as one text that tells any two rows of them apart, NULL where one of them is.

    Each is written with its length before it, so that no two rows are written alike (but beyond 10,000 characters).
    """
    whole: Scalar | None = None
    for part in parts:
        value = lower(part)
        if isinstance(value, Constant):
            refuse("aggregate-argument", part)
        piece = text(as_text(value, part, names), part, names)
        size = as_text(made("length", (piece,), "integer", part, names), part, names)
        for more in (size, Constant(":", "text"), piece):
            whole = more if whole is None else text(made("concat", (whole, more), "text", part, names), part, names)
    assert whole is not None
    return whole


def length(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return the number of characters, also in dialects where bytes of binary data would be counted."""
    if dialect(node) == "mysql" and node.args.get("binary"):
        refuse("not-supported", node, message="Bytes are not counted.", hint="Write CHAR_LENGTH.")
    return made("length", (text(lower(node.this), node, names),), "integer", node, names)


def position(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return the place of a constant text in another, 0 where it does not stand there."""
    part = _written(node.args.get("substr"), lower, "What is looked for")
    args = (text(lower(node.this), node, names), Constant(part, "text"))
    return made("position", args, "integer", node, names)


def _matched(subject: Scalar, pattern: list[str], node: exp.Expression, names: Names) -> Scalar:
    """Return LIKE with a pattern in pieces: ``%`` and ``_`` alone are wild, everything else means itself."""
    escaped = any(len(piece) == 2 or piece in ("!", "\\") for piece in pattern)
    if not escaped:
        return made("like", (subject, Constant("".join(pattern), "text")), "boolean", node, names)
    written = "".join(f"!{piece[1]}" if len(piece) == 2 else "!!" if piece == "!" else piece for piece in pattern)
    return made("like_escaped", (subject, Constant(written, "text")), "boolean", node, names)


def _literal(written: str) -> list[str]:
    """Return a text as the pieces of a pattern that means it."""
    return [f"!{character}" if character in "%_" else character for character in written]


def _pieces(pattern: str, escape: str | None, node: exp.Expression) -> list[str]:
    """Return a pattern as pieces: one character each, with a ``!`` before a wild one that means itself."""
    found: list[str] = []
    rest = iter(pattern)
    for character in rest:
        if escape is not None and character == escape:
            following = next(rest, None)
            if following is None:
                refuse("constant-invalid", node, message="The pattern ends with its escape character.")
            found += _literal(following)
        else:
            found.append(character)
    return found


def like(*, ignoring_case: bool) -> Arm:
    """Return the arm of LIKE or ILIKE without an ESCAPE of its own."""

    def arm(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
        escape = "\\" if dialect(node) in ESCAPING else None
        return _like(node, escape, names, lower, ignoring_case=ignoring_case)

    return arm


def escaped_like(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return LIKE or ILIKE with the escape character that is written."""
    inner = node.this
    escape = _written(node.expression, lower, "ESCAPE", 1) or None
    if type(inner) not in (exp.Like, exp.ILike) or escape in ("%", "_"):
        refuse("not-supported", node)
    only(inner, "this", "expression", "negate")
    return _like(inner, escape, names, lower, ignoring_case=type(inner) is exp.ILike)


def _like(node: exp.Expression, escape: str | None, names: Names, lower: Lower, *, ignoring_case: bool) -> Scalar:
    pattern = _written(node.expression, lower, "A pattern")
    if dialect(node) == "tsql" and "[" in pattern:
        refuse("not-supported", node, message="Character classes in patterns are not supported.")
    subject = text(lower(node.this), node, names)
    pieces = _pieces(pattern, escape, node)
    if ignoring_case:
        subject = made("lower", (subject,), "text", node, names)
        pieces = [small(piece) for piece in pieces]
    found = _matched(subject, pieces, node, names)
    return call("not", (found,), "boolean", node, names) if node.args.get("negate") else found


def part(before: str, after: str) -> Arm:
    """Return the arm of STARTS_WITH, ENDS_WITH or CONTAINS, as LIKE with a pattern made of a constant text."""

    def arm(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
        written = _written(node.expression, lower, "What is looked for")
        subject = text(lower(node.this), node, names)
        return _matched(subject, [*before, *_literal(written), *after], node, names)

    return arm
