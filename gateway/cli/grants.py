"""The commands about grants, projects, and the ledger as a document: its head, its export, what was published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.cli import shown
from gateway.cli.ask import Json, show_budgets
from gateway.cli.opened import actor, control, settings
from gateway.cli.output import fail, misused, say, show_json, show_table
from gateway.client import display

if TYPE_CHECKING:
    from budget.report import Account
    from gateway.wire_admin import Scope

Dataset = Annotated[str, typer.Option("--dataset", show_default=False)]
Analyst = Annotated[str | None, typer.Option("--analyst", help="Whose grant.", show_default=False)]
Project = Annotated[str | None, typer.Option("--project", help="The project whose grant.", show_default=False)]
Cap = Annotated[bool, typer.Option("--cap", help="The dataset's cap over everybody.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; noted in the ledger.")]
Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


def budget_set(
    dataset: Dataset,
    epsilon: Annotated[str, typer.Option("--epsilon", help="What may be spent in all.", show_default=False)],
    analyst: Analyst = None,
    project: Project = None,
    cap: Cap = False,
    delta: Annotated[
        str, typer.Option("--delta", help="Needed for groups without declared values and for Gaussian noise.")
    ] = "0",
    gaussian: Annotated[
        bool | None,
        typer.Option("--gaussian/--no-gaussian", help="Admit Gaussian noise: yes by default, but no by a cap."),
    ] = None,
    max_epsilon: Annotated[
        str | None, typer.Option("--max-epsilon", help="The highest price of one query.", show_default=False)
    ] = None,
    window: Annotated[
        Literal["daily", "weekly", "monthly", "yearly"] | None,
        typer.Option("--window", help="Renew on calendar boundaries; each window adds to what is released in all."),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option("--timezone", help="Whose calendar: Europe/Berlin; UTC if none is named.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help="Admit nothing from then on: 2026-12-31T00:00+01:00.")
    ] = None,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Grant an analyst, a project or a dataset's cap a budget, in place of any earlier grant. Spending stays."""
    _one_of(analyst, project, cap=cap)
    from gateway import admin

    with control(settings()) as engine:
        # As text, so that 0.1 is one tenth.
        scope = admin.set_scope(
            engine,
            dataset,
            analyst=analyst,
            project=project,
            epsilon=epsilon,
            delta=delta,
            gaussian=gaussian,
            max_epsilon=max_epsilon,
            window=window,
            timezone=timezone,
            expires=expires,
            actor=actor(),
            reason=reason,
        )
        budgets = [] if analyst is None else admin.list_budgets(engine, dataset, analyst)
    if budgets:
        show_json(budgets[0]) if as_json else show_budgets(budgets)
    else:
        _show([scope], one=True, as_json=as_json)


def budget_list(
    dataset: Annotated[str | None, typer.Option("--dataset", help="This dataset alone.")] = None,
    as_json: Json = False,
) -> None:
    """List all grants and caps with their terms, what is spent in the window and in all, and what remains."""
    from gateway import admin

    with control(settings()) as engine:
        found = admin.list_scopes(engine, dataset)
    _show(found, one=False, as_json=as_json)


def budget_suspend(
    dataset: Dataset,
    analyst: Analyst = None,
    project: Project = None,
    cap: Cap = False,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Suspend a grant: it admits nothing until it is resumed. What was answered stays answered."""
    _one_of(analyst, project, cap=cap)
    from gateway import admin

    with control(settings()) as engine:
        scope = admin.suspend_grant(engine, dataset, analyst=analyst, project=project, actor=actor(), reason=reason)
    _show([scope], one=True, as_json=as_json)


def budget_resume(
    dataset: Dataset,
    analyst: Analyst = None,
    project: Project = None,
    cap: Cap = False,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Resume a suspended grant as it was."""
    _one_of(analyst, project, cap=cap)
    from gateway import admin

    with control(settings()) as engine:
        scope = admin.resume_grant(engine, dataset, analyst=analyst, project=project, actor=actor(), reason=reason)
    _show([scope], one=True, as_json=as_json)


def project_join(
    name: Name,
    dataset: Dataset,
    analyst: Annotated[str, typer.Option("--analyst", help="Who joins.", show_default=False)],
    reason: Reason = None,
) -> None:
    """Let an analyst's charges on a dataset fall under a project's grant too, from now on."""
    from gateway import admin

    with control(settings()) as engine:
        admin.join_project(engine, dataset, name, analyst, actor=actor(), reason=reason)
    say(f"{analyst} is in project {name} on {dataset}")


def project_leave(
    name: Name,
    dataset: Dataset,
    analyst: Annotated[str, typer.Option("--analyst", help="Who leaves.", show_default=False)],
    reason: Reason = None,
) -> None:
    """End an analyst's membership; what they spent stays spent."""
    from gateway import admin

    with control(settings()) as engine:
        admin.leave_project(engine, dataset, name, analyst, actor=actor(), reason=reason)
    say(f"{analyst} has left project {name} on {dataset}")


def ledger_export(
    file: Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, show_default=False)],
    form: Annotated[
        Literal["csv", "jsonl", "parquet"] | None,
        typer.Option("--format", help="By the file's ending if it is not given."),
    ] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="This dataset alone.")] = None,
) -> None:
    """Write the ledger's facts to a new file, as CSV, JSON lines or Parquet."""
    from gateway import admin
    from gateway.export import FORMATS

    chosen = form or next((each for each in FORMATS if file.suffix == f".{each}"), None)
    if chosen is None:
        misused("say --format csv, jsonl or parquet, or end the file's name in one of them")
    with control(settings()) as engine:
        try:
            count = admin.export_ledger(engine, file, chosen, dataset)
        except FileExistsError:
            fail(f"{file} is there already, and no file is written over [file-exists]")
    say(f"{count:,} facts are in {file}")


