"""Parse one SELECT out of an analyst's text, within limits that are decided on its words before any tree is built.

``SELECT COUNT(*) FROM person; DROP TABLE person``  →  refused: exactly one SELECT statement can be asked
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from gateway.errors import Position, SqlRefused
from gateway.sql.position import TEXT, locate
from gateway.sql.reading.abbreviations import write_out
from gateway.sql.reading.grammar import DIALECTS, START, parser
from gateway.sql.reading.spelling import spell
from gateway.sql.refusals import CODES, refuse

# sqlglot logs the text of statements that it cannot read: analysts' literals have no place in a log.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

_OPENING = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE}
_CLOSING = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END}
_PREFIX = {TokenType.DASH, TokenType.PLUS, TokenType.NOT, TokenType.TILDE}


@dataclass(frozen=True, slots=True)
class TextLimits:
    """How much text is read: bytes of UTF-8, words, and how deep parentheses, CASEs and prefix operators may nest."""

    bytes: int = 65_536
    words: int = 10_000
    nesting: int = 30
    joins: int = 32


def parse(text: str, dialect: str, limits: TextLimits) -> exp.Expression:
    """Return the tree of the one SELECT, or set operation of some; its root carries the text for positions."""
    if dialect not in DIALECTS:
        refuse("dialect-unknown", hint=f"Write one of: {', '.join(DIALECTS)}.")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        refuse("sql-syntax", hint="The text holds a lone surrogate, which is no character.")
    if size > limits.bytes or "\x00" in text:
        refuse("sql-too-long" if size > limits.bytes else "sql-syntax")
    try:
        tokens = sqlglot.tokenize(text, read=dialect)
        _check(tokens, text, limits)
        trees = [tree for tree in parser(dialect).parse(tokens, text) if tree is not None]
    except (TokenError, ParseError) as error:
        raise SqlRefused("sql-syntax", CODES["sql-syntax"], position=_place(error, text)) from None
    except (RecursionError, SqlglotError, ValueError, KeyError, AttributeError, TypeError, IndexError):
        # What a parser may stumble over in a hostile text is the text's fault; nothing of it is repeated.
        raise SqlRefused("sql-syntax", CODES["sql-syntax"]) from None
    if len(trees) != 1 or type(trees[0]) not in (exp.Select, exp.Union, exp.Except, exp.Intersect):
        raise SqlRefused("sql-not-one-select", CODES["sql-not-one-select"], position=Position(1, 1))
    tree = trees[0]
    assert isinstance(tree, exp.Expression)
    spell(tree, dialect)
    tree.meta[TEXT] = text
    _complete(tree)
    write_out(tree, dialect)
    return tree


def _complete(tree: exp.Expression) -> None:
    """Refuse a node that lacks an argument that it needs: ``f(a, , b)`` passes the parser for some functions."""
    for node in tree.walk():
        if any(needed and node.args.get(name) is None for name, needed in node.arg_types.items()):
            assert isinstance(node, exp.Expression)
            refuse("sql-syntax", node)


def _check(tokens: list[Token], text: str, limits: TextLimits) -> None:
    depth = prefixes = joins = pending = 0
    previous = None
    if len(tokens) > limits.words:
        refuse("sql-too-deep", hint=f"At most {limits.words} words.")
    for token in tokens:
        depth += (token.token_type in _OPENING) - (token.token_type in _CLOSING)
        prefixes = prefixes + 1 if token.token_type in _PREFIX else 0
        if token.token_type is TokenType.JOIN:
            joins += 1
            pending += previous is not TokenType.CROSS
        elif token.token_type in (TokenType.ON, TokenType.USING):
            pending = max(pending - 1, 0)
        previous = token.token_type
        # sqlglot tries every way to nest joins that have no condition yet, which takes exponential time.
        if max(depth, prefixes) > limits.nesting or joins > limits.joins or pending > 4:
            raise SqlRefused(
                "sql-too-deep",
                CODES["sql-too-deep"],
                position=locate(text, token.start),
                hint=f"Nest at most {limits.nesting} deep and join at most {limits.joins} tables.",
            )


def _place(error: TokenError | ParseError, text: str) -> Position | None:
    for found in getattr(error, "errors", ()):
        if isinstance(found.get(START), int):
            return locate(text, found[START])
    return None
