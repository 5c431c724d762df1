"""The commands that run a gateway: ``serve`` and ``demo``."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.opened import logged, opening, settings
from gateway.cli.output import fail

Host = Annotated[str | None, typer.Option("--host", help="Address to listen on; the setting `host` by default.")]
Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on; the setting `port` by default.")
]


def serve(host: Host = None, port: Port = None) -> None:
    """Serve the API over HTTP until it is told to stop."""
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    found = settings(**given)
    from gateway import query
    from gateway.http.serve import serve as run

    with opening():
        try:
            run(found, query.answer)
        except SystemExit:
            # The server's way to say that it did not come up; its own log line above says why.
            fail(f"cannot listen on {found.host}, port {found.port} [address-unusable]")


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the questions, without serving.")] = False,
    host: Host = None,
    port: Port = None,
) -> None:
    """Show a gateway at work on real data, in a folder of its own (./.demo, or DISCREET_HOME); then serve it."""
    from gateway.demo.data import DemoDataMissing
    from gateway.demo.prepare import folder
    from gateway.demo.run import run

    with opening(), logged(folder()):
        try:
            run(once=once, host=host, port=port)
        except DemoDataMissing as error:
            fail(f"{error} [demo-data-missing]")
