"""What to write instead of an aggregate that shows one person's values, or of a function that nobody has proven total.

``STRING_AGG(city, ', ')``  →  Group by the value: SELECT x, COUNT(*) … GROUP BY x …
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sqlglot import exp

_GROUPS = "Group by the value: SELECT x, COUNT(*) … GROUP BY x shows those that many people have."
_MOST = "The most frequent value: SELECT x, COUNT(*) AS n … GROUP BY x ORDER BY n DESC LIMIT 1."
_COUNT_IF = "Whether any or all rows meet a condition hangs on one person; COUNT_IF(p) / COUNT(*) is the share that do."
_ONE = "The row of an extreme is one person's; MAX(x) and MIN(x) are answered, as quantiles a few rows inside."
_BITS = "One row changes every bit of it; COUNT_IF counts the rows with a property."
_SUMS = "SUM(x), or EXP(AVG(ln_x)) of a bounded column of logarithms."
_TAILS = "Quantiles show the shape: QUANTILE_CONT(x, 0.05), MEDIAN(x), QUANTILE_CONT(x, 0.95)."
_DISTINCT = "COUNT(DISTINCT x) counts different values, of each person's at most a few."
_OTHERS = "COUNT, SUM, AVG, COUNT(DISTINCT x), MEDIAN and other quantiles, MIN and MAX can be released."

_NODES: Mapping[type[exp.Expression], str] = MappingProxyType(
    {
        exp.GroupConcat: _GROUPS,
        exp.ArrayAgg: _GROUPS,
        exp.ArrayUniqueAgg: _GROUPS,
        exp.ArrayConcatAgg: _GROUPS,
        exp.JSONArrayAgg: _GROUPS,
        exp.JSONObjectAgg: _GROUPS,
        exp.AnyValue: _GROUPS,
        exp.First: _GROUPS,
        exp.Last: _GROUPS,
        exp.Mode: _MOST,
        exp.ApproxTopK: _MOST,
        exp.LogicalOr: _COUNT_IF,
        exp.LogicalAnd: _COUNT_IF,
        exp.ArgMax: _ONE,
        exp.ArgMin: _ONE,
        exp.BitwiseXorAgg: _BITS,
        exp.BitwiseAndAgg: _BITS,
        exp.BitwiseOrAgg: _BITS,
        exp.Skewness: _TAILS,
        exp.Kurtosis: _TAILS,
        exp.ApproxDistinct: _DISTINCT,
    }
)

_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "HISTOGRAM": _GROUPS,
        "JSON_GROUP_ARRAY": _GROUPS,
        "JSON_GROUP_OBJECT": _GROUPS,
        "XMLAGG": _GROUPS,
        "EVERY": _COUNT_IF,
        "PRODUCT": _SUMS,
        "ENTROPY": _GROUPS,
        "MAD": _TAILS,
    }
)
"""Aggregates that the parser takes for functions of unknown names."""


_DAY = "CAST(x AS DATE), of texts like 2024-12-31."
_SPANS = "DATE_DIFF('month', a, b) counts starts of months, TIMESTAMPDIFF(MONTH, a, b) whole ones."
_ITSELF = "Group by the value itself: groups of few people do not appear."
_ROWS = "Constants as rows: (VALUES (1), (2)) AS t(x)."

_FUNCTIONS: Mapping[type[exp.Expression], str] = MappingProxyType(
    {
        exp.StrToDate: _DAY,
        exp.StrToTime: _DAY,
        exp.ParseDatetime: _DAY,
        exp.MonthsBetween: _SPANS,
        exp.MD5: _ITSELF,
        exp.SHA: _ITSELF,
        exp.SHA2: _ITSELF,
        exp.Unnest: _ROWS,
        exp.Explode: _ROWS,
        exp.GenerateSeries: _ROWS,
        exp.RegexpReplace: "REPLACE(x, 'old', 'new') of texts that are written out.",
        exp.Split: "SPLIT_PART(x, ',', 1).",
        exp.DateBin: "DATE_TRUNC('week', x).",
        exp.Initcap: "UPPER(x) or LOWER(x).",
    }
)


def other(node: exp.Expression) -> str | None:
    """Return what to write instead of a function that is not known to be total, None where there is nothing."""
    return _FUNCTIONS.get(type(node))


def instead(node: exp.Expression) -> str | None:
    """Return what to write instead of an aggregate that is not answered, None for what is no aggregate."""
    while isinstance(node, exp.Filter | exp.WithinGroup | exp.IgnoreNulls | exp.RespectNulls):
        if not isinstance(node.this, exp.Expression):
            return _OTHERS
        node = node.this
    if type(node) is exp.Anonymous:
        return _NAMES.get(str(node.this).upper())
    return _NODES.get(type(node), _OTHERS if isinstance(node, exp.AggFunc) else None)