def ledger_head(
    check: Annotated[
        Path | None,
        typer.Option("--check", help="Compare the ledger with a head kept in this file.", dir_okay=False),
    ] = None,
) -> None:
    """Print the signed head of the ledger, to be kept elsewhere; or compare one that was kept with the ledger."""
    found = settings()
    from gateway import admin
    from gateway.auth import keys
    from gateway.watch import heads

    with control(found) as engine:
        key = keys.load(found.signing_key_file)
        if check is None:
            show_json(heads.to_json(admin.sign_head(engine, key)))
            return
        try:
            signed = heads.load(check, key.public)
        except heads.HeadInvalid as error:
            fail(f"{error} [head-invalid]")
        if signed is None:
            misused(f"there is no file {check}")
        behind = admin.compare_head(engine, signed)
    if behind:
        fail("the ledger is behind its signed head: " + "; ".join(behind) + " [ledger-behind]")
    say("the ledger continues the one whose head was signed")


def ledger_acknowledge(
    dataset: Dataset,
    reason: Annotated[str, typer.Option("--reason", help="Why; noted in the ledger.", show_default=False)],
) -> None:
    """Serve a dataset although its ledger is behind its signed head; that you did is noted in the ledger."""
    found = settings()
    from gateway import admin
    from gateway.auth import keys

    with control(found) as engine:
        key = keys.load(found.signing_key_file)
        told = admin.acknowledge_ledger(engine, found, key, dataset, actor=actor(), reason=reason)
    say(f"acknowledged: {told}")


def ledger_public(dataset: Dataset, as_json: Json = False) -> None:
    """List what admins bought from a dataset's cap and published: it adds to what every analyst was promised."""
    from gateway import admin
    from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT

    with control(settings()) as engine:
        found = [record.charge for record in admin.list_published(engine, dataset)]
    rows = [
        {
            "charge": each.id,
            "at": shown.when(each.at),
            "by": each.analyst,
            "epsilon": each.price / EPSILON_UNIT,
            "delta": each.loss.delta / DELTA_UNIT,
            "publication": each.publication,
        }
        for each in found
    ]
    if as_json:
        show_json(rows)
    else:
        show_table(
            ("at", "by", "ε", "publication"),
            [(row["at"], row["by"], row["epsilon"], row["publication"]) for row in rows],
        )


def ledger_report(
    dataset: Annotated[str | None, typer.Option("--dataset", help="This dataset alone.")] = None,
    as_json: Json = False,
) -> None:
    """Account what was spent in all anew, by tighter means than those that admit charges; it changes nothing."""
    from dataclasses import asdict

    from gateway import admin
    from mechanisms.loss import DELTA_UNIT
    from mechanisms.pld import AccountingMissing

    with control(settings()) as engine:
        try:
            found = admin.report_ledger(engine, dataset)
        except AccountingMissing as error:
            fail(f"{error} [accounting-missing]")
    rows = [asdict(each) | {"delta": each.delta / DELTA_UNIT} for each in found]
    if as_json:
        show_json(rows)
        return
    numbers = ("charges", "spent in all", "tighter", "at delta")
    show_table(
        ("dataset", "whose", *numbers, ""),
        [
            (
                each.dataset,
                each.scope,
                f"{each.charges:,}",
                display.number(each.spent),
                display.number(each.tighter),
                display.number(each.delta / DELTA_UNIT),
                _remarks(each),
            )
            for each in found
        ],
        right=numbers,
    )


def _remarks(account: Account) -> str:
    remarks = [
        (
            account.continuous is not None,
            f"{display.number(account.continuous or 0)} if Gaussian noise were continuous, which is no bound",
        ),
        (account.understated > 0, f"{account.understated:,} charges cost less than what ran"),
        (account.unread > 0, f"{account.unread:,} records unread"),
    ]
    return "; ".join(text for so, text in remarks if so)


def _one_of(analyst: str | None, project: str | None, *, cap: bool) -> None:
    if (analyst is not None) + (project is not None) + cap != 1:
        misused("say --analyst, --project or --cap")


def _show(scopes: list[Scope], *, one: bool, as_json: bool) -> None:
    if as_json:
        show_json(scopes[0] if one else scopes)
        return
    numbers = ("granted", "spent", "remaining", "spent in all")
    show_table(
        ("dataset", "whose", *numbers, "renews", "window ends", "expires", ""),
        [
            (
                each.dataset,
                each.kind if each.name is None else f"{each.kind} {each.name}",
                display.number(each.epsilon_granted),
                display.number(each.epsilon_spent),
                display.number(each.epsilon_remaining),
                display.number(each.lifetime_epsilon_spent),
                each.window or "",
                each.window_ends or "",
                each.expires or "",
                "suspended" if each.paused or each.suspended else "",
            )
            for each in scopes
        ],
        right=numbers,
    )
