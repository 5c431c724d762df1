"""A gateway as its users have it: a home made by commands, dirty data in a DuckDB file, a server process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import duckdb
import httpx
from typer.testing import CliRunner, Result

from gateway.cli.commands import app
from gateway.client.client import Client

PLANTED: Final = "Zebulon-4711"
SECRETS: Final = (PLANTED, "7341059.25")
"""Values of one row each: no text that an analyst sees may hold them, and no line of the access log."""

INNER: Final = (
    "Traceback",
    'File "',
    "duckdb.",
    "duckdb:",
    "sqlalchemy",
    "site-packages",
    "Conversion Error",
    "Binder Error",
)
"""What would show the gateway's inside."""

POLICY: Final = """
dataset: health
engine: duckdb:///health.duckdb
privacy_unit: {table: person, key: person_id}
tables:
  person:
    max_rows_per_unit: 2
    columns:
      person_id: {type: integer}
      sex:       {type: text, values: [F, M]}
      age:       {type: integer, lower: 0, upper: 110}
      income:    {type: number, lower: 0, upper: 200000, nullable: true}
      town:      {type: text}
  visit:
    owner: {person_id: person.person_id}
    max_rows_per_unit: 4
    columns:
      cost:    {type: number, lower: 0, upper: 1000}
      day:     {type: date, lower: 2020-01-01, upper: 2025-12-31}
      site_id: {type: integer, lower: 0, upper: 3, nullable: false}
  treatment:
    owner: {visit_id: visit.visit_id}
    max_rows_per_unit: 6
    columns: {dose: {type: number, lower: 0, upper: 10}}
  reading:
    row_wise_view: true
    owner: {person_id: person.person_id}
    max_rows_per_unit: 1
    columns: {value: {type: integer, lower: 0, upper: 100}}
  site: {public: true, key: site_id, columns: {site_id: {type: integer}, city: {type: text}}}
budget: {epsilon: 1000, delta: 1e-6}
per_query: {max_epsilon: 10, delta: 1e-9}
"""

DATA: Final = (
    "CREATE TABLE person (person_id BIGINT, sex VARCHAR, age INTEGER, income DOUBLE, town VARCHAR)",
    "INSERT INTO person SELECT i, CASE WHEN i % 2 = 0 THEN 'F' ELSE 'M' END, i % 90, (i % 1000) * 100, 'Aarau' "
    "FROM range(1, 2001) t(i)",
    f"""INSERT INTO person VALUES
        (1, 'F', 30, 100, 'Aarau'), (1, 'M', 31, 200, 'Aarau'), (1, 'F', 32, 300, 'Aarau'),
        (NULL, 'F', 30, 100, 'Aarau'), (NULL, 'M', 40, NULL, NULL),
        (2001, '{PLANTED}', -5, 7341059.25, '{PLANTED}'), (2002, NULL, 2147483647, 'NaN', NULL),
        (2003, 'F', NULL, 'Infinity', 'Aarau'), (2004, 'M', -2147483648, '-Infinity', 'Aarau'), (2005, 'f', 9, -0.0, '')
    """,
    "CREATE TABLE visit (visit_id BIGINT, person_id BIGINT, cost DOUBLE, day DATE, site_id INTEGER)",
    "INSERT INTO visit SELECT i, 1 + i % 2000, i % 500, DATE '2021-01-01' + (i % 700)::INTEGER, i % 4 "
    "FROM range(4000) t(i)",
    """INSERT INTO visit SELECT 10000 + i, 7, 999, DATE '2021-01-01', 0 FROM range(500) t(i);
    INSERT INTO visit VALUES
        (3, 5, 'NaN', NULL, 2), (3, 6, 'Infinity', DATE '1900-01-01', 77), (20000, 999999, 5, DATE '2021-01-01', 1),
        (20001, NULL, 5, DATE '2021-01-01', 1), (NULL, 8, NULL, 'infinity', NULL), (20002, 2001, 7341059.25, NULL, 1)
    """,
    "CREATE TABLE treatment (visit_id BIGINT, dose DECIMAL(8, 2))",
    "INSERT INTO treatment SELECT i % 4000, 1.5 FROM range(8000) t(i)",
    "INSERT INTO treatment VALUES (NULL, 1), (888888, 1), (20000, 1), (20001, 1), (3, 99999), (4, NULL)",
    # A view that fails on one person's value, with that value in the engine's message.
    "CREATE TABLE sensor (person_id BIGINT, value VARCHAR)",
    f"INSERT INTO sensor SELECT i, i::VARCHAR FROM range(1, 100) t(i); INSERT INTO sensor VALUES (2001, '{PLANTED}')",
    "CREATE VIEW reading AS SELECT person_id, CAST(value AS INTEGER) AS value FROM sensor",
    "CREATE TABLE site (site_id INTEGER PRIMARY KEY, city VARCHAR)",
    "INSERT INTO site VALUES (0, 'Aarau'), (1, 'Bern'), (2, 'Chur'), (3, 'Davos')",
)

DYING: Final = Path(__file__).with_name("dying.py")


def make_data(path: Path, statements: Sequence[str] = DATA) -> None:
    """Make a data file."""
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)


_PLAIN: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Never used: it saves loading the certificates of the world for connections that have none."""


class Listening(httpx.BaseTransport):
    """The network, where every answer is read for what no answer may hold."""

    def __init__(self, folder: Path) -> None:
        self._inner = httpx.HTTPTransport(verify=_PLAIN, limits=httpx.Limits(max_keepalive_connections=0))
        self._folder = folder

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and look at what comes back."""
        response = self._inner.handle_request(request)
        response.read()
        text = response.text + str(response.headers)
        inner = () if request.url.path.startswith("/v1/admin") or response.is_success else (*INNER, str(self._folder))
        found = [word for word in (*SECRETS, *inner) if word.casefold() in text.casefold()]
        assert not found, f"{found} stands in the answer to {request.method} {request.url.path}"
        return response

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


