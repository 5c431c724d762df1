"""The demo's gateway in the background of this process: what a notebook needs to have somebody to ask."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from gateway import query
from gateway.demo.prepare import folder, prepared
from gateway.http.app import create_app


@dataclass(frozen=True, slots=True)
class Address:
    """Where a gateway listens, and the token of the analyst who may ask it."""

    url: str
    token: str


@contextmanager
def serving(shared: Path | None = None) -> Iterator[Address]:
    """Serve the demo's data with a fresh ledger on a free port of this machine, until the block ends."""
    with prepared(shared or folder()) as demo, socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(
            uvicorn.Config(create_app(demo.service, query.answer), log_level="warning", access_log=False)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="discreet-demo")
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.02)
            yield Address(f"http://127.0.0.1:{listener.getsockname()[1]}", demo.token)
        finally:
            server.should_exit = True
            thread.join()
