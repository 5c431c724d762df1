"""What commands print: tables or JSON on standard output, one error on standard error; the exit status says which."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from pydantic import BaseModel

from gateway.client.caret import visible
from gateway.client.display import table
from gateway.client.errors import GatewayError, describe
from gateway.errors import DiscreetError

REFUSED = 1
"""Exit status of a command that was understood and refused, or failed."""

USAGE = 2
"""Exit status of a command line that makes no sense."""


@contextmanager
def failing(sql: str | None = None) -> Iterator[None]:
    """Turn the errors of gateway and client into a message on standard error and exit status 1."""
    try:
        yield
    except DiscreetError as error:
        position = None if error.position is None else (error.position.line, error.position.column)
        fail(describe(error.code, error.message, hint=error.hint, sql=sql, position=position, extra=error.extra))
    except GatewayError as error:
        fail(str(error))


def fail(message: str, status: int = REFUSED) -> NoReturn:
    """Print an error on standard error and end the command."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(status)


def misused(message: str) -> NoReturn:
    """End a command whose options make no sense together."""
    fail(message, USAGE)


def say(line: str) -> None:
    """Print a line for people on standard output."""
    typer.echo(line)


def show_json(value: Any) -> None:
    """Print models, mappings and lists of them as one JSON document."""
    typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False, default=str))


def show_table(head: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print rows for people, the columns named in ``right`` aligned to the right."""
    cells = [[("" if value is None else visible(str(value)), "") for value in row] for row in rows]
    for line in table(head, cells, [name in right for name in head]):
        typer.echo(line)


def note(line: str) -> None:
    """Print a line for people on standard error, so that standard output holds data alone."""
    print(line, file=sys.stderr)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
