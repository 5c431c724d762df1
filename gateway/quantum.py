"""The latency quantum: when the outcome of a charge may first be seen, by whatever way somebody looks."""

from __future__ import annotations

import math
import time

from budget.records import Record


def shows(record: Record, quantum_ms: int) -> bool:
    """Return whether a charge's outcome may be seen yet: at multiples of the quantum since the charge itself.

    Not since a poll: polls that are sent at many instants would tell the moment more finely than the quantum.
    """
    return wait(record, quantum_ms) <= 0


def wait(record: Record, quantum_ms: int) -> float:
    """Return in how many seconds a charge's outcome may be seen, zero or less if it may be now."""
    if quantum_ms == 0 or record.outcome is None:
        return 0.0
    quantum = quantum_ms * 1000
    steps = -((record.charge.at - record.outcome.at) // quantum)
    return (record.charge.at + max(steps, 1) * quantum) / 1e6 - time.time_ns() / 1e9


def pause(record: Record, quantum_ms: int) -> float:
    """Return in how many seconds more may be told of a charge than at this moment: at the next multiple of the quantum
    since the charge, zero where its outcome may be seen already.
    """
    if quantum_ms == 0 or (record.outcome is not None and shows(record, quantum_ms)):
        return 0.0
    quantum = quantum_ms / 1000
    return quantum - (time.time_ns() / 1e9 - record.charge.at / 1e6) % quantum


def left(began: float, quantum: float) -> float:
    """Return in how many seconds the next multiple of a quantum (in seconds) since then is, the first one at least.

    ``began`` is on the clock that only goes forward.
    """
    if quantum <= 0:
        return 0.0
    passed = time.monotonic() - began
    return max(1, math.ceil(passed / quantum)) * quantum - passed
