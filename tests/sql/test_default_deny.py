"""Default deny reaches every argument of every node: what lowering does not read, it refuses."""

from __future__ import annotations

import pytest
from sqlglot import exp

from gateway.errors import SqlRefused
from gateway.sql.reading.parse import TextLimits, parse
from gateway.sql.relations.lower import lower
from gateway.sql.scalars import scalar
from tests.oracles.databases import duckdb_dataset
from tests.sql.golden import ACCEPTED, every
from tests.sql.shop import SHOP

QUESTIONS = [(block.question, dict(block.options).get("dialect", "duckdb")) for block in every(ACCEPTED)]

READ = {(exp.Select, clause) for clause in ("where", "group", "having", "order", "limit", "offset")} | {
    (exp.Identifier, "quoted"),
    (exp.Union, "distinct"),
    (exp.Except, "distinct"),
    (exp.Intersect, "distinct"),
    (exp.Tuple, "expressions"),
    (exp.Column, "table"),
    (exp.Star, "except_"),
    (exp.Div, "typed"),  # whether whole numbers divide as such: decided again from the operands' types
    (exp.Div, "safe"),  # whether division by zero is NULL: here it always is
    (exp.Is, "negate"),
    (exp.Cast, "_type"),  # a copy of the target
    (exp.Count, "big_int"),  # how wide a count is: all are wide enough
    (exp.Ordered, "desc"),
    (exp.Ordered, "nulls_first"),
    (exp.Table, "alias"),
    (exp.Round, "decimals"),
    (exp.Case, "this"),
    (exp.Case, "default"),
    (exp.Boolean, "this"),
    (exp.DataType, "nested"),  # the parser's own mark of an elementary type
    (exp.Literal, "is_string"),
    (exp.Fetch, "direction"),  # FIRST and NEXT mean the same
    (exp.LimitOptions, "rows"),
    (exp.In, "query"),  # refused by the arm itself
    (exp.Least, "ignore_nulls"),
    (exp.Greatest, "ignore_nulls"),
    (exp.Bracket, "offset"),  # from where APPROX_QUANTILES are numbered
    (exp.Bracket, "safe"),  # what a number beyond them gives: it is refused
    (exp.Like, "negate"),
    (exp.ILike, "negate"),
    (exp.Length, "binary"),  # bytes, where the argument is binary, which none is; refused in MySQL
    (exp.Round, "casts_non_integer_decimals"),  # the number of decimals is a whole number here
    (exp.Trunc, "fractions_supported"),
    (exp.Coalesce, "is_nvl"),  # which word was written
    (exp.Coalesce, "is_null"),
    (exp.Left, "negative_length_returns_empty"),  # no length is negative here
    (exp.Right, "negative_length_returns_empty"),
    (exp.Substring, "zero_start"),  # no start is below 1 here
    (exp.StrPosition, "clamp_position"),  # where to begin to look cannot be said
    (exp.DateDiff, "big_int"),  # how wide a number of days is: all are wide enough
    (exp.Corr, "null_on_zero_variance"),  # a parser's flag for what Snowflake's CORR means
    (exp.TimestampTrunc, "input_type_preserved"),  # it always is
    (exp.DateTrunc, "input_type_preserved"),
    (exp.SplitPart, "part_index_zero_as_one"),  # no part is numbered 0 here
    (exp.SplitPart, "empty_delimiter_returns_whole"),  # none is empty
    (exp.DPipe, "safe"),  # whether what is no text becomes one: it always does
    (exp.TryCast, "requires_string"),  # whatever is cast is cast as if it were
}
"""Arguments that lowering reads, or knows to mean nothing."""


def _variants() -> list[tuple[str, str, int, str]]:
    """Every argument, an invented one included, that is empty in a node of an accepted question."""
    found = []
    seen: set[tuple[type, type, str]] = set()
    for question, dialect in QUESTIONS:
        for at, node in enumerate(parse(question, dialect, TextLimits()).walk()):
            if node.arg_key == "expressions" and node.parent is not None and type(node.parent.parent) is exp.Exists:
                continue  # what EXISTS selects is never computed
            for name in (*node.arg_types, "invented"):
                kind, place = type(node), (type(node.parent), type(node), name)
                if node.args.get(name) or (kind, name) in READ or place in seen:
                    continue
                seen.add(place)
                found.append((question, dialect, at, name))
    return found


@pytest.mark.parametrize(
    "filler",
    [
        lambda: True,
        pytest.param(lambda: exp.column("age"), marks=pytest.mark.audit),
        pytest.param(lambda: [exp.column("age")], marks=pytest.mark.audit),
    ],
    ids=["flag", "node", "list"],
)
def test_an_argument_that_is_not_read_is_refused(filler: object) -> None:
    assert callable(filler)
    passed = []
    for question, dialect, at, name in _variants():
        tree = parse(question, dialect, TextLimits())
        node = list(tree.walk())[at]
        node.set(name, filler())
        try:
            lower(tree, duckdb_dataset(SHOP))
        except (SqlRefused, AttributeError, TypeError):
            continue  # a filler of the wrong kind breaks what reads the argument, which is not to pass it over
        passed.append((type(node).__name__, name, question))
    assert passed == []


@pytest.mark.parametrize("kind", scalar.ARMS, ids=str)
def test_arms_name_arguments_of_their_nodes(kind: type[exp.Expression]) -> None:
    _, arguments = scalar.ARMS[kind]
    assert set(arguments) <= {*kind.arg_types, "_type"}
