"""The commands of admins, who act on this machine's control database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gateway.cli import shown
from gateway.cli.ask import Json
from gateway.cli.lifetime import seconds
from gateway.cli.opened import actor, control, opening, settings
from gateway.cli.output import fail, misused, say, show_json, show_table

if TYPE_CHECKING:
    from gateway.wire import DatasetColumn, DatasetTable

Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
LARGEST_POLICY = 4 * 1024 * 1024
"""Bytes of a file that are read at all; the policy's own limit is far below."""


def init(as_json: Json = False) -> None:
    """Make the home: control database, signing key. Done again, it changes nothing that exists."""
    found = settings()
    from gateway import admin

    with opening():
        made = admin.init(found)
    if as_json:
        show_json({"home": str(made.home), "schema": made.schema, "key_made": made.key_made})
    else:
        say(f"home {made.home} is ready (schema {made.schema})")


def dataset_apply(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="The policy, as YAML.")
    ],
    as_json: Json = False,
) -> None:
    """Check a policy against its database and put it in force as the dataset's next version. Spending stays."""
    found = settings()
    from gateway import admin
    from gateway.errors import DiscreetError

    with opening(), file.open("rb") as opened:
        raw = opened.read(LARGEST_POLICY + 1)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        fail("the policy is no UTF-8 text [policy-invalid]")
    with control(found) as engine:
        try:
            record = admin.apply_dataset(engine, found, text, actor=actor(), folder=file.parent)
        except DiscreetError as error:
            problems = error.extra.get("problems", [])
            for problem in problems:
                typer.echo(f"{file}: {problem['path']}: {problem['message']}", err=True)
            raise
    if as_json:
        show_json(shown.dataset(record))
    else:
        say(f"{record.name}: version {record.version} is in force")


def dataset_list(as_json: Json = False) -> None:
    """List the datasets in force."""
    from gateway import admin

    with control(settings()) as engine:
        records = admin.list_datasets(engine)
    if as_json:
        show_json([shown.dataset(record) for record in records])
    else:
        show_table(
            ("dataset", "version", "data version", "tables", "engine", "applied", "by"),
            [
                (
                    record.name,
                    record.version,
                    record.data_version,
                    len(record.info.tables),
                    record.engine,
                    shown.when(record.at),
                    record.actor,
                )
                for record in records
            ],
            right=("version", "data version", "tables"),
        )


def dataset_show(name: Name, as_json: Json = False) -> None:
    """Show one dataset as analysts see it (tables, bounds, declared values; never data), and if its files changed."""
    from gateway import admin

    with control(settings()) as engine:
        record = admin.show_dataset(engine, name)
    if as_json:
        show_json(shown.dataset(record))
        return
    info = record.info
    say(f"{record.name}, version {record.version}, data version {record.data_version}, {record.engine}")
    if info.data_version_changes is not None:
        say(f"the next data version begins by itself: each {info.data_version_changes}")
    if record.files_changed:
        say("the data's files have CHANGED since the policy was applied or the data version raised: `dataset refresh`")
    if info.prepared:
        say("plans read a prepared copy")
    say(f"privacy unit {info.privacy_unit}; at most ε = {info.max_epsilon:g} a query, δ = {info.delta:g}")
    for table in info.tables:
        say("")
        say(_table(table))
        show_table(
            ("column", "type", "declared", ""),
            [
                (column.name, column.type, _declared(column), "" if column.nullable else "not null")
                for column in table.columns
            ],
        )


def analyst_add(
    name: Name,
    role: Annotated[Literal["analyst", "admin"], typer.Option("--role", help="What they may do.")] = "analyst",
    as_json: Json = False,
) -> None:
    """Add an analyst, or with --role admin an admin. They may ask once they hold a grant."""
    from gateway import admin

    with control(settings()) as engine:
        record = admin.add_analyst(engine, name, actor=actor(), role=role)
    if as_json:
        show_json(shown.principal(record))
    else:
        say(f"{record.name} is added, as {record.role}")


def analyst_list(as_json: Json = False) -> None:
    """List analysts and admins."""
    from gateway import admin

    with control(settings()) as engine:
        records = admin.list_analysts(engine)
    if as_json:
        show_json([shown.principal(record) for record in records])
    else:
        show_table(
            ("name", "role", "since", ""),
            [
                (record.name, record.role, shown.when(record.created_at), "disabled" if record.disabled else "")
                for record in records
            ],
        )


