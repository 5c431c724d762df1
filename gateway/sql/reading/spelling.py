"""Bring what dialects write differently, and mean alike, to one spelling, so that lowering knows one.

``SELECT AVG([Age]) FROM users WHERE city = N'Ulm'`` (tsql)  →  ``SELECT AVG(age) FROM users WHERE city = 'Ulm'``
"""

from __future__ import annotations

from sqlglot import exp

CASELESS = frozenset({"duckdb", "bigquery", "spark", "mysql", "tsql"})
"""Dialects in which quotes around a name do not make its case count (BigQuery: names of columns)."""


def spell(tree: exp.Expr, dialect: str) -> None:
    """Rewrite a tree in place.

    A quoted name of a caseless dialect is an unquoted one: names that differ in case alone still find the one that is
    written exactly so first.
    """
    for node in list(tree.walk()):
        if isinstance(node, exp.Identifier) and dialect in CASELESS:
            node.set("quoted", False)
        elif type(node) is exp.National:  # N'…': all texts are Unicode here
            text = exp.Literal.string(str(node.this))
            text.meta.update(node.meta)
            node.replace(text)
        elif type(node) is exp.CountIf:
            node.set("zero_on_all_null", None)  # a count of nothing is 0 in every dialect
