"""The gateway as a process of its own."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from gateway import admin
from gateway.http import serve as serving
from gateway.settings import Settings
from tests.http.world import make_data, rote

PROGRAM = """
from gateway.http.serve import serve
from gateway.settings import load
serve(load(), None)
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _gathers(port: int, characters: int) -> bool:
    """Return whether a request with so long a head is answered as any other is."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        try:
            line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
            for _ in range(characters // 8_000):
                line.sendall(b"X: " + b"a" * 8_000 + b"\r\n")
            line.sendall(b"\r\n")
            return line.recv(100).startswith(b"HTTP/1.1 200")
        except OSError:
            return False


def test_it_serves_says_nothing_of_itself_and_ends_when_told(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    admin.init(settings)
    make_data(tmp_path)
    port = free_port()
    environment = os.environ | {"DISCREET_HOME": str(settings.home), "DISCREET_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(200):
            try:
                response = httpx.get(url + "/readyz")
                break
            except httpx.TransportError:
                assert process.poll() is None
                time.sleep(0.1)
        assert response.status_code == 200
        assert "server" not in response.headers
        maps = Path(f"/proc/{process.pid}/maps")  # what a process has loaded, on Linux
        assert not maps.exists() or ("opendp" in (loaded := maps.read_text()) and "pandas" not in loaded)
        assert httpx.get(url + "/v1/budget?dataset=Zebulon").status_code == 401
        assert _gathers(port, 8_000)
        assert not _gathers(port, 8_000_000)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (0, -signal.SIGTERM)
    assert '"route": "/v1/budget"' in said
    assert "Zebulon" not in said
    assert "Traceback" not in said


def test_the_server_is_told_to_say_nothing_of_itself_and_to_bound_heads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever parsers are installed: the one that uvicorn takes by itself, where it is, gathers heads without end."""
    settings = Settings(home=tmp_path / "home")
    admin.init(settings)
    given: dict[str, Any] = {}
    frozen: list[int] = []

    def run(_app: FastAPI, **named: Any) -> None:
        given.update(named)
        frozen.append(gc.get_freeze_count())

    monkeypatch.setattr(serving, "configure_logging", lambda _level: None)  # of the tests' own process
    monkeypatch.setattr(serving, "leave_out_pandas", lambda: None)
    monkeypatch.setattr(uvicorn, "run", run)
    serving.serve(settings, rote)
    assert frozen[0] > 10_000
    assert given == {
        "host": settings.host,
        "port": settings.port,
        "log_level": settings.log_level,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "http": "h11",
    }


def test_what_lives_on_is_not_searched_for_garbage_while_a_block_runs() -> None:
    assert gc.get_freeze_count() == 0
    with serving.settled():
        assert gc.get_freeze_count() > 10_000
    assert gc.get_freeze_count() == 0
    with pytest.raises(ValueError, match="torn"), serving.settled():
        raise ValueError("torn")
    assert gc.get_freeze_count() == 0


def test_it_does_not_start_without_a_home(tmp_path: Path) -> None:
    environment = os.environ | {"DISCREET_HOME": str(tmp_path / "none")}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "KeyFileError" in done.stderr
    assert not (tmp_path / "none").exists()
