"""Running the application under uvicorn."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import uvicorn

from gateway.http.app import create_app
from gateway.http.ask import Answer
from gateway.observe import configure_logging
from gateway.service import open_service
from gateway.settings import Settings


class _NoPandas:
    """A finder by which pandas is not there, for the one moment in which pyarrow looks for it."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Find nothing, and let nobody else find pandas."""
        del path, target
        if name == "pandas":
            raise ModuleNotFoundError("pandas is left out", name="pandas")


def leave_out_pandas() -> None:
    """Keep pyarrow from importing pandas, which it does with its first array and which a gateway has no use for.

    Why: pandas takes some 70 MB and half a second. pyarrow looks for it once; whoever imports it later has it.
    """
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([None])
    finally:
        sys.meta_path.remove(_NoPandas)


@contextmanager
def settled() -> Iterator[None]:
    """Take what lives as long as the block out of what is searched for garbage.

    Why: an answer of many rows makes so many tuples that the search begins anew, and it would go through every module.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def serve(settings: Settings, answer: Answer) -> None:
    """Open the gateway and serve it until it is told to stop; queries in flight are then finished.

    The server's own access log is off: it would hold names from paths. Raises as ``open_service``.
    """
    configure_logging(settings.log_level)
    leave_out_pandas()
    service = open_service(settings)
    try:
        app = create_app(service, answer)
        with settled():
            uvicorn.run(
                app,
                host=settings.host,
                port=settings.port,
                log_level=settings.log_level,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                # It bounds the head of a request, which is gathered before anybody is asked who they are; the other
                # parser, which uvicorn prefers where it finds it, gathers without end.
                http="h11",
            )
    finally:
        service.close()
