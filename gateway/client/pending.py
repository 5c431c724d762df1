"""A question that is being answered: waited for, looked at, taken back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import httpx

from gateway.client.errors import GatewayError
from gateway.client.read import read
from gateway.client.result import Result
from gateway.wire import QueryResponse, Submitted

LOST: Final = frozenset({"query-unknown", "query-abandoned", "query-unreadable"})
"""What a gateway says that has been started anew, or that knows nothing of a question: the question is sent again under
its key, so that it is answered once and paid once.
"""

POLL_SECONDS: Final = 20
"""How long a request for an answer is held open; a client of little patience has shorter ones."""

LONGEST_PAUSE: Final = 5.0
MOST_ROUNDS: Final = 5


class Send(Protocol):
    """How a client sends a request, again and again while that can help."""

    def __call__(self, method: str, path: str, *, sql: str | None = None, **request: Any) -> httpx.Response:
        """Send one request, and return what is no error."""


@dataclass(eq=False)
class Pending:
    """A question under way. ``result`` waits for its answer; ``cancel`` ends it, and what was charged stays charged."""

    sql: str
    idempotency_key: str
    _send: Send
    _question: Mapping[str, Any]
    _pause: float
    _held_open: int = POLL_SECONDS
    _response: httpx.Response | None = field(default=None, init=False)

    @property
    def query_id(self) -> str | None:
        """The gateway's name of the question while it is under way, then that of the answer."""
        response = self._begun()
        if response.status_code == 202:
            return read(Submitted, response).query_id
        return read(QueryResponse, response).query_id

    def done(self) -> bool:
        """Return whether the answer is there; an error that has come instead is raised."""
        return self._come(0)

    def result(self, timeout: float | None = None) -> Result:
        """Return the answer when it is there; ``TimeoutError`` if it is not within so many seconds, and it goes on.

        Raises the errors of ``gateway.client.errors``.
        """
        until = None if timeout is None else time.monotonic() + timeout
        pause = self._pause
        while True:
            left = self._held_open if until is None else max(until - time.monotonic(), 0.0)
            began = time.monotonic()
            if self._come(min(int(left), self._held_open)):
                return Result(read(QueryResponse, self._begun()), self.sql)
            if until is not None and time.monotonic() >= until:
                raise TimeoutError("the answer is not there yet")
            if time.monotonic() - began < pause:  # a gateway that does not hold requests open
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def cancel(self) -> None:
        """End the question: if it had not ended before, its outcome is a failure, and its price stays charged."""
        response = self._begun()
        if response.status_code == 202:
            self._send("DELETE", _path(response))

    def begin(self, *, at_once: bool = False) -> Pending:
        """Send the question: the gateway answers when it wants to, or at once that it goes on."""
        headers = {"Idempotency-Key": self.idempotency_key}
        if at_once or self._held_open < POLL_SECONDS:
            headers["Prefer"] = "respond-async" if at_once else f"wait={self._held_open}"
        self._response = self._asked("POST", "/v1/query", json=dict(self._question), headers=headers)
        return self

    def _come(self, seconds: int) -> bool:
        for _ in range(MOST_ROUNDS):
            response = self._begun()
            if response.status_code != 202:
                return True
            try:
                self._response = self._asked("GET", _path(response), headers={"Prefer": f"wait={seconds}"})
            except GatewayError as error:
                if error.code not in LOST:
                    raise
                self.begin()
            else:
                break
        return self._begun().status_code != 202

    def _begun(self) -> httpx.Response:
        assert self._response is not None, "the question was not sent"
        return self._response

    def _asked(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._send(method, path, sql=self.sql, **request)
        except GatewayError as error:
            error.idempotency_key = self.idempotency_key
            raise


def _path(response: httpx.Response) -> str:
    return f"/v1/queries/{read(Submitted, response).query_id}"
