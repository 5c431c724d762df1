"""The commands that end stored answers: the data changed, or what is kept is deleted."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.ask import Json
from gateway.cli.lifetime import seconds
from gateway.cli.manage import Name
from gateway.cli.opened import actor, control, settings
from gateway.cli.output import misused, say, show_json


def dataset_refresh(name: Name, as_json: Json = False) -> None:
    """Say that the data changed: answers stored so far no longer stand for it. Spending stays."""
    from gateway import admin

    found = settings()
    with control(found) as engine:
        version = admin.bump_data_version(engine, name, actor=actor(), settings=found)
    if as_json:
        show_json({"dataset": name, "data_version": version})
    else:
        say(f"{name}: data version {version}")


def answers_delete(
    dataset: Annotated[str, typer.Option("--dataset", help="The dataset.", show_default=False)],
    older_than: Annotated[
        str | None, typer.Option("--older-than", help="Those charged so long ago: 30d.", show_default=False)
    ] = None,
    below: Annotated[
        int | None,
        typer.Option("--below-data-version", min=1, help="Those of earlier data versions.", show_default=False),
    ] = None,
    query: Annotated[
        str | None, typer.Option("--query", help="That of one query, by its id.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Delete stored answers: older ones, those of earlier data, or one. Charges and the ledger stay."""
    if sum(chosen is not None for chosen in (older_than, below, query)) != 1:
        misused("say which: --older-than, --below-data-version or --query")
    try:
        age = None if older_than is None else seconds(older_than)
    except ValueError as error:
        misused(f"--older-than: {error}")
    from gateway import admin

    with control(settings()) as engine:
        deleted = admin.delete_answers(engine, dataset, actor=actor(), older_than=age, below_version=below, query=query)
    if as_json:
        show_json({"dataset": dataset, "deleted": deleted})
    else:
        say(f"{deleted} stored answers are deleted")
