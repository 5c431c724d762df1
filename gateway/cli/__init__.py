"""The command line: ``discreet``.

Nothing heavy is imported before a command needs it, so that help is quick. Exit status: 0, 1 (refused), 2 (usage).
"""

from __future__ import annotations

import sys
from io import TextIOWrapper

from gateway.cli.output import REFUSED


def main() -> None:
    """Run the command line and end the process."""
    from gateway.cli.commands import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Greek letters still gets its answer
    try:
        app(prog_name="discreet")
    except Exception as error:
        if "--trace" in sys.argv:
            raise
        # The text of an unforeseen error may hold anything, so only its kind is shown.
        sys.stderr.write(f"error: an unexpected {type(error).__name__}; `discreet --trace …` shows where\n")
        sys.exit(REFUSED)
