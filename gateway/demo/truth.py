"""How far the noise moved an answer: the one thing that nobody but the owner of the data may look up.

This belongs to the demo alone. It asks the database directly, past every protection, which is only right because
whoever runs the demo holds the data anyway.
"""

from __future__ import annotations

from decimal import Decimal

from gateway.client.display import number
from gateway.engines.base import Limits
from gateway.service import Service
from gateway.wire import JsonValue, QueryResponse


def compare(service: Service, dataset: str, sql: str, answer: QueryResponse) -> str | None:
    """Return in words what the first noisy number of an answer is exactly, and by how much the noise moved it.

    The analyst's own SQL is run as it stands, and the answer's first row is found in its rows by the keys; None where
    there is no such row or number.
    """
    noisy = next((index for index, column in enumerate(answer.columns) if column.role in {"noisy", "derived"}), None)
    if noisy is None or not answer.rows:
        return None
    released = answer.rows[0]
    value = released[noisy]
    keys = [index for index, column in enumerate(answer.columns) if column.role == "key"]
    exact = next(
        (row[noisy] for row in _exactly(service, dataset, sql) if all(row[i] == released[i] for i in keys)), None
    )
    if not isinstance(value, int | float) or not isinstance(exact, int | float | Decimal):
        return None
    truth = int(exact) if exact == int(exact) else float(exact)
    moved = abs(value - truth)
    share = f" ({moved / abs(truth):.2%})" if truth else ""
    half = None if isinstance(truth, int) else _half(answer, noisy)
    where = ", ".join(f"{answer.columns[i].name} = {released[i]}" for i in keys)
    column = answer.columns[noisy].name + (f" where {where}" if where else "")
    cause = "the noise" if isinstance(truth, int) else "noise and declared bounds"
    return f"{column} is exactly {number(truth, half)}; {cause} moved it by {number(moved, half)}{share}"


def _exactly(service: Service, dataset: str, sql: str) -> list[tuple[JsonValue, ...]]:
    with service.reads.connect() as conn:
        found = service.catalogue.current(conn, dataset)
    with service.engine(found).session(Limits(30.0)) as session:
        table = session.fetch(sql)
    return [tuple(row.values()) for row in table.to_pylist()]


def _half(answer: QueryResponse, column: int) -> float | None:
    ends = (answer.intervals.get(answer.columns[column].name) or [None])[0]
    return None if ends is None else (ends[1] - ends[0]) / 2
