"""A gateway in this process behind a real server on a port of this machine, for measurements that go through HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from typing import Any, Final

import uvicorn

from gateway import admin, query
from gateway.auth.issue import issue_jwt
from gateway.auth.principal import Principal
from gateway.engines.base import Limits
from gateway.http.app import create_app
from gateway.http.ask import Answer
from gateway.http.serve import leave_out_pandas, settled
from gateway.policy.model import Dataset
from gateway.service import Service, open_service
from gateway.settings import load
from gateway.submission import Submission
from gateway.wire import QueryRequest, QueryResponse

ARROW: Final = "application/vnd.apache.arrow.stream"


@dataclass(frozen=True, slots=True)
class Served:
    """Two servers over one service: the gateway, and the same stack that passes SQL to the engine as it is."""

    service: Service
    dataset: str
    port: int
    plain_port: int
    tokens: tuple[str, ...]

    def plain(self, sql: str) -> None:
        """Run a statement on the gateway's own connection to the data, fetched as Arrow."""
        with self.service.reads.connect() as conn:
            self._run(self.service.catalogue.source(conn, self.dataset), sql)

    def bounded(self, sql: str) -> None:
        """Run a plan's statement where plans read: on the prepared copy, if there is one."""
        with self.service.reads.connect() as conn:
            self._run(self.service.catalogue.current(conn, self.dataset), sql)

    def _run(self, dataset: Dataset, sql: str) -> None:
        with self.service.engine(dataset).session(Limits(600)) as session:
            session.fetch(sql)


@contextmanager
def served(folder: Path, policy: str, analysts: int) -> Iterator[Served]:
    """Serve a dataset to analysts with tokens and grants, without a quantum; and plain SQL beside it."""
    leave_out_pandas()
    settings = load(
        home=folder / "home",
        database=None,
        signing_key=None,
        process_folder=None,
        latency_quantum_ms=0,
        statement_seconds=600,
        answer_within_seconds=600,
        log_level="error",
    )
    admin.init(settings)
    service = open_service(settings)
    try:
        assert not service.faults, service.faults
        name = admin.apply_dataset(service.control, settings, policy, actor="bench", folder=folder).name
        tokens = [_analyst(service, name, f"analyst{number}") for number in range(analysts)]
        with _server(service, query.answer) as port, _server(service, _passed_on) as plain_port, settled():
            yield Served(service, name, port, plain_port, tuple(tokens))
    finally:
        service.close()


def _analyst(service: Service, dataset: str, name: str) -> str:
    admin.add_analyst(service.control, name, actor="bench")
    admin.set_budget(service.control, dataset, name, epsilon=1_000_000, delta=0, actor="bench")
    with service.control.begin() as conn:
        who = Principal(name, "analyst")
        return issue_jwt(conn, service.settings, service.key, who, 86_400, actor="bench")[0]


def _passed_on(
    service: Service, principal: Principal, request: QueryRequest, key: str | None, submission: Submission | None
) -> QueryResponse:
    """Answer a request with what the engine says to its SQL: the stack without anything that protects."""
    del principal, key, submission
    with service.reads.connect() as conn:
        dataset = service.catalogue.current(conn, request.dataset)
    with service.engine(dataset).session(Limits(600)) as session:
        table = session.fetch(request.sql)
    rows = [list(row.values()) for row in table.to_pylist()]
    said: dict[str, Any] = {"query_id": None, "columns": [], "rows": rows, "intervals": {}, "warnings": []}
    return QueryResponse.model_construct(**said)


@contextmanager
def _server(service: Service, answer: Answer) -> Iterator[int]:
    app = create_app(service, answer)
    config = uvicorn.Config(
        app,
        port=0,
        log_level="error",
        access_log=False,
        lifespan="off",
        timeout_keep_alive=600,
        http="h11",  # as it is served, whatever is installed
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()


class Asker:
    """One analyst on one connection that is kept open."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=600)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def ask(self, request: dict[str, Any], accept: str = "application/json") -> bytes:
        """Send one question and return the body of its answer; anything but 200 is an error."""
        body = json.dumps(request).encode()
        self._connection.request("POST", "/v1/query", body, {**self._headers, "Accept": accept})
        response = self._connection.getresponse()
        said = response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {said[:500]!r}")
        return said

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def statements(answer: bytes) -> Sequence[str]:
    """Return the bounded SQL of a dry run's answer."""
    return [release["sql"] for release in json.loads(answer)["plan"]["releases"]]
