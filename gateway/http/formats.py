"""An answer as JSON, CSV or Arrow, as the request's ``Accept`` header asks."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from typing import Any, Final, Literal, TypeAlias, TypeVar

import pyarrow as pa
from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse

from gateway.http.problems import HttpError
from gateway.wire import Column, JsonValue, QueryResponse

Format: TypeAlias = Literal["application/json", "text/csv", "application/vnd.apache.arrow.stream"]

FORMATS: Final[tuple[Format, ...]] = ("application/json", "text/csv", "application/vnd.apache.arrow.stream")
"""In the order of preference where a request likes several alike."""

STREAMED: Final = 10_000
"""From how many rows on an answer is sent in pieces."""

PIECE_ROWS: Final = 10_000
PIECE_BYTES: Final = 1 << 20

Piece: TypeAlias = bytes | memoryview
Row = TypeVar("Row")

_PROBLEM: Final = "application/problem+json"


def negotiate(accept: Sequence[str]) -> Format:
    """Return the format that ``Accept`` headers ask for (JSON without any); 406 if it is none of ours.

    Decided before anything is charged.
    """
    ranges = [part for header in accept for part in header.split(",") if part.strip()]
    if not ranges:
        return "application/json"
    best: tuple[float, Format] | None = None
    for offered in FORMATS:
        quality = max((q for each in ranges if (q := _quality(each, offered)) is not None), default=0.0)
        if quality > 0 and (best is None or quality > best[0]):
            best = (quality, offered)
    if best is None:
        raise HttpError(406, "not-acceptable")
    return best[1]


def _quality(each: str, offered: Format) -> float | None:
    """Return how much a media range likes a format; None if it does not speak of it (RFC 9110, section 12.5.1)."""
    wanted, *parameters = (part.strip().lower() for part in each.split(";"))
    kind = offered.partition("/")[0]
    if wanted not in (offered, f"{kind}/*", "*/*") and not (wanted == _PROBLEM and offered == "application/json"):
        return None
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return None
            return quality if 0 <= quality <= 1 else None
    return 1.0


def render(answer: QueryResponse, wanted: Format) -> Response:
    """Return an answer in the format asked for; CSV and Arrow carry the rows, and in headers what they cost.

    One of many rows is written piece by piece while it is sent, so that it is not held a second and a third time. Why
    nothing can fail by then: it is settled and post-processed, and each column has been made what its type is (Arrow),
    or is of values that JSON has.
    """
    headers: dict[str, str] = {}
    if wanted != "application/json":
        headers = {
            "Discreet-Cached": "true" if answer.cached else "false",
            "Discreet-Epsilon": repr(answer.cost.epsilon),
            "Discreet-Delta": repr(answer.cost.delta),
        }
        if answer.query_id is not None:
            headers["Discreet-Query-Id"] = answer.query_id
    if len(answer.rows) >= STREAMED:
        return StreamingResponse(_cut(_PIECES[wanted](answer)), media_type=wanted, headers=headers)
    whole = answer.model_dump_json() if wanted == "application/json" else b"".join(_PIECES[wanted](answer))
    return Response(whole, media_type=wanted, headers=headers)


def _cut(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Cut what is long: the server holds a piece or two beside the one that it sends."""
    for piece in pieces:
        for start in range(0, len(piece), PIECE_BYTES):
            yield piece[start : start + PIECE_BYTES]


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    return (rows[start : start + PIECE_ROWS] for start in range(0, len(rows), PIECE_ROWS))


def _json(answer: QueryResponse) -> Iterator[Piece]:
    """Yield the text that ``model_dump_json`` has, without having it whole."""
    yield answer.model_dump_json(include={"query_id", "columns"}).encode()[:-1] + b',"rows":['
    yield from _list(answer.rows)
    yield b'],"intervals":{'
    for place, (name, ends) in enumerate(answer.intervals.items()):
        yield (b"," if place else b"") + to_json(name) + b":["
        yield from _list(ends)
        yield b"]"
    yield b"}," + answer.model_dump_json(exclude={"query_id", "columns", "rows", "intervals"}).encode()[1:]


def _list(values: Sequence[object]) -> Iterator[Piece]:
    """Yield the text of a list, without its brackets."""
    for place, part in enumerate(_parts(values)):
        yield (b"," if place else b"") + to_json(part, inf_nan_mode="null")[1:-1]


def _csv(answer: QueryResponse) -> Iterator[Piece]:
    """Yield a header and the rows (RFC 4180); NULL is an empty field."""
    yield _lines([[column.name for column in answer.columns]])
    for part in _parts(answer.rows):
        yield _lines([_field(value) for value in row] for row in part)


def _lines(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _field(value: JsonValue) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def _arrow(answer: QueryResponse) -> Iterator[Piece]:
    """Return the messages of an Arrow stream; its metadata hold the answer as JSON, without the rows, as ``discreet``.

    All columns are made before the first of them is sent.
    """
    values = zip(*answer.rows, strict=True) if answer.rows else [()] * len(answer.columns)
    arrays = [_array(column, each) for column, each in zip(answer.columns, values, strict=True)]
    fields = [pa.field(column.name, array.type) for column, array in zip(answer.columns, arrays, strict=True)]
    metadata: dict[bytes | str, bytes | str] = {
        b"discreet": to_json(answer.model_copy(update={"rows": []}), inf_nan_mode="null")
    }
    return _messages(pa.record_batch(arrays, schema=pa.schema(fields, metadata=metadata)))


def _messages(rows: pa.RecordBatch) -> Iterator[Piece]:
    """Yield a schema, batches, and the mark of the end (Arrow columnar format, "IPC streaming format")."""
    yield memoryview(rows.schema.serialize())
    for start in range(0, max(rows.num_rows, 1), PIECE_ROWS):
        yield memoryview(rows.slice(start, PIECE_ROWS).serialize())
    yield b"\xff\xff\xff\xff\x00\x00\x00\x00"


def _array(column: Column, values: Sequence[JsonValue]) -> pa.Array[Any]:
    """Return a column as its type has it; what is of that type already is read as a whole."""
    kinds = set(map(type, values)) - {type(None)}
    if column.type == "integer":
        if kinds <= {int}:
            with suppress(OverflowError):  # beyond 64 bits
                return pa.array(values, pa.int64())
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if kinds <= _PLAIN[column.type]:
        return pa.array(values, _ARROW[column.type])
    return pa.array([None if value is None else _READ[column.type](value) for value in values], _ARROW[column.type])


_ARROW: Final[Mapping[str, pa.DataType]] = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}
_PLAIN: Final[Mapping[str, frozenset[type]]] = {
    "number": frozenset({float}),
    "text": frozenset({str}),
    "boolean": frozenset({bool}),
    "date": frozenset(),
    "timestamp": frozenset(),
}
_READ: Final[Mapping[str, Callable[[JsonValue], object]]] = {
    "number": lambda value: None if value is None else float(value),
    "text": str,
    "boolean": bool,
    "date": lambda value: date.fromisoformat(str(value)),
    "timestamp": lambda value: datetime.fromisoformat(str(value)),
}
_PIECES: Final[Mapping[Format, Callable[[QueryResponse], Iterator[Piece]]]] = {
    "application/json": _json,
    "text/csv": _csv,
    "application/vnd.apache.arrow.stream": _arrow,
}
