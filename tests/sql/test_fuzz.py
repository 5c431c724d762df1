"""Whatever text comes: a plan or a refusal, soon, and nothing else."""

from __future__ import annotations

import time

import sqlglot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token

from gateway.errors import SqlRefused
from gateway.sql.explain import cost, explain
from gateway.sql.grammar import DIALECTS
from gateway.sql.plan import Plan
from gateway.sql.refusals import CODES
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import plan, written
from tests.sql.golden import blocks
from tests.sql.shop import SHOP
from tests.sql.test_attacks import STATEMENTS

CORPUS = [block.question for name in ("accepted.sql", "refused.sql") for block in blocks(name)]
CORPUS += [sql for _, sql, _ in STATEMENTS]


def _tokens(text: str) -> list[Token]:
    try:
        return sqlglot.tokenize(text, read="duckdb")
    except TokenError:
        return []


TOKENS = sorted({text[token.start : token.end + 1] for text in CORPUS for token in _tokens(text)})
NASTY = [
    "'",
    '"',
    "`",
    "$$",
    "/*",
    "*/",
    "--",
    "\\",
    "\x00",
    "\u202e",
    "ǅ",
    "1e400",
    "0x1F",
    "1_000",
    "?",
    ":a",
    "{{",
    "@x",
    "9" * 50,
    "::",
    "=>",
    ":=",
    "->>",
    "|||",
    "~*",
    "%",
    "^",
    "[1]",
    "{'a': 1}",
    "#1",
    "e'\\''",
    "U&'\\0041'",
    "\ud800",
]
WORD = st.sampled_from([*TOKENS, *TOKENS, *NASTY])


@st.composite
def _mutated(draw: st.DrawFn) -> str:
    """A known question with some of its words replaced, dropped, doubled or swapped."""
    text = draw(st.sampled_from(CORPUS))
    words = [text[token.start : token.end + 1] for token in _tokens(text)] or [text]
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(words) - 1))
        match draw(st.integers(0, 4)):
            case 0:
                words[at] = draw(WORD)
            case 1:
                words.insert(at, draw(WORD))
            case 2 if len(words) > 1:
                del words[at]
            case 3:
                other = draw(st.integers(0, len(words) - 1))
                words[at], words[other] = words[other], words[at]
            case _:
                words[at:at] = words[at : at + draw(st.integers(1, 5))]
    return " ".join(words)


SOUP = st.lists(WORD, max_size=25).map(" ".join)
LED = st.lists(WORD, max_size=12).map(lambda words: "SELECT COUNT(*) FROM users WHERE " + " ".join(words))


def planned(text: str, dialect: str) -> Plan | None:
    """The plan of a text, None for a refusal."""
    began = time.process_time()
    try:
        found = plan(written(text), duckdb_dataset(SHOP), dialect)
        explain(found), cost(found), hash(found)
    except SqlRefused as refusal:
        assert refusal.code in CODES  # noqa: PT017 - any refusal will do
        assert refusal.position is None or refusal.position.line >= 1 <= refusal.position.column  # noqa: PT017
        found = None
    assert time.process_time() - began < 10, text  # no hang
    return found


FUZZED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@settings(FUZZED, max_examples=2_000)
@given(_mutated(), st.sampled_from(DIALECTS))
def test_mutated(text: str, dialect: str) -> None:
    planned(text, dialect)


@settings(FUZZED, max_examples=500)
@given(SOUP, st.sampled_from(DIALECTS))
def test_soup(text: str, dialect: str) -> None:
    assert planned(text, dialect) is None or "FROM" in text.upper()


@settings(FUZZED, max_examples=700)
@given(LED, st.sampled_from(DIALECTS))
def test_conditions(text: str, dialect: str) -> None:
    planned(text, dialect)


@settings(FUZZED, max_examples=200)
@given(st.text(max_size=60))
def test_text(text: str) -> None:
    planned(text, "duckdb")
