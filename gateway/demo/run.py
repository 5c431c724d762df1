"""``discreet demo``: a gateway on real data, asked a handful of questions, each shown with what it cost."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import sys
import textwrap
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import typer

from gateway import query
from gateway.client import display
from gateway.client.errors import describe
from gateway.demo import truth
from gateway.demo.prepare import ANALYST, DATASET, GRANT, Demo, folder, prepared
from gateway.demo.questions import QUESTIONS, Question
from gateway.errors import DiscreetError
from gateway.quantum import left
from gateway.submission import Submission
from gateway.wire import QueryRequest, QueryResponse

WIDTH: Final = 88
TRY: Final = "SELECT COUNT(*) AS years FROM year"


def run(*, once: bool, host: str | None = None, port: int | None = None) -> None:
    """Ask every question and print what came of it; then, unless ``once``, serve the same gateway over HTTP."""
    typer.echo("Preparing: real data, a fresh ledger, one analyst …")
    with prepared(folder()) as demo:
        _introduce()
        for number, question in enumerate(QUESTIONS, start=1):
            _ask(demo, number, question)
        _conclude(demo)
        if not once:
            _serve(demo, host, port)


def _introduce() -> None:
    epsilon, delta = GRANT
    typer.echo()
    typer.secho("Discreet: differential privacy in front of a SQL database", bold=True)
    _wrap(
        "The data: the RAND Health Insurance Experiment, 20,190 person-years of 5,912 people. Table `person` has one "
        "row each, table `year` up to five. Protected is each person, with all their rows."
    )
    _wrap(
        f"The analyst: {ANALYST.name}, who may spend ε = {epsilon}, δ = {delta} in all. Whatever the answers say, they "
        "would say nearly as likely without any one of these people."
    )


def _ask(demo: Demo, number: int, question: Question) -> None:
    typer.echo()
    typer.echo()
    rule = f"── {number} ── {question.title} "
    typer.secho(rule + "─" * max(0, WIDTH - len(rule)), fg=typer.colors.CYAN, bold=True)
    typer.echo()
    _block(question.sql.splitlines(), prefix="  ")
    typer.echo()
    request, asked = QueryRequest(sql=question.sql, dataset=DATASET, epsilon=question.epsilon), Submission()
    try:
        answer = query.answer(demo.service, ANALYST, request, secrets.token_urlsafe(24), asked)
    except DiscreetError as error:
        if error.charged:
            raise  # a failure, which no question of the demo should meet
        _refused(error, question)
    else:
        _answered(demo, question, answer)
    typer.echo()
    _wrap(question.remark, dim=True)
    # As a server would: until then the question counts as one in flight.
    time.sleep(left(asked.began, demo.service.settings.latency_quantum_ms / 1000))


def _answered(demo: Demo, question: Question, answer: QueryResponse) -> None:
    _block(display.answer_table(answer), prefix="  ", fg=typer.colors.GREEN)
    typer.echo()
    charged = "charged nothing, this answer was paid for" if answer.cached else f"charged {display.price(answer.cost)}"
    typer.echo(f"  {charged}; {display.standing(answer.budget)}" if answer.budget else f"  {charged}")
    for warning in answer.warnings:
        _wrap(f"warning: {warning}")
    moved = truth.compare(demo.service, DATASET, question.sql, answer)
    if moved is not None:
        _wrap(f"[for the data owner's eyes only] {moved}", fg=typer.colors.MAGENTA)


def _refused(error: DiscreetError, question: Question) -> None:
    position = None if error.position is None else (error.position.line, error.position.column)
    told = describe(error.code, error.message, hint=error.hint, sql=question.sql, position=position, extra=error.extra)
    _block(f"refused: {told}".splitlines(), prefix="  ", fg=typer.colors.YELLOW)
    typer.echo("  charged nothing")


def _conclude(demo: Demo) -> None:
    command = _command()
    typer.echo()
    typer.echo()
    typer.secho("What happened is in the ledger:", bold=True)
    typer.echo(f"  export DISCREET_HOME={demo.folder}")
    typer.echo(f"  {command} ledger show")
    typer.echo(f"  {command} ledger verify")
    typer.echo(f"  {command} explain '{QUESTIONS[0].sql}' --dataset {DATASET} --epsilon 0.1 --analyst {ANALYST.name}")


def _serve(demo: Demo, host: str | None, port: int | None) -> None:
    import uvicorn

    from gateway.http.app import create_app

    settings = demo.service.settings
    with _listening(host or settings.host, settings.port if port is None else port) as listener:
        address, bound = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        typer.echo()
        typer.secho("Now serving. Ask it yourself, from another terminal:", bold=True)
        typer.echo()
        typer.echo(f"export DISCREET_URL=http://{shown}:{bound}")
        typer.echo(f"export DISCREET_TOKEN={demo.token}")
        typer.echo()
        typer.echo("curl -s $DISCREET_URL/v1/query \\")
        typer.echo('  -H "Authorization: Bearer $DISCREET_TOKEN" -H "Content-Type: application/json" \\')
        typer.echo(f"  -d '{json.dumps({'dataset': DATASET, 'epsilon': 0.05, 'sql': TRY})}'")
        typer.echo()
        typer.echo(f"{_command()} query '{TRY}' --dataset {DATASET} --epsilon 0.05")
        typer.echo()
        typer.echo("Stop with Ctrl-C.")
        config = uvicorn.Config(
            create_app(demo.service, query.answer), log_level="warning", access_log=False, server_header=False
        )
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    """Return a listening socket on the port, or on a free one where it is taken: a demo should not end for that."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError:
        return socket.create_server((host, 0), family=family)


def _block(lines: Sequence[str], *, prefix: str, fg: str | None = None) -> None:
    for line in lines:
        typer.secho(prefix + line, fg=fg)


def _wrap(text: str, *, dim: bool | None = None, fg: str | None = None) -> None:
    for line in textwrap.wrap(text, WIDTH - 2):
        typer.secho(f"  {line}", dim=dim, fg=fg)


def _command() -> str:
    """Return how this program is called from here: by its name where the shell finds it, else as it was."""
    return "discreet" if shutil.which("discreet") or Path(sys.argv[0]).name != "discreet" else sys.argv[0]
