"""Logs and metrics, for admins.

Neither holds SQL text, tokens or answers. Metrics carry no label that an analyst's data or text could choose: routes by
their template, outcomes by their HTTP status.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

ROOT: Final = "discreet"

_FIELDS: Final = "discreet_fields"
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class JsonLines(logging.Formatter):
    """One JSON object a line, so that no text in it can begin a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        said: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        said |= getattr(record, _FIELDS, {})
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str)


def configure_logging(level: str) -> None:
    """Send the gateway's log to standard error as JSON lines; done again it replaces the earlier handler."""
    logger = logging.getLogger(ROOT)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def fields(**said: object) -> dict[str, dict[str, object]]:
    """Return the ``extra`` that gives a log record fields of its own."""
    return {_FIELDS: said}


class Metrics:
    """The gateway's counters, on a registry of their own."""

    def __init__(self, in_flight: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "discreet_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "discreet_request_seconds", "Time to the answer.", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self._changed = Gauge(
            "discreet_dataset_files_changed",
            "Whether a dataset's files differ from what an admin vouched for.",
            ["dataset"],
            registry=self.registry,
        )
        gauge = Gauge("discreet_queries_in_flight", "Queries in flight.", registry=self.registry)
        gauge.set_function(lambda: float(in_flight()))

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self, changed: Mapping[str, bool]) -> bytes:
        """Return the metrics in Prometheus' text format; ``changed`` says of which datasets the files have changed."""
        self._changed.clear()
        for dataset, differs in changed.items():
            self._changed.labels(dataset).set(float(differs))
        return generate_latest(self.registry)
