"""The functions that engines other than DuckDB and PostgreSQL offer: what is not named here is refused there.

Why a list of their own: a template that is total in DuckDB may raise, wrap or round elsewhere. Each one stands here
only where the contract suite (``tests/engines``) tries it on hostile values. Arguments are written as in
``gateway.sql.functions``; that page says where a function may stand and how many arguments it takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_LOGIC: Mapping[str, str] = MappingProxyType(
    {
        "and": "",
        "or": "",
        "not": "NOT {0}",
        "eq": "{0} = {1}",
        "neq": "{0} <> {1}",
        "lt": "{0} < {1}",
        "lte": "{0} <= {1}",
        "gt": "{0} > {1}",
        "gte": "{0} >= {1}",
        "is_null": "{0} IS NULL",
        "is_true": "{0} IS TRUE",
        "is_false": "{0} IS FALSE",
        "coalesce": "COALESCE({*})",
        "case": "",
    }
)

OFFERED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "sqlite": MappingProxyType({**_LOGIC, "to_float": "CAST({0} AS REAL)"}),
        "spark": MappingProxyType({**_LOGIC, "to_float": "CAST({0} AS DOUBLE)"}),
    }
)
"""Dialect → function → template."""
