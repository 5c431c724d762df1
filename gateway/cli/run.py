"""The commands that run a gateway: ``serve`` and ``demo``."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.opened import opening, service, settings

Host = Annotated[str | None, typer.Option("--host", help="Address to listen on; the setting `host` by default.")]
Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on; the setting `port` by default.")
]


def serve(host: Host = None, port: Port = None) -> None:
    """Serve the API over HTTP until it is told to stop."""
    found = settings()
    import uvicorn

    from gateway.http.app import create_app

    with service(found) as opened:
        uvicorn.run(
            create_app(opened),
            host=found.host if host is None else host,
            port=found.port if port is None else port,
            log_level=found.log_level,
            access_log=False,  # the gateway's own access log leaves out what is nobody's business
            server_header=False,
        )


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the questions, without serving.")] = False,
    host: Host = None,
    port: Port = None,
) -> None:
    """Show a gateway at work on real data, in a folder of its own (./.demo, or DISCREET_HOME); then serve it."""
    from gateway.demo.run import run

    with opening():
        run(once=once, host=host, port=port)
