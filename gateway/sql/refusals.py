"""The closed list of reasons for which SQL is refused: stable codes, one sentence each, and what to write instead."""

from __future__ import annotations

from types import MappingProxyType
from typing import NoReturn

from sqlglot import exp

from gateway.errors import SqlRefused
from gateway.sql.position import position

CODES: MappingProxyType[str, str] = MappingProxyType(
    {
        "sql-too-long": "The SQL text is longer than this gateway reads.",
        "sql-too-deep": "The SQL is nested more deeply, or has more words, than this gateway reads.",
        "sql-syntax": "The SQL does not parse.",
        "sql-not-one-select": "Exactly one SELECT statement can be asked.",
        "dialect-unknown": "That SQL dialect is not known here.",
        "clause-misplaced": "A privacy clause stands on a SELECT that aggregates people.",
        "contribution-bounds-invalid": "Contribution bounds are two numbers, the lower first, that fit the aggregate.",
        "privacy-option-unknown": "The privacy clause has an option that is not known here.",
        "privacy-option-invalid": "An option of the privacy clause has a value that it cannot have.",
        "privacy-unit-differs": "That is not the column that names the privacy unit of these rows.",
        "parameter-missing": "The text refers to a parameter that the request gives no value for.",
        "parameter-unused": "The request gives a value for a parameter that the text does not refer to.",
        "not-supported": "This part of SQL is not supported.",
        "table-unknown": "No table of that name is declared in the dataset.",
        "column-unknown": "No column of that name is declared in the tables of the query.",
        "column-ambiguous": "More than one column has that name; write the table before it.",
        "function-unknown": "That function is not on the list of functions known to be safe.",
        "type-mismatch": "The types of these operands do not fit together.",
        "constant-invalid": "That constant is not a value of the type that it is compared with.",
        "null-comparison": "A comparison with NULL is never true.",
        "join-unsupported": "This kind of join is not supported.",
        "join-not-owned": "Nothing says that the rows joined here belong to the same person.",
        "subquery-unsupported": "This kind of subquery is not supported.",
        "subquery-crosses-owners": "A subquery may fold one person's rows, not rows of several people together.",
        "window-crosses-owners": "A window below an aggregate reaches over one person's rows, not over other people's.",
        "set-not-owned": "Nothing says that the rows put together here stay with the people they belong to.",
        "not-in-unsupported": "NOT IN is taken within one person's rows: elsewhere one NULL would empty it for all.",
        "no-aggregate": "Rows of private tables never leave; only aggregates over people do.",
        "not-grouped": "That column is neither grouped by nor inside an aggregate.",
        "aggregate-misplaced": "An aggregate cannot stand here.",
        "aggregate-unsupported": "That aggregate cannot be released with bounded noise.",
        "aggregate-argument": "This aggregate takes an expression that reads a column.",
        "distinct-unsupported": "DISTINCT is not supported here.",
        "bounds-missing": "The column has no declared bounds, so that one person's part in the result is unbounded.",
        "rows-unbounded": "The policy does not bound how many rows of this table one person may have.",
        "key-unsupported": "That expression cannot be a group key.",
        "delta-missing": "Groups without declared values need a delta, and the policy's per_query.delta is 0.",
        "keys-unmatched": "None of the query's group keys is a key of the query that keys_from names.",
        "groups-too-many": "The declared values of the group keys make more groups than this gateway releases.",
        "order-invalid": "ORDER BY takes output columns, their positions, or expressions over the aggregates.",
        "limit-invalid": "LIMIT and OFFSET take whole numbers written out.",
        "column-name-duplicate": "Two output columns have the same name.",
        "interval-unknown": "DP_INTERVAL_LOW and DP_INTERVAL_HIGH take a noisy column as it was released.",
        "window-unsupported": "This window is not supported.",
        "set-unsupported": "This set operation is not supported.",
        "releases-too-many": "The question needs more noisy tables than this gateway releases in one request.",
        "post-too-large": "What is computed from the released tables may grow too large.",
        "scale-too-large": "At this price the noise would exceed what can be represented.",
        "mechanism-unavailable": "That mechanism cannot be used for this request.",
        "bounding-unavailable": "A unit's part cannot be bounded that way in this request.",
    }
)


def refuse(
    code: str,
    where: exp.Expression | None = None,
    *,
    message: str | None = None,
    hint: str | None = None,
) -> NoReturn:
    """Raise the refusal of that code at the position of ``where``; the code's own sentence unless ``message`` is given.

    Messages are made of the analyst's own text and the policy, never of data.
    """
    raise SqlRefused(code, message or CODES[code], hint=hint, position=position(where) if where is not None else None)