@dataclass
class Home:
    """A home with people in it: root (admin), and analysts with a grant; ``http`` speaks to its server."""

    folder: Path
    port: int
    tokens: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def environment(self) -> dict[str, str]:
        """Return the environment of the home's processes, without any other gateway's settings."""
        bare = {name: value for name, value in os.environ.items() if not name.startswith("DISCREET_")}
        return bare | {
            "DISCREET_HOME": str(self.folder / "home"),
            "DISCREET_LATENCY_QUANTUM_MS": "0",
            **self.settings,
        }

    def command(self, *words: str) -> Result:
        """Run one command of ``discreet`` in this process."""
        foreign = {name: None for name in os.environ if name.startswith("DISCREET_")}
        return CliRunner().invoke(app, list(words), env={**foreign, **self.environment()})

    def do(self, *words: str) -> str:
        """Run one command that must succeed, and return what it prints."""
        done = self.command(*words)
        assert done.exit_code == 0, done.output
        return done.stdout

    def apply(self, policy: str = POLICY) -> None:
        """Put a policy in force."""
        path = self.folder / "policy.yaml"
        path.write_text(policy)
        self.do("dataset", "apply", str(path))

    def grant(self, analyst: str, epsilon: float, *, delta: str = "1e-6", dataset: str = "health") -> None:
        """Add an analyst, unless they exist, with a grant and a token."""
        if analyst not in self.tokens:
            self.do("analyst", "add", analyst)
            self.tokens[analyst] = self.do("token", "issue", analyst, "--role", "analyst").strip()
        words = ("--dataset", dataset, "--analyst", analyst, "--epsilon", f"{epsilon:.9f}", "--delta", delta)
        self.do("budget", "set", *words)

    def bearer(self, name: str = "ada") -> dict[str, str]:
        """Return the header that says who asks."""
        return {"Authorization": f"Bearer {self.tokens[name]}"}

    def client(self, name: str = "ada", *, retries: int = 0) -> Client:
        """Return the Python client of one analyst."""
        return Client(self.url, self.tokens[name], transport=Listening(self.folder), retries=retries, pause=0.1)

    def http(self) -> httpx.Client:
        """Return a bare HTTP client."""
        return httpx.Client(base_url=self.url, transport=Listening(self.folder), timeout=60)

    def facts(self, dataset: str = "health") -> list[dict[str, Any]]:
        """Return the ledger as the admin's command shows it."""
        found: list[dict[str, Any]] = []
        while True:
            after = str(found[-1]["seq"] if found else 0)
            show = ("ledger", "show", "--dataset", dataset, "--after", after, "--limit", "1000", "--json")
            page: list[dict[str, Any]] = json.loads(self.do(*show))
            if not page:
                return found
            found += page

    def heads(self) -> list[tuple[str, int, bytes]]:
        """Return the end of each dataset's chain: while it stays the same, the ledger does."""
        with closing(sqlite3.connect(f"file:{self.folder}/home/control.sqlite?mode=ro", uri=True)) as control:
            return control.execute("SELECT dataset, seq, hash FROM ledger_head ORDER BY dataset").fetchall()

    def spent(self, analyst: str = "ada", dataset: str = "health") -> float:
        """Return what an analyst has spent."""
        standings = json.loads(self.do("budget", "show", "--dataset", dataset, "--analyst", analyst, "--json"))
        return float(standings[0]["epsilon_spent"])

    def lines(self, logger: str) -> list[dict[str, Any]]:
        """Return what one of the gateway's loggers wrote."""
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in found if line["logger"] == logger]


def make_home(folder: Path, *, data: bool = True) -> Home:
    """Make a home with ``init``, the data file, the policy in force, and the people."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        home = Home(folder, int(free.getsockname()[1]))
    home.do("init")
    home.tokens["root"] = home.do("token", "issue", "root", "--role", "admin").strip()
    if data:
        make_data(folder / "health.duckdb")
        home.apply()
        home.grant("ada", 500)
    return home


class Server:
    """The home's server as a process: ``discreet serve``, or ``dying.py`` with a folder to count deaths in."""

    def __init__(self, home: Home, deaths: Path | None = None) -> None:
        self._home = home
        discreet = Path(sys.executable).with_name("discreet")
        self._program = [str(discreet)] if deaths is None else [str(DYING), str(deaths)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs; it answers when this returns."""
        if self._process is not None and self._process.poll() is None:
            return
        with self._home.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", *self._program, "serve", "--port", str(self._home.port)],
                cwd=self._home.folder,
                env=self._home.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + 60
        while not _answers(self._home.port):
            assert self._process.poll() is None, self._home.log.read_text()
            assert time.monotonic() < until, "the server did not come up"
            time.sleep(0.03)

    def kill(self) -> None:
        """Kill it at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def died(self) -> None:
        """Hold that it was killed, by itself or by a test."""
        assert self._process is not None
        assert self._process.wait(timeout=30) == -signal.SIGKILL

    def stop(self) -> None:
        """Tell it to stop, unless it is dead, and hold that it stops in order."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            assert self._process.wait(timeout=30) == 0, self._home.log.read_text()
        finally:
            self._process.kill()
            self._process.wait()


@contextmanager
def serving(home: Home) -> Iterator[Server]:
    """Serve the home until the block ends."""
    server = Server(home)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Return a problem document after checking that it is the expected one."""
    assert (response.status_code, response.json().get("code")) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert found["status"] == status
    assert found["detail"]
    assert found["charged"] is (code in {"execution-failed", "post-processing-failed"})
    return found
