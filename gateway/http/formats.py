"""An answer as JSON, CSV or Arrow, as the request's ``Accept`` header asks."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final, Literal, TypeAlias

import pyarrow as pa
from starlette.responses import Response

from gateway.http.problems import HttpError
from gateway.wire import Column, JsonValue, QueryResponse

Format: TypeAlias = Literal["application/json", "text/csv", "application/vnd.apache.arrow.stream"]

FORMATS: Final[tuple[Format, ...]] = ("application/json", "text/csv", "application/vnd.apache.arrow.stream")
"""In the order of preference where a request likes several alike."""

_PROBLEM: Final = "application/problem+json"
_INT64: Final = range(-(2**63), 2**63)


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
    """Return an answer in the format asked for; CSV and Arrow carry the rows, and in headers what they cost."""
    if wanted == "application/json":
        return Response(answer.model_dump_json(), media_type=wanted)
    headers = {
        "Discreet-Cached": "true" if answer.cached else "false",
        "Discreet-Epsilon": repr(answer.cost.epsilon),
        "Discreet-Delta": repr(answer.cost.delta),
    }
    if answer.query_id is not None:
        headers["Discreet-Query-Id"] = answer.query_id
    content = _csv(answer) if wanted == "text/csv" else _arrow(answer)
    return Response(content, media_type=wanted, headers=headers)


def _csv(answer: QueryResponse) -> bytes:
    """Return a header and the rows (RFC 4180); NULL is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([column.name for column in answer.columns])
    writer.writerows([_field(value) for value in row] for row in answer.rows)
    return text.getvalue().encode()


def _field(value: JsonValue) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def _arrow(answer: QueryResponse) -> bytes:
    """Return an Arrow stream of one batch; its metadata hold the answer as JSON, without the rows, as ``discreet``."""
    arrays = [_array(column, [row[place] for row in answer.rows]) for place, column in enumerate(answer.columns)]
    fields = [pa.field(column.name, array.type) for column, array in zip(answer.columns, arrays, strict=True)]
    metadata: dict[bytes | str, bytes | str] = {
        b"discreet": answer.model_copy(update={"rows": []}).model_dump_json().encode()
    }
    schema = pa.schema(fields, metadata=metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))
    return sink.getvalue().to_pybytes()


def _array(column: Column, values: Sequence[JsonValue]) -> pa.Array[Any]:
    if column.type == "integer" and any(
        type(value) is not int or value not in _INT64 for value in values if value is not None
    ):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else _READ[column.type](value) for value in values], _ARROW[column.type])


_ARROW: Final[Mapping[str, pa.DataType]] = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}
_READ: Final[Mapping[str, Callable[[JsonValue], object]]] = {
    "integer": lambda value: value,
    "number": lambda value: None if value is None else float(value),
    "text": str,
    "boolean": bool,
    "date": lambda value: date.fromisoformat(str(value)),
    "timestamp": lambda value: datetime.fromisoformat(str(value)),
}
