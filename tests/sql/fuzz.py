"""``python -m tests.sql.fuzz [--count N] [--seed S]``: texts without end, each soon a plan or a refusal, nothing else.

A text is a sentence of a grammar, a known question with its words changed, or a soup of words, of its seed alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from functools import cache
from random import Random

import sqlglot
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token, TokenType

from gateway.errors import Refusal, SqlRefused
from gateway.sql.explain import cost, explain
from gateway.sql.reading.grammar import DIALECTS
from gateway.sql.refusals import CODES
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import plan, written
from tests.sql.golden import ACCEPTED, REFUSED, every
from tests.sql.sentences import sentence
from tests.sql.shop import SHOP
from tests.sql.test_attacks import STATEMENTS

PRICES = ("price-missing", "price-conflict", "price-too-high")
"""What may be wrong with the price of a text: a privacy clause states another one than the request."""

LONGEST = 10.0
"""Seconds of computing after which a text is called a hang."""

NASTY = [
    *("'", '"', "`", "$$", "/*", "*/", "--", "\\", "\x00", "\u202e", "ǅ", "1e400", "0x1F", "1_000", "?", ":a", "{{"),
    *("@x", "9" * 50, "::", "=>", ":=", "->>", "|||", "~*", "%", "^", "[1]", "{'a': 1}", "#1", "e'\\''", "U&'\\0041'"),
    *("\ud800", "WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon=1)", "contribution_bounds_per_row => (0, 1)", "\n", "\r\n"),
]


@cache
def corpus() -> tuple[str, ...]:
    """Questions that are known to be answered or refused, and the attacks."""
    found = [block.question for block in every((*ACCEPTED, *REFUSED))]
    return (*found, *(sql for _, sql, _ in STATEMENTS))


def tokens(text: str) -> list[Token]:
    try:
        return sqlglot.tokenize(text, read="duckdb")
    except TokenError:
        return []


@cache
def words() -> tuple[str, ...]:
    """Every word of the corpus twice, and what is nasty."""
    known = sorted({word for _, word in _typed(" ".join(corpus()))})
    return (*known, *known, *NASTY)


@cache
def _alike() -> dict[TokenType, list[str]]:
    """The words of the corpus by their kind."""
    found: dict[TokenType, set[str]] = {}
    for known in corpus():
        for kind, word in _typed(known):
            found.setdefault(kind, set()).add(word)
    return {kind: sorted(alike) for kind, alike in found.items()}


@cache
def _typed(known: str) -> tuple[tuple[TokenType, str], ...]:
    return tuple((token.token_type, known[token.start : token.end + 1]) for token in tokens(known))


def text(random: Random) -> str:
    """One text."""
    match random.randrange(20):
        case 0:
            return " ".join(random.choice(words()) for _ in range(random.randint(0, 25)))
        case 1:
            led = " ".join(random.choice(words()) for _ in range(random.randint(1, 12)))
            return f"SELECT COUNT(*) FROM users WHERE {led}"
        case place if place < 9:
            return mutated(random, random.choice(corpus()))
        case 9:
            return mutated(random, sentence(random))
        case _:
            return sentence(random)


def mutated(random: Random, known: str) -> str:
    """A text with some of its words replaced, mostly by others of their kind, or dropped, doubled or swapped."""
    parts = list(_typed(known)) or [(TokenType.VAR, known)]
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(parts))
        kind, _word = parts[at]
        match random.randrange(12):
            case 0:
                parts[at] = (kind, random.choice(words()))
            case 1:
                parts.insert(at, (kind, random.choice(words())))
            case 2 if len(parts) > 1:
                del parts[at]
            case 3:
                other = random.randrange(len(parts))
                parts[at], parts[other] = parts[other], parts[at]
            case 4:
                parts[at:at] = parts[at : at + random.randint(1, 5)]
            case _:
                parts[at] = (kind, random.choice(_alike().get(kind) or words()))
    return random.choice((" ", " ", "\n")).join(word for _, word in parts)


def outcome(said: str, dialect: str) -> str:
    """Return what becomes of a text: ``planned``, or the code of its refusal; anything else is an error."""
    said = said or " "  # no text at all is a question of the oracles
    began = time.process_time()
    try:
        found = plan(written(said), duckdb_dataset(SHOP), dialect)
        explain(found), cost(found), hash(found), found.fingerprint
        code = "planned"
    except Refusal as refusal:
        code = refusal.code
        assert code in (CODES if isinstance(refusal, SqlRefused) else PRICES), code  # noqa: PT017 - any refusal will do
        assert refusal.position is None or _inside(said, refusal.position.line, refusal.position.column)  # noqa: PT017
    assert time.process_time() - began < LONGEST, "a hang"
    return code


def _inside(said: str, line: int, column: int) -> bool:
    """Whether a place is one of the text, or right behind its end."""
    lines = said.split("\n")
    return 1 <= line <= len(lines) and 1 <= column <= len(lines[line - 1]) + 1


def run(seeds: range) -> Counter[str]:
    """Return what becomes of the texts of some seeds; an error names the seed."""
    found: Counter[str] = Counter()
    for seed in seeds:
        random = Random(seed)  # noqa: S311 - texts, not noise
        said, dialect = text(random), random.choice(DIALECTS)
        try:
            found[outcome(said, dialect)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, {dialect}: {said!r}") from error
    return found


def main() -> None:
    """Run as many texts as asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.sql.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    found: Counter[str] = Counter()
    block = 10_000
    for first in range(0, given.count, block):
        start = given.seed * 10**9 + first
        found += run(range(start, start + min(block, given.count - first)))
        sys.stdout.write(f"{found.total():,} texts, {found['planned']:,} planned\n")
        sys.stdout.flush()
    for code, times in found.most_common():
        sys.stdout.write(f"{times:>9,} {code}\n")


if __name__ == "__main__":
    main()
