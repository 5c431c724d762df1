"""The command that makes a bounded copy of a dataset's rows, or removes it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.ask import Json
from gateway.cli.manage import Name
from gateway.cli.opened import actor, control, settings
from gateway.cli.output import note, say, show_json, show_table

if TYPE_CHECKING:
    from gateway.admin import PreparationReport, Progress


def dataset_prepare(
    name: Name,
    drop: Annotated[bool, typer.Option("--drop", help="Remove the copy: plans read the data again.")] = False,
    as_json: Json = False,
) -> None:
    """Copy the bounded rows of a dataset, for plans to read instead until policy or data change. Spending stays."""
    found = settings()
    from gateway import admin

    with control(found) as engine:
        if drop:
            dropped = admin.drop_copy(engine, found, name, actor=actor())
            show_json({"dataset": name, "dropped": dropped}) if as_json else say(
                f"{name}: {dropped} copies are removed"
            )
            return
        report = admin.prepare_dataset(engine, found, name, actor=actor(), told=lambda step: note(_step(step)))
    if as_json:
        show_json(asdict(report))
    elif not report.made:
        say(f"{name}: the copy of data version {report.data_version} is read already")
    else:
        _show(report)


def _step(step: Progress) -> str:
    where = f"[{step.number}/{step.tables}] {step.table}"
    match step.what:
        case "counted":
            return f"{where}: {step.rows:,} rows"
        case "copying":
            return f"{where}: copying"
        case "copied":
            return f"{where}: {step.rows:,} rows are kept ({step.seconds:.1f} s)"
        case "kept":
            return f"{where}: done by an earlier run"


def _show(report: PreparationReport) -> None:
    """Show what the copy holds: to admins, who may see the data."""
    show_table(
        ("table", "rows", "owned", "kept", "units", "rows a unit"),
        [(each.name, each.rows, each.owned, each.kept, each.owners, each.most) for each in report.tables],
        right=("rows", "owned", "kept", "units", "rows a unit"),
    )
    for each in report.tables:
        if each.key is False:
            say(f"{each.name}: the declared key repeats, and is not taken for one")
    say(f"{report.dataset}: plans read the copy of data version {report.data_version} from now on")
