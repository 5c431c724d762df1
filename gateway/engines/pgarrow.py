"""The rows of a psycopg cursor as an Arrow table: the few types that bounded SQL returns, and no other."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from gateway.engines.base import EngineError

if TYPE_CHECKING:
    import psycopg

_NUMERIC: Final = 1700
_TYPES: Final[dict[int, pa.DataType]] = {
    16: pa.bool_(),
    20: pa.int64(),
    21: pa.int64(),
    23: pa.int64(),
    25: pa.string(),
    700: pa.float64(),
    701: pa.float64(),
    1042: pa.string(),
    1043: pa.string(),
    1082: pa.date32(),
    1114: pa.timestamp("us"),
    1184: pa.timestamp("us", tz="UTC"),
}


def to_arrow(cursor: psycopg.Cursor[tuple[Any, ...]]) -> pa.Table:
    """Return a cursor's rows; NUMERIC becomes a decimal as wide as its values need, scale 0 where they are whole."""
    if cursor.description is None:
        raise EngineError("the statement has no rows")
    names = [column.name for column in cursor.description]
    codes = [column.type_code for column in cursor.description]
    rows = cursor.fetchall()
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    arrays = [_array(values, code) for values, code in zip(columns, codes, strict=True)]
    return pa.Table.from_arrays(arrays, names=names)


def _array(values: Sequence[Any], code: int) -> pa.Array[Any]:
    if code == _NUMERIC:
        return pa.array(values, type=_decimal(values))
    if code not in _TYPES:
        raise EngineError(f"a column of the type with oid {code} is not read")
    return pa.array(values, type=_TYPES[code])


def _decimal(values: Sequence[Decimal | None]) -> pa.DataType:
    scale = digits = 0
    for value in values:
        if value is None:
            continue
        exponent = value.as_tuple().exponent
        if not isinstance(exponent, int):
            raise EngineError("a NUMERIC is not finite")
        scale = max(scale, -exponent)
        digits = max(digits, value.adjusted() + 1)
    return pa.decimal128(38, scale) if digits + scale <= 38 else pa.decimal256(76, scale)
