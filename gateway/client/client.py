"""The Python client: one method a question, typed results and errors, and retries that never pay twice."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack
from urllib.parse import quote

import httpx

from gateway.client.errors import GatewayError, QueryRefused, from_response, out_of_reach
from gateway.client.pending import POLL_SECONDS, Pending
from gateway.client.read import read, read_list
from gateway.client.result import Explanation, Result
from gateway.wire import Budget, DatasetInfo, Problem, QuerySummary, TypedParameter

Mechanism = Literal["auto", "laplace", "gaussian"]
Bounding = Literal["auto", "declared", "above_threshold", "exponential", "r2t"]
Parameter = None | bool | int | float | str | date
"""A value of a parameter; a ``datetime`` is a timestamp."""
Parameters = Sequence[Parameter | TypedParameter] | Mapping[str, Parameter | TypedParameter] | None

RETRIED = frozenset({429, 502, 503, 504})
"""Statuses that say "later": the gateway, or a proxy before it, is busy or away. A 403 is an answer, not a failure."""

STILL_RUNNING = "query-running"
"""The conflict of a retry that came while the first attempt still runs."""

LONGEST_PAUSE = 30.0


_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Question(TypedDict, total=False):
    """What may be said of a question beside its text and dataset; see ``Client.sql``."""

    epsilon: float | None
    rho: float | None
    error_target: Mapping[str, Any] | None
    mechanism: Mechanism
    max_groups_contributed: int | None
    keys_from: str | None
    bounding: Bounding
    clipped_count: bool
    dialect: str | None
    parameters: Parameters
    dry_run: bool
    confidence: float
    non_negative: bool
    use_cache: bool
    plan_id: str | None
    labels: Mapping[str, str] | None
    idempotency_key: str | None


DEFAULTS: Question = {
    "mechanism": "auto",
    "bounding": "auto",
    "clipped_count": False,
    "dry_run": False,
    "confidence": 0.95,
    "non_negative": False,
    "use_cache": True,
}


class Client:
    """A connection to a gateway, as one analyst.

    ``timeout`` is in seconds per attempt; ``transport`` replaces the network (httpx's seam: in-process, recorded);
    ``retries`` attempts follow a failed one, the first after about ``pause`` seconds, each next after twice as long (or
    as late as the gateway asks); a ``pause`` of 0 never waits.
    Threads may share a client.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout: float = 120.0,
        transport: httpx.BaseTransport | None = None,
        retries: int = 4,
        pause: float = 0.5,
    ) -> None:
        if not token or not _visible_ascii(token):
            raise ValueError("the token is not one line of visible ASCII characters")
        if not url.startswith(("http://", "https://")):
            raise ValueError("the URL does not begin with http:// or https://")
        try:
            base = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError("the URL is malformed") from error
        if not base.host:
            raise ValueError("the URL names no host")
        self._retries = retries
        self._pause = pause
        self._held_open = POLL_SECONDS if timeout >= 2 * POLL_SECONDS else int(timeout / 2)
        self._http = httpx.Client(
            base_url=base,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            timeout=timeout,
            transport=transport,
            follow_redirects=False,  # a redirect would carry the token to somebody else
            trust_env=base.host not in _LOOPBACK,  # a proxy that the environment names cannot reach this machine
        )

    @classmethod
    def from_env(
        cls, *, timeout: float = 120.0, transport: httpx.BaseTransport | None = None, retries: int = 4
    ) -> Client:
        """Return a client of the gateway that DISCREET_URL and DISCREET_TOKEN name, else raise ``LookupError``."""
        missing = [name for name in ("DISCREET_URL", "DISCREET_TOKEN") if not os.environ.get(name)]
        if missing:
            raise LookupError(f"set {' and '.join(missing)} in the environment")
        url, token = os.environ["DISCREET_URL"], os.environ["DISCREET_TOKEN"]
        return cls(url, token, timeout=timeout, transport=transport, retries=retries)

    def sql(
        self,
        text: str,
        *,
        dataset: str,
        epsilon: float | None = None,
        rho: float | None = None,
        error_target: Mapping[str, Any] | None = None,
        mechanism: Mechanism = "auto",
        max_groups_contributed: int | None = None,
        keys_from: str | None = None,
        bounding: Bounding = "auto",
        clipped_count: bool = False,
        dialect: str | None = None,
        parameters: Parameters = None,
        dry_run: bool = False,
        confidence: float = 0.95,
        non_negative: bool = False,
        use_cache: bool = True,
        plan_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Result:
        """Ask one question at a total price of ``epsilon`` (or ``rho``), and return the noisy answer.

        ``error_target`` states an error in place of a price: ``{"within": 50}`` or ``{"relative": 0.02}``, 2 %; with
        ``column`` it is of one column, with ``confidence`` it holds that surely (.95).
        ``keys_from`` is the ``query_id`` of an earlier answer: private group keys have the values that it listed.
        ``non_negative`` holds at 0 what cannot be less, which makes it too high on average.
        ``parameters`` are values for ``?`` and ``$1`` (a sequence) or for ``:name`` (a mapping): numbers, texts, truth
        values, dates, None. One ``idempotency_key`` gets one answer at one price, however often it is sent; without it
        a fresh one is used for all attempts of this call. What takes long is waited for. Raises the errors of
        ``gateway.client.errors``.
        """
        pending = self._pending(
            text,
            dataset,
            epsilon=epsilon,
            rho=rho,
            error_target=error_target,
            mechanism=mechanism,
            max_groups_contributed=max_groups_contributed,
            keys_from=keys_from,
            bounding=bounding,
            clipped_count=clipped_count,
            dialect=dialect,
            parameters=parameters,
            dry_run=dry_run,
            confidence=confidence,
            non_negative=non_negative,
            use_cache=use_cache,
            plan_id=plan_id,
            labels=labels,
            idempotency_key=idempotency_key,
        )
        return pending.begin().result()

    def submit(self, text: str, *, dataset: str, **question: Unpack[Question]) -> Pending:
        """Ask one question as ``sql`` does, without waiting: what is returned has the answer when it is there."""
        return self._pending(text, dataset, **question).begin(at_once=True)

    def _pending(self, text: str, dataset: str, **question: Unpack[Question]) -> Pending:
        said: dict[str, Any] = {**DEFAULTS, "sql": text, "dataset": dataset, **question}
        if not all(math.isfinite(price) for price in (said.get("epsilon"), said.get("rho")) if price is not None):
            raise _not_a_price()  # JSON has no word for it; the gateway would say the same
        given = said.pop("idempotency_key", None)
        key = new_key() if given is None else given
        if not valid_key(key):
            raise ValueError("an idempotency key is 1 to 200 visible ASCII characters")
        said["parameters"] = _sent(said.get("parameters"))
        said["labels"] = dict(said.get("labels") or {})
        if said.get("error_target") is not None:
            said["error_target"] = dict(said["error_target"])
        sent = {name: value for name, value in said.items() if value is not None}
        return Pending(text, key, self._send, sent, self._pause, self._held_open)

    def explain(self, text: str, *, dataset: str, **question: Unpack[Question]) -> Explanation:
        """Return how a question would be answered, with its expected errors, at no price and without touching data.

        It takes what ``sql`` takes.
        """
        question["dry_run"] = True
        return Explanation(self.sql(text, dataset=dataset, **question).response, text)

    def budgets(self) -> list[Budget]:
        """Return what remains on every dataset on which this analyst has a grant."""
        return read_list(Budget, self._send("GET", "/v1/budget"))

    def budget(self, dataset: str) -> Budget:
        """Return what remains on one dataset."""
        return read_list(Budget, self._send("GET", "/v1/budget", params={"dataset": dataset}))[0]

    def queries(self, dataset: str | None = None, *, limit: int = 100) -> list[QuerySummary]:
        """Return this analyst's own charges, newest first, and what became of each."""
        params = {"limit": limit} if dataset is None else {"limit": limit, "dataset": dataset}
        return read_list(QuerySummary, self._send("GET", "/v1/queries", params=params))

    def datasets(self) -> list[DatasetInfo]:
        """Return the datasets on which this analyst has a grant: their declarations, never data."""
        return read_list(DatasetInfo, self._send("GET", "/v1/datasets"))

    def dataset(self, name: str) -> DatasetInfo:
        """Return one dataset's tables, columns, bounds and declared values."""
        return read(DatasetInfo, self._send("GET", f"/v1/datasets/{quote(name, safe='')}"))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({str(self._http.base_url)!r})"

    def _send(self, method: str, path: str, *, sql: str | None = None, **request: Any) -> httpx.Response:
        """Send a request, and send it again while the gateway is busy or out of reach; the same key goes with each."""
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                response = self._http.request(method, path, **request)
            except (httpx.UnsupportedProtocol, httpx.LocalProtocolError):
                raise  # a request that cannot be sent at all
            except httpx.TransportError as error:
                if last:
                    raise out_of_reach(error) from error
                self._wait(attempt, None)
                continue
            if response.is_success:
                return response
            failure = from_response(response, sql)
            if last or not _passing(failure, response):
                raise failure
            self._wait(attempt, response.headers.get("Retry-After"))
        raise AssertionError("the last attempt returns or raises")

    def _wait(self, attempt: int, asked: str | None) -> None:
        """Pause before the next attempt: as long as the gateway asked, else a doubling time with jitter."""
        pause = self._pause * 2**attempt * (1 + secrets.randbelow(1000) / 2000)
        if asked is not None and asked.isdigit():
            pause = max(pause, float(asked)) if self._pause else 0.0
        time.sleep(min(pause, LONGEST_PAUSE))


def new_key() -> str:
    """Return an idempotency key that nobody else has."""
    return secrets.token_urlsafe(24)


def valid_key(key: str) -> bool:
    """Return whether a text can be an idempotency key."""
    return 1 <= len(key) <= 200 and _visible_ascii(key)


def _visible_ascii(text: str) -> bool:
    return all("!" <= character <= "~" for character in text)


def _passing(failure: GatewayError, response: httpx.Response) -> bool:
    """Whether asking again can help; never after a charge, whose outcome is final."""
    return not failure.charged and (response.status_code in RETRIED or failure.code == STILL_RUNNING)


def _sent(parameters: Parameters) -> list[Any] | dict[str, Any] | None:
    """Return parameters as JSON has them, dates with their type."""
    if parameters is None:
        return None
    if isinstance(parameters, str):
        raise TypeError("parameters are a sequence or a mapping of values, not a text")
    if isinstance(parameters, Mapping):
        return {name: _value(value) for name, value in parameters.items()}
    return [_value(value) for value in parameters]


def _value(value: Parameter | TypedParameter) -> Any:
    if isinstance(value, TypedParameter):
        return value.model_dump()
    if isinstance(value, date):
        return {"type": "timestamp" if isinstance(value, datetime) else "date", "value": value.isoformat()}
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a parameter is a finite number")
    return value


def _not_a_price() -> QueryRefused:
    return QueryRefused(
        Problem(
            type="about:blank",
            title="Price invalid",
            status=422,
            code="price-invalid",
            detail="The price of a request is a positive number.",
        )
    )