def analyst_disable(name: Name) -> None:
    """Refuse an analyst from the next request on; tokens and grants stay as they are."""
    from gateway import admin

    with control(settings()) as engine:
        admin.disable_analyst(engine, name, actor=actor())
    say(f"{name} is disabled")


def analyst_enable(name: Name) -> None:
    """Admit a disabled analyst again."""
    from gateway import admin

    with control(settings()) as engine:
        admin.enable_analyst(engine, name, actor=actor())
    say(f"{name} is enabled")


def analyst_resume(
    name: Name,
    dataset: Annotated[str, typer.Option("--dataset", help="The dataset on which they are suspended.")],
    reason: Annotated[str | None, typer.Option("--reason", help="Why; noted in the ledger.")] = None,
) -> None:
    """Clear an analyst's suspension after a failure, once its cause is known to be harmless."""
    from gateway import admin

    with control(settings()) as engine:
        admin.clear_suspension(engine, dataset, name, actor=actor(), reason=reason)
    say(f"{name} may ask {dataset} again")


def token_issue(
    name: Name,
    role: Annotated[Literal["analyst", "admin"], typer.Option("--role", help="The principal's role.")],
    ttl: Annotated[str | None, typer.Option("--ttl", help="Lifetime: 90s, 15m, 8h, 30d.")] = None,
) -> None:
    """Print a new token, and nothing else. An admin who does not exist yet is added."""
    try:
        lifetime = None if ttl is None else seconds(ttl)
    except ValueError as error:
        misused(str(error))
    found = settings()
    from gateway import admin
    from gateway.auth import keys

    with control(found) as engine:
        key = keys.load(found.signing_key_file)
        text, _ = admin.issue_token(engine, found, key, name, role, actor=actor(), seconds=lifetime, create_admin=True)
    say(text)


def ledger_show(
    dataset: Annotated[str | None, typer.Option("--dataset", help="This dataset alone.")] = None,
    after: Annotated[int, typer.Option("--after", min=0, help="Only facts after this number.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="At most so many of a dataset.")] = 1000,
    as_json: Json = False,
) -> None:
    """Show the ledger's facts in the order of their chain: grants, charges, outcomes, suspensions."""
    from gateway import admin

    with control(settings()) as engine:
        found = admin.list_entries(engine, dataset, after=after, limit=limit)
    entries = [shown.entry(entry) for entry in found]
    if as_json:
        show_json(entries)
    else:
        show_table(
            ("dataset", "no", "at", "fact", "says", "hash"),
            [(each.dataset, each.seq, each.at, each.kind, _says(each.says), each.hash[:12]) for each in entries],
            right=("no",),
        )


def ledger_verify(
    dataset: Annotated[str | None, typer.Option("--dataset", help="This dataset alone.")] = None,
    as_json: Json = False,
) -> None:
    """Fold the ledger anew and check hashes, sums, balances and triggers; exit status 1 if anything is wrong."""
    from gateway import admin

    with control(settings()) as engine:
        report = admin.verify_ledger(engine, dataset)
    if as_json:
        show_json(shown.report(report))
    else:
        for each in report.datasets:
            if each.fault is None:
                say(f"{each.dataset}: {each.facts:,} facts, all in order, ending in {each.hash.hex()}")
        if report.ok and not report.datasets:
            say("the ledger is empty")
    if not report.ok:
        faults = [
            f"{fault.dataset}: {fault.kind} {fault.row}: {fault.problem}" for fault in shown.report(report).faults
        ]
        if report.missing_triggers:
            faults.append(f"triggers missing or changed: {', '.join(report.missing_triggers)}")
        fail("the ledger is not in order: " + "; ".join(faults) + " [ledger-altered]")


def _says(says: dict[str, Any]) -> str:
    line = " ".join(f"{name}={value}" for name, value in says.items() if name not in {"id", "charge"})
    return line if len(line) <= 120 else f"{line[:119]}…"


def _table(table: DatasetTable) -> str:
    if table.public:
        return f"{table.name}: public"
    rows = "" if table.max_rows_per_unit is None else f", rows a unit: at most {table.max_rows_per_unit:,}"
    return f"{table.name}: owner {table.owner}{rows}"


def _declared(column: DatasetColumn) -> str:
    if column.values is not None:
        listed = ", ".join(str(value) for value in column.values[:8])
        return listed + (f" and {len(column.values) - 8:,} more" if len(column.values) > 8 else "")
    return "" if column.lower is None and column.upper is None else f"{column.lower} … {column.upper}"
