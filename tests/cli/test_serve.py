"""A serving gateway as a process: set up, asked over HTTP, killed in the middle of a question, and asked again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from gateway.client.client import Client
from gateway.client.result import Result
from tests.cli.conftest import Call

SERVE = "import sys; from gateway.cli import main; sys.argv = ['discreet', *sys.argv[1:]]; main()"

# The gateway that stands still at the worst moment: charged, read, and nothing persisted.
STUCK = (
    """
import pathlib, time
import gateway.execution
def stuck(*_, **__):
    pathlib.Path("stuck").touch()
    time.sleep(600)
gateway.execution.release = stuck
"""
    + SERVE
)


@pytest.fixture
def token(call: Call, clinic: Path) -> str:
    """Return ada's token for a home in which she holds a grant of 3 on a clinic of 400 people."""
    for words in (
        ("init",),
        ("dataset", "apply", str(clinic)),
        ("analyst", "add", "ada"),
        ("budget", "set", "--dataset", "clinic", "--analyst", "ada", "--epsilon", "3"),
    ):
        assert call(*words).exit_code == 0
    return call("token", "issue", "ada", "--role", "analyst").stdout.strip()


@contextmanager
def running(code: str, port: int, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a gateway in a process of its own until the block ends; it answers when the block begins."""
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, "serve", "--port", str(port)],
            cwd=folder,
            env=dict(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        )
        try:
            _await(lambda: _answers(port) or process.poll() is not None)
            assert process.poll() is None, (folder / "log").read_text()
            yield process
        finally:
            process.kill()
            process.wait()


def _await(done: object) -> None:
    assert callable(done)
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until, "waited for a minute"
        time.sleep(0.05)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_a_served_gateway_is_asked_and_stops(call: Call, token: str, port: int, tmp_path: Path) -> None:
    with running(SERVE, port, tmp_path) as process:
        there = ("--url", f"http://127.0.0.1:{port}", "--token", token)
        asked = call("query", "SELECT COUNT(*) AS n FROM person", "--dataset", "clinic", "--epsilon", "1", *there)
        assert asked.exit_code == 0, asked.stderr
        assert "remaining on clinic: ε = 2 of 3" in asked.stdout
        refused = call("query", "SELECT nothing FROM person", "--dataset", "clinic", "--epsilon", "1", *there)
        assert refused.exit_code == 1
        assert "[column-unknown]" in refused.stderr
        assert json.loads(call("budget", "show", "--json", *there).stdout)[0]["epsilon_spent"] == 1
        call("analyst", "disable", "ada")
        assert "[principal-disabled]" in call("budget", "show", *there).stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert "SELECT" not in log
    assert token not in log


def test_a_taken_port_is_one_clear_failure(call: Call, token: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [sys.executable, "-c", SERVE, "serve", "--port", str(taken.getsockname()[1])],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("[address-unusable]")
    assert "Traceback" not in done.stderr


@pytest.mark.audit
def test_killed_between_charge_and_answer(call: Call, token: str, port: int, tmp_path: Path) -> None:
    """The charge is not lost, and the client's own retry gets one answer at one price."""
    got: list[Result | Exception] = []

    def ask() -> None:
        with Client(f"http://127.0.0.1:{port}", token, retries=8, pause=0.3) as client:
            try:
                got.append(
                    client.sql(
                        "SELECT COUNT(*) AS n FROM person", dataset="clinic", epsilon=1, idempotency_key="the-one"
                    )
                )
            except Exception as error:
                got.append(error)

    with running(STUCK, port, tmp_path) as process:
        asking = threading.Thread(target=ask)
        asking.start()
        _await((tmp_path / "stuck").exists)
        process.send_signal(signal.SIGKILL)
        process.wait()
    (standing,) = json.loads(call("budget", "show", "--json").stdout)
    assert standing["epsilon_spent"] == 1, "charged, whatever became of the answer"

    with running(SERVE, port, tmp_path), Client(f"http://127.0.0.1:{port}", token) as client:
        asking.join()
        (first,) = got
        assert isinstance(first, Result), first
        again = client.sql("SELECT COUNT(*) AS n FROM person", dataset="clinic", epsilon=1, idempotency_key="the-one")
        assert again.rows == first.rows
        assert client.budget("clinic").epsilon_spent == 1
    kinds = [entry["kind"] for entry in json.loads(call("ledger", "show", "--json").stdout)]
    assert kinds.count("charge") == 1
    assert kinds.count("outcome") == 1
    assert call("ledger", "verify").exit_code == 0
