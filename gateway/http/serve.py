"""Running the application under uvicorn."""

from __future__ import annotations

import uvicorn

from gateway.http.app import create_app
from gateway.http.ask import Answer
from gateway.observe import configure_logging
from gateway.service import open_service
from gateway.settings import Settings


def serve(settings: Settings, answer: Answer) -> None:
    """Open the gateway and serve it until it is told to stop; queries in flight are then finished.

    The server's own access log is off: it would hold names from paths. Raises as ``open_service``.
    """
    configure_logging(settings.log_level)
    service = open_service(settings)
    try:
        uvicorn.run(
            create_app(service, answer),
            host=settings.host,
            port=settings.port,
            log_level=settings.log_level,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
    finally:
        service.close()
